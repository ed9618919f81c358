import { type Clock, systemClock, type Timer } from "../clock.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { FakeClock, settle } from "./fakes/fake_clock.ts";

for (const delayMs of [NaN, Infinity, -Infinity]) {
  Deno.test(`A timer of ${delayMs} ms is a mistake`, () => {
    assertThrows(() => systemClock.after(delayMs, () => {}), RangeError);
  });
}

Deno.test("A timer of 2^31 ms does not fire at once", async () => {
  let fired = false;
  const cancel = systemClock.after(2 ** 31, () => fired = true);
  for (let turn = 0; turn < 20; turn++) await settle();
  cancel();
  assert(!fired);
});

Deno.test("A cancelled timer does not fire, and cancelling after it fired is harmless", async () => {
  const fired: string[] = [];
  const cancel = systemClock.after(0, () => fired.push("cancelled"));
  cancel();
  const late = await new Promise<() => void>((resolve) => {
    const cancel = systemClock.after(0, () => {
      fired.push("fired");
      resolve(cancel);
    });
  });
  late();
  await settle();
  assertEquals(fired, ["fired"]);
});

Deno.test("Timers of the machine's clock fire in order and none is early", async () => {
  const fired: { delayMs: number; earlyMs: number }[] = [];
  // Set in the order in which they are due, however long setting them takes.
  const delays = [-1, 0, 0.25, 1, 3.5, 7, 7, 12, 20];
  await Promise.all(delays.map((delayMs) => {
    const start = systemClock.now();
    return new Promise<void>((resolve) =>
      void systemClock.after(delayMs, () => {
        fired.push({ delayMs, earlyMs: start + delayMs - systemClock.now() });
        resolve();
      })
    );
  }));
  assertEquals(fired.map(({ delayMs }) => delayMs), delays);
  assertEquals(fired.filter(({ earlyMs }) => earlyMs > 0), []);
});

Deno.test("While very many timers of the machine's clock fire, others get their turn", async () => {
  const TIMERS = 20_000;
  let fired = 0;
  let turnsBetween = 0;
  const done = new Promise<void>((resolve) => {
    for (let n = 0; n < TIMERS; n++) {
      systemClock.after(0, () => {
        // Long enough for more than one slice, however fast the machine is.
        const until = systemClock.now() + 0.001;
        while (systemClock.now() < until);
        if (++fired === TIMERS) resolve();
      });
    }
  });
  let over = false;
  void done.then(() => over = true);
  while (!over) {
    await settle();
    if (fired > 0 && fired < TIMERS) turnsBetween++;
  }
  assert(turnsBetween > 0);
});

Deno.test("The clock of the machine never goes back, and its wall time is that of today", () => {
  const first = systemClock.now();
  assert(systemClock.now() >= first);
  assert(systemClock.wallTime() > Date.UTC(2024, 0, 1));
});

Deno.test("FakeClock fires timers in the order in which they are due, ties by age", async () => {
  const clock = new FakeClock();
  const fired: [string, number][] = [];
  const start = clock.now();
  const at = (delayMs: number, name: string) =>
    clock.after(delayMs, () => fired.push([name, clock.now() - start]));
  at(30, "c");
  at(10, "a");
  at(30, "d");
  at(20, "b");
  at(-5, "first");
  await clock.advance(29);
  assertEquals(fired, [["first", 0], ["a", 10], ["b", 20]]);
  await clock.advance(1);
  assertEquals(fired.slice(3), [["c", 30], ["d", 30]]);
  assertEquals(clock.pending, 0);
});

Deno.test("FakeClock fires timers that are set while it moves, and lets everything settle between two", async () => {
  const clock = new FakeClock();
  const seen: string[] = [];
  clock.after(10, async () => {
    seen.push("a");
    await Promise.resolve();
    seen.push("a settled");
    clock.after(5, () => seen.push("set meanwhile"));
  });
  clock.after(10, () => seen.push("b"));
  await clock.advance(15);
  assertEquals(seen, ["a", "a settled", "b", "set meanwhile"]);
});

Deno.test("FakeClock that stalls fires nothing until it moves again, then all that is late", async () => {
  const clock = new FakeClock();
  const start = clock.now();
  let firedAt = 0;
  clock.after(10, () => firedAt = clock.now() - start);
  clock.stall(100);
  await settle();
  assertEquals(firedAt, 0);
  assertEquals(clock.nextAt, start + 10);
  await clock.advance(0);
  assertEquals(firedAt, 100);
  assertEquals(clock.nextAt, Infinity);
});

Deno.test("FakeClock refuses the same delays as the clock of the machine", () => {
  const clock: Clock = new FakeClock();
  for (const delayMs of [NaN, Infinity, -Infinity]) {
    assertThrows(() => clock.after(delayMs, () => {}), RangeError);
  }
});

Deno.test("FakeClock fires a timer that its owner keeps once for the last time that it was set, unless taken back", async () => {
  const clock = new FakeClock();
  const start = clock.now();
  const firedAt: number[] = [];
  const timer: Timer = { slot: -1, fire: () => void firedAt.push(clock.now() - start) };
  clock.set(10, timer);
  clock.set(20, timer);
  assertEquals(clock.pending, 1);
  await clock.advance(30);
  assertEquals(firedAt, [20]);
  clock.clear(timer);
  clock.set(10, timer);
  clock.clear(timer);
  await clock.advance(30);
  assertEquals([firedAt, clock.pending], [[20], 0]);
  assertThrows(() => clock.set(NaN, timer), RangeError);
});

Deno.test("The machine's clock fires a timer that its owner keeps, unless it is taken back", async () => {
  const fired: string[] = [];
  const taken: Timer = { slot: -1, fire: () => void fired.push("taken back") };
  systemClock.set(0, taken);
  systemClock.clear(taken);
  await new Promise<void>((resolve) => systemClock.set(1, { slot: -1, fire: resolve }));
  systemClock.clear(taken);
  assertEquals(fired, []);
  assertThrows(() => systemClock.set(Infinity, taken), RangeError);
});
