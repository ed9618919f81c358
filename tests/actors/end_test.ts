import { assert, assertEquals } from "@std/assert";
import { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, post, request } from "../fakes/harness.ts";

/** Does what no stream should. */
class BrokenStream extends FakeStream {
  override close(): void {
    super.close();
    throw new Error("This stream cannot be closed");
  }
}

Deno.test("An end takes all its steps, also where one fails", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  session.post({ tag: "stream", stream: new BrokenStream(), reply: new FakeReply() });
  const call = await post(session, request("slow"));
  await session.end("admin");
  assertEquals([session.state, call.failed], ["ended", "sessionEnded"]);
  assert(backend.closed);
  // What a step left undone, the exit of the server would do in a second end.
  assertEquals(backend.closes.length, 1);
  assertEquals(session.account.timeline.entries.filter(({ event }) => event === "ended").length, 1);
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
  await settle();
  assertEquals([harness.supervisor.size, harness.clock.pending, session.held], [0, 0, 0]);
});
