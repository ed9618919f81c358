import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { Gateway, PROJECT } from "./gateway.ts";

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
  await using shared = Gateway.spawn({
    servers: ECHO,
    env: { ACCESS_TOKEN: "planted-token", ADMIN_TOKEN: "planted-token" },
  });
  assertEquals(await shared.exited(), 2);
  assertEquals(shared.stderr.length, 1);
  assertFalse(shared.output.includes("planted"));
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
    assertMatch(gateway.stderr[0]!, /^sojourn: tokens\.json:/);
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

  const asBob = async (method: string, id: string) => {
    const response = await fetch(gateway.url("echo"), {
      method,
      headers: {
        ...bearer("bob-first"),
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-session-id": id,
      },
      ...(method === "POST" && { body: JSON.stringify({ jsonrpc: "2.0", id: 2, method: "ping" }) }),
    });
    const headers = [...response.headers].filter(([name]) => name !== "date");
    return [response.status, headers, await response.text()];
  };
  for (const method of ["POST", "GET", "DELETE"]) {
    assertEquals(
      await asBob(method, session["mcp-session-id"]),
      await asBob(method, crypto.randomUUID()),
      method,
    );
  }

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
  await gateway.waitForLine(/\[WARN\] Tokens stay as they were: tokens\.json:1:2: expected "}"/);
  assertEquals(await ping("alice-second"), 200);
  await Deno.remove(file);
  await gateway.waitForLine(/\[WARN\] Tokens stay as they were: tokens\.json: no such file/);
  assertEquals(await ping("alice-second"), 200);
});

Deno.test("A mounted secret is read again when the link in its middle is set elsewhere, as Kubernetes does", async () => {
  // The links have to be there at the start, in a folder that is made with it.
  const script = 'ln -s v1 ..data && ln -s ..data/tokens.json tokens.json && exec "$0" "$@"';
  await using gateway = await Gateway.start({
    servers: ECHO,
    files: {
      "v1/tokens.json": tokensFile(["alice", "first"]),
      "v2/tokens.json": tokensFile(["alice", "second"]),
    },
    env: { ACCESS_TOKENS_FILE: "tokens.json" },
    program: ["sh", "-c", script, Deno.execPath(), "run", "-A", join(PROJECT, "main.ts")],
  });
  const statusOf = async (token: string) => {
    const response = await post(gateway, INITIALIZE, bearer(token));
    await response.body?.cancel();
    return response.status;
  };
  assertEquals([await statusOf("first"), await statusOf("second")], [200, 401]);
  await Deno.symlink("v2", join(gateway.folder, "..new"));
  await Deno.rename(join(gateway.folder, "..new"), join(gateway.folder, "..data"));
  await gateway.waitForLine(/Tokens read again .*: 1 in force/);
  assertEquals([await statusOf("first"), await statusOf("second")], [401, 200]);
  assertEquals(gateway.linesLike(/Tokens/).length, 1, "one change is told once");
});

Deno.test("Short tokens are taken and warned of, without being shown", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { ACCESS_TOKEN: "s3cr3t", ADMIN_TOKEN: "r00t" },
  });
  await gateway.waitForLine(/\[WARN\] ACCESS_TOKEN is shorter than 16 characters/);
  await gateway.waitForLine(/\[WARN\] ADMIN_TOKEN is shorter than 16 characters/);
  const response = await post(gateway, INITIALIZE, bearer("s3cr3t"));
  await response.body?.cancel();
  assertEquals(response.status, 200);
  assertFalse(/s3cr3t|r00t/.test(gateway.output));
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

for (const format of ["text", "json"]) {
  Deno.test(`Tokens, cookies, bodies and session ids are in no line of a ${format} log, whatever happens to them`, async () => {
    const servers = {
      echo: { ...ECHO.echo, env: { SECRET: "planted-env", EXPANDED: "${FROM_ENV}" } },
      broken: { command: "no-such-program", args: ["planted-arg"], env: { SECRET: "planted-env" } },
      remote: { url: "http://127.0.0.1:9/mcp", headers: { authorization: "Bearer planted-remote" } },
    };
    await using gateway = await Gateway.start({
      servers,
      files: { "tokens.json": tokensFile(["alice", "planted-alice"]) },
      env: {
        ACCESS_TOKEN: "planted-token-of-all",
        ACCESS_TOKENS_FILE: "tokens.json",
        ADMIN_TOKEN: "planted-admin-token",
        FROM_ENV: "planted-expanded",
        LOG_LEVEL: "debug",
        LOG_DIR: "logs",
        LOG_FORMAT: format,
      },
    });
    const cookie = { cookie: "id=planted-cookie", "x-api-key": "planted-header" };
    const right = { ...bearer("planted-token-of-all"), ...cookie };
    const call = (id: number | string, name: string) => ({
      jsonrpc: "2.0",
      id,
      method: "tools/call",
      params: { name, arguments: { message: "planted-body" } },
    });
    const opened = await post(gateway, INITIALIZE, { ...bearer("planted-alice"), ...cookie });
    await opened.body?.cancel();
    const id = opened.headers.get("mcp-session-id");
    assertEquals(typeof id, "string");
    const alices = { ...bearer("planted-alice"), ...cookie, "mcp-session-id": id! };
    /** Ids that were given out, which are credentials. */
    const ids = [id!];
    const ask = async (url: string, init: RequestInit) => {
      const response = await fetch(`${gateway.origin}${url}`, init);
      await response.body?.cancel();
      const id = response.headers.get("mcp-session-id");
      if (id !== null) ids.push(id);
    };
    const json = { accept: "application/json, text/event-stream", "content-type": "application/json" };
    const bodies: [unknown, Record<string, string>][] = [
      [call(1, "echo"), alices],
      [call(2, "no-such-tool"), alices],
      [call("planted-body", "echo"), alices],
      [{ jsonrpc: "2.0", id: 99, result: "planted-body" }, alices],
      [{ jsonrpc: "2.0", method: "notifications/planted-body" }, alices],
      [call(3, "echo"), { ...bearer("planted-wrong"), ...cookie }],
      [call(3, "echo"), { authorization: "Basic planted-wrong" }],
      [{ planted: "planted-body" }, right],
      ["planted-body", right],
      [[call(4, "echo")], right],
      [call(4, "echo"), { ...right, "mcp-session-id": "planted-id" }],
      [call(4, "echo"), { ...right, "mcp-protocol-version": "planted-version" }],
      [call(4, "echo"), { ...right, "last-event-id": "planted-event" }],
      [call(5, "echo"), { ...right, origin: "https://planted-origin.example" }],
      [call(6, "exit"), right],
    ];
    for (const [body, headers] of bodies) {
      await ask("/mcp/echo", {
        method: "POST",
        headers: { ...json, ...headers },
        body: JSON.stringify(body),
      });
    }
    for (const server of ["broken", "remote"]) {
      const body = JSON.stringify(call(7, "echo"));
      await ask(`/mcp/${server}`, { method: "POST", headers: { ...json, ...right }, body });
    }
    await ask("/mcp/echo", { method: "POST", headers: { ...json, ...alices }, body: "planted-body {" });
    for (const headers of [{}, cookie, right, alices]) {
      for (const path of ["/mcp/echo", "/mcp/none", "/none", "/health", "/"]) {
        await ask(`${path}?access_token=planted-query&token=planted-token-of-all`, { headers });
      }
    }
    await ask("/mcp/echo", { method: "DELETE", headers: alices });
    // The tokens again, and wrong ones: their hashes are nobody's business either.
    await Deno.writeTextFile(
      join(gateway.folder, "tokens.json"),
      '{"tokens": [{"principal": "planted alice", "sha256": "planted-alice"}]}',
    );
    await gateway.waitForLine(/Tokens stay as they were/);
    assertEquals(await gateway.stop(), 0);
    const file = await Deno.readTextFile(join(gateway.folder, "logs", "gateway.log"));
    const log = [...gateway.stdout, ...gateway.stderr, file].join("\n");
    for (const shows of ["opened", "ended", "broken", "shutting down"]) {
      assert(log.includes(shows), `the log is of this run, so it tells of ${shows}`);
    }
    const found = /.*planted.*/.exec(log)?.[0];
    assertEquals(found, undefined, "a planted secret is in the log");
    assert(ids.length > 1);
    for (const id of ids) assertFalse(log.includes(id), "a session id is in the log");
    const hash = createHash("sha256").update("planted-alice").digest("hex");
    assertFalse(log.includes(hash), "a token's hash is in the log");
  });
}
