import { assert, assertEquals } from "@std/assert";
import { draw, simulate } from "./simulated_day.ts";

Deno.test("The simulated day goes as the design says, and can be drawn", async () => {
  const day = await simulate();
  const { samples, ends } = day;
  assertEquals(samples.length, 24 * 60);
  for (const { at, memory, effectiveTtlS, intervalS } of samples) {
    assert(effectiveTtlS >= 30 && effectiveTtlS <= 300, `TTL ${effectiveTtlS} s at ${at}`);
    assert(intervalS >= 1 && intervalS <= 100, `interval ${intervalS} s at ${at}`);
    // A reading may be five seconds old, and memory moves meanwhile.
    if (memory < 0.8) assertEquals(effectiveTtlS, 300, `at ${at}`);
  }
  const squeezed = samples.filter(({ at }) => at > 15.2 && at < 16.3);
  assert(squeezed.every(({ memory }) => memory < 0.99), "what memory there is lasts");
  assert(squeezed.filter(({ effectiveTtlS }) => effectiveTtlS < 150).length > squeezed.length / 2);
  assert(ends.evicted! > 0 && ends.idle! > 10 * ends.evicted!);
  assertEquals(samples.at(-1)!.effectiveTtlS, 300);
  const svg = draw(day);
  assert(svg.startsWith("<svg") && svg.trimEnd().endsWith("</svg>"));
  for (const title of ["Sessions", "Memory pressure", "Effective TTL", "Sweep interval"]) {
    assert(svg.includes(title));
  }
});
