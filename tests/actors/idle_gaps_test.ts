import * as fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { IdleGaps } from "../../actors/idle_gaps.ts";

const MINUTE = 60_000;

function gapsOf({ returned = [], final = [] }: { returned?: number[]; final?: number[] }): IdleGaps {
  const gaps = new IdleGaps();
  for (const gapMs of returned) gaps.cameBack(gapMs);
  for (const gapMs of final) gaps.ended(gapMs);
  return gaps;
}

Deno.test("Advice tells how many would have expired and how many of them came back", () => {
  const gaps = gapsOf({
    returned: [1_000, 2 * MINUTE, 8 * MINUTE],
    final: [MINUTE, 5 * MINUTE, 20 * MINUTE],
  });
  const { wouldExpire, cameBack, returnRate } = gaps.advice(4 * MINUTE);
  assertEquals([wouldExpire, cameBack, returnRate], [3, 1, 1 / 3]);
});

Deno.test("Advice is exact for a TTL at most 9.1% above the one that was asked for", () => {
  for (const ttlMs of [10, 100, 999, 1_000, MINUTE, 5 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE, 3e10]) {
    const given = new IdleGaps().advice(ttlMs).ttlMs;
    assert(given >= ttlMs && given <= ttlMs * 1.091 + 1, `${given} for ${ttlMs}`);
  }
});

Deno.test("A gap as long as the TTL does not count as expired by it", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 35 }), (gapMs) => {
    const gaps = gapsOf({ returned: [gapMs] });
    assertEquals(gaps.advice(gapMs).wouldExpire, 0);
    if (gapMs > 20) assertEquals(gaps.advice(Math.floor(gapMs / 1.1) - 2).wouldExpire, 1);
  }));
});

Deno.test("The proposal is the shortest TTL of which fewer than 1 in 1,000 come back", () => {
  const final = Array.from({ length: 2_000 }, () => 60 * MINUTE);
  // Two of 2,002 came back after 30 minutes, many after 3.
  const returned = [30 * MINUTE, 30 * MINUTE, ...Array.from({ length: 500 }, () => 3 * MINUTE)];
  const good = gapsOf({ returned, final }).proposal()!;
  assert(good.ttlMs >= 3 * MINUTE && good.ttlMs < 3 * MINUTE * 1.1, String(good.ttlMs));
  assertEquals([good.wouldExpire, good.cameBack], [2_002, 2]);
  const oneMore = gapsOf({ returned: [...returned, 30 * MINUTE], final }).proposal()!;
  assert(oneMore.ttlMs >= 30 * MINUTE && oneMore.ttlMs < 30 * MINUTE * 1.1, String(oneMore.ttlMs));
});

Deno.test("There is no proposal without a gap, and the longest gap is one where everybody came back", () => {
  assertEquals(new IdleGaps().proposal(), undefined);
  const { ttlMs, cameBack } = gapsOf({ returned: [10, 7 * MINUTE] }).proposal()!;
  assert(ttlMs >= 7 * MINUTE && ttlMs < 7 * MINUTE * 1.1);
  assertEquals(cameBack, 0);
});

Deno.test("A client that comes back to a session that is over turns its last gap into one that ended", () => {
  const gaps = gapsOf({ final: [5 * MINUTE] });
  gaps.cameBackLate(5 * MINUTE, 12 * MINUTE);
  assertEquals(gaps.counts, { returned: 1, final: 0 });
  assertEquals(gaps.advice(10 * MINUTE).cameBack, 1);
});

Deno.test("Gaps of any length are counted, also those that no clock should give", () => {
  const gaps = gapsOf({ returned: [0, -1, 0.5, NaN, 1e300, Infinity], final: [2 ** 40] });
  assertEquals(gaps.counts, { returned: 6, final: 1 });
  assertEquals(gaps.advice(1).wouldExpire, 3);
});
