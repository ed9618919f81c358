import { assert, assertEquals, assertThrows } from "@std/assert";
import { missedBy, mutate } from "./mutants.ts";
import { INVARIANTS, MUTANTS } from "./mutants_table.ts";

const ROOT = new URL("..", import.meta.url);

for (const { name, edits } of MUTANTS) {
  Deno.test(`The mutant "${name}" changes the source as it is`, async () => {
    for (const edit of edits) {
      const source = await Deno.readTextFile(new URL(edit.file, ROOT));
      assert(mutate(source, edit) !== source);
    }
  });
}

Deno.test("Every invariant has a mutant, every mutant a name of its own and a test that has to notice it", () => {
  assertEquals(new Set(MUTANTS.map(({ breaks }) => breaks)), new Set(Object.keys(INVARIANTS)));
  assertEquals(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  assert(MUTANTS.every(({ by, edits }) => by.length > 0 && edits.length > 0));
});

Deno.test("A mutant whose text is not there exactly once is an error", () => {
  const edit = { file: "x.ts", from: "a", to: "$&" };
  assertEquals(mutate("bab", edit), "b$&b");
  assertThrows(() => mutate("b", edit), Error, "0 times");
  assertThrows(() => mutate("aba", edit), Error, "2 times");
});

Deno.test("A mutant is missed by each suite that should have noticed it and did not", () => {
  const mutant = { name: "m", breaks: "once", edits: [], by: ["units", "properties"] } as const;
  assertEquals(missedBy({ mutant, found: { units: undefined, properties: "a test" } }), ["units"]);
  assertEquals(missedBy({ mutant, found: { units: "a test", properties: "another" } }), []);
  assertEquals(
    missedBy({ mutant: { ...mutant, by: ["units"] }, found: { units: "x", properties: undefined } }),
    [],
  );
});
