/**
 * Signals: what is in flight is answered, what is open is ended, and no process is left.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { Gateway, onPath, passMs, PROJECT } from "./gateway.ts";
import { initialize, post, RawSession } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };

/** So long that nothing comes of it within a test. */
const NEVER_MS = 600_000;

// [the store, sessions that end with the gateway]
for (const [store, ended] of [["sqlite", 0], ["memory", 2]] as const) {
  Deno.test(`SIGTERM ends streams, fails what is in flight too long, and exits with 0: ${store}`, async () => {
    await using gateway = await Gateway.start({
      servers: ECHO,
      env: { DRAIN_MS: "300", SESSION_STORE: store },
    });
    const listening = await RawSession.open(gateway, "echo");
    await using standalone = await listening.stream();
    const calling = await RawSession.open(gateway, "echo");
    await using slow = await calling.requestStream("tools/call", {
      name: "progress",
      arguments: { n: 100_000, everyMs: 20 },
      _meta: { progressToken: "t" },
    });
    await slow.message(({ method }) => method === "notifications/progress", "progress");

    gateway.kill("SIGTERM");
    assertEquals(await gateway.exited(), 0);
    assertEquals(gateway.children(), []);
    await standalone.end();
    await slow.end();
    assertEquals(slow.messages.at(-1)?.error, { code: -32000, message: "Gateway is shutting down" });
    assertEquals(gateway.linesLike(/ended: shutdown/).length, ended);
  });
}

Deno.test("A request that a shutdown cannot wait for is answered with 503", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { DRAIN_MS: "300", SSE_AFTER_MS: "300000" },
  });
  const session = await RawSession.open(gateway, "echo");
  const call = session.call("slow", { ms: NEVER_MS });
  await session.text("pid");
  gateway.kill("SIGTERM");
  const { status, message } = await call;
  assertEquals(status, 503);
  assertEquals(message?.error?.message, "Gateway is shutting down");
  assertEquals(await gateway.exited(), 0);
});

Deno.test("A shutdown ends servers that have not started yet, and tells their clients", async () => {
  await using gateway = await Gateway.start({
    servers: { silent: { ...fixture("silent") } },
    env: { DRAIN_MS: "300", SSE_AFTER_MS: "300000" },
  });
  const opening = post(gateway.url("silent"), initialize());
  const implicit = post(gateway.url("silent"), { id: 1, method: "tools/list" });
  await gateway.waitForChildren(2);
  gateway.kill("SIGTERM");
  for (const { status, sessionId, message } of [await opening, await implicit]) {
    assertEquals([status, sessionId], [503, null]);
    assertEquals(message?.error?.message, "Gateway is shutting down");
  }
  assertEquals(await gateway.exited(), 0);
  assertEquals(gateway.children(), []);
});

Deno.test("A shutdown waits for what is in flight and refuses new sessions meanwhile", async () => {
  await using gateway = await Gateway.start({ servers: ECHO, env: { DRAIN_MS: String(NEVER_MS) } });
  const session = await RawSession.open(gateway, "echo", { capabilities: { roots: {} } });
  await RawSession.open(gateway, "echo");
  await using call = await session.requestStream("tools/call", { name: "ask", arguments: {} });
  const question = await call.message(({ method }) => method === "roots/list", "roots/list");

  gateway.kill("SIGTERM");
  await gateway.waitForLine(/SIGTERM: shutting down, 2 session\(s\) open/);
  const refused = await post(gateway.url("echo"), initialize());
  assertEquals([refused.status, refused.sessionId], [503, null]);
  assertEquals(refused.message?.error?.message, "Gateway is shutting down");
  assertEquals(await session.ping(), 503);

  // The call waits for its client, who may still answer.
  const answer = { id: question.id!, result: { roots: [] } };
  assertEquals((await post(gateway.url("echo"), answer, { sessionId: session.id })).status, 202);
  await call.end();
  assertEquals(call.messages.at(-1)?.result?.content, [{ type: "text", text: '{"roots":[]}' }]);
  assertEquals(await gateway.exited(), 0);
  assertEquals(gateway.children(), []);
});

Deno.test("A second SIGTERM hurries the shutdown, unless it comes within a second", async () => {
  await using gateway = await Gateway.start({ servers: ECHO, env: { DRAIN_MS: String(NEVER_MS) } });
  const session = await RawSession.open(gateway, "echo");
  await using call = await session.requestStream("tools/call", {
    name: "slow",
    arguments: { ms: NEVER_MS },
  });
  gateway.kill("SIGTERM");
  await gateway.waitForLine(/SIGTERM: shutting down/);
  gateway.kill("SIGTERM");
  gateway.kill("SIGINT");
  await passMs(1_500);
  assertEquals(gateway.linesLike(/again/), []);
  assert(!call.ended);

  gateway.kill("SIGTERM");
  await gateway.waitForLine(/\[WARN\] SIGTERM again: not waiting for requests in flight/);
  assertEquals(await gateway.exited(), 0);
  await call.end();
  assertEquals(call.messages.at(-1)?.error?.message, "Gateway is shutting down");
  assertEquals(gateway.children(), []);
});

Deno.test("SIGINT shuts down too", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  await RawSession.open(gateway, "echo");
  gateway.kill("SIGINT");
  assertEquals(await gateway.exited(), 0);
  assertEquals(gateway.linesLike(/SIGINT: shutting down, 1 session\(s\) open/).length, 1);
  assertEquals(gateway.children(), []);
});

Deno.test("SIGINT through the start task ends the gateway and its servers", async () => {
  const deno = Deno.execPath();
  // A task runs in the project's folder, so the servers file has to be named, and the data folder too.
  const named = 'MCP_CONFIG="$PWD/mcp-servers.json" DATA_DIR="$PWD/.sojourn"';
  const command = `${named} exec '${deno}' task --config '${PROJECT}deno.json' start`;
  await using gateway = await Gateway.start({ servers: ECHO, program: ["sh", "-c", command] });
  const session = await RawSession.open(gateway, "echo");
  assertEquals(await session.ping(), 200);
  gateway.kill("SIGINT");
  await gateway.exited();
  await gateway.waitForChildren(0);
  assertEquals(gateway.linesLike(/SIGINT: shutting down, 1 session\(s\) open|All closed/).length, 2);
});

Deno.test("SIGHUP without a terminal is no reason to end", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const session = await RawSession.open(gateway, "echo");
  gateway.kill("SIGHUP");
  await gateway.waitForLine(/Servers read again: nothing changed/);
  assertEquals(await session.ping(), 200);
  assertEquals(await gateway.stop(), 0);
});

Deno.test({
  name: "A terminal that goes away takes the gateway and its servers with it",
  ignore: !onPath("script"),
  fn: async () => {
    const command = `'${Deno.execPath()}' run -A '${join(PROJECT, "main.ts")}'`;
    await using gateway = await Gateway.start({
      servers: ECHO,
      env: { LOG_DIR: "logs" },
      program: ["script", "-qec", command, "/dev/null"],
    });
    const session = await RawSession.open(gateway, "echo");
    assertEquals(await session.ping(), 200);
    assert(gateway.children().some(({ command }) => command.includes("echo_server")));
    // The terminal, not the gateway.
    gateway.kill("SIGKILL");
    await gateway.exited();
    await gateway.waitForChildren(0);
    const log = Deno.readTextFileSync(join(gateway.folder, "logs", "gateway.log"));
    assertMatch(log, /SIGHUP: shutting down, 1 session\(s\) open/);
    assertMatch(log, /All closed/);
  },
});
