import * as fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import type { StreamLog } from "../../actors/client.ts";
import { EventLog, type Resumable } from "../../actors/event_log.ts";

const OWNER: Resumable = { resume: () => {} };
const MAX_EVENTS = 1_000;
const MAX_CHARS = 4 * 1024 * 1024;

function missedBy(log: EventLog, id: string): string[] | string {
  const found = log.after(id);
  return found.kind === "stream" ? found.missed.map(({ text }) => text) : found.kind;
}

Deno.test("What followed an event is found, of its stream and of no other", () => {
  const log = new EventLog();
  const [one, two] = [log.begin(OWNER), log.begin(OWNER)];
  const ids = ["a", "b"].map((text) => one.add(text));
  two.add("x");
  one.add("c");
  assertEquals([one.primingId, two.primingId, ...ids], ["1-0", "2-0", "1-1", "1-2"]);
  assertEquals(missedBy(log, "1-0"), ["a", "b", "c"]);
  assertEquals(missedBy(log, ids[1]!), ["c"]);
  assertEquals(missedBy(log, "1-3"), []);
  assertEquals(missedBy(log, "2-0"), ["x"]);
});

Deno.test("Ids that this log never gave lead nowhere", () => {
  const log = new EventLog();
  log.begin(OWNER).add("a");
  for (
    const id of [
      "",
      "1",
      "1-",
      "-1",
      "1-2",
      "2-0",
      "0-0",
      "01-1",
      "1-01",
      "1-1 ",
      " 1-1",
      "1-1-1",
      "1e0-1",
      "__proto__",
    ]
      .concat(["99999999999999999999-1", "1-99999999999999999999", "constructor-1", "1-1\n"])
  ) assertEquals(log.after(id).kind, "unknown", JSON.stringify(id));
});

Deno.test("The oldest events go first, and a stream that lost some says so", () => {
  const log = new EventLog();
  const [old, young] = [log.begin(OWNER), log.begin(OWNER)];
  const first = old.add("old 1");
  const second = old.add("old 2");
  for (let n = 1; n < MAX_EVENTS; n++) young.add(`young ${n}`);
  assertEquals(log.size, MAX_EVENTS);
  assertEquals(missedBy(log, old.primingId), "gap");
  assertEquals(missedBy(log, first), ["old 2"]);
  young.add("one more");
  assertEquals([missedBy(log, first), missedBy(log, second)], ["gap", []]);
  assertEquals((missedBy(log, young.primingId) as string[]).length, MAX_EVENTS);
});

Deno.test("Large events count by their size", () => {
  const log = new EventLog();
  const stream = log.begin(OWNER);
  const half = stream.add("x".repeat(MAX_CHARS / 2));
  stream.add("y".repeat(MAX_CHARS / 2));
  assertEquals(log.size, 2);
  stream.add("z");
  assertEquals(log.size, 2);
  assertEquals([missedBy(log, stream.primingId), (missedBy(log, half) as string[]).length], ["gap", 2]);
  // What is larger than all that is kept is not kept, and nothing that was before it either.
  stream.add("w".repeat(MAX_CHARS + 1));
  assertEquals([log.size, missedBy(log, half)], [0, "gap"]);
});

Deno.test("A stream that is over can be resumed while its events are kept, and is forgotten with them", () => {
  const log = new EventLog();
  const over = log.begin(OWNER);
  const id = over.add("progress");
  over.add("answer");
  over.finish();
  over.finish();
  const found = log.after(id);
  assert(found.kind === "stream" && found.owner === undefined);
  assertEquals(found.missed.map(({ text }) => text), ["answer"]);
  const silent = log.begin(OWNER);
  silent.finish();
  assertEquals([log.after(silent.primingId).kind, log.streams], ["gap", 1]);
  const next = log.begin(OWNER);
  for (let n = 0; n < MAX_EVENTS; n++) next.add("x");
  assertEquals([log.streams, log.after(id).kind], [1, "gap"]);
});

Deno.test("Whatever is sent and lost, what is resumed is all that followed, in order, or a gap", () => {
  const step = fc.record({
    what: fc.constantFrom(
      "begin" as const,
      "add" as const,
      "add" as const,
      "add" as const,
      "finish" as const,
    ),
    pick: fc.nat({ max: 5 }),
    size: fc.constantFrom(1, 10, MAX_CHARS / 8, MAX_CHARS / 3),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const log = new EventLog();
      const streams: { log: StreamLog; sent: string[]; over: boolean }[] = [];
      let serial = 0;
      for (const { what, pick, size } of steps) {
        const stream = streams.filter(({ over }) => !over)[pick];
        if (what === "begin") streams.push({ log: log.begin(OWNER), sent: [], over: false });
        else if (stream !== undefined && what === "add") {
          const text = `${serial++} `.padEnd(size, "x");
          stream.sent.push(text);
          assertEquals(stream.log.add(text), `${streams.indexOf(stream) + 1}-${stream.sent.length}`);
        } else if (stream !== undefined) {
          stream.log.finish();
          stream.over = true;
        }
      }
      const kept: string[] = [];
      for (const [at, { sent }] of streams.entries()) {
        for (let no = 0; no <= sent.length; no++) {
          const found = log.after(`${at + 1}-${no}`);
          if (found.kind === "gap") continue;
          assert(found.kind === "stream");
          assertEquals(found.missed.map(({ text }) => text), sent.slice(no));
          if (no === sent.length) continue;
          kept.push(sent[no]!);
        }
      }
      // The newest are kept, as many as fit.
      const all = streams.flatMap(({ sent }) => sent).sort((a, b) => parseInt(b) - parseInt(a));
      let chars = 0;
      const fitting = all.filter((text) => (chars += text.length) <= MAX_CHARS).length;
      assertEquals(log.size, fitting);
      assert(kept.length <= fitting);
    }),
    { numRuns: 200 },
  );
});
