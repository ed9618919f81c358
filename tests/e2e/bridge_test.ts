import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { eventually } from "../fakes/eventually.ts";
import { Gateway, type GatewayOptions, passMs } from "./gateway.ts";
import { fixture } from "../fixtures/mod.ts";

const SERVER = fixture("echo_server");
const TOKEN = "a-token-of-some-length";
const SCRIPT = fileURLToPath(new URL("../fixtures/echo_server.ts", import.meta.url));
const ARGS = ["run", "--no-config", "-A", SCRIPT];

function start({ env, ...options }: GatewayOptions = {}): Promise<Gateway> {
  return Gateway.start({
    servers: { echo: { command: SERVER.command, args: SERVER.args } },
    env: { ACCESS_TOKEN: TOKEN, LOG_LEVEL: "debug", ...env },
    ...options,
  });
}

async function ask(
  gateway: Gateway,
  body: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return await fetch(`${gateway.origin}/bridge`, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** Calls a tool, and returns the text of its answer. */
async function call(gateway: Gateway, name: string, more: Record<string, unknown> = {}): Promise<string> {
  const server = "serverPath" in more ? {} : { serverId: "echo" };
  const { arguments: args = {}, ...rest } = more;
  const response = await ask(gateway, {
    ...server,
    ...rest,
    method: "tools/call",
    params: { name, arguments: args },
  });
  const text = await response.text();
  assertEquals(response.status, 200, text);
  return JSON.parse(text).content[0].text;
}

function isAlive(pid: string): boolean {
  try {
    return !/\) Z /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch {
    return false;
  }
}

Deno.test("A bridge session serves one request after the other, is swept with the lines of its kind, and comes anew", async () => {
  await using gateway = await start({ env: { BRIDGE_SESSION_TTL_MS: "600" } });
  await gateway.waitForLine(/\[INFO\] Bridge session cleanup enabled \(interval: 200ms, TTL: 600ms\)$/);
  await gateway.waitForLine(
    /\[INFO\] Streamable session cleanup enabled \(interval: 100000ms, TTL: 300000ms\)$/,
  );
  const pids = await Promise.all([call(gateway, "pid"), call(gateway, "pid"), call(gateway, "pid")]);
  assertEquals(new Set(pids).size, 1, "one session for all");
  await gateway.waitForLine(/\[INFO\] Cleaning up 1 expired bridge client\(s\)$/);
  await gateway.waitForLine(/\[DEBUG\] Closing bridge client client_[0-9a-f]{12} \(idle for 0s\)$/);
  await gateway.waitForChildren(0);
  const next = await call(gateway, "pid");
  assert(next !== pids[0]);
  assertEquals(gateway.linesLike(/streamable session/), []);
});

for (
  const [env, by] of [
    [{ DISABLE_BRIDGE_CLEANUP: "true" }, "DISABLE_BRIDGE_CLEANUP"],
    [{ BRIDGE_SESSION_TTL_MS: "0" }, "BRIDGE_SESSION_TTL_MS"],
  ] as const
) {
  Deno.test(`${by} turns the cleanup of bridge sessions off, and says so`, async () => {
    await using gateway = await start({ env: { ...env, STREAM_SESSION_TTL_MS: "300" } });
    await gateway.waitForLine(
      new RegExp(`\\[WARN\\] Bridge session cleanup disabled \\(${by}\\): idle sessions never expire$`),
    );
    const pid = await call(gateway, "pid");
    const stream = await fetch(gateway.url("echo"), {
      method: "POST",
      headers: {
        authorization: `Bearer ${TOKEN}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
    });
    await stream.text();
    // The other kind is swept beside it.
    await gateway.waitForLine(/Cleaning up 1 expired streamable session\(s\)$|ended: implicit/);
    assertEquals(await call(gateway, "pid"), pid);
  });
}

Deno.test("Progress comes while the server works, also to a client that names no token", async () => {
  await using gateway = await start();
  const response = await ask(gateway, {
    serverId: "echo",
    method: "tools/call",
    params: { name: "progress", arguments: { n: 3, everyMs: 20 } },
  }, { accept: "text/event-stream" });
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  const text = await response.text();
  assertEquals(text.match(/^event: .*/gm), [
    "event: notification",
    "event: notification",
    "event: notification",
    "event: result",
  ]);
  assertMatch(text, /event: result\ndata: \{"content":\[\{"type":"text","text":"done"\}\]\}\n\n$/);
});

Deno.test("A server whose client is the bridge is told at once that nobody is there to ask", async () => {
  await using gateway = await start();
  for (const method of ["roots/list", "sampling/createMessage", "elicitation/create"]) {
    const answer = JSON.parse(await call(gateway, "ask", { arguments: { method } }));
    assertEquals(answer.code, -32601);
  }
});

Deno.test("A server that dies costs the requests that it had, once, and the next have another", async () => {
  await using gateway = await start();
  const pid = await call(gateway, "pid");
  const [exit, slow] = await Promise.all([
    ask(gateway, { serverId: "echo", method: "tools/call", params: { name: "exit" } }),
    ask(gateway, {
      serverId: "echo",
      method: "tools/call",
      params: { name: "slow", arguments: { ms: 60_000 } },
    }),
  ]);
  for (const response of [exit, slow]) {
    assertEquals([response.status, response.headers.get("content-type")], [502, "application/problem+json"]);
    await response.text();
  }
  assert(await call(gateway, "pid") !== pid);
});

Deno.test("A listed command runs as it is listed, by no shell, with the variables that it may have and no more", async () => {
  const marker = await Deno.makeTempDir();
  const commands = {
    echo: { command: "deno", args: [...ARGS, { pattern: ".*" }], env: ["REGION"] },
  };
  await using gateway = await start({ env: { BRIDGE_COMMANDS: JSON.stringify(commands) } });
  await gateway.waitForLine(
    /POST \/bridge runs what requests name, as far as BRIDGE_COMMANDS lists it: echo \(\/.*\)$/,
  );
  const arg = `$(touch ${marker}/a); touch ${marker}/b & \`touch ${marker}/c\``;
  const command = { serverPath: "deno", args: [...ARGS, arg], env: { REGION: `$(touch ${marker}/d)` } };
  const env = JSON.parse(await call(gateway, "env", command));
  assertEquals(env.REGION, command.env.REGION);
  assertEquals([env.ACCESS_TOKEN, env.BRIDGE_COMMANDS, env.SOJOURN_E2E], [undefined, undefined, undefined]);
  const pid = await call(gateway, "pid", command);
  const line = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
  assert(line[0]!.startsWith("/"), "by its absolute path");
  assertEquals(line.at(-2), arg, "as one argument");
  assert(await call(gateway, "pid", { ...command, env: {} }) !== pid, "other variables are another session");
  const refused: Record<string, unknown>[] = [
    { serverPath: "sh", args: ["-c", `touch ${marker}/e`] },
    { serverPath: "touch", args: [`${marker}/f`] },
    { serverPath: "deno", args: ["eval", `Deno.writeTextFileSync("${marker}/g", "")`] },
    { ...command, env: { REGION: "eu", OTHER: "x" } },
    ...["NODE_OPTIONS", "LD_PRELOAD", "PATH", "DENO_DIR", "BASH_ENV"].map((name) => ({
      ...command,
      env: { [name]: "x" },
    })),
  ];
  for (const body of refused) {
    const response = await ask(gateway, { ...body, method: "ping" });
    assertEquals(response.status, 403, await response.text());
  }
  assertEquals([...Deno.readDirSync(marker)], []);
  await Deno.remove(marker);
  assertEquals(await gateway.stop(), 0);
  await eventually(() => !isAlive(pid), "the command is ended with the gateway");
});

Deno.test("A list of commands without a token, or with a mistake, stops the start", async () => {
  const cases: [env: Record<string, string>, says: RegExp][] = [
    [
      { BRIDGE_COMMANDS: "{}" },
      /^sojourn: BRIDGE_COMMANDS: not allowed without ACCESS_TOKEN or ACCESS_TOKENS_FILE$/m,
    ],
    [
      { BRIDGE_COMMANDS: "{}", ADMIN_TOKEN: TOKEN },
      /^sojourn: BRIDGE_COMMANDS: not allowed without ACCESS_TOKEN/m,
    ],
    [
      { BRIDGE_COMMANDS: '{"a": {}}', ACCESS_TOKEN: TOKEN },
      /^sojourn: BRIDGE_COMMANDS:1:7: a\.command: is not allowed/m,
    ],
    [
      { BRIDGE_COMMANDS: "@none.json", ACCESS_TOKEN: TOKEN },
      /^sojourn: BRIDGE_COMMANDS: "none\.json": no such file$/m,
    ],
    [
      { BRIDGE_COMMANDS: '{"a": {"command": "deno", "env": ["LD_PRELOAD"]}}', ACCESS_TOKEN: TOKEN },
      /^sojourn: BRIDGE_COMMANDS:1:35: a\.env\[0\]: is not allowed/m,
    ],
  ];
  for (const [env, says] of cases) {
    await using gateway = Gateway.spawn({ env });
    assertEquals(await gateway.exited(), 2);
    assertMatch(gateway.output, says);
  }
});

Deno.test("The list may be a file, and a page of another origin gets nothing of it", async () => {
  await using gateway = await start({
    env: { BRIDGE_COMMANDS: "@commands.jsonc" },
    files: {
      "commands.jsonc": `{ /* what may run */ "echo": {"command": "deno", "args": ${JSON.stringify(ARGS)}} }`,
    },
  });
  const body = { serverPath: "deno", args: ARGS, method: "ping" };
  assertEquals(await (await ask(gateway, body)).text(), "{}");
  for (
    const [headers, status] of [
      [{ origin: "https://evil.example" }, 403],
      [{ "content-type": "text/plain" }, 415],
      [{ authorization: "" }, 401],
    ] as [Record<string, string>, number][]
  ) {
    const response = await ask(gateway, body, headers);
    assertEquals(response.status, status);
    await response.text();
  }
});

Deno.test("A bridge session takes a process that was started ahead, and shares one that is shared", async () => {
  const entry = { command: SERVER.command, args: SERVER.args };
  await using gateway = await start({
    servers: { ahead: { ...entry, backend: { prewarm: 1 } }, shared: { ...entry, backend: { shared: 1 } } },
  });
  // Nobody tells when it is ready; until then a session starts one of its own.
  for (let tries = 1;; tries++) {
    const before = gateway.children().map(({ pid }) => String(pid));
    if (before.includes(await call(gateway, "pid", { serverId: "ahead" }))) break;
    assert(tries < 50, "no process that was started ahead is taken");
    const headers = { authorization: `Bearer ${TOKEN}` };
    const ended = await fetch(`${gateway.origin}/sessions?kind=bridge&force=true`, {
      method: "DELETE",
      headers,
    });
    assertEquals(ended.status, 200, await ended.text());
    await passMs(200);
  }
  const shared = await call(gateway, "pid", { serverId: "shared" });
  assertEquals(await call(gateway, "echo", { serverId: "shared", arguments: { message: "hi" } }), "hi");
  const response = await fetch(gateway.url("shared"), {
    method: "POST",
    headers: {
      authorization: `Bearer ${TOKEN}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "pid" } }),
  });
  const { result } = await response.json();
  assertEquals(result.content[0].text, shared, "a session of /mcp has the same process");
});
