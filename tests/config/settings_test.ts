import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import deno from "../../deno.json" with { type: "json" };
import { readSettings, type SettingsSources, settingsTable } from "../../config/settings.ts";
import type { SettingOrigin, SettingOrigins, Settings } from "../../config/types.ts";
import { refusal } from "./helpers.ts";

const MAX_MS = 31_622_400_000;
const MAX_BYTES = 268_435_456;

const DEFAULTS: Settings = {
  host: "127.0.0.1",
  port: 3000,
  logLevel: "info",
  logFormat: "text",
  logDir: undefined,
  dataDir: ".sojourn",
  sessionStore: "sqlite",
  streamSessionTtlMs: 300_000,
  bridgeSessionTtlMs: 300_000,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: "ping",
  minTtlMs: 30_000,
  memoryLimitBytes: undefined,
  sweepCloseConcurrency: 32,
  maxSessions: 1_000,
  maxSessionsPerPrincipal: 0,
  opensPerMinute: 3_000,
  authFailuresPerMinute: 60,
  maxProcesses: undefined,
  spawnConcurrency: undefined,
  admissionWaitMs: 2_000,
  tombstones: 10_000,
  bridgeCommands: undefined,
  disableBridgeCleanup: false,
  disableStreamCleanup: false,
  implicitSessions: true,
  legacySse: true,
  mcpConfig: "mcp-servers.json",
  mcpConfigNamed: false,
  requestTimeoutMs: 3_600_000,
  startTimeoutMs: 60_000,
  clientReplyTimeoutMs: 60_000,
  sseAfterMs: 1_000,
  implicitTtlMs: 30_000,
  drainMs: 5_000,
  maxStreamBufferBytes: 4_194_304,
  streamStallMs: 30_000,
  streamMaxMs: 0,
  maxBodyBytes: 4_194_304,
  bodyTimeoutMs: 30_000,
  accessToken: undefined,
  accessTokensFile: undefined,
  adminToken: undefined,
  allowUnauthenticated: false,
  allowedOrigins: [],
  allowedHosts: [],
};

function read(sources: Partial<SettingsSources>) {
  return readSettings({ args: [], env: {}, dotenv: {}, ...sources });
}

function settingsOf(sources: Partial<SettingsSources>): Settings {
  const result = read(sources);
  assert(result.kind === "settings");
  return result.settings;
}

function originsOf(sources: Partial<SettingsSources>): SettingOrigins {
  const result = read(sources);
  assert(result.kind === "settings");
  return result.origins;
}

function warningsOf(sources: Partial<SettingsSources>): readonly string[] {
  const result = read(sources);
  assert(result.kind === "settings");
  return result.warnings;
}

Deno.test("Without any source every setting has its default", () => {
  const { mcpConfigNamed: _, ...own } = DEFAULTS;
  const origins = Object.fromEntries(Object.keys(own).map((key) => [key, "default"]));
  assertEquals<unknown>(read({}), { kind: "settings", settings: DEFAULTS, origins, warnings: [] });
});

Deno.test("A flag wins over the environment, which wins over .env, which wins over the default", () => {
  const [args, env, dotenv] = [["--port", "1"], { PORT: "2" }, { PORT: "3" }];
  const cases: [sources: Partial<SettingsSources>, port: number, origin: SettingOrigin][] = [
    [{ args, env, dotenv }, 1, "flag"],
    [{ args, dotenv }, 1, "flag"],
    [{ env, dotenv }, 2, "env"],
    [{ dotenv }, 3, "env"],
    [{}, 3000, "default"],
    [{ env: { PORT: "" }, dotenv }, 3, "env"],
    [{ env: { PORT: "" }, dotenv: { PORT: "" } }, 3000, "default"],
    [{ env: { PORT: undefined }, dotenv }, 3, "env"],
    [{ env: { PORT: "3000" } }, 3000, "env"],
  ];
  for (const [sources, port, origin] of cases) {
    const result = [settingsOf(sources).port, originsOf(sources).port];
    assertEquals(result, [port, origin], JSON.stringify(sources));
  }
});

Deno.test("Every setting is read from its flag, from the environment and from .env", () => {
  const cases: [variable: string, text: string, expected: Partial<Settings>][] = [
    ["HOST", "::1", { host: "::1" }],
    ["PORT", "0", { port: 0 }],
    ["LOG_LEVEL", "debug", { logLevel: "debug" }],
    ["LOG_FORMAT", "json", { logFormat: "json" }],
    ["LOG_DIR", "logs", { logDir: "logs" }],
    ["DATA_DIR", "/var/lib/sojourn", { dataDir: "/var/lib/sojourn" }],
    ["SESSION_STORE", "memory", { sessionStore: "memory" }],
    ["STREAM_SESSION_TTL_MS", "4000", { streamSessionTtlMs: 4000 }],
    ["BRIDGE_SESSION_TTL_MS", "4005", { bridgeSessionTtlMs: 4005 }],
    ["HANDSHAKE_TTL_MS", "4010", { handshakeTtlMs: 4010 }],
    ["MAX_LIFETIME_MS", "4011", { maxLifetimeMs: 4011 }],
    ["ON_OPEN_STREAM", "expire", { onOpenStream: "expire" }],
    ["MIN_TTL_MS", "4012", { minTtlMs: 4012 }],
    ["MEMORY_LIMIT_BYTES", "8589934592", { memoryLimitBytes: 8_589_934_592 }],
    ["SWEEP_CLOSE_CONCURRENCY", "4", { sweepCloseConcurrency: 4 }],
    ["MAX_SESSIONS", "6", { maxSessions: 6 }],
    ["MAX_SESSIONS_PER_PRINCIPAL", "7", { maxSessionsPerPrincipal: 7 }],
    ["MAX_PROCESSES", "8", { maxProcesses: 8 }],
    ["SPAWN_CONCURRENCY", "9", { spawnConcurrency: 9 }],
    ["ADMISSION_WAIT_MS", "4013", { admissionWaitMs: 4013 }],
    ["OPENS_PER_MINUTE", "10", { opensPerMinute: 10 }],
    ["TOMBSTONES", "5", { tombstones: 5 }],
    ["BRIDGE_COMMANDS", "{}", { bridgeCommands: "{}" }],
    ["DISABLE_BRIDGE_CLEANUP", "true", { disableBridgeCleanup: true }],
    ["DISABLE_STREAM_CLEANUP", "true", { disableStreamCleanup: true }],
    ["IMPLICIT_SESSIONS", "false", { implicitSessions: false }],
    ["LEGACY_SSE", "false", { legacySse: false }],
    ["MCP_CONFIG", "a b.json", { mcpConfig: "a b.json", mcpConfigNamed: true }],
    ["REQUEST_TIMEOUT_MS", "4001", { requestTimeoutMs: 4001 }],
    ["START_TIMEOUT_MS", "4002", { startTimeoutMs: 4002 }],
    ["CLIENT_REPLY_TIMEOUT_MS", "4003", { clientReplyTimeoutMs: 4003 }],
    ["SSE_AFTER_MS", "4004", { sseAfterMs: 4004 }],
    ["IMPLICIT_TTL_MS", "4005", { implicitTtlMs: 4005 }],
    ["DRAIN_MS", "4006", { drainMs: 4006 }],
    ["MAX_STREAM_BUFFER_BYTES", "70000", { maxStreamBufferBytes: 70_000 }],
    ["STREAM_STALL_MS", "4007", { streamStallMs: 4007 }],
    ["STREAM_MAX_MS", "4008", { streamMaxMs: 4008 }],
    ["MAX_BODY_BYTES", "4008", { maxBodyBytes: 4008 }],
    ["BODY_TIMEOUT_MS", "4009", { bodyTimeoutMs: 4009 }],
    ["ACCESS_TOKEN", "t0ken", { accessToken: "t0ken" }],
    ["ACCESS_TOKENS_FILE", "tokens.json", { accessTokensFile: "tokens.json" }],
    ["AUTH_FAILURES_PER_MINUTE", "11", { authFailuresPerMinute: 11 }],
    ["ADMIN_TOKEN", "r00t", { adminToken: "r00t" }],
    ["ALLOW_UNAUTHENTICATED", "true", { allowUnauthenticated: true }],
    ["ALLOWED_ORIGINS", "https://A.example, http://b:81", {
      allowedOrigins: ["https://a.example", "http://b:81"],
    }],
    ["ALLOWED_HOSTS", "a.example,b:81", { allowedHosts: ["a.example", "b:81"] }],
  ];
  assertEquals(cases.map(([variable]) => variable), settingsTable().map(({ variable }) => variable));
  for (const [variable, text, expected] of cases) {
    const flag = `--${variable.toLowerCase().replaceAll("_", "-")}`;
    const settings = { ...DEFAULTS, ...expected };
    const [key] = Object.keys(expected);
    const sources: [Partial<SettingsSources>, SettingOrigin][] = [
      [{ args: [`${flag}=${text}`] }, "flag"],
      [{ env: { [variable]: text } }, "env"],
      [{ dotenv: { [variable]: text } }, "env"],
    ];
    for (const [source, origin] of sources) {
      assertEquals(settingsOf(source), settings);
      assertEquals(originsOf(source), { ...originsOf({}), [key!]: origin });
    }
  }
});

Deno.test("A servers file that the operator named is marked so, also when it is the default's name", () => {
  assertEquals(settingsOf({ env: { MCP_CONFIG: "mcp-servers.json" } }).mcpConfigNamed, true);
  assertEquals(settingsOf({ env: { MCP_CONFIG: "" } }).mcpConfigNamed, false);
});

Deno.test("Whole numbers are taken up to their bounds and refused beyond", () => {
  const bounds: [variable: string, what: string, min: number, max: number][] = [
    ["PORT", "a whole number", 0, 65_535],
    ["STREAM_SESSION_TTL_MS", "whole milliseconds", 0, MAX_MS],
    ["HANDSHAKE_TTL_MS", "whole milliseconds", 0, MAX_MS],
    ["MAX_LIFETIME_MS", "whole milliseconds", 0, MAX_MS],
    ["MIN_TTL_MS", "whole milliseconds", 1, MAX_MS],
    ["SWEEP_CLOSE_CONCURRENCY", "a whole number", 1, 1_000],
    ["MAX_SESSIONS", "a whole number", 1, 1_000_000],
    ["MAX_SESSIONS_PER_PRINCIPAL", "a whole number", 0, 1_000_000],
    ["MAX_PROCESSES", "a whole number", 1, 1_000_000],
    ["SPAWN_CONCURRENCY", "a whole number", 1, 1_000],
    ["ADMISSION_WAIT_MS", "whole milliseconds", 0, 60_000],
    ["OPENS_PER_MINUTE", "a whole number", 0, 1_000_000],
    ["AUTH_FAILURES_PER_MINUTE", "a whole number", 0, 1_000_000],
    ["TOMBSTONES", "a whole number", 0, 1_000_000],
    ["REQUEST_TIMEOUT_MS", "whole milliseconds", 1, MAX_MS],
    ["START_TIMEOUT_MS", "whole milliseconds", 1, MAX_MS],
    ["CLIENT_REPLY_TIMEOUT_MS", "whole milliseconds", 1, MAX_MS],
    ["SSE_AFTER_MS", "whole milliseconds", 0, 300_000],
    ["IMPLICIT_TTL_MS", "whole milliseconds", 0, MAX_MS],
    ["DRAIN_MS", "whole milliseconds", 0, 3_600_000],
    ["MAX_STREAM_BUFFER_BYTES", "whole bytes", 65_536, MAX_BYTES],
    ["STREAM_STALL_MS", "whole milliseconds", 1, MAX_MS],
    ["STREAM_MAX_MS", "whole milliseconds", 0, MAX_MS],
    ["MAX_BODY_BYTES", "whole bytes", 1, MAX_BYTES],
    ["BODY_TIMEOUT_MS", "whole milliseconds", 1, MAX_MS],
  ];
  for (const [variable, what, min, max] of bounds) {
    for (const value of [min, min + 1, max - 1, max]) {
      assert(
        Object.values(settingsOf({ env: { [variable]: `${value}` } })).includes(value),
        `${variable}=${value}`,
      );
    }
    for (const text of [`${min - 1}`, `${max + 1}`, "9".repeat(40)]) {
      assertEquals(
        refusal(() => read({ env: { [variable]: text } })),
        `${variable}: "${text}" is not allowed: ${what} from ${min} to ${max} (from the environment)`,
      );
    }
  }
});

Deno.test("A memory limit is taken from 64 MiB to 1 PiB and refused beyond, with both in words", () => {
  const [min, max] = [2 ** 26, 2 ** 50];
  for (const bytes of [min, min + 1, max - 1, max]) {
    assertEquals(settingsOf({ env: { MEMORY_LIMIT_BYTES: `${bytes}` } }).memoryLimitBytes, bytes);
  }
  for (const text of ["0", `${min - 1}`, `${max + 1}`, "9".repeat(40), "8GiB", "80%"]) {
    assertEquals(
      refusal(() => read({ env: { MEMORY_LIMIT_BYTES: text } })),
      `MEMORY_LIMIT_BYTES: "${text}" is not allowed: ` +
        "whole bytes from 67108864 (64 MiB) to 1125899906842624 (1 PiB) (from the environment)",
    );
  }
  assertEquals(settingsOf({ env: { MEMORY_LIMIT_BYTES: "" } }).memoryLimitBytes, undefined);
});

Deno.test("A number is decimal digits and nothing else", () => {
  for (
    const text of [
      "1e3",
      "5s",
      "1_000",
      "1,000",
      "0x10",
      "1.0",
      "+1",
      "-0",
      "007",
      " 1",
      "1 ",
      "١",
      "NaN",
      "true",
    ]
  ) {
    assertEquals(
      refusal(() => read({ dotenv: { DRAIN_MS: text } })),
      `DRAIN_MS: ${JSON.stringify(text)} is not allowed: whole milliseconds from 0 to 3600000 (from .env)`,
    );
  }
});

Deno.test("True and false are also 1 and 0, in any case", () => {
  for (const text of ["true", "TRUE", "True", "1"]) {
    assertEquals(settingsOf({ env: { DISABLE_STREAM_CLEANUP: text } }).disableStreamCleanup, true, text);
  }
  for (const text of ["false", "FALSE", "0"]) {
    assertEquals(settingsOf({ env: { IMPLICIT_SESSIONS: text } }).implicitSessions, false, text);
  }
  for (const text of ["yes", "no", "on", "2", "truee", " true"]) {
    assertEquals(
      refusal(() => read({ env: { IMPLICIT_SESSIONS: text } })),
      `IMPLICIT_SESSIONS: "${text}" is not allowed: true, false, 1 or 0 (from the environment)`,
    );
  }
});

Deno.test("A host is a name or an address", () => {
  const hosts = [
    "localhost",
    "0.0.0.0",
    "::",
    "::1",
    "fe80::1%eth0",
    "a-b.example.com.",
    "my_host",
    "x".repeat(63),
  ];
  for (const host of hosts) {
    assertEquals(settingsOf({ env: { HOST: host, ALLOW_UNAUTHENTICATED: "1" } }).host, host);
  }
  const wrong = [
    "[::1]",
    "localhost:3000",
    "http://x",
    "300.1.1.1",
    "1.2.3",
    "a..b",
    ".",
    "-a",
    "a b",
    "x".repeat(64),
  ];
  for (const host of wrong) {
    assertEquals(
      refusal(() => read({ args: ["--host", host.replace(/^-/, "=-")] })),
      `--host: "${
        host.replace(/^-/, "=-")
      }" is not allowed: a host name or an IP address, without port or brackets`,
    );
  }
});

Deno.test("Levels, formats and choices are taken in any case, and listed where they are not", () => {
  assertEquals(settingsOf({ env: { ON_OPEN_STREAM: "Expire" } }).onOpenStream, "expire");
  assertEquals(
    refusal(() => read({ env: { ON_OPEN_STREAM: "pong" } })),
    'ON_OPEN_STREAM: "pong" is not allowed: one of ping, expire (from the environment)',
  );
  assertEquals(settingsOf({ env: { SESSION_STORE: "Memory" } }).sessionStore, "memory");
  assertEquals(
    refusal(() => read({ args: ["--session-store", "redis"] })),
    '--session-store: "redis" is not allowed: one of sqlite, memory',
  );
  assertEquals(settingsOf({ env: { LOG_LEVEL: "WARN", LOG_FORMAT: "Json" } }), {
    ...DEFAULTS,
    logLevel: "warn",
    logFormat: "json",
  });
  assertEquals(
    refusal(() => read({ env: { LOG_LEVEL: "trace" } })),
    'LOG_LEVEL: "trace" is not allowed: one of debug, info, warn, error (from the environment)',
  );
  assertEquals(
    refusal(() => read({ args: ["--log-format=xml"] })),
    '--log-format: "xml" is not allowed: one of text, json',
  );
});

Deno.test("Flags are taken in every usual spelling, the last one counting", () => {
  const cases: [args: string[], expected: Partial<Settings>][] = [
    [["--port", "80"], { port: 80 }],
    [["--port=80", "--port=81"], { port: 81 }],
    [["--", "--port=80"], { port: 80 }],
    [["--disable-stream-cleanup"], { disableStreamCleanup: true }],
    [["--disable-stream-cleanup", "--port=80"], { disableStreamCleanup: true, port: 80 }],
    [["--disable-stream-cleanup=0"], { disableStreamCleanup: false }],
    [["--implicit-sessions=false", "--implicit-sessions"], { implicitSessions: true }],
    [["--mcp-config=a=b"], { mcpConfig: "a=b", mcpConfigNamed: true }],
  ];
  for (const [args, expected] of cases) assertEquals(settingsOf({ args }), { ...DEFAULTS, ...expected });
});

Deno.test("What is no flag is refused by name", () => {
  const cases: [args: string[], line: string][] = [
    [["--prot=1"], '"--prot" is not a flag; did you mean --port?'],
    [
      ["--stream-session-ttl", "5"],
      '"--stream-session-ttl" is not a flag; did you mean --stream-session-ttl-ms? (and 1 more)',
    ],
    [["--PORT=1"], '"--PORT" is not a flag; did you mean --port?'],
    [["--colour"], '"--colour" is not a flag (see --help)'],
    [["--constructor"], '"--constructor" is not a flag (see --help)'],
    [["--__proto__=1"], '"--__proto__" is not a flag (see --help)'],
    [["-x"], '"-x" is not a flag (see --help)'],
    [["serve"], '"serve" is not allowed: flags only (see --help)'],
    [["--port=1", "--", "x"], '"x" is not allowed: flags only (see --help)'],
    [["a\nb"], '"a\\nb" is not allowed: flags only (see --help)'],
    [["--implicit-sessions", "false"], '"false" is not allowed: flags only (see --help)'],
    [["--port"], "--port: needs a value, such as --port=VALUE"],
    [["--log-dir", "--port=80"], "--log-dir: needs a value, such as --log-dir=VALUE"],
    [["--port", "-1"], '--port: "-1" is not allowed: a whole number from 0 to 65535'],
    [["--port="], '--port: "" is not allowed: a whole number from 0 to 65535'],
    [["--log-dir="], '--log-dir: "" is not allowed: the path of a folder'],
    [["--mcp-config=a\0b"], '--mcp-config: "a\\u0000b" is not allowed: the path of a file'],
    [["--implicit-sessions="], '--implicit-sessions: "" is not allowed: true, false, 1 or 0'],
  ];
  for (const [args, line] of cases) assertEquals(refusal(() => read({ args })), line);
});

Deno.test("The first mistake is told, the others are counted", () => {
  assertEquals(
    refusal(() =>
      read({ env: { PORT: "99999", DRAIN_MS: "x", HOST: "fine" }, dotenv: { LOG_LEVEL: "loud" } })
    ),
    'PORT: "99999" is not allowed: a whole number from 0 to 65535 (from the environment) (and 2 more)',
  );
});

Deno.test("A long value is cut in the error line", () => {
  const line = refusal(() => read({ env: { PORT: "x".repeat(100_000) } }));
  assertStringIncludes(line, `PORT: "${"x".repeat(80)}…" is not allowed`);
});

Deno.test("The value of a secret setting is not shown", () => {
  for (const variable of ["ACCESS_TOKEN", "ADMIN_TOKEN"]) {
    const flag = `--${variable.toLowerCase().replace("_", "-")}`;
    for (const secret of ["hunter 2", "hunter2\u00e9", "hunter2\n", " hunter2"]) {
      const why = "its value is not allowed: visible ASCII characters";
      assertEquals(
        refusal(() => read({ env: { [variable]: secret } })),
        `${variable}: ${why} (from the environment)`,
      );
      assertEquals(
        refusal(() => read({ dotenv: { [variable]: secret } })),
        `${variable}: ${why} (from .env)`,
      );
      assertEquals(refusal(() => read({ args: [`${flag}=${secret}`] })), `${flag}: ${why}`);
    }
  }
  const help = read({
    args: ["--help"],
    env: { ACCESS_TOKEN: "hunter2" },
    dotenv: { ADMIN_TOKEN: "hunter2" },
  });
  assert(help.kind === "help");
  assertFalse(help.text.includes("hunter2"));
});

Deno.test("The administrator's token is another one than everybody's", () => {
  assertEquals(
    refusal(() => read({ env: { ACCESS_TOKEN: "hunter2", ADMIN_TOKEN: "hunter2" } })),
    "ADMIN_TOKEN: its value is not allowed: another one than that of ACCESS_TOKEN",
  );
  assertEquals(settingsOf({ env: { ACCESS_TOKEN: "a", ADMIN_TOKEN: "b" } }).adminToken, "b");
});

Deno.test("A token of one character is taken, an empty one is none", () => {
  assertEquals(settingsOf({ env: { ACCESS_TOKEN: "x" } }).accessToken, "x");
  assertEquals(settingsOf({ env: { ACCESS_TOKEN: "" } }).accessToken, undefined);
  assertEquals(
    refusal(() => read({ args: ["--access-token="] })),
    "--access-token: its value is not allowed: visible ASCII characters",
  );
});

Deno.test("Origins of extensions and desktop apps can be listed, and null can", () => {
  const origins = [
    "chrome-extension://abcdef",
    "tauri://localhost",
    "vscode-webview://x1",
    "app://.",
    "null",
    "*",
  ];
  assertEquals(settingsOf({ env: { ALLOWED_ORIGINS: origins.join() } }).allowedOrigins, origins);
});

Deno.test("--help lists every setting with its flag and default", () => {
  const help = read({ args: ["--help"] });
  assert(help.kind === "help");
  for (const row of settingsTable()) {
    const line = help.text.split("\n").find((line) => line.includes(` ${row.variable} `)) ?? "";
    for (const part of [row.flag, row.default, row.help]) assertStringIncludes(line, part);
  }
  assertMatch(help.text, /^sojourn \d+\.\d+\.\d+: .+\n\nUsage: /);
  assert(help.text.split("\n").every((line) => line === line.trimEnd()));
  assertEquals(read({ args: ["-h"] }), help);
});

Deno.test("--version prints the version of deno.json", () => {
  const version = { kind: "version" as const, text: `sojourn ${deno.version}` };
  assertEquals(read({ args: ["--version"] }), version);
  assertEquals(read({ args: ["-V", "--port=99999", "oops"] }), version);
  assertEquals(read({ args: ["--help", "--version"] }).kind, "help");
});

Deno.test("MCP_SERVERS in .env is no misspelt setting", () => {
  assertEquals(warningsOf({ dotenv: { MCP_SERVERS: '{"a": {"command": "hunter2"}}' } }), []);
});

// [HOST, more of the environment, whether the gateway starts].
const HOSTS: [string, Record<string, string>, boolean][] = [
  ["127.0.0.1", {}, true],
  ["127.9.9.9", {}, true],
  ["localhost", {}, true],
  ["::1", {}, true],
  ["0.0.0.0", {}, false],
  ["::", {}, false],
  ["192.0.2.1", {}, false],
  ["localhost.example.com", {}, false],
  ["0.0.0.0", { ADMIN_TOKEN: "a" }, false],
  ["0.0.0.0", { ACCESS_TOKEN: "a" }, true],
  ["0.0.0.0", { ACCESS_TOKENS_FILE: "a.json" }, true],
  ["0.0.0.0", { ALLOW_UNAUTHENTICATED: "true" }, true],
];
for (const [host, env, starts] of HOSTS) {
  Deno.test(`HOST=${host} with ${JSON.stringify(env)} ${starts ? "starts" : "is refused"}`, () => {
    const sources = { env: { HOST: host, ...env } };
    if (starts) assertEquals(settingsOf(sources).host, host);
    else {
      assertEquals(
        refusal(() => read(sources)),
        `HOST: "${host}" is not allowed without ACCESS_TOKEN or ACCESS_TOKENS_FILE: ` +
          "a loopback address, or ALLOW_UNAUTHENTICATED=true to serve everybody who reaches it",
      );
    }
  });
}

Deno.test("Lists of origins and hosts are refused with what they may hold, tokens without their value", () => {
  for (
    const origin of [
      "example.com",
      "https://a/b",
      "https://a,nope",
      "ftp//x",
      "app://a/b",
      "app://",
      "https://*.a",
    ]
  ) {
    assertEquals(
      refusal(() => read({ env: { ALLOWED_ORIGINS: origin } })),
      `ALLOWED_ORIGINS: ${JSON.stringify(origin)} is not allowed: ` +
        "origins such as https://app.example, separated by commas, or * (from the environment)",
    );
  }
  for (const host of ["http://a", "a/b", "a b", "*", "*.a"]) {
    assertEquals(
      refusal(() => read({ env: { ALLOWED_HOSTS: host } })),
      `ALLOWED_HOSTS: ${JSON.stringify(host)} is not allowed: ` +
        "host names, with or without a port, separated by commas (from the environment)",
    );
  }
  assertEquals(
    refusal(() => read({ env: { ACCESS_TOKEN: "hunter 2" } })),
    "ACCESS_TOKEN: its value is not allowed: visible ASCII characters (from the environment)",
  );
});

Deno.test("A misspelt setting in .env is pointed out, a strange variable is not", () => {
  assertEquals(
    warningsOf({ dotenv: { STREAM_SESSION_TTL: "1", DRAIN_MSEC: "1", POST: "1", API_KEY: "k" } }),
    [
      ".env: STREAM_SESSION_TTL is not a setting; did you mean STREAM_SESSION_TTL_MS?",
      ".env: DRAIN_MSEC is not a setting; did you mean DRAIN_MS?",
    ],
  );
  assertEquals(warningsOf({ env: { STREAM_SESSION_TTL: "1" } }), []);
});
