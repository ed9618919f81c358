/**
 * How the gateway starts, what it says, and how it refuses to.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { eventually } from "../fakes/eventually.ts";
import { type Fixture, fixture } from "../fixtures/mod.ts";
import {
  FIRST_START_MS,
  Gateway,
  type GatewayOptions,
  NEEDED,
  onPath,
  PROJECT,
  type ServerEntry,
} from "./gateway.ts";
import { initialize, messagesOf, post, RawSession } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };

Deno.test("The start says where it serves and how it cleans up", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  assertMatch(gateway.origin, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
  const { origin } = gateway;
  assertStringIncludes(gateway.output, `[INFO] Serving filesystem at ${origin}/mcp/filesystem\n`);
  assertStringIncludes(gateway.output, `[INFO] Serving everything at ${origin}/mcp/everything\n`);
  assertStringIncludes(
    gateway.output,
    "[INFO] Bridge session cleanup enabled (interval: 100000ms, TTL: 300000ms)\n",
  );
  assertStringIncludes(
    gateway.output,
    "[INFO] Streamable session cleanup enabled (interval: 100000ms, TTL: 300000ms)\n",
  );
  assertEquals(gateway.stderr, []);
  assertEquals(gateway.linesLike(/\[WARN\]|\[ERROR\]/), []);
});

Deno.test({
  name: "The printed curl line works as printed",
  ignore: !onPath("curl"),
  fn: async () => {
    await using gateway = await Gateway.start({ servers: "committed" });
    const lines = gateway.linesLike(/^curl /);
    assertEquals(lines.length, 1);
    const curl = new Deno.Command("sh", { args: ["-c", lines[0]!], stdin: "null" });
    const { code, stdout } = await curl.output();
    assertEquals(code, 0);
    const text = new TextDecoder().decode(stdout);
    // An answer that took its time, as at the first start, comes as an event.
    const [message] = messagesOf(text, text.startsWith("{") ? null : "text/event-stream").slice(-1);
    const tools = message?.result?.tools as { name: string }[];
    assertArrayIncludes(tools.map(({ name }) => name), ["read_text_file", "write_file"]);
    assertEquals(gateway.children().length, 1);
  },
});

Deno.test("DISABLE_STREAM_CLEANUP is warned of, and sessions then stay", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { DISABLE_STREAM_CLEANUP: "true", STREAM_SESSION_TTL_MS: "100" },
  });
  await gateway.waitForLine(/\[WARN\] Streamable session cleanup disabled \(DISABLE_STREAM_CLEANUP\)/);
  assertEquals(gateway.linesLike(/Bridge session cleanup enabled/).length, 1);
  const session = await RawSession.open(gateway, "echo");
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assertEquals(await session.ping(), 200);
});

Deno.test("Without the default servers file the gateway starts and says how to add a server", async () => {
  await using gateway = await Gateway.start();
  const line = await gateway.waitForLine(/No servers/);
  assertMatch(line, /\[WARN\] .*there is no mcp-servers\.json\. Add one/);
  // What it says to add is JSON.
  assert("mcpServers" in JSON.parse(/\{.*\}/.exec(line)![0]));
  const health = await fetch(`${gateway.origin}/health`);
  assertEquals([health.status, await health.json()], [200, { status: "ok" }]);
  const answer = await post(gateway.url("filesystem"), initialize());
  assertEquals(answer.status, 404);
  assertMatch(answer.message!.error!.message, /No such server: "filesystem"/);
});

Deno.test("What .env sets counts unless the environment sets it too", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), env: { GREETING: "${GREETING} ${NAME:-nobody}" } } },
    files: { ".env": "STREAM_SESSION_TTL_MS=90000\nDISABLE_BRIDGE_CLEANUP=true\nGREETING=hello\n" },
    env: { STREAM_SESSION_TTL_MS: "60000" },
  });
  await gateway.waitForLine(/Streamable session cleanup enabled \(interval: 20000ms, TTL: 60000ms\)/);
  await gateway.waitForLine(/\[WARN\] Bridge session cleanup disabled \(DISABLE_BRIDGE_CLEANUP\)/);
  const session = await RawSession.open(gateway, "echo");
  assertEquals(JSON.parse(await session.text("env")).GREETING, "hello nobody");
});

Deno.test("A flag wins over the environment", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { STREAM_SESSION_TTL_MS: "60000" },
    args: ["--stream-session-ttl-ms=30000"],
  });
  await gateway.waitForLine(/Streamable session cleanup enabled \(interval: 10000ms, TTL: 30000ms\)/);
});

Deno.test("The start says what holds for the sessions of each server, and where it came from", async () => {
  await using gateway = await Gateway.start({
    servers: {
      files: { ...fixture("echo_server"), session: { idleTtlMs: 90_000, evictable: true } },
      plain: { ...fixture("echo_server") },
      kept: { ...fixture("echo_server"), session: { cleanup: false } },
    },
    files: { ".env": "MAX_LIFETIME_MS=7200000\n" },
    env: { REQUEST_TIMEOUT_MS: "60000", ON_OPEN_STREAM: "expire" },
    args: ["--handshake-ttl-ms=20000"],
  });
  const lines = gateway.linesLike(/Sessions of /).map((line) => line.replace(/^\S+ /, ""));
  const general = "request timeout 60000ms (env), on open stream expire (env)";
  assertEquals(lines, [
    "[INFO] Sessions of files: idle TTL 90000ms (file), handshake TTL 20000ms (flag), " +
    `max lifetime 7200000ms (env), ${general}, evictable yes (file)`,
    "[INFO] Sessions of plain: idle TTL 300000ms (default), handshake TTL 20000ms (flag), " +
    `max lifetime 7200000ms (env), ${general}, evictable no (default)`,
    "[INFO] Sessions of kept: idle TTL never (file), handshake TTL off (file), " +
    `max lifetime never (file), ${general}, evictable no (file)`,
    "[WARN] Sessions of kept never expire (its entry says so)",
  ]);
});

Deno.test("A handshake TTL without effect is warned of, and so is a TTL that the entry turned off", async () => {
  await using gateway = await Gateway.start({
    servers: {
      long: { ...fixture("echo_server"), session: { handshakeTtlMs: 300_000 } },
      unused: { ...fixture("echo_server"), session: { idleTtlMs: 0, handshakeTtlMs: 1 } },
      aged: { ...fixture("echo_server"), session: { idleTtlMs: 0, maxLifetimeMs: 3_600_000 } },
    },
  });
  assertEquals(gateway.linesLike(/\[WARN\]/).map((line) => line.replace(/^\S+ /, "")), [
    "[WARN] Sessions of long: the handshake TTL has no effect, the idle TTL being no longer",
    "[WARN] Sessions of unused never expire once they are used (its entry says so)",
  ]);
});

Deno.test("With LOG_FORMAT=json what holds for a server's sessions is there as properties", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), session: { handshakeTtlMs: 5_000 } } },
    env: { LOG_FORMAT: "json", STREAM_SESSION_TTL_MS: "0" },
  });
  const records = gateway.linesLike(/Sessions of echo/).map((line) => JSON.parse(line));
  assertEquals(records.map(({ message, properties }) => ({ message, properties })), [{
    message:
      "Sessions of echo: idle TTL never (env), handshake TTL 5000ms (file), max lifetime never (default), " +
      "request timeout 3600000ms (default), on open stream ping (default), evictable no (default)",
    properties: {
      serverId: "echo",
      idleTtlMs: 0,
      handshakeTtlMs: 5_000,
      maxLifetimeMs: 0,
      requestTimeoutMs: 3_600_000,
      onOpenStream: "ping",
      evictable: false,
      cleanup: true,
      origins: {
        idleTtlMs: "env",
        handshakeTtlMs: "file",
        maxLifetimeMs: "default",
        onOpenStream: "default",
        evictable: "default",
        requestTimeoutMs: "default",
        cleanup: "default",
      },
    },
  }]);
});

/** Mistakes: how to make them, and what the one line on stderr has to name. */
const MISTAKES: Readonly<Record<string, GatewayOptions & { readonly named: readonly RegExp[] }>> = {
  "a port that is no port": {
    env: { PORT: "70000" },
    named: [/PORT/, /"70000"/, /0 to 65535/],
  },
  "a port that is no number": {
    args: ["--port", "http"],
    named: [/--port/, /"http"/, /0 to 65535/],
  },
  "a TTL below zero": {
    env: { STREAM_SESSION_TTL_MS: "-1" },
    named: [/STREAM_SESSION_TTL_MS/, /"-1"/, /whole milliseconds/],
  },
  "a log level that does not exist": {
    env: { LOG_LEVEL: "verbose" },
    named: [/LOG_LEVEL/, /"verbose"/, /debug, info, warn, error/],
  },
  "a flag that does not exist": {
    args: ["--prot", "80"],
    named: [/--prot/, /--port/],
  },
  "a servers file by name that is not there": {
    env: { MCP_CONFIG: "nowhere.json" },
    named: [/nowhere\.json/, /no such file/, /MCP_CONFIG/],
  },
  "a servers file that is not JSON": {
    files: { "mcp-servers.json": '{"mcpServers": {"files": {"command": "npx"' },
    named: [/mcp-servers\.json:1:\d+/, /expected/],
  },
  "a variable that is not set": {
    servers: { files: { command: "npx", args: ["${SOJOURN_UNSET}"] } },
    named: [/mcp-servers\.json:\d+:\d+/, /mcpServers\.files\.args\[0\]/, /SOJOURN_UNSET is not set/],
  },
  "a server without a command": {
    servers: { files: { args: [] } },
    named: [/mcp-servers\.json/, /mcpServers\.files/, /command/],
  },
  "a memory limit in another unit": {
    env: { MEMORY_LIMIT_BYTES: "2GiB" },
    named: [/MEMORY_LIMIT_BYTES/, /"2GiB"/, /whole bytes from 67108864 \(64 MiB\)/],
  },
  "a session setting out of bounds": {
    servers: { files: { command: "npx", session: { idleTtlMs: -5 } } },
    named: [/mcpServers\.files\.session\.idleTtlMs/, /-5/, /whole milliseconds/],
  },
};

for (const [mistake, { named, ...options }] of Object.entries(MISTAKES)) {
  Deno.test(`The start refuses ${mistake} with code 2 and one line`, async () => {
    await using gateway = Gateway.spawn(options);
    assertEquals(await gateway.exited(), 2);
    assertEquals(gateway.stdout, []);
    assertEquals(gateway.stderr.length, 1, gateway.output);
    assertMatch(gateway.stderr[0]!, /^sojourn: /);
    for (const pattern of named) assertMatch(gateway.stderr[0]!, pattern);
  });
}

Deno.test("The start says in one line that the port is taken", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using gateway = Gateway.spawn({ servers: ECHO, env: { PORT: String(listener.addr.port) } });
  assertEquals(await gateway.exited(), 1);
  assertEquals(gateway.stderr.length, 1, gateway.output);
  assertMatch(
    gateway.stderr[0]!,
    new RegExp(`^sojourn: Cannot listen on 127\\.0\\.0\\.1:${listener.addr.port}: `),
  );
});

Deno.test("The start says in one line that LOG_DIR cannot be written", async () => {
  await using gateway = Gateway.spawn({ servers: ECHO, env: { LOG_DIR: "taken" }, files: { taken: "" } });
  assertEquals(await gateway.exited(), 1);
  assertEquals(gateway.stderr.length, 1, gateway.output);
  assertMatch(gateway.stderr[0]!, /^sojourn: LOG_DIR: cannot write to "taken"/);
});

Deno.test("Help lists every setting and the version is that of the project", async () => {
  await using help = Gateway.spawn({ args: ["--help"], env: { PORT: "nonsense" } });
  assertEquals(await help.exited(), 0);
  for (const name of ["HOST", "PORT", "LOG_DIR", "MCP_CONFIG", "DRAIN_MS", "DISABLE_STREAM_CLEANUP"]) {
    assertMatch(help.output, new RegExp(`\\b${name}\\b`));
  }
  await using version = Gateway.spawn({ args: ["--version"] });
  assertEquals(await version.exited(), 0);
  const project = JSON.parse(Deno.readTextFileSync(join(PROJECT, "deno.json")));
  assertEquals(version.stdout, [`sojourn ${project.version}`]);
});

Deno.test("With LOG_FORMAT=json every line is an object", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { LOG_FORMAT: "json", LOG_LEVEL: "debug" },
  });
  const session = await RawSession.open(gateway, "echo");
  await session.text("stderr", { lines: 3 });
  assertEquals(await session.delete(), 204);
  await gateway.waitForChildren(0);
  assertEquals(await gateway.stop(), 0);
  const records = gateway.stdout.map((line) => JSON.parse(line));
  for (const { time, level, category, message } of records) {
    assert(!Number.isNaN(Date.parse(time)));
    assertArrayIncludes(["debug", "info", "warn", "error"], [level]);
    assert(category.length > 0 && message.length > 0);
  }
  const messages = records.map(({ message }) => message).join("\n");
  assertMatch(messages, /Streamable session cleanup enabled \(interval: 100000ms, TTL: 300000ms\)/);
  assertMatch(messages, /server echo on stderr: line 3/);
  assertMatch(messages, /ended: client_delete/);
});

Deno.test("LOG_DIR gets the lines of the log too", async () => {
  await using gateway = await Gateway.start({ servers: ECHO, env: { LOG_DIR: "var/logs" } });
  await RawSession.open(gateway, "echo");
  assertEquals(await gateway.stop(), 0);
  const lines = Deno.readTextFileSync(join(gateway.folder, "var", "logs", "gateway.log")).trimEnd().split(
    "\n",
  );
  assertEquals(lines, gateway.linesLike(/^\d{4}-\d\d-\d\dT/));
  assertMatch(lines.at(-1)!, /All closed/);
});

Deno.test("Secrets reach neither the log nor an error", async () => {
  const secret = `s3cret-${crypto.randomUUID()}`;
  const env = { API_KEY: secret, PLANTED: secret };
  const servers = {
    echo: { ...fixture("echo_server"), env: { TOKEN: secret, FROM_GATEWAY: "${API_KEY}" } },
    missing: { command: "no-such-command", args: [`--token=${secret}`], env: { TOKEN: secret } },
    failing: { ...fixture("exits"), args: [...fixture("exits").args, "3", secret], env: { TOKEN: secret } },
    remote: {
      type: "http",
      url: `http://127.0.0.1:4/${secret}?key=${secret}`,
      headers: { authorization: `Bearer ${secret}` },
    },
  };
  await using gateway = await Gateway.start({ servers, env: { ...env, LOG_LEVEL: "debug" } });
  const answers = [];
  for (const serverId of ["missing", "failing", "remote"]) {
    for (const message of [initialize(), { id: 1, method: "tools/list" }]) {
      answers.push(await post(gateway.url(serverId), message));
    }
  }
  assertEquals(answers.map(({ status }) => status), [502, 502, 502, 502, 502, 502]);
  assert(!JSON.stringify(answers).includes(secret));
  const session = await RawSession.open(gateway, "echo");
  const childEnv = JSON.parse(await session.text("env"));
  assertEquals([childEnv.TOKEN, childEnv.FROM_GATEWAY], [secret, secret]);
  assertEquals(await session.delete(), 204);
  assertEquals(await session.ping(), 404);
  assertEquals(await gateway.stop(), 0);
  assert(!gateway.output.includes(secret), gateway.output);
  // A session's id is a credential too.
  assert(!gateway.output.includes(session.id), gateway.output);
});

Deno.test("A mistake in a value that may be secret is told without the value", async () => {
  const secret = `s3cret-${crypto.randomUUID()}`;
  const mistakes: [ServerEntry, RegExp][] = [
    [{ command: "npx", env: { TOKEN: [secret] as unknown as string } }, /mcpServers\.files\.env\.TOKEN/],
    [{ type: "http", url: `https://user:${secret}@mcp.example/` }, /mcpServers\.files\.url/],
  ];
  for (const [entry, named] of mistakes) {
    await using gateway = Gateway.spawn({ servers: { files: entry } });
    assertEquals(await gateway.exited(), 2);
    assertEquals(gateway.stderr.length, 1, gateway.output);
    assertMatch(gateway.stderr[0]!, named);
    assert(!gateway.output.includes(secret), gateway.output);
  }
});

Deno.test("A server gets nothing of the gateway's environment beyond a short list", async () => {
  const planted = {
    ...{ AWS_SECRET_ACCESS_KEY: "x", GITHUB_TOKEN: "x", DENO_AUTH_TOKENS: "x", NPM_CONFIG__AUTH: "x" },
    ...{ HTTPS_PROXY: "http://user:x@proxy.example", NODE_OPTIONS: "--no-warnings", SSH_AUTH_SOCK: "/x" },
    ...{ LD_LIBRARY_PATH: "/nowhere", SOJOURN_TOKEN: "x", DATABASE_URL: "x", LOG_LEVEL: "warn" },
  };
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), env: { OWN: "own" } } },
    env: { ...planted, LANG: "C.UTF-8", LOG_LEVEL: "info" },
  });
  const session = await RawSession.open(gateway, "echo");
  const childEnv: Record<string, string> = JSON.parse(await session.text("env"));
  assertEquals(childEnv.OWN, "own");
  assertEquals(childEnv.PATH, Deno.env.get("PATH"));
  const allowed = [...NEEDED, "LANG", "OWN", "SOJOURN_BACKEND", "SOJOURN_E2E"];
  assertEquals(Object.keys(childEnv).filter((name) => !allowed.includes(name)), []);
});

/** Servers that do not start, and the reason that the client is told. */
const FAILING: Readonly<
  Record<string, { entry: { command: string }; startTimeoutMs: number; reason: RegExp }>
> = {
  "no such command": {
    entry: { command: "no-such-command" },
    startTimeoutMs: FIRST_START_MS,
    reason: /server "bad" could not be started: no such command "no-such-command"$/,
  },
  "a command that exits at once": {
    entry: failing("exits"),
    startTimeoutMs: FIRST_START_MS,
    reason: /server "bad" exited with code 1$/,
  },
  "a command that prints garbage": {
    entry: failing("garbage"),
    startTimeoutMs: 1_000,
    reason: /server "bad" did not answer initialize within 1000 ms$/,
  },
  "a command that never answers": {
    entry: failing("silent"),
    startTimeoutMs: 1_000,
    reason: /server "bad" did not answer initialize within 1000 ms$/,
  },
};

function failing(name: Fixture): { command: string } {
  return { ...fixture(name) };
}

for (const [what, { entry, startTimeoutMs, reason }] of Object.entries(FAILING)) {
  Deno.test(`A server that does not start is named with the reason and leaves nothing: ${what}`, async () => {
    await using gateway = await Gateway.start({
      servers: { bad: entry },
      // An answer that had become a stream would have its status behind it.
      env: { START_TIMEOUT_MS: String(startTimeoutMs), SSE_AFTER_MS: "300000" },
    });
    // The client's own handshake, and the one that the gateway does for it.
    for (const message of [initialize(), { id: "first", method: "tools/list" }]) {
      const answer = await post(gateway.url("bad"), message);
      assertEquals([answer.status, answer.sessionId], [502, null]);
      assertEquals([answer.message?.id, answer.message?.error?.code], [message.id, -32000]);
      assertMatch(answer.message!.error!.message, /^Server did not start: /);
      assertMatch(answer.message!.error!.message, reason);
    }
    await gateway.waitForChildren(0);
    assertEquals(gateway.linesLike(/ended: backend_start_failed/).length, 2);
    // The gateway itself is none the worse for it.
    assertEquals((await post(gateway.url("bad"), { id: 1, method: "ping" })).status, 502);
  });
}

Deno.test("A stdout that cannot be written costs the gateway nothing but its lines", async () => {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  await using gateway = Gateway.spawn({
    env: { LOG_DIR: "logs" },
    program: ["sh", "-c", `exec "$0" run -A ${main} > /dev/full`, Deno.execPath()],
  });
  const log = join(gateway.folder, "logs", "gateway.log");
  const read = () => {
    try {
      return Deno.readTextFileSync(log);
    } catch {
      return "";
    }
  };
  await eventually(() => read().includes("No token is required"), "the start");
  assertEquals(await gateway.stop(), 0);
  assertStringIncludes(read(), "All closed");
  assertEquals(gateway.stderr.length, 1);
});

Deno.test("The port that was picked is told at any level", async () => {
  await using gateway = await Gateway.start({ env: { LOG_LEVEL: "error" } });
  assertMatch(gateway.stdout[0]!, /^Sojourn listens on http:\/\/127\.0\.0\.1:\d+$/);
});
