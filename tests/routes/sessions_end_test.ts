import { assert, assertEquals } from "@std/assert";
import { END_REASONS, type EndReason } from "../../actors/supervisor.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { message, openStream, post, request, SERVER } from "../fakes/harness.ts";
import { Monitoring, type MonitoringOptions, OTHER } from "../fakes/monitoring.ts";

type Opened = Awaited<ReturnType<Monitoring["open"]>>;

/** How a session comes to its end, and what is then to be told. */
interface EndCase {
  readonly options?: MonitoringOptions;
  readonly end: (opened: Opened, monitoring: Monitoring) => unknown;
  readonly message?: string;
  readonly by: string;
  readonly idleMs: number;
  readonly ttlMs?: number | null;
}

const ENDS: Readonly<Record<EndReason, EndCase>> = {
  client_gone: {
    end: ({ session }) => session.end("client_gone"),
    by: "client",
    idleMs: 1_000,
  },
  client_delete: {
    end: ({ session }) => session.end("client_delete"),
    by: "client",
    idleMs: 1_000,
  },
  idle: {
    end: async ({ session }, { harness }) => {
      await harness.clock.advance(299_000);
      await session.end(session.verdict!.reason);
    },
    by: "time",
    idleMs: 300_000,
  },
  implicit: {
    options: { limits: { implicitTtlMs: 2_000 } },
    end: (_opened, { harness }) => harness.clock.advance(2_000),
    by: "time",
    idleMs: 2_000,
    ttlMs: 2_000,
  },
  max_lifetime: {
    options: { limits: { idleTtlMs: 0, maxLifetimeMs: 5_000 } },
    end: async ({ session }, { harness }) => {
      await harness.clock.advance(4_000);
      await session.end(session.verdict!.reason);
    },
    by: "time",
    idleMs: 5_000,
    ttlMs: null,
  },
  evicted: {
    options: { limits: { evictable: true } },
    end: async ({ session }) => {
      session.evict();
      await session.end("evicted");
    },
    by: "memory pressure",
    idleMs: 1_000,
  },
  backend_exit: {
    options: { limits: { stateful: true } },
    end: ({ backend }) => backend.exit({ cause: "exit", detail: "exited with code 7" }),
    message: 'server "fake" exited with code 7',
    by: "server",
    idleMs: 1_000,
  },
  backend_start_failed: {
    options: { autoInitialize: false },
    end: ({ backend }) => backend.exit({ cause: "exit", detail: "exited with code 8" }),
    message: 'server "fake" exited with code 8',
    by: "server",
    idleMs: 0,
  },
  admin: {
    end: ({ handle }, monitoring) => monitoring.ask("DELETE", `/sessions/${handle}`),
    by: "administrator",
    idleMs: 1_000,
  },
  shutdown: {
    end: (_opened, { harness }) => harness.supervisor.shutDown(0),
    by: "gateway",
    idleMs: 1_000,
  },
  protocol_error: {
    end: ({ backend }) => backend.exit({ cause: "overlong", detail: "sent a line that is too long" }),
    message: 'server "fake" sent a line that is too long',
    by: "server",
    idleMs: 1_000,
  },
  server_changed: {
    end: async ({ session, backend }, { harness }) => {
      backend.exit();
      harness.autoInitialize = false;
      await settle();
      session.post({ tag: "message", message: request("tools/list"), reply: new FakeReply() });
      await settle();
      harness.backend.answer("sojourn:initialize", { ...INITIALIZE_RESULT, serverInfo: { name: "other" } });
    },
    message: 'server "fake" has another name than before: "other" instead of "fake"',
    by: "server",
    idleMs: 0,
  },
  stateful: { end: ({ session }) => session.end("stateful"), by: "gateway", idleMs: 1_000 },
  store_failed: { end: ({ session }) => session.end("store_failed"), by: "gateway", idleMs: 1_000 },
};

/** Opens a session without `initialize`. */
async function openImplicitly(monitoring: Monitoring): Promise<Opened> {
  const { harness } = monitoring;
  harness.opening(request("ping", { id: 1 }), "2025-06-18");
  await settle();
  const [session] = harness.supervisor.sessions;
  harness.backend.answer(1);
  await settle();
  return { session: session!, backend: harness.backend, id: session!.id, handle: session!.handle };
}

for (
  const [reason, { options = {}, end, message: why, by, idleMs, ttlMs = 300_000 }] of Object.entries(ENDS)
) {
  Deno.test(`An end with the reason ${reason} is explained`, async () => {
    await using monitoring = await Monitoring.start(options);
    const { clock } = monitoring.harness;
    const opened = reason === "implicit" ? await openImplicitly(monitoring) : await monitoring.open();
    if (reason !== "implicit") await clock.advance(1_000);
    monitoring.harness.scale.set(0.123456);
    await end(opened, monitoring);
    await settle();
    const endedAt = new Date(clock.wallTime()).toISOString();
    await clock.advance(5_000);
    const { status, body } = await monitoring.get(`/sessions/${opened.handle}`);
    assertEquals([status, body.state, body.endReason, body.endedAt], [200, "ended", reason, endedAt]);
    const origin = null;
    const ttl = {
      effectiveMs: ttlMs,
      configuredMs: ttlMs,
      source: reason === "implicit" ? "implicitTtlMs" : "idleTtlMs",
      origin,
      why: reason === "implicit"
        ? "implicitTtlMs is 2000"
        : ttlMs === null
        ? "idleTtlMs is 0: never"
        : "idleTtlMs is 300000",
    };
    assertEquals(body.end, {
      reason,
      message: why ?? END_REASONS[reason as EndReason],
      by,
      at: endedAt,
      idleMs,
      ttl,
      pressure: 0.123,
    });
    assertEquals([body.idleMs, body.ttl, body.backend, body.deadline, body.requests], [
      idleMs,
      ttl,
      null,
      null,
      [],
    ]);
    assertEquals(body.timeline.at(-1).event, "ended");
  });
}

Deno.test("A TTL that pressure had shortened is explained with both values and the pressure then", async () => {
  await using monitoring = await Monitoring.start();
  const { harness: { clock, scale } } = monitoring;
  const { session, handle } = await monitoring.open({ serverId: OTHER });
  scale.set(0.9);
  await clock.advance(45_000);
  // What is so later does not matter.
  scale.set(0.1);
  const expired = (await monitoring.get(`/sessions/${handle}`)).body;
  assertEquals([expired.state, expired.end.reason, expired.deadline], ["expired", "idle", null]);
  await session.end("idle");
  const { end } = (await monitoring.get(`/sessions/${handle}`)).body;
  assertEquals(end, expired.end);
  assertEquals([end.idleMs, end.pressure, end.ttl], [45_000, 0.9, {
    effectiveMs: 45_000,
    configuredMs: 60_000,
    source: "idleTtlMs",
    origin: "file",
    why: "idleTtlMs is 60000 (file), shortened to 45000 ms by memory pressure",
  }]);
});

Deno.test("An end that is no longer remembered is that of no session", async () => {
  await using monitoring = await Monitoring.start({ tombstones: 1 });
  const [first, second] = [await monitoring.open(), await monitoring.open()];
  await first.session.end("idle");
  assertEquals((await monitoring.get(`/sessions/${first.handle}`)).status, 200);
  await second.session.end("idle");
  await settle();
  assertEquals((await monitoring.get(`/sessions/${first.handle}`)).status, 404);
  assertEquals((await monitoring.get(`/sessions/${second.handle}`)).status, 200);
});

Deno.test("DELETE ends a session whatever it does, says how it was, and may be sent again", async () => {
  await using monitoring = await Monitoring.start();
  const { session, backend, handle } = await monitoring.open();
  backend.stubborn = true;
  const call = await post(session, request("tools/call", { id: 1 }));
  const first = await monitoring.ask("DELETE", `/sessions/${handle}`);
  assertEquals([first.status, first.body.state, first.body.end.reason], [200, "ended", "admin"]);
  assertEquals(call.failed, "sessionEnded");
  await monitoring.harness.clock.advance(1_000);
  const again = await monitoring.ask("DELETE", `/sessions/${handle}`);
  assertEquals([again.status, again.body], [200, first.body]);
  backend.finishClose();
  await settle();
  assertEquals((await monitoring.ask("DELETE", `/sessions/${handle}`)).body, first.body);
  assertEquals(backend.closes.length, 2, "the second only asks to go on");
});

Deno.test("DELETE of an expired session leaves it its reason", async () => {
  await using monitoring = await Monitoring.start();
  const { handle, backend } = await monitoring.open();
  await monitoring.harness.clock.advance(300_000);
  assert(!backend.closed);
  const { body } = await monitoring.ask("DELETE", `/sessions/${handle}`);
  assertEquals([body.state, body.end.reason], ["ended", "idle"]);
  await settle();
  assert(backend.closed);
});

Deno.test("An extension keeps an idle session for so long, and is in its timeline", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  const { clock } = monitoring.harness;
  const { handle, session } = await monitoring.open();
  await clock.advance(100_000);
  const extend = (ms: number) =>
    monitoring.ask("POST", `/sessions/${handle}/extend`, { as: "admin", body: JSON.stringify({ ms }) });
  const inMs = (ms: number) => new Date(clock.wallTime() + ms).toISOString();
  const { status, body } = await extend(600_000);
  assertEquals([status, body], [200, {
    id: handle,
    inFlight: 0,
    deadline: inMs(600_000),
    endOfLife: null,
  }]);
  // It would live longer anyway.
  assertEquals((await extend(1_000)).body.deadline, inMs(600_000));
  const { timeline } = (await monitoring.get(`/sessions/${handle}`, "admin")).body;
  assertEquals(timeline.at(-2), {
    at: inMs(0),
    event: "deadline_moved",
    detail: "extended by 600000 ms by admin",
  });
  await clock.advance(599_999);
  assertEquals(session.state, "active");
  await clock.advance(1);
  assertEquals(session.state, "expired");
});

Deno.test("An extension ends with the maximum lifetime, and of a session that never expires there is none", async () => {
  await using monitoring = await Monitoring.start({ limits: { maxLifetimeMs: 1_000_000 } });
  const { clock } = monitoring.harness;
  const { handle } = await monitoring.open();
  const end = new Date(clock.wallTime() + 1_000_000).toISOString();
  const extend = async () =>
    (await monitoring.ask("POST", `/sessions/${handle}/extend`, { body: '{"ms": 31622400000}' })).body;
  assertEquals(await extend(), { id: handle, inFlight: 0, deadline: end, endOfLife: end });
  await using never = await Monitoring.start({ limits: { idleTtlMs: 0 } });
  const opened = await never.open();
  const { body } = await never.ask("POST", `/sessions/${opened.handle}/extend`, { body: '{"ms": 1}' });
  assertEquals(body.deadline, null);
});

Deno.test("What is over cannot be extended, and it is said why", async () => {
  await using monitoring = await Monitoring.start();
  const { clock } = monitoring.harness;
  const [expired, ended, closing] = [
    await monitoring.open(),
    await monitoring.open(),
    await monitoring.open(),
  ];
  closing.backend.stubborn = true;
  await ended.session.end("client_delete");
  void closing.session.end("admin");
  await settle();
  clock.stall(300_000);
  for (
    const [{ handle }, reason] of [[expired, "idle"], [ended, "client_delete"], [closing, "admin"]] as const
  ) {
    const { status, body } = await monitoring.ask("POST", `/sessions/${handle}/extend`, { body: '{"ms":1}' });
    assertEquals([status, body.title, body.detail, body.end.reason], [
      409,
      "Conflict",
      `Session is over: ${END_REASONS[reason]}`,
      reason,
    ]);
  }
});

Deno.test("Sessions in use stay when many are ended, unless that is forced", async () => {
  for (const force of [false, true]) {
    await using monitoring = await Monitoring.start();
    const { harness } = monitoring;
    const idle = await monitoring.open();
    const called = await monitoring.open();
    await post(called.session, request("tools/call", { id: 1 }));
    const asked = await monitoring.open();
    harness.autoInitialize = false;
    const starting = await monitoring.open();
    const elsewhere = await monitoring.open({ serverId: OTHER });
    const query = `/sessions?serverId=${SERVER}&force=${force}`;
    const all = [idle, called, asked, starting];
    const expected = force ? all : [idle, asked];
    const rest = { reason: "admin", matched: 4, inUse: 4 - expected.length, truncated: false };
    const dry = (await monitoring.ask("DELETE", `${query}&dryRun=true`)).body;
    const handles = expected.map(({ handle }) => handle);
    assertEquals(dry, { dryRun: true, ended: expected.length, sessions: handles, ...rest });
    assertEquals(all.map(({ session }) => session.endReason), all.map(() => undefined));
    const { status, body } = await monitoring.ask("DELETE", query);
    assertEquals([status, body], [200, { ...dry, dryRun: false }]);
    for (const opened of all) {
      assertEquals(opened.session.endReason, expected.includes(opened) ? "admin" : undefined);
    }
    assertEquals(elsewhere.session.endReason, undefined);
  }
});

Deno.test("One that is put to use while many are ended is not ended", async () => {
  await using monitoring = await Monitoring.start();
  const opened = [];
  for (let n = 0; n < 120; n++) opened.push(await monitoring.open());
  const pending = monitoring.ask("DELETE", "/sessions?minIdleMs=0");
  // Fifty are ended in one turn; the last ones have a call by the time it is theirs.
  const used = opened.slice(-5);
  const calls = used.map(({ session }) => post(session, request("tools/call", { id: 1 })));
  const { body } = await monitoring.patiently(pending);
  await Promise.all(calls);
  assertEquals([body.matched, body.inUse, body.ended], [120, 5, 115]);
  for (const [at, { session, backend }] of opened.entries()) {
    assertEquals(session.state, at < 115 ? "ended" : "active");
    if (at >= 115) backend.answer(1);
  }
});

Deno.test("A session that its server begins to use in the very turn stays", async () => {
  await using monitoring = await Monitoring.start();
  const { session, backend } = await monitoring.open();
  await openStream(session);
  // What the server asks waits in the inbox, and so does the end behind it.
  backend.says({ id: "q", method: "roots/list" });
  assertEquals(session.inFlight, 0);
  session.endIfIdle("admin", { detail: undefined });
  await settle();
  assertEquals([session.state, session.inFlight], ["active", 1]);
  await post(session, message({ id: "q", result: {} }));
  session.endIfIdle("admin", { detail: undefined });
  await settle();
  assertEquals(session.endReason, "admin");
});

Deno.test("Clients that come back at once keep their new sessions when all are ended", async () => {
  await using monitoring = await Monitoring.start();
  const { events } = monitoring.harness.supervisor;
  for (let n = 0; n < 200; n++) await monitoring.open();
  const again: ReturnType<Monitoring["open"]>[] = [];
  const unsubscribe = events.subscribe(({ type }) => {
    if (type === "ended") again.push(monitoring.open());
  });
  const { body } = await monitoring.patiently(monitoring.ask("DELETE", "/sessions?all=true"));
  unsubscribe();
  assertEquals([body.matched, body.ended, again.length], [200, 200, 200]);
  for (const { session } of await Promise.all(again)) assertEquals(session.state, "active");
});

Deno.test("Of very many that are ended the first thousand are named", async () => {
  await using monitoring = await Monitoring.start();
  for (let n = 0; n < 1_100; n++) await monitoring.open();
  const { body } = await monitoring.patiently(monitoring.ask("DELETE", "/sessions?all=true&dryRun=true"));
  assertEquals([body.ended, body.sessions.length, body.truncated], [1_100, 1_000, true]);
});

Deno.test("Filters say which of many are ended", async () => {
  await using monitoring = await Monitoring.start({ limits: { idleTtlMs: 50_000 } });
  const { clock } = monitoring.harness;
  const expired = await monitoring.open();
  await clock.advance(30_000);
  const old = await monitoring.open();
  await clock.advance(20_000);
  const young = await monitoring.open();
  const would = async (query: string) =>
    (await monitoring.ask("DELETE", `/sessions?dryRun=true&${query}`)).body.sessions;
  assertEquals(await would("all=true"), [expired, old, young].map(({ handle }) => handle));
  assertEquals(await would("minIdleMs=20000"), [expired, old].map(({ handle }) => handle));
  assertEquals(await would("state=expired"), [expired.handle]);
  assertEquals(await would("state=active&minIdleMs=1"), [old.handle]);
  assertEquals(await would("kind=bridge"), []);
  const { body } = await monitoring.ask("DELETE", "/sessions?state=expired");
  assertEquals([body.sessions, expired.session.endReason], [[expired.handle], "idle"]);
});
