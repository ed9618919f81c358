import { assert, assertEquals, assertExists, assertFalse } from "@std/assert";
import { Access, type AccessRules, digestOf, type Token } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { Harness, SERVER } from "../fakes/harness.ts";

const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
});
const NOTE = JSON.stringify({ jsonrpc: "2.0", method: "notifications/x" });

function token(secret: string, principal: string, more: Partial<Token> = {}): Token {
  return { principal, digest: digestOf(secret), servers: undefined, expiresAtMs: undefined, ...more };
}

/** The application under some rules. */
function start(rules: Partial<AccessRules> = {}) {
  const harness = new Harness();
  const access = new Access({
    clock: harness.clock,
    tokenRequired: rules.tokens !== undefined,
    tokens: [],
    allowedOrigins: [],
    allowedHosts: [],
    onLoopback: true,
    ...rules,
  });
  const app = createApp({
    access,
    supervisor: harness.supervisor,
    clock: harness.clock,
    implicitSessions: true,
  });
  const send = async (
    headers: Record<string, string> = {},
    { method = "POST", url = `http://localhost:3000/mcp/${SERVER}`, body = INITIALIZE } = {},
  ) =>
    await app(
      new Request(url, {
        method,
        headers: {
          accept: "application/json, text/event-stream",
          "content-type": "application/json",
          ...headers,
        },
        ...(method === "POST" && { body }),
      }),
    );
  const stop = async () => {
    const done = harness.supervisor.shutDown(0);
    await harness.clock.advance(1);
    await done;
  };
  return { harness, access, send, stop };
}

const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });

// [what is sent, status, the error in WWW-Authenticate].
const TOKENS: [string, Record<string, string>, number, boolean | undefined][] = [
  ["no token", {}, 401, false],
  ["the right token", bearer("right"), 200, undefined],
  ["the right token under another spelling of Bearer", { authorization: "bearer  right " }, 200, undefined],
  ["a wrong token", bearer("wrong"), 401, true],
  ["a token that begins like the right one", bearer("righ"), 401, true],
  ["a token with more behind it", bearer("right right"), 401, true],
  ["another scheme", { authorization: "Basic cmlnaHQ=" }, 401, true],
  ["an empty token", { authorization: "Bearer " }, 401, true],
  ["an expired token", bearer("expired"), 401, true],
  ["a token that expires later", bearer("later"), 200, undefined],
];
for (const [what, headers, status, invalid] of TOKENS) {
  Deno.test(`${what} is answered with ${status}`, async () => {
    const now = new Harness().clock.wallTime();
    const { send, stop, harness } = start({
      tokens: [
        token("expired", "e", { expiresAtMs: now }),
        token("right", "r"),
        token("later", "l", { expiresAtMs: now + 1 }),
      ],
    });
    const response = await send(headers);
    await response.body?.cancel();
    assertEquals(response.status, status);
    const challenge = response.headers.get("www-authenticate");
    if (invalid === undefined) assertEquals(challenge, null);
    else {
      assertExists(challenge);
      assert(challenge.startsWith("Bearer "));
      assertEquals(challenge.includes('error="invalid_token"'), invalid);
      assertEquals(harness.backends.length, 0);
    }
    await stop();
  });
}

Deno.test("A token in the URL lets nobody in", async () => {
  const { send, stop } = start({ tokens: [token("right", "r")] });
  const response = await send({}, { url: `http://localhost/mcp/${SERVER}?access_token=right` });
  assertEquals(response.status, 401);
  await stop();
});

Deno.test("Health needs no token and no Host, and every other page does", async () => {
  const { send, stop } = start({ tokens: [token("right", "r")] });
  assertEquals((await send({}, { method: "GET", url: "http://evil.example/health" })).status, 200);
  for (const path of ["/", "/sessions", "/nope", "/health/x", `/mcp/${SERVER}`]) {
    assertEquals((await send({}, { method: "GET", url: `http://localhost${path}` })).status, 401, path);
  }
  await stop();
});

Deno.test("Where no token is asked for, one that is sent does no harm", async () => {
  const { send, stop } = start();
  const response = await send(bearer("your-token"));
  await response.body?.cancel();
  assertEquals(response.status, 200);
  await stop();
});

Deno.test("Somebody else's session is answered word for word like an unknown one", async () => {
  const { send, stop } = start({ tokens: [token("a", "alice"), token("b", "bob")] });
  const opened = await send(bearer("a"));
  await opened.body?.cancel();
  const id = opened.headers.get("mcp-session-id");
  assertExists(id);
  for (const method of ["POST", "GET", "DELETE"]) {
    const ask = async (sessionId: string) => {
      const response = await send({ ...bearer("b"), "mcp-session-id": sessionId }, { method, body: NOTE });
      return [response.status, [...response.headers], await response.text()];
    };
    assertEquals(await ask(id), await ask(crypto.randomUUID()), method);
  }
  assertEquals((await send({ ...bearer("a"), "mcp-session-id": id }, { body: NOTE })).status, 202);
  await stop();
});

Deno.test("A session outlives the token that opened it, and goes on with the principal's next one", async () => {
  const { send, access, stop } = start({ tokens: [token("old", "alice")] });
  const opened = await send(bearer("old"));
  await opened.body?.cancel();
  const session = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
  access.replaceTokens([token("new", "alice")]);
  assertEquals((await send({ ...bearer("old"), ...session }, { body: NOTE })).status, 401);
  assertEquals((await send({ ...bearer("new"), ...session }, { body: NOTE })).status, 202);
  await stop();
});

Deno.test("A server that a principal may not use is answered like one that is not there", async () => {
  const { send, stop, harness } = start({ tokens: [token("a", "alice", { servers: new Set(["other"]) })] });
  const hidden = await send(bearer("a"));
  const missing = await send(bearer("a"), { url: "http://localhost:3000/mcp/other" });
  assertEquals([hidden.status, missing.status], [404, 404]);
  assertEquals((await hidden.text()).replace(SERVER, "?"), (await missing.text()).replace("other", "?"));
  assertEquals(harness.backends.length, 0);
  await stop();
});

// [Host, rules, whether it is served].
const HOSTS: [string, Partial<AccessRules>, boolean][] = [
  ["localhost", {}, true],
  ["localhost:3000", {}, true],
  ["LOCALHOST:3000", {}, true],
  ["app.localhost", {}, true],
  ["127.0.0.1:3000", {}, true],
  ["127.1.2.3", {}, true],
  ["[::1]:3000", {}, true],
  ["evil.example", {}, false],
  ["evil.example:3000", {}, false],
  ["localhost.evil.example", {}, false],
  ["127.0.0.1.evil.example", {}, false],
  ["192.0.2.1", {}, false],
  ["evil.example", { onLoopback: false }, true],
  ["gw.example", { allowedHosts: ["gw.example"] }, true],
  ["gw.example:8443", { allowedHosts: ["gw.example"] }, true],
  ["gw.example:8443", { allowedHosts: ["gw.example:8443"] }, true],
  ["gw.example:9", { allowedHosts: ["gw.example:8443"] }, false],
  ["localhost", { allowedHosts: ["gw.example"] }, true],
  ["localhost", { allowedHosts: ["gw.example"], onLoopback: false }, false],
];
for (const [host, rules, served] of HOSTS) {
  Deno.test(`Host ${host} is ${served ? "served" : "refused"} under ${JSON.stringify(rules)}`, async () => {
    const { send, stop, harness } = start(rules);
    // Twice: a Host that was let in is remembered, one that was not must not be.
    for (let i = 0; i < 2; i++) {
      const response = await send({}, { url: `http://${host}/mcp/${SERVER}` });
      await response.body?.cancel();
      assertEquals(response.status, served ? 200 : 403);
    }
    assertEquals(harness.backends.length, served ? 2 : 0);
    await stop();
  });
}

// [Origin, rules, whether it is allowed].
const ORIGINS: [string, Partial<AccessRules>, boolean][] = [
  ["http://localhost:3000", {}, true],
  ["http://localhost:3001", {}, false],
  ["http://localhost", {}, false],
  ["https://evil.example", {}, false],
  ["null", {}, false],
  ["garbage", {}, false],
  ["", {}, false],
  ["https://ok.example", { allowedOrigins: ["https://ok.example"] }, true],
  ["https://OK.example", { allowedOrigins: ["https://ok.example"] }, true],
  ["https://ok.example.evil", { allowedOrigins: ["https://ok.example"] }, false],
  ["https://any.example", { allowedOrigins: ["*"] }, true],
  ["null", { allowedOrigins: ["*"] }, false],
  ["null", { allowedOrigins: ["null"] }, true],
];
for (const [origin, rules, allowed] of ORIGINS) {
  Deno.test(`Origin "${origin}" is ${allowed ? "allowed" : "refused"} under ${JSON.stringify(rules)}`, async () => {
    const { send, stop, harness } = start(rules);
    const response = await send({ origin });
    await response.body?.cancel();
    assertEquals(response.status, allowed ? 200 : 403);
    assertEquals(response.headers.get("access-control-allow-origin"), allowed ? origin : null);
    assertEquals(harness.backends.length, allowed ? 1 : 0);
    const preflight = await send({
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "mcp-session-id",
    }, { method: "OPTIONS" });
    assertEquals(preflight.status, allowed ? 204 : 403);
    await stop();
  });
}

Deno.test("A preflight of an allowed page needs no token and names what MCP needs; the page can read the headers", async () => {
  const { send, stop } = start({ tokens: [token("a", "alice")], allowedOrigins: ["https://ok.example"] });
  const origin = "https://ok.example";
  const preflight = await send({
    origin,
    "access-control-request-method": "DELETE",
    "access-control-request-headers": "authorization,mcp-session-id",
  }, { method: "OPTIONS" });
  assertEquals(preflight.status, 204);
  const list = (name: string) => (preflight.headers.get(name) ?? "").toLowerCase().split(/, ?/);
  for (const method of ["get", "post", "delete"]) {
    assert(list("access-control-allow-methods").includes(method));
  }
  for (
    const header of [
      "authorization",
      "content-type",
      "mcp-session-id",
      "mcp-protocol-version",
      "last-event-id",
    ]
  ) {
    assert(list("access-control-allow-headers").includes(header), header);
  }
  const refused = await send({ origin });
  assertEquals([refused.status, refused.headers.get("access-control-allow-origin")], [401, origin]);
  await refused.body?.cancel();
  const opened = await send({ origin, ...bearer("a") });
  assertEquals(opened.status, 200);
  const exposed = (opened.headers.get("access-control-expose-headers") ?? "").toLowerCase();
  assert(exposed.includes("mcp-session-id") && exposed.includes("mcp-protocol-version"), exposed);
  assertEquals(opened.headers.get("vary")?.toLowerCase().includes("origin"), true);
  await opened.body?.cancel();
  await stop();
});

Deno.test("The administrator is known by a token of its own", () => {
  const { access } = start({ tokens: [token("root", "admin", { isAdmin: true }), token("a", "alice")] });
  const identify = (secret: string) => access.identify(new Headers(bearer(secret)));
  const [admin, alice] = [identify("root"), identify("a")];
  assert("isAdmin" in admin && admin.isAdmin);
  assert("isAdmin" in alice);
  assertFalse(alice.isAdmin);
});
