import type { SupervisedServer } from "../../actors/supervisor.ts";
import { HURRIED_PACE, SHUTDOWN_PACE } from "../../backends/backend.ts";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { FakeReply } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, LIMITS, message, openStream, post, PRINCIPAL, request, SERVER } from "../fakes/harness.ts";

const REMOTE: SupervisedServer = {
  id: "remote",
  limits: LIMITS,
  backend: { code: "serverNotServed", detail: "remote servers are a later step" },
};

/** Asks for a session of a server. */
function openAt(harness: Harness, serverId: string): FakeReply {
  const reply = new FakeReply();
  harness.supervisor.open({
    serverId,
    principal: PRINCIPAL,
    opener: { tag: "message", message: request("initialize"), reply },
    implicitVersion: undefined,
  });
  return reply;
}

/** Whether a promise has been resolved by now. */
async function isResolved(promise: Promise<void>): Promise<boolean> {
  let resolved = false;
  void promise.then(() => resolved = true);
  await settle();
  return resolved;
}

Deno.test("Supervisor finds a session by server, id and principal, and by nothing less", async () => {
  const harness = new Harness({ moreServers: [REMOTE] });
  const { session } = await harness.open();
  const { supervisor } = harness;
  assertEquals(supervisor.find(SERVER, session.id, PRINCIPAL), session);
  for (
    const [what, found] of [
      ["another server", supervisor.find("remote", session.id, PRINCIPAL)],
      ["a server that is not configured", supervisor.find("nowhere", session.id, PRINCIPAL)],
      ["another principal", supervisor.find(SERVER, session.id, "somebody")],
      ["no principal", supervisor.find(SERVER, session.id, "")],
      ["the handle", supervisor.find(SERVER, session.handle, PRINCIPAL)],
      ["an unknown id", supervisor.find(SERVER, crypto.randomUUID(), PRINCIPAL)],
      ["an empty id", supervisor.find(SERVER, "", PRINCIPAL)],
      ["the name of a property", supervisor.find(SERVER, "__proto__", PRINCIPAL)],
    ] as const
  ) assertEquals(found, undefined, what);
});

Deno.test("Supervisor lists its sessions, oldest first, until they are closed", async () => {
  const harness = new Harness();
  const first = await harness.open();
  const second = await harness.open();
  assertEquals([...harness.supervisor.sessions], [first.session, second.session]);
  first.backend.stubborn = true;
  const ended = first.session.end("admin");
  await settle();
  assertEquals(harness.supervisor.size, 2, "its backend still closes");
  first.backend.finishClose();
  await ended;
  await settle();
  assertEquals([...harness.supervisor.sessions], [second.session]);
});

Deno.test("Supervisor knows the servers that are configured", () => {
  const { supervisor } = new Harness({ moreServers: [REMOTE] });
  assertEquals(Array.from(supervisor.servers, ({ id }) => id), [SERVER, "remote"]);
  assert(supervisor.hasServer("remote"));
  assertFalse(supervisor.hasServer("nowhere"));
});

// Openings that are refused: [what, how, the failure].
for (
  const [what, how, failed] of [
    ["a server that is not configured", (h: Harness) => openAt(h, "nowhere"), "serverNotFound"],
    ["a server named like a property", (h: Harness) => openAt(h, "__proto__"), "serverNotFound"],
    ["a server that cannot be served", (h: Harness) => openAt(h, "remote"), "serverNotServed"],
    ["a gateway that shuts down", (h: Harness) => {
      void h.supervisor.shutDown(0);
      return openAt(h, SERVER);
    }, "shuttingDown"],
  ] as const
) {
  Deno.test(`Opening a session of ${what} is refused and leaves nothing`, async () => {
    const harness = new Harness({ moreServers: [REMOTE] });
    const reply = how(harness);
    await settle();
    assertEquals(reply.failed, failed);
    assertEquals(reply.completions, 1);
    assertEquals(reply.sessionId, undefined);
    assertEquals(harness.backends.length, 0);
    assertEquals(harness.supervisor.size, 0);
    assertEquals(harness.clock.pending, 0);
  });
}

Deno.test("Hundreds of openings in one turn open as many sessions, each with its own backend", async () => {
  const harness = new Harness();
  const replies = Array.from({ length: 500 }, (_, i) => harness.opening(request("initialize", { id: i })));
  await settle();
  assertEquals(new Set(replies.map(({ sessionId }) => sessionId)).size, 500);
  for (const [i, reply] of replies.entries()) {
    assertEquals(reply.answered?.id, i);
    assertEquals(harness.supervisor.find(SERVER, reply.sessionId!, PRINCIPAL)?.state, "active");
  }
  assertEquals(harness.supervisor.size, 500);
  const owners = new Set(harness.backends.map(({ owner }) => owner.session));
  assertEquals(owners.size, 500);
});

// [openings in one turn, refused].
for (const [openings, refused] of [[999, 0], [1_000, 0], [1_001, 1], [1_500, 500]] as const) {
  Deno.test(`Of ${openings} openings in one turn ${refused} are refused, and those leave nothing`, async () => {
    const harness = new Harness();
    const replies = Array.from({ length: openings }, () => harness.opening(request("initialize")));
    await settle();
    assertEquals(replies.filter(({ failed }) => failed === "inboxFull").length, refused);
    assert(replies.every(({ completions }) => completions === 1));
    assertEquals(harness.backends.length, openings - refused);
    assertEquals(harness.supervisor.size, openings - refused);
    const next = harness.opening(request("initialize"));
    await settle();
    assertEquals(next.answered?.id, 1, "there is room again");
  });
}

Deno.test("Shutdown without sessions is done at once", async () => {
  const harness = new Harness();
  assert(await isResolved(harness.supervisor.shutDown(5_000)));
  assertEquals(harness.clock.pending, 0);
});

Deno.test("Shutdown waits for nothing when nothing is in flight, and ends sessions at its own pace and reason", async () => {
  const harness = new Harness();
  const opened = [await harness.open(), await harness.open()];
  const { stream } = await openStream(opened[0]!.session);
  assert(await isResolved(harness.supervisor.shutDown(5_000)));
  for (const { session, backend } of opened) {
    assertEquals(session.endReason, "shutdown");
    assertEquals(backend.closes, [SHUTDOWN_PACE]);
  }
  assertFalse(stream.open);
  assertEquals(harness.supervisor.size, 0);
  assertEquals(harness.clock.pending, 0);
});

Deno.test("Shutdown waits for the requests in flight, refuses new ones meanwhile, and ends with the last answer", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { session: idle } = await harness.open();
  const call = await post(session, request("tools/call", { id: 1 }));
  const done = harness.supervisor.shutDown(5_000);
  await harness.clock.advance(100);
  assertEquals([session.state, idle.state], ["active", "active"]);
  assertEquals((await post(session, request("ping", { id: 2 }))).failed, "shuttingDown");
  assertEquals((await post(idle, request("ping", { id: 2 }))).failed, "shuttingDown");
  const opening = harness.opening(request("initialize"));
  await settle();
  assertEquals(opening.failed, "shuttingDown");
  assertEquals(harness.backends.length, 2);
  assertEquals((await post(session, message({ method: "notifications/x" }))).completion, {
    kind: "accepted",
  });
  backend.answer(1);
  await harness.clock.advance(25);
  assertEquals(call.answered?.id, 1);
  assertEquals([session.endReason, idle.endReason], ["shutdown", "shutdown"]);
  assert(await isResolved(done));
  assertEquals(harness.clock.pending, 0);
});

// How long a request that is never answered gets, in ms.
for (const drainMs of [0, 1, 24, 25, 26, 99, 5_000]) {
  Deno.test(`Shutdown gives requests in flight ${drainMs} ms, no more and no less`, async () => {
    const harness = new Harness();
    const { session, backend } = await harness.open();
    const call = await post(session, request("tools/call", { id: 1 }));
    const done = harness.supervisor.shutDown(drainMs);
    if (drainMs > 0) {
      await harness.clock.advance(drainMs - 1);
      assertEquals(session.state, "active");
      await harness.clock.advance(1);
    }
    assert(await isResolved(done));
    assertEquals(call.failed, "shuttingDown");
    assertEquals(call.completions, 1);
    assertEquals(backend.closes, [SHUTDOWN_PACE]);
    assertEquals(harness.clock.pending, 0);
  });
}

Deno.test("Shutdown waits for a server request that its client may still answer", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  await openStream(session);
  backend.says({ id: "q", method: "sampling/createMessage" });
  await settle();
  const done = harness.supervisor.shutDown(5_000);
  await harness.clock.advance(100);
  assertEquals(session.state, "active");
  await post(session, message({ id: "q", result: {} }));
  await harness.clock.advance(25);
  assert(await isResolved(done));
});

Deno.test("Shutdown is done only when the last stubborn server is gone, and sets no timer until then", async () => {
  const harness = new Harness();
  const { backend } = await harness.open();
  await harness.open();
  backend.stubborn = true;
  const done = harness.supervisor.shutDown(0);
  assertFalse(await isResolved(done));
  assertEquals(harness.supervisor.size, 1);
  assertEquals(harness.clock.pending, 0);
  backend.finishClose();
  assert(await isResolved(done));
  assertEquals(harness.supervisor.size, 0);
});

Deno.test("Shutdown that is asked for again is the same one: the first drain time stays", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await post(session, request("tools/call", { id: 1 }));
  const first = harness.supervisor.shutDown(1_000);
  await harness.clock.advance(500);
  const second = harness.supervisor.shutDown(0);
  await harness.clock.advance(499);
  assertEquals(session.state, "active");
  await harness.clock.advance(1);
  assert(await isResolved(first) && await isResolved(second));
  assert(await isResolved(harness.supervisor.shutDown(1_000)), "also when it is over");
});

Deno.test("A hurried shutdown waits for no request, and closes at the hurried pace", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const call = await post(session, request("tools/call", { id: 1 }));
  const done = harness.supervisor.shutDown(5_000);
  await harness.clock.advance(100);
  harness.supervisor.hurry();
  assert(await isResolved(done));
  assertEquals(call.failed, "shuttingDown");
  assertEquals(backend.closes, [HURRIED_PACE]);
  assertEquals(harness.clock.pending, 0);
});

Deno.test("Hurrying reaches the servers that are closing already, whatever began their end", async () => {
  const harness = new Harness();
  const deleted = await harness.open();
  const shut = await harness.open();
  for (const { backend } of [deleted, shut]) backend.stubborn = true;
  void deleted.session.end("client_delete");
  const done = harness.supervisor.shutDown(0);
  await settle();
  assertEquals(shut.backend.closes, [SHUTDOWN_PACE]);
  harness.supervisor.hurry();
  harness.supervisor.hurry();
  await settle();
  for (const { backend } of [deleted, shut]) {
    assertEquals(backend.closes.at(-1), HURRIED_PACE);
    backend.finishClose();
  }
  assert(await isResolved(done));
  assertEquals([deleted.session.endReason, shut.session.endReason], ["client_delete", "shutdown"]);
});

Deno.test("Hurrying in the very turn of the shutdown closes at the hurried pace", async () => {
  const harness = new Harness();
  const { backend } = await harness.open();
  const done = harness.supervisor.shutDown(0);
  harness.supervisor.hurry();
  assert(await isResolved(done));
  assertEquals(backend.closes.at(-1), HURRIED_PACE);
});

Deno.test("Hurrying without a shutdown does nothing", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  harness.supervisor.hurry();
  await settle();
  assertEquals(session.state, "active");
});

Deno.test("Shutdown ends sessions that start, that expired, and that end already", async () => {
  const harness = new Harness();
  const expired = await harness.open();
  await harness.clock.advance(LIMITS.idleTtlMs);
  const ending = await harness.open();
  ending.backend.stubborn = true;
  void ending.session.end("client_delete");
  harness.autoInitialize = false;
  const explicit = harness.opening(request("initialize"));
  const implicit = harness.opening(request("tools/list"), "2025-03-26");
  await settle();
  const done = harness.supervisor.shutDown(10);
  await harness.clock.advance(10);
  ending.backend.finishClose();
  assert(await isResolved(done));
  assertEquals([explicit.failed, implicit.failed], ["shuttingDown", "shuttingDown"]);
  assertEquals([explicit.completions, implicit.completions], [1, 1]);
  assertEquals(expired.session.state, "ended");
  assertEquals(ending.session.endReason, "client_delete");
  assert(harness.backends.every(({ closed }) => closed));
  assertEquals(harness.clock.pending, 0);
});
