/**
 * What each principal may have, and what wrong tokens come to, with the real gateway over real connections.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { Gateway } from "./gateway.ts";
import { initialize, post } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };

const tokensFile = (...entries: Record<string, unknown>[]) =>
  JSON.stringify({
    tokens: entries.map(({ token, ...entry }) => ({
      sha256: createHash("sha256").update(String(token)).digest("hex"),
      ...entry,
    })),
  });

const start = (entries: Record<string, unknown>[], env: Record<string, string> = {}) =>
  Gateway.start({
    servers: ECHO,
    files: { "tokens.json": tokensFile(...entries) },
    env: { ACCESS_TOKENS_FILE: "tokens.json", ADMISSION_WAIT_MS: "0", ...env },
  });

/** Opens a session with a token; the status, what was wrong and when to come back. */
async function open(gateway: Gateway, token: string) {
  const { status, sessionId, message } = await post(gateway.url("echo"), initialize(), {
    headers: { authorization: `Bearer ${token}` },
  });
  return { status, sessionId, said: message?.error?.message };
}

Deno.test("A principal has as many sessions as its token says, and another number when the file does", async () => {
  await using gateway = await start([
    { principal: "alice", token: "a", maxSessions: 1 },
    { principal: "bob", token: "b" },
  ], { MAX_SESSIONS_PER_PRINCIPAL: "2" });
  const statuses = async (token: string, count: number) => {
    const found: number[] = [];
    for (let n = 0; n < count; n++) found.push((await open(gateway, token)).status);
    return found;
  };
  assertEquals([await statuses("a", 2), await statuses("b", 3)], [[200, 503], [200, 200, 503]]);
  const file = join(gateway.folder, "tokens.json");
  // Different limits for tokens of one principal are a mistake, and change nothing.
  const two = [{ principal: "alice", token: "a", maxSessions: 2 }, { principal: "alice", token: "a2" }];
  await Deno.writeTextFile(file, tokensFile(...two));
  await gateway.waitForLine(
    /Tokens stay as they were: .*tokens\[1\].maxSessions: differs from that of another token of this principal/,
  );
  assertEquals(await statuses("a", 1), [503]);
  await Deno.writeTextFile(file, tokensFile({ principal: "alice", token: "a", maxSessions: 3 }));
  await gateway.waitForLine(/Tokens read again/);
  assertEquals([await statuses("a", 3), await statuses("b", 1)], [[200, 200, 503], [401]]);
  assertEquals(await gateway.stop(), 0);
});

Deno.test("A principal that opens too many sessions a minute gets 429 and Retry-After", async () => {
  await using gateway = await start([
    { principal: "alice", token: "a", opensPerMinute: 2 },
    { principal: "bob", token: "b" },
  ]);
  for (const status of [200, 200, 429]) assertEquals((await open(gateway, "a")).status, status);
  assertEquals((await open(gateway, "a")).said, "Too many sessions were opened: 2 a minute");
  const response = await fetch(gateway.url("echo"), {
    method: "POST",
    headers: {
      authorization: "Bearer a",
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
    },
    body: JSON.stringify({ jsonrpc: "2.0", ...initialize() }),
  });
  await response.body?.cancel();
  const waitS = Number(response.headers.get("retry-after"));
  assertEquals([response.status, waitS > 0 && waitS <= 30], [429, true]);
  assertEquals((await open(gateway, "b")).status, 200);
  assertEquals(await gateway.stop(), 0);
});

Deno.test("Wrong tokens beyond the rate get 429; the right one from the same address is let in", async () => {
  await using gateway = await start([{ principal: "alice", token: "a" }], { AUTH_FAILURES_PER_MINUTE: "3" });
  for (const status of [401, 401, 401, 429]) assertEquals((await open(gateway, "wrong")).status, status);
  assertEquals((await open(gateway, "a")).status, 200);
  await gateway.waitForLine(/\[WARN\] More than 3 wrong tokens a minute from 127.0.0.1: they get 429/);
  assertEquals(await gateway.stop(), 0);
});
