import { assertEquals } from "@std/assert";
import { Conversation, type ConversationPort } from "../../actors/conversation.ts";
import type { NotificationMessage, RequestMessage } from "../../protocol/jsonrpc.ts";
import { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { LIMITS, message, request } from "../fakes/harness.ts";

const PORT: ConversationPort<undefined> = {
  send: () => {},
  isBusy: () => false,
  full: () => {},
  room: () => {},
  cut: () => {},
};

function conversation(streams?: string): Conversation<undefined> {
  return new Conversation({
    owner: undefined,
    port: PORT,
    handle: "h",
    limits: LIMITS,
    lastUsed: 0,
    streams: () => streams,
  });
}

function told(n: number): NotificationMessage {
  return message({ method: "notifications/tools/list_changed", params: { n } }) as NotificationMessage;
}

Deno.test("A conversation goes on where an earlier one of its session was exported", () => {
  const first = conversation();
  first.makeResumable();
  const stream = new FakeStream();
  first.openStream(stream, 0);
  for (const n of [1, 2]) first.serverTold(told(n), 0);
  const [seen] = stream.ids;
  stream.hangUp();
  first.serverTold(told(3), 0);
  // A question of a server that is gone is nobody's any more.
  first.serverAsked(message({ id: "q", method: "roots/list" }) as RequestMessage, 0);
  const text = first.suspend({ code: "shuttingDown" });
  assertEquals([first.held, first.suspend({ code: "shuttingDown" })], [0, undefined]);

  // Nobody came to the run between.
  const between = conversation(text);
  between.makeResumable();
  assertEquals(between.suspend({ code: "shuttingDown" }), text);

  const second = conversation(text);
  second.makeResumable();
  assertEquals([second.resumable, second.held], [true, 0]);
  second.serverTold(told(4), 0);
  const resumed = new FakeStream();
  assertEquals(second.resume(seen!, resumed, 0), undefined);
  second.serverTold(told(5), 0);
  assertEquals(resumed.messages.map(({ params }) => (params as { n: number }).n), [2, 3, 4, 5]);
  assertEquals([resumed.open, second.hasStandalone], [true, true]);
  second.close({ code: "shuttingDown" });
});

Deno.test("What is said while nobody comes for the streams of an earlier run is there in the next one", () => {
  const first = conversation();
  first.makeResumable();
  const stream = new FakeStream();
  first.openStream(stream, 0);
  first.serverTold(told(1), 0);
  let text = first.suspend({ code: "shuttingDown" });
  for (const n of [2, 3]) {
    const run = conversation(text);
    run.makeResumable();
    run.serverTold(told(n), 0);
    text = run.suspend({ code: "shuttingDown" });
  }
  const last = conversation(text);
  last.makeResumable();
  const resumed = new FakeStream();
  assertEquals(last.resume(stream.ids[0]!, resumed, 0), undefined);
  assertEquals(resumed.messages.map(({ params }) => params), [{ n: 2 }, { n: 3 }]);
  last.close({ code: "shuttingDown" });
});

Deno.test("Who comes back for a request of an earlier run is told, unless the request is in flight again", () => {
  const [lost, next] = [conversation(), conversation()];
  for (const each of [lost, next]) each.makeResumable();
  const stream = new FakeStream();
  const id = "0123abcz.1-0.MQ";
  assertEquals(next.resume(id, stream, 0), undefined);
  assertEquals([stream.open, stream.messages.map(({ id }) => id)], [false, [1]]);
  const reply = new FakeReply();
  next.request(request("tools/call", { id: 1 }) as RequestMessage, reply, { now: 0, timeoutMs: 1_000 });
  const refused = new FakeStream();
  assertEquals(next.resume(id, refused, 0), { code: "eventsGone" });
  assertEquals([refused.sent, reply.completions], [[], 0]);
  // `1` and `"1"` are two requests.
  assertEquals(next.resume("0123abcz.1-0.IjEi", new FakeStream(), 0), undefined);
  for (const each of [lost, next]) each.close({ code: "shuttingDown" });
});

Deno.test("A text that is damaged begins a conversation of which nothing is known", () => {
  const begun = conversation("{");
  begun.makeResumable();
  assertEquals(begun.resume("1-0", new FakeStream(), 0), { code: "eventUnknown" });
  assertEquals(begun.resume("0123abcz.1-0", new FakeStream(), 0), undefined);
  begun.close({ code: "shuttingDown" });
});

Deno.test("A standalone stream whose log was lost begins anew, unless the client has another one", () => {
  const begun = conversation();
  begun.makeResumable();
  begun.serverTold(told(1), 0);
  const anew = new FakeStream();
  assertEquals(begun.resume("0123abcz.1-7", anew, 0), undefined);
  begun.serverTold(told(2), 0);
  assertEquals([anew.open, anew.messages.length, begun.hasStandalone], [true, 2, true]);
  const stale = new FakeStream();
  assertEquals(begun.resume("0123abcz.1-7", stale, 0), { code: "eventsGone" });
  assertEquals([stale.sent, anew.open], [[], true]);
  begun.close({ code: "shuttingDown" });
});
