import {
  assert,
  assertArrayIncludes,
  assertEquals,
  assertExists,
  assertFalse,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertNotMatch,
  assertObjectMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";

// [name, passes, fails]: a stand-in that never failed would make every test pass.
const CASES: [string, () => void, () => void][] = [
  ["assert", () => assert(1), () => assert(0)],
  ["assertFalse", () => assertFalse(0), () => assertFalse(1)],
  ["assertEquals", () => assertEquals({ a: [1] }, { a: [1] }), () => assertEquals({ a: [1] }, { a: [2] })],
  [
    "assertEquals tells an absent key from an undefined one",
    () => assertEquals<unknown>({ a: undefined }, { a: undefined }),
    () => assertEquals<unknown>({ a: undefined }, {}),
  ],
  ['assertEquals tells 1 from "1"', () => assertEquals(1, 1), () => assertEquals<unknown>(1, "1")],
  [
    "assertEquals takes 0 for -0, at any depth",
    () => assertEquals({ a: [0] }, { a: [-0] }),
    () => assertEquals({ a: [0] }, { a: [1] }),
  ],
  [
    "assertEquals takes an object without a prototype for a plain one, but no instance of a class",
    () => assertEquals({ a: 1 }, Object.assign(Object.create(null), { a: 1 })),
    () => assertEquals<unknown>({}, new (class A {})()),
  ],
  [
    "assertEquals compares maps, sets, dates and URLs by what they hold",
    () =>
      assertEquals([new Map([[1, new Set([2])]]), new Date(3)], [new Map([[1, new Set([2])]]), new Date(3)]),
    () => assertEquals(new URL("http://a/"), new URL("http://b/")),
  ],
  [
    "assertEquals tells a hole from undefined",
    () => assertEquals([, 1], [, 1]),
    () => assertEquals([,], [undefined]),
  ],
  [
    "assertEquals follows circles",
    () => assertEquals(circle(1), circle(1)),
    () => assertEquals(circle(1), circle(2)),
  ],
  [
    "assertObjectMatch",
    () => assertObjectMatch({ a: { b: 1, c: 2 }, d: 3 }, { a: { b: 1 } }),
    () => assertObjectMatch({ a: { b: 1 } }, { a: { b: 1, c: 2 } }),
  ],
  [
    "assertObjectMatch compares arrays as far as given",
    () => assertObjectMatch({ a: [{ b: 1, c: 2 }, 3] }, { a: [{ b: 1 }] }),
    () => assertObjectMatch({ a: [1] }, { a: [1, 2] }),
  ],
  [
    "assertObjectMatch tells an absent key from an undefined one",
    () => assertObjectMatch({ a: undefined }, { a: undefined }),
    () => assertObjectMatch({}, { a: undefined }),
  ],
  ["assertNotEquals", () => assertNotEquals([1], [2]), () => assertNotEquals([1], [1])],
  ["assertStrictEquals", () => assertStrictEquals(NaN, NaN), () => assertStrictEquals<unknown>({}, {})],
  ["assertExists", () => assertExists(0), () => assertExists(null)],
  ["assertInstanceOf", () => assertInstanceOf(new TypeError(), Error), () => assertInstanceOf({}, Error)],
  ["assertStringIncludes", () => assertStringIncludes("abc", "b"), () => assertStringIncludes("abc", "d")],
  ["assertMatch", () => assertMatch("abc", /b/), () => assertMatch("abc", /d/)],
  ["assertNotMatch", () => assertNotMatch("abc", /d/), () => assertNotMatch("abc", /b/)],
  [
    "assertArrayIncludes",
    () => assertArrayIncludes([{ a: 1 }, 2], [{ a: 1 }]),
    () => assertArrayIncludes([1], [2]),
  ],
  ["assertGreater", () => assertGreater(2, 1), () => assertGreater(1, 1)],
  ["assertGreaterOrEqual", () => assertGreaterOrEqual(1, 1), () => assertGreaterOrEqual(0, 1)],
  ["assertLess", () => assertLess(0, 1), () => assertLess(1, 1)],
  ["assertLessOrEqual", () => assertLessOrEqual(1, 1), () => assertLessOrEqual(2, 1)],
  ["assertThrows", () => assertThrows(() => fail()), () => assertThrows(() => {})],
];

/** An object that contains itself. */
function circle(value: number): Record<string, unknown> {
  const self: Record<string, unknown> = { value };
  self.self = self;
  return self;
}

for (const [name, passes, fails] of CASES) {
  Deno.test(`${name} passes and fails as it should`, () => {
    passes();
    let thrown: unknown;
    try {
      fails();
    } catch (error) {
      thrown = error;
    }
    if (!(thrown instanceof AssertionError)) throw new Error(`${name} did not fail`);
  });
}

Deno.test("assertThrows returns the error, and minds class and message", () => {
  const raise = () => {
    throw new RangeError("out of range");
  };
  assertEquals(assertThrows(raise, RangeError, "out of").message, "out of range");
  assertThrows(() => assertThrows(raise, TypeError), AssertionError, "TypeError");
  assertThrows(() => assertThrows(raise, RangeError, "in range"), AssertionError, "in range");
});

Deno.test("assertRejects returns the error, minds class and message, and refuses a synchronous throw", async () => {
  const raise = () => Promise.reject(new RangeError("out of range"));
  assertEquals((await assertRejects(raise, RangeError, "out of")).message, "out of range");
  await assertRejects(() => assertRejects(raise, TypeError), AssertionError, "TypeError");
  await assertRejects(() => assertRejects(() => Promise.resolve()), AssertionError, "to reject");
  await assertRejects(
    () =>
      assertRejects(() => {
        throw new Error("at once");
      }),
    AssertionError,
    "throws when expected to reject",
  );
});

Deno.test("A failed assertEquals shows the difference", () => {
  const error = assertThrows(() => assertEquals({ a: 1, b: 2 }, { a: 1, b: 3 }), AssertionError);
  assertStringIncludes(error.message, "b: 2");
  assertStringIncludes(error.message, "b: 3");
});
