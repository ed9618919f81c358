import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { expand } from "../../config/expand.ts";

const VARIABLES: Readonly<Record<string, string>> = {
  A: "apple",
  EMPTY: "",
  NESTED: "${A}",
  DOLLAR: "$",
  env: "its name is env",
};
const lookup = (name: string) => Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined;

Deno.test("References are replaced, and nothing else is", () => {
  const cases: [text: string, expanded: string][] = [
    ["", ""],
    ["plain", "plain"],
    ["${A}", "apple"],
    ["<${A}|${A}>", "<apple|apple>"],
    ["${env:A}", "apple"],
    ["${env:NOPE:-pear}", "pear"],
    ["${env:-pear}", "its name is env"],
    ["${EMPTY}", ""],
    ["${EMPTY:-pear}", "pear"],
    ["${A:-pear}", "apple"],
    ["${NOPE:-pear}", "pear"],
    ["${NOPE:-}", ""],
    ["${NOPE:-a b:-c\n$d}", "a b:-c\n$d"],
    ["${NESTED}", "${A}"],
    ["${DOLLAR}{A}", "${A}"],
    ["$", "$"],
    ["$A $$ $(A) {A} }", "$A $$ $(A) {A} }"],
    ["$${A}", "${A}"],
    ["$$${A}", "$${A}"],
    ["$${", "${"],
    ["$${A} ${A}", "${A} apple"],
  ];
  for (const [text, expanded] of cases) {
    assertEquals(expand(text, lookup), { kind: "text", text: expanded }, text);
  }
});

Deno.test("A reference that cannot be replaced is a mistake that says what is allowed", () => {
  const format = '${VAR} or ${VAR:-default}, or "$${" for a literal "${"';
  const editor = "${VAR} or ${VAR:-default}; the other references of VS Code are not supported";
  const unset = "NOPE is not set: set it in the environment or in .env, or write ${NOPE:-default}";
  const unclosed = 'a "}" after "${", or "$${" for a literal "${"';
  const cases: [text: string, reference: string, allowed: string][] = [
    ["x ${NOPE} ${ALSO}", "${NOPE}", unset],
    ["${env:NOPE}", "${env:NOPE}", unset],
    ["a ${A", "${A", unclosed],
    ["${", "${", unclosed],
    ["${}", "${}", format],
    ["${ A }", "${ A }", format],
    ["${1A}", "${1A}", format],
    ["${A-x}", "${A-x}", format],
    ["${A:?x}", "${A:?x}", editor],
    ["${NOPE:-${A}}", "${NOPE:-${A}", 'a default without another "${" in it'],
    ["${workspaceFolder}/x", "${workspaceFolder}", editor],
    ["${workspaceFolder:app}", "${workspaceFolder:app}", editor],
    ["${userHome}", "${userHome}", editor],
    ["${input:api-key}", "${input:api-key}", editor],
    ["${/}", "${/}", editor],
    ["${constructor}", "${constructor}", unset.replaceAll("NOPE", "constructor")],
  ];
  for (const [text, reference, allowed] of cases) {
    const isName = allowed.includes("is not set");
    assertEquals(expand(text, lookup), { kind: "mistake", reference, isName, allowed }, text);
  }
});

/** Texts dense with what the grammar is made of. */
const dense = fc.array(fc.constantFrom("$", "{", "}", "${", "$${", ":-", "A", "env:", "NOPE", "x", "\0")).map(
  (parts) => parts.join(""),
);

Deno.test("Any text whatever expands or is a mistake, and what a mistake quotes is in the text", () => {
  fc.assert(fc.property(fc.oneof(dense, fc.string()), (text) => {
    const expansion = expand(text, lookup);
    assert(expansion.kind === "text" || text.includes(expansion.reference));
  }));
});

Deno.test("What a variable holds is never expanded", () => {
  fc.assert(fc.property(dense, dense, (before, value) => {
    const prefix = before.replaceAll(/[${}]/g, "");
    const asked: string[] = [];
    const expansion = expand(`${prefix}\${V}${prefix}`, (name) => {
      asked.push(name);
      return value;
    });
    assertEquals(expansion, { kind: "text", text: prefix + value + prefix });
    assertEquals(asked, ["V"]);
  }));
});

Deno.test("A text whose every ${ is escaped comes back as it was", () => {
  fc.assert(fc.property(fc.oneof(dense, fc.string()), (text) => {
    assertEquals(expand(text.split("${").join("$${"), lookup), { kind: "text", text });
  }));
});
