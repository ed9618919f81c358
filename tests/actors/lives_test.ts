/**
 * How long sessions live, and what is said of them afterwards.
 *
 * @module
 */
import { assert, assertEquals, assertFalse } from "@std/assert";
import { PING_TIMEOUT_MS } from "../../actors/lifetime.ts";
import type { GatewayEvent, Session, Tombstone } from "../../actors/supervisor.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, LIMITS, message, openStream, post, PRINCIPAL, request, SERVER } from "../fakes/harness.ts";

const TTL = LIMITS.idleTtlMs;

/** Requests that outlive what a test looks at. */
const PATIENT = { requestTimeoutMs: 100 * TTL };

function tombstoneOf(harness: Harness, { handle }: Session): Tombstone {
  const tombstone = harness.supervisor.tombstones.get(handle);
  assert(tombstone !== undefined, "no tombstone");
  return tombstone;
}

function eventsOf({ timeline }: Tombstone): string[] {
  return timeline.map(({ event, detail }) => detail === undefined ? event : `${event}: ${detail}`);
}

Deno.test("A deadline that falls while a request is in flight moves to its completion and one TTL", async () => {
  const harness = new Harness({ limits: PATIENT });
  const { session, backend } = await harness.open();
  await post(session, request("slow"));
  await harness.clock.advance(3 * TTL);
  assertEquals(session.state, "active");
  backend.answer(1);
  await harness.clock.advance(TTL - 1);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assertEquals(session.state, "expired");
  await session.end("idle");
  await settle();
  const moved = "deadline_moved: it fell while a request was in flight";
  assert(eventsOf(tombstoneOf(harness, session)).includes(moved));
});

Deno.test("A session that was only initialized has the handshake TTL, one that was used the ordinary one", async () => {
  const harness = new Harness({ limits: { handshakeTtlMs: 10_000 } });
  const { session: unused } = await harness.open();
  const { session: used, backend } = await harness.open();
  for (const { session, backend } of [{ session: unused, backend: harness.backends[0]! }]) {
    await post(session, message({ method: "notifications/initialized" }));
    // Servers ask right after the handshake, and clients answer by themselves: that is no use.
    await openStream(session);
    backend.says({ id: "r", method: "roots/list" });
    await settle();
    await post(session, message({ id: "r", result: { roots: [] } }));
  }
  await post(used, request("tools/list"));
  backend.answer(1);
  await harness.clock.advance(10_000 - 1);
  assertEquals([unused.state, used.state], ["active", "active"]);
  await harness.clock.advance(1);
  assertEquals([unused.state, used.state], ["expired", "active"]);
  assertEquals(unused.ttl.source, "handshakeTtlMs");
});

Deno.test("Past its maximum lifetime a session takes no new request, finishes those in flight, and ends", async () => {
  const harness = new Harness({ limits: { ...PATIENT, maxLifetimeMs: 2 * TTL } });
  const { session, backend } = await harness.open();
  const slow = await post(session, request("slow", { id: "slow" }));
  await harness.clock.advance(2 * TTL - 1);
  const last = await post(session, request("ping", { id: "last" }));
  backend.answer("last");
  await harness.clock.advance(1);
  const late = await post(session, request("ping", { id: "late" }));
  assertEquals(late.failed, "sessionNotFound");
  assertEquals((await openStream(session)).reply.failed, "sessionNotFound");
  // What belongs to the request in flight still passes.
  backend.says({ id: "q", method: "sampling/createMessage" });
  await settle();
  assertEquals((await post(session, message({ id: "q", result: {} }))).completion?.kind, "accepted");
  assertEquals([session.state, slow.completion, last.completion?.kind], ["active", undefined, "answered"]);
  backend.answer("slow");
  await settle();
  assertEquals([slow.completion?.kind, session.state], ["answered", "expired"]);
  assertEquals(session.verdict?.reason, "max_lifetime");
  assertFalse(backend.methods.includes("late"));
  await session.end("max_lifetime");
});

Deno.test("Sessions that were opened together do not reach their maximum lifetime together", async () => {
  let next = 0;
  const harness = new Harness({
    limits: { idleTtlMs: 0, maxLifetimeMs: 100_000 },
    random: () => (next++ % 4) / 4,
  });
  const sessions = [];
  for (let n = 0; n < 4; n++) sessions.push((await harness.open()).session);
  const born = harness.clock.now();
  assertEquals(sessions.map(({ endOfLife }) => endOfLife - born), [100_000, 97_500, 95_000, 92_500]);
  await harness.clock.advance(95_000);
  assertEquals(sessions.map(({ state }) => state), ["active", "active", "expired", "expired"]);
  await Promise.all(sessions.map((session) => session.end("max_lifetime")));
});

Deno.test("A client that holds its stream open is asked at the deadline, and its answer keeps the session for a TTL", async () => {
  const harness = new Harness({ limits: { onOpenStream: "ping" } });
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  for (const round of [1, 2]) {
    await harness.clock.advance(TTL);
    assertEquals(stream.messages.at(-1), { jsonrpc: "2.0", id: `sojourn:ping:${round}`, method: "ping" });
    await harness.clock.advance(1_000);
    await post(session, message({ id: `sojourn:ping:${round}`, result: {} }));
  }
  assertEquals(stream.messages.length, 2);
  assertEquals(session.state, "active");
  assertEquals(backend.methods, ["initialize"], "the server has nothing to do with it");
  assertEquals(session.idleMs, 2 * TTL + 2_000, "an answer to a ping is no use of the session");
  await harness.clock.advance(TTL + PING_TIMEOUT_MS - 1);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assertEquals([session.state, stream.open], ["expired", false]);
  await session.end("idle");
});

Deno.test("A half-open stream keeps its session for the time of a ping and no longer", async () => {
  const harness = new Harness({ limits: { onOpenStream: "ping" } });
  const { session } = await harness.open();
  await openStream(session);
  await harness.clock.advance(TTL + PING_TIMEOUT_MS - 1);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assertEquals([session.state, session.verdict?.reason], ["expired", "idle"]);
  await session.end("idle");
});

Deno.test("A stream that closed before the deadline is asked nothing", async () => {
  const harness = new Harness({ limits: { onOpenStream: "ping" } });
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  stream.hangUp();
  await harness.clock.advance(TTL);
  assertEquals([session.state, stream.sent], ["expired", []]);
  await session.end("idle");
});

Deno.test("A client that is being asked and sends something else needs not answer", async () => {
  const harness = new Harness({ limits: { onOpenStream: "ping" } });
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  await harness.clock.advance(TTL + 4_000);
  await post(session, request("ping"));
  backend.answer(1);
  await harness.clock.advance(TTL - 1);
  assertEquals([session.state, stream.messages.length], ["active", 1]);
  await harness.clock.advance(1);
  assertEquals(stream.messages.at(-1)?.id, "sojourn:ping:2");
  await harness.clock.advance(PING_TIMEOUT_MS);
  assertEquals(session.state, "expired");
  await session.end("idle");
});

Deno.test("Progress gives a request its time-out anew, where the client asked for it", async () => {
  const harness = new Harness({ limits: { requestTimeoutMs: 10_000 } });
  const { session, backend } = await harness.open();
  const asked = await post(session, request("long", { id: 1, params: { _meta: { progressToken: "t" } } }));
  const plain = await post(session, request("long", { id: 2 }));
  for (let n = 1; n <= 3; n++) {
    await harness.clock.advance(9_000);
    for (const progressToken of ["t", 2]) {
      backend.says({ method: "notifications/progress", params: { progressToken, progress: n } });
    }
  }
  await settle();
  assertEquals([asked.failed, plain.failed], [undefined, "requestTimeout"]);
  await harness.clock.advance(9_999);
  assertEquals(asked.failed, undefined);
  await harness.clock.advance(1);
  assertEquals(asked.failed, "requestTimeout");
  const cancelled = backend.received.filter((received) =>
    received.kind === "notification" && received.method === "notifications/cancelled"
  );
  assertEquals(cancelled.map((received) => received.kind === "notification" && received.params?.requestId), [
    2,
    1,
  ]);
});

Deno.test("Progress alone keeps no request for ever", async () => {
  const harness = new Harness({ limits: { requestTimeoutMs: 10_000 } });
  const { session, backend } = await harness.open();
  const reply = await post(session, request("long", { params: { _meta: { progressToken: 1 } } }));
  for (let n = 1; n < 48; n++) {
    await harness.clock.advance(5_000);
    backend.says({ method: "notifications/progress", params: { progressToken: 1, progress: n } });
  }
  await harness.clock.advance(4_999);
  assertEquals(reply.failed, undefined);
  await harness.clock.advance(1);
  assertEquals(reply.completion, {
    kind: "failed",
    failure: { code: "requestTimeout", detail: "long took more than 240000 ms" },
  });
});

Deno.test("An extension keeps an idle session, and one that is over cannot be extended", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(TTL - 1);
  assert(session.extend(1_000, "an administrator"));
  await harness.clock.advance(999);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assertEquals(session.state, "expired");
  assertFalse(session.extend(1_000, "an administrator"));
  await session.end("idle");
  await settle();
  assertEquals(eventsOf(tombstoneOf(harness, session)), [
    "opened",
    "active",
    "deadline_moved: extended by 1000 ms by an administrator",
    "expired: it was idle for longer than its TTL",
    "swept",
    "ended: it was idle for longer than its TTL",
  ]);
});

Deno.test("Only an idle session of a server that allows it is evicted", async () => {
  for (
    const [evictable, busy, evicted] of [[true, false, true], [true, true, false], [false, false, false]]
  ) {
    const harness = new Harness({ limits: { evictable: evictable! } });
    const { session } = await harness.open();
    if (busy) await post(session, request("slow"));
    assertEquals(session.evict(), evicted);
    assertEquals(session.state, evicted ? "expired" : "active");
    assertFalse(session.evict(), "once is enough");
    if (evicted) assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
    assertEquals(session.verdict?.reason, evicted ? "evicted" : undefined);
    await session.end("evicted");
  }
});

Deno.test("A message that waits in the inbox keeps its session from eviction", async () => {
  const harness = new Harness({ limits: { evictable: true } });
  const { session, backend } = await harness.open();
  const reply = post(session, request("ping"));
  assertFalse(session.evict());
  await reply;
  assertEquals(backend.methods, ["initialize", "ping"]);
});

Deno.test("A tombstone says what the session was, what went through it, and why it is over", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const wallBefore = harness.clock.wallTime();
  await harness.clock.advance(1_000);
  for (const id of [1, 2, 3]) await post(session, request("tools/call", { id }));
  await post(session, message({ method: "notifications/x" }));
  for (const id of [1, 2, 3]) backend.answer(id);
  harness.scale.set(0.9);
  await harness.clock.advance(TTL);
  await settle();
  assertEquals(session.state, "expired");
  await session.end("idle");
  await settle();
  const { verdict, counters, timeline, ...who } = tombstoneOf(harness, session);
  assertEquals(who, {
    handle: session.handle,
    serverId: SERVER,
    principal: PRINCIPAL,
    kind: "streamable",
    protocolVersion: "2025-06-18",
    openedAt: wallBefore,
    endedAt: verdict.at,
    skipped: 0,
  });
  assertEquals(counters, { requests: 4, notifications: 1, responses: 0, serverMessages: 4, peakInFlight: 3 });
  assertEquals([verdict.reason, verdict.by, verdict.pressure], ["idle", "time", 0.9]);
  assertEquals(verdict.ttl, { source: "idleTtlMs", configuredMs: TTL, effectiveMs: 165_000 });
  assertEquals(timeline.map(({ at, event, detail }) => [at - wallBefore, event, detail]).slice(0, 4), [
    [0, "opened", undefined],
    [0, "active", undefined],
    [1_000, "first_request", "tools/call"],
    [1_000, "peak_in_flight", "3"],
  ]);
  assertEquals(harness.supervisor.size, 0);
});

Deno.test("Every end has a tombstone with its reason and who brought it about", async () => {
  const ends: [string, string, (harness: Harness, session: Session) => Promise<unknown>][] = [
    ["client_delete", "client", (_, session) => session.end("client_delete")],
    ["admin", "administrator", (_, session) => session.end("admin")],
    ["shutdown", "gateway", (_, session) => session.end("shutdown")],
    ["idle", "time", async (harness, session) => {
      await harness.clock.advance(TTL);
      await session.end("idle");
    }],
    ["evicted", "memory pressure", async (_, session) => {
      session.evict();
      await session.end("evicted");
    }],
    ["backend_exit", "server", async (harness) => {
      harness.backend.exit();
      await settle();
    }],
    ["protocol_error", "server", async (harness) => {
      harness.backend.exit({ cause: "overlong", detail: "sent a line that is too long" });
      await settle();
    }],
  ];
  for (const [reason, by, end] of ends) {
    const harness = new Harness({ limits: { evictable: true, stateful: true } });
    const { session } = await harness.open();
    await end(harness, session);
    await settle();
    const { verdict, timeline } = tombstoneOf(harness, session);
    assertEquals<unknown[]>([verdict.reason, verdict.by], [reason, by]);
    assertEquals(timeline.at(-1)?.event, "ended");
  }
});

Deno.test("The newest tombstones are kept, and 0 keeps none", async () => {
  for (const tombstones of [0, 1, 2]) {
    const harness = new Harness({ tombstones });
    const handles = [];
    for (let n = 0; n < 3; n++) {
      const { session } = await harness.open();
      handles.push(session.handle);
      await session.end("client_delete");
      await settle();
    }
    assertEquals(
      Array.from(harness.supervisor.tombstones, ({ handle }) => handle),
      handles.slice(3 - tombstones),
    );
  }
});

Deno.test("A timeline is bounded: it keeps the first entries and the last, and counts what it left out", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  for (let n = 0; n < 100; n++) session.extend(n, "x");
  await session.end("client_delete");
  await settle();
  const { timeline, skipped } = tombstoneOf(harness, session);
  const moved = timeline.filter(({ event }) => event === "deadline_moved").map(({ detail }) => detail);
  assertEquals([moved[7], moved[8], moved.at(-1)], [
    "extended by 7 ms by x",
    "extended by 77 ms by x",
    "extended by 99 ms by x",
  ]);
  assertEquals(skipped, 69);
});

Deno.test("The end of a session is explained to its own principal at its own server only", async () => {
  const harness = new Harness({
    moreServers: [{ id: "other", limits: LIMITS, backend: { code: "serverNotServed" } }],
  });
  const { session } = await harness.open();
  await session.end("client_delete");
  await settle();
  const data = (serverId: string, principal: string, id = session.id) =>
    harness.supervisor.notFound(serverId, id, principal, { request: true }).data;
  assertEquals((data(SERVER, PRINCIPAL) as { reason: string }).reason, "client_delete");
  assertEquals(data(SERVER, "somebody else"), undefined);
  assertEquals(data("other", PRINCIPAL), undefined);
  assertEquals(data(SERVER, PRINCIPAL, session.handle), undefined, "the handle is no credential");
});

Deno.test("Gaps between requests are counted, also those of clients that come back too late", async () => {
  const harness = new Harness();
  const gaps = harness.supervisor.gapsOf(SERVER)!;
  const { session, backend } = await harness.open();
  await harness.clock.advance(60_000);
  await post(session, request("a", { id: 1 }));
  // One that comes while another is in flight ends no gap.
  await post(session, request("b", { id: 2 }));
  backend.answer(1);
  backend.answer(2);
  await settle();
  assertEquals(gaps.counts, { returned: 1, final: 0 });
  await harness.clock.advance(TTL);
  assertEquals(gaps.counts, { returned: 1, final: 1 });
  await harness.clock.advance(TTL);
  // Expired and not swept, then ended: it comes back once.
  await post(session, request("late"));
  assertEquals(gaps.counts, { returned: 2, final: 0 });
  await session.end("idle");
  await settle();
  harness.supervisor.notFound(SERVER, session.id, PRINCIPAL, { request: true });
  assertEquals(gaps.counts, { returned: 2, final: 0 });
  assertEquals(gaps.advice(TTL + 60_000).cameBack, 1);
});

Deno.test("Watchers are told of every step, and a watcher that fails harms nobody", async () => {
  const harness = new Harness();
  const seen: GatewayEvent[] = [];
  harness.supervisor.events.subscribe(() => {
    throw new Error("out of order");
  });
  const stop = harness.supervisor.events.subscribe((event) => void seen.push(event));
  const { session } = await harness.open();
  await harness.clock.advance(TTL);
  await session.end("idle");
  stop();
  stop();
  await harness.open();
  const about = { session: session.handle, serverId: SERVER, principal: PRINCIPAL };
  assertEquals(seen.map(({ at: _, ...event }) => event), [
    { type: "opened", ...about },
    { type: "state", state: "active", ...about },
    { type: "state", state: "expired", ...about },
    { type: "ended", reason: "idle", detail: undefined, ...about },
  ]);
});
