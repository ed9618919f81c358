import { assertEquals } from "@std/assert";
import { parse } from "@std/dotenv";

// [the text, what it says].
const CASES: [string, Record<string, string>][] = [
  ["", {}],
  ["# a comment\n\nA=1\n", { A: "1" }],
  ["A=1\r\nB=2", { A: "1", B: "2" }],
  ["export A=1", { A: "1" }],
  ["A = spaced  ", { A: "spaced" }],
  ["A='single # kept'", { A: "single # kept" }],
  ['A="two\\nlines"', { A: "two\nlines" }],
  ["A=value # comment", { A: "value" }],
  ["A=", { A: "" }],
  ["A=1\nA=2", { A: "2" }],
  ["A=x\nB=$A-y", { A: "x", B: "x-y" }],
  ["A=x\nB=${A}y", { A: "x", B: "xy" }],
  ["B=${SOJOURN_TEST_UNSET:-fallback}", { B: "fallback" }],
  ["B=${SOJOURN_TEST_UNSET}", { B: "" }],
  ["A=x\nB='$A'", { A: "x", B: "$A" }],
  ['A=x\nB="$A"', { A: "x", B: "$A" }],
  ["A=\\$HOME", { A: "$HOME" }],
];
for (const [text, expected] of CASES) {
  Deno.test(`${JSON.stringify(text)} says ${JSON.stringify(expected)}`, () =>
    assertEquals(parse(text), expected));
}

Deno.test("A reference takes the environment's value before the file's", () => {
  Deno.env.set("SOJOURN_TEST_VARIABLE", "outside");
  try {
    assertEquals(parse("SOJOURN_TEST_VARIABLE=inside\nB=$SOJOURN_TEST_VARIABLE").B, "outside");
  } finally {
    Deno.env.delete("SOJOURN_TEST_VARIABLE");
  }
});

Deno.test("Variables that refer to each other come to an end", () => {
  assertEquals(Object.keys(parse("A=$B\nB=$A")), ["A", "B"]);
});
