/**
 * Limits, waiting, eviction for room, and quarantine, with real sessions behind the door.
 *
 * @module
 */
import { MemoryStore } from "../../stores/memory.ts";
import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import { entryOf, type Failure, messageOf } from "../../errors.ts";
import { Supervisor } from "../../actors/supervisor.ts";
import type { OpenBackend } from "../../backends/backend.ts";
import { perSessionSource } from "../../backends/source.ts";
import { FakeBackend } from "../fakes/fake_backend.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import {
  Harness,
  type HarnessOptions,
  LIMITS,
  message,
  openStream,
  post,
  request,
} from "../fakes/harness.ts";

const INITIALIZE = request("initialize", { id: "init" });
const WAIT_MS = 2_000;

function harnessOf(options: HarnessOptions): Harness {
  return new Harness({ admissionWaitMs: WAIT_MS, ...options });
}

function failureOf({ completion }: FakeReply): Failure | undefined {
  return completion?.kind === "failed" ? completion.failure : undefined;
}

function isOpened(reply: FakeReply): boolean {
  return reply.completion?.kind === "answered";
}

async function openMany(harness: Harness, count: number, principal?: string): Promise<FakeReply[]> {
  const replies = Array.from({ length: count }, () => harness.opening(INITIALIZE, undefined, principal));
  await settle();
  return replies;
}

// [what, how a limit of 3 is set].
const LIMITS_OF_3: [string, HarnessOptions][] = [
  ["MAX_SESSIONS", { admission: { maxSessions: 3 } }],
  ["MAX_SESSIONS_PER_PRINCIPAL", { admission: { maxSessionsPerPrincipal: 3 } }],
  ["MAX_PROCESSES", { admission: { maxProcesses: 3 } }],
  ["maxSessions", { maxSessions: 3 }],
];
for (const [limit, options] of LIMITS_OF_3) {
  for (const wanted of [2, 3, 4]) {
    Deno.test(`Of ${wanted} openings at ${limit} 3, ${Math.min(3, wanted)} succeed and the rest is told why not`, async () => {
      const harness = harnessOf(options);
      const replies = await openMany(harness, wanted);
      assertEquals(replies.filter(isOpened).length, Math.min(3, wanted));
      assertEquals(harness.backends.length, Math.min(3, wanted));
      await harness.clock.advance(WAIT_MS);
      const failures = replies.map(failureOf).filter((failure) => failure !== undefined);
      assertEquals(failures.length, Math.max(0, wanted - 3));
      for (const failure of failures) {
        assertEquals([failure.code, entryOf(failure).status], ["limitReached", 503]);
        assertEquals(messageOf(failure), `No more sessions can be opened now: ${limit} is 3`);
        // The first of them is due in 300 s, of which two have passed; nobody is sent away for longer than two minutes.
        assertEquals(failure.retryAfterS, 120);
      }
      assertEquals(harness.supervisor.door.counts.waiting, 0);
    });
  }
}

Deno.test("200 openings at once at a limit of 50 open exactly 50, and a refused one registers nothing", async () => {
  const harness = harnessOf({ admission: { maxSessions: 50 } });
  const replies = await openMany(harness, 200);
  await harness.clock.advance(WAIT_MS);
  assertEquals([replies.filter(isOpened).length, replies.filter(failureOf).length], [50, 150]);
  assertEquals([harness.supervisor.size, harness.backends.length], [50, 50]);
  assertEquals(harness.supervisor.door.counts, { sessions: 50, processes: 50, waiting: 0, refused: 150 });
  assert(replies.filter(failureOf).every(({ sessionId }) => sessionId === undefined));
  assertEquals(harness.clock.pending, 50, "one timer for each session");
});

Deno.test("An opening that waits is served as soon as a session is over, in the order of asking", async () => {
  const harness = harnessOf({ admission: { maxSessions: 2 } });
  const replies = await openMany(harness, 4);
  const [first, second] = [...harness.supervisor.sessions];
  void first!.end("client_delete");
  await settle();
  assertEquals(replies.map(isOpened), [true, true, true, false]);
  await harness.clock.advance(WAIT_MS - 1);
  void second!.end("client_delete");
  await settle();
  assertEquals(replies.map(isOpened), [true, true, true, true]);
  assertEquals(harness.supervisor.door.counts.refused, 0);
});

Deno.test("A process that takes its time to leave still counts as a process, though its session is over", async () => {
  const harness = harnessOf({ admission: { maxSessions: 9, maxProcesses: 1 } });
  const [, waiting] = await openMany(harness, 2);
  harness.backend.stubborn = true;
  void [...harness.supervisor.sessions][0]!.end("client_delete");
  await settle();
  assertFalse(isOpened(waiting!));
  assertEquals(harness.supervisor.door.counts, { sessions: 0, processes: 1, waiting: 1, refused: 0 });
  harness.backend.finishClose();
  await settle();
  assert(isOpened(waiting!));
});

Deno.test("Room is made by what has expired first, then by the idle session that is due next and may be evicted", async () => {
  const harness = harnessOf({ admission: { maxSessions: 3 }, limits: { evictable: true } });
  const sessions = [];
  for (let n = 0; n < 3; n++) {
    sessions.push((await harness.open()).session);
    await harness.clock.advance(1_000);
  }
  const [oldest, middle, newest] = sessions;
  await post(oldest!, request("slow"));
  const first = harness.opening(INITIALIZE);
  await settle();
  assert(isOpened(first));
  assertEquals(sessions.map(({ endReason }) => endReason), [undefined, "evicted", undefined]);
  harness.clock.stall(LIMITS.idleTtlMs);
  const [second] = await openMany(harness, 1);
  assert(isOpened(second!));
  assertEquals([oldest!.endReason, newest!.endReason], [undefined, "idle"]);
  assertEquals(middle!.held, 0);
});

Deno.test("A session in use, or one of a server that does not allow it, is never evicted for room", async () => {
  for (const evictable of [true, false]) {
    const harness = harnessOf({ admission: { maxSessions: 1 }, limits: { evictable } });
    const { session } = await harness.open();
    if (evictable) await post(session, request("slow"));
    const reply = harness.opening(INITIALIZE);
    await harness.clock.advance(WAIT_MS);
    assertEquals([failureOf(reply)?.code, session.state], ["limitReached", "active"]);
  }
});

Deno.test("Only a session that counts against the limit goes", async () => {
  const harness = harnessOf({ admission: { maxSessionsPerPrincipal: 1 }, limits: { evictable: true } });
  await openMany(harness, 1, "bob");
  await harness.clock.advance(1_000);
  await openMany(harness, 1, "ann");
  const [again] = await openMany(harness, 1, "ann");
  assert(isOpened(again!));
  assertEquals(Array.from(harness.supervisor.sessions, ({ principal }) => principal), ["bob", "ann"]);
});

Deno.test("A greedy principal delays another by one turn", async () => {
  const harness = harnessOf({ admission: { maxSessions: 1 } });
  await openMany(harness, 1, "greedy");
  const greedy = await openMany(harness, 500, "greedy");
  const [modest] = await openMany(harness, 1, "modest");
  for (let turn = 0; turn < 2; turn++) {
    for (const session of harness.supervisor.sessions) void session.end("client_delete");
    await settle();
  }
  assert(isOpened(modest!));
  assertEquals(greedy.filter(isOpened).length, 1);
});

Deno.test("A client that goes away while it waits leaves the queue, and no session is opened for it", async () => {
  const harness = harnessOf({ admission: { maxSessions: 1 } });
  const [, gone, next] = await openMany(harness, 3);
  gone!.hangUp();
  await settle();
  assertEquals(harness.supervisor.door.counts.waiting, 1);
  void [...harness.supervisor.sessions][0]!.end("client_delete");
  await settle();
  assertEquals([gone!.completions, isOpened(next!), harness.backends.length], [0, true, 2]);
});

Deno.test("A shutdown refuses those who wait", async () => {
  const harness = harnessOf({ admission: { maxSessions: 1 } });
  const [, waiting] = await openMany(harness, 2);
  void harness.supervisor.shutDown(0);
  await settle();
  assertEquals(failureOf(waiting!)?.code, "shuttingDown");
  assertEquals(harness.clock.pending, 0);
});

/** Lets a server die until it is in quarantine. */
async function kill(harness: Harness, times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    await openMany(harness, 1);
    harness.backend.exit();
    await settle();
  }
}

Deno.test("A server whose backends keep dying is in quarantine; living sessions live, and one may try in time", async () => {
  const harness = harnessOf({});
  const { session: living } = await harness.open();
  await kill(harness, 6);
  const opened = harness.backends.length;
  const [refused] = await openMany(harness, 1);
  const failure = failureOf(refused!)!;
  assertEquals([failure.code, entryOf(failure).status, failure.retryAfterS], ["serverQuarantined", 503, 1]);
  assertMatch(messageOf(failure), /given a pause: server "fake" exited with code 1$/);
  assertEquals(harness.supervisor.door.quarantined.map(({ serverId }) => serverId), ["fake"]);
  assertEquals([living.state, harness.backends.length], ["active", opened]);

  await harness.clock.advance(1_000);
  harness.autoInitialize = false;
  const [probe, other] = await openMany(harness, 2);
  assertEquals([harness.backends.length, failureOf(other!)?.code], [opened + 1, "serverQuarantined"]);
  harness.backend.exit();
  await settle();
  assertEquals(failureOf(probe!)?.code, "backendStartFailed");
  assertEquals(failureOf((await openMany(harness, 1))[0]!)?.retryAfterS, 2);

  await harness.clock.advance(2_000);
  harness.autoInitialize = true;
  assert((await openMany(harness, 1)).every(isOpened));
  assert((await openMany(harness, 5)).every(isOpened));
  assertEquals(harness.supervisor.door.quarantined, []);
});

Deno.test("A server that refuses clients is well: that is no failure of its own", async () => {
  const harness = harnessOf({ autoInitialize: false });
  for (let n = 0; n < 20; n++) {
    const [reply] = await openMany(harness, 1);
    harness.backend.says({ id: "init", error: { code: -32602, message: "no such version" } });
    await settle();
    assert(isOpened(reply!), "the client gets the server's own words");
  }
  assertEquals(harness.supervisor.door.quarantined, []);
});

Deno.test("Ends that are nobody's fault are no failures: clients, time, administrators", async () => {
  const harness = harnessOf({});
  for (
    const reason of ["client_delete", "idle", "admin", "client_delete", "idle", "admin", "admin"] as const
  ) {
    const { session } = await harness.open();
    if (reason === "idle") await harness.clock.advance(LIMITS.idleTtlMs);
    await session.end(reason);
    await settle();
  }
  assertEquals(harness.supervisor.door.quarantined, []);
});

Deno.test("A try whose client gives up before the server has answered lets the next one try", async () => {
  const harness = harnessOf({});
  await kill(harness, 6);
  await harness.clock.advance(1_000);
  harness.autoInitialize = false;
  await openMany(harness, 1);
  void [...harness.supervisor.sessions].at(-1)!.end("client_delete");
  await settle();
  harness.autoInitialize = true;
  assert((await openMany(harness, 1)).every(isOpened));
});

Deno.test("What a session holds when it is evicted for room is given back: streams too", async () => {
  const harness = harnessOf({ admission: { maxSessions: 1 }, limits: { evictable: true } });
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  await post(session, message({ method: "notifications/x" }));
  const [reply] = await openMany(harness, 1);
  assertEquals([isOpened(reply!), stream.open, session.held], [true, false, 0]);
});

for (const [asked, refused] of [[2, 0], [3, 0], [4, 1]] as const) {
  Deno.test(`Of ${asked} requests at a maxInFlightPerSession of 3, ${refused} are refused`, async () => {
    const harness = harnessOf({ limits: { maxInFlight: 3 } });
    const { session, backend } = await harness.open();
    const replies = [];
    for (let id = 0; id < asked; id++) replies.push(await post(session, request("slow", { id })));
    const failures = replies.map(failureOf).filter((failure) => failure !== undefined);
    assertEquals(failures.length, refused);
    for (const failure of failures) {
      assertEquals([failure.code, entryOf(failure).status], ["tooManyInFlight", 429]);
      assertMatch(messageOf(failure), /maxInFlightPerSession is 3$/);
    }
    assertEquals(backend.methods.length - 1, asked - refused, "what is refused does not reach the server");
    backend.answer(0);
    await settle();
    assertEquals(failureOf(await post(session, request("slow", { id: "next" }))), undefined);
  });
}

Deno.test("A shared child that dies with many sessions has failed once", async () => {
  const harness = harnessOf({});
  const shared: FakeBackend[] = [];
  const open: OpenBackend = (owner, events) => {
    const backend = new FakeBackend(owner, events, { autoInitialize: true });
    shared.push(backend);
    return backend;
  };
  const supervisor = new Supervisor({
    store: new MemoryStore({ tombstones: 100 }),
    clock: harness.clock,
    servers: [{
      id: "shared",
      limits: { ...LIMITS, stateful: true },
      backend: { ...perSessionSource(open), ownsProcess: false, startsProcess: false },
    }],
  });
  for (let n = 0; n < 20; n++) {
    supervisor.open({
      serverId: "shared",
      principal: "anyone",
      opener: { tag: "message", message: INITIALIZE, reply: new FakeReply() },
      implicitVersion: undefined,
    });
  }
  await settle();
  assertEquals(supervisor.size, 20);
  for (const backend of shared) backend.exit();
  await settle();
  assertEquals([supervisor.size, supervisor.door.quarantined], [0, []]);
});

Deno.test("A client that is cut off from a shared child is no failure of the server", async () => {
  const harness = harnessOf({});
  for (let n = 0; n < 10; n++) {
    await openMany(harness, 1);
    harness.backend.exit({ cause: "cut", detail: "was not read" });
    await settle();
  }
  assertEquals(harness.supervisor.door.quarantined, []);
});

Deno.test("A process that was only started ahead goes before an opening is refused at MAX_PROCESSES", async () => {
  const { clock } = new Harness();
  let spare = 1;
  const source = {
    ...perSessionSource((owner, events) => new FakeBackend(owner, events, { autoInitialize: true })),
    get spare() {
      return spare;
    },
    // It takes its time to leave.
    retire() {},
    yieldOne: () => (clock.after(150, () => spare = 0), spare > 0),
  };
  const supervisor = new Supervisor({
    store: new MemoryStore({ tombstones: 100 }),
    clock,
    servers: [{ id: "warm", limits: LIMITS, backend: source }],
    limits: { maxSessions: 9, maxSessionsPerPrincipal: 9, maxProcesses: 1 },
    admissionWaitMs: WAIT_MS,
  });
  const reply = new FakeReply();
  const opener = { tag: "message", message: INITIALIZE, reply } as const;
  supervisor.open({ serverId: "warm", principal: "anyone", opener, implicitVersion: undefined });
  await clock.advance(100);
  assertEquals([isOpened(reply), supervisor.door.counts.waiting], [false, 1]);
  await clock.advance(100);
  assertEquals([isOpened(reply), supervisor.door.counts.waiting, supervisor.door.counts.processes], [
    true,
    0,
    1,
  ]);
});
