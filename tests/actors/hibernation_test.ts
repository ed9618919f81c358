import { assert, assertEquals, assertMatch } from "@std/assert";
import { HURRIED_PACE } from "../../backends/backend.ts";
import type { Failure } from "../../errors.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, type HarnessOptions, message, openStream, post, request } from "../fakes/harness.ts";

const AFTER = 10_000;

function failureOf({ completion }: FakeReply): Failure | undefined {
  return completion?.kind === "failed" ? completion.failure : undefined;
}

async function asleep(options: HarnessOptions = {}) {
  const harness = new Harness({ ...options, limits: { hibernateAfterMs: AFTER, ...options.limits } });
  const opened = await harness.open();
  await harness.clock.advance(AFTER);
  assertEquals(opened.session.state, "hibernated");
  return { harness, ...opened };
}

Deno.test("An idle session gives its backend back after hibernateAfterMs and lives on until its TTL", async () => {
  const harness = new Harness({ limits: { hibernateAfterMs: AFTER } });
  const { session, backend } = await harness.open();
  await harness.clock.advance(AFTER - 1);
  assertEquals([session.state, backend.closes.length], ["active", 0]);
  await harness.clock.advance(1);
  assertEquals([session.state, backend.closed, session.pid], ["hibernated", true, undefined]);
  assertEquals(harness.supervisor.door.counts.processes, 0);
  assertEquals(harness.supervisor.slumbers, { hibernations: 1, revivals: 0, failures: 0 });
  await harness.clock.advance(harness.limits.idleTtlMs - AFTER - 1);
  assertEquals(session.state, "hibernated");
  await harness.clock.advance(1);
  assertEquals([session.state, session.verdict?.reason], ["expired", "idle"]);
  await session.end("idle");
  await settle();
  assertEquals([harness.supervisor.size, harness.clock.pending], [0, 0]);
});

for (const hibernateAfterMs of [0, 300_000, 400_000]) {
  Deno.test(`A session with a TTL of 300000 ms and hibernateAfterMs ${hibernateAfterMs} keeps its backend`, async () => {
    const harness = new Harness({ limits: { hibernateAfterMs } });
    const { session, backend } = await harness.open();
    await harness.clock.advance(299_999);
    assertEquals([session.state, backend.closes.length], ["active", 0]);
    await harness.clock.advance(1);
    assertEquals(session.state, "expired");
    await session.end("idle");
  });
}

Deno.test("The next request revives the backend with what the client and it agreed on, and is answered", async () => {
  const { harness, session } = await asleep();
  const reply = await post(session, request("tools/list", { id: 7 }));
  const { backend } = harness;
  assertEquals(harness.backends.length, 2);
  assertEquals(backend.methods, ["initialize", "notifications/initialized", "tools/list"]);
  const [asked, again] = harness.backends.map(({ received }) => received[0]);
  assert(asked?.kind === "request" && again?.kind === "request");
  assertEquals(again.params, asked.params ?? {});
  backend.answer(7, { tools: [] });
  await settle();
  assertEquals(reply.answered?.result, { tools: [] });
  assertEquals([session.state, harness.supervisor.door.counts.processes], ["active", 1]);
  assertEquals(harness.supervisor.slumbers, { hibernations: 1, revivals: 1, failures: 0 });
  const events = session.account.timeline.entries.map(({ event }) => event);
  assertEquals(events.filter((event) => event === "hibernated" || event === "revived"), [
    "hibernated",
    "revived",
  ]);
  await session.end("client_delete");
});

Deno.test("What else the client asked for good is asked for again, and its answers go nowhere", async () => {
  const harness = new Harness({ limits: { hibernateAfterMs: AFTER } });
  const { session, backend } = await harness.open();
  const asked: [string, Record<string, unknown>, boolean][] = [
    ["logging/setLevel", { level: "debug" }, true],
    ["logging/setLevel", { level: "warning" }, true],
    ["logging/setLevel", { level: "refused" }, false],
    ["resources/subscribe", { uri: "a" }, true],
    ["resources/subscribe", { uri: "b" }, true],
    ["resources/subscribe", { uri: "refused" }, false],
    ["resources/unsubscribe", { uri: "a" }, true],
  ];
  for (const [n, [method, params, agreed]] of asked.entries()) {
    await post(session, request(method, { id: n, params }));
    if (agreed) backend.answer(n);
    else backend.says({ id: n, error: { code: -32602, message: "no" } });
    await settle();
  }
  await harness.clock.advance(AFTER);
  const { stream } = await openStream(session);
  const reply = await post(session, request("ping", { id: "p" }));
  const revived = harness.backend;
  assertEquals(
    revived.received.slice(2, 4).map((sent) => sent.kind === "request" && [sent.method, sent.params]),
    [
      ["logging/setLevel", { level: "warning" }],
      ["resources/subscribe", { uri: "b" }],
    ],
  );
  for (const sent of revived.received.slice(2, 4)) {
    if (sent.kind === "request") revived.says({ id: sent.id, error: { code: -1, message: "not any more" } });
  }
  revived.answer("p");
  await settle();
  assertEquals([reply.answered?.id, stream.sent.length, session.state], ["p", 0, "active"]);
  await session.end("client_delete");
});

Deno.test("Requests that come at once to a hibernated session start one backend, and keep their order", async () => {
  const { harness, session } = await asleep({ autoInitialize: true });
  harness.autoInitialize = false;
  const replies = [1, 2, 3].map((id) => {
    const reply = new FakeReply();
    session.post({ tag: "message", message: request("ping", { id }), reply });
    return reply;
  });
  await settle();
  assertEquals([harness.backends.length, harness.backend.methods, session.inFlight], [2, ["initialize"], 3]);
  harness.backend.answer("sojourn:initialize", INITIALIZE_RESULT);
  await settle();
  assertEquals(harness.backend.received.slice(2).map((sent) => sent.kind === "request" && sent.id), [
    1,
    2,
    3,
  ]);
  for (const id of [1, 2, 3]) harness.backend.answer(id);
  await settle();
  assertEquals(replies.map(({ answered }) => answered?.id), [1, 2, 3]);
  await session.end("client_delete");
});

Deno.test("While a backend is being revived nothing expires, and a slow one turns the reply into a stream", async () => {
  const { harness, session } = await asleep({ limits: { startTimeoutMs: 60_000, idleTtlMs: 20_000 } });
  harness.autoInitialize = false;
  await harness.clock.advance(9_000);
  const reply = await post(session, request("ping", { id: 1 }));
  await harness.clock.advance(30_000);
  assertEquals([session.state, reply.streaming, session.idleMs], ["hibernated", true, 0]);
  harness.backend.answer("sojourn:initialize", INITIALIZE_RESULT);
  await settle();
  harness.backend.answer(1);
  await settle();
  assertEquals(reply.answered?.id, 1);
  await session.end("client_delete");
});

const CHANGES: [string, Record<string, unknown>, RegExp][] = [
  [
    "another name",
    { serverInfo: { name: "other", version: "1" } },
    /another name than before: "other" instead of "fake"/,
  ],
  ["another version of the protocol", { protocolVersion: "2025-03-26" }, /another protocol version/],
  [
    "more capabilities",
    { capabilities: { tools: {} } },
    /another capabilities than before: \{"tools":\{\}\} instead of \{\}/,
  ],
];
for (const [what, changed, why] of CHANGES) {
  Deno.test(`A revived server with ${what} is not the one that the client knows: 404 with the difference`, async () => {
    const { harness, session } = await asleep();
    harness.autoInitialize = false;
    const replies = [
      await post(session, request("ping", { id: 1 })),
      await post(session, request("ping", { id: 2 })),
    ];
    harness.backend.answer("sojourn:initialize", { ...INITIALIZE_RESULT, ...changed });
    await settle();
    assertEquals([session.state, session.endReason], ["ended", "server_changed"]);
    for (const reply of replies) {
      const failure = failureOf(reply)!;
      assertEquals(failure.code, "sessionNotFound");
      assertMatch(JSON.stringify(failure.data), new RegExp(why.source.replaceAll('"', '\\\\"')));
    }
    assertMatch(session.verdict!.detail!, why);
    assertEquals(harness.supervisor.size, 0);
  });
}

Deno.test("A server's version, its instructions and the order of its capabilities may change", async () => {
  const { harness, session } = await asleep();
  harness.autoInitialize = false;
  await post(session, request("ping", { id: 1 }));
  harness.backend.answer("sojourn:initialize", {
    instructions: "new",
    serverInfo: { version: "2", name: "fake" },
    capabilities: {},
    protocolVersion: INITIALIZE_RESULT.protocolVersion,
  });
  await settle();
  assertEquals(session.state, "active");
  await session.end("client_delete");
});

const FAILURES: [string, (harness: Harness) => unknown, string][] = [
  ["exits", ({ backend }) => backend.exit(), 'server "fake" exited with code 1'],
  [
    "refuses",
    ({ backend }) => backend.says({ id: "sojourn:initialize", error: { code: -1, message: "no" } }),
    'server "fake" refused initialize: no',
  ],
  [
    "does not answer",
    ({ clock }) => clock.advance(60_000),
    'server "fake" did not answer initialize within 60000 ms',
  ],
];
for (const [what, fail, detail] of FAILURES) {
  Deno.test(`A server that ${what} when it is revived fails what waits, and the session tries again`, async () => {
    const { harness, session } = await asleep();
    harness.autoInitialize = false;
    const first = await post(session, request("ping", { id: 1 }));
    const second = await post(session, request("ping", { id: 2 }));
    await fail(harness);
    await settle();
    for (const reply of [first, second]) {
      assertEquals(failureOf(reply), { code: "backendStartFailed", detail });
    }
    assertEquals([session.state, harness.supervisor.slumbers.failures], ["hibernated", 1]);
    assertEquals(harness.supervisor.door.counts.processes, 0);
    harness.autoInitialize = true;
    const third = await post(session, request("ping", { id: 3 }));
    harness.backend.answer(3);
    await settle();
    assertEquals([third.answered?.id, session.state], [3, "active"]);
    await session.end("client_delete");
    await settle();
    assertEquals([harness.supervisor.size, harness.clock.pending], [0, 0]);
  });
}

Deno.test("A server that dies idle leaves its session hibernated; with a request in flight that fails first", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  backend.exit();
  await settle();
  assertEquals([session.state, backend.closed], ["hibernated", true]);
  const lost = await post(session, request("tools/call", { id: 1 }));
  harness.backend.exit({ cause: "exit", detail: "was ended by SIGKILL" });
  await settle();
  assertEquals(failureOf(lost), { code: "backendGone", detail: 'server "fake" was ended by SIGKILL' });
  assertEquals(session.state, "hibernated");
  const next = await post(session, request("tools/call", { id: 1 }));
  harness.backend.answer(1);
  await settle();
  assertEquals([next.answered?.id, harness.backends.length], [1, 3]);
  await session.end("client_delete");
});

Deno.test("A stateful server is never revived: its session ends with it, and does not hibernate", async () => {
  const harness = new Harness({ limits: { stateful: true, hibernateAfterMs: AFTER } });
  const { session, backend } = await harness.open();
  await harness.clock.advance(2 * AFTER);
  assertEquals(session.state, "active");
  backend.exit();
  await settle();
  assertEquals(session.endReason, "backend_exit");
});

Deno.test("A client that asked for a task keeps its server, which may still work on it", async () => {
  const harness = new Harness({ limits: { hibernateAfterMs: AFTER } });
  const { session, backend } = await harness.open();
  await post(session, request("tools/call", { id: 1, params: { name: "slow", task: { ttl: 60_000 } } }));
  backend.answer(1, { task: { taskId: "t", status: "working" } });
  await harness.clock.advance(2 * AFTER);
  assertEquals([session.state, session.mayHibernate], ["active", false]);
  await session.end("client_delete");
});

Deno.test("Open streams stay open through it, and hear what the next server says", async () => {
  const harness = new Harness({ limits: { hibernateAfterMs: AFTER } });
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  await harness.clock.advance(AFTER);
  assertEquals([session.state, stream.open], ["hibernated", true]);
  await post(session, message({ method: "notifications/roots/list_changed" }));
  assertEquals(session.state, "active");
  harness.backend.says({ method: "notifications/tools/list_changed" });
  await settle();
  assertEquals([stream.open, stream.messages.length], [true, 1]);
  await session.end("client_delete");
});

Deno.test("Neither a stream, nor a late answer, nor what belongs to a request that is over wakes a session", async () => {
  const { harness, session } = await asleep();
  await openStream(session);
  for (
    const idle of [
      message({ id: "late", result: {} }),
      message({ method: "notifications/cancelled", params: { requestId: 1 } }),
      message({ method: "notifications/progress", params: { progressToken: 1, progress: 1 } }),
    ]
  ) assertEquals((await post(session, idle)).completion?.kind, "accepted");
  assertEquals([session.state, harness.backends.length], ["hibernated", 1]);
  await session.end("client_delete");
});

Deno.test("Another initialize is refused without waking anything", async () => {
  const { harness, session } = await asleep();
  assertEquals((await post(session, request("initialize", { id: 9 }))).failed, "alreadyInitialized");
  assertEquals(harness.backends.length, 1);
  await session.end("client_delete");
});

Deno.test("A backend that takes its time to leave is hurried, and the next one waits for it", async () => {
  const harness = new Harness({ limits: { hibernateAfterMs: AFTER } });
  const { session, backend } = await harness.open();
  backend.stubborn = true;
  await harness.clock.advance(AFTER);
  const reply = await post(session, request("ping", { id: 1 }));
  assertEquals([harness.backends.length, backend.closes.at(-1)], [1, HURRIED_PACE]);
  assertEquals(harness.supervisor.door.counts.processes, 1);
  // What it still says concerns nobody.
  backend.events.message(message({ id: 1, result: { from: "the old one" } }));
  backend.finishClose();
  await settle();
  assertEquals([harness.backends.length, reply.completions], [2, 0]);
  harness.backend.answer(1, { from: "the new one" });
  await settle();
  assertEquals(reply.answered?.result, { from: "the new one" });
  await session.end("client_delete");
  await settle();
  assertEquals(harness.supervisor.door.counts.processes, 0);
});

Deno.test("A session that keeps waking up waits twice as long before it sleeps again, up to its TTL", async () => {
  const { harness, session } = await asleep({ limits: { idleTtlMs: 70_000 } });
  const wake = async (id: number) => {
    await post(session, request("ping", { id }));
    harness.backend.answer(id);
    await settle();
  };
  const sleepsAfter = async () => {
    for (let ms = AFTER; ms <= 80_000; ms += AFTER) {
      await harness.clock.advance(AFTER);
      if (session.state !== "active") return session.state === "hibernated" ? ms : Infinity;
    }
    return Infinity;
  };
  await wake(1);
  assertEquals(await sleepsAfter(), 20_000);
  // It slept for as long as it had waited: that is no flutter.
  await harness.clock.advance(20_000);
  await wake(2);
  assertEquals(await sleepsAfter(), 10_000);
  await wake(3);
  assertEquals(await sleepsAfter(), 20_000);
  await wake(4);
  assertEquals(await sleepsAfter(), 40_000);
  await wake(5);
  assertEquals(await sleepsAfter(), Infinity);
  await session.end("idle");
});

Deno.test("Where processes are scarce an idle session that may hibernates for one that is to be opened or revived", async () => {
  const harness = new Harness({
    limits: { hibernateAfterMs: 100_000 },
    admission: { maxProcesses: 2 },
    admissionWaitMs: 1_000,
  });
  const first = await harness.open();
  await harness.clock.advance(10);
  const second = await harness.open();
  await harness.clock.advance(10);
  const third = await harness.open();
  assertEquals([first, second, third].map(({ session }) => session.state), [
    "hibernated",
    "active",
    "active",
  ]);
  assertEquals(harness.supervisor.door.counts, { sessions: 3, processes: 2, waiting: 0, refused: 0 });
  await harness.clock.advance(10);
  const reply = await post(first.session, request("ping", { id: 1 }));
  await settle();
  assertEquals([first, second, third].map(({ session }) => session.state), [
    "active",
    "hibernated",
    "active",
  ]);
  harness.backend.answer(1);
  await settle();
  assertEquals(reply.answered?.id, 1);
  for (const { session } of [first, second, third]) await session.end("client_delete");
  await settle();
  await settle();
  assertEquals(harness.supervisor.door.counts.processes, 0);
});

Deno.test("Where there is no process to be had a waking session is refused with a time, and stays", async () => {
  const harness = new Harness({ admission: { maxProcesses: 1 }, admissionWaitMs: 1_000 });
  const sleeping = await harness.open();
  sleeping.backend.exit();
  await settle();
  const busy = await harness.open();
  await post(busy.session, request("tools/call", { id: 1 }));
  const reply = await post(sleeping.session, request("ping", { id: 1 }));
  assertEquals([reply.completions, sleeping.session.inFlight], [0, 1]);
  await harness.clock.advance(1_000);
  assertEquals(reply.failed, "limitReached");
  assertEquals([sleeping.session.state, sleeping.session.inFlight], ["hibernated", 0]);
  await busy.session.end("client_delete");
  const next = await post(sleeping.session, request("ping", { id: 2 }));
  harness.backend.answer(2);
  await settle();
  assertEquals(next.answered?.id, 2);
  await sleeping.session.end("client_delete");
});

Deno.test("A client that deletes its session while it waits for a backend takes the place of nobody", async () => {
  const harness = new Harness({ admission: { maxProcesses: 1 }, admissionWaitMs: 1_000 });
  const sleeping = await harness.open();
  sleeping.backend.exit();
  await settle();
  const busy = await harness.open();
  await post(busy.session, request("tools/call", { id: 1 }));
  const reply = await post(sleeping.session, request("ping", { id: 1 }));
  await sleeping.session.end("client_delete");
  assertEquals(reply.failed, "sessionNotFound");
  await busy.session.end("client_delete");
  await settle();
  assertEquals([harness.backends.length, harness.supervisor.door.counts.processes], [2, 0]);
  assertEquals([harness.supervisor.size, harness.clock.pending], [0, 0]);
});

Deno.test("Servers that die in their sessions' sleep are in quarantine, for revivals too", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  for (let n = 0; n < 20 && harness.supervisor.door.quarantined.length === 0; n++) {
    harness.backend.exit();
    await settle();
    await post(session, message({ method: "notifications/roots/list_changed" }));
  }
  assertEquals(harness.supervisor.door.quarantined.map(({ serverId }) => serverId), ["fake"]);
  assertEquals(session.state, "hibernated");
  const reply = await post(session, request("ping", { id: 1 }));
  assertEquals(reply.failed, "serverQuarantined");
  await harness.clock.advance(1_000);
  await post(session, request("ping", { id: 2 }));
  assertEquals([session.state, harness.supervisor.door.quarantined], ["active", []]);
  await session.end("client_delete");
});

Deno.test("A stream that is full keeps the server stopped that comes next, until it was read", async () => {
  const harness = new Harness({ limits: { hibernateAfterMs: AFTER } });
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  stream.watcher!.full();
  await harness.clock.advance(AFTER);
  await post(session, request("ping", { id: 1 }));
  assert(harness.backend.paused);
  stream.watcher!.room();
  await settle();
  assertEquals(harness.backend.paused, false);
  await session.end("client_delete");
});
