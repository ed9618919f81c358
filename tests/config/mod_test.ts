import { assert, assertEquals } from "@std/assert";
import { type ConfigSources, loadConfig } from "../../config/mod.ts";
import { refusal } from "./helpers.ts";

/** Sources whose folder holds just these files. */
function sourcesOf(files: Record<string, string>, more: Partial<ConfigSources> = {}): ConfigSources {
  return {
    args: [],
    env: {},
    cwd: "/srv/app",
    readFile: (path) => {
      if (!Object.hasOwn(files, path)) throw new Deno.errors.NotFound(path);
      return new TextEncoder().encode(files[path]);
    },
    ...more,
  };
}

Deno.test("An empty folder runs with the defaults and without servers", () => {
  const result = loadConfig(sourcesOf({}));
  assert(result.kind === "run");
  assertEquals([result.settings.port, result.servers, result.warnings, result.serversFileFound], [
    3000,
    [],
    [],
    false,
  ]);
});

Deno.test("Settings and the variables of the servers file come from .env, the environment winning", () => {
  const result = loadConfig(sourcesOf({
    "/srv/app/.env": "\uFEFFPORT=4000\nMCP_CONFIG=conf/s.json\nTOKEN=from-file\nBOTH=from-file\nDRAIN=1\n",
    "/srv/app/conf/s.json":
      '{"servers": {"a": {"command": "x", "args": ["${TOKEN}", "${BOTH}"], "nope": 1}}}',
  }, { env: { BOTH: "from-environment" } }));
  assert(result.kind === "run");
  assertEquals([result.settings.port, result.serversFileFound], [4000, true]);
  assertEquals(result.servers.map(({ transport }) => transport), [{
    type: "stdio",
    command: "x",
    args: ["from-file", "from-environment"],
    env: {},
    cwd: "/srv/app/conf",
  }]);
  assertEquals(result.warnings, [
    ".env: DRAIN is not a setting; did you mean DRAIN_MS?",
    "conf/s.json:1:69: servers.a.nope: unknown key, ignored",
  ]);
});

Deno.test("The configuration says where each setting came from", () => {
  const result = loadConfig(sourcesOf({ "/srv/app/.env": "TOMBSTONES=1\n" }, {
    args: ["--min-ttl-ms=1"],
    env: { MAX_LIFETIME_MS: "1" },
  }));
  assert(result.kind === "run");
  const { tombstones, maxLifetimeMs, minTtlMs, handshakeTtlMs } = result.origins;
  assertEquals([tombstones, maxLifetimeMs, minTtlMs, handshakeTtlMs], ["env", "env", "flag", "default"]);
});

Deno.test("A named servers file has to be there, a default one has not", () => {
  assertEquals(
    refusal(() => loadConfig(sourcesOf({}, { args: ["--mcp-config", "nope.json"] }))),
    "nope.json: no such file: MCP_CONFIG or --mcp-config has to name one that exists",
  );
});

Deno.test("A .env that cannot be read stops the start", () => {
  const readFile = () => {
    throw new Deno.errors.IsADirectory("x");
  };
  assertEquals(
    refusal(() => loadConfig(sourcesOf({}, { readFile }))),
    ".env: cannot be read: it is a folder",
  );
});

Deno.test("--help and --version look at no servers file", () => {
  const files = { "/srv/app/mcp-servers.json": "broken" };
  assertEquals(loadConfig(sourcesOf(files, { args: ["--help"] })).kind, "help");
  assertEquals(loadConfig(sourcesOf(files, { args: ["--version"] })), {
    kind: "version",
    text: "sojourn 0.1.0",
  });
});

Deno.test("Variables of .env that refer to each other in a circle are a mistake", () => {
  assertEquals(
    refusal(() => loadConfig(sourcesOf({ "/srv/app/.env": "A=$B\nB=$A\n" }))),
    ".env: Cannot expand $A: it refers to itself",
  );
});
