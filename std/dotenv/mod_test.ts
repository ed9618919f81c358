import { assertEquals, assertThrows } from "@std/assert";
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
  ["A='as \\n is'", { A: "as \\n is" }],
  ['A="a\\tb\\rc"', { A: "a\tb\rc" }],
  ['A="\nkey\n"', { A: "key" }],
  ["A='over\nB=lines'", { A: "over\nB=lines" }],
  ["A=`x`", { A: "`x`" }],
  ["A=value#comment", { A: "value" }],
  ["A=value # comment", { A: "value" }],
  ["A=", { A: "" }],
  ["A=1\nA=2", { A: "2" }],
  ["A=x\nB=$A-y", { A: "x", B: "x-y" }],
  ["A=x\nB=${A}y", { A: "x", B: "xy" }],
  ["B=${SOJOURN_TEST_UNSET:-fallback}", { B: "fallback" }],
  ["A=x\nB=${SOJOURN_TEST_UNSET:-${A}}", { A: "x", B: "x" }],
  ["A=x\nB=${A:-fallback}", { A: "x", B: "x" }],
  ["B=$SOJOURN_TEST_UNSET:-fallback", { B: "fallback" }],
  ["A=x\nB=$A\nC=$B", { A: "x", B: "x", C: "x" }],
  ["A=x\nB='$A'", { A: "x", B: "$A" }],
  ['A=x\nB="$A"', { A: "x", B: "$A" }],
  ["A=\\$HOME", { A: "\\$HOME" }],
];
for (const [text, expected] of CASES) {
  Deno.test(`${JSON.stringify(text)} says ${JSON.stringify(expected)}`, () =>
    assertEquals(parse(text), expected));
}

Deno.test("A reference takes the file's value before the environment's", () => {
  Deno.env.set("SOJOURN_TEST_VARIABLE", "outside");
  try {
    assertEquals(parse("B=$SOJOURN_TEST_VARIABLE").B, "outside");
    assertEquals(parse("SOJOURN_TEST_VARIABLE=inside\nB=$SOJOURN_TEST_VARIABLE").B, "inside");
  } finally {
    Deno.env.delete("SOJOURN_TEST_VARIABLE");
  }
});

for (const text of ["A=$A", "A=$B\nB=$A", "A=${B}${B}\nB=$A$A"]) {
  Deno.test(`${JSON.stringify(text)} is refused: it goes round in a circle`, () => {
    assertThrows(() => parse(text), RangeError);
  });
}

Deno.test("What has no valid name is left out, with a word about it", () => {
  const { warn } = console;
  const said: unknown[] = [];
  // deno-lint-ignore no-console
  console.warn = (...words: unknown[]) => void said.push(...words);
  try {
    assertEquals(parse("1A=x\na.b=y\nC=z"), { C: "z" });
  } finally {
    // deno-lint-ignore no-console
    console.warn = warn;
  }
  assertEquals(said.length, 2);
});
