/**
 * Schedules that broke an invariant once, as small as the property made them.
 *
 * @module
 */
import { assert, assertEquals, assertFalse } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, LIMITS, message, openStream, post, PRINCIPAL, request, SERVER } from "../fakes/harness.ts";

const TTL = LIMITS.idleTtlMs;

/** Opens an implicit session whose server answers `initialize` only when the test says so. */
async function slowlyStarting(harness: Harness, opener = request("tools/list", { id: 3 })) {
  const reply = harness.opening(opener, "2025-03-26");
  await settle();
  const session = harness.supervisor.find(SERVER, reply.sessionId!, PRINCIPAL)!;
  const start = () => harness.backend.answer("sojourn:initialize", { protocolVersion: "2025-03-26" });
  return { session, reply, start };
}

Deno.test("A start that takes longer than the implicit TTL does not expire the session that it starts", async () => {
  const harness = new Harness({ autoInitialize: false });
  const { session, reply, start } = await slowlyStarting(harness);
  await harness.clock.advance(LIMITS.implicitTtlMs + 1);
  start();
  await settle();
  assertEquals(reply.failed, undefined);
  assertEquals(harness.backend.methods.at(-1), "tools/list");
  assertEquals(session.state, "active");
});

Deno.test("A session whose opener was refused after its start expires by its own timer", async () => {
  const harness = new Harness({ autoInitialize: false });
  const { session, reply, start } = await slowlyStarting(harness);
  harness.backend.queuedBytes = 2 ** 30;
  start();
  await settle();
  assertEquals(reply.failed, "backendBusy");
  await harness.clock.advance(LIMITS.implicitTtlMs);
  await settle();
  assertEquals([session.state, session.endReason], ["ended", "implicit"]);
});

Deno.test("A session expires by its own timer also after a request that took long", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  await post(session, request("slow"));
  await harness.clock.advance(2 * LIMITS.sseAfterMs);
  backend.answer(1);
  await harness.clock.advance(TTL - 1);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assertEquals(session.state, "expired");
  assertFalse(stream.open);
});

Deno.test("A session expires at once when its server takes back the request that alone kept it", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await openStream(session);
  await harness.clock.advance(TTL - 1);
  backend.says({ id: "q", method: "sampling/createMessage" });
  await harness.clock.advance(1_000);
  assertEquals(session.state, "active");
  backend.says({ method: "notifications/cancelled", params: { requestId: "q" } });
  await settle();
  assertEquals(session.state, "expired");
});

Deno.test("A server that speaks after the deadline does not revive its session, though the timer is late", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await openStream(session);
  harness.clock.stall(TTL);
  backend.says({ id: "q", method: "sampling/createMessage" });
  await settle();
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
});

Deno.test("A server request whose time is up keeps no session, though the timer is late", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await openStream(session);
  backend.says({ id: "q", method: "sampling/createMessage" });
  await settle();
  harness.clock.stall(TTL);
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
});

Deno.test("A session whose server exits after the deadline ended idle, though the timer is late", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  harness.clock.stall(TTL);
  backend.exit();
  await settle();
  assertEquals(session.endReason, "idle");
});

Deno.test("A message that comes after an implicit session's deadline changes neither the deadline nor the reason", async () => {
  for (const pass of ["advance", "stall"] as const) {
    const harness = new Harness({ autoInitialize: false });
    const { session, start } = await slowlyStarting(harness);
    start();
    await settle();
    harness.backend.answer(3);
    await settle();
    await harness.clock[pass](LIMITS.implicitTtlMs);
    assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
    assertEquals(session.verdict?.reason, "implicit");
  }
});

Deno.test("A request that is sent while the session starts has its timeout like any other", async () => {
  const harness = new Harness({ autoInitialize: false, limits: { requestTimeoutMs: 5_000 } });
  const opener = harness.opening(request("initialize", { id: "init" }));
  await settle();
  const session = harness.supervisor.find(SERVER, opener.sessionId!, PRINCIPAL)!;
  const reply = await post(session, request("ping"));
  harness.backend.answer("init", { protocolVersion: "2025-06-18" });
  await harness.clock.advance(5_000);
  assertEquals(reply.failed, "requestTimeout");
});

Deno.test("A second initialize is refused also while the first is not answered", async () => {
  const harness = new Harness({ autoInitialize: false });
  const opener = harness.opening(request("initialize", { id: "init" }));
  await settle();
  const session = harness.supervisor.find(SERVER, opener.sessionId!, PRINCIPAL)!;
  assertEquals((await post(session, request("initialize", { id: "again" }))).failed, "alreadyInitialized");
  assertEquals(harness.backend.methods, ["initialize"]);
});

Deno.test("A stream whose client hung up before its turn came takes nothing that waits for a stream", async () => {
  const harness = new Harness({ autoInitialize: false });
  const { session, start } = await slowlyStarting(harness);
  const { stream } = await openStream(session);
  stream.hangUp();
  harness.backend.says({ id: "q", method: "roots/list" });
  start();
  await settle();
  harness.backend.answer(3);
  await settle();
  assertEquals(session.inFlight, 0, "a request of the server that nobody saw is not in flight");
  const second = await openStream(session);
  assertEquals(second.stream.messages.map(({ method }) => method), ["roots/list"]);
});

Deno.test("Of two ends in one turn the first gives the reason and the faster gives the pace", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const fast = { termAfterMs: 0, killAfterMs: 1 };
  await Promise.all([session.end("client_delete"), session.end("shutdown", { pace: fast })]);
  assertEquals(session.endReason, "client_delete");
  assertEquals(backend.closes.at(-1), fast);
  assert(backend.closed);
});

Deno.test("A cancellation that comes in the turn of the answer completes the request once", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("slow", { id: 5 }));
  const cancel = post(session, message({ method: "notifications/cancelled", params: { requestId: 5 } }));
  backend.answer(5);
  await cancel;
  assertEquals(call.completions, 1);
});

Deno.test("A session that somebody ends after its deadline ended at its deadline, though the timer is late", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  harness.clock.stall(TTL);
  await session.end("client_delete");
  assertEquals(session.endReason, "idle");
});

Deno.test("A session whose server refused its client leaves no timer", async () => {
  const harness = new Harness({ autoInitialize: false });
  harness.opening(request("initialize", { id: "init" }));
  await settle();
  harness.backend.says({ id: "init", error: { code: -32602, message: "no" } });
  await settle();
  assertEquals([harness.supervisor.size, harness.clock.pending], [0, 0]);
});

Deno.test("Requests of the server that waited for a stream count where it is said how many were in flight", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  for (const id of ["a", "b"]) backend.says({ id, method: "roots/list" });
  await settle();
  await openStream(session);
  assertEquals(session.account.timeline.counters.peakInFlight, 2);
});

Deno.test("A session whose deadline has passed is not evicted: it expired", async () => {
  const harness = new Harness({ limits: { evictable: true } });
  const { session } = await harness.open();
  harness.clock.stall(TTL);
  assertFalse(session.evict());
  assertEquals(session.verdict?.reason, "idle");
});

Deno.test("Extending a session that waits for an answer to its ping does not shorten its life", async () => {
  const harness = new Harness({ limits: { onOpenStream: "ping" } });
  const { session } = await harness.open();
  await openStream(session);
  await harness.clock.advance(TTL);
  const { deadline } = session;
  assert(session.extend(1, "somebody"));
  assertEquals(session.deadline, deadline);
});

Deno.test("Pressure that falls while a client is asked leaves it its time for the answer", async () => {
  const harness = new Harness({ limits: { idleTtlMs: 12_000, onOpenStream: "ping" }, minTtlMs: 5_000 });
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  harness.scale.set(1);
  await harness.clock.advance(4_999);
  harness.clock.stall(1);
  assertFalse(session.expired);
  const { deadline } = session;
  assertEquals(stream.messages.map(({ method }) => method), ["ping"]);
  harness.scale.set(0);
  assertEquals(session.deadline, deadline);
});

Deno.test("An answer to a ping that was never sent moves no deadline, and the timeline says nothing of it", async () => {
  const harness = new Harness({ limits: { onOpenStream: "ping" } });
  const { session } = await harness.open();
  const { deadline } = session;
  const reply = await post(session, message({ id: "sojourn:ping:1", result: {} }));
  assertEquals([reply.completion?.kind, session.deadline], ["accepted", deadline]);
  assertEquals(session.account.timeline.entries.map(({ event }) => event), ["opened", "active"]);
});

Deno.test("A session whose TTL is shorter than a ping expires by its own timer after the answer", async () => {
  const harness = new Harness({ limits: { idleTtlMs: 5_000, onOpenStream: "ping" } });
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  await harness.clock.advance(6_000);
  await post(session, message({ id: "sojourn:ping:1", result: {} }));
  stream.hangUp();
  await harness.clock.advance(4_999);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assertEquals(session.state, "expired");
});
