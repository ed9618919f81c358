/**
 * The official conformance suite, through the gateway and directly on the same server: `deno task conformance`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { compare, DOORS, runSuite, SUITES, Targets } from "../../tools/conformance.ts";

Deno.test("The gateway loses no check of the official conformance suite, aside from the known ones", async (t) => {
  await using targets = await Targets.start();
  for (const suite of SUITES) {
    const direct = await runSuite(suite, targets.direct);
    for (const door of suite.doors ?? DOORS) {
      await t.step(`${door}, ${suite.version} ${suite.args.join(" ")}`, async () => {
        const gateway = await runSuite(suite, targets.through(door));
        assertEquals(compare(suite, { direct, gateway, door }).problems, []);
      });
    }
  }
});
