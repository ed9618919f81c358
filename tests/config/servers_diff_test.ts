import { assert, assertEquals } from "@std/assert";
import { loadServers } from "../../config/servers.ts";
import { diffServers, isEmpty, isOfBackend } from "../../config/servers_diff.ts";
import type { ServerConfig } from "../../config/mod.ts";

const SECRET = "s3cret-value";

/** The servers of a file, by the real reader. */
function servers(mcpServers: Record<string, unknown>): readonly ServerConfig[] {
  const bytes = new TextEncoder().encode(JSON.stringify({ mcpServers }));
  return loadServers("s.json", { named: true, env: {}, cwd: "/", readFile: () => bytes }).servers;
}

const ONE = { command: "run", args: ["a"], env: { KEY: "1" }, session: { idleTtlMs: 5 } };

// [what it is called, the entry after, the keys that changed].
const CHANGES: [string, Record<string, unknown>, string[]][] = [
  ["nothing", { ...ONE }, []],
  ["the order of keys", { session: ONE.session, env: ONE.env, args: ONE.args, command: ONE.command }, []],
  ["what is the default anyway", { ...ONE, backend: "perSession", disabled: false }, []],
  ["an argument", { ...ONE, args: [SECRET] }, ["args"]],
  ["the command and the folder", { ...ONE, command: "walk", cwd: "x" }, ["command", "cwd"]],
  ["a variable", { ...ONE, env: { KEY: SECRET } }, ["env.KEY"]],
  ["variables added and removed", { ...ONE, env: { OTHER: SECRET } }, ["env.KEY", "env.OTHER"]],
  ["limits", { ...ONE, session: { maxSessions: 2 } }, ["session.idleTtlMs", "session.maxSessions"]],
  ["the backend", { ...ONE, backend: { shared: 2 } }, ["backend"]],
  [
    "the kind of server",
    { type: "http", url: `https://h/${SECRET}`, headers: { "x-key": SECRET }, session: ONE.session },
    [
      "args",
      "command",
      "connectTimeoutMs",
      "cwd",
      "env.KEY",
      "forwardHeaders",
      "headers.x-key",
      "readTimeoutMs",
      "type",
      "url",
    ],
  ],
];
for (const [what, after, keys] of CHANGES) {
  Deno.test(`A diff names the keys of what changed and no value: ${what}`, () => {
    const diff = diffServers(servers({ one: ONE }), servers({ one: after }));
    assertEquals(diff.changed, keys.length === 0 ? [] : [{ id: "one", keys }]);
    assertEquals([diff.unchanged, isEmpty(diff)], keys.length === 0 ? [1, true] : [0, false]);
    assert(!JSON.stringify(diff).includes(SECRET));
  });
}

Deno.test("Servers are added and removed by their ids, and to disable one is to remove it", () => {
  const off = { ...ONE, disabled: true };
  const before = servers({ stays: ONE, goes: ONE, sleeps: ONE, wakes: off, never: off });
  const after = servers({ never: off, wakes: ONE, sleeps: off, stays: ONE, comes: ONE });
  assertEquals(diffServers(before, after), {
    added: ["wakes", "comes"],
    removed: ["goes", "sleeps"],
    changed: [],
    unchanged: 1,
  });
});

Deno.test("Only a change of limits leaves the backend as it is", () => {
  assert(!isOfBackend("session.idleTtlMs"));
  for (const key of ["command", "env.session", "backend", "url", "headers.x"]) assert(isOfBackend(key), key);
});
