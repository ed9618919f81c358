import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { readArgs, report } from "./soak.ts";
import type { State } from "./soak/gateway.ts";
import { lives, MID_REQUEST, serversFile } from "./soak/plan.ts";
import { soak } from "./soak/soak.ts";
import { judge } from "./soak/verdict.ts";

const SEED = 20_261_123;
/** Far from what it takes, also on a busy machine of two cores. */
const WITHIN_MS = 110_000;

const REST: State = {
  sessions: 0,
  processes: 0,
  zombies: 0,
  timers: 2,
  handles: 26,
  heapKiB: 20_000,
  rssKiB: 100_000,
  sweepMs: 333,
};
const EVIDENCE = {
  start: REST,
  baseline: REST,
  end: REST,
  isWarm: true,
  faults: 0,
  broken: 0,
  openedShare: 0.95,
  exitCode: 0,
};

Deno.test({
  name: "After a thousand lives that nobody ended in order nothing of them is left",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const samples: number[] = [];
    const result = await soak({
      lives: 1_000,
      batch: 100,
      seed: SEED,
      withinMs: WITHIN_MS,
      onSample: (sample) => samples.push(sample.sessions),
    });
    const text = report(result).join("\n");
    assert(result.ok, text);
    assertEquals(result.lives, 1_000);
    assert(result.abandoned > 975 && result.midRequest > 450 && result.byReset > 200, text);
    assert(Math.max(...samples) >= 50, text);
  },
});

Deno.test("Each criterion of a soak fails by itself", () => {
  assert(judge(EVIDENCE).every(({ ok }) => ok));
  const worse: Partial<typeof EVIDENCE>[] = [
    { end: { ...REST, sessions: 1 } },
    { end: { ...REST, processes: 1 } },
    { end: { ...REST, zombies: 1 } },
    { end: { ...REST, timers: 3 } },
    { end: { ...REST, timers: 1 } },
    { end: { ...REST, handles: 27 } },
    { end: { ...REST, rssKiB: 110_001 } },
    { end: { ...REST, rssKiB: 134_577 }, isWarm: false },
    { end: { ...REST, heapKiB: 22_001 } },
    { faults: 1 },
    { broken: 1 },
    { openedShare: 0.89 },
    { exitCode: 1 },
  ];
  for (const evidence of worse) {
    const failed = judge({ ...EVIDENCE, ...evidence }).filter(({ ok }) => !ok);
    assertEquals(failed.length, 1, JSON.stringify(evidence));
  }
  for (const [rssKiB, isWarm] of [[110_000, true], [134_576, false]] as const) {
    const most = judge({ ...EVIDENCE, end: { ...REST, rssKiB, heapKiB: 22_000 }, isWarm });
    assert(most.every(({ ok }) => ok));
  }
});

Deno.test("The lives of a soak are the same for the same seed, and mixed as they should be", () => {
  const take = (seed: number) => lives(seed).take(20_000).toArray();
  const all = take(1);
  assertEquals(all, take(1));
  const share = (isMeant: (life: typeof all[number]) => boolean) => all.filter(isMeant).length / all.length;
  assert(Math.abs(share(({ leaving }) => leaving === "delete") - 0.01) < 0.003);
  assert(Math.abs(share(({ leaving }) => MID_REQUEST.includes(leaving)) - 0.5) < 0.03);
  const served = new Set(Object.keys(serversFile("marker").mcpServers as Record<string, unknown>));
  assertEquals(new Set(all.map(({ serverId }) => serverId)), served);
});

Deno.test("A soak is bounded, and says what it was asked where that is out of bounds", () => {
  assertEquals(readArgs(["--lives=100", "--batch=1", "--seed=0", "--json"]), {
    lives: 100,
    batch: 1,
    seed: 0,
    json: true,
  });
  assertEquals(readArgs(["--lives=100000"]).lives, 100_000);
  for (
    const flag of ["--lives=99", "--lives=100001", "--lives=1e3", "--batch=0", "--batch=201", "--seed=-1"]
  ) {
    const error = assertThrows(() => readArgs([flag]), RangeError);
    assertStringIncludes(error.message, flag.split("=")[0]!);
  }
  assertThrows(() => readArgs(["--live=100"]), TypeError);
});
