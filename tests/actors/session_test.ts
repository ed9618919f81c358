import { assert, assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { Harness, LIMITS, message, openStream, post, request, SERVER } from "../fakes/harness.ts";
import { messageOf } from "../../errors.ts";

const TTL = LIMITS.idleTtlMs;

Deno.test("Session becomes active when the server answers initialize, and names itself to its client", async () => {
  const harness = new Harness();
  const { session, reply } = await harness.open();
  assertEquals(session.state, "active");
  assertEquals(session.protocolVersion, "2025-06-18");
  assertEquals(reply.sessionId, session.id);
  assertEquals(reply.answered?.id, "init");
});

// Deadlines: [ms after the last use, whether the session still answers].
for (
  const [afterMs, alive] of [[0, true], [1, true], [TTL - 1, true], [TTL, false], [TTL + 1, false]] as const
) {
  Deno.test(`Session idle for ${afterMs} of ${TTL} ms ${alive ? "answers" : "answers 404"}`, async () => {
    const harness = new Harness();
    const { session } = await harness.open();
    await harness.clock.advance(afterMs);
    const reply = await post(session, request("ping"));
    assertEquals(reply.failed, alive ? undefined : "sessionNotFound");
    assertEquals(session.state, alive ? "active" : "expired");
  });
}

Deno.test("Session expires at its deadline even where its timer has not fired", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  harness.clock.stall(TTL - 1);
  assertFalse(session.expired);
  harness.clock.stall(1);
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
});

Deno.test("Session with a TTL of 0 never expires and sets no timer while it is idle", async () => {
  const harness = new Harness({ limits: { idleTtlMs: 0 } });
  const { session } = await harness.open();
  await harness.clock.advance(LIMITS.startTimeoutMs);
  assertEquals(harness.clock.pending, 0);
  await harness.clock.advance(365 * 24 * 3_600_000);
  assertEquals(session.state, "active");
});

for (
  const [what, use] of [
    ["a request", request("ping", { id: 9 })],
    ["a notification", message({ method: "notifications/roots/list_changed" })],
    ["a response", message({ id: 77, result: {} })],
  ] as const
) {
  Deno.test(`Session deadline moves with ${what} of the client`, async () => {
    const harness = new Harness();
    const { session, backend } = await harness.open();
    await harness.clock.advance(TTL - 1);
    await post(session, use);
    if (use.kind === "request") backend.answer(use.id);
    await harness.clock.advance(TTL - 1);
    assertEquals(session.state, "active");
    await harness.clock.advance(1);
    assertEquals(session.state, "expired");
  });
}

Deno.test("Session with a request in flight outlives any deadline, and expires one TTL after the answer", async () => {
  const harness = new Harness({ limits: { requestTimeoutMs: 100 * TTL } });
  const { session, backend } = await harness.open();
  const reply = await post(session, request("tools/call", { id: 7 }));
  await harness.clock.advance(10 * TTL);
  assertEquals(session.state, "active");
  backend.answer(7, { content: [] });
  await settle();
  assertEquals(reply.answered?.id, 7);
  await harness.clock.advance(TTL - 1);
  assertFalse(session.expired);
  await harness.clock.advance(1);
  assert(session.expired);
});

Deno.test("Messages of the server are no use of the session", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await harness.clock.advance(TTL - 1);
  backend.says({ method: "notifications/tools/list_changed" });
  await harness.clock.advance(1);
  assertEquals(session.state, "expired");
});

Deno.test("An open standalone stream alone does not keep a session", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(TTL - 1);
  const { stream } = await openStream(session);
  await harness.clock.advance(1);
  assertEquals(session.state, "expired");
  assertFalse(stream.open);
});

Deno.test("Expired session holds no message, stream or timer while it waits for the sweeper", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await openStream(session);
  backend.says({ id: 1, method: "roots/list" });
  await harness.clock.advance(2 * TTL);
  assertEquals(session.state, "expired");
  assertEquals(session.held, 0);
  assertEquals(harness.clock.pending, 0);
  assertEquals(backend.closes.length, 0);
});

Deno.test("A touch sets no timer: ten thousand messages cost the timers of one second", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  let armed = 0;
  const after = harness.clock.after.bind(harness.clock);
  harness.clock.after = (delayMs, fn) => (armed++, after(delayMs, fn));
  for (let id = 0; id < 10_000; id++) {
    await post(session, request("ping", { id }));
    backend.answer(id);
  }
  await settle();
  assert(armed <= 2, `${armed} timers were set`);
});

Deno.test("Implicit session initializes by itself, then forwards the request that opened it", async () => {
  const harness = new Harness();
  const reply = harness.opening(request("tools/list", { id: 3 }), "2025-03-26");
  await settle();
  const { backend } = harness;
  assertEquals(backend.methods, ["initialize", "notifications/initialized", "tools/list"]);
  const [initialize] = backend.received;
  assert(initialize?.kind === "request");
  assertEquals(initialize.params?.protocolVersion, "2025-03-26");
  assertEquals(initialize.params?.capabilities, {});
  backend.answer(3, { tools: [] });
  await settle();
  assertEquals(reply.answered, { jsonrpc: "2.0", id: 3, result: { tools: [] } });
  assert(reply.sessionId);
});

Deno.test("Implicit session whose id never comes back ends after its own TTL, with its own reason", async () => {
  const harness = new Harness();
  const reply = harness.opening(request("ping"), "2025-03-26");
  await settle();
  harness.backend.answer(1);
  await settle();
  const session = harness.supervisor.find(SERVER, reply.sessionId!, "anyone")!;
  await harness.clock.advance(LIMITS.implicitTtlMs - 1);
  assertFalse(session.expired);
  await harness.clock.advance(1);
  assertEquals([session.state, session.endReason], ["ended", "implicit"]);
  assertEquals(harness.supervisor.size, 0, "it does not wait for the sweeper");
});

Deno.test("Implicit session whose id came back has the ordinary TTL", async () => {
  const harness = new Harness();
  const reply = harness.opening(request("ping"), "2025-03-26");
  await settle();
  harness.backend.answer(1);
  const session = harness.supervisor.find(SERVER, reply.sessionId!, "anyone")!;
  await post(session, message({ method: "notifications/initialized" }));
  await harness.clock.advance(TTL - 1);
  assertFalse(session.expired);
  await harness.clock.advance(1);
  assert(session.expired);
  assertEquals(session.verdict?.reason, "idle");
});

Deno.test("Implicit session is not saved by its id coming back after the deadline, though the timer is late", async () => {
  const harness = new Harness();
  const reply = harness.opening(request("ping"), "2025-03-26");
  await settle();
  harness.backend.answer(1);
  await settle();
  const session = harness.supervisor.find(SERVER, reply.sessionId!, "anyone")!;
  harness.clock.stall(LIMITS.implicitTtlMs);
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
  assertEquals(session.verdict?.reason, "implicit");
});

Deno.test("Mail that comes while an implicit session starts waits, is bounded, and keeps its order", async () => {
  const harness = new Harness({ autoInitialize: false, limits: { maxInFlight: 1_000 } });
  const reply = harness.opening(request("ping", { id: "first" }), "2025-03-26");
  await settle();
  const session = [...harness.supervisor.sessions][0]!;
  const replies = [];
  for (let id = 0; id < 300; id++) replies.push(await post(session, request("ping", { id })));
  // One place is taken by the opener.
  assertEquals(replies.filter((reply) => reply.failed === "inboxFull").length, 300 - 255);
  assertEquals(harness.backend.methods, ["initialize"]);
  harness.backend.answer("sojourn:initialize", { protocolVersion: "2025-03-26", capabilities: {} });
  await settle();
  const ids = harness.backend.received.flatMap((message) => message.kind === "request" ? [message.id] : []);
  assertEquals(ids, ["sojourn:initialize", "first", ...Array.from({ length: 255 }, (_, id) => id)]);
  assert(reply.open);
});

// Starts that fail: [what happens, how, what the client is told].
for (
  const [what, how, told] of [
    ["exits", (h: Harness) => h.backend.exit(), 'server "fake" exited with code 1'],
    [
      "cannot be spawned",
      (h: Harness) => h.backend.exit({ cause: "spawn", detail: 'could not be started: no such command "x"' }),
      'server "fake" could not be started: no such command "x"',
    ],
    [
      "writes only garbage",
      (h: Harness) => {
        for (let i = 0; i < 20; i++) h.backend.events.garbage("hello");
      },
      'server "fake" wrote 20 lines that are no JSON-RPC messages',
    ],
    [
      "is silent",
      (h: Harness) => h.clock.advance(LIMITS.startTimeoutMs),
      'server "fake" did not answer initialize within 60000 ms',
    ],
  ] as const
) {
  for (const implicitVersion of [undefined, "2025-03-26"]) {
    const kind = implicitVersion === undefined ? "explicit" : "implicit";
    Deno.test(`Start of an ${kind} session whose server ${what} fails with the server's name, and leaves nothing`, async () => {
      const harness = new Harness({ autoInitialize: false });
      const method = implicitVersion === undefined ? "initialize" : "tools/list";
      const reply = harness.opening(request(method), implicitVersion);
      await settle();
      await how(harness);
      await settle();
      assertEquals(reply.failed, "backendStartFailed");
      assert(reply.completion?.kind === "failed");
      assertStringIncludes(messageOf(reply.completion.failure), told);
      assertEquals(harness.supervisor.size, 0);
      assertEquals(harness.clock.pending, 0);
      assertEquals(harness.backend.closes.length, 1);
    });
  }
}

Deno.test("A server that refuses initialize is quoted to its client, and no session is named", async () => {
  const harness = new Harness({ autoInitialize: false });
  const reply = harness.opening(request("initialize"));
  await settle();
  harness.backend.says({ id: 1, error: { code: -32602, message: "no thanks" } });
  await settle();
  assertEquals(reply.answered?.error, { code: -32602, message: "no thanks" });
  assertEquals(reply.sessionId, undefined);
  assertEquals(harness.supervisor.size, 0);
});

Deno.test("A few lines of garbage before the answer do no harm", async () => {
  const harness = new Harness({ autoInitialize: false });
  const reply = harness.opening(request("initialize"));
  await settle();
  for (let i = 0; i < 19; i++) harness.backend.events.garbage("welcome to my server");
  harness.backend.answer(1, { protocolVersion: "2025-06-18" });
  await settle();
  assertEquals(reply.answered?.id, 1);
});

Deno.test("Exit of a stateful server ends the session and answers each request in flight", async () => {
  const harness = new Harness({ limits: { stateful: true } });
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  const replies = [
    await post(session, request("a", { id: 1 })),
    await post(session, request("b", { id: "1" })),
  ];
  backend.exit();
  await settle();
  assertEquals(replies.map((reply) => reply.failed), ["backendGone", "backendGone"]);
  assertEquals(session.endReason, "backend_exit");
  assertFalse(stream.open);
  assertEquals(harness.supervisor.size, 0);
  assertEquals(harness.clock.pending, 0);
});

Deno.test("An over-long line of the server ends the session as a protocol error", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  backend.exit({ cause: "overlong", detail: "sent a line longer than 64 MiB" });
  await settle();
  assertEquals(session.endReason, "protocol_error");
});

Deno.test("Ending twice keeps the first reason, closes once more only to hurry, and resolves both", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  backend.stubborn = true;
  const first = session.end("client_delete");
  await settle();
  const second = session.end("shutdown", { pace: { termAfterMs: 0, killAfterMs: 1 } });
  assertEquals(backend.closes.at(-1), { termAfterMs: 0, killAfterMs: 1 });
  backend.finishClose();
  await Promise.all([first, second]);
  await settle();
  assertEquals(session.endReason, "client_delete");
  assertEquals(harness.supervisor.size, 0);
});

Deno.test("Mail to an ended session is answered with 404, also while its server still closes", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  backend.stubborn = true;
  const ended = session.end("client_delete");
  await settle();
  assertEquals((await post(session, request("ping"))).failed, "sessionNotFound");
  assertEquals((await openStream(session)).reply.failed, "sessionNotFound");
  backend.finishClose();
  await ended;
  await settle();
});

Deno.test("A late message of a server whose session ended goes nowhere", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { events } = backend;
  await session.end("client_delete");
  events.message(message({ id: 5, result: {} }));
  events.exit({ cause: "exit", detail: "exited with code 0" });
  await settle();
  assertEquals(session.endReason, "client_delete");
});

Deno.test("A request to a server that does not read is refused and never sent", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  backend.queuedBytes = 8 * 1024 * 1024 + 1;
  const sent = backend.received.length;
  assertEquals((await post(session, request("ping"))).failed, "backendBusy");
  assertEquals(backend.received.length, sent);
  backend.queuedBytes = 8 * 1024 * 1024;
  assertEquals((await post(session, request("ping"))).failed, undefined);
});

Deno.test("initialize on a session that is initialized is refused", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  assertEquals((await post(session, request("initialize"))).failed, "alreadyInitialized");
});

Deno.test("A draining session refuses requests, and takes what the requests in flight need", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 1 }));
  session.drain();
  await settle();
  assertEquals((await post(session, request("ping", { id: 2 }))).failed, "shuttingDown");
  backend.says({ id: "q", method: "sampling/createMessage" });
  await settle();
  assertEquals((await post(session, message({ id: "q", result: {} }))).completion, { kind: "accepted" });
  backend.answer(1);
  await settle();
  assertEquals(call.answered?.id, 1);
});

Deno.test("A drain waits for the request of an implicit session that still starts, and lets it through", async () => {
  const harness = new Harness({ autoInitialize: false });
  const reply = harness.opening(request("tools/list", { id: 3 }), "2025-03-26");
  await settle();
  const done = harness.supervisor.shutDown(5_000);
  await harness.clock.advance(1_000);
  harness.backend.answer("sojourn:initialize", { protocolVersion: "2025-03-26" });
  await settle();
  harness.backend.answer(3, { tools: [] });
  await harness.clock.advance(100);
  await done;
  assertEquals(reply.answered?.id, 3);
});

Deno.test("A message that is refused is a use of the session all the same", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await harness.clock.advance(TTL - 1);
  assertEquals((await post(session, request("initialize"))).failed, "alreadyInitialized");
  await harness.clock.advance(TTL - 1);
  assertFalse(session.expired);
});

Deno.test("An implicit session whose server starts slowly gets its stream in time all the same", async () => {
  const harness = new Harness({ autoInitialize: false });
  const reply = harness.opening(request("tools/list", { id: 3 }), "2025-03-26");
  await harness.clock.advance(LIMITS.sseAfterMs - 1);
  assertFalse(reply.streaming);
  await harness.clock.advance(1);
  assert(reply.streaming);
  harness.backend.answer("sojourn:initialize", { protocolVersion: "2025-03-26" });
  await settle();
  harness.backend.answer(3, { tools: [] });
  await settle();
  assertEquals(reply.answered?.id, 3);
});

Deno.test("Garbage on stdout is logged a few times and not for ever", async () => {
  const harness = new Harness();
  const { backend } = await harness.open();
  await using log = await LogCapture.start();
  for (let i = 0; i < 1_000; i++) backend.events.garbage("x");
  await settle();
  assertEquals(log.records.length, 21);
});
