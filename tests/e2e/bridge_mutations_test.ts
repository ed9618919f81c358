/**
 * Valid bodies of `/bridge`, mutated, before real commands: nothing runs that is not listed, no answer is a fault, and
 * nothing is left.
 *
 * Every run has another seed, which is part of the test's name. To repeat one:
 * `FC_SEED=… deno test -A tests/e2e/bridge_mutations_test.ts`. `FC_RUNS=…` sets the number of mutants.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Supervisor } from "../../actors/supervisor.ts";
import { ProcessTable } from "../../backends/process_table.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import { systemClock as clock } from "../../clock.ts";
import { commandServers, commandsOf } from "../../commands.ts";
import { listCommands, loadConfig } from "../../config/mod.ts";
import { Access, digestOf } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { BODY_DEFAULTS, BodyReader } from "../../routes/body.ts";
import { BridgeSessions } from "../../routes/bridge_sessions.ts";
import { supervisedServers } from "../../servers.ts";
import { MemoryStore } from "../../stores/memory.ts";
import { LogCapture } from "../fakes/log_capture.ts";

const RUNS = Number(Deno.env.get("FC_RUNS") ?? 2_000);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);

const SCRIPT = fileURLToPath(new URL("../fixtures/tiny_server.sh", import.meta.url));
const STATUSES = [200, 400, 403, 404, 413, 422];

/** What the list allows, so that it can be told from outside what may run. */
function isListed(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  const { serverPath, args, env = {} } = body as Record<string, unknown>;
  return (serverPath === "sh" || serverPath === SHELL) && Array.isArray(args) && args.length >= 1 &&
    args.length <= 2 && args[0] === SCRIPT && (args.length === 1 || args[1] === "echo") &&
    typeof env === "object" && env !== null && Object.keys(env).every((name) => name === "MARK");
}

const SHELL = ["/usr/bin/sh", "/bin/sh"].find((path) =>
  (Deno.env.get("PATH") ?? "").split(":").includes(path.slice(0, -3))
)!;

/** A change of a body. */
type Change =
  | { readonly kind: "set"; readonly path: readonly number[]; readonly raw: string }
  | { readonly kind: "drop"; readonly path: readonly number[] }
  | { readonly kind: "add"; readonly key: string; readonly raw: string }
  | { readonly kind: "cut"; readonly at: number; readonly length: number }
  | { readonly kind: "insert"; readonly at: number; readonly text: string };

const marker = Deno.makeTempDirSync({ prefix: "sojourn-bridge-" });
const TOUCHED = join(marker, "touched");
const touch = JSON.stringify(`touch ${TOUCHED}`);

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
    JSON.stringify(TOUCHED),
    '"\\u0000"',
    '"\\ud800"',
  ],
  ...[`["-c",${touch}]`, `[${JSON.stringify(SCRIPT)},${touch}]`, `[${JSON.stringify(SCRIPT)},"echo\\n"]`],
  ...[
    `[${JSON.stringify(TOUCHED)}]`,
    `{"NODE_OPTIONS":"--require=x"}`,
    `{"BASH_ENV":${JSON.stringify(TOUCHED)}}`,
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
  ...['{"_meta":{"progressToken":[]}}', '{"_meta":null}', '{"_meta":"x"}', '{"_meta":{"progressToken":"t"}}'],
  ...[
    `{"a":${"[".repeat(2_000)}${"]".repeat(2_000)}}`,
    '{"a":9007199254740993}',
    JSON.stringify("x".repeat(5_000)),
  ],
  ...["9".repeat(400), '"sh;touch"', '"sh -c touch"', '"bridge:tiny"', '"$(touch x)"', '"`touch x`"'],
];
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
const TEMPLATES: readonly Record<string, unknown>[] = [
  { serverPath: "sh", args: [SCRIPT], method: "ping" },
  {
    serverPath: SHELL,
    args: [SCRIPT, "echo"],
    env: { MARK: "m" },
    method: "tools/call",
    params: { name: "x" },
  },
  { serverPath: "sh", args: ["-c", `touch ${TOUCHED}`], method: "ping" },
  { serverPath: "touch", args: [TOUCHED], method: "ping" },
  { serverId: "tiny", method: "tools/list", params: { _meta: { progressToken: 1 } } },
];

const raw = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...RAWS) }, { weight: 1, arbitrary: fc.json() });
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
const mutant = fc.record({
  template: fc.constantFrom(...TEMPLATES),
  changes: fc.array(change, { maxLength: 3 }),
  streams: fc.boolean(),
});

/** Stands in a body for a text that JSON.stringify must not touch. */
const hole = (n: number) => `@@${n}@@`;

function bodyOf(
  { template, changes }: { template: Record<string, unknown>; changes: readonly Change[] },
): string {
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

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

Deno.test(`No body of /bridge runs what is not listed (${RUNS} mutants, seed ${SEED})`, async () => {
  await using log = await LogCapture.start();
  const commands = {
    tiny: { command: "sh", args: [SCRIPT], moreArgs: { pattern: "echo", max: 1 }, env: ["MARK"] },
  };
  const servers = { mcpServers: { tiny: { command: "sh", args: [SCRIPT] } } };
  const config = loadConfig({
    args: [],
    env: { ACCESS_TOKEN: "secret", BRIDGE_COMMANDS: JSON.stringify(commands), PATH: Deno.env.get("PATH") },
    cwd: marker,
    readFile: (path) => {
      if (!path.endsWith("mcp-servers.json")) throw new Deno.errors.NotFound();
      return new TextEncoder().encode(JSON.stringify(servers));
    },
  });
  assert(config.kind === "run");
  const parts = {
    clock,
    processes: new ProcessTable({ clock }),
    gate: new SpawnGate({ concurrency: 4, clock }),
  };
  const supervisor = new Supervisor({
    clock,
    store: new MemoryStore({ tombstones: RUNS }),
    servers: [...supervisedServers(config, parts), ...commandServers(config)],
  });
  const bridgeSessions = new BridgeSessions(supervisor);
  const bodies = new BodyReader({ clock, ...BODY_DEFAULTS });
  const app = createApp({
    access: new Access({
      clock,
      tokenRequired: true,
      tokens: [{
        principal: "default",
        digest: digestOf("secret"),
        servers: undefined,
        expiresAtMs: undefined,
      }],
      allowedOrigins: [],
      allowedHosts: [],
      onLoopback: true,
    }),
    supervisor,
    clock,
    implicitSessions: true,
    bodies,
    bridgeSessions,
    commands: commandsOf(await listCommands(config.bridgeCommands), parts),
  });
  const met = new Set<number>();
  let listed = 0;
  try {
    await fc.assert(
      fc.asyncProperty(mutant, async ({ streams, ...mutant }) => {
        const body = bodyOf(mutant);
        const response = await app(
          new Request("http://localhost/bridge", {
            method: "POST",
            headers: {
              authorization: "Bearer secret",
              "content-type": "application/json",
              accept: streams ? "text/event-stream" : "application/json",
            },
            body,
          }),
        );
        const text = await response.text();
        const { status } = response;
        met.add(status);
        assertArrayIncludes(STATUSES, [status], `${status} ${text}`);
        const given = parsed(body) as { serverPath?: unknown } | undefined;
        const ran = status === 200 || status === 422;
        if (ran && given?.serverPath !== undefined) {
          listed++;
          assert(isListed(given), `it ran: ${body}`);
        }
        if (!ran) assertEquals(response.headers.get("content-type"), "application/problem+json");
        if (!text.startsWith("event: ")) JSON.parse(text);
      }),
      { numRuns: RUNS, seed: SEED },
    );
    assertArrayIncludes([...met], [200, 400, 403, 404]);
    assert(listed > RUNS / 100, "too few mutants ran what is listed");
    assertEquals(
      Array.from(Deno.readDirSync(marker), ({ name }) => name),
      [],
      "a command ran that is not listed",
    );
    assertEquals(log.records.filter(({ level }) => level === "error" || level === "fatal"), []);
    for (const session of supervisor.sessions) {
      assertEquals([session.kind, session.inFlight, session.held], ["bridge", 0, 0]);
    }
    assertEquals(bridgeSessions.size, supervisor.size);
  } finally {
    await supervisor.shutDown(0);
    bodies.close();
    await Deno.remove(marker, { recursive: true });
  }
  assertEquals([supervisor.size, bridgeSessions.size], [0, 0]);
});
