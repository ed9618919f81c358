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

// [the file, the line].
const MISTAKES: [unknown, string][] = [
  ["{", "tokens.json: is not JSON"],
  [[], "tokens.json: Invalid input: expected object, received array"],
  [{}, 'tokens.json: tokens: a list of {"principal": …, "sha256": …}'],
  [
    { tokens: [{ principal: "a b", sha256: HASH }] },
    "tokens.json: tokens[0].principal: 1 to 64 letters, digits, dots, dashes, underscores or @",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH }, { principal: "a", sha256: "hunter2" }] },
    "tokens.json: tokens[1].sha256: 64 hexadecimal digits",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH, expires: "soon" }] },
    "tokens.json: tokens[0].expires: a date such as 2027-01-31",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH, servers: "all" }] },
    "tokens.json: tokens[0].servers: a list of server names",
  ],
  [
    { tokens: [{ principal: "a", sha256: HASH, token: "hunter2" }] },
    'tokens.json: tokens[0]: Unrecognized key: "token"',
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
