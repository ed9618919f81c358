/**
 * What is known to go wrong with processes in other gateways, and does not here. The README has the table.
 *
 * Each test is named after the issue that it brings about again. What counts is what is left: processes, zombies,
 * descriptors, and what clients see.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { eventually } from "../fakes/eventually.ts";
import { fixture, program } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway, passMs, type ProcessInfo, type ServerEntry } from "./gateway.ts";
import { initialize, post, RawSession } from "./raw_client.ts";

/** So long that nothing comes of it within a test. */
const NEVER_MS = 600_000;

const SHELL_SERVER = fileURLToPath(new URL("../fixtures/shell_server.sh", import.meta.url));
/** A server of one process that starts at once. */
const plain = (session = {}): ServerEntry => ({ ...program("sh", SHELL_SERVER), session });
/** The same as a child of a shell, which waits for it and hands no signal on. */
const behindShell = (session = {}): ServerEntry => ({
  ...program("sh", "-c", 'sh "$0"; exit $?', SHELL_SERVER),
  session,
});
/**
 * Behind a shell that takes SIGTERM for itself and goes on to wait for something that reads no input. What a shell
 * puts into the background gets its input from elsewhere, hence the third descriptor.
 */
const behindDeafShell = (session = {}): ServerEntry => ({
  ...program("sh", "-c", 'trap : TERM; exec 3<&0; sh "$0" <&3 & sleep 100000; exit 0', SHELL_SERVER),
  session,
});

/** Opens so many sessions at once. */
async function openAll(gateway: Gateway, serverId: string, count: number): Promise<RawSession[]> {
  return await Promise.all(Array.from({ length: count }, () => RawSession.open(gateway, serverId)));
}

/** Processes that ended and that the gateway has not asked for. */
function zombiesOf(gateway: Gateway): string[] {
  const zombies: string[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = Deno.readTextFileSync(`/proc/${name}/stat`);
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === "Z" && Number(parent) === gateway.pid) zombies.push(stat);
    } catch {
      // Gone meanwhile.
    }
  }
  return zombies;
}

/** How many descriptors the gateway has open. */
function descriptorsOf(gateway: Gateway): number {
  return [...Deno.readDirSync(`/proc/${gateway.pid}/fd`)].length;
}

/** Waits until so many sessions have ended in a way. The log may be behind what is seen of processes. */
async function waitForEnds(gateway: Gateway, how: RegExp, count: number): Promise<void> {
  await eventually(() => gateway.linesLike(how).length >= count, `${count} times ${how}`);
  assertEquals(gateway.linesLike(how).length, count);
}

const like = (children: readonly ProcessInfo[], pattern: RegExp): ProcessInfo[] =>
  children.filter(({ command }) => pattern.test(command));

Deno.test("supergateway#124: servers behind a shell that swallows SIGTERM are ended with all that is below it", async () => {
  await using gateway = await Gateway.start({
    servers: { shell: behindDeafShell({ idleTtlMs: 1_500 }) },
  });
  const first = await RawSession.open(gateway, "shell");
  // The shell, the server and what the shell waits for.
  assertEquals(gateway.children().length, 3);
  assertEquals(like(gateway.children(), /sleep/).length, 2);
  // Nobody says goodbye.
  const sessions = [first, ...await openAll(gateway, "shell", 19)];
  await gateway.waitForChildren(0);
  await waitForEnds(gateway, /ended: idle/, 20);
  for (const session of sessions) assertEquals(await session.ping(), 404);
  await assertNoneLeft(gateway);
});

Deno.test("supergateway#137: requests without a session leave no shell behind", async () => {
  await using gateway = await Gateway.start({
    servers: { shell: behindShell() },
    env: { IMPLICIT_TTL_MS: "1000" },
  });
  for (let n = 0; n < 30; n++) {
    const { status } = await post(gateway.url("shell"), { id: n, method: "tools/list" });
    assertEquals(status, 200);
  }
  assert(like(gateway.children(), /sh -c /).length > 0, "there were shells");
  await gateway.waitForChildren(0);
  await waitForEnds(gateway, /ended: implicit/, 30);
  await assertNoneLeft(gateway);
});

Deno.test("supergateway#141: a client's goodbye ends its server, not some time-out", async () => {
  await using gateway = await Gateway.start({
    servers: { shell: behindShell({ idleTtlMs: NEVER_MS }), deaf: behindDeafShell({ idleTtlMs: NEVER_MS }) },
  });
  for (const serverId of ["shell", "deaf"]) {
    const [quiet, twice, calling, listening] = await openAll(gateway, serverId, 4);
    const call = calling!.call("hold");
    await using stream = await listening!.stream();
    assertEquals(await quiet!.delete(), 204);
    assertEquals((await Promise.all([twice!.delete(), twice!.delete()])).toSorted(), [204, 404]);
    assertEquals(await calling!.delete(), 204);
    assertEquals(await listening!.delete(), 204);
    await stream.end();
    assertEquals((await call).message?.error?.code, -32001);
  }
  await gateway.waitForChildren(0);
  await waitForEnds(gateway, /ended: client_delete/, 8);
  await assertNoneLeft(gateway);
});

Deno.test("metamcp#162: clients that come and never say goodbye do not make the processes grow", async () => {
  const [CLIENTS, MAX] = [24, 8];
  await using gateway = await Gateway.start({
    servers: { plain: plain({ idleTtlMs: 1_000 }) },
    env: { MAX_PROCESSES: String(MAX), ADMISSION_WAIT_MS: "20000" },
  });
  const seen: number[] = [];
  const until = { done: false };
  const watching = (async () => {
    while (!until.done) {
      seen.push(gateway.children().length);
      await passMs(20);
    }
  })();
  await Promise.all(Array.from({ length: CLIENTS }, async () => {
    const session = await RawSession.open(gateway, "plain");
    assertEquals((await session.call("any")).status, 200);
  }));
  until.done = true;
  await watching;
  assertEquals(Math.max(...seen), MAX, `of ${seen}`);
  await gateway.waitForChildren(0);
  await waitForEnds(gateway, /ended: idle/, CLIENTS);
  await assertNoneLeft(gateway);
});

Deno.test("metamcp#324: a client that refreshes its list of tools makes no process, nor does one that comes anew for it", async () => {
  await using gateway = await Gateway.start({ servers: { plain: plain({ idleTtlMs: NEVER_MS }) } });
  const staying = await RawSession.open(gateway, "plain");
  for (let n = 0; n < 20; n++) assertEquals((await staying.request("tools/list")).status, 200);
  assertEquals(gateway.children().length, 1);
  for (let n = 0; n < 20; n++) {
    const coming = await RawSession.open(gateway, "plain");
    assertEquals((await coming.request("tools/list")).status, 200);
    assertEquals(await coming.delete(), 204);
  }
  const [left] = await gateway.waitForChildren(1);
  assertEquals(String(left?.pid), await staying.text("pid"));
  await staying.delete();
  await assertNoneLeft(gateway);
});

Deno.test("docker/mcp-gateway#483: fifty lives of servers leave neither zombies nor descriptors", async () => {
  const [ROUNDS, AGENTS] = [5, 10];
  await using gateway = await Gateway.start({
    servers: { plain: plain({ idleTtlMs: 1_500 }), shell: behindShell({ idleTtlMs: 1_500 }) },
  });
  let descriptors = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const agents = [
      ...await openAll(gateway, "plain", AGENTS / 2),
      ...await openAll(gateway, "shell", AGENTS / 2),
    ];
    const calls = agents.flatMap((agent) => [1, 2, 3].map(() => agent.call("any")));
    assertEquals(new Set((await Promise.all(calls)).map(({ status }) => status)), new Set([200]));
    // One is killed, some say goodbye, the others do not.
    if (round > 0) Deno.kill(Number(await agents[0]!.text("pid")), "SIGKILL");
    for (const agent of agents.slice(1, AGENTS / 2 + 2)) assertEquals(await agent.delete(), 204);
    if (round === 0) {
      await gateway.waitForChildren(0);
      descriptors = descriptorsOf(gateway);
    }
  }
  await gateway.waitForChildren(0);
  await eventually(() => zombiesOf(gateway).length === 0, "the zombies to be reaped");
  await waitForEnds(gateway, / ended: /, ROUNDS * AGENTS);
  await eventually(
    () => descriptorsOf(gateway) < descriptors + AGENTS,
    `the descriptors to be as few as after the first round, ${descriptors}`,
  );
  await assertNoneLeft(gateway);
});

Deno.test("mcp-proxy, killed child: the next session has a new one, and other sessions notice nothing", async () => {
  await using gateway = await Gateway.start({ servers: { plain: plain(), other: plain() } });
  const [beside] = await openAll(gateway, "plain", 1);
  const [elsewhere] = await openAll(gateway, "other", 1);
  const pids = new Set([await beside!.text("pid"), await elsewhere!.text("pid")]);
  for (let time = 1; time <= 2; time++) {
    const session = await RawSession.open(gateway, "plain");
    const pid = await session.text("pid");
    assert(!pids.has(pid), "each session has a process of its own");
    pids.add(pid);
    const [first, second] = [session.call("hold"), beside!.call("any")];
    Deno.kill(Number(pid), "SIGKILL");
    // The call may have come too late, and then it is answered by the next one.
    assertMatch(String((await first).status), /502|200/);
    assertEquals((await second).status, 200);
    await waitForEnds(gateway, /hibernates: .*SIGKILL/, time);
    const next = await session.text("pid");
    assert(!pids.has(next), "the session has a process again");
    pids.add(next);
  }
  const { status, sessionId } = await post(gateway.url("plain"), initialize());
  assertEquals([status, sessionId === null], [200, false]);
  assertEquals([await beside!.ping(), await elsewhere!.ping()], [200, 200]);
});

Deno.test("supergateway, frozen client: its server is given back at the deadline, though its connection stays", async () => {
  const TTL_MS = 2_000;
  const frozenServers = {
    // The stream is cut before the deadline, so there is none left to ask on whether somebody is there.
    flooder: { ...fixture("flooder"), session: { idleTtlMs: TTL_MS } },
    quiet: plain({ idleTtlMs: TTL_MS, onOpenStream: "expire" }),
  };
  await using gateway = await Gateway.start({ servers: frozenServers, env: { STREAM_STALL_MS: "500" } });
  const { hostname, port } = new URL(gateway.origin);
  const sockets: Deno.TcpConn[] = [];
  try {
    for (const serverId of ["flooder", "quiet"]) {
      const session = await RawSession.open(gateway, serverId);
      // It reads the head of the answer, so the stream is open, and then nothing any more.
      const socket = await Deno.connect({ hostname, port: Number(port) });
      sockets.push(socket);
      await socket.write(
        new TextEncoder().encode(
          `GET /mcp/${serverId} HTTP/1.1\r\nhost: ${hostname}\r\nmcp-session-id: ${session.id}\r\n` +
            "accept: text/event-stream\r\n\r\n",
        ),
      );
      const head = new Uint8Array(1024);
      assertMatch(new TextDecoder().decode(head.subarray(0, (await socket.read(head))!)), /^HTTP\/1.1 200 /);
      if (serverId === "flooder") await session.call("flood", { bytes: 64 * 1024 * 1024, first: true });
    }
    assertEquals(gateway.children().length, 2);
    await gateway.waitForChildren(0);
    await waitForEnds(gateway, /ended: idle/, 2);
    assertEquals(gateway.linesLike(/cut a stream, nothing was read for/).length, 1);
    assertEquals(connectionsOf(sockets), ["01", "01"], "both connections are as they were");
  } finally {
    for (const socket of sockets) socket.close();
  }
  await assertNoneLeft(gateway);
});

/** The states of the client's ends of connections, as `/proc/net/tcp` has them: `01` is established. */
function connectionsOf(sockets: readonly Deno.TcpConn[]): string[] {
  const lines = Deno.readTextFileSync("/proc/net/tcp").split("\n").map((line) => line.trim().split(/\s+/));
  return sockets.map(({ localAddr, remoteAddr }) => {
    const [local, remote] = [localAddr, remoteAddr].map(({ port }) =>
      `:${port.toString(16).toUpperCase().padStart(4, "0")}`
    );
    return lines.find(([, from, to]) => from?.endsWith(local!) && to?.endsWith(remote!))?.[3] ?? "closed";
  });
}
