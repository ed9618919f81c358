import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { Gateway } from "./gateway.ts";

const { command, args } = fixture("echo_server");
const ECHO = { echo: { command, args: [...args] } };
const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
};

function post(gateway: Gateway, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${gateway.origin}/mcp/echo`, {
    method: "POST",
    headers: {
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
      ...headers,
    },
    body: JSON.stringify(body),
  });
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const tokensFile = (...tokens: [principal: string, token: string][]) =>
  JSON.stringify({
    tokens: tokens.map(([principal, token]) => ({
      principal,
      sha256: createHash("sha256").update(token).digest("hex"),
    })),
  });

Deno.test("A network is not served without a token, unless that is asked for", async () => {
  await using refused = Gateway.spawn({ servers: ECHO, env: { HOST: "0.0.0.0" } });
  assertEquals(await refused.exited(), 2);
  assertEquals(refused.stderr.length, 1);
  assertStringIncludes(refused.stderr[0]!, "ALLOW_UNAUTHENTICATED=true");
  await using allowed = Gateway.spawn({
    servers: ECHO,
    env: { HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true" },
  });
  await allowed.waitForLine(/\[WARN\] No token is required/);
});

Deno.test("A tokens file that is missing or wrong stops the start with one line", async () => {
  for (const files of [{}, { "tokens.json": '{"tokens": [{"principal": "a", "sha256": "hunter2"}]}' }]) {
    await using gateway = Gateway.spawn({ servers: ECHO, files, env: { ACCESS_TOKENS_FILE: "tokens.json" } });
    assertEquals(await gateway.exited(), 2);
    assertEquals(gateway.stderr.length, 1);
    assertMatch(gateway.stderr[0]!, /^sojourn: tokens\.json: /);
    assertFalse(gateway.stderr[0]!.includes("hunter2"));
  }
});

Deno.test("Tokens are read again when their file changes, and sessions stay with their principals", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    files: { "tokens.json": tokensFile(["alice", "alice-first"], ["bob", "bob-first"]) },
    env: { ACCESS_TOKENS_FILE: "tokens.json" },
  });
  const file = join(gateway.folder, "tokens.json");
  const opened = await post(gateway, INITIALIZE, bearer("alice-first"));
  await opened.body?.cancel();
  const session = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
  const ping = async (token: string) => {
    const response = await post(gateway, { jsonrpc: "2.0", id: 2, method: "ping" }, {
      ...bearer(token),
      ...session,
    });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals([await ping("alice-first"), await ping("bob-first"), await ping("nobody")], [200, 404, 401]);

  // Replaced as a secret manager does it.
  await Deno.writeTextFile(`${file}.new`, tokensFile(["alice", "alice-second"]));
  await Deno.rename(`${file}.new`, file);
  await gateway.waitForLine(/Tokens read again .*: 1 in force/);
  assertEquals([await ping("alice-first"), await ping("alice-second"), await ping("bob-first")], [
    401,
    200,
    401,
  ]);

  await Deno.writeTextFile(file, "{");
  await gateway.waitForLine(/\[WARN\] Tokens stay as they were: tokens\.json: is not JSON/);
  assertEquals(await ping("alice-second"), 200);
  await Deno.remove(file);
  await gateway.waitForLine(/\[WARN\] Tokens stay as they were: tokens\.json: no such file/);
  assertEquals(await ping("alice-second"), 200);
});

Deno.test("A page of a rebound name is refused, by Host and by Origin, and health is not", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const { port } = new URL(gateway.origin);
  const ask = async (head: string) => {
    using socket = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    await socket.write(new TextEncoder().encode(`${head}\r\nconnection: close\r\n\r\n`));
    return (await new Response(socket.readable).text()).split("\r\n")[0];
  };
  assertEquals(await ask("GET /mcp/echo HTTP/1.1\r\nhost: evil.example"), "HTTP/1.1 403 Forbidden");
  assertEquals(
    await ask(`GET /mcp/echo HTTP/1.1\r\nhost: localhost:${port}\r\norigin: http://evil.example`),
    "HTTP/1.1 403 Forbidden",
  );
  assertEquals(await ask("GET /health HTTP/1.1\r\nhost: evil.example"), "HTTP/1.1 200 OK");
});

Deno.test("Tokens, cookies and bodies are in no line of the log, whatever happens to them", async () => {
  const planted = [
    "planted-token",
    "planted-wrong",
    "planted-cookie",
    "planted-query",
    "planted-body",
    "planted-env",
  ];
  const servers = { echo: { ...ECHO.echo, env: { SECRET: "planted-env" } } };
  await using gateway = await Gateway.start({
    servers,
    env: { ACCESS_TOKEN: "planted-token", ADMIN_TOKEN: "planted-admin", LOG_LEVEL: "debug", LOG_DIR: "logs" },
  });
  const cookie = { cookie: "id=planted-cookie" };
  const right = { ...bearer("planted-token"), ...cookie };
  const call = (id: number, name: string) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name, arguments: { message: "planted-body" } },
  });
  for (
    const [body, headers] of [
      [call(1, "echo"), right],
      [call(2, "no-such-tool"), right],
      [call(3, "echo"), { ...bearer("planted-wrong"), ...cookie }],
      [{ planted: "planted-body" }, right],
      ["planted-body", right],
      [call(4, "echo"), { ...right, "mcp-session-id": "planted-body" }],
      [call(5, "echo"), { ...right, origin: "https://planted-body.example" }],
      [call(6, "exit"), right],
    ] as const
  ) {
    const response = await post(gateway, body, headers);
    await response.body?.cancel();
  }
  const query = await fetch(`${gateway.origin}/mcp/echo?access_token=planted-query`);
  await query.body?.cancel();
  await gateway.stop();
  const file = await Deno.readTextFile(join(gateway.folder, "logs", "gateway.log"));
  const log = [...gateway.stdout, ...gateway.stderr, file].join("\n");
  assert(log.includes("opened"), "the log is of this run");
  for (const secret of [...planted, "planted-admin"]) {
    assertFalse(log.includes(secret), `${secret} is in the log`);
  }
});
