import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { ConfigError } from "../../config/config_error.ts";
import { loadServers } from "../../config/servers.ts";
import type { ServerConfig } from "../../config/types.ts";
import { failing, refusal, serversOf } from "./helpers.ts";

const SHAPE = '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "some-server"]}}}';

/** The file `{"mcpServers":{"files":ENTRY}}`. */
const fileOf = (entry: unknown) => ({ mcpServers: { files: entry } });

/** The line of a file with that one entry, without `mcp-servers.json:LINE:COLUMN: mcpServers.files`. */
function entryRefusal(entry: unknown, env = {}): string {
  const line = refusal(() => serversOf(fileOf(entry), { env }));
  const [, rest] = /^mcp-servers\.json:1:\d+: mcpServers\.files(.*)$/.exec(line) ?? [];
  return rest ?? line;
}

function only(entry: unknown, env = {}): ServerConfig {
  const { servers, warnings } = serversOf(fileOf(entry), { env });
  assertEquals(warnings, []);
  assertEquals(servers.length, 1);
  return servers[0]!;
}

/** What an entry with a url has that says no more. */
const REMOTE_DEFAULTS = {
  forwardHeaders: [],
  connectTimeoutMs: 10_000,
  readTimeoutMs: 60_000,
  caCerts: undefined,
};

const NO_SESSION: ServerConfig["session"] = {
  idleTtlMs: undefined,
  hibernateAfterMs: undefined,
  handshakeTtlMs: undefined,
  maxLifetimeMs: undefined,
  onOpenStream: undefined,
  evictable: undefined,
  requestTimeoutMs: undefined,
  maxBodyBytes: undefined,
  maxSessions: undefined,
  maxInFlightPerSession: undefined,
  cleanup: undefined,
};

Deno.test("A command and nothing else is a stdio server in the folder of the file", () => {
  assertEquals(only({ command: "deno" }), {
    id: "files",
    transport: { type: "stdio", command: "deno", args: [], env: {}, cwd: "/etc/sojourn" },
    disabled: false,
    backend: "perSession",
    stateful: false,
    session: NO_SESSION,
  });
});

Deno.test("Every key of a stdio server is read", () => {
  const session = {
    idleTtlMs: 0,
    hibernateAfterMs: 4,
    handshakeTtlMs: 2,
    maxLifetimeMs: 3,
    onOpenStream: "expire",
    evictable: true,
    requestTimeoutMs: 1,
    maxBodyBytes: 1,
    maxSessions: 1,
    maxInFlightPerSession: 1_000_000,
    cleanup: true,
  } as const;
  const entry = {
    type: "stdio",
    command: "npx",
    args: ["-y", ""],
    env: { A: "1", "odd name": "" },
    cwd: "data/x",
    disabled: false,
    description: { any: "thing" },
    stateful: true,
    session,
  };
  assertEquals(only(entry), {
    id: "files",
    transport: {
      type: "stdio",
      command: "npx",
      args: ["-y", ""],
      env: { A: "1", "odd name": "" },
      cwd: "/etc/sojourn/data/x",
    },
    disabled: false,
    backend: "perSession",
    stateful: true,
    session,
  });
  assertEquals(only({ command: "x", cwd: "/srv" }).transport, {
    type: "stdio",
    command: "x",
    args: [],
    env: {},
    cwd: "/srv",
  });
});

Deno.test("A url is an http server, or what its type says", () => {
  const types: [type: string | undefined, expected: "http" | "sse"][] = [
    [undefined, "http"],
    ["http", "http"],
    ["streamable-http", "http"],
    ["streamableHttp", "http"],
    ["sse", "sse"],
  ];
  for (const [type, expected] of types) {
    assertEquals(
      only({ type, url: "https://x.example/mcp?a=b", headers: { Authorization: "Bearer t" } }).transport,
      {
        type: expected,
        url: "https://x.example/mcp?a=b",
        headers: { Authorization: "Bearer t" },
        ...REMOTE_DEFAULTS,
      },
    );
  }
});

Deno.test("Servers keep the order of the file, disabled ones among them", () => {
  const file = {
    servers: { "b.2": { command: "x" }, "A_1": { url: "http://h" }, constructor: { command: "x" } },
  };
  assertEquals(serversOf(file).servers.map(({ id }) => id), ["b.2", "A_1", "constructor"]);
  assertEquals(serversOf({ mcpServers: {} }), { servers: [], warnings: [], found: true });
});

Deno.test("Comments, trailing commas, a byte order mark and other line ends are no mistake", () => {
  const text =
    '\uFEFF// servers\r\n{ /* all */ "mcpServers": { "a": { "command": "x", "args": ["y",], }, }, }\r\n';
  assertEquals(serversOf(text).servers.map(({ id }) => id), ["a"]);
});

Deno.test("Variables are expanded in every text of an entry", () => {
  const env = { V: "v", URL: "http://h:1", DIR: "/srv/d", TRAP: "${V}" };
  const entry = {
    command: "${V}-x",
    args: ["--${V}", "$${V}", "${TRAP}"],
    env: { K: "${V}${N:-n}" },
    cwd: "${DIR}/e",
  };
  assertEquals(only(entry, env).transport, {
    type: "stdio",
    command: "v-x",
    args: ["--v", "${V}", "${V}"],
    env: { K: "vn" },
    cwd: "/srv/d/e",
  });
  assertEquals(only({ url: "${URL}/mcp", headers: { "X-Key": "${env:V}" } }, env).transport, {
    type: "http",
    url: "http://h:1/mcp",
    headers: { "X-Key": "v" },
    ...REMOTE_DEFAULTS,
  });
});

Deno.test("A disabled entry keeps its texts as written and needs no variables", () => {
  const entry = { disabled: true, url: "${NOPE}", headers: { K: "${NOPE" } };
  const server = only(entry);
  assertEquals([server.disabled, server.transport], [true, {
    type: "http",
    url: "${NOPE}",
    headers: { K: "${NOPE" },
    ...REMOTE_DEFAULTS,
  }]);
  assertEquals(
    entryRefusal({ disabled: true, command: 5 }),
    ".command: 5 is not allowed: a text in double quotes",
  );
});

Deno.test("A mistake in an entry is told with its path, its value and what is allowed", () => {
  const text = "a text in double quotes";
  const ms = "whole milliseconds from";
  const url = "an http or https URL without user and password (put credentials into headers)";
  const needs = ': needs "command" (a program to start) or "url" (a server to reach)';
  const object = 'is not allowed: an object, such as {"command": "npx", "args": ["-y", "package"]}';
  const unset = "NOPE is not set: set it in the environment or in .env, or write ${NOPE:-default}";
  const cases: [entry: unknown, line: string][] = [
    [{}, needs],
    [{ disabled: true }, needs],
    [{ type: "stdio", args: [] }, needs],
    ["npx -y x", `: a string ${object}`],
    [null, `: null ${object}`],
    [["npx"], `: a list ${object}`],
    [5, `: a number ${object}`],
    [{ command: "x", url: "http://h" }, '.url: is not allowed beside "command": one of the two'],
    [{ command: "x", type: "http" }, '.type: "http" is not allowed: stdio beside "command"'],
    [{ url: "http://h", type: "stdio" }, '.type: "stdio" is not allowed: http or sse beside "url"'],
    [{ command: "x", type: "websocket" }, '.type: "websocket" is not allowed: one of stdio, http, sse'],
    [{ command: "x", type: 1 }, ".type: 1 is not allowed: one of stdio, http, sse"],
    [{ command: 5 }, `.command: 5 is not allowed: ${text}`],
    [{ command: null }, `.command: null is not allowed: ${text}`],
    [{ command: ["npx"] }, `.command: a list is not allowed: ${text}`],
    [{ command: "" }, '.command: "" is not allowed: a program\'s name or path'],
    [{ command: " " }, '.command: " " is not allowed: a program\'s name or path'],
    [{ command: "${EMPTY}" }, '.command: "${EMPTY}" is not allowed: a program\'s name or path'],
    [{ command: "a\0b" }, '.command: "a\\u0000b" is not allowed: a program\'s name or path'],
    [{ command: "${NOPE}" }, `.command: "\${NOPE}" is not allowed: ${unset}`],
    [
      { command: "x", args: "y" },
      '.args: this text is not allowed: a list of texts, such as ["-y", "package"]',
    ],
    [{ command: "x", args: ["y", 5] }, `.args[1]: 5 is not allowed: ${text}`],
    [{ command: "x", args: ["--k=${NOPE}"] }, `.args[0]: "\${NOPE}" is not allowed: ${unset}`],
    [{ command: "x", args: ["\0"] }, ".args[0]: this text is not allowed: a text without a NUL character"],
    [{ command: "x", env: [] }, '.env: a list is not allowed: an object of texts, such as {"NAME": "value"}'],
    [{ command: "x", env: { N: 5 } }, `.env.N: a number is not allowed: ${text}`],
    [{ command: "x", env: { N: true } }, `.env.N: a boolean is not allowed: ${text}`],
    [{ command: "x", env: { N: null } }, `.env.N: null is not allowed: ${text}`],
    [{ command: "x", env: { N: "${NOPE}" } }, `.env.N: "\${NOPE}" is not allowed: ${unset}`],
    [
      { command: "x", env: { "": "v" } },
      '.env[""]: this name is not allowed: a variable\'s name: not empty, without = and NUL',
    ],
    [
      { command: "x", env: { "A=b": "v" } },
      '.env["A…"]: this name is not allowed: a variable\'s name: not empty, without = and NUL',
    ],
    [{ command: "x", cwd: "" }, '.cwd: "" is not allowed: a folder\'s path'],
    [
      { command: "x", cwd: "${workspaceFolder}" },
      '.cwd: "${workspaceFolder}" is not allowed: ${VAR} or ${VAR:-default}; the other references of VS Code are not supported',
    ],
    [{ url: "h/mcp/s3cret" }, `.url: "h/…" is not allowed: ${url}`],
    [{ url: "ftp://h" }, `.url: "ftp://h" is not allowed: ${url}`],
    [{ url: "http://u:p@h/x" }, `.url: "http://…@h/…" is not allowed: ${url}`],
    [{ url: "${EMPTY}" }, `.url: "\${EMPTY}" is not allowed: ${url}`],
    [
      { url: "http://h", headers: { "A b": "c" } },
      '.headers["A…"]: this name is not allowed: a header\'s name: letters, digits and -; ' +
      "not one of the connection's, and not mcp-…",
    ],
    [
      { url: "http://h", headers: { A: "a\r\nb" } },
      ".headers.A: this text is not allowed: a header's value: one line of Latin-1 text",
    ],
    [
      { url: "http://h", headers: { A: "→" } },
      ".headers.A: this text is not allowed: a header's value: one line of Latin-1 text",
    ],
    [
      { url: "http://h", headers: { A: "1", a: "2" } },
      ".headers: an object is not allowed: each header once, upper and lower case being the same",
    ],
    [{ command: "x", disabled: "yes" }, '.disabled: "yes" is not allowed: true or false, without quotes'],
    [{ command: "x", session: 5 }, '.session: 5 is not allowed: an object, such as {"idleTtlMs": 600000}'],
    [
      { command: "x", session: { cleanup: 0 } },
      ".session.cleanup: 0 is not allowed: true or false, without quotes",
    ],
    [
      { command: "x", session: { idleTtlMs: "5" } },
      `.session.idleTtlMs: "5" is not allowed: ${ms} 0 to 31622400000`,
    ],
    [
      { command: "x", session: { idleTtlMs: -1 } },
      `.session.idleTtlMs: -1 is not allowed: ${ms} 0 to 31622400000`,
    ],
    [
      { command: "x", session: { idleTtlMs: 1.5 } },
      `.session.idleTtlMs: 1.5 is not allowed: ${ms} 0 to 31622400000`,
    ],
    [
      { command: "x", session: { idleTtlMs: 31622400001 } },
      `.session.idleTtlMs: 31622400001 is not allowed: ${ms} 0 to 31622400000`,
    ],
    [
      { command: "x", session: { handshakeTtlMs: "0" } },
      `.session.handshakeTtlMs: "0" is not allowed: ${ms} 0 to 31622400000`,
    ],
    [
      { command: "x", session: { maxLifetimeMs: 31622400001 } },
      `.session.maxLifetimeMs: 31622400001 is not allowed: ${ms} 0 to 31622400000`,
    ],
    [
      { command: "x", session: { onOpenStream: "Ping" } },
      '.session.onOpenStream: "Ping" is not allowed: one of ping, expire',
    ],
    [
      { command: "x", session: { onOpenStream: true } },
      ".session.onOpenStream: true is not allowed: one of ping, expire",
    ],
    [
      { command: "x", session: { evictable: "true" } },
      '.session.evictable: "true" is not allowed: true or false, without quotes',
    ],
    [
      { command: "x", session: { requestTimeoutMs: 0 } },
      `.session.requestTimeoutMs: 0 is not allowed: ${ms} 1 to 31622400000`,
    ],
  ];
  for (const [entry, line] of cases) assertEquals(entryRefusal(entry, { EMPTY: "" }), line);
});

Deno.test("Session times are taken up to their bounds", () => {
  for (const key of ["idleTtlMs", "handshakeTtlMs", "maxLifetimeMs"]) {
    for (const ms of [0, 1, 31_622_399_999, 31_622_400_000]) {
      assertEquals(only({ command: "x", session: { [key]: ms } }).session, { ...NO_SESSION, [key]: ms });
    }
  }
});

Deno.test("A server's name is what fits into a URL as it is", () => {
  for (const id of ["a", "...", "a.b-c_D9", "x".repeat(64)]) {
    assertEquals(serversOf({ mcpServers: { [id]: { command: "x" } } }).servers[0]!.id, id);
  }
  const allowed = "this name is not allowed: 1 to 64 of A-Z a-z 0-9 . _ - and neither . nor ..";
  for (const id of ["", ".", "..", "a b", "a/b", "é", "a\n", "x".repeat(65)]) {
    const where = /^[a-z]{65}$/.test(id) ? `.${id}` : `[${JSON.stringify(id)}]`;
    assertEquals(
      refusal(() => serversOf({ mcpServers: { [id]: { command: "x" } } })),
      `mcp-servers.json:1:16: mcpServers${where}: ${allowed}`,
    );
  }
});

Deno.test("A file that is no servers file is refused with its place", () => {
  const cases: [text: string, line: string][] = [
    ["", "1:1: expected a value: the file is empty"],
    [" \n// nothing\n", "3:1: expected a value"],
    ["{", '1:2: expected "}"'],
    ['{\n  "mcpServers": {\n    "a" {}\n  }\n}', '3:9: expected ":"'],
    ['{"a": 1 "b": 2}', '1:9: expected "," or the closing bracket'],
    ['{"mcpServers": {"a": [1 2]}}', '1:25: expected "," or the closing bracket'],
    ['{"mcpServers": [', '1:17: expected "]"'],
    ["{mcpServers: {}}", "1:2: expected a value, or a name in double quotes"],
    ['{"a": "b\n"}', "1:7: expected a closing double quote on the same line"],
    ['{"a": "\\x"}', '1:7: expected one of "\\/bfnrtu after \\ (a backslash is \\\\)'],
    ['{"a": "\t"}', "1:7: expected no control character in a string (a tab is \\t)"],
    ['{"a": "\\u12"}', "1:7: expected four hexadecimal digits after \\u"],
    ['{"a": 1.}', "1:7: expected more digits"],
    ['{"a": ,}', "1:7: expected a value"],
    ["{} {}", "1:4: expected the end of the file"],
    ["/* {}", '1:1: expected "*/" at the end of the comment'],
    ["[".repeat(300_000), "1:1: expected fewer brackets inside each other"],
    ["[]", `1:1: a list is not allowed: an object, such as ${SHAPE}`],
    ["null", `1:1: null is not allowed: an object, such as ${SHAPE}`],
    ["{}", `1:1: needs the key "mcpServers", such as ${SHAPE}`],
    ['{"files": {"cmd": "x"}}', `1:1: needs the key "mcpServers", such as ${SHAPE}`],
    [
      '{"mcpServers": []}',
      `1:16: mcpServers: a list is not allowed: an object of servers, such as in ${SHAPE}`,
    ],
    ['{"servers": {}, "mcpServers": {}}', '1:2: servers: is not allowed beside "mcpServers": one of the two'],
    ['{"mcpServers": {}, "mcpServers": {}}', "1:20: mcpServers: is there twice: each name once"],
    [
      '{"mcpServers": {"a": {"env": {"A": "1",\n"A": "2"}}}}',
      "2:1: mcpServers.a.env.A: is there twice: each name once",
    ],
    [
      '{"mcpServers": {"__proto__": {"command": "x"}}}',
      "1:17: mcpServers.__proto__: this name is not allowed: any other",
    ],
  ];
  for (const [text, line] of cases) assertEquals(refusal(() => serversOf(text)), `mcp-servers.json:${line}`);
});

Deno.test("Entries may stand at the top level, where there is nothing else", () => {
  const entry = { command: "node", args: ["a.js"], env: { KEY: "k" } };
  for (const root of ["mcpServers", "servers", undefined]) {
    const servers = { a: entry, b: { url: "https://example.com/mcp" } };
    const { servers: [a, b], warnings } = serversOf(root === undefined ? servers : { [root]: servers });
    assertEquals([a?.id, a?.transport.type, b?.id, b?.transport.type], ["a", "stdio", "b", "http"]);
    assertEquals(warnings, []);
  }
  // One that is no entry makes it another mistake: which form was meant nobody can tell.
  assertEquals(
    refusal(() => serversOf({ a: entry, version: 1 })).startsWith(
      'mcp-servers.json:1:1: needs the key "mcpServers"',
    ),
    true,
  );
});

Deno.test("Mistakes in entries at the top level show no more than those under a key", () => {
  const cases: [entry: unknown, line: string][] = [
    [{ command: "x", env: { KEY: ["hunter2"] } }, "a.env.KEY: a list is not allowed"],
    [{ command: "x", env: { KEY: "${hunter2 x}" } }, "a.env.KEY: a reference in it is not allowed"],
    [{ command: "x", args: ["hunter2\0"] }, "a.args[0]: this text is not allowed"],
    [{ url: "https://u:hunter2@example.com/" }, 'a.url: "https://…@example.com/…" is not allowed'],
    [{ command: "x", session: { idleTtlMs: "1" } }, 'a.session.idleTtlMs: "1" is not allowed'],
  ];
  for (const [entry, says] of cases) {
    const line = refusal(() => serversOf({ a: entry }));
    assert(line.includes(says), line);
    assert(!line.includes("hunter2"), line);
  }
});

Deno.test("MCP_SERVERS has the servers where there is no file, and is pointed out where there is one", () => {
  const readFile = failing(new Deno.errors.NotFound());
  const MCP_SERVERS = '{"a": {"command": "node", "args": ["${KEY}"], "cwd": "x"}}';
  const found = serversOf("", { readFile, env: { MCP_SERVERS, KEY: "k" } });
  assertEquals([found.found, found.warnings, found.servers.length], [false, [], 1]);
  assertEquals(found.servers[0]?.transport, {
    type: "stdio",
    command: "node",
    args: ["k"],
    env: {},
    cwd: "/etc/sojourn/x",
  });
  const keyed = serversOf("", { readFile, env: { MCP_SERVERS: '{"mcpServers": {"b": {"command": "x"}}}' } });
  assertEquals(keyed.servers.map(({ id }) => id), ["b"]);
  const both = serversOf({ mcpServers: { c: { command: "x" } } }, { env: { MCP_SERVERS: "{" } });
  assertEquals(both.servers.map(({ id }) => id), ["c"]);
  assertEquals(both.warnings, ["MCP_SERVERS is set but not read: there is mcp-servers.json"]);
  assertEquals(serversOf("", { readFile, env: { MCP_SERVERS: "" } }), {
    servers: [],
    warnings: [],
    found: false,
  });
  assertEquals(
    refusal(() => serversOf("", { readFile, env: { MCP_SERVERS: '{"a": {"command": 1}}' } })),
    "MCP_SERVERS:1:19: a.command: 1 is not allowed: a text in double quotes",
  );
  assert(
    refusal(() => serversOf("", { readFile, env: { MCP_SERVERS: "[]" } })).startsWith(
      "MCP_SERVERS:1:1: a list",
    ),
  );
  // A file that was asked for by name is missed whatever the variable says.
  assert(
    refusal(() => serversOf("", { named: true, readFile, env: { MCP_SERVERS } })).includes("no such file"),
  );
});

// [timeout of the entry, its session, the time-out in force, the warning].
const TIMEOUTS: [unknown, unknown, number | undefined, string][] = [
  [30_000, undefined, 30_000, "is taken for milliseconds, and for session.requestTimeoutMs"],
  [1_000, {}, 1_000, "is taken for milliseconds, and for session.requestTimeoutMs"],
  [30_000, { requestTimeoutMs: 5 }, 5, "has no effect beside session.requestTimeoutMs"],
  ...[999, 60, 0, -1, 1_500.5, "30000", null, [], 1e300].map((
    timeout,
  ): [unknown, unknown, undefined, string] => [
    timeout,
    undefined,
    undefined,
    "is ignored: not whole milliseconds",
  ]),
];
for (const [timeout, session, ms, says] of TIMEOUTS) {
  Deno.test(`A timeout of ${JSON.stringify(timeout)} beside ${JSON.stringify(session)} is ${ms} ms`, () => {
    const entry = { command: "x", timeout, ...(session !== undefined && { session }) };
    const { servers: [server], warnings } = serversOf({ mcpServers: { a: entry } });
    assertEquals(server?.session.requestTimeoutMs, ms);
    assertEquals(warnings.length, 1);
    assert(warnings[0]!.includes(`mcpServers.a.timeout: ${says}`), warnings[0]);
  });
}

Deno.test("Other keys of MCP Connect are taken, and what has no effect is said", () => {
  const { servers, warnings } = serversOf({
    mcpServers: { a: { command: "x", description: "d", retries: 3 } },
  });
  assertEquals(servers.length, 1);
  assertEquals(warnings, [
    "mcp-servers.json:1:53: mcpServers.a.retries: has no effect: what was sent to a server is never sent again",
  ]);
});

Deno.test("The first mistake of the file is told, whatever order they are found in", () => {
  const text = `{"mcpServers": {
    "a": {"command": "x", "session": {"cleanup": 1}, "args": [1]},
    "b": {},
    "c d": {"command": "x"}
  }}`;
  assertEquals(
    refusal(() => serversOf(text)),
    "mcp-servers.json:2:50: mcpServers.a.session.cleanup: 1 is not allowed: true or false, without quotes (and 3 more)",
  );
});

Deno.test("Unknown keys and keys without effect are warned of, by place", () => {
  const text = `{"inputs": [], "$schema": "x", "mcpServers": {
    "a": {"command": "x", "timeout": 5, "arg": [], "headers": {}, "session": {"idleTtl": 5, "x": 1}},
    "b": {"url": "http://h", "env": {}}
  }}`;
  const { servers, warnings } = serversOf(text);
  assertEquals(servers.map(({ id }) => id), ["a", "b"]);
  assertEquals(warnings, [
    "mcp-servers.json:1:2: inputs: unknown key, ignored",
    "mcp-servers.json:2:27: mcpServers.a.timeout: is ignored: not whole milliseconds from 1000 to 31622400000; " +
    "set session.requestTimeoutMs",
    'mcp-servers.json:2:41: mcpServers.a.arg: unknown key, ignored; did you mean "args"?',
    'mcp-servers.json:2:52: mcpServers.a.headers: has no effect beside "command"',
    'mcp-servers.json:2:79: mcpServers.a.session.idleTtl: unknown key, ignored; did you mean "idleTtlMs"?',
    "mcp-servers.json:2:93: mcpServers.a.session.x: unknown key, ignored",
    'mcp-servers.json:3:30: mcpServers.b.env: has no effect beside "url"',
  ]);
});

Deno.test("Beside cleanup: false what ends sessions by time is warned of, what agrees with it is not", () => {
  const warningsOf = (session: Record<string, unknown>) =>
    serversOf(fileOf({ command: "x", session })).warnings;
  const timed = { idleTtlMs: 1, handshakeTtlMs: 1, maxLifetimeMs: 1, onOpenStream: "ping", evictable: true };
  assertEquals(
    warningsOf({ ...timed, cleanup: false }).map((line) => line.replace(/^mcp-servers\.json:1:\d+: /, "")),
    Object.keys(timed).map((key) => `mcpServers.files.session.${key}: has no effect beside "cleanup": false`),
  );
  const agreeing = { idleTtlMs: 0, handshakeTtlMs: 0, maxLifetimeMs: 0, evictable: false };
  assertEquals(warningsOf({ ...agreeing, requestTimeoutMs: 1, maxBodyBytes: 1, cleanup: false }), []);
  assertEquals(warningsOf({ ...timed, cleanup: true }), []);
  assertEquals(warningsOf(timed), []);
});

Deno.test("A missing file is a mistake only when it was named", () => {
  const readFile = failing(new Deno.errors.NotFound("no"));
  assertEquals(serversOf("", { readFile }), { servers: [], warnings: [], found: false });
  assertEquals(
    refusal(() => serversOf("", { readFile, named: true })),
    "mcp-servers.json: no such file: MCP_CONFIG or --mcp-config has to name one that exists",
  );
});

Deno.test("A file that is there and cannot be read is a mistake, named or not", () => {
  const cases: [error: Error, reason: string][] = [
    [new Deno.errors.PermissionDenied("x"), "permission denied"],
    [new Deno.errors.IsADirectory("x"), "it is a folder"],
    [new Deno.errors.NotADirectory("x"), "a part of its path is no folder"],
    [new Deno.errors.Interrupted("x"), "Interrupted"],
  ];
  for (const [error, reason] of cases) {
    const line = refusal(() => serversOf("", { readFile: failing(error) }));
    assertEquals(line, `mcp-servers.json: cannot be read: ${reason}`);
  }
  assertEquals(
    refusal(() => serversOf("", { readFile: () => new Uint8Array([0xff, 0xfe, 0x7b, 0]) })),
    "mcp-servers.json: cannot be read: it is not UTF-8 text",
  );
});

Deno.test("A real folder and a real missing file are told apart", () => {
  const options = { named: true, env: {}, cwd: import.meta.dirname! };
  assertEquals(refusal(() => loadServers("../config", options)), "../config: cannot be read: it is a folder");
  assertStringIncludes(
    refusal(() => loadServers("no\nsuch.json", options)),
    "no\\u000asuch.json: no such file",
  );
});

Deno.test("A secret stands in no error line and in no warning", () => {
  const secret = "hunter2";
  const env = { SECRET: secret, BREAK: `${secret}\n`, FTP: `ftp://${secret}.example` };
  const entries: unknown[] = [
    { command: "x", env: { K: [secret] } },
    { command: "x", env: { K: `\${NOPE}${secret}` } },
    { command: "x", env: { K: `${secret}\0` } },
    { command: "x", env: { K: `\${${secret}` } },
    { command: "x", env: { K: `\${${secret}!}` } },
    { command: "x", env: { [`K=${secret}`]: "" } },
    { command: "x", env: secret },
    { command: "x", env: [`K=${secret}`] },
    { command: "x", args: `--key ${secret}` },
    { command: "x", args: [`--key=${secret}`, 1] },
    { command: "x", args: [`${secret}\${NOPE}`] },
    { command: "x", args: [[secret]] },
    { command: "x", args: { key: secret } },
    { command: "${SECRET}${NOPE}" },
    { command: "x", cwd: "${SECRET}${NOPE}" },
    { url: "http://h", headers: { Authorization: "Bearer ${BREAK}" } },
    { url: "http://h", headers: { [`Authorization: ${secret}`]: "" } },
    { url: "http://h", headers: { K: `${secret}\n` } },
    { url: "http://h", headers: [secret] },
    { url: `http://u:${secret}@h/` },
    { url: `http://u:p/${secret}@h/` },
    { url: `https//h/${secret}` },
    { url: `ftp://h/?key=${secret}` },
    { url: `http://h/\${${secret}` },
    { url: "${FTP}" },
    { url: "http://h", apiKey: secret, headers: 5 },
    secret,
    [secret],
  ];
  for (const entry of entries) {
    const line = refusal(() => serversOf(fileOf(entry), { env }));
    assert(!line.includes(secret), line);
  }
  const texts = [
    `{"mcpServers": {"a": {"env": {"K": "${secret}" "L"`,
    `{"mcpServers": {"a": {"env": {"K": "${secret}`,
  ];
  texts.push(
    `{"mcpServers": {"a": {"env": {"K=${secret}": "", "K=${secret}": ""}}}}`,
    `"${secret}`,
    `[${secret}]`,
  );
  for (const text of texts) {
    const line = refusal(() => serversOf(text));
    assert(!line.includes(secret), line);
  }
  const { warnings } = serversOf(fileOf({ command: "x", apiKey: secret, headers: { K: secret } }), { env });
  assertEquals(warnings.length, 2);
  assert(!warnings.join().includes(secret));
});

Deno.test("Any file whatever gives servers or one ConfigError of one line", () => {
  const key = fc.constantFrom(
    "mcpServers",
    "servers",
    "a",
    "command",
    "url",
    "args",
    "env",
    "session",
    "__proto__",
    "",
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5, depthSize: "medium" },
      fc.constantFrom(null, true, 0, "x", "${A}", "${", "http://h"),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.array(fc.tuple(key, tie("value")), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs)),
    ),
  }));
  const inside = value.map((value) => JSON.stringify({ mcpServers: { files: value } }));
  const texts = fc.oneof(fc.string(), value.map((value) => JSON.stringify(value)), inside);
  const cut = fc.tuple(texts, fc.nat()).map(([text, length]) => text.slice(0, length % (text.length + 1)));
  fc.assert(fc.property(fc.oneof(texts, cut), (text) => {
    try {
      serversOf(text, { env: { A: "a" } });
    } catch (error) {
      assert(error instanceof ConfigError, String(error));
      assert(!/[\r\n]/.test(error.message));
    }
  }));
});

// [backend, as it is read].
const BACKENDS: [unknown, ServerConfig["backend"]][] = [
  [undefined, "perSession"],
  ["perSession", "perSession"],
  [{ prewarm: 1 }, { prewarm: 1, prewarmMaxAgeMs: 3_600_000 }],
  [{ prewarm: 1_000, prewarmMaxAgeMs: 0 }, { prewarm: 1_000, prewarmMaxAgeMs: 0 }],
  [{ prewarm: 2, prewarmMaxAgeMs: 1_000 }, { prewarm: 2, prewarmMaxAgeMs: 1_000 }],
  [{ shared: 3 }, { shared: 3 }],
];
for (const [backend, expected] of BACKENDS) {
  Deno.test(`Backend ${JSON.stringify(backend)} is read as ${JSON.stringify(expected)}`, () =>
    assertEquals(only({ command: "x", ...(backend !== undefined && { backend }) }).backend, expected));
}

for (
  const backend of ["shared", 1, null, [], {}, { prewarm: 0 }, { prewarm: 1_001 }, { prewarm: 1.5 }, {
    shared: "2",
  }]
    .concat(
      [{ prewarm: 1, shared: 1 }, { prewarm: 1, prewarmMaxAgeMs: 999 }, { shared: 1, extra: 1 }] as never[],
    )
) {
  Deno.test(`Backend ${JSON.stringify(backend)} is refused, with what is allowed`, () => {
    const line = refusal(() => serversOf(fileOf({ command: "x", backend })));
    assertStringIncludes(line, "mcpServers.files.backend");
    assert(
      ['"perSession", {"prewarm": N', "a whole number from 1 to 1000", "whole milliseconds from 1000"].some((
        allowed,
      ) => line.includes(` is not allowed: ${allowed}`)),
      line,
    );
  });
}
