import { assert, assertEquals, assertFalse } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, LIMITS, message, openStream, post, request } from "../fakes/harness.ts";

const progress = (progressToken: string | number, progress = 1) => ({
  method: "notifications/progress",
  params: { progressToken, progress },
});

Deno.test('Answers find their requests in any order, ids 1 and "1" apart', async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const one = await post(session, request("a", { id: 1 }));
  const text = await post(session, request("b", { id: "1" }));
  backend.answer("1", { of: "text" });
  backend.answer(1, { of: "number" });
  await settle();
  assertEquals(one.answered?.result, { of: "number" });
  assertEquals(text.answered?.result, { of: "text" });
});

Deno.test("A request whose id is in flight is refused and not sent; the id is free again after the answer", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const first = await post(session, request("a"));
  assertEquals((await post(session, request("b"))).failed, "duplicateId");
  assertEquals(backend.methods.filter((method) => method === "b"), []);
  backend.answer(1);
  await settle();
  assertEquals(first.answered?.id, 1);
  const again = await post(session, request("c"));
  backend.answer(1);
  await settle();
  assertEquals(again.answered?.id, 1);
});

Deno.test("An answer to no request in flight is dropped", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  backend.answer(99);
  await settle();
  assertEquals(stream.sent, []);
  assertEquals(session.state, "active");
});

Deno.test("Progress goes to the reply of the request with its token, wherever the newest request is", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const first = await post(session, request("a", { id: 1, params: { _meta: { progressToken: "t" } } }));
  const second = await post(session, request("b", { id: 2, params: { _meta: { progressToken: 1 } } }));
  backend.says(progress("t"));
  backend.says(progress(1));
  backend.says(progress("t", 2));
  await settle();
  assertEquals(first.messages.map((message) => message.params), [
    { progressToken: "t", progress: 1 },
    { progressToken: "t", progress: 2 },
  ]);
  assertEquals(second.messages.length, 1);
});

Deno.test("Progress of a request that is over goes to no other request", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await post(session, request("a", { id: 1, params: { _meta: { progressToken: "t" } } }));
  backend.answer(1);
  await settle();
  const other = await post(session, request("b", { id: 2 }));
  backend.says(progress("t"));
  await settle();
  assertEquals(other.sent, []);
  const { stream } = await openStream(session);
  assertEquals(stream.sent, [], "progress is not kept");
  backend.says(progress("t"));
  await settle();
  assertEquals(stream.sent.length, 1);
});

Deno.test("A server request without a parent goes to the newest request whose client is connected", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  const first = await post(session, request("a", { id: 1 }));
  const second = await post(session, request("b", { id: 2 }));
  backend.says({ id: 0, method: "sampling/createMessage" });
  await settle();
  assertEquals([first.sent.length, second.sent.length, stream.sent.length], [0, 1, 0]);
  second.hangUp();
  backend.says({ id: 1, method: "sampling/createMessage" });
  await settle();
  assertEquals([first.sent.length, second.sent.length, stream.sent.length], [1, 1, 0]);
  first.hangUp();
  backend.says({ id: 2, method: "sampling/createMessage" });
  await settle();
  assertEquals([first.sent.length, second.sent.length, stream.sent.length], [1, 1, 1]);
});

Deno.test("What concerns a task goes to the tasks/result that waits for it", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const waiting = await post(session, request("tasks/result", { id: 1, params: { taskId: "t1" } }));
  await post(session, request("b", { id: 2 }));
  backend.says({
    id: 0,
    method: "elicitation/create",
    params: { _meta: { "io.modelcontextprotocol/related-task": { taskId: "t1" } } },
  });
  await settle();
  assertEquals(waiting.messages.map((message) => message.method), ["elicitation/create"]);
});

Deno.test("What no stream takes is kept for the next standalone stream, in order", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  backend.says({ method: "notifications/a" });
  backend.says({ id: 0, method: "roots/list" });
  await settle();
  const call = await post(session, request("ping"));
  backend.answer(1);
  await settle();
  assertEquals(call.sent, [], "a later request's reply is not burdened with it");
  const { stream } = await openStream(session);
  assertEquals(stream.messages.map((message) => message.method), ["notifications/a", "roots/list"]);
  const second = await openStream(session);
  assertEquals(second.stream.sent, [], "each message goes out once");
});

// [messages said, messages kept].
for (const [said, kept] of [[0, 0], [1, 1], [255, 255], [256, 256], [257, 256], [1000, 256]] as const) {
  Deno.test(`Of ${said} messages that no stream takes the newest ${kept} are kept`, async () => {
    const harness = new Harness();
    const { session, backend } = await harness.open();
    for (let i = 0; i < said; i++) backend.says({ method: "notifications/n", params: { i } });
    await settle();
    const { stream } = await openStream(session);
    assertEquals(stream.sent.length, kept);
    if (kept > 0) assertEquals(stream.messages.at(-1)!.params, { i: said - 1 });
  });
}

Deno.test("A kept request that must go is answered with an error, so that its server does not wait", async () => {
  const harness = new Harness();
  const { backend } = await harness.open();
  backend.says({ id: "old", method: "roots/list" });
  for (let i = 0; i < 256; i++) backend.says({ method: "notifications/n" });
  await settle();
  const answer = backend.received.at(-1)!;
  assert(answer.kind === "response" && answer.id === "old" && answer.error !== undefined);
});

Deno.test("A second standalone stream replaces the first", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const first = await openStream(session);
  const second = await openStream(session);
  assertFalse(first.stream.open);
  backend.says({ method: "notifications/n" });
  await settle();
  assertEquals([first.stream.sent.length, second.stream.sent.length], [0, 1]);
});

Deno.test("An answer that takes long turns the reply into a stream, at the limit and not before", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const reply = await post(session, request("slow"));
  await harness.clock.advance(LIMITS.sseAfterMs - 1);
  assertFalse(reply.streaming);
  await harness.clock.advance(1);
  assert(reply.streaming);
  backend.answer(1);
  await settle();
  assertEquals(reply.answered?.id, 1);
});

Deno.test("A cancelled request counts no longer, is answered once, and its late answer is dropped", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const reply = await post(session, request("slow", { id: 5 }));
  const cancel = message({ method: "notifications/cancelled", params: { requestId: 5 } });
  assertEquals((await post(session, cancel)).completion, { kind: "accepted" });
  assertEquals(backend.methods.at(-1), "notifications/cancelled");
  assertEquals(reply.failed, "requestCancelled");
  assertEquals(session.inFlight, 0);
  backend.answer(5);
  await settle();
  assertEquals(reply.completions, 1);
});

Deno.test("A request that takes too long is answered for, and the server is told to stop", async () => {
  const harness = new Harness({ limits: { requestTimeoutMs: 5_000 } });
  const { session, backend } = await harness.open();
  const reply = await post(session, request("slow", { id: 5 }));
  await harness.clock.advance(4_999);
  assertEquals(reply.completion, undefined);
  await harness.clock.advance(1);
  assertEquals(reply.failed, "requestTimeout");
  const told = backend.received.at(-1)!;
  assert(told.kind === "notification" && told.method === "notifications/cancelled");
  assertEquals(told.params?.requestId, 5);
  assertEquals(session.inFlight, 0);
});

Deno.test("A request does not age while the server waits for the client", async () => {
  const harness = new Harness({ limits: { requestTimeoutMs: 100_000 } });
  const { session, backend } = await harness.open();
  const reply = await post(session, request("slow", { id: 5 }));
  await harness.clock.advance(99_000);
  backend.says({ id: "q", method: "elicitation/create" });
  await harness.clock.advance(90_000);
  assertEquals(reply.completion, undefined);
  await post(session, message({ id: "q", result: { action: "accept" } }));
  await harness.clock.advance(999);
  assertEquals(reply.completion, undefined);
  await harness.clock.advance(1);
  assertEquals(reply.failed, "requestTimeout");
});

Deno.test("A server request that the client leaves unanswered is answered for, and keeps the session until then", async () => {
  const harness = new Harness({ limits: { idleTtlMs: 10_000 } });
  const { session, backend } = await harness.open();
  await openStream(session);
  backend.says({ id: 0, method: "roots/list" });
  await settle();
  assertEquals(session.inFlight, 1);
  await harness.clock.advance(LIMITS.clientReplyTimeoutMs - 1);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  const answer = backend.received.at(-1)!;
  assert(answer.kind === "response" && answer.id === 0 && answer.error !== undefined);
  assertEquals(session.state, "expired", "nobody used it for longer than its TTL");
});

Deno.test("A server that asks again and again does not keep the session of a silent client", async () => {
  const harness = new Harness({ limits: { idleTtlMs: 10_000 } });
  const { session, backend } = await harness.open();
  await openStream(session);
  for (let second = 0; second < 130; second++) {
    backend.says({ id: second, method: "ping" });
    await harness.clock.advance(1_000);
  }
  assertEquals(session.state, "expired");
});

Deno.test("A server request that reached nobody does not keep the session", async () => {
  const harness = new Harness({ limits: { idleTtlMs: 10_000 } });
  const { session, backend } = await harness.open();
  backend.says({ id: 0, method: "roots/list" });
  await harness.clock.advance(10_000);
  assertEquals(session.state, "expired");
});

Deno.test("A person may take long over a question while a request of the client is in flight and connected", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 5 }));
  backend.says({ id: "q", method: "elicitation/create" });
  await harness.clock.advance(50 * 60_000);
  const answer = await post(session, message({ id: "q", result: { action: "accept" } }));
  assertEquals(answer.completion, { kind: "accepted" });
  const forwarded = backend.received.at(-1)!;
  assert(forwarded.kind === "response" && forwarded.id === "q" && forwarded.result !== undefined);
  assert(call.open);
});

Deno.test("Patience with a question ends when its client hangs up", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 5 }));
  backend.says({ id: "q", method: "elicitation/create" });
  await harness.clock.advance(10_000);
  call.hangUp();
  await harness.clock.advance(2 * LIMITS.clientReplyTimeoutMs);
  const answer = backend.received.at(-1)!;
  assert(answer.kind === "response" && answer.id === "q" && answer.error !== undefined);
});

Deno.test("An answer of the client that comes too late is accepted and dropped", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await openStream(session);
  backend.says({ id: 0, method: "roots/list" });
  await harness.clock.advance(LIMITS.clientReplyTimeoutMs);
  const received = backend.received.length;
  assertEquals((await post(session, message({ id: 0, result: { roots: [] } }))).completion, {
    kind: "accepted",
  });
  assertEquals(backend.received.length, received);
});

Deno.test("A question that its server takes back is told to the client that saw it, and to nobody else", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 5 }));
  backend.says({ id: "q", method: "sampling/createMessage" });
  await settle();
  const newer = await post(session, request("ping", { id: 6 }));
  backend.says({ method: "notifications/cancelled", params: { requestId: "q" } });
  await settle();
  assertEquals(call.messages.map((message) => message.method), [
    "sampling/createMessage",
    "notifications/cancelled",
  ]);
  assertEquals(newer.sent, []);
  assertEquals(session.inFlight, 2);
});

Deno.test("A client that hangs up does not cancel, and its answer is dropped in peace", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 5 }));
  call.hangUp();
  await harness.clock.advance(2 * LIMITS.idleTtlMs);
  assertEquals(session.state, "active");
  backend.answer(5);
  await settle();
  assertEquals(session.inFlight, 0);
  assertEquals(backend.methods.at(-1), "tools/call");
});

Deno.test("A server that asks without end does not keep a request from its time-out", async () => {
  const harness = new Harness({
    limits: { requestTimeoutMs: 3_000, clientReplyTimeoutMs: 2_000, idleTtlMs: 3_000 },
  });
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 5 }));
  for (let n = 0; n < 30; n++) {
    backend.says({ id: `q${n}`, method: "roots/list" });
    await harness.clock.advance(700);
  }
  assertEquals(call.failed, "requestTimeout");
  assertEquals(session.state, "expired");
});

// [requests of the server, how many reach the client].
for (const [asked, reached] of [[255, 255], [256, 256], [257, 256], [1_000, 256]] as const) {
  Deno.test(`Of ${asked} requests of a server that wait for the client ${reached} reach it`, async () => {
    const harness = new Harness();
    const { session, backend } = await harness.open();
    const { stream } = await openStream(session);
    for (let n = 0; n < asked; n++) backend.says({ id: n, method: "roots/list" });
    await settle();
    assertEquals(stream.sent.length, reached);
    const refused = backend.received.filter((message) =>
      message.kind === "response" && message.error !== undefined
    );
    assertEquals(refused.length, asked - reached);
  });
}

Deno.test("A server that asks without end and does not read gets no further errors", async () => {
  const harness = new Harness();
  const { backend } = await harness.open();
  backend.queuedBytes = 2 ** 30;
  for (let n = 0; n < 1_000; n++) backend.says({ id: n, method: "roots/list" });
  await settle();
  assertEquals(backend.received.filter((message) => message.kind === "response").length, 0);
});
