import { assertEquals } from "@std/assert";
import {
  loadOf,
  longestInterval,
  nextInterval,
  NO_PRESSURE,
  scaleOf,
  type SweepFindings,
  TtlScale,
} from "../../actors/pressure.ts";

const TTL = 300_000;

// [memory pressure, s].
const SCALES = [[0, 0], [0.5, 0], [0.85, 0], [0.9, 0.5], [0.95, 1], [1, 1], [1.7, 1], [-1, 0]] as const;
for (const [memory, s] of SCALES) {
  Deno.test(`Memory pressure ${memory} scales TTLs by ${s}`, () =>
    assertEquals(Math.round(scaleOf(memory) * 1e9) / 1e9, s));
}

// [memory pressure, configured TTL, effective TTL], with a shortest TTL of 30 s.
const EFFECTIVE = [
  [0.849, TTL, TTL],
  [0.85, TTL, TTL],
  [0.9, TTL, 165_000],
  [0.875, TTL, 232_500],
  [0.95, TTL, 30_000],
  [1, TTL, 30_000],
  // What is shorter than the shortest TTL stays as it is.
  [1, 10_000, 10_000],
  [1, 30_000, 30_000],
  [1, 30_001, 30_000],
  [1, Infinity, Infinity],
] as const;
for (const [memory, ttlMs, effectiveMs] of EFFECTIVE) {
  Deno.test(`At memory pressure ${memory} a TTL of ${ttlMs} ms is ${effectiveMs} ms`, () => {
    const scale = new TtlScale({ minTtlMs: 30_000 });
    scale.set(memory);
    assertEquals(scale.effective(ttlMs), effectiveMs);
    assertEquals(scale.memory, memory);
  });
}

Deno.test("TTLs do not change for a change of pressure that is not worth it, but always get back to what is configured", () => {
  const scale = new TtlScale({ minTtlMs: 30_000 });
  // [memory pressure, whether TTLs change].
  const steps = [[0.84, false], [0.9, true], [0.901, false], [0.9019, false], [0.903, true], [
    0.94,
    true,
  ]] as const;
  for (const [memory, changes] of steps) assertEquals(scale.set(memory), changes, `at ${memory}`);
  for (const [memory, changes] of [[0.951, true], [1.2, false], [0.949, false], [0.9, true]] as const) {
    assertEquals(scale.set(memory), changes, `at ${memory}`);
  }
  scale.set(0.8501);
  assertEquals([scale.set(0.85), scale.effective(TTL)], [true, TTL]);
});

Deno.test("Load is the highest part, and at most 1", () => {
  assertEquals(loadOf(NO_PRESSURE).load, 0);
  for (const part of ["memory", "sessions", "processes", "lag"] as const) {
    assertEquals(loadOf({ ...NO_PRESSURE, [part]: 0.4 }), { part, load: 0.4 });
    assertEquals(loadOf({ ...NO_PRESSURE, [part]: 7 }), { part, load: 1 });
  }
});

const CALM: SweepFindings = { asked: 1_000, expired: 50, load: 0.5, loadBefore: 0.5 };
const FEW: Partial<SweepFindings> = { expired: 9 };
// [what, interval, TTL, what was found, the next interval, cause].
const INTERVALS: [string, number, number, Partial<SweepFindings>, number, string][] = [
  ["nothing special", 40_000, TTL, {}, 40_000, "no change"],
  ["more than a tenth expired", 40_000, TTL, { expired: 101 }, 20_000, "many expired"],
  ["a tenth expired", 40_000, TTL, { expired: 100 }, 40_000, "no change"],
  ["a hundredth expired", 40_000, TTL, { expired: 10 }, 40_000, "no change"],
  ["less than a hundredth expired", 40_000, TTL, FEW, 60_000, "few expired"],
  ["nobody was there", 40_000, TTL, { asked: 0, expired: 0 }, 60_000, "few expired"],
  ["the load rose", 40_000, TTL, { load: 0.6 }, 20_000, "load pressure rose"],
  ["the load rose a little", 40_000, TTL, { load: 0.51 }, 40_000, "no change"],
  ["the load fell", 40_000, TTL, { load: 0.1 }, 40_000, "no change"],
  ["the load rose and few expired", 40_000, TTL, { ...FEW, load: 0.6 }, 20_000, "load pressure rose"],
  ["it is as long as may be", 90_000, TTL, FEW, 100_000, "few expired"],
  ["it is as short as may be", 1_500, TTL, { expired: 900 }, 1_000, "many expired"],
  ["a TTL that is short itself", 500, 1_500, { expired: 900 }, 500, "many expired"],
  ["a TTL that became shorter", 100_000, 30_000, {}, 10_000, "no change"],
  ["a TTL of 1 ms", 1, 1, FEW, 1, "few expired"],
];
for (const [what, intervalMs, ttlMs, findings, expectedMs, cause] of INTERVALS) {
  Deno.test(`Sweep interval ${intervalMs} ms becomes ${expectedMs} ms where ${what}`, () => {
    const next = nextInterval(intervalMs, ttlMs, { ...CALM, ...findings });
    assertEquals<unknown>(next, { intervalMs: expectedMs, cause });
  });
}

// [TTL, the longest interval].
const LONGEST = [[1, 1], [2, 1], [3, 1], [4, 1], [6, 2], [299_999, 99_999], [300_000, 100_000]] as const;
for (const [ttlMs, intervalMs] of LONGEST) {
  Deno.test(`A TTL of ${ttlMs} ms is swept for every ${intervalMs} ms at least`, () =>
    assertEquals(longestInterval(ttlMs), intervalMs));
}
