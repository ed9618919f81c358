/** What many wrong tokens from one address cost, whom they concern, and whom they do not. */
import { assert, assertEquals } from "@std/assert";
import { Access, type AccessRules, digestOf, type Token } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import type { ConnectionInfo } from "../../routes/peer.ts";
import { Harness, SERVER } from "../fakes/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";

function token(secret: string, principal: string, more: Partial<Token> = {}): Token {
  return { principal, digest: digestOf(secret), servers: undefined, expiresAtMs: undefined, ...more };
}

function start(rules: Partial<AccessRules> = {}) {
  const harness = new Harness();
  const { clock, supervisor } = harness;
  const access = new Access({
    clock,
    tokenRequired: true,
    tokens: [token("right", "alice")],
    allowedOrigins: ["https://ok.example"],
    allowedHosts: [],
    onLoopback: true,
    authFailuresPerMinute: 3,
    ...rules,
  });
  const app = createApp({ access, supervisor, clock, implicitSessions: true });
  const send = async (
    secret: string | undefined,
    { peer, path = `/mcp/${SERVER}`, headers = {} }: {
      peer?: string | ConnectionInfo;
      path?: string;
      headers?: Record<string, string>;
    } = {},
  ) => {
    const request = new Request(`http://localhost:3000${path}`, {
      headers: { ...headers, ...(secret !== undefined && { authorization: `Bearer ${secret}` }) },
    });
    const connection = typeof peer === "string"
      ? { remoteAddr: { transport: "tcp" as const, hostname: peer, port: 1 } }
      : peer;
    const response = await app(request, connection);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const statuses = async (secrets: (string | undefined)[], peer: string, path?: string) => {
    const found: number[] = [];
    for (const secret of secrets) {
      found.push((await send(secret, { peer, ...(path !== undefined && { path }) })).status);
    }
    return found;
  };
  return { clock, access, send, statuses };
}

/** What `GET /mcp` answers to whoever is let in here: it names no session. */
const IN = 400;

Deno.test("Wrong tokens beyond the rate get 429 with the time to wait, and a right one from there is let in", async () => {
  await using log = await LogCapture.start();
  const { clock, send, statuses } = start();
  assertEquals(await statuses(["a", "b", "c", "d", "right", "e"], "192.0.2.7"), [
    401,
    401,
    401,
    429,
    IN,
    429,
  ]);
  const refused = await send("wrong", { peer: "192.0.2.7" });
  assertEquals(refused.headers.get("retry-after"), "20");
  assertEquals(refused.headers.get("www-authenticate"), null);
  assertEquals(JSON.parse(refused.text).error, {
    code: -32000,
    message: "Too many wrong tokens came from this address",
  });
  const page = await send("wrong", { peer: "192.0.2.7", path: "/sessions" });
  assertEquals([page.status, page.headers.get("content-type")], [429, "application/problem+json"]);
  // Told once a minute, with nothing of the tokens.
  const told = "More than 3 wrong tokens a minute from 192.0.2.7: they get 429";
  assertEquals(log.lines, [told]);
  await clock.advance(20_000);
  assertEquals(await statuses(["a", "b", "right"], "192.0.2.7"), [401, 429, IN]);
  assertEquals(log.lines, [told]);
});

Deno.test("Each address has its own count; of IPv6 a whole network has one", async () => {
  const { statuses } = start();
  assertEquals(await statuses(["a", "b", "c", "d"], "192.0.2.7"), [401, 401, 401, 429]);
  assertEquals(await statuses(["a", "b", "c", "d"], "192.0.2.8"), [401, 401, 401, 429]);
  const sent = [1, 2, 3, 4].map((n) => statuses(["a"], `2001:db8::${n}`));
  assertEquals((await Promise.all(sent)).flat(), [401, 401, 401, 429]);
  assertEquals(await statuses(["a"], "2001:db8:0:1::1"), [401]);
});

Deno.test("Only wrong tokens count: not missing ones, not right ones, not what has no token to be wrong", async () => {
  const { statuses, send } = start();
  const peer = "192.0.2.7";
  assertEquals(await statuses([undefined, undefined, undefined, undefined], peer), [401, 401, 401, 401]);
  assertEquals(await statuses(Array(20).fill("right"), peer), Array(20).fill(IN));
  assertEquals(await statuses(["a", "b", "c", "d"], peer, "/health"), [200, 200, 200, 200]);
  assertEquals((await send("a", { peer, headers: { origin: "https://evil.example" } })).status, 403);
  assertEquals(await statuses(["a", "b", "c", "d"], peer), [401, 401, 401, 429]);
  // Missing still gets the challenge that tells a client what to do.
  assertEquals((await send(undefined, { peer })).headers.get("www-authenticate"), 'Bearer realm="sojourn"');
});

Deno.test("An expired token counts as a wrong one", async () => {
  const { statuses } = start({ tokens: [token("old", "alice", { expiresAtMs: 0 })] });
  assertEquals(await statuses(["old", "old", "old", "old"], "192.0.2.7"), [401, 401, 401, 429]);
});

Deno.test("Where no token is required, where the rate is 0, and where nobody tells who it is, nothing is counted", async () => {
  const peer = "192.0.2.7";
  const open = start({ tokenRequired: false, tokens: [token("right", "admin", { isAdmin: true })] });
  assertEquals(await open.statuses(["a", "b", "c", "d"], peer), [IN, IN, IN, IN]);
  const off = start({ authFailuresPerMinute: 0 });
  assertEquals(await off.statuses(["a", "b", "c", "d"], peer), [401, 401, 401, 401]);
  const { send } = start();
  for (let n = 0; n < 5; n++) assertEquals((await send("a")).status, 401);
});

Deno.test("A request with the right token never has anybody look where it comes from", async () => {
  const { send } = start();
  const connection: ConnectionInfo = {
    get remoteAddr(): Deno.Addr {
      throw new Error("somebody looked");
    },
  };
  assertEquals((await send("right", { peer: connection })).status, IN);
  assertEquals((await send(undefined, { peer: connection })).status, 401);
});

Deno.test("Pages of allowed origins can read when to come back", async () => {
  const { send } = start({ authFailuresPerMinute: 1 });
  const options = { peer: "192.0.2.7", headers: { origin: "https://ok.example" } };
  await send("a", options);
  const { status, headers } = await send("b", options);
  assertEquals([status, headers.get("access-control-allow-origin")], [429, "https://ok.example"]);
  assert(headers.get("access-control-expose-headers")!.includes("retry-after"));
});

Deno.test("Limits of principals change with the tokens", () => {
  const { access } = start({
    tokens: [token("a", "ann", { maxSessions: 3, opensPerMinute: 9 }), token("b", "bob")],
  });
  assertEquals(access.limitsOf("ann"), { maxSessions: 3, opensPerMinute: 9 });
  assertEquals([access.limitsOf("bob"), access.limitsOf("__proto__")], [{}, {}]);
  access.replaceTokens([token("a", "ann", { maxSessions: 0 })]);
  assertEquals(access.limitsOf("ann"), { maxSessions: Infinity, opensPerMinute: undefined });
  access.replaceTokens([]);
  assertEquals(access.limitsOf("ann"), {});
});
