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
  ["the right token twice", { authorization: "Bearer right, Bearer right" }, 401, true],
  ["the right token without its scheme", { authorization: "right" }, 401, false],
  ["another scheme", { authorization: "Basic cmlnaHQ=" }, 401, false],
  ["the right token under another scheme", { authorization: "Token right" }, 401, false],
  ["an empty token", { authorization: "Bearer " }, 401, false],
  ["the right token in a cookie", { cookie: "access_token=right" }, 401, false],
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
      assertEquals(challenge, `Bearer realm="sojourn"${invalid ? ', error="invalid_token"' : ""}`);
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
  for (const path of ["/", "/sessions", "/nope", "/health/x", "//health", "/Health", `/mcp/${SERVER}`]) {
    assertEquals((await send({}, { method: "GET", url: `http://localhost${path}` })).status, 401, path);
  }
  await stop();
});

Deno.test("What is open to all leads nowhere else, however its URL is read", async () => {
  const { send, stop, harness } = start({ tokens: [token("right", "r")] });
  for (
    const url of [
      `http://h/health?/mcp/${SERVER}`,
      `http://localhost/health#/mcp/${SERVER}`,
      `http://localhost/health?x=http://localhost/mcp/${SERVER}`,
      `http://localhost/health/../mcp/${SERVER}`,
      `http://localhost/health/%2e%2e/mcp/${SERVER}`,
      `http://localhost/%68ealth`,
      `http://localhost/health;/mcp/${SERVER}`,
    ]
  ) {
    for (const origin of [{}, { origin: "http://localhost" }]) {
      const response = await send(origin, { url });
      assert([401, 405].includes(response.status), `${url}: ${response.status}`);
      await response.body?.cancel();
    }
  }
  assertEquals(harness.backends.length, 0);
  await stop();
});

Deno.test("A token is good up to the millisecond before it expires", async () => {
  const now = new Harness().clock.wallTime();
  const { send, stop, harness } = start({ tokens: [token("a", "alice", { expiresAtMs: now + 1_000 })] });
  await harness.clock.advance(999);
  const last = await send(bearer("a"));
  await last.body?.cancel();
  assertEquals(last.status, 200);
  await harness.clock.advance(1);
  assertEquals((await send(bearer("a"))).status, 401);
  await stop();
});

Deno.test("An `initialize` that names somebody else's session opens one's own and leaves that one alone", async () => {
  const { send, stop, harness } = start({ tokens: [token("a", "alice"), token("b", "bob")] });
  const open = async (secret: string, headers: Record<string, string> = {}) => {
    const response = await send({ ...bearer(secret), ...headers });
    await response.body?.cancel();
    assertEquals(response.status, 200);
    return { "mcp-session-id": response.headers.get("mcp-session-id") ?? "" };
  };
  const alices = await open("a");
  const bobs = await open("b", alices);
  assert(alices["mcp-session-id"] !== bobs["mcp-session-id"]);
  assertEquals(harness.backends.length, 2);
  assertEquals((await send({ ...bearer("a"), ...alices }, { body: NOTE })).status, 202);
  assertEquals((await send({ ...bearer("b"), ...bobs }, { body: NOTE })).status, 202);
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
  ["https://localhost:3000", {}, true],
  ["http://localhost:3000/page", {}, false],
  ["http://user@localhost:3000", {}, false],
  ["http://localhost:3000, http://evil.example", {}, false],
  ["file://", {}, false],
  ["chrome-extension://abcdef", {}, false],
  ["chrome-extension://abcdef", { allowedOrigins: ["chrome-extension://abcdef"] }, true],
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

Deno.test("A preflight is answered in these words", async () => {
  const { send, stop } = start({ tokens: [token("a", "alice")], allowedOrigins: ["https://ok.example"] });
  for (const path of [`/mcp/${SERVER}`, "/health", "/sessions"]) {
    const preflight = await send({
      origin: "https://ok.example",
      "access-control-request-method": "GET",
      "access-control-request-headers": "authorization",
    }, { method: "OPTIONS", url: `http://localhost:3000${path}` });
    assertEquals([preflight.status, Object.fromEntries(preflight.headers)], [204, {
      "access-control-allow-headers":
        "accept,authorization,content-type,last-event-id,mcp-protocol-version,mcp-session-id",
      "access-control-allow-methods": "GET,POST,DELETE",
      "access-control-allow-origin": "https://ok.example",
      "access-control-expose-headers": "mcp-session-id,mcp-protocol-version,retry-after,www-authenticate",
      "access-control-max-age": "600",
      vary: "Origin, Access-Control-Request-Headers",
    }]);
  }
  assertEquals((await send({}, { method: "OPTIONS" })).status, 401, "no browser, so no preflight");
  await stop();
});

// [what is asked, its URL, method and headers, status].
const ANSWERS: [string, string, string, Record<string, string>, number][] = [
  ["health", "/health", "GET", {}, 200],
  ["a method that health does not know", "/health", "DELETE", {}, 405],
  ["no token", `/mcp/${SERVER}`, "GET", {}, 401],
  ["no session", `/mcp/${SERVER}`, "GET", bearer("a"), 400],
  ["an unknown session", `/mcp/${SERVER}`, "DELETE", { ...bearer("a"), "mcp-session-id": "x" }, 404],
  ["an unknown server", "/mcp/none", "GET", bearer("a"), 404],
  ["an unknown page", "/none", "GET", bearer("a"), 404],
  ["an unknown method", `/mcp/${SERVER}`, "PUT", bearer("a"), 405],
];
for (const [what, path, method, headers, status] of ANSWERS) {
  Deno.test(`A page of an allowed origin can read the answer to ${what}, which is everybody's`, async () => {
    const { send, stop } = start({ tokens: [token("a", "alice")], allowedOrigins: ["https://ok.example"] });
    const ask = (more: Record<string, string>) =>
      send({ ...headers, ...more }, { method, url: `http://localhost:3000${path}` });
    const [read, plain] = [await ask({ origin: "https://ok.example" }), await ask({})];
    assertEquals([read.status, plain.status], [status, status]);
    assertEquals(read.headers.get("access-control-allow-origin"), "https://ok.example");
    assertEquals(read.headers.get("vary"), "Origin");
    assertEquals(plain.headers.get("access-control-allow-origin"), null);
    assertEquals(read.headers.get("content-type"), plain.headers.get("content-type"));
    assertEquals(await read.text(), await plain.text());
    await stop();
  });
}

Deno.test("A page of another origin can read nothing, not even health", async () => {
  const { send, stop } = start();
  for (const path of ["/health", `/mcp/${SERVER}`, "/none"]) {
    const response = await send({ origin: "https://evil.example" }, {
      method: "GET",
      url: `http://localhost:3000${path}`,
    });
    await response.body?.cancel();
    assertEquals(response.status, path === "/health" ? 200 : 403);
    assertEquals(response.headers.get("access-control-allow-origin"), null);
  }
  await stop();
});

// [path, what the browser says of the request, whether it is refused].
const FETCHED: [string, Record<string, string>, boolean][] = [
  ["/sse/fake", { site: "cross-site", mode: "no-cors", dest: "image" }, true],
  ["/sse/fake", { site: "same-site", mode: "no-cors", dest: "image" }, true],
  ["/sse/fake", { site: "CROSS-SITE" }, true],
  ["/sse/fake", { site: "what comes later" }, true],
  ["/sse/fake", { site: "cross-site", mode: "navigate", dest: "document" }, true],
  ["/mcp/fake", { site: "cross-site", mode: "navigate", dest: "document" }, true],
  ["/bridge", { site: "cross-site", mode: "navigate", dest: "document" }, true],
  ["/messages", { site: "cross-site" }, true],
  ["/sessions/events", { site: "cross-site", mode: "no-cors", dest: "image" }, true],
  ["/sessions", { site: "cross-site", mode: "navigate", dest: "iframe" }, true],
  ["/sessions", { site: "cross-site", mode: "navigate", dest: "document" }, false],
  ["/sessions", { site: "same-origin", mode: "cors", dest: "empty" }, false],
  ["/sessions", { site: "none", mode: "navigate", dest: "document" }, false],
  ["/sessions", {}, false],
  ["/mcp/fake", { site: "same-origin" }, false],
  ["/health", { site: "cross-site", mode: "no-cors", dest: "image" }, false],
];
for (const [path, fetched, refused] of FETCHED) {
  Deno.test(`A browser's ${JSON.stringify(fetched)} for ${path} is ${refused ? "refused" : "let in"}`, async () => {
    const { send, stop } = start();
    const headers = Object.fromEntries(
      Object.entries(fetched).map(([name, value]) => [`sec-fetch-${name}`, value]),
    );
    const response = await send({ ...headers, accept: "text/html" }, {
      method: "GET",
      url: `http://localhost:3000${path}`,
    });
    const text = await response.text();
    assertEquals(response.status === 403, refused);
    if (refused) assert(text.includes("Origin is not allowed: a page of another site"));
    await stop();
  });
}

Deno.test("A refusal is a JSON-RPC error where MCP is spoken and a problem document elsewhere", async () => {
  const { send, stop } = start({ tokens: [token("a", "alice")] });
  for (const [headers, status] of [[{}, 401], [{ origin: "null" }, 403]] as const) {
    const mcp = await send(headers);
    assertEquals([mcp.status, mcp.headers.get("content-type")], [status, "application/json"]);
    const { jsonrpc, id, error } = await mcp.json();
    assertEquals([jsonrpc, id, error.code], ["2.0", null, -32000]);
    const page = await send(headers, { method: "GET", url: "http://localhost:3000/sessions" });
    assertEquals([page.status, page.headers.get("content-type")], [status, "application/problem+json"]);
    await page.body?.cancel();
  }
  await stop();
});

Deno.test("Of a thousand tokens each is found, also where digests begin alike, and no other is", () => {
  const names = Array.from({ length: 1_000 }, (_, i) => `p${i}`);
  const alike = digestOf("p0");
  alike[31]! ^= 1;
  const { access } = start({
    tokens: [{ ...token("", "alike"), digest: alike }, ...names.map((name) => token(name, name))],
  });
  const identify = (secret: string) => access.identify(new Headers(bearer(secret)));
  for (const name of names) {
    const identity = identify(name);
    assert("principal" in identity);
    assertEquals(identity.principal, name);
  }
  for (const name of names) assert("failure" in identify(`${name}x`));
});

Deno.test("Of one token given twice the entry counts that has not expired", () => {
  const now = new Harness().clock.wallTime();
  for (const ends of [[now, now + 1], [now + 1, now]]) {
    const { access } = start({ tokens: ends.map((expiresAtMs) => token("a", "alice", { expiresAtMs })) });
    assert("principal" in access.identify(new Headers(bearer("a"))));
  }
});
