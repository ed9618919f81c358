import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Rate } from "../rate.ts";
import { FakeClock } from "./fakes/fake_clock.ts";

for (const perMinute of [1, 2, 7, 60, 3_000]) {
  Deno.test(`Of ${perMinute} a minute as many may come at once, and then one after each step`, async () => {
    const clock = new FakeClock();
    const rate = new Rate({ clock });
    for (let n = 0; n < perMinute; n++) assertEquals(rate.take("a", perMinute), 0, `number ${n + 1}`);
    const stepMs = 60_000 / perMinute;
    const waitMs = rate.take("a", perMinute);
    assert(Math.abs(waitMs - stepMs) < 0.1, `${waitMs} ms, not ${stepMs}`);
    // To be refused costs nothing, and others go on.
    for (let n = 0; n < 10; n++) assertEquals(rate.take("a", perMinute), waitMs);
    assertEquals(rate.take("b", perMinute), 0);
    await clock.advance(Math.ceil(waitMs));
    assertEquals(rate.take("a", perMinute), 0);
    assert(rate.take("a", perMinute) > 0);
    await clock.advance(60_000);
    for (let n = 0; n < perMinute; n++) assertEquals(rate.take("a", perMinute), 0, `number ${n + 1} again`);
    assert(rate.take("a", perMinute) > 0);
    assertEquals(clock.pending, 0);
  });
}

Deno.test("0 and Infinity are any number, and nothing is remembered for them", () => {
  const rate = new Rate({ clock: new FakeClock() });
  for (let n = 0; n < 10_000; n++) assertEquals([rate.take("a", 0), rate.take("a", Infinity)], [0, 0]);
  assertEquals(rate.size, 0);
});

Deno.test("Another rate holds from the next call on", () => {
  const rate = new Rate({ clock: new FakeClock() });
  for (let n = 0; n < 10; n++) assertEquals(rate.take("a", 10), 0);
  assert(rate.take("a", 10) > 0);
  // Room comes as time passes, not by another rate.
  assert(rate.take("a", 600) > 0);
  assertEquals(rate.take("a", 0), 0);
});

Deno.test("100,000 names cost as much memory as 10,000: the oldest are forgotten, those in use are not", () => {
  const rate = new Rate({ clock: new FakeClock() });
  for (let n = 0; n < 60; n++) rate.take("attacker", 60);
  for (let n = 0; n < 100_000; n++) {
    assertEquals(rate.take(`2001:db8:${n}:0::/64`, 60), 0);
    if (n % 5_000 === 0) assert(rate.take("attacker", 60) > 0, `it was forgotten after ${n} others`);
    assert(rate.size <= 10_000);
  }
  assertEquals(rate.size, 10_000);
});

Deno.test("Whatever comes when, no minute has more than twice the rate, and who keeps to it is never refused", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 30 }),
      fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 200 }),
      async (perMinute, gaps) => {
        const clock = new FakeClock();
        const rate = new Rate({ clock });
        const passed: number[] = [];
        for (const gapMs of gaps) {
          await clock.advance(gapMs);
          const waitMs = rate.take("a", perMinute);
          if (waitMs === 0) passed.push(clock.now());
          assert(waitMs <= 60_000);
          assertEquals(rate.take("steady", perMinute) === 0 || gapMs * perMinute < 60_000, true);
        }
        for (const from of passed) {
          const inMinute = passed.filter((at) => at >= from && at < from + 60_000).length;
          assert(inMinute <= 2 * perMinute, `${inMinute} in a minute at ${perMinute}`);
        }
      },
    ),
    { numRuns: 100 },
  );
});
