import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { findMembers, type Path, PATHS, replace } from "../../backends/members.ts";

const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const RUNS = 5_000;

const valuesAt = (text: string, path: Path) =>
  findMembers(text).at(path).map(({ start, end }) => text.slice(start, end));

const found: [text: string, path: Path, values: string[]][] = [
  ['{"id":1}', "id", ["1"]],
  ['{"id":1.0e2}', "id", ["1.0e2"]],
  [' { "id" : "a\\"b" , "x":1}', "id", ['"a\\"b"']],
  ['{"id":"\\\\"}', "id", ['"\\\\"']],
  ['{"id":"\\\\\\""}', "id", ['"\\\\\\""']],
  ['{"i\\u0064":7}', "id", ["7"]],
  ['{"x":{"id":1},"y":["id",{"id":2}]}', "id", []],
  ['{"x":"\\"id\\":5","id":6}', "id", ["6"]],
  ['{"id":{"a":[1,"}"]}}', "id", ['{"a":[1,"}"]}']],
  ['{"params":{"requestId":3}}', "params.requestId", ["3"]],
  ['{"params":{"_meta":{"progressToken":-0}}}', "params._meta.progressToken", ["-0"]],
  ['{"params":{"_meta":{"progressToken":"t"},"progressToken":9}}', "params.progressToken", ["9"]],
  ['{"params":{"arguments":{"_meta":{"progressToken":1}}}}', "params._meta.progressToken", []],
  ['{"params":[{"requestId":3}]}', "params.requestId", []],
  ['{"params":"{\\"requestId\\":3}"}', "params.requestId", []],
  ['{"params":{},"id":null}', "id", ["null"]],
  ['{"id":1,"id":2}', "id", ["1", "2"]],
  ["{}", "id", []],
  ['{"__proto__":1,"constructor":2,"id":3}', "id", ["3"]],
];
for (const [text, path, values] of found) {
  Deno.test(`In ${text} the member ${path} is ${values.join(" and ") || "not there"}`, () => {
    assertEquals(valuesAt(text, path), values);
  });
}

const doubts: [text: string, path: string | undefined][] = [
  ['{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":1}}}', undefined],
  ['{"id":1,"id":1}', "id"],
  ['{"id":1,"ID":1}', "id"],
  ['{"Id":1}', "id"],
  ['{"i\\u0044":1}', "id"],
  ['{"method":"a","Method":"b"}', "method"],
  ['{"params":{},"params":{}}', "params"],
  // The long s and the Kelvin sign: Go takes them for s and k.
  ['{"param\u017f":{}}', "params"],
  ['{"params":{"progressTo\u212aen":1}}', "params.progressToken"],
  ['{"params":{"_meta":{"PROGRESSTOKEN":1}}}', "params._meta.progressToken"],
  ['{"params":{"_Meta":{}}}', "params._meta"],
  ['{"params":{"arguments":{"ID":1,"id":2,"Task":3}}}', undefined],
  ['{"params":{"name":"a","Name":"b"}}', undefined],
];
for (const [text, path] of doubts) {
  Deno.test(`${text} is ${path === undefined ? "read in one way only" : `doubtful about ${path}`}`, () => {
    assertEquals(findMembers(text).doubtful, path);
  });
}

Deno.test("A value as deep as may be is walked past", () => {
  const depth = 100_000;
  const text = `{"params":{"x":${"[".repeat(depth)}${"]".repeat(depth)},"requestId":1},"id":2}`;
  assertEquals(valuesAt(text, "params.requestId"), ["1"]);
  assertEquals(valuesAt(text, "id"), ["2"]);
});

/** Names that look like those that are looked for, and others. */
const name = fc.oneof(
  {
    arbitrary: fc.constantFrom("id", "params", "_meta", "progressToken", "requestId", "uri", "level"),
    weight: 3,
  },
  fc.string({ unit: "grapheme", maxLength: 5 }),
  fc.constantFrom('"', "\\", "}", "x\\", "__proto__"),
);
/** JSON text as somebody may write it: spaces, escapes, odd numbers. */
const space = fc.constantFrom("", "", "", " ", "\t ");
const scalar = fc.oneof(
  fc.constantFrom("0", "-0", "1.0", "1e400", "123456789012345678901234567890", "true", "null", '"\\u0069d"'),
  fc.string({ unit: "grapheme", maxLength: 8 }).map((text) => JSON.stringify(text)),
);
const { value: valueText } = fc.letrec<{ value: string; object: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    scalar,
    tie("object"),
    fc.tuple(space, fc.array(tie("value"), { maxLength: 3 })).map(([gap, items]) =>
      `[${gap}${items.join(`${gap},${gap}`)}${gap}]`
    ),
  ),
  object: fc.tuple(
    space,
    fc.uniqueArray(name, { maxLength: 4 }),
    fc.array(tie("value"), { minLength: 4, maxLength: 4 }),
  )
    .map(([gap, names, values]) =>
      `{${gap}${
        names.map((name, n) => `${JSON.stringify(name)}${gap}:${gap}${values[n]}`).join(`${gap},${gap}`)
      }${gap}}`
    ),
}));

/** The value at a path, as JSON.parse sees it, in an array; empty where there is none. */
function parsedAt(value: unknown, path: string): unknown[] {
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
    if (!Object.hasOwn(value, name)) return [];
    value = (value as Record<string, unknown>)[name];
  }
  return [value];
}

const messageText = fc.tuple(
  space,
  fc.uniqueArray(name, { maxLength: 5 }),
  fc.array(valueText, { minLength: 5, maxLength: 5 }),
)
  .map(([gap, names, values]) =>
    `{${names.map((name, n) => `${gap}${JSON.stringify(name)}${gap}:${gap}${values[n]}`).join(",")}${gap}}`
  );

Deno.test(`What is found is what JSON.parse finds (${RUNS} texts, seed ${SEED})`, () => {
  fc.assert(
    fc.property(messageText, (text) => {
      const parsed = JSON.parse(text);
      for (const path of PATHS) {
        assertEquals(valuesAt(text, path).map((value) => JSON.parse(value)), parsedAt(parsed, path));
      }
    }),
    { numRuns: RUNS, seed: SEED },
  );
});

Deno.test(`Replaced and replaced back a text is what it was, and nothing else changes (${RUNS} texts, seed ${SEED})`, () => {
  const paths = fc.constantFrom<Path[]>(
    ["id"],
    ["id", "params._meta.progressToken"],
    ["params.requestId"],
    ["params.progressToken"],
  );
  fc.assert(
    fc.property(messageText, paths, fc.nat().map(String), (text, paths, by) => {
      const members = findMembers(text);
      const spans = paths.flatMap((path) => members.at(path));
      const originals = paths.flatMap((path) => valuesAt(text, path));
      const there = replace(text, [{ spans, by }]);
      // Every replaced value is there, and nothing but those.
      const expected = paths.flatMap((path) => valuesAt(there, path));
      assertEquals(expected, originals.map(() => by));
      const back = paths.flatMap((path) => findMembers(there).at(path));
      assertEquals(replace(there, back.map((span, n) => ({ spans: [span], by: originals[n]! }))), text);
      assertEquals(
        there.length,
        text.length + originals.reduce((sum, { length }) => sum + by.length - length, 0),
      );
      assert(JSON.parse(there));
    }),
    { numRuns: RUNS, seed: SEED },
  );
});
