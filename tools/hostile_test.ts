import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { readArgs, report } from "./hostile.ts";
import { DOORS } from "./hostile/doors.ts";
import { storm } from "./hostile/storm.ts";

const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1);

Deno.test({
  name: `500 mutated requests at every door are no fault, and leave nothing (seed ${SEED})`,
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const verdicts = await storm({ requests: 500, seed: SEED });
    const text = report(verdicts);
    assert(verdicts.every(({ ok }) => ok), text);
    assertEquals(
      verdicts.map(({ door, requests }) => [door, requests]),
      DOORS.map(({ name }) => [name, 500]),
    );
    for (const { door, statuses } of verdicts) {
      const kinds = new Set(Object.keys(statuses).map((status) => status[0]));
      // Some do what was asked, and some are refused: a door that only refuses shows nothing.
      assert(kinds.has("2") && kinds.has("4") && Object.keys(statuses).length >= 6, `${door}: ${text}`);
      assert((statuses["200"] ?? 0) >= 20, `${door}: ${text}`);
    }
  },
});

Deno.test("A storm is bounded, and says what it was asked where that is out of bounds", () => {
  assertEquals(readArgs(["--requests=200", "--seed=0", "--door=sse", "--json"]), {
    requests: 200,
    seed: 0,
    only: "sse",
    json: true,
  });
  assertEquals(readArgs(["--seed=1"]), { requests: 10_000, seed: 1, only: "", json: false });
  for (
    const flag of ["--requests=199", "--requests=1000001", "--requests=1e3", "--seed=-1", "--seed=2147483648"]
  ) {
    const error = assertThrows(() => readArgs([flag]), RangeError);
    assertStringIncludes(error.message, flag.split("=")[0]!);
  }
  assertThrows(() => readArgs(["--request=500"]), TypeError);
});
