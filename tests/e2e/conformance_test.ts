/**
 * The official conformance suite, through the gateway and directly on the same server: `deno task conformance`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { compare, runSuite, SUITES, Targets } from "../../tools/conformance.ts";

Deno.test("The gateway loses no check of the official conformance suite, aside from the known ones", async (t) => {
  await using targets = await Targets.start();
  for (const suite of SUITES) {
    await t.step(`${suite.version} ${suite.args.join(" ")}`, async () => {
      const direct = await runSuite(suite, targets.direct);
      const gateway = await runSuite(suite, targets.gateway);
      assertEquals(compare(suite, { direct, gateway }).problems, []);
    });
  }
});
