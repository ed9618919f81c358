import * as fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import type { StreamLog } from "../../actors/client.ts";
import { isEpoch, newEpoch } from "../../actors/event_ids.ts";
import { EventLog, type Resumable } from "../../actors/event_log.ts";

import { rpcErrorText } from "../../errors.ts";

const OWNER: Resumable = { resume: () => {} };
const MAX_EVENTS = 1_000;
const MAX_CHARS = 4 * 1024 * 1024;

const EPOCH = "0123abcz";

/** An id of an event of a log with that epoch. */
function id(stream: number, event: number, tag = ""): string {
  return `${EPOCH}.${stream}-${event}${tag}`;
}

function missedBy(log: EventLog, id: string): string[] | string {
  const found = log.after(id);
  return found.kind === "stream" ? found.missed.map(({ text }) => text) : found.kind;
}

Deno.test("What followed an event is found, of its stream and of no other", () => {
  const log = new EventLog(EPOCH);
  const [one, two] = [log.begin(OWNER, 1), log.begin(OWNER)];
  const ids = ["a", "b"].map((text) => one.add(text));
  two.add("x");
  one.add("c");
  assertEquals(
    [one.primingId, two.primingId, ...ids],
    [id(1, 0, ".MQ"), id(2, 0), id(1, 1, ".MQ"), id(1, 2, ".MQ")],
  );
  assertEquals([one.lastId, two.lastId], [id(1, 3, ".MQ"), id(2, 1)]);
  assertEquals(missedBy(log, one.primingId), ["a", "b", "c"]);
  assertEquals(missedBy(log, ids[1]!), ["c"]);
  assertEquals(missedBy(log, one.lastId), []);
  assertEquals(missedBy(log, two.primingId), ["x"]);
});

Deno.test("Ids that this log never gave lead nowhere", () => {
  const log = new EventLog(EPOCH);
  log.begin(OWNER).add("a");
  assertEquals(log.after(id(1, 1)).kind, "stream");
  const numbers = [
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
    .concat(["99999999999999999999-1", "1-99999999999999999999", "constructor-1", "1-1\n", "1-1.MQ", "1-1."]);
  for (const text of [...numbers, "1-1"]) {
    if (text !== "1-1") assertEquals(log.after(`${EPOCH}.${text}`).kind, "unknown", JSON.stringify(text));
    assertEquals(log.after(text).kind, "unknown", JSON.stringify(text));
    assertEquals(log.after(`.${text}`).kind, "unknown");
    assertEquals(log.after(`${EPOCH.toUpperCase()}.${text}`).kind, "unknown");
  }
});

Deno.test("The oldest events go first, and a stream that lost some says so", () => {
  const log = new EventLog();
  const [old, young] = [log.begin(OWNER, 1), log.begin(OWNER, 2)];
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
  const over = log.begin(OWNER, 1);
  const id = over.add("progress");
  over.add("answer");
  over.finish();
  over.finish();
  const found = log.after(id);
  assert(found.kind === "stream" && found.owner === undefined);
  assertEquals(found.missed.map(({ text }) => text), ["answer"]);
  const silent = log.begin(OWNER, "s");
  silent.finish();
  assertEquals([log.after(silent.primingId).kind, log.streams], ["gap", 1]);
  const next = log.begin(OWNER, "n");
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
  const idIn = (at: number, no: number) =>
    id(at + 1, no, `.${Buffer.from(String(at)).toString("base64url")}`);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const log = new EventLog(EPOCH);
      const streams: { log: StreamLog; sent: string[]; over: boolean }[] = [];
      let serial = 0;
      for (const { what, pick, size } of steps) {
        const stream = streams.filter(({ over }) => !over)[pick];
        if (what === "begin") streams.push({ log: log.begin(OWNER, streams.length), sent: [], over: false });
        else if (stream !== undefined && what === "add") {
          const text = `${serial++} `.padEnd(size, "x");
          stream.sent.push(text);
          assertEquals(stream.log.add(text), idIn(streams.indexOf(stream), stream.sent.length));
        } else if (stream !== undefined) {
          stream.log.finish();
          stream.over = true;
        }
      }
      const kept: string[] = [];
      for (const [at, { sent }] of streams.entries()) {
        for (let no = 0; no <= sent.length; no++) {
          const found = log.after(idIn(at, no));
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

Deno.test("A newer standalone stream takes the place of the older one", () => {
  const log = new EventLog();
  const [older, newer] = [log.begin(OWNER), log.begin(OWNER)];
  older.add("late");
  const [before, after] = [log.after(older.primingId), log.after(newer.primingId)];
  assert(before.kind === "gap" && after.kind === "stream" && after.owner === OWNER);
});

Deno.test("Ids of other logs are told apart, and say which request they are of", () => {
  const log = new EventLog();
  assertEquals(log.after(new EventLog().begin(OWNER, "é").add("x")), { kind: "elsewhere", requestId: "é" });
  assertEquals(log.after(new EventLog().begin(OWNER).primingId), { kind: "elsewhere", requestId: undefined });
  const epochs = new Set(Array.from({ length: 1_000 }, () => newEpoch()));
  assertEquals([epochs.size, [...epochs].every(isEpoch)], [1_000, true]);
});

const STANDALONE: Resumable = { resume: () => {} };
const INTERRUPTED = rpcErrorText({ code: "interrupted" }, "r");

Deno.test("A log outlives its process: numbers, gaps, the standalone stream, what is over; requests are interrupted", () => {
  const log = new EventLog(EPOCH);
  const answered = log.begin(OWNER, 1);
  const lost = answered.add("progress");
  answered.add("answer");
  answered.finish();
  const standalone = log.begin(OWNER);
  const told = standalone.add("told");
  const waiting = log.begin(OWNER, "r");
  waiting.add("progress of r");
  const silent = log.begin(OWNER, "s");
  silent.finish();

  const text = log.export(["kept"])!;
  assertEquals(log.export(["kept"]), text);
  assertEquals(missedBy(log, told), []);
  const restored = EventLog.restore(text, STANDALONE);
  assertEquals(missedBy(restored, lost), ["answer"]);
  assertEquals(missedBy(restored, told), ["kept"]);
  assertEquals(missedBy(restored, waiting.primingId), ["progress of r", INTERRUPTED]);
  assertEquals(missedBy(restored, silent.primingId), "gap");
  const owners = [answered, standalone, waiting].map(({ primingId }) => {
    const found = restored.after(primingId);
    assert(found.kind === "stream");
    return found.owner;
  });
  assertEquals(owners, [undefined, STANDALONE, undefined]);

  // It goes on where it was.
  const found = restored.after(told);
  assert(found.kind === "stream");
  assertEquals(found.log.add("more"), id(2, 3));
  assertEquals(restored.begin(OWNER).primingId, id(5, 0));
  assertEquals(EventLog.restore(restored.export()!, STANDALONE).export(), restored.export());
});

Deno.test("What of a stream went before its log was written down is a gap in the next run too", () => {
  const log = new EventLog(EPOCH);
  const stream = log.begin(OWNER);
  for (let n = 0; n < MAX_EVENTS + 2; n++) stream.add(String(n));
  const restored = EventLog.restore(log.export()!, STANDALONE);
  assertEquals([0, 1].map((event) => missedBy(restored, id(1, event))), ["gap", "gap"]);
  const missed = missedBy(restored, id(1, 2));
  assertEquals([missed.length, missed[0]], [MAX_EVENTS, "2"]);
});

Deno.test("A log in which no stream was begun is not worth keeping", () => {
  assertEquals(new EventLog().export(["kept"]), undefined);
});

Deno.test("What is over its bounds with the errors of what was interrupted loses the oldest", () => {
  const log = new EventLog(EPOCH);
  const first = log.begin(OWNER, "r").primingId;
  const stream = log.begin(OWNER);
  for (let n = 0; n < MAX_EVENTS; n++) stream.add(String(n));
  const restored = EventLog.restore(log.export()!, STANDALONE);
  assertEquals(restored.size, MAX_EVENTS);
  assertEquals([missedBy(restored, stream.primingId), missedBy(restored, first)], ["gap", [INTERRUPTED]]);
});

/** A small log, to be damaged. */
function smallLog(): Record<string, unknown> & { streams: unknown[][]; events: unknown[][] } {
  const log = new EventLog(EPOCH);
  log.begin(OWNER).add("a");
  log.begin(OWNER, "r").add("b");
  return JSON.parse(log.export()!);
}

const DAMAGED: [string, (log: ReturnType<typeof smallLog>) => unknown][] = [
  ["another form", (log) => ({ ...log, form: 2 })],
  ["no epoch", ({ epoch: _, ...log }) => log],
  ["a strange epoch", (log) => ({ ...log, epoch: "0123ABCZ" })],
  ["fewer streams than there are", (log) => ({ ...log, last: 1 })],
  ["a number that no id can have", (log) => ({ ...log, last: 1e15 })],
  ["streams that are no list", (log) => ({ ...log, streams: {} })],
  ["no events", ({ events: _, ...log }) => log],
  ["one stream twice", (log) => ({ ...log, streams: [log.streams[0], ...log.streams] })],
  ["a stream without a number", (log) => ({ ...log, streams: [[0, 0, 0, false], ...log.streams] })],
  ["a stream that goes on for ever", (log) => ({ ...log, streams: [[1, 1e300, 0, true]] })],
  ["two streams that go on", (log) => ({ ...log, last: 3, streams: [...log.streams, [3, 0, 0, true]] })],
  ["a request that goes on", (log) => ({ ...log, last: 3, streams: [[3, 0, 0, true, "x"]], events: [] })],
  ["a request without an id", (log) => ({ ...log, last: 3, streams: [[3, 0, 0, false, null]], events: [] })],
  ["more gone than there was", (log) => ({ ...log, last: 3, streams: [[3, 1, 2, false]], events: [] })],
  ["an event of no stream", (log) => ({ ...log, events: [...log.events, [7, 1, "x"]] })],
  ["an event too few", (log) => ({ ...log, events: log.events.slice(1) })],
  ["an event too many", (log) => ({ ...log, events: [...log.events, [1, 2, "x"]] })],
  ["events that changed places", (log) => ({ ...log, events: log.events.toReversed() })],
  [
    "an event with a line break",
    (log) => ({ ...log, events: [[1, 1, "a\n\ndata: x"], ...log.events.slice(1)] }),
  ],
  ["an event that is no text", (log) => ({ ...log, events: [[1, 1, null], ...log.events.slice(1)] })],
  ["nothing", () => null],
  ["a list", () => []],
];
for (const [what, damage] of DAMAGED) {
  Deno.test(`A text with ${what} gives an empty log`, () => {
    const log = EventLog.restore(JSON.stringify(damage(smallLog())), STANDALONE);
    assertEquals([log.size, log.streams, log.after(id(1, 0)).kind], [0, 0, "elsewhere"]);
  });
}

Deno.test("A text that is cut, changed or invented gives a log that is whole or empty, and never throws", () => {
  const text = JSON.stringify(smallLog());
  const whole = EventLog.restore(text, STANDALONE);
  assertEquals([whole.size, whole.streams], [3, 2]);
  for (let at = 0; at < text.length; at++) {
    assertEquals(EventLog.restore(text.slice(0, at), STANDALONE).size, 0);
    for (const char of ['"', "0", "]", "\u0000", "z"]) {
      const log = EventLog.restore(text.slice(0, at) + char + text.slice(at + 1), STANDALONE);
      log.export();
      log.begin(OWNER).add("x");
    }
  }
  fc.assert(fc.property(fc.string(), (text) => EventLog.restore(text, STANDALONE).size === 0));
  fc.assert(fc.property(fc.json(), (text) => EventLog.restore(text, STANDALONE).size === 0));
});
