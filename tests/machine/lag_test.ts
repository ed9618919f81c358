import { assert, assertEquals, assertThrows } from "@std/assert";
import { LagMeter } from "../../machine/lag.ts";
import { FakeClock } from "../fakes/fake_clock.ts";

/** A meter that has been measuring for a while. */
async function running(periodMs = 100): Promise<{ clock: FakeClock; meter: LagMeter }> {
  const clock = new FakeClock();
  const meter = new LagMeter({ clock, periodMs });
  meter.start();
  await clock.advance(10 * periodMs);
  return { clock, meter };
}

Deno.test("A loop that is on time has no lag", async () => {
  const { meter } = await running();
  assertEquals(meter.lagMs, 0);
});

Deno.test("A stall is seen as far as it reaches beyond the instant at which the timer was due", async () => {
  const { clock, meter } = await running();
  clock.stall(350);
  await clock.advance(0);
  assertEquals(meter.lagMs, 250);
});

Deno.test("A stall is seen by whoever asks before the timer had its turn", async () => {
  const { clock, meter } = await running();
  clock.stall(350);
  assertEquals(meter.lagMs, 250);
  assertEquals(meter.lagMs, 250, "asking changes nothing");
});

Deno.test("A stall that ends before the timer is due goes unseen", async () => {
  const { clock, meter } = await running();
  clock.stall(99);
  await clock.advance(1_000);
  assertEquals(meter.lagMs, 0);
});

Deno.test("A lag counts half after five seconds, and a quarter after ten", async () => {
  const { clock, meter } = await running();
  clock.stall(500);
  await clock.advance(0);
  await clock.advance(5_000);
  assertNear(meter.lagMs, 200);
  await clock.advance(5_000);
  assertNear(meter.lagMs, 100);
});

Deno.test("The larger of an old lag as it has faded and a new one counts", async () => {
  const { clock, meter } = await running();
  clock.stall(500);
  await clock.advance(5_000);
  const fadedMs = meter.lagMs;
  clock.stall(200);
  await clock.advance(0);
  assert(meter.lagMs < fadedMs && meter.lagMs > 150, `${meter.lagMs}`);
  clock.stall(800);
  await clock.advance(0);
  assertEquals(meter.lagMs, 700);
});

Deno.test("A loop that lags each time stays at its lag", async () => {
  const { clock, meter } = await running();
  for (let round = 0; round < 200; round++) {
    clock.stall(130);
    await clock.advance(0);
    assertEquals(meter.lagMs, 30);
  }
});

Deno.test("However long it runs, there is one timer", async () => {
  const { clock, meter } = await running();
  meter.start();
  await clock.advance(10_000);
  assertEquals(clock.pending, 1);
});

Deno.test("After stop() there is no timer, and no lag until it is started again", async () => {
  const { clock, meter } = await running();
  clock.stall(500);
  await clock.advance(0);
  meter.stop();
  meter.stop();
  assertEquals(clock.pending, 0);
  assertEquals(meter.lagMs, 0);
  clock.stall(60_000);
  assertEquals(meter.lagMs, 0);

  meter.start();
  assertEquals(meter.lagMs, 0);
  clock.stall(150);
  await clock.advance(0);
  assertEquals(meter.lagMs, 50);
  meter.stop();
  assertEquals(clock.pending, 0);
});

Deno.test("It looks twice a second unless told otherwise", async () => {
  const clock = new FakeClock();
  const meter = new LagMeter({ clock });
  assertEquals([clock.pending, meter.lagMs], [0, 0], "not before it was started");
  meter.start();
  assertEquals(clock.nextAt, clock.now() + 500);
  await clock.advance(500);
  assertEquals(clock.nextAt, clock.now() + 500);
});

for (const periodMs of [0, -1, NaN, Infinity]) {
  Deno.test(`A period of ${periodMs} ms is refused`, () => {
    assertThrows(() => new LagMeter({ clock: new FakeClock(), periodMs }), RangeError, `${periodMs}`);
  });
}

function assertNear(actual: number, expected: number): void {
  assert(Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`);
}
