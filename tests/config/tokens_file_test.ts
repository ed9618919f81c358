import { assertEquals } from "@std/assert";
import { loadTokens } from "../../config/tokens_file.ts";
import { refusal } from "./helpers.ts";

const HASH = "ab".repeat(32);

function load(content: unknown) {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  return loadTokens("tokens.json", { cwd: "/srv", readFile: () => new TextEncoder().encode(text) });
}

Deno.test("Tokens are read with their principals, servers and ends", () => {
  const tokens = load({
    tokens: [
      { principal: "alice", sha256: HASH.toUpperCase(), servers: ["a", "b"], expires: "2027-01-31" },
      { principal: "alice", sha256: HASH },
    ],
  });
  assertEquals(tokens, [
    {
      principal: "alice",
      digest: new Uint8Array(32).fill(0xab),
      servers: new Set(["a", "b"]),
      expiresAtMs: Date.UTC(2027, 0, 31),
    },
    { principal: "alice", digest: new Uint8Array(32).fill(0xab), servers: undefined, expiresAtMs: undefined },
  ]);
});

Deno.test("A principal's limits are read, the same from each of its tokens", () => {
  const limits = { maxSessions: 0, opensPerMinute: 60 };
  const tokens = load({
    tokens: [
      { principal: "alice", sha256: HASH, ...limits },
      { principal: "bob", sha256: "cd".repeat(32) },
      { principal: "alice", sha256: "ef".repeat(32), ...limits },
    ],
  });
  assertEquals(
    tokens.map(({ principal, maxSessions, opensPerMinute }) => [principal, maxSessions, opensPerMinute]),
    [["alice", 0, 60], ["bob", undefined, undefined], ["alice", 0, 60]],
  );
});

const A_LIMIT = "a whole number from 0 to 1000000; 0 is any number";
for (const value of [-1, 1.5, "7", null, 1_000_001, []]) {
  for (const name of ["maxSessions", "opensPerMinute"]) {
    Deno.test(`${name} of a token cannot be ${JSON.stringify(value)}`, () => {
      assertEquals(
        refusal(() => load({ tokens: [{ principal: "a", sha256: HASH, [name]: value }] }))
          .replace(/^\S+ /, ""),
        `tokens[0].${name}: ${A_LIMIT}`,
      );
    });
  }
}

// [limits of the first token, of the second, what is wrong].
const DIFFERENT: [object, object, string][] = [
  [{ maxSessions: 1 }, { maxSessions: 2 }, "maxSessions"],
  [{ maxSessions: 1 }, {}, "maxSessions"],
  [{}, { opensPerMinute: 1 }, "opensPerMinute"],
];
for (const [first, second, name] of DIFFERENT) {
  Deno.test(`Tokens of one principal with ${JSON.stringify([first, second])} are a mistake`, () => {
    const tokens = [
      { principal: "a", sha256: HASH, ...first },
      { principal: "a", sha256: "cd".repeat(32), ...second },
    ];
    assertEquals(
      refusal(() => load({ tokens })).replace(/^\S+ /, ""),
      `tokens[1].${name}: differs from that of another token of this principal`,
    );
  });
}

// [as written, the instant].
const EXPIRES: [string, number][] = [
  ["2028-02-29", Date.UTC(2028, 1, 29)],
  ["2027-01-31T18:00:00Z", Date.UTC(2027, 0, 31, 18)],
  ["2027-01-31T18:00:00.5+02:00", Date.UTC(2027, 0, 31, 16, 0, 0, 500)],
];
for (const [expires, atMs] of EXPIRES) {
  Deno.test(`A token that expires at ${expires} does so at one instant everywhere`, () => {
    assertEquals(load({ tokens: [{ principal: "a", sha256: HASH, expires }] })[0]?.expiresAtMs, atMs);
  });
}

const NO_DATE =
  "a date such as 2027-01-31 (its start in UTC), or a time with its zone such as 2027-01-31T18:00:00Z";
for (
  const expires of ["soon", "", "1", "Jan 1", "2027-02-29", "2027-13-01", "2027-01-31T18:00:00", 1, null]
) {
  Deno.test(`${JSON.stringify(expires)} is no date on which a token could expire`, () => {
    assertEquals(
      refusal(() => load({ tokens: [{ principal: "a", sha256: HASH, expires }] })).replace(/^\S+ /, ""),
      `tokens[0].expires: ${NO_DATE}`,
    );
  });
}

Deno.test("A file without tokens lets nobody in, and is no mistake", () => {
  assertEquals(load({ tokens: [] }), []);
  assertEquals(load({ tokens: [{ principal: "a", sha256: HASH, servers: [] }] })[0]?.servers, new Set());
});

// [the file, the line].
const MISTAKES: [unknown, string][] = [
  ["{", 'tokens.json:1:2: expected "}"'],
  ["", "tokens.json:1:1: expected a value: the file is empty"],
  [[], "tokens.json:1:1: an object"],
  [{}, 'tokens.json:1:1: tokens: a list of {"principal": …, "sha256": …}'],
  [{ tokens: [7] }, "tokens.json:1:12: tokens[0]: an object"],
  [{ tokens: [{ sha256: HASH }] }, "tokens.json:1:12: tokens[0].principal: a name"],
  [{ tokens: [{ principal: "a" }] }, "tokens.json:1:12: tokens[0].sha256: 64 hexadecimal digits"],
  [
    { tokens: [{ principal: "admin", sha256: HASH }] },
    'tokens.json:1:25: tokens[0].principal: another name: "admin" is whoever has ADMIN_TOKEN',
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH }, { principal: "b", sha256: HASH.toUpperCase() }] },
    "tokens.json:1:132: tokens[1].sha256: belongs to another principal too: one for each token",
  ],
  [
    `{"tokens": [\n  {"principal": "a", "sha256": "${HASH}", "servers": ["x"], "servers": []}\n]}`,
    "tokens.json:2:118: tokens[0].servers: is there twice: each name once",
  ],
  [{ tokens: [], "a\nb": 1 }, 'tokens.json:1:14: ["a\\nb"]: is not known here'],
  [
    { tokens: [{ principal: "a b", sha256: HASH }] },
    "tokens.json:1:25: tokens[0].principal: 1 to 64 letters, digits, dots, dashes, underscores or @",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH }, { principal: "a", sha256: "hunter2" }] },
    "tokens.json:1:132: tokens[1].sha256: 64 hexadecimal digits",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH, servers: "all" }] },
    "tokens.json:1:115: tokens[0].servers: a list of server names",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH, token: "hunter2" }] },
    "tokens.json:1:105: tokens[0].token: is not known here",
  ],
];
for (const [content, line] of MISTAKES) {
  Deno.test(`${JSON.stringify(content)} is refused in one line without its secrets`, () => {
    assertEquals(refusal(() => load(content)), line);
  });
}

Deno.test("A missing file is a mistake that names it", () => {
  assertEquals(
    refusal(() => loadTokens("no/such.json", { cwd: "/nowhere" })),
    "no/such.json: no such file: ACCESS_TOKENS_FILE has to name one",
  );
});
