/** What each principal may have and do. */
import { assertEquals } from "@std/assert";
import type { PrincipalLimits } from "../../actors/supervisor.ts";
import { entryOf, messageOf } from "../../errors.ts";
import type { FakeReply } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, type HarnessOptions, request } from "../fakes/harness.ts";

const INITIALIZE = request("initialize", { id: "init" });

/** How many of so many openings of a principal succeed, and what the last was told. */
async function open(harness: Harness, principal: string, count: number) {
  const replies: FakeReply[] = Array.from(
    { length: count },
    () => harness.opening(INITIALIZE, undefined, principal),
  );
  await settle();
  const last = replies.at(-1)?.completion;
  return {
    opened: replies.filter(({ completion }) => completion?.kind === "answered").length,
    failure: last?.kind === "failed" ? last.failure : undefined,
  };
}

function harnessOf(own: Record<string, PrincipalLimits>, options: HarnessOptions = {}): Harness {
  const { admission, ...more } = options;
  return new Harness({ ...more, admission: { ...admission, of: (principal) => own[principal] ?? {} } });
}

async function stop(harness: Harness): Promise<void> {
  const done = harness.supervisor.shutDown(0);
  await harness.clock.advance(1);
  await done;
  assertEquals(harness.clock.pending, 0);
}

Deno.test("A principal's own limit of sessions comes before that of all, also where it is higher or none", async () => {
  const own = { few: { maxSessions: 1 }, many: { maxSessions: 5 }, any: { maxSessions: Infinity } };
  const harness = harnessOf(own, { admission: { maxSessionsPerPrincipal: 3 } });
  assertEquals((await open(harness, "few", 9)).opened, 1);
  assertEquals((await open(harness, "many", 9)).opened, 5);
  assertEquals((await open(harness, "any", 9)).opened, 9);
  const { opened, failure } = await open(harness, "usual", 9);
  assertEquals([opened, failure?.code, failure?.detail], [
    3,
    "limitReached",
    "MAX_SESSIONS_PER_PRINCIPAL is 3",
  ]);
  await stop(harness);
});

Deno.test("Openings over the rate get 429 with the time to wait; others go on, and so does the rate", async () => {
  const harness = harnessOf({}, { admission: { opensPerMinute: 6 } });
  const { opened, failure } = await open(harness, "ann", 8);
  assertEquals(opened, 6);
  assertEquals([entryOf(failure!).status, failure?.retryAfterS], [429, 10]);
  assertEquals(messageOf(failure!), "Too many sessions were opened: 6 a minute");
  assertEquals(harness.supervisor.size, 6);
  assertEquals(harness.supervisor.door.counts, { sessions: 6, processes: 6, waiting: 0, refused: 2 });
  assertEquals((await open(harness, "bob", 6)).opened, 6);
  await harness.clock.advance(10_000);
  assertEquals((await open(harness, "ann", 2)).opened, 1);
  await stop(harness);
});

Deno.test("A principal's own rate comes before that of all, and changes with its token", async () => {
  const own: Record<string, PrincipalLimits> = { ann: { opensPerMinute: 1 }, bob: { opensPerMinute: 0 } };
  const harness = harnessOf(own, { admission: { opensPerMinute: 2 } });
  assertEquals((await open(harness, "ann", 3)).opened, 1);
  assertEquals((await open(harness, "bob", 30)).opened, 30);
  assertEquals((await open(harness, "cat", 3)).opened, 2);
  own.ann = { opensPerMinute: 0 };
  assertEquals((await open(harness, "ann", 30)).opened, 30);
  own.ann = { opensPerMinute: 0, maxSessions: 2 };
  assertEquals((await open(harness, "ann", 1)).failure?.code, "limitReached");
  await stop(harness);
});

Deno.test("Openings at a server that there is not, and requests of open sessions, do not count", async () => {
  const harness = harnessOf({}, { admission: { opensPerMinute: 1 } });
  const { FakeReply } = await import("../fakes/fake_client.ts");
  for (let n = 0; n < 5; n++) {
    harness.supervisor.open({
      serverId: "nowhere",
      principal: "ann",
      opener: { tag: "message", message: INITIALIZE, reply: new FakeReply() },
      implicitVersion: undefined,
    });
  }
  await settle();
  assertEquals((await open(harness, "ann", 1)).opened, 1);
  await stop(harness);
});
