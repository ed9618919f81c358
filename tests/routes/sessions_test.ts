import { assert, assertEquals, assertMatch } from "@std/assert";
import type { SweepStatus } from "../../routes/session_summary.ts";
import { limitsFor, ttlView } from "../../routes/session_view.ts";
import { settle } from "../fakes/fake_clock.ts";
import { LIMITS, message, openStream, post, request, SERVER } from "../fakes/harness.ts";
import { Monitoring, OTHER } from "../fakes/monitoring.ts";

const SWEEP: SweepStatus = {
  intervalMs: 100_000,
  lastSweep: { at: 1_700_000_000_000, asked: 7, expired: 2, evicted: 1, tookMs: 3.7 },
  reading: { memory: 0.41237, sessions: 0.1, processes: 0.5, lag: 0 },
  closing: 2,
};

Deno.test("A list shows each session with nothing that could be used as its id", async () => {
  await using monitoring = await Monitoring.start();
  const { handle, id, session } = await monitoring.open();
  await monitoring.harness.clock.advance(1_500);
  const { status, headers, body } = await monitoring.get("/sessions");
  assertEquals([status, headers.get("content-type"), headers.get("cache-control")], [
    200,
    "application/json",
    "no-store",
  ]);
  assertMatch(handle, /^[0-9a-f]{12}$/);
  assert(!id.includes(handle));
  const { clock } = monitoring.harness;
  assertEquals(body.sessions, [{
    id: handle,
    serverId: SERVER,
    principal: "anyone",
    kind: "streamable",
    state: "active",
    protocolVersion: "2025-06-18",
    openedAt: new Date(session.account.timeline.openedAt).toISOString(),
    endedAt: null,
    idleMs: 1_500,
    inFlight: 0,
    openStreams: 0,
    deadline: new Date(clock.wallTime() + 298_500).toISOString(),
    ttlMs: 300_000,
    pid: 4242,
    endReason: null,
  }]);
  assertEquals([body.total, body.nextCursor, body.asOf], [1, null, new Date(clock.wallTime()).toISOString()]);
});

Deno.test("A session in use has no deadline, as none is running", async () => {
  await using monitoring = await Monitoring.start();
  const { session, backend, handle } = await monitoring.open();
  await post(session, request("tools/call", { id: 7 }));
  await monitoring.harness.clock.advance(400_000);
  const { body } = await monitoring.get("/sessions");
  const [{ deadline, idleMs, inFlight }] = body.sessions;
  assertEquals([deadline, idleMs, inFlight], [null, 0, 1]);
  const detail = (await monitoring.get(`/sessions/${handle}`)).body;
  assertEquals(detail.requests, [{ from: "client", method: "tools/call", ageMs: 400_000 }]);
  backend.answer(7);
});

Deno.test("What never expires has null for a TTL and a deadline", async () => {
  await using monitoring = await Monitoring.start({ limits: { idleTtlMs: 0 } });
  const { handle } = await monitoring.open();
  const { body } = await monitoring.get(`/sessions/${handle}`);
  assertEquals([body.ttlMs, body.deadline, body.endOfLife], [null, null, null]);
  assertEquals(body.ttl, {
    effectiveMs: null,
    configuredMs: null,
    source: "idleTtlMs",
    origin: null,
    why: "idleTtlMs is 0: never",
  });
});

Deno.test("Where a TTL comes from is told for the kind of the session", () => {
  const origins = { idleTtlMs: "file" };
  const bridgeOrigins = { idleTtlMs: "env" };
  const server = {
    id: "s",
    limits: LIMITS,
    backend: { code: "serverNotServed" } as const,
    origins,
    bridgeOrigins,
  };
  const ttl = { source: "idleTtlMs", configuredMs: 5, effectiveMs: 5 } as const;
  assertEquals(ttlView(ttl, limitsFor(server, "streamable")).why, "idleTtlMs is 5 (file)");
  assertEquals(ttlView(ttl, limitsFor(server, "bridge")).why, "idleTtlMs is 5 (env)");
  const { bridgeOrigins: _, ...plain } = server;
  assertEquals(ttlView(ttl, limitsFor(plain, "bridge")).why, "idleTtlMs is 5 (file)");
  assertEquals(ttlView(ttl, limitsFor(undefined, "bridge")).why, "idleTtlMs is 5");
});

Deno.test("Sessions are told apart by their kind, while they live and afterwards", async () => {
  await using monitoring = await Monitoring.start();
  const streamable = await monitoring.open();
  const bridge = await monitoring.open({ kind: "bridge" });
  for (const [kind, { handle }] of [["streamable", streamable], ["bridge", bridge]] as const) {
    assertEquals(await monitoring.handles(`/sessions?kind=${kind}`), [handle]);
    assertEquals((await monitoring.get(`/sessions/${handle}`)).body.kind, kind);
  }
  await bridge.session.end("admin");
  assertEquals(await monitoring.handles("/sessions?kind=bridge"), []);
  assertEquals(await monitoring.handles("/sessions?kind=bridge&state=ended"), [bridge.handle]);
  assertEquals(await monitoring.handles("/sessions?kind=streamable&state=ended"), []);
});

Deno.test("Each filter takes what it says, and filters add up", async () => {
  await using monitoring = await Monitoring.start({ limits: { idleTtlMs: 100_000 } });
  const { clock } = monitoring.harness;
  const old = await monitoring.open();
  await clock.advance(40_000);
  const other = await monitoring.open({ serverId: OTHER });
  const used = await monitoring.open();
  await clock.advance(10_000);
  await post(used.session, request("tools/call", { id: 1 }));
  monitoring.harness.autoInitialize = false;
  const starting = await monitoring.open();
  const all = [old, other, used, starting];
  const expect = async (query: string, ...expected: typeof all) => {
    const handles = await monitoring.handles(`/sessions${query}`);
    assertEquals(handles.toSorted(), expected.map(({ handle }) => handle).toSorted(), query);
  };
  await expect("", ...all);
  await expect(`?serverId=${OTHER}`, other);
  await expect(`?serverId=${SERVER}`, old, used, starting);
  await expect("?state=starting", starting);
  await expect("?state=active", old, other, used);
  await expect("?state=expired");
  await expect("?kind=streamable", ...all);
  await expect("?kind=bridge");
  await expect("?minIdleMs=0", ...all);
  await expect("?minIdleMs=10000", old, other);
  await expect("?minIdleMs=10001", old);
  await expect("?minIdleMs=50000", old);
  await expect("?minIdleMs=50001");
  await expect(`?minIdleMs=1&state=active&serverId=${OTHER}&kind=streamable`, other);
  await clock.advance(50_000);
  // Its timer has fired; nobody has swept it.
  await expect("?state=expired", old, other);
  await expect("?state=ended");
  await expect("", ...all);
  await old.session.end("idle");
  await expect("?state=ended", old);
  await expect("", other, used, starting);
  starting.backend.answer("init", { protocolVersion: "2025-06-18" });
  used.backend.answer(1);
});

Deno.test("Lists are sorted by each key, both ways", async () => {
  await using monitoring = await Monitoring.start();
  const { clock } = monitoring.harness;
  const a = await monitoring.open();
  await clock.advance(1_000);
  const b = await monitoring.open({ serverId: OTHER });
  await clock.advance(1_000);
  const c = await monitoring.open();
  await clock.advance(1_000);
  await post(a.session, request("ping", { id: 1 }));
  a.backend.answer(1);
  await settle();
  await clock.advance(1_000);
  const order = async (query: string, ...expected: { handle: string }[]) =>
    assertEquals(
      await monitoring.handles(`/sessions?${query}`),
      expected.map(({ handle }) => handle),
      query,
    );
  await order("", a, b, c);
  await order("sort=openedAt", a, b, c);
  await order("order=desc", c, b, a);
  await order("sort=idleMs", a, c, b);
  await order("sort=idleMs&order=desc", b, c, a);
  await order("sort=deadline", b, c, a);
  await order("sort=deadline&order=desc", a, c, b);
  await post(b.session, request("tools/call", { id: 2 }));
  // In use: idle for 0 ms, and without a deadline, which comes last.
  await order("sort=idleMs", b, a, c);
  await order("sort=deadline", c, a, b);
  b.backend.answer(2);
});

Deno.test("Ended sessions are listed newest first, and those whose servers are still going are among them", async () => {
  await using monitoring = await Monitoring.start({ tombstones: 3 });
  const { clock } = monitoring.harness;
  const sessions = [];
  for (let n = 0; n < 5; n++) sessions.push(await monitoring.open());
  sessions[4]!.backend.stubborn = true;
  for (const [at, { session }] of sessions.entries()) {
    await clock.advance(100 * (5 - at));
    void session.end("client_delete");
  }
  await settle();
  const handles = sessions.map(({ handle }) => handle);
  assertEquals(await monitoring.handles("/sessions?state=ended"), [
    handles[4],
    handles[3],
    handles[2],
    handles[1],
  ]);
  assertEquals(await monitoring.handles("/sessions?state=ended&order=asc&limit=2"), [handles[1], handles[2]]);
  assertEquals(await monitoring.handles("/sessions?state=ended&sort=idleMs&limit=1"), [handles[1]]);
  assertEquals(
    await monitoring.handles("/sessions?state=ended&sort=openedAt&minIdleMs=1400"),
    handles.slice(3).toSorted(),
  );
  const { body } = await monitoring.get(`/sessions/${handles[4]}`);
  assertEquals([body.state, body.backend, body.end.reason], ["ended", null, "client_delete"]);
  assertEquals((await monitoring.get("/sessions")).body.summary.counts.byState.ended, 1);
});

Deno.test("The summary counts by state and server, and tells what holds", async () => {
  await using monitoring = await Monitoring.start({
    sweep: SWEEP,
    maxSessions: 9,
    admission: { maxSessions: 100 },
  });
  monitoring.harness.scale.set(0.9);
  await monitoring.open();
  await monitoring.open();
  await monitoring.open({ serverId: OTHER });
  await monitoring.harness.clock.advance(50_000);
  // Under this pressure its TTL is 45 s.
  const { summary } = (await monitoring.get("/sessions?limit=1")).body;
  const { servers, ...rest } = summary;
  assertEquals(rest, {
    counts: {
      total: 3,
      byState: { starting: 0, active: 2, hibernated: 0, expired: 1, ended: 0 },
      byServer: {
        [SERVER]: { starting: 0, active: 2, hibernated: 0, expired: 0, ended: 0 },
        [OTHER]: { starting: 0, active: 0, hibernated: 0, expired: 1, ended: 0 },
      },
    },
    remembered: 0,
    slumbers: { hibernations: 0, revivals: 0, failures: 0 },
    pressure: {
      memory: 0.412,
      load: 0.5,
      part: "processes",
      parts: { memory: 0.412, sessions: 0.1, processes: 0.5, lag: 0 },
      ttlScale: 0.5,
    },
    sweep: {
      intervalMs: 100_000,
      closing: 2,
      last: { at: "2023-11-14T22:13:20.000Z", asked: 7, expired: 2, evicted: 1, tookMs: 4 },
    },
    limits: { maxSessions: 100, maxSessionsPerPrincipal: null, maxProcesses: null },
    taken: { sessions: 3, processes: 3, waiting: 0, refused: 0 },
  });
  assertEquals(servers.map(({ serverId }: { serverId: string }) => serverId), [SERVER, OTHER]);
  const [first, second] = servers;
  assertEquals(first.effectiveTtlMs, { idle: 165_000, handshake: null, implicit: 30_000 });
  assertEquals(first.limits.idleTtlMs, { value: 300_000, origin: null });
  assertEquals(first.limits.maxSessions, { value: 9, origin: null });
  assertEquals(second.effectiveTtlMs.idle, 45_000);
  assertEquals(second.limits.idleTtlMs, { value: 60_000, origin: "file" });
  assertEquals([first.quarantine, first.served], [null, true]);
});

Deno.test("Without a sweeper there is a summary without it", async () => {
  await using monitoring = await Monitoring.start();
  const { summary } = (await monitoring.get("/sessions")).body;
  assertEquals([summary.pressure, summary.sweep, summary.counts.total], [null, null, 0]);
});

Deno.test("A server in quarantine is in the summary with the reason", async () => {
  await using monitoring = await Monitoring.start();
  for (let n = 0; n < 20; n++) {
    if (monitoring.harness.supervisor.door.quarantined.length > 0) break;
    const { backend } = await monitoring.open();
    backend.exit({ cause: "exit", detail: "exited with code 3" });
    await settle();
  }
  const { summary } = (await monitoring.get("/sessions")).body;
  const [{ quarantine }] = summary.servers;
  assertMatch(quarantine.until, /^\d{4}-\d\d-\d\dT/);
  assertMatch(quarantine.reason, /exited with code 3/);
});

Deno.test("A session by itself shows what it does and what happened to it", async () => {
  await using monitoring = await Monitoring.start({
    rssOf: (pid) => Promise.resolve(pid === 4242 ? 12_345_678 : undefined),
    limits: { maxLifetimeMs: 3_600_000 },
  });
  const { clock } = monitoring.harness;
  const { session, backend, handle } = await monitoring.open();
  const opened = clock.wallTime();
  await clock.advance(2_000);
  const { stream } = await openStream(session);
  await post(session, request("tools/call", { id: 1 }));
  await post(session, message({ method: "notifications/x" }));
  await clock.advance(500);
  backend.says({ id: "q", method: "roots/list" });
  await settle();
  await clock.advance(250);
  const { body } = await monitoring.get(`/sessions/${handle}`);
  const at = (ms: number) => new Date(opened + ms).toISOString();
  assertEquals(body.backend, { pid: 4242, uptimeMs: 2_750, rssBytes: 12_345_678 });
  assertEquals(body.requests, [
    { from: "client", method: "tools/call", ageMs: 750 },
    { from: "server", method: "roots/list", ageMs: 250 },
  ]);
  assertEquals([body.openStreams, body.standaloneStream, body.inFlight, body.end], [2, true, 2, null]);
  assertEquals(body.counters, {
    requests: 2,
    notifications: 1,
    responses: 0,
    serverMessages: 2,
    peakInFlight: 2,
  });
  assertEquals(body.timeline, [
    { at: at(0), event: "opened", detail: null },
    { at: at(0), event: "active", detail: null },
    { at: at(2_000), event: "first_request", detail: "tools/call" },
    { at: at(2_500), event: "peak_in_flight", detail: "2" },
  ]);
  assertEquals(body.timelineSkipped, 0);
  assertEquals(body.endOfLife, at(3_600_000));
  assert(stream.open);
});

Deno.test("Memory that cannot be told is null, also where looking fails", async () => {
  const ways = [undefined, () => Promise.resolve(undefined), () => Promise.reject(new Error("no"))];
  for (const rssOf of ways) {
    await using monitoring = await Monitoring.start(rssOf === undefined ? {} : { rssOf });
    const { handle } = await monitoring.open();
    assertEquals((await monitoring.get(`/sessions/${handle}`)).body.backend.rssBytes, null);
  }
});

Deno.test("A session that ends while its memory is read is shown as ended", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  await using monitoring = await Monitoring.start({ rssOf: () => promise });
  const { handle, session } = await monitoring.open();
  const pending = monitoring.get(`/sessions/${handle}`);
  await settle();
  await session.end("backend_exit");
  resolve(1);
  const { body } = await pending;
  assertEquals([body.state, body.end.reason, body.backend], ["ended", "backend_exit", null]);
});

Deno.test("A method's name of a megabyte is neither shown nor kept", async () => {
  await using monitoring = await Monitoring.start();
  const { session, handle } = await monitoring.open();
  await post(session, request("x".repeat(1_000_000), { id: 1 }));
  const { text, body } = await monitoring.get(`/sessions/${handle}`);
  assert(text.length < 3_000, `${text.length} characters`);
  assertEquals(body.timeline.at(-1).detail, "a name of 1000000 characters");
  assertEquals(body.requests[0].method.length, 101);
});

Deno.test("HEAD answers as GET does, without a body", async () => {
  await using monitoring = await Monitoring.start();
  const { handle } = await monitoring.open();
  for (
    const path of ["/sessions", `/sessions/${handle}`, "/sessions/events", `/servers/${SERVER}/ttl-advice`]
  ) {
    const response = await monitoring.fetch("HEAD", path);
    assertEquals([response.status, await response.text()], [200, ""], path);
  }
  assertEquals(monitoring.feed.size, 0, "nobody would end a stream that answers HEAD");
});
