/**
 * The servers file of a running gateway is edited, with real servers and sessions that are in use.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway, passMs, type ServerEntry } from "./gateway.ts";
import { initialize, post, RawSession } from "./raw_client.ts";

const ECHO: ServerEntry = { ...fixture("echo_server") };
const SECRET = "s3cret-of-mine";

async function reload(gateway: Gateway, token?: string) {
  const response = await fetch(`${gateway.origin}/servers/reload`, {
    method: "POST",
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  const { status, headers } = response;
  return { status, type: headers.get("content-type"), text: await response.text() };
}

Deno.test("Editing the file serves new servers; a removed one finishes its session, and then its process is gone", async () => {
  await using gateway = await Gateway.start({ servers: { gone: ECHO } });
  const session = await RawSession.open(gateway, "gone");
  const pid = Number(await session.text("pid"));

  gateway.writeServers({ fresh: ECHO });
  await gateway.waitForLine(/Servers read again: 1 added, 1 removed, 0 changed, 0 unchanged/);
  await gateway.waitForLine(/Server gone removed; 1 session\(s\) go on until they end/);
  await gateway.waitForLine(/Sessions of fresh: idle TTL 300000ms/);

  const young = await RawSession.open(gateway, "fresh");
  assertEquals(Number(await session.text("pid")), pid);
  assertNotEquals(Number(await young.text("pid")), pid);
  const refused = await post(gateway.url("gone"), initialize());
  assertEquals([refused.status, refused.message?.error?.message], [404, 'No such server: "gone"']);

  assertEquals(await session.delete(), 204);
  await gateway.waitForChildren(1);
  assertEquals((await session.call("pid")).status, 404);
  assertEquals(await young.ping(), 200);
  assertEquals(await young.delete(), 204);
  await assertNoneLeft(gateway);
});

Deno.test("A changed server serves new sessions; those that are open keep theirs, with their limits", async () => {
  const entry = (ttlMs: number, env: Record<string, string>): ServerEntry => ({
    ...fixture("echo_server", { env }),
    session: { idleTtlMs: ttlMs },
  });
  await using gateway = await Gateway.start({ servers: { echo: entry(600_000, {}) } });
  const old = await RawSession.open(gateway, "echo");
  const pid = await old.text("pid");
  // Nothing but a limit: the sessions to come.
  gateway.writeServers({ echo: entry(700_000, {}) });
  await gateway.waitForLine(/Server echo changed: session.idleTtlMs$/);
  await gateway.waitForLine(/Sessions of echo: idle TTL 700000ms \(file\)/);
  // A variable: its process too. The value is nobody's business.
  gateway.writeServers({ echo: entry(700_000, { API_KEY: SECRET }) });
  await gateway.waitForLine(/Server echo changed: env.API_KEY$/);
  const young = await RawSession.open(gateway, "echo");
  assertEquals(await old.text("pid"), pid);
  assertNotEquals(await young.text("pid"), pid);
  const { sessions } = await (await fetch(`${gateway.origin}/sessions`)).json();
  assertEquals(sessions.map(({ ttlMs }: { ttlMs: number }) => ttlMs), [600_000, 700_000]);
  assert(!gateway.output.includes(SECRET));
  await old.delete();
  await gateway.waitForChildren(1);
  assertEquals(await young.ping(), 200);
  await young.delete();
  await assertNoneLeft(gateway);
});

Deno.test("An invalid edit changes nothing and is told once; the next good one is applied", async () => {
  await using gateway = await Gateway.start({ servers: { echo: ECHO } });
  const session = await RawSession.open(gateway, "echo");
  gateway.writeServersText('{"mcpServers": {"echo": {"command": "deno", "session": {"idleTtlMs": -1}}}}');
  const line = /Servers stay as they were: mcp-servers.json:1:70: mcpServers.echo.session.idleTtlMs/;
  await gateway.waitForLine(line);
  const again = await reload(gateway);
  assertEquals([again.status, again.type], [422, "application/problem+json"]);
  assertMatch(again.text, /mcp-servers.json:1:70: mcpServers.echo.session.idleTtlMs/);
  await passMs(3_000);
  // Once by the watch, once by the request.
  assertEquals(gateway.linesLike(line).length, 2);
  Deno.removeSync(join(gateway.folder, "mcp-servers.json"));
  await gateway.waitForLine(/Servers stay as they were: mcp-servers.json: no such file/);
  assertEquals(await session.ping(), 200);
  const young = await RawSession.open(gateway, "echo");
  gateway.writeServers({ echo: ECHO, more: ECHO });
  await gateway.waitForLine(/Servers read again: 1 added, 0 removed, 0 changed, 1 unchanged/);
  assertEquals([await session.delete(), await young.delete()], [204, 204]);
  await assertNoneLeft(gateway);
});

Deno.test("SIGHUP reads the file again at once, and .env with it", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: { ...ECHO, env: { NAME: "${NAME}" } } },
    files: { ".env": "NAME=one\n" },
  });
  Deno.writeTextFileSync(join(gateway.folder, ".env"), "NAME=two\n");
  gateway.kill("SIGHUP");
  await gateway.waitForLine(/Server echo changed: env.NAME$/);
  Deno.writeTextFileSync(join(gateway.folder, ".env"), "");
  gateway.kill("SIGHUP");
  await gateway.waitForLine(/Servers stay as they were: .*NAME/);
  const session = await RawSession.open(gateway, "echo");
  await session.delete();
  await assertNoneLeft(gateway);
});

Deno.test("POST /servers/reload answers with what changed to whoever administers, and with 403 or 401 to others", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: ECHO },
    env: { ACCESS_TOKEN: "user-token-0123456789", ADMIN_TOKEN: "admin-token-0123456789" },
  });
  gateway.writeServers({ echo: { ...ECHO, session: { maxSessions: 3 } }, more: ECHO });
  assertEquals((await reload(gateway)).status, 401);
  assertEquals((await reload(gateway, "user-token-0123456789")).status, 403);
  assertEquals(gateway.linesLike(/Servers read again/), []);
  const [first, second] = await Promise.all([1, 2].map(() => reload(gateway, "admin-token-0123456789")));
  assertEquals([first!.status, second!.status], [200, 200]);
  const nothing = { added: [], removed: [], changed: [], unchanged: 2, warnings: [] };
  assertEquals([first!, second!].map(({ text }) => JSON.parse(text)), [
    {
      added: ["more"],
      removed: [],
      changed: [{ id: "echo", keys: ["session.maxSessions"] }],
      unchanged: 0,
      warnings: [],
    },
    nothing,
  ]);
  assertEquals(await gateway.stop(), 0);
});

Deno.test("A file that comes while the gateway runs without one is read, and its TTL is swept for", async () => {
  await using gateway = await Gateway.start({ env: { STREAM_SESSION_TTL_MS: "0", LOG_LEVEL: "debug" } });
  await gateway.waitForLine(/there is no mcp-servers.json/);
  gateway.writeServers({ echo: { ...ECHO, session: { idleTtlMs: 900 } } });
  await gateway.waitForLine(/Server echo added/);
  await RawSession.open(gateway, "echo");
  await gateway.waitForLine(/Cleaning up 1 expired streamable session\(s\)/);
  await assertNoneLeft(gateway);
});

Deno.test("While sessions are opened the file is edited again and again: each is opened or refused, and nothing is left", async () => {
  await using gateway = await Gateway.start({ servers: { a: ECHO, b: ECHO } });
  const outcomes = new Map<number, number>();
  let done = false;
  const clients = ["a", "b", "a", "b"].map(async (id) => {
    while (!done) {
      const { status, sessionId } = await post(gateway.url(id), initialize());
      outcomes.set(status, (outcomes.get(status) ?? 0) + 1);
      if (sessionId !== null) {
        const pinged = await post(gateway.url(id), { id: 1, method: "ping" }, { sessionId });
        assertEquals(pinged.status, 200);
        const ended = await fetch(gateway.url(id), {
          method: "DELETE",
          headers: { "mcp-session-id": sessionId },
        });
        assertEquals(ended.status, 204);
      }
    }
  });
  for (let round = 0; round < 12; round++) {
    const changed = { ...ECHO, env: { ROUND: String(round) } };
    gateway.writeServers(
      round % 3 === 0 ? { b: ECHO } : round % 3 === 1 ? { a: changed, b: ECHO } : { a: ECHO },
    );
    assertEquals((await reload(gateway)).status, 200);
    await passMs(150);
  }
  gateway.writeServers({ a: ECHO, b: ECHO });
  assertEquals((await reload(gateway)).status, 200);
  done = true;
  await Promise.all(clients);
  assertEquals(Array.from(outcomes.keys()).filter((status) => status !== 200 && status !== 404), []);
  assert(outcomes.get(200)! > 0);
  await assertNoneLeft(gateway);
});
