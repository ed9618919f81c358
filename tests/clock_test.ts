import { type Clock, systemClock } from "../clock.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { FakeClock, settle } from "./fakes/fake_clock.ts";

/** What one call of a replaced `setTimeout` was asked for. */
interface Asked {
  readonly delayMs: number;
  readonly fire: () => void;
}

/** Runs `body` with timers that fire when it says so. */
function withTimers(body: (timers: Asked[], cleared: number[]) => void): void {
  const { setTimeout, clearTimeout } = globalThis;
  const timers: Asked[] = [];
  const cleared: number[] = [];
  const fakes = {
    setTimeout: (fire: () => void, delayMs: number) => timers.push({ delayMs, fire }),
    clearTimeout: (id: number) => void cleared.push(id),
  };
  Object.assign(globalThis, fakes);
  try {
    body(timers, cleared);
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
  }
}

const MAX = 2 ** 31 - 1;

// [delay in ms, the runtime's timers that it takes].
for (
  const [delayMs, steps] of [
    [-Infinity, undefined],
    [-1, [0]],
    [0, [0]],
    [1, [1]],
    [0.5, [0.5]],
    [MAX - 1, [MAX - 1]],
    [MAX, [MAX]],
    [MAX + 1, [MAX, 1]],
    [2 * MAX, [MAX, MAX]],
    [2 * MAX + 5, [MAX, MAX, 5]],
    [Infinity, undefined],
    [NaN, undefined],
  ] as const
) {
  Deno.test(`A timer of ${delayMs} ms ${steps ? `takes steps of ${steps.join(" + ")} ms` : "is a mistake"}`, () => {
    withTimers((timers) => {
      let fired = 0;
      if (steps === undefined) {
        assertThrows(() => systemClock.after(delayMs, () => fired++), RangeError);
        return assertEquals(timers.length, 0);
      }
      systemClock.after(delayMs, () => fired++);
      for (const [at, stepMs] of steps.entries()) {
        assertEquals(timers.length, at + 1);
        assertEquals(timers[at]!.delayMs, stepMs);
        assertEquals(fired, 0);
        timers[at]!.fire();
      }
      assertEquals(timers.length, steps.length);
      assertEquals(fired, 1);
    });
  });
}

Deno.test("A long timer can be cancelled in any of its steps", () => {
  withTimers((timers, cleared) => {
    const cancel = systemClock.after(3 * MAX, () => {});
    timers[0]!.fire();
    cancel();
    assertEquals(cleared, [2]);
    cancel();
  });
});

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
