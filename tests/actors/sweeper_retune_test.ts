import { assertEquals, assertThrows } from "@std/assert";
import { Sweeper } from "../../actors/sweeper.ts";
import { FakeClock } from "../fakes/fake_clock.ts";

/** A sweeper, and when it asked for the sessions, in ms. */
function start(shortestTtlMs: number | undefined) {
  const clock = new FakeClock();
  const at: number[] = [];
  const sweeper = new Sweeper({ clock, shortestTtlMs, sessions: () => (at.push(clock.now()), []) });
  const from = clock.now();
  sweeper.start();
  return { clock, sweeper, sweeps: () => at.splice(0).map((ms) => ms - from) };
}

Deno.test("Without a TTL the sweeper rests, and a first TTL wakes it", async () => {
  const { clock, sweeper, sweeps } = start(undefined);
  sweeper.wake();
  await clock.advance(3_600_000);
  assertEquals([sweeper.resting, clock.pending, sweeps()], [true, 0, []]);
  sweeper.retune(30_000);
  assertEquals([sweeper.resting, sweeper.intervalMs, clock.pending], [false, 10_000, 1]);
  // What was refused meanwhile is made good by the first sweep.
  await clock.advance(10_000);
  assertEquals(sweeps(), [3_610_000]);
  sweeper.stop();
  assertEquals(clock.pending, 0);
});

Deno.test("A shorter TTL is swept for at once, a longer one bit by bit", async () => {
  const { clock, sweeper, sweeps } = start(300_000);
  await clock.advance(50_000);
  sweeper.retune(30_000);
  await clock.advance(10_000);
  assertEquals([sweeps(), sweeper.intervalMs], [[60_000], 10_000]);
  sweeper.retune(300_000);
  assertEquals(sweeper.intervalMs, 10_000);
  await clock.advance(10_000);
  assertEquals([sweeps(), sweeper.intervalMs], [[70_000], 15_000]);
  sweeper.stop();
});

Deno.test("Without a TTL any more the sweeper goes to rest, also in the middle of a sweep", async () => {
  const { clock, sweeper, sweeps } = start(30_000);
  sweeper.wake();
  sweeper.retune(undefined);
  await clock.advance(3_600_000);
  assertEquals([sweeps().length <= 1, sweeper.resting, clock.pending], [true, true, 0]);
  sweeper.retune(30_000);
  await clock.advance(10_000);
  assertEquals(sweeps().length, 1);
  sweeper.stop();
});

Deno.test("To be told of the same TTL changes nothing, and after the stop nothing starts again", async () => {
  const { clock, sweeper, sweeps } = start(30_000);
  await clock.advance(9_000);
  sweeper.retune(30_000);
  await clock.advance(1_000);
  assertEquals(sweeps(), [10_000]);
  sweeper.stop();
  sweeper.retune(3_000);
  assertEquals(clock.pending, 0);
});

for (const ttlMs of [0, -1, NaN, Infinity]) {
  Deno.test(`Nothing can be swept for a TTL of ${ttlMs} ms`, () => {
    const { sweeper } = start(30_000);
    assertThrows(() => sweeper.retune(ttlMs), RangeError);
    sweeper.stop();
  });
}
