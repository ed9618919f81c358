/**
 * What pressure does to sessions and to the sweeper, and what the log says of it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { NO_PRESSURE, type PressureReading } from "../../actors/pressure.ts";
import type { GatewayEvent, Session } from "../../actors/supervisor.ts";
import { Sweeper, type SweeperOptions } from "../../actors/sweeper.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, type HarnessOptions, LIMITS, openStream, post, request } from "../fakes/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";

const TTL = LIMITS.idleTtlMs;
/** How often the pressure is read. */
const READ = 5_000;

/** A harness with a sweeper whose pressure a test sets. */
class Sweeping implements Disposable {
  readonly harness: Harness;
  readonly sweeper: Sweeper;
  reading: PressureReading = NO_PRESSURE;
  reads = 0;

  constructor(options: HarnessOptions = {}, more: Partial<SweeperOptions> = {}) {
    this.harness = new Harness({ ...options, limits: { requestTimeoutMs: 1e9, ...options.limits } });
    const { clock, supervisor, scale } = this.harness;
    this.sweeper = new Sweeper({
      clock,
      scale,
      shortestTtlMs: TTL,
      sessions: () => supervisor.sessions,
      events: supervisor.events,
      pressure: { read: () => Promise.resolve((this.reads++, this.reading)) },
      ...more,
    });
    this.sweeper.start();
  }

  /** Memory pressure, which the sweeper reads at its next look. */
  set memory(memory: number) {
    this.reading = { ...NO_PRESSURE, memory };
  }

  async open(count: number): Promise<Session[]> {
    const sessions = [];
    for (let n = 0; n < count; n++) sessions.push((await this.harness.open()).session);
    return sessions;
  }

  [Symbol.dispose](): void {
    this.sweeper.stop();
  }
}

Deno.test("Memory pressure shortens TTLs within one reading, and the log says why", async () => {
  await using log = await LogCapture.start();
  using sweeping = new Sweeping();
  const { clock } = sweeping.harness;
  const [idle] = await sweeping.open(1);
  await clock.advance(200_000);
  const [young] = await sweeping.open(1);
  sweeping.memory = 0.9;
  await clock.advance(READ);
  await settle();
  // 165 s of 300: the older one is over, the younger one is not.
  assertEquals([idle!.endReason, young!.state], ["idle", "active"]);
  assertEquals(young!.ttl.effectiveMs, 165_000);
  assert(log.lines.includes("Effective TTL 300000ms → 165000ms of 300000ms: memory pressure 0.90"));
  sweeping.memory = 0.3;
  await clock.advance(READ);
  assertEquals(young!.ttl.effectiveMs, TTL);
  assert(log.lines.includes("Effective TTL 165000ms → 300000ms of 300000ms: memory pressure 0.30"));
  assertEquals(log.lines.filter((line) => line.startsWith("Effective TTL")).length, 2);
});

Deno.test("From its shortened deadline on a session answers 404, though no sweep has come", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(100_000);
  harness.scale.set(1);
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
  assertEquals(session.verdict?.ttl, { source: "idleTtlMs", configuredMs: TTL, effectiveMs: 30_000 });
});

Deno.test("Full caps and a busy loop shorten no TTL: they only bring the next sweep earlier", async () => {
  for (const part of ["sessions", "processes", "lag"] as const) {
    using sweeping = new Sweeping();
    const { clock } = sweeping.harness;
    const [session] = await sweeping.open(1);
    sweeping.reading = { ...NO_PRESSURE, [part]: 1 };
    await clock.advance(READ);
    assertEquals(session!.ttl.effectiveMs, TTL);
    assertEquals(sweeping.sweeper.lastSweep?.asked, 1, "it swept at once");
    assertEquals(sweeping.sweeper.intervalMs, 50_000, "and half as long later again");
    await clock.advance(TTL - READ - 1);
    assertEquals(session!.state, "active");
  }
});

Deno.test("A session in use lives through any pressure", async () => {
  using sweeping = new Sweeping({ limits: { evictable: true } });
  const { clock } = sweeping.harness;
  const [busy] = await sweeping.open(1);
  await post(busy!, request("slow"));
  sweeping.memory = 1;
  await clock.advance(2 * TTL);
  assertEquals(busy!.state, "active");
  sweeping.harness.backend.answer(1);
  await clock.advance(READ);
  assertEquals(busy!.endReason, "evicted");
});

Deno.test("Eviction begins at 0.95, takes those due earliest, and goes on until the pressure is below 0.90", async () => {
  // Each session that goes gives back a hundredth.
  using sweeping = new Sweeping({ limits: { evictable: true } }, { closeConcurrency: 2 });
  const { harness } = sweeping;
  const { clock, supervisor } = harness;
  const sessions: Session[] = [];
  for (let n = 0; n < 10; n++) {
    sessions.push(...await sweeping.open(1));
    await clock.advance(1);
  }
  const usage = {
    get memory() {
      return 0.85 + supervisor.size / 100;
    },
  };
  sweeping.reading = { ...NO_PRESSURE, memory: 0.949 };
  await clock.advance(READ);
  assertEquals(supervisor.size, 10, "below 0.95 nobody has to go");
  Object.defineProperty(sweeping, "reading", { get: () => ({ ...NO_PRESSURE, memory: usage.memory }) });
  await clock.advance(READ);
  // From 0.95 by two at a time to 0.91, then below 0.90.
  assertEquals(sessions.map(({ endReason }) => endReason === "evicted"), [
    ...Array.from({ length: 6 }, () => true),
    ...Array.from({ length: 4 }, () => false),
  ]);
  assertEquals(sweeping.sweeper.lastSweep?.evicted, 6);
});

Deno.test("Sessions of servers that do not allow it are never evicted", async () => {
  using sweeping = new Sweeping({ minTtlMs: TTL });
  const [session] = await sweeping.open(1);
  sweeping.memory = 2;
  await sweeping.harness.clock.advance(TTL - 1);
  assertEquals(session!.state, "active");
});

Deno.test("A session that becomes idle while eviction goes on goes at the next look", async () => {
  using sweeping = new Sweeping({ limits: { evictable: true } });
  const { clock } = sweeping.harness;
  const [busy] = await sweeping.open(1);
  const { backend } = sweeping.harness;
  await post(busy!, request("slow"));
  sweeping.memory = 0.96;
  await clock.advance(READ);
  // Between the two bounds it goes on once it has begun.
  sweeping.memory = 0.92;
  backend.answer(1);
  await clock.advance(READ);
  assertEquals(busy!.endReason, "evicted");
  sweeping.memory = 0.89;
  await clock.advance(READ);
  const [next] = await sweeping.open(1);
  sweeping.memory = 0.92;
  await clock.advance(READ);
  assertEquals(next!.state, "active", "and does not begin there");
});

Deno.test("The sweep interval halves where many expired, grows back, and the log tells of changes by two", async () => {
  await using log = await LogCapture.start();
  using sweeping = new Sweeping();
  const { clock } = sweeping.harness;
  const intervals: number[] = [];
  sweeping.harness.supervisor.events.subscribe((event) => {
    if (event.type === "sweep") intervals.push(event.intervalMs);
  });
  await sweeping.open(3);
  await clock.advance(3 * TTL);
  // At 100, 200 and 300 s; then those who expired are found.
  assertEquals(intervals.slice(0, 6), [100_000, 100_000, 50_000, 75_000, 100_000, 100_000]);
  const told = log.lines.filter((line) => line.startsWith("Sweep interval"));
  assertEquals(told, [
    "Sweep interval 100000ms → 50000ms: many expired",
    "Sweep interval 50000ms → 100000ms: few expired",
  ]);
});

Deno.test("The interval follows the TTL in force down, and never falls below a second", async () => {
  using sweeping = new Sweeping();
  const { clock } = sweeping.harness;
  sweeping.memory = 1;
  await clock.advance(READ);
  assertEquals(sweeping.sweeper.intervalMs, 10_000, "a third of 30 s");
  for (let n = 0; n < 20; n++) {
    sweeping.reading = { ...NO_PRESSURE, memory: 1, lag: 0 };
    await sweeping.open(2);
    await clock.advance(31_000);
  }
  assert(sweeping.sweeper.intervalMs >= 1_000 && sweeping.sweeper.intervalMs <= 10_000);
});

Deno.test("Who was refused something wakes the sweeper", async () => {
  using sweeping = new Sweeping({}, { pressure: { read: () => Promise.resolve(NO_PRESSURE) } });
  const { clock, supervisor } = sweeping.harness;
  const [session] = await sweeping.open(1);
  clock.stall(TTL);
  sweeping.sweeper.wake();
  await settle();
  assertEquals([session!.endReason, supervisor.size], ["idle", 0]);
});

Deno.test("At most so many servers are closed at a time", async () => {
  using sweeping = new Sweeping({}, { closeConcurrency: 3 });
  const { harness } = sweeping;
  await sweeping.open(8);
  for (const backend of harness.backends) backend.stubborn = true;
  await harness.clock.advance(TTL);
  const closing = () => harness.backends.filter(({ closes, closed }) => closes.length > 0 && !closed).length;
  for (const left of [8, 7, 6, 5, 4, 3, 2, 1]) {
    assertEquals([sweeping.sweeper.closing, closing()], [left, Math.min(3, left)]);
    harness.backends.find(({ closes, closed }) => closes.length > 0 && !closed)!.finishClose();
    await settle();
  }
  assertEquals([sweeping.sweeper.closing, harness.supervisor.size], [0, 0]);
});

Deno.test("A sweep rests three times as long as it works", async () => {
  const harness = new Harness();
  const { clock } = harness;
  for (let n = 0; n < 300; n++) await harness.open();
  const asked: number[] = [];
  // Asking one takes 0.1 ms of this clock.
  const sessions = function* () {
    for (const session of harness.supervisor.sessions) {
      clock.stall(0.1);
      asked.push(clock.now());
      yield session;
    }
  };
  const sweeper = new Sweeper({ clock, shortestTtlMs: TTL, sessions });
  sweeper.start();
  await clock.advance(TTL / 3 + 1_000);
  assertEquals(asked.length, 300);
  const gaps = asked.map((at, n) => n === 0 ? 0 : at - asked[n - 1]!).filter((gapMs) => gapMs > 1);
  assertEquals(gaps.length, 4, "after each 64");
  for (const gapMs of gaps) assert(gapMs >= 3 * 6.4, `it rested for ${gapMs} ms after 6.4 ms of work`);
  sweeper.stop();
});

Deno.test("A source of pressure that fails is logged, and sweeps go on", async () => {
  await using log = await LogCapture.start();
  let reads = 0;
  const read = () => reads++ === 0 ? Promise.reject(new Error("out of order")) : Promise.resolve(NO_PRESSURE);
  using sweeping = new Sweeping({}, { pressure: { read } });
  const [session] = await sweeping.open(1);
  await sweeping.harness.clock.advance(TTL);
  assert(log.lines.some((line) => line.includes("out of order")));
  assertEquals(session!.endReason, "idle");
});

Deno.test("Watchers are told of sweeps and of pressure", async () => {
  using sweeping = new Sweeping();
  const seen: GatewayEvent[] = [];
  sweeping.harness.supervisor.events.subscribe((event) => void seen.push(event));
  sweeping.reading = { memory: 0.95, sessions: 0, processes: 0, lag: 0.97 };
  await sweeping.harness.clock.advance(READ);
  const at = sweeping.harness.clock.wallTime();
  assertEquals(seen, [
    { at, type: "pressure", memory: 0.95, load: 0.97, part: "lag", scale: 1 },
    {
      at,
      type: "sweep",
      asked: 0,
      expired: 0,
      evicted: 0,
      tookMs: 0,
      intervalMs: 10_000,
      cause: "load pressure rose",
    },
  ]);
});

Deno.test("A stream of a session that expired under pressure is closed by the sweep", async () => {
  using sweeping = new Sweeping();
  const [session] = await sweeping.open(1);
  const { stream } = await openStream(session!);
  await sweeping.harness.clock.advance(100_000);
  sweeping.memory = 1;
  await sweeping.harness.clock.advance(READ);
  assertEquals([stream.open, session!.endReason], [false, "idle"]);
});
