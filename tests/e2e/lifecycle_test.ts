/**
 * What is left of a session when its server dies, its client goes, or either will not: no process, and
 * nothing in the gateway.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway } from "./gateway.ts";
import { RawSession } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };
const STUBBORN = { stubborn: { ...fixture("stubborn") } };

/** So long that nothing comes of it within a test. */
const NEVER_MS = 600_000;

const STATEFUL = { echo: { ...ECHO.echo, stateful: true } };

Deno.test("A server that is killed fails the call in flight with its name, and the session gets another", async () => {
  await using gateway = await Gateway.start({ servers: ECHO, env: { SSE_AFTER_MS: "300000" } });
  const session = await RawSession.open(gateway, "echo");
  const call = session.call("slow", { ms: NEVER_MS });
  // Handled in order: the call is in flight when the pid is there.
  const pid = Number(await session.text("pid"));
  Deno.kill(pid, "SIGKILL");
  const { status, message } = await call;
  assertEquals([status, message?.error?.code], [502, -32000]);
  assertMatch(message!.error!.message, /server "echo" was ended by SIGKILL/);
  await gateway.waitForLine(/Session \w+ of server echo hibernates: server "echo" was ended by SIGKILL/);
  await gateway.waitForChildren(0);
  const next = Number(await session.text("pid"));
  assert(next !== pid);
  assertEquals(gateway.children().map((child) => child.pid), [next]);
});

Deno.test("A stateful server that is killed fails the call in flight with its name and ends the session", async () => {
  await using gateway = await Gateway.start({ servers: STATEFUL, env: { SSE_AFTER_MS: "300000" } });
  const session = await RawSession.open(gateway, "echo");
  const call = session.call("slow", { ms: NEVER_MS });
  // Handled in order: the call is in flight when the pid is there.
  const pid = Number(await session.text("pid"));
  assertEquals(gateway.children().map((child) => child.pid), [pid]);
  Deno.kill(pid, "SIGKILL");

  const { status, message, sessionId } = await call;
  assertEquals(status, 502);
  assertEquals(sessionId, null);
  assertEquals(message?.error?.code, -32000);
  assertMatch(message!.error!.message, /server "echo" was ended by SIGKILL/);
  assertEquals(await session.ping(), 404);
  await gateway.waitForLine(/Session \w+ of server echo ended: backend_exit \(.*SIGKILL\)/);
  await assertNoneLeft(gateway);
});

Deno.test("A server that is killed while idle leaves its session and its stream", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const session = await RawSession.open(gateway, "echo");
  await using stream = await session.stream();
  Deno.kill(Number(await session.text("pid")), "SIGKILL");
  await gateway.waitForLine(/hibernates: .*SIGKILL/);
  await gateway.waitForChildren(0);
  assertEquals(await session.ping(), 200);
  assertEquals(stream.status, 200);
});

Deno.test("A stateful server that is killed while idle ends its session", async () => {
  await using gateway = await Gateway.start({ servers: STATEFUL });
  const session = await RawSession.open(gateway, "echo");
  await using stream = await session.stream();
  Deno.kill(Number(await session.text("pid")), "SIGKILL");
  await stream.end();
  await gateway.waitForLine(/ended: backend_exit/);
  assertEquals(await session.ping(), 404);
  await gateway.waitForChildren(0);
});

Deno.test("A server that is killed behind an open stream ends the stream with an error", async () => {
  await using gateway = await Gateway.start({ servers: ECHO, env: { SSE_AFTER_MS: "0" } });
  const session = await RawSession.open(gateway, "echo");
  await using stream = await session.requestStream("tools/call", {
    name: "slow",
    arguments: { ms: NEVER_MS },
  });
  assertEquals([stream.status, stream.contentType], [200, "text/event-stream"]);
  Deno.kill(Number(await session.text("pid")), "SIGKILL");
  await stream.end();
  assertMatch(stream.messages.at(-1)!.error!.message, /server "echo" was ended by SIGKILL/);
});

Deno.test("A stubborn server is ended after DELETE, with its children in and out of its group", async () => {
  await using gateway = await Gateway.start({ servers: STUBBORN });
  const session = await RawSession.open(gateway, "stubborn");
  assertSameElements(gateway.children().map(({ pid }) => pid), pidsOf(session));
  assertEquals(await session.delete(), 204);
  assertEquals(await session.ping(), 404);
  await gateway.waitForChildren(0);
  await assertNoneLeft(gateway);
});

Deno.test("A stubborn server is ended by a shutdown, with its children in and out of its group", async () => {
  await using gateway = await Gateway.start({ servers: STUBBORN });
  const session = await RawSession.open(gateway, "stubborn");
  assertSameElements(gateway.children().map(({ pid }) => pid), pidsOf(session));
  gateway.kill("SIGTERM");
  assertEquals(await gateway.exited(), 0);
  assertEquals(gateway.children(), []);
});

Deno.test("What a server left behind when it was killed is ended, though its session lives on", async () => {
  await using gateway = await Gateway.start({ servers: STUBBORN });
  const session = await RawSession.open(gateway, "stubborn");
  const [own] = pidsOf(session);
  Deno.kill(own!, "SIGKILL");
  await gateway.waitForLine(/hibernates: /);
  await gateway.waitForChildren(0);
});

Deno.test("A process that a server leaves behind in a session of its own is ended too", async () => {
  const pids = Deno.makeTempFileSync();
  try {
    const daemonizer = fixture("daemonizer", { env: { PIDS_FILE: pids } });
    await using gateway = await Gateway.start({ servers: { daemonizer: { ...daemonizer } } });
    const session = await RawSession.open(gateway, "daemonizer");
    assertEquals(await session.delete(), 204);
    await gateway.waitForChildren(0);
    // It was there.
    assert(JSON.parse(Deno.readTextFileSync(pids)).daemon > 0);
  } finally {
    Deno.removeSync(pids);
  }
});

for (const serverId of ["filesystem", "everything"]) {
  Deno.test(`A session with a roots/list of ${serverId} left unanswered is swept`, async () => {
    await using gateway = await Gateway.start({
      servers: "committed",
      env: { LOG_LEVEL: "debug", CLIENT_REPLY_TIMEOUT_MS: "500", STREAM_SESSION_TTL_MS: "2000" },
    });
    const session = await RawSession.open(gateway, serverId, { capabilities: { roots: {} } });
    const stream = await session.stream();
    await stream.message(({ method }) => method === "roots/list", "roots/list");
    await stream.cut();

    await gateway.waitForLine(/\[INFO\] Cleaning up 1 expired streamable session\(s\)$/);
    await gateway.waitForLine(/\[DEBUG\] Closing streamable session [0-9a-f]{12} \(idle for \d+s\)$/);
    await gateway.waitForLine(/ended: idle/);
    await gateway.waitForChildren(0);
    assertEquals(await session.ping(), 404);
    await assertNoneLeft(gateway);
  });
}

Deno.test("Well-behaved servers end by themselves when the gateway is killed", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  await RawSession.open(gateway, "echo");
  await RawSession.open(gateway, "echo");
  assertEquals(gateway.children().length, 2);
  gateway.kill("SIGKILL");
  await gateway.exited();
  await gateway.waitForChildren(0);
});

Deno.test("Health is answered before, between and without sessions", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const health = async () => {
    const response = await fetch(`${gateway.origin}/health`);
    return [response.status, await response.json()];
  };
  assertEquals(await health(), [200, { status: "ok" }]);
  await RawSession.open(gateway, "echo");
  assertEquals(await health(), [200, { status: "ok" }]);
});

/** The pids that the stubborn server told when it was opened: its own first. */
function pidsOf(session: RawSession): number[] {
  const { pids } = session.opened.result!.serverInfo as {
    pids: { own: number; grouped: number; detached: number };
  };
  return [pids.own, pids.grouped, pids.detached];
}

function assertSameElements(actual: number[], expected: number[]): void {
  assertEquals(actual.toSorted(), expected.toSorted());
}
