import { assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { memberText, withMember } from "../../protocol/members.ts";

// [object, key, the text of its value].
const TEXTS: [string, string, string | undefined][] = [
  ["{}", "a", undefined],
  [" { } ", "", undefined],
  ['{"a":1}', "a", "1"],
  ['{"a":1}', "b", undefined],
  ['{ "a" : 1.0e2 , "b":2}', "a", "1.0e2"],
  ['{"a":9007199254740993}', "a", "9007199254740993"],
  ['{"a":{"b":1},"b":2}', "b", "2"],
  ['{"a":[{"b":1},"b"],"c":"b"}', "b", undefined],
  ['{"a":"}","b":"\\"b\\":1"}', "b", '"\\"b\\":1"'],
  ['{"\\u0061":1}', "a", "1"],
  ['{"a":1,"a":[2]}', "a", "[2]"],
  ['{"a":{},"b":[]}', "b", "[]"],
  ['{"__proto__":1}', "__proto__", "1"],
  ['{"":null}', "", "null"],
  ['\n{\r\n"a"\t:\n[1,\n2]\n}\n', "a", "[1,\n2]"],
  ['{"a":"x","b":":"}', "b", '":"'],
  ['{"a":"b","b":3}', "b", "3"],
];
for (const [object, key, text] of TEXTS) {
  Deno.test(`Member ${JSON.stringify(key)} of ${JSON.stringify(object)}`, () => {
    assertEquals(memberText(object, key), text);
  });
}

Deno.test("A member is read and set as JSON.parse would see it, whatever the object", () => {
  const json = fc.json({ maxDepth: 4, depthSize: "medium" });
  const key = fc.oneof(fc.constantFrom("", "a", '"', "\\", "{", ":", ",", "__proto__"), fc.string());
  const object = fc.array(fc.tuple(key, json), { maxLength: 6 });
  fc.assert(
    fc.property(object, key, json, (members, name, value) => {
      const text = `{${members.map(([key, value]) => `${JSON.stringify(key)} : ${value}`).join(" ,")}}`;
      const expected = members.findLast(([key]) => key === name)?.[1];
      assertEquals(memberText(text, name), expected?.trim());
      const set = withMember(text, name, value);
      JSON.parse(set);
      assertEquals(memberText(set, name), value.trim());
      for (const [other] of members) {
        if (other !== name) assertEquals(memberText(set, other), memberText(text, other));
      }
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("An object of a million brackets takes no stack", () => {
  const deep = "[".repeat(1_000_000) + "]".repeat(1_000_000);
  assertEquals(memberText(`{"a":${deep},"b":1}`, "b"), "1");
});
