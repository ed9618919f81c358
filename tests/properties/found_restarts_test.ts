/**
 * Schedules of hibernation, restarts and kills that found bugs, or nearly did. Each says what must hold.
 *
 * @module
 */
import { FLUSH_MS } from "../../actors/records.ts";
import type { Session } from "../../actors/supervisor.ts";
import { assert, assertEquals, assertExists, assertFalse } from "@std/assert";
import { MemoryStore } from "../../stores/memory.ts";
import type { StoredSession } from "../../stores/store.ts";
import { DurableStore } from "../fakes/durable_store.ts";
import { FakeBackend } from "../fakes/fake_backend.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import {
  Harness,
  type HarnessOptions,
  LIMITS,
  message,
  openStream,
  post,
  PRINCIPAL,
  request,
  SERVER,
} from "../fakes/harness.ts";

const TTL = LIMITS.idleTtlMs;

/** A store of which two things may break. */
class FrailStore extends DurableStore {
  fullDisk = false;
  unreadable = false;

  override end(...args: Parameters<DurableStore["end"]>): void {
    if (this.fullDisk) throw new Error("the disk is full");
    super.end(...args);
  }

  override get(key: number): StoredSession | undefined {
    if (this.unreadable) throw new Error("the disk cannot be read");
    return super.get(key);
  }
}

/** Gateways one after the other over one store. */
class Runs {
  readonly clock = new FakeClock();
  readonly #kept = new MemoryStore({ tombstones: 100 });
  readonly #options: HarnessOptions;
  store!: FrailStore;

  constructor(options: HarnessOptions = {}) {
    this.#options = options;
  }

  /** Kills the gateway that runs, if one does, and starts the next. */
  start({ pageSize = Infinity, ...options }: HarnessOptions & { pageSize?: number } = {}): Harness {
    this.store?.cut();
    const store = this.store = new FrailStore(this.#kept, { pageSize });
    const harness = new Harness({ ...this.#options, ...options, store, clock: this.clock });
    void harness.supervisor.restore();
    return harness;
  }
}

function comeBack({ supervisor }: Harness, { id }: Session): Session | undefined {
  return supervisor.find(SERVER, id, PRINCIPAL);
}

Deno.test("A request in flight keeps its session in use until the gateway is killed", async () => {
  const runs = new Runs();
  const { session } = await runs.start().open();
  await post(session, request("slow"));
  await runs.clock.advance(TTL + 1_000);
  const restored = comeBack(runs.start(), session);
  assertExists(restored);
  assertFalse(restored.expired);
  assert(restored.deadline >= runs.clock.now() + TTL - FLUSH_MS);
});

Deno.test("What a server agrees to late is known to the next run", async () => {
  const runs = new Runs();
  const { session, backend } = await runs.start().open();
  await post(session, request("resources/subscribe", { params: { uri: "a:b" } }));
  await runs.clock.advance(FLUSH_MS + 1);
  backend.answer(1);
  await runs.clock.advance(FLUSH_MS);
  const harness = runs.start();
  await post(comeBack(harness, session)!, request("tools/list"));
  assertEquals(harness.backend.methods, [
    "initialize",
    "notifications/initialized",
    "resources/subscribe",
    "tools/list",
  ]);
});

Deno.test("What a server says of its own accord is counted in the next run", async () => {
  const runs = new Runs();
  const { session, backend } = await runs.start().open();
  await runs.clock.advance(FLUSH_MS);
  const { serverMessages } = session.account.timeline.counters;
  backend.says({ method: "notifications/tools/list_changed" });
  await runs.clock.advance(FLUSH_MS);
  const restored = comeBack(runs.start(), session);
  assertEquals(restored?.account.timeline.counters.serverMessages, serverMessages + 1);
});

Deno.test("A request in flight keeps its session in use until the gateway is stopped", async () => {
  const runs = new Runs();
  const first = runs.start();
  const { session } = await first.open();
  await post(session, request("slow"));
  await runs.clock.advance(TTL + 1_000);
  await first.supervisor.shutDown(0);
  assertEquals(comeBack(runs.start(), session)?.deadline, runs.clock.now() + TTL);
});

Deno.test("That the client of an implicit session came with its id for a stream is known to the next run", async () => {
  const runs = new Runs();
  const harness = runs.start();
  const opener = harness.opening(request("tools/list"), "2025-11-25");
  await settle();
  harness.backend.answer(1);
  await runs.clock.advance(1_000);
  const session = harness.supervisor.find(SERVER, opener.sessionId!, PRINCIPAL)!;
  await openStream(session);
  await runs.clock.advance(FLUSH_MS);
  const next = runs.start();
  await runs.clock.advance(LIMITS.implicitTtlMs);
  assertEquals(comeBack(next, session)?.state, "hibernated");
});

Deno.test("A store that cannot be written to is tried by one timer, and by none once the gateway is gone", async () => {
  const runs = new Runs();
  const harness = runs.start();
  const { session } = await harness.open();
  runs.store.fullDisk = true;
  await session.end("client_delete");
  await runs.clock.advance(10_000);
  assertEquals(runs.clock.pending, 1);
  await harness.supervisor.shutDown(0);
  assertEquals(runs.clock.pending, 0);
});

Deno.test("A session that was not taken up stays over while its end waits to be written", async () => {
  const runs = new Runs({ limits: { stateful: true } });
  const { session } = await runs.start().open();
  const harness = runs.start({ pageSize: 1 });
  for (let times = 0; times < 3; times++) assertEquals(comeBack(harness, session), undefined);
  assertEquals(harness.supervisor.door.counts.sessions, 0);
});

Deno.test("A gateway that goes does not say of a session that is left to the next run that there is none", async () => {
  const runs = new Runs();
  const harness = runs.start();
  const { session } = await harness.open();
  const { backend } = await harness.open();
  backend.stubborn = true;
  const gone = harness.supervisor.shutDown(0);
  await settle();
  assertEquals(comeBack(harness, session), undefined);
  const said = harness.supervisor.notFound(SERVER, session.id, PRINCIPAL, { request: true });
  assertEquals(said.code, "shuttingDown");
  backend.finishClose();
  await gone;
});

Deno.test("A gateway that goes while sessions are taken up leaves the others to the next run", async () => {
  const runs = new Runs();
  const first = runs.start();
  const sessions = [(await first.open()).session, (await first.open()).session, (await first.open()).session];
  const second = runs.start({ pageSize: 1 });
  const gone = second.supervisor.shutDown(0);
  await settle();
  for (const { id } of sessions) {
    assertEquals(second.supervisor.find(SERVER, id, PRINCIPAL), undefined);
    assertEquals(second.supervisor.notFound(SERVER, id, PRINCIPAL, { request: true }).code, "shuttingDown");
  }
  await runs.clock.advance(1);
  await gone;
  const third = runs.start();
  for (const session of sessions) assertEquals(comeBack(third, session)?.state, "hibernated");
});

Deno.test("A notification that wakes a session is accepted, however long that takes", async () => {
  const harness = new Runs({ limits: { hibernateAfterMs: 3_000 } }).start();
  const { session } = await harness.open();
  await harness.clock.advance(3_000);
  harness.autoInitialize = false;
  const reply = await post(session, message({ method: "notifications/roots/list_changed" }));
  await harness.clock.advance(LIMITS.sseAfterMs);
  assertFalse(reply.streaming);
  harness.backend.answer("sojourn:initialize", { ...INITIALIZED });
  await settle();
  assertEquals([reply.streaming, reply.completion?.kind], [false, "accepted"]);
});

const INITIALIZED = {
  protocolVersion: "2025-06-18",
  capabilities: {},
  serverInfo: { name: "fake", version: "1" },
};

Deno.test("The reply to a request that wakes a session can be resumed before its server is there", async () => {
  const harness = new Runs({ limits: { hibernateAfterMs: 3_000 }, autoInitialize: false }).start();
  const opener = harness.opening(request("initialize", { id: "init" }));
  await settle();
  harness.backend.answer("init", { ...INITIALIZED, protocolVersion: "2025-11-25" });
  await harness.clock.advance(3_000);
  const session = harness.supervisor.find(SERVER, opener.sessionId!, PRINCIPAL)!;
  const calls: string[] = [];
  const reply = new class extends FakeReply {
    override record(): void {
      calls.push("record");
    }
    override stream(): void {
      calls.push("stream");
    }
  }();
  session.post({ tag: "message", message: request("tools/list"), reply });
  await harness.clock.advance(LIMITS.sseAfterMs);
  assertEquals(calls, ["record", "stream"]);
});

Deno.test("What a server asked before it failed to take another's place is forgotten with it", async () => {
  const harness = new Runs({ limits: { hibernateAfterMs: 3_000 } }).start();
  const { session } = await harness.open();
  await openStream(session);
  await harness.clock.advance(3_000);
  harness.autoInitialize = false;
  await post(session, request("tools/list"));
  harness.backend.says({ id: "q", method: "roots/list" });
  await settle();
  harness.backend.exit();
  await settle();
  assertEquals([session.state, session.inFlight], ["hibernated", 0]);
});

Deno.test("A session that expired because memory was short stays over in the next run", async () => {
  const runs = new Runs();
  const harness = runs.start();
  const { session } = await harness.open();
  harness.scale.set(1);
  await runs.clock.advance(30_000);
  assert(session.expired);
  assertEquals(comeBack(runs.start(), session), undefined);
});

Deno.test("A try at a server in quarantine that comes to nothing leaves room for another", async () => {
  const runs = new Runs({ limits: { hibernateAfterMs: 3_000 } });
  const harness = runs.start();
  const { session } = await harness.open();
  await harness.clock.advance(3_000);
  harness.autoInitialize = false;
  for (let failures = 0; failures < 6; failures++) {
    const call = await post(session, request("tools/list"));
    harness.backend.exit();
    await settle();
    assertEquals(call.failed, "backendStartFailed");
  }
  assertEquals(harness.supervisor.door.quarantined.length, 1);
  await harness.clock.advance(1_000);
  runs.store.unreadable = true;
  assertEquals((await post(session, request("tools/list"))).failed, "storeFailed");
  runs.store.unreadable = false;
  harness.autoInitialize = true;
  const call = await post(session, request("tools/list"));
  assertEquals([call.failed, session.state], [undefined, "active"]);
});

Deno.test("A session of a server that can be served no more is told so", async () => {
  const runs = new Runs();
  const open = (backend: NonNullable<HarnessOptions["moreServers"]>[number]["backend"]) =>
    runs.start({ moreServers: [{ id: "other", limits: LIMITS, fingerprint: "", backend }] });
  const first = open((owner, events) => new FakeBackend(owner, events, { autoInitialize: true }));
  const opener = new FakeReply();
  first.supervisor.open({
    serverId: "other",
    principal: PRINCIPAL,
    opener: { tag: "message", message: request("initialize"), reply: opener },
    implicitVersion: undefined,
  });
  await settle();
  const { supervisor } = open({ code: "serverNotServed", detail: "no more" });
  const session = supervisor.find("other", opener.sessionId!, PRINCIPAL)!;
  assertEquals((await post(session, request("tools/list"))).failed, "serverNotServed");
});

Deno.test("A session of an earlier run gives its backend back in its time", async () => {
  const runs = new Runs({ limits: { hibernateAfterMs: 3_000 } });
  const first = runs.start();
  const { session } = await first.open();
  await first.supervisor.shutDown(0);
  await runs.clock.advance(10_000);
  const harness = runs.start();
  const restored = comeBack(harness, session)!;
  await post(restored, request("tools/list"));
  harness.backend.answer(1);
  await runs.clock.advance(2_999);
  assertEquals(restored.state, "active");
  await runs.clock.advance(1);
  assertEquals(restored.state, "hibernated");
});

Deno.test("A session wakes up though its server was taken out of the file while it slept", async () => {
  const harness = new Runs({ limits: { hibernateAfterMs: 3_000 } }).start();
  const { session } = await harness.open();
  await harness.clock.advance(3_000);
  await harness.supervisor.replaceServers([]);
  const call = await post(session, request("tools/list"));
  harness.backend.answer(1);
  await settle();
  assertEquals([session.state, call.completion?.kind], ["active", "answered"]);
});
