import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { compare, type Known, knownRows, type Results, type Status, type Suite } from "./conformance.ts";

const SUITE: Suite = { name: "suite", version: "1", args: [], scenarios: 1 };

function results(...statuses: Status[]): Results {
  const checks = statuses.map((status, index) => [`check-${index}`, status] as const);
  return new Map([["scenario", new Map(checks.filter(([, status]) => status !== "-"))]]);
}

// [directly, through the gateway, whether that has to be explained].
const OUTCOMES: [Status, Status, boolean][] = [
  ["SUCCESS", "SUCCESS", false],
  ["SUCCESS", "INFO", true],
  ["SUCCESS", "SKIPPED", true],
  ["SUCCESS", "WARNING", true],
  ["SUCCESS", "FAILURE", true],
  ["SUCCESS", "-", true],
  ["FAILURE", "SUCCESS", true],
  ["FAILURE", "FAILURE", true],
  ["WARNING", "WARNING", true],
  ["INFO", "INFO", false],
  ["INFO", "-", false],
  ["-", "INFO", false],
  ["-", "SUCCESS", false],
  ["-", "WARNING", true],
  ["-", "FAILURE", true],
  ["SKIPPED", "SKIPPED", false],
];

Deno.test("A check that is lost or does not pass is a problem, once", () => {
  for (const [direct, gateway, isProblem] of OUTCOMES) {
    const { problems } = compare(SUITE, { direct: results(direct), gateway: results(gateway), known: [] });
    assertEquals(problems.length, isProblem ? 1 : 0, `${direct} ${gateway}`);
    if (isProblem) assertStringIncludes(problems[0]!, `${direct} directly, ${gateway} through the gateway`);
  }
});

Deno.test("A check that is known is a problem only where it comes out otherwise or does not run", () => {
  const known: Known = {
    door: "stdio",
    suite: "suite",
    scenario: "scenario",
    check: "check-0",
    direct: "SUCCESS",
    gateway: "WARNING",
    reason: "because",
  };
  const problemsOf = (direct: Results, gateway: Results) =>
    compare(SUITE, {
      direct,
      gateway,
      known: [known, { ...known, suite: "another" }, { ...known, door: "sse" }],
    }).problems;
  assertEquals(problemsOf(results("SUCCESS"), results("WARNING")), []);
  assertMatch(problemsOf(results("SUCCESS"), results("SUCCESS")).join(), /not SUCCESS and WARNING as KNOWN/);
  assertMatch(problemsOf(results("SUCCESS"), results("FAILURE")).join(), /not SUCCESS and WARNING as KNOWN/);
  assertMatch(problemsOf(results(), results()).join(), /check-0, which KNOWN names, did not run/);
});

Deno.test("A row counts the checks of a scenario that passed in each place", () => {
  const { rows } = compare(SUITE, {
    direct: results("SUCCESS", "SUCCESS", "INFO", "FAILURE"),
    gateway: results("SUCCESS", "WARNING", "INFO", "-"),
    known: [],
  });
  assertEquals(rows, [{ scenario: "scenario", direct: 2, gateway: 1 }]);
});

Deno.test("docs/conformance.md names every check that is known not to pass in both places", async () => {
  const page = await Deno.readTextFile(new URL("../docs/conformance.md", import.meta.url));
  const rows = page.split("\n").map((line) => line.replaceAll(/ +/g, " "));
  assertEquals(rows.filter((row) => /^\| \S+ \| \S+ \| server-/.test(row)), knownRows());
});
