/**
 * Valid bodies of `/bridge` and what is done to them, for a gateway whose BRIDGE_COMMANDS is {@link COMMANDS}.
 *
 * @module
 */
import * as fc from "fast-check";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../fixtures/tiny_server.sh", import.meta.url));
const SHELL = ["/usr/bin/sh", "/bin/sh"].find((path) =>
  (Deno.env.get("PATH") ?? "").split(":").includes(path.slice(0, -3))
)!;

/** How to start the server that the bodies name. */
export const TINY = { command: "sh", args: [SCRIPT] } as const;
/** What may be run. */
export const COMMANDS = {
  tiny: { ...TINY, moreArgs: { pattern: "echo", max: 1 }, env: ["MARK"] },
} as const;

/** What the list allows, so that it can be told from outside what may run. */
export function isListed(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  const { serverPath, args, env = {} } = body as Record<string, unknown>;
  return (serverPath === "sh" || serverPath === SHELL) && Array.isArray(args) && args.length >= 1 &&
    args.length <= 2 && args[0] === SCRIPT && (args.length === 1 || args[1] === "echo") &&
    typeof env === "object" && env !== null && Object.keys(env).every((name) => name === "MARK");
}

/** A change of a body. */
type Change =
  | { readonly kind: "set"; readonly path: readonly number[]; readonly raw: string }
  | { readonly kind: "drop"; readonly path: readonly number[] }
  | { readonly kind: "add"; readonly key: string; readonly raw: string }
  | { readonly kind: "cut"; readonly at: number; readonly length: number }
  | { readonly kind: "insert"; readonly at: number; readonly text: string };

/** A body and what is done to it. */
export interface BridgeMutant {
  readonly template: Record<string, unknown>;
  readonly changes: readonly Change[];
  readonly streams: boolean;
}

const KEYS = [
  "serverPath",
  "serverId",
  "args",
  "env",
  "method",
  "params",
  "cwd",
  "shell",
  "command",
  "__proto__",
  "",
];

/**
 * Any of them.
 *
 * @param touched A file that appears where a command runs that is not listed.
 */
export function bridgeMutants(touched: string): fc.Arbitrary<BridgeMutant> {
  const touch = JSON.stringify(`touch ${touched}`);
  const RAWS = [
    ...[
      "null",
      "true",
      "0",
      "-1",
      "1e999",
      '""',
      "[]",
      "{}",
      "[[]]",
      '"x"',
      '"sh"',
      '"/bin/sh"',
      '"./sh"',
      '"-c"',
      touch,
    ],
    ...[
      JSON.stringify(SCRIPT),
      '"touch"',
      '"/usr/bin/touch"',
      JSON.stringify(touched),
      '"\\u0000"',
      '"\\ud800"',
    ],
    ...[`["-c",${touch}]`, `[${JSON.stringify(SCRIPT)},${touch}]`, `[${JSON.stringify(SCRIPT)},"echo\\n"]`],
    ...[
      `[${JSON.stringify(touched)}]`,
      `{"NODE_OPTIONS":"--require=x"}`,
      `{"BASH_ENV":${JSON.stringify(touched)}}`,
    ],
    ...[
      `{"ENV":${touch}}`,
      '{"LD_PRELOAD":"/x.so"}',
      '{"PATH":"/tmp"}',
      '{"MARK":"x"}',
      '{"MARK":1}',
      '{"__proto__":"x"}',
    ],
    ...[
      '"initialize"',
      '"ping"',
      '"tools/call"',
      '"notifications/cancelled"',
      '"tiny"',
      '"__proto__"',
      '"constructor"',
    ],
    ...[
      '{"_meta":{"progressToken":[]}}',
      '{"_meta":null}',
      '{"_meta":"x"}',
      '{"_meta":{"progressToken":"t"}}',
    ],
    ...[
      `{"a":${"[".repeat(2_000)}${"]".repeat(2_000)}}`,
      '{"a":9007199254740993}',
      JSON.stringify("x".repeat(5_000)),
    ],
    ...["9".repeat(400), '"sh;touch"', '"sh -c touch"', '"bridge:tiny"', '"$(touch x)"', '"`touch x`"'],
  ];
  const TEMPLATES: readonly Record<string, unknown>[] = [
    { serverPath: "sh", args: [SCRIPT], method: "ping" },
    {
      serverPath: SHELL,
      args: [SCRIPT, "echo"],
      env: { MARK: "m" },
      method: "tools/call",
      params: { name: "x" },
    },
    { serverPath: "sh", args: ["-c", `touch ${touched}`], method: "ping" },
    { serverPath: "touch", args: [touched], method: "ping" },
    { serverId: "tiny", method: "tools/list", params: { _meta: { progressToken: 1 } } },
  ];

  const raw = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...RAWS) }, {
    weight: 1,
    arbitrary: fc.json(),
  });
  const path = fc.array(fc.nat(5), { minLength: 1, maxLength: 3 });
  const change: fc.Arbitrary<Change> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("set" as const), path, raw }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("drop" as const), path }) },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant("add" as const), key: fc.constantFrom(...KEYS), raw }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("cut" as const),
        at: fc.nat(300),
        length: fc.integer({ min: 1, max: 9 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("insert" as const),
        at: fc.nat(300),
        text: fc.oneof(
          fc.constantFrom('"', "\\", "{", "}", ",", "\0", "\u2028", "\ufeff"),
          fc.string({ maxLength: 3 }),
        ),
      }),
    },
  );
  return fc.record({
    template: fc.constantFrom(...TEMPLATES),
    changes: fc.array(change, { maxLength: 3 }),
    streams: fc.boolean(),
  });
}

/** Stands in a body for a text that JSON.stringify must not touch. */
const hole = (n: number) => `@@${n}@@`;

/** The text of a body. */
export function bodyOf({ template, changes }: Pick<BridgeMutant, "template" | "changes">): string {
  const body = structuredClone(template);
  const raws: string[] = [];
  const added: string[] = [];
  for (const change of changes) {
    if (change.kind === "add") added.push(`${JSON.stringify(change.key)}:${change.raw}`);
    if (change.kind !== "set" && change.kind !== "drop") continue;
    let at: Record<string, unknown> = body;
    for (const [depth, step] of change.path.entries()) {
      const keys = Object.keys(at);
      if (keys.length === 0) break;
      const key = keys[step % keys.length]!;
      const next = at[key];
      if (depth < change.path.length - 1 && typeof next === "object" && next !== null) {
        at = next as Record<string, unknown>;
        continue;
      }
      if (change.kind === "drop") delete at[key];
      else at[key] = hole(raws.push(change.raw) - 1);
      break;
    }
  }
  let text = JSON.stringify(body);
  for (const [n, raw] of raws.entries()) text = text.replace(JSON.stringify(hole(n)), () => raw);
  if (added.length > 0) text = text.replace(/\}$/, () => `${text === "{}" ? "" : ","}${added.join(",")}}`);
  for (const change of changes) {
    if (change.kind === "cut") text = text.slice(0, change.at) + text.slice(change.at + change.length);
    if (change.kind === "insert") text = text.slice(0, change.at) + change.text + text.slice(change.at);
  }
  return text;
}
