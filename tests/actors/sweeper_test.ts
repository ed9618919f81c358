import type { Session } from "../../actors/supervisor.ts";
import { SWEEPS_PER_TTL } from "../../actors/pressure.ts";
import { Sweeper } from "../../actors/sweeper.ts";
import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, LIMITS, openStream, post, request } from "../fakes/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";

const TTL = LIMITS.idleTtlMs;
const INTERVAL = TTL / SWEEPS_PER_TTL;
/** The most sessions that are closed at a time. */
const AT_A_TIME = 32;

/** A sweeper of a harness, which stops when it is disposed. */
class Sweeping implements Disposable {
  readonly sweeper: Sweeper;

  constructor(harness: Harness, { intervalMs = INTERVAL, sessions = () => harness.supervisor.sessions }: {
    intervalMs?: number;
    sessions?: () => Iterable<Session>;
  } = {}) {
    this.sweeper = new Sweeper({
      clock: harness.clock,
      shortestTtlMs: intervalMs * SWEEPS_PER_TTL,
      sessions,
    });
    this.sweeper.start();
  }

  [Symbol.dispose](): void {
    this.sweeper.stop();
  }
}

/** Opens that many sessions. */
async function openMany(harness: Harness, count: number): Promise<Session[]> {
  const sessions: Session[] = [];
  for (let i = 0; i < count; i++) sessions.push((await harness.open()).session);
  return sessions;
}

for (const ttlMs of [0, -1, NaN, Infinity, -Infinity]) {
  Deno.test(`A sweeper for a TTL of ${ttlMs} ms is a mistake`, () => {
    const { clock } = new Harness();
    assertThrows(
      () => new Sweeper({ clock, shortestTtlMs: ttlMs, sessions: () => [] }),
      RangeError,
      `got ${ttlMs}`,
    );
  });
}

Deno.test("Sweeper asks at each interval and not before", async () => {
  const harness = new Harness();
  let sweeps = 0;
  using _ = new Sweeping(harness, { intervalMs: 100, sessions: () => (sweeps++, []) });
  for (const [ms, expected] of [[0, 0], [99, 0], [1, 1], [99, 1], [1, 2], [350, 5]] as const) {
    await harness.clock.advance(ms);
    assertEquals(sweeps, expected);
  }
});

Deno.test("Sweeper closes what expired, leaves the rest, and is done within one interval of the deadline", async () => {
  const harness = new Harness();
  using _ = new Sweeping(harness);
  const { session: idle, backend } = await harness.open();
  const { session: busy } = await harness.open();
  await post(busy, request("slow"));
  const { session: used } = await harness.open();
  await harness.clock.advance(TTL - 1);
  await post(used, request("ping"));
  assertEquals(idle.state, "active");
  await harness.clock.advance(INTERVAL + 1);
  assertEquals(idle.endReason, "idle");
  assertEquals(backend.closes.length, 1);
  assertEquals([...harness.supervisor.sessions], [busy, used]);
  assertEquals(busy.state, "active");
});

Deno.test("Sweeper writes the two cleanup lines, the second at debug level", async () => {
  await using log = await LogCapture.start();
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(TTL);
  using _ = new Sweeping(harness, { intervalMs: 20_999 });
  await harness.clock.advance(20_998);
  const before = log.records.length;
  await harness.clock.advance(1);
  const swept = log.records.slice(before).filter(({ category }) => category.includes("sweeper"));
  assertEquals(swept.map(({ level, message }) => [level, message.join("")]), [
    ["info", "Cleaning up 1 expired streamable session(s)"],
    ["debug", `Closing streamable session ${session.handle} (idle for 320s)`],
    ["info", "Sweep interval 20999ms → 10499ms: many expired"],
  ]);
  assertFalse(log.lines.join("\n").includes(session.id), "the id is a credential");
});

Deno.test("Sweeper counts all that expired in one line", async () => {
  await using log = await LogCapture.start();
  const harness = new Harness();
  await openMany(harness, 3);
  await harness.clock.advance(TTL);
  using _ = new Sweeping(harness, { intervalMs: 1 });
  await harness.clock.advance(1);
  assert(log.lines.includes("Cleaning up 3 expired streamable session(s)"));
  assertEquals(log.lines.filter((line) => line.startsWith("Closing streamable session")).length, 3);
});

Deno.test("Sweeper counts each kind by itself, and calls bridge sessions clients", async () => {
  await using log = await LogCapture.start();
  const harness = new Harness();
  const first = await harness.open("bridge");
  await harness.open("bridge");
  await harness.open();
  await harness.clock.advance(TTL);
  using _ = new Sweeping(harness, { intervalMs: 20_000 });
  const before = log.lines.length;
  await harness.clock.advance(20_000);
  const lines = log.lines.slice(before);
  assert(lines.includes("Cleaning up 2 expired bridge client(s)"));
  assert(lines.includes("Cleaning up 1 expired streamable session(s)"));
  assert(lines.includes(`Closing bridge client client_${first.session.handle} (idle for 320s)`));
  assertEquals(lines.filter((line) => line.startsWith("Closing streamable session")).length, 1);
});

Deno.test("A session keeps its kind to its tombstone", async () => {
  for (
    const [asked, kind] of [[undefined, "streamable"], ["streamable", "streamable"], [
      "bridge",
      "bridge",
    ]] as const
  ) {
    const harness = new Harness();
    const { session } = await harness.open(asked);
    assertEquals(session.kind, kind);
    await session.end("admin");
    await settle();
    assertEquals(harness.supervisor.tombstones.get(session.handle)?.kind, kind);
  }
});

Deno.test("Sweeper that finds nothing says nothing", async () => {
  await using log = await LogCapture.start();
  const harness = new Harness();
  using _ = new Sweeping(harness, { intervalMs: 1_000 });
  await harness.open();
  await harness.clock.advance(TTL - 1);
  assertEquals(log.records.filter(({ category }) => category.includes("sweeper")), []);
});

Deno.test("A session that is used in the instant before its sweep is not swept", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(TTL - 1);
  using _ = new Sweeping(harness, { intervalMs: 1 });
  const reply = await post(session, request("ping"));
  await harness.clock.advance(1);
  assertEquals(reply.completion, undefined);
  assertEquals(session.state, "active");
});

Deno.test("A message that reaches an expired session while the sweep works on others gets 404 once", async () => {
  const harness = new Harness();
  const sessions = await openMany(harness, AT_A_TIME + 1);
  for (const backend of harness.backends) backend.stubborn = true;
  await harness.clock.advance(TTL);
  using _ = new Sweeping(harness, { intervalMs: 1 });
  await harness.clock.advance(1);
  const waiting = sessions.at(-1)!;
  assertEquals(waiting.state, "expired", "its turn has not come");
  assertEquals((await post(waiting, request("ping"))).failed, "sessionNotFound");
  assertEquals((await openStream(waiting)).reply.failed, "sessionNotFound");
  for (const backend of harness.backends) {
    backend.finishClose();
    await settle();
  }
  assertEquals(waiting.endReason, "idle");
});

Deno.test("Sweeper never closes more than 32 at a time, and starts the next as soon as one is closed", async () => {
  const harness = new Harness();
  await openMany(harness, 3 * AT_A_TIME);
  for (const backend of harness.backends) backend.stubborn = true;
  await harness.clock.advance(TTL);
  using _ = new Sweeping(harness, { intervalMs: 1 });
  await harness.clock.advance(1);
  const closing = () => harness.backends.filter(({ closes, closed }) => closes.length > 0 && !closed);
  for (let closed = 0; closed < 3 * AT_A_TIME; closed++) {
    assertEquals(closing().length, Math.min(AT_A_TIME, 3 * AT_A_TIME - closed));
    closing().at(-1)!.finishClose();
    await settle();
  }
  assertEquals(harness.supervisor.size, 0);
});

Deno.test("A server that takes its time to leave delays no sweep, and is closed once", async () => {
  const harness = new Harness();
  let sweeps = 0;
  const { backend } = await harness.open();
  backend.stubborn = true;
  await harness.clock.advance(TTL);
  using sweeping = new Sweeping(harness, {
    intervalMs: 100,
    sessions: () => (sweeps++, harness.supervisor.sessions),
  });
  await harness.clock.advance(1_000);
  assertEquals([sweeps, backend.closes.length, sweeping.sweeper.closing], [10, 1, 1]);
  backend.finishClose();
  await settle();
  assertEquals([harness.supervisor.size, sweeping.sweeper.closing], [0, 0]);
});

Deno.test("A session that is ended while it waits for the sweep keeps the reason with which it expired", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(TTL);
  await session.end("shutdown");
  using _ = new Sweeping(harness, { intervalMs: 1 });
  await harness.clock.advance(1);
  assertEquals(session.endReason, "idle");
  assertEquals(harness.backend.closes.length, 1);
});

Deno.test("A thousand sessions that expire at once are swept in one sweep", async () => {
  const harness = new Harness();
  const sessions = await openMany(harness, 1_000);
  using sweeping = new Sweeping(harness);
  await harness.clock.advance(TTL);
  // Ends begin a few in a turn.
  for (let turn = 0; turn < 20; turn++) await harness.clock.advance(0);
  assertEquals(harness.supervisor.size, 0);
  assert(sessions.every(({ endReason, held }) => endReason === "idle" && held === 0));
  assert(harness.backends.every(({ closes }) => closes.length === 1));
  sweeping.sweeper.stop();
  assertEquals(harness.clock.pending, 0);
});

Deno.test("A stopped sweeper leaves no timer and sweeps no more; stopping is idempotent", async () => {
  const harness = new Harness();
  let sweeps = 0;
  using sweeping = new Sweeping(harness, { intervalMs: 10, sessions: () => (sweeps++, []) });
  await harness.clock.advance(15);
  sweeping.sweeper.stop();
  sweeping.sweeper.stop();
  assertEquals(harness.clock.pending, 0);
  await harness.clock.advance(100);
  assertEquals(sweeps, 1);
});

Deno.test("A sweeper that is stopped in mid-sweep closes what it found, then leaves no timer", async () => {
  const harness = new Harness();
  const sessions = await openMany(harness, AT_A_TIME + 1);
  for (const backend of harness.backends) backend.stubborn = true;
  await harness.clock.advance(TTL);
  using sweeping = new Sweeping(harness, { intervalMs: 1 });
  await harness.clock.advance(1);
  sweeping.sweeper.stop();
  for (const backend of harness.backends) {
    backend.stubborn = false;
    if (backend.closes.length > 0) backend.finishClose();
  }
  await settle();
  assert(sessions.every(({ endReason }) => endReason === "idle"));
  assertEquals(harness.clock.pending, 0);
});

Deno.test("A sweep that fails is logged, and the next one comes all the same", async () => {
  await using log = await LogCapture.start();
  const harness = new Harness();
  let sweeps = 0;
  const sessions = () => {
    if (++sweeps === 1) throw new Error("out of order");
    return [];
  };
  using _ = new Sweeping(harness, { intervalMs: 10, sessions });
  await harness.clock.advance(20);
  assertEquals(sweeps, 2);
  assert(log.lines.some((line) => line.includes("out of order")));
});
