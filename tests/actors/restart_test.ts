import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import { SqliteStore } from "../../stores/sqlite.ts";
import type { SessionStore } from "../../stores/store.ts";
import { StoreError } from "../../stores/store_error.ts";
import { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import {
  Harness,
  type HarnessOptions,
  message,
  openStream,
  post,
  PRINCIPAL,
  request,
  SERVER,
} from "../fakes/harness.ts";
import { Folder } from "../stores/helpers.ts";

/** Gateways, one after the other, on one store and one clock. */
class Runs implements Disposable {
  readonly clock = new FakeClock();
  readonly #folder = new Folder();
  readonly #options: HarnessOptions;

  constructor(options: HarnessOptions = {}) {
    this.#options = options;
  }

  get path(): string {
    return this.#folder.file("sessions.db");
  }

  /** Starts one, and lets it take up what there is. */
  async start(options: HarnessOptions = {}): Promise<Harness> {
    const harness = this.begin(options);
    const { done } = harness.supervisor.restore();
    await this.clock.advance(100);
    await done;
    return harness;
  }

  /** Starts one that has not taken up anything. */
  begin(options: HarnessOptions = {}): Harness {
    const store = options.store ?? new SqliteStore({ path: this.path, tombstones: 100 });
    return new Harness({ ...this.#options, ...options, clock: this.clock, store });
  }

  /** Stops one in order. */
  async stop(harness: Harness): Promise<void> {
    const down = harness.supervisor.shutDown(0);
    await this.clock.advance(10);
    await down;
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

function find({ supervisor }: Harness, id: string) {
  return supervisor.find(SERVER, id, PRINCIPAL);
}

/** As a SIGKILL leaves it: the file as it is, and nothing of the process. */
function crashed(runs: Runs): SessionStore {
  return new SqliteStore({ path: runs.path, tombstones: 100 });
}

Deno.test("After an orderly shutdown a session is there with its id, hibernated, and is answered", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session, backend } = await first.open();
  const { id, handle } = session;
  await post(session, request("tools/list", { id: 1 }));
  backend.answer(1);
  await runs.clock.advance(5_000);
  await runs.stop(first);
  assert(backend.closed);

  const second = await runs.start();
  assertEquals([second.supervisor.size, second.supervisor.byHandle(handle)?.state], [1, "hibernated"]);
  const again = find(second, id)!;
  assertEquals([again.id, again.handle, again.protocolVersion], [id, handle, "2025-06-18"]);
  assertEquals(again.account.timeline.counters.requests, 2);
  const reply = await post(again, request("tools/call", { id: 2 }));
  assertEquals(second.backend.methods, ["initialize", "notifications/initialized", "tools/call"]);
  second.backend.answer(2);
  await settle();
  assertEquals(reply.answered?.id, 2);
  assertEquals(
    again.account.timeline.entries.map(({ event }) => event),
    ["opened", "active", "first_request", "hibernated", "revived"],
  );
  await again.end("client_delete");
  await runs.stop(second);
});

Deno.test("After a crash a session is there as it was half a second before, and what was in flight counts as use", async () => {
  using runs = new Runs({ limits: { idleTtlMs: 10_000 } });
  const first = await runs.start();
  const { session } = await first.open();
  const idle = await first.open();
  await post(session, request("tools/call", { id: 1 }));
  await runs.clock.advance(9_500);
  // What was written of a session that is used without end is never older than that.
  const store = crashed(runs);
  await runs.clock.advance(4_000);
  const second = await runs.start({ store });
  const busy = find(second, session.id)!;
  assertFalse(busy.expired);
  assert(busy.deadline - runs.clock.now() >= 5_000);
  assert(find(second, idle.session.id)!.expired);
  await runs.stop(second);
  await session.end("client_delete");
  await runs.stop(first);
});

Deno.test("Deadlines count the downtime, to the millisecond", async () => {
  for (const [downMs, state] of [[299_989, "hibernated"], [299_990, "expired"]] as const) {
    using runs = new Runs();
    const first = await runs.start();
    const { session } = await first.open();
    const { deadline } = session;
    await runs.stop(first);
    await runs.clock.advance(downMs - 100);
    const second = await runs.start();
    const again = find(second, session.id)!;
    assertEquals([again.deadline, again.expired, again.state], [deadline, state === "expired", state]);
    if (state === "expired") {
      assertEquals((await post(again, request("ping"))).failed, "sessionNotFound");
      assertEquals(again.verdict?.reason, "idle");
    }
    await runs.stop(second);
  }
});

Deno.test("A clock that was set back makes no session older or younger than now", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session } = await first.open();
  await runs.stop(first);
  runs.clock.setWall(-3_600_000);
  const second = await runs.start();
  const again = find(second, session.id)!;
  assert(again.deadline <= runs.clock.now() + 300_000);
  assertEquals(again.state, "hibernated");
  await again.end("client_delete");
  await runs.stop(second);
});

const LOSSES: [string, HarnessOptions, string, RegExp][] = [
  ["whose entry changed", { fingerprint: "other" }, "server_changed", /was configured anew/],
  ["that is stateful now", { limits: { stateful: true } }, "stateful", /keeps state of its sessions/],
];
for (const [what, options, reason, why] of LOSSES) {
  Deno.test(`A session of a server ${what} is over, and its client learns why`, async () => {
    using runs = new Runs();
    const first = await runs.start();
    const { session } = await first.open();
    await runs.stop(first);
    const second = await runs.start(options);
    assertEquals([find(second, session.id), second.supervisor.size], [undefined, 0]);
    assertEquals(second.supervisor.door.counts.sessions, 0);
    const { code, data } = second.supervisor.notFound(SERVER, session.id, PRINCIPAL, { request: true });
    assertEquals(code, "sessionNotFound");
    assertEquals((data as { reason: string }).reason, reason);
    assertMatch((data as { message: string }).message, why);
    await runs.stop(second);
    // It is not asked about again, and its tombstone is kept.
    const third = await runs.start();
    assertEquals([third.supervisor.size, third.supervisor.tombstones.get(session.handle)?.verdict.reason], [
      0,
      reason,
    ]);
    await runs.stop(third);
  });
}

Deno.test("A session of a server that is not configured any more is over", async () => {
  using runs = new Runs();
  const first = await runs.start({ moreServers: [] });
  const { session } = await first.open();
  await runs.stop(first);
  const raw = new SqliteStore({ path: runs.path, tombstones: 100 });
  const stored = raw.page(0, 10)[0]!;
  raw.add({ ...stored, digest: "ab".repeat(32), serverId: "removed" });
  raw.close();
  const second = await runs.start();
  assertEquals(second.supervisor.size, 1);
  const tombstone = second.supervisor.tombstones.get("abababababab")!;
  assertEquals([tombstone.verdict.reason, tombstone.verdict.detail], [
    "server_changed",
    'server "removed" is not configured any more',
  ]);
  await find(second, session.id)!.end("client_delete");
  await runs.stop(second);
});

Deno.test("A session of a stateful server ends at the shutdown, and tells why afterwards", async () => {
  using runs = new Runs({ limits: { stateful: true } });
  const first = await runs.start();
  const { session, stream } = { ...await first.open(), stream: new FakeStream() };
  session.post({ tag: "stream", stream, reply: new FakeReply() });
  await settle();
  await runs.stop(first);
  assertEquals([session.endReason, stream.open], ["stateful", false]);
  const second = await runs.start();
  assertEquals(second.supervisor.tombstones.get(session.handle)?.verdict.reason, "stateful");
  await runs.stop(second);
});

Deno.test("What ended stays ended, also where the gateway was killed in the next instant", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session } = await first.open();
  const kept = await first.open();
  void session.end("client_delete");
  await settle();
  const second = await runs.start({ store: crashed(runs) });
  assertEquals([find(second, session.id), second.supervisor.size], [undefined, 1]);
  assertEquals(second.supervisor.tombstones.get(session.handle)?.verdict.reason, "client_delete");
  assert(find(second, kept.session.id));
  await runs.stop(second);
  await runs.stop(first);
});

Deno.test("A request of an open session that waits for the drain fails, and the session goes on in the next run", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session } = await first.open();
  const { stream } = await openStream(session);
  const reply = await post(session, request("tools/call", { id: 1 }));
  await runs.stop(first);
  assertEquals([reply.failed, stream.open, session.held], ["shuttingDown", false, 0]);
  assertEquals((await post(session, request("ping"))).failed, "shuttingDown");
  const second = await runs.start();
  const again = find(second, session.id)!;
  const next = await post(again, request("tools/call", { id: 1 }));
  second.backend.answer(1);
  await settle();
  assertEquals(next.answered?.id, 1);
  // The call of the first run reached its server once, and the second run knows nothing of it.
  assertEquals(second.backend.methods.filter((method) => method === "tools/call").length, 1);
  await again.end("client_delete");
  await runs.stop(second);
});

Deno.test("A client that sends DELETE while the gateway leaves has ended its session", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session, backend } = await first.open();
  backend.stubborn = true;
  const down = first.supervisor.shutDown(0);
  await runs.clock.advance(10);
  void session.end("client_delete");
  backend.finishClose();
  await settle();
  await down;
  const second = await runs.start();
  assertEquals([find(second, session.id), second.supervisor.size], [undefined, 0]);
  assertEquals(second.supervisor.tombstones.get(session.handle)?.verdict.reason, "client_delete");
  await runs.stop(second);
});

Deno.test("A client that comes before its session was taken up in its turn is served at once", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const sessions = [];
  for (let n = 0; n < 300; n++) sessions.push((await first.open()).session);
  await runs.stop(first);
  const second = runs.begin({ admission: { maxSessions: 300 } });
  const { count, done } = second.supervisor.restore();
  assertEquals([count, second.supervisor.door.counts.sessions], [300, 300]);
  const last = find(second, sessions.at(-1)!.id)!;
  assertEquals(last.state, "hibernated");
  const reply = await post(last, request("ping", { id: 1 }));
  second.backend.answer(1);
  await settle();
  assertEquals(reply.answered?.id, 1);
  assertEquals(second.opening(request("initialize", { id: "i" })).completions, 0);
  await settle();
  await runs.clock.advance(100);
  await done;
  assertEquals([second.supervisor.size, second.supervisor.door.counts.sessions], [300, 300]);
  for (const { id } of sessions) assert(find(second, id));
  await runs.stop(second);
});

Deno.test("Neither another principal nor a wrong id finds a session of an earlier run", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session } = await first.open();
  await runs.stop(first);
  const second = await runs.start();
  assertEquals(second.supervisor.find(SERVER, session.id, "mallory"), undefined);
  assertEquals(second.supervisor.find("other", session.id, PRINCIPAL), undefined);
  assertEquals(find(second, `${session.id}x`), undefined);
  assertEquals(find(second, session.handle), undefined);
  assert(find(second, session.id));
  await runs.stop(second);
});

Deno.test("A session that is shut down twice without its client is still there the third time", async () => {
  using runs = new Runs();
  const first = await runs.start();
  const { session } = await first.open();
  await runs.stop(first);
  await runs.stop(await runs.start());
  const third = await runs.start();
  assertEquals(find(third, session.id)?.state, "hibernated");
  await runs.stop(third);
});

Deno.test("What went out on a stream is there for the client that comes back to the next run", async () => {
  using runs = new Runs({ autoInitialize: false });
  const first = await runs.start();
  const reply = first.opening(request("initialize", { id: "init" }));
  await settle();
  first.backend.answer("init", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    serverInfo: { name: "f", version: "1" },
  });
  await settle();
  const session = find(first, reply.sessionId!)!;
  const { stream } = await openStream(session);
  for (const n of [1, 2, 3]) first.backend.says({ method: "notifications/message", params: { n } });
  await settle();
  const [seen] = stream.ids;
  await runs.stop(first);
  const second = await runs.start();
  const resumed = new FakeStream();
  find(second, session.id)!.post({
    tag: "stream",
    stream: resumed,
    lastEventId: seen!,
    reply: new FakeReply(),
  });
  await settle();
  assertEquals(resumed.messages.map(({ params }) => (params as { n: number }).n), [2, 3]);
  assert(resumed.open);
  await runs.stop(second);
});

Deno.test("A maximum lifetime, an extension and what an implicit session is, outlive the gateway", async () => {
  using runs = new Runs({ limits: { maxLifetimeMs: 100_000, idleTtlMs: 20_000 }, random: () => 0.5 });
  const first = await runs.start();
  const { session } = await first.open();
  const implicit = first.opening(request("ping", { id: 1 }), "2025-06-18");
  await settle();
  first.backend.answer(1);
  await settle();
  session.extend(60_000, "admin");
  const { deadline, endOfLife } = session;
  await runs.stop(first);
  const second = await runs.start();
  const again = find(second, session.id)!;
  assertEquals([again.deadline, again.endOfLife], [deadline, endOfLife]);
  const unclaimed = second.supervisor.byHandle([...second.supervisor.sessions].at(-1)!.handle)!;
  assertEquals(unclaimed.ttl.source, "idleTtlMs");
  await runs.clock.advance(20_000);
  assertEquals(unclaimed.verdict?.reason, "implicit");
  assertEquals(implicit.answered?.id, 1);
  await runs.stop(second);
});

/** A store whose disk is full on demand. */
class FullStore extends SqliteStore {
  full = false;

  #check(): void {
    if (this.full) {
      throw new StoreError("full", "/data/sessions.db", "cannot be written, no space is left: make some");
    }
  }

  override add(...args: Parameters<SqliteStore["add"]>): number {
    this.#check();
    return super.add(...args);
  }

  override update(...args: Parameters<SqliteStore["update"]>): void {
    this.#check();
    super.update(...args);
  }

  override end(...args: Parameters<SqliteStore["end"]>): void {
    this.#check();
    super.end(...args);
  }
}

Deno.test("While nothing can be written down no session is opened, those that are open go on, and ends are made up for", async () => {
  using runs = new Runs();
  const store = new FullStore({ path: runs.path, tombstones: 100 });
  const first = await runs.start({ store });
  const { session } = await first.open();
  const gone = await first.open();
  store.full = true;
  const refused = first.opening(request("initialize", { id: "i" }));
  await settle();
  assertEquals(refused.failed, "storeFailed");
  assertMatch(first.supervisor.storeTrouble!, /no space is left/);
  assertEquals([first.supervisor.size, first.supervisor.door.counts.sessions], [2, 2]);
  const reply = await post(session, request("ping", { id: 1 }));
  first.backends[0]!.answer(1);
  await settle();
  assertEquals(reply.answered?.id, 1);
  await gone.session.end("client_delete");
  await runs.clock.advance(5_000);
  store.full = false;
  await runs.clock.advance(2_000);
  assertEquals(first.supervisor.storeTrouble, undefined);
  const second = await runs.start({ store: crashed(runs) });
  assertEquals([second.supervisor.size, find(second, gone.session.id)], [1, undefined]);
  assert(find(second, session.id)!.deadline >= session.deadline - 1_000);
  await runs.stop(second);
  await runs.stop(first);
});

Deno.test("Without a store that lasts a shutdown ends sessions as it always did", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  const down = harness.supervisor.shutDown(0);
  await harness.clock.advance(10);
  await down;
  assertEquals(session.endReason, "shutdown");
  await post(session, message({ method: "notifications/roots/list_changed" }));
});
