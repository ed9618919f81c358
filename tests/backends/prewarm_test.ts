import { assert, assertEquals, assertThrows } from "@std/assert";
import { BackOff, MAX_BACK_OFF_MS, STABLE_MS } from "../../backends/back_off.ts";
import { fits, PrewarmSource, type PrewarmSourceOptions } from "../../backends/prewarm.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import { stdioBackend } from "../../backends/stdio.ts";
import { systemClock } from "../../clock.ts";
import { parseMessage, type RequestMessage } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { fixture } from "../fixtures/mod.ts";
import { FORCE_PACE, processes, runs } from "./harness.ts";
import { FakeChildren, Listener } from "./pool_harness.ts";

/** A started pool of fakes. `await using` closes it and checks that nothing of it is left. */
class Pool implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly children = new FakeChildren();
  readonly gate = new SpawnGate({ concurrency: 4, clock: this.clock });
  readonly source: PrewarmSource;
  readonly listeners: Listener[] = [];
  /** Whether there is room for a spare process. */
  room = true;

  constructor(options: Partial<PrewarmSourceOptions> = {}) {
    this.source = new PrewarmSource({
      serverId: "fake",
      open: this.children.open,
      gate: this.gate,
      clock: this.clock,
      startTimeoutMs: 60_000,
      mayStart: () => this.room,
      random: () => 0,
      prewarm: 2,
      prewarmMaxAgeMs: 0,
      ...options,
    });
  }

  async started(): Promise<this> {
    this.source.start();
    await settle();
    return this;
  }

  listen(): Listener {
    const listener = new Listener(this.source, `s${this.listeners.length + 1}`);
    this.listeners.push(listener);
    return listener;
  }

  /** How often a child was asked to initialize. */
  get starts(): number {
    return this.children.all.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.source.close(), ...this.listeners.map((listener) => listener.close())]);
    await this.clock.advance(0);
    assertEquals([this.source.spare, this.children.running.length], [0, 0]);
    assertEquals([this.gate.starting, this.gate.waiting, this.clock.pending], [0, 0, 0]);
    for (const { exits } of this.listeners) assertEquals(exits.length, 1);
  }
}

const methodsOf = (pool: Pool) => pool.children.all.map(({ methods }) => methods);

Deno.test("Children are started ahead, initialized as the gateway", async () => {
  await using pool = await new Pool().started();
  assertEquals(methodsOf(pool), [["initialize", "notifications/initialized"], [
    "initialize",
    "notifications/initialized",
  ]]);
  assertEquals((pool.children.newest.received[0] as RequestMessage).params, {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "sojourn", version: "1" },
  });
  assertEquals([pool.source.ready, pool.source.spare, pool.source.startsProcess], [2, 2, false]);
});

Deno.test("An initialize that fits is answered by a child that is ready, under the client's id", async () => {
  await using pool = await new Pool().started();
  const [child] = pool.children.all;
  const session = pool.listen();
  session.initialize({ id: 'a"1' });
  assertEquals(session.messages, []);
  await settle();
  assertEquals(session.texts, [JSON.stringify({ jsonrpc: "2.0", id: 'a"1', result: INITIALIZE_RESULT })]);
  session.confirm();
  session.send({ id: 2, method: "tools/list" });
  child!.answer(2, { tools: [] });
  assertEquals(child!.methods, ["initialize", "notifications/initialized", "tools/list"]);
  assertEquals(session.messages.length, 2);
  assertEquals(child!.owner.session, "s1");
  assertEquals(session.backend.pid, child!.pid);
});

Deno.test("Only the client's first confirmation is kept from a child that had one", async () => {
  await using pool = await new Pool().started();
  const session = pool.listen();
  session.initialize();
  session.send({ method: "notifications/x", params: { text: "notifications/initialized" } });
  session.confirm();
  session.confirm();
  assertEquals(pool.children.all[0]!.methods.slice(2), ["notifications/x", "notifications/initialized"]);
});

Deno.test("What is handed out is topped up, and never handed out again", async () => {
  await using pool = await new Pool().started();
  for (let n = 0; n < 10; n++) {
    pool.listen().initialize({ id: n });
    await pool.clock.advance(0);
    assertEquals(pool.source.ready, 2);
  }
  assertEquals(pool.starts, 12);
  const used = pool.children.all.filter(({ owner }) => owner.session.startsWith("s"));
  assertEquals(new Set(used.map(({ owner }) => owner.session)).size, 10);
});

const unfit: [what: string, params: Record<string, unknown>][] = [
  ["another revision", { version: "2025-03-26" }],
  ["a revision that nobody knows", { version: "2030-01-01" }],
  ["a capability", { capabilities: { roots: {} } }],
  ["an experimental one", { capabilities: { experimental: {} } }],
  ["null for its capabilities", { capabilities: null as unknown as Record<string, unknown> }],
  ["metadata", { _meta: { progressToken: 1 } }],
];
for (const [what, params] of unfit) {
  Deno.test(`A client with ${what} gets a child of its own, and its own words`, async () => {
    await using pool = await new Pool().started();
    const session = pool.listen();
    session.initialize(params);
    session.confirm();
    await settle();
    assertEquals(pool.starts, 3);
    assertEquals(pool.children.newest.methods, ["initialize", "notifications/initialized"]);
    assertEquals(pool.children.newest.received[0]!.text.includes('"name":"c"'), true);
    assertEquals([session.messages.length, pool.source.ready, pool.source.spare], [1, 2, 2]);
  });
}

Deno.test("A child fits the revision that it was asked for and the one that it answered with", () => {
  const initialize = (protocolVersion: unknown) =>
    parseMessage(JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion, capabilities: {}, clientInfo: { name: "x", version: "2" } },
    })) as RequestMessage;
  const child = { version: "2025-06-18" };
  const versions = ["2025-11-25", "2025-06-18", "2025-03-26", 7, null];
  assertEquals(versions.map((version) => fits(initialize(version), child)), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("A first message that is no initialize opens a child of its own", async () => {
  await using pool = await new Pool().started();
  const session = pool.listen();
  session.send({ id: 1, method: "tools/list" });
  assertEquals(pool.children.newest.methods, ["tools/list"]);
});

Deno.test("With no child ready a session gets one of its own", async () => {
  await using pool = new Pool();
  const session = pool.listen();
  assert(pool.source.startsProcess);
  session.initialize();
  await settle();
  assertEquals([pool.starts, session.messages.length], [1, 1]);
});

Deno.test("What a child told before comes after the answer, in order, and nothing of it twice", async () => {
  await using pool = await new Pool({ prewarm: 1 }).started();
  const [child] = pool.children.all;
  for (let n = 0; n < 70; n++) child!.says({ method: "notifications/message", params: { n } });
  const session = pool.listen();
  session.initialize();
  // Still before the answer is out.
  child!.says({ method: "notifications/message", params: { n: 70 } });
  await settle();
  child!.says({ method: "notifications/message", params: { n: 71 } });
  assertEquals(session.messages[0]?.kind, "response");
  const told = session.messages.slice(1).map((message) =>
    message.kind === "notification" && message.params?.n
  );
  // Of what came before, the newest 64.
  assertEquals(told, Array.from({ length: 66 }, (_, n) => n + 6));
});

Deno.test("Before it is handed out a child may ask whether somebody is there, and nothing else", async () => {
  await using pool = await new Pool({ prewarm: 1 }).started();
  const [child] = pool.children.all;
  child!.says({ id: 1, method: "ping" });
  child!.says({ id: 2, method: "roots/list" });
  assertEquals(child!.received.slice(2).map(({ text }) => text), [
    '{"jsonrpc":"2.0","id":1,"result":{}}',
    '{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"No client is there to do this: roots/list"}}',
  ]);
  const session = pool.listen();
  session.initialize();
  await settle();
  child!.says({ id: 3, method: "roots/list" });
  assertEquals(session.messages.length, 2);
});

Deno.test("A session that is paused before it decides is paused when it has", async () => {
  await using pool = await new Pool({ prewarm: 1 }).started();
  const warm = pool.listen();
  warm.backend.pause();
  warm.initialize();
  assert(pool.children.all[0]!.paused);
  warm.backend.resume();
  const cold = pool.listen();
  cold.backend.pause();
  cold.initialize({ version: "2024-11-05" });
  assert(pool.children.newest.paused);
});

Deno.test("Closed before its first message a backend takes no child", async () => {
  await using pool = await new Pool().started();
  const session = pool.listen();
  assertEquals([pool.source.spare, pool.source.startsProcess], [1, false]);
  await session.close();
  assertEquals(session.exits, [{ cause: "spawn", detail: "was closed before it was started" }]);
  assertEquals([session.send({ method: "x" }), pool.source.spare, pool.starts], [false, 2, 2]);
});

Deno.test("The exit of a handed-out child is its session's, and the pool keeps out of it", async () => {
  await using pool = await new Pool({ prewarm: 1 }).started();
  const session = pool.listen();
  session.initialize();
  await pool.clock.advance(0);
  pool.children.all[0]!.exit({ cause: "exit", detail: "exited with code 3" });
  assertEquals(session.exits, [{ cause: "exit", detail: "exited with code 3" }]);
  await pool.clock.advance(0);
  assertEquals([pool.starts, pool.source.ready], [2, 1]);
});

Deno.test("A process is counted once: as spare, or as that of the session that it is kept for", async () => {
  await using pool = await new Pool().started();
  const counts = () => [pool.source.spare, pool.source.startsProcess];
  assertEquals(counts(), [2, false]);
  const sessions = [pool.listen(), pool.listen()];
  assertEquals(counts(), [0, true]);
  sessions[0]!.initialize();
  assertEquals(counts(), [0, true]);
  sessions[1]!.initialize({ version: "2024-11-05" });
  assertEquals(counts(), [1, false]);
});

Deno.test("A child is the pool's until a session takes it, and again nobody else's when it leaves", async () => {
  await using pool = await new Pool({ prewarm: 1 }).started();
  const [child] = pool.children.all;
  const owner = { ...child!.owner };
  assert(pool.source.owns(owner));
  assertEquals(pool.source.owns({ ...owner, serverId: "another" }), false);
  pool.listen().initialize();
  assertEquals([pool.source.owns(owner), pool.source.owns(child!.owner)], [false, false]);
  await pool.clock.advance(0);
  pool.children.newest.stubborn = true;
  assert(pool.source.yieldOne());
  assert(pool.source.owns(pool.children.newest.owner));
  pool.children.newest.finishClose();
  await settle();
  assertEquals(pool.source.owns(pool.children.newest.owner), false);
});

Deno.test("Where there is no room, a session that does not fit takes the place of a child", async () => {
  await using pool = await new Pool().started();
  pool.room = false;
  const session = pool.listen();
  session.initialize({ version: "2024-11-05" });
  await settle();
  assertEquals([pool.children.running.length, pool.source.ready], [2, 1]);
  await pool.clock.advance(60_000);
  assertEquals(pool.starts, 3);
  pool.room = true;
  await pool.clock.advance(5_000);
  assertEquals([pool.starts, pool.source.ready], [4, 2]);
});

Deno.test("A session for which room was made takes no child's place", async () => {
  await using pool = await new Pool({ prewarm: 1 }).started();
  pool.room = false;
  const [first, second] = [pool.listen(), pool.listen()];
  second.initialize({ version: "2024-11-05" });
  first.initialize();
  await settle();
  assertEquals([first.messages.length, second.messages.length], [1, 1]);
  assertEquals(pool.children.running.length, 2);
});

Deno.test("A child is given back when its place is wanted, but none that is kept for a session", async () => {
  await using pool = await new Pool().started();
  const session = pool.listen();
  assertEquals([pool.source.yieldOne(), pool.source.yieldOne()], [true, false]);
  session.initialize();
  pool.room = false;
  await pool.clock.advance(10_000);
  assertEquals([session.messages.length, pool.children.running.length], [1, 1]);
});

Deno.test("A child that is too old is not handed out, and another takes its place", async () => {
  await using pool = await new Pool({ prewarm: 1, prewarmMaxAgeMs: 10_000 }).started();
  await pool.clock.advance(9_999);
  assertEquals([pool.starts, pool.source.ready], [1, 1]);
  await pool.clock.advance(1);
  assertEquals([pool.starts, pool.source.ready, pool.children.all[0]!.gone], [2, 1, true]);
  // Its timer may be late.
  pool.clock.stall(10_000);
  assertEquals([pool.source.ready, pool.source.startsProcess], [0, true]);
  const session = pool.listen();
  session.initialize();
  assertEquals(pool.starts, 3);
});

Deno.test("The age of a child that was handed out is nobody's concern", async () => {
  await using pool = await new Pool({ prewarm: 1, prewarmMaxAgeMs: 10_000 }).started();
  const session = pool.listen();
  session.initialize();
  await pool.clock.advance(100_000);
  assertEquals(session.exits, []);
  assert(!pool.children.all[0]!.gone);
});

Deno.test("Chance takes up to a tenth off the greatest age", async () => {
  await using pool = await new Pool({ prewarm: 1, prewarmMaxAgeMs: 10_000, random: () => 0.5 }).started();
  await pool.clock.advance(9_500);
  assertEquals(pool.starts, 2);
});

Deno.test("Where children die at once, they are tried one at a time and less and less often", async () => {
  await using pool = new Pool({ prewarm: 3 });
  pool.children.autoInitialize = false;
  pool.source.start();
  const starts: number[] = [];
  const began = pool.clock.now();
  let seen = 0;
  const dieAll = () => {
    for (const child of pool.children.running) child.exit();
    for (; seen < pool.starts; seen++) starts.push(pool.clock.now() - began);
  };
  for (let ms = 0; ms <= 200_000; ms += 500) {
    dieAll();
    await pool.clock.advance(500);
  }
  const s = (n: number) => n * 1_000;
  assertEquals(starts.map((ms) => Math.round(ms / 1_000) * 1_000), [
    0,
    0,
    0,
    s(1),
    s(3),
    s(7),
    s(15),
    s(31),
    s(63),
    s(123),
    s(183),
  ]);
  // One that lives brings back the others when it is taken.
  pool.children.autoInitialize = true;
  await pool.clock.advance(MAX_BACK_OFF_MS);
  assertEquals(pool.source.ready, 1);
  pool.listen().initialize();
  await pool.clock.advance(0);
  assertEquals(pool.source.ready, 3);
});

const failures: [what: string, fail: (pool: Pool) => Promise<void> | void, starts: number][] = [
  ["refuses initialize", (pool) => {
    const child = pool.children.newest;
    child.says({ id: "sojourn:initialize", error: { code: -32603, message: "no" } });
  }, 2],
  ["does not answer", (pool) => pool.clock.advance(60_000), 2],
  ["prints garbage only", (pool) => {
    for (let line = 0; line < 20; line++) pool.children.newest.events.garbage("hello");
  }, 2],
];
for (const [what, fail, starts] of failures) {
  Deno.test(`A child that ${what} is ended, and another is tried later`, async () => {
    await using pool = new Pool({ prewarm: 1 });
    pool.children.autoInitialize = false;
    pool.source.start();
    await fail(pool);
    assert(pool.children.all[0]!.gone);
    await pool.clock.advance(1_000);
    assertEquals([pool.starts, pool.source.ready], [starts, 0]);
  });
}

Deno.test("A banner on stdout is put up with", async () => {
  await using pool = new Pool({ prewarm: 1 });
  pool.children.autoInitialize = false;
  pool.source.start();
  for (let line = 0; line < 19; line++) pool.children.newest.events.garbage("hello");
  pool.children.newest.answer("sojourn:initialize", INITIALIZE_RESULT);
  for (let line = 0; line < 100; line++) pool.children.newest.events.garbage("hello");
  assertEquals(pool.source.ready, 1);
});

Deno.test("Topping up waits for its turn, behind sessions", async () => {
  await using pool = new Pool({ prewarm: 3 });
  pool.children.autoInitialize = false;
  const blockers = Array.from({ length: 4 }, () => pool.gate.enter("session", () => {}));
  pool.source.start();
  const session = pool.listen();
  session.initialize();
  assertEquals(pool.starts, 0);
  blockers[0]!.leave();
  assertEquals(pool.children.all.map(({ owner }) => owner.session), ["s1"]);
  for (const blocker of blockers) blocker.leave();
  assertEquals(pool.starts, 4);
});

Deno.test("Closing ends what waits and what is on its way, and starts nothing more", async () => {
  const pool = new Pool({ prewarm: 6 });
  pool.children.autoInitialize = false;
  pool.source.start();
  assertEquals([pool.starts, pool.gate.waiting], [4, 2]);
  for (const child of pool.children.all) child.stubborn = true;
  const closed = pool.source.close();
  void pool.source.close({ termAfterMs: 0, killAfterMs: 1 });
  assertEquals([pool.source.spare, pool.gate.waiting], [4, 0]);
  let isClosed = false;
  void closed.then(() => isClosed = true);
  await settle();
  assert(!isClosed);
  for (const child of pool.children.all) {
    assertEquals(child.closes.map((pace) => pace?.killAfterMs), [undefined, 1]);
    child.finishClose();
  }
  await closed;
  pool.source.start();
  await pool.clock.advance(100_000);
  await using _ = pool;
  assertEquals(pool.starts, 4);
});

for (const options of [{ prewarm: 0 }, { prewarm: 1.5 }, { prewarmMaxAgeMs: -1 }, { prewarmMaxAgeMs: 999 }]) {
  Deno.test(`${JSON.stringify(options)} is refused`, () => {
    assertThrows(() => new Pool(options), RangeError, Object.keys(options)[0]!);
  });
}

Deno.test("A back-off doubles, ends with what lived long, and counts those that started together once", () => {
  const backOff = new BackOff();
  let now = 0;
  const waits = Array.from({ length: 8 }, () => {
    backOff.ended(now, now);
    backOff.ended(now - 1, now);
    const waitMs = backOff.until - now;
    now = backOff.until;
    return waitMs / 1_000;
  });
  assertEquals(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
  backOff.ended(now, now + STABLE_MS);
  assertEquals([backOff.trying, backOff.until], [false, -Infinity]);
});

Deno.test("Of fifty real sessions at once each has a server of its own, and none is left behind", async () => {
  const gate = new SpawnGate({ concurrency: 8, clock: systemClock });
  const source = new PrewarmSource({
    serverId: "echo",
    open: stdioBackend({ server: fixture("echo_server"), clock: systemClock, processes }),
    gate,
    clock: systemClock,
    startTimeoutMs: 60_000,
    prewarm: 10,
    prewarmMaxAgeMs: 0,
  });
  source.start();
  await eventually(() => source.ready === 10, "the pool");
  const sessions = Array.from({ length: 50 }, (_, n) => new Listener(source, `s${n}`));
  for (const session of sessions) session.initialize();
  await eventually(() => sessions.every(({ messages }) => messages.length === 1), "all answers");
  for (const session of sessions) {
    session.confirm();
    session.send({ id: 2, method: "tools/call", params: { name: "pid" } });
  }
  await eventually(() => sessions.every(({ messages }) => messages.length === 2), "all pids");
  const pids = sessions.map(({ messages }) => /"text":"(\d+)"/.exec(messages[1]!.text)?.[1]);
  assertEquals(new Set(pids).size, 50);
  assertEquals(pids, sessions.map(({ backend }) => String(backend.pid)));
  await eventually(() => source.ready === 10, "the pool to be topped up");
  await Promise.all([source.close(FORCE_PACE), ...sessions.map((session) => session.close(FORCE_PACE))]);
  assertEquals(pids.filter((pid) => runs(Number(pid))), []);
  const left = (await processes.snapshot()).children(Deno.pid).map(({ pid }) => pid);
  assertEquals([source.spare, left], [0, []]);
});
