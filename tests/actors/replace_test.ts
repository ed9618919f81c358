/** What becomes of sessions and openings when the servers are replaced. */
import { assert, assertEquals, assertExists } from "@std/assert";
import {
  type AdmissionLimits,
  type Session,
  type SupervisedServer,
  Supervisor,
} from "../../actors/supervisor.ts";
import { MemoryStore } from "../../stores/memory.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { FakeSource } from "../fakes/fake_source.ts";
import { LIMITS, post, PRINCIPAL, request } from "../fakes/harness.ts";

const FREE: AdmissionLimits = {
  maxSessions: Infinity,
  maxSessionsPerPrincipal: Infinity,
  maxProcesses: Infinity,
};

class World {
  readonly clock = new FakeClock();
  readonly source = new FakeSource();
  readonly supervisor: Supervisor;

  constructor(limits: Partial<AdmissionLimits> = {}, more: Partial<SupervisedServer> = {}) {
    this.supervisor = new Supervisor({
      clock: this.clock,
      store: new MemoryStore({ tombstones: 100 }),
      limits: { ...FREE, ...limits },
      admissionWaitMs: 5_000,
      servers: [this.server(more)],
    });
  }

  /** The server `files`, as it is configured unless something else is given. */
  server(more: Partial<SupervisedServer> = {}): SupervisedServer {
    return { id: "files", limits: LIMITS, backend: this.source, ...more };
  }

  opening(serverId = "files"): FakeReply {
    const reply = new FakeReply();
    const message = request("initialize", { id: "init" });
    this.supervisor.open({
      serverId,
      principal: PRINCIPAL,
      opener: { tag: "message", message, reply },
      implicitVersion: undefined,
    });
    return reply;
  }

  async open(serverId = "files"): Promise<Session> {
    const reply = this.opening(serverId);
    await settle();
    const session = this.supervisor.find(serverId, reply.sessionId ?? "", PRINCIPAL);
    assertExists(session, `no session was opened: ${JSON.stringify(reply.completion)}`);
    return session;
  }

  /** Ends everything; fails if a timer or a backend is left. */
  async stop(...more: FakeSource[]): Promise<void> {
    const done = this.supervisor.shutDown(0);
    await this.clock.advance(1);
    await done;
    assertEquals([this.supervisor.size, this.clock.pending], [0, 0]);
    for (const { backends } of [this.source, ...more]) {
      assert(backends.every(({ closed }) => closed), "backends that are left");
    }
  }
}

function codeOf({ completion }: FakeReply): string | undefined {
  return completion?.kind === "failed" ? completion.failure.code : completion?.kind;
}

/** Asks something of a session's server, and has it answered. */
async function call(session: Session, source: FakeSource, at: number): Promise<string | undefined> {
  const reply = await post(session, request("tools/list", { id: "call" }));
  source.backends[at]!.answer("call", {});
  await settle();
  return codeOf(reply);
}

Deno.test("A server that is removed gets no new sessions; the one that it has goes on, and then its source is closed", async () => {
  const world = new World();
  const { supervisor, source } = world;
  supervisor.start();
  source.spare = 2;
  const session = await world.open();
  await supervisor.replaceServers([]);
  assertEquals([...supervisor.servers], []);
  assertEquals(supervisor.server("files")?.id, "files");
  assertEquals(source.calls, ["start", "retire"]);
  assertEquals(codeOf(await settled(world.opening())), "serverNotFound");
  assertEquals(await call(session, source, 0), "answered");
  assertEquals(supervisor.door.counts, { sessions: 1, processes: 3, waiting: 0, refused: 0 });

  const closing = Promise.withResolvers<void>();
  source.closing = closing.promise;
  await session.end("client_delete");
  await settle();
  assertEquals(source.calls, ["start", "retire", "close"]);
  // What is on its way out still counts.
  assertEquals([supervisor.door.counts.processes, supervisor.hasServer("files")], [2, true]);
  closing.resolve();
  await settle();
  assertEquals([supervisor.door.counts.processes, supervisor.hasServer("files")], [0, false]);
  assertEquals(supervisor.gapsOf("files"), undefined);
  assertEquals(
    supervisor.notFound("files", session.id, PRINCIPAL, { request: true }).code,
    "sessionNotFound",
  );
  await world.stop();
});

Deno.test("A server that is removed without sessions is closed at once", async () => {
  const world = new World();
  await world.supervisor.replaceServers([]);
  await settle();
  assertEquals(world.source.calls, ["retire", "close"]);
  assertEquals(world.supervisor.hasServer("files"), false);
  await world.stop();
});

Deno.test("A server whose backends come from elsewhere serves new sessions; old ones keep what they have", async () => {
  const world = new World();
  const { supervisor, source } = world;
  supervisor.start();
  const old = await world.open();
  const other = new FakeSource();
  await supervisor.replaceServers([world.server({ backend: other })]);
  const young = await world.open();
  assertEquals([source.backends.length, other.backends.length], [1, 1]);
  assertEquals(other.calls, ["start"]);
  assertEquals(await call(old, source, 0), "answered");
  assertEquals(await call(young, other, 0), "answered");
  assertEquals(source.calls, ["start", "retire"]);
  await old.end("client_delete");
  await settle();
  assertEquals([source.calls.at(-1), other.calls], ["close", ["start"]]);
  assertEquals(await call(young, other, 0), "answered");
  await world.stop(other);
});

Deno.test("Other limits hold for new sessions, and the source goes on", async () => {
  const world = new World({}, { limits: { ...LIMITS, idleTtlMs: 10_000 } });
  const { supervisor, source, clock } = world;
  supervisor.start();
  const old = await world.open();
  await supervisor.replaceServers([
    world.server({ limits: { ...LIMITS, idleTtlMs: 20_000 }, maxSessions: 2 }),
  ]);
  const young = await world.open();
  assertEquals([...supervisor.limitsInForce].map(({ idleTtlMs }) => idleTtlMs).sort(), [10_000, 20_000]);
  assertEquals(source.calls, ["start"]);
  await clock.advance(10_000);
  assertEquals([old.expired, young.expired], [true, false]);
  await clock.advance(10_000);
  assert(young.expired);
  await world.stop();
});

Deno.test("An opening that waits for a server that is removed is refused; others go on waiting", async () => {
  const world = new World({ maxSessions: 1 });
  const { supervisor } = world;
  const other = new FakeSource();
  await supervisor.replaceServers([world.server(), { id: "other", limits: LIMITS, backend: other }]);
  const session = await world.open();
  const [waits, stays] = [world.opening(), world.opening("other")];
  await settle();
  assertEquals(supervisor.door.counts.waiting, 2);
  await supervisor.replaceServers([{ id: "other", limits: LIMITS, backend: other }]);
  assertEquals([codeOf(waits), codeOf(stays)], ["serverNotFound", undefined]);
  assertEquals(supervisor.door.counts.waiting, 1);
  await session.end("client_delete");
  await settle();
  assertEquals(codeOf(stays), "answered");
  await world.stop(other);
});

Deno.test("An opening that waits is served as its server is by then", async () => {
  const world = new World({}, { maxSessions: 1 });
  const { supervisor, source } = world;
  await world.open();
  const waits = world.opening();
  await settle();
  assertEquals(supervisor.door.counts.waiting, 1);
  const other = new FakeSource();
  await supervisor.replaceServers([world.server({ backend: other, maxSessions: 2 })]);
  await settle();
  assertEquals([codeOf(waits), source.backends.length, other.backends.length], ["answered", 1, 1]);
  const next = world.opening();
  await supervisor.replaceServers([world.server({ backend: { code: "serverNotServed" } })]);
  assertEquals(codeOf(await settled(next)), "serverNotServed");
  await world.stop(other);
});

Deno.test("An opening that is on its way when its server is removed is refused, once", async () => {
  for (const before of [true, false]) {
    const world = new World();
    const { supervisor, source } = world;
    source.autoInitialize = false;
    const replaced = before ? undefined : supervisor.replaceServers([]);
    const reply = world.opening();
    await (replaced ?? supervisor.replaceServers([]));
    await settle();
    source.backends[0]?.answer("init", {
      protocolVersion: "2025-06-18",
      capabilities: {},
      serverInfo: { name: "fake", version: "1" },
    });
    await settle();
    // The inbox hands out signals first: a replacement never waits behind openings.
    assertEquals([codeOf(reply), reply.completions], ["serverNotFound", 1]);
    await world.stop();
  }
});

Deno.test("A session that is starting while its server is removed goes on", async () => {
  const world = new World();
  world.source.autoInitialize = false;
  const reply = world.opening();
  await settle();
  await world.supervisor.replaceServers([]);
  world.source.backends[0]!.answer("init", {
    protocolVersion: "2025-06-18",
    capabilities: {},
    serverInfo: { name: "fake", version: "1" },
  });
  await settle();
  assertEquals(codeOf(reply), "answered");
  assertEquals(world.supervisor.find("files", reply.sessionId!, PRINCIPAL)?.state, "active");
  await world.stop();
});

Deno.test("A session that hibernates while its server is removed is revived from where it was opened", async () => {
  const world = new World();
  const { supervisor, source } = world;
  const session = await world.open();
  source.backends[0]!.exit({ cause: "exit", detail: "exited with code 1" });
  await settle();
  assertEquals(session.state, "hibernated");
  await supervisor.replaceServers([]);
  assertEquals(source.calls, ["retire"]);
  const reply = await post(session, request("tools/list", { id: "call" }));
  await settle();
  source.backends[1]!.answer("call", {});
  await settle();
  assertEquals([codeOf(reply), source.calls], ["answered", ["retire"]]);
  await session.end("client_delete");
  await settle();
  assertEquals([source.calls.at(-1), supervisor.hasServer("files")], ["close", false]);
  await world.stop();
});

Deno.test("During a shutdown nothing is replaced", async () => {
  const world = new World();
  const session = await world.open();
  const reply = await post(session, request("tools/call", { id: "call" }));
  const done = world.supervisor.shutDown(1_000);
  const other = new FakeSource();
  await world.supervisor.replaceServers([world.server({ backend: other })]);
  assertEquals([other.calls, world.source.calls], [[], []]);
  world.source.backends[0]!.answer("call", {});
  await world.clock.advance(1_000);
  await done;
  assertEquals([codeOf(reply), world.source.calls.at(-1)], ["answered", "close"]);
  assertEquals(world.clock.pending, 0);
});

Deno.test("A shutdown closes the sources of drained servers too", async () => {
  const world = new World();
  await world.open();
  await world.supervisor.replaceServers([]);
  assertEquals(world.source.calls, ["retire"]);
  await world.stop();
  assertEquals(world.source.calls.at(-1), "close");
});

Deno.test("Replacing twice at once leaves what came last", async () => {
  const world = new World();
  const { supervisor, source } = world;
  supervisor.start();
  const [first, last] = [new FakeSource(), new FakeSource()];
  await Promise.all([
    supervisor.replaceServers([world.server({ backend: first })]),
    supervisor.replaceServers([world.server({ backend: last })]),
  ]);
  await settle();
  await world.open();
  assertEquals(source.calls, ["start", "retire", "close"]);
  assertEquals(first.calls, ["start", "retire", "close"]);
  assertEquals([last.calls, last.backends.length], [["start"], 1]);
  await world.stop(first, last);
});

Deno.test("A server that is replaced is out of quarantine, and is not put there by what it was before", async () => {
  const world = new World();
  const { supervisor, source } = world;
  await Promise.all(Array.from({ length: 14 }, () => world.open()));
  const crash = async (from: number, to: number) => {
    for (const backend of source.backends.slice(from, to)) {
      backend.exit({ cause: "exit", detail: "exited with code 1" });
    }
    await settle();
  };
  await crash(0, 7);
  assertEquals(supervisor.door.quarantined.map(({ serverId }) => serverId), ["files"]);
  const other = new FakeSource();
  await supervisor.replaceServers([world.server({ backend: other })]);
  assertEquals(supervisor.door.quarantined, []);
  await world.open();
  await crash(7, 14);
  assertEquals(supervisor.door.quarantined, []);
  await world.open();
  await world.stop(other);
});

async function settled(reply: FakeReply): Promise<FakeReply> {
  await settle();
  return reply;
}
