import { assert, assertEquals, assertThrows } from "@std/assert";
import type { ClosePace } from "../../backends/backend.ts";
import { IDLE_CHILD_MS, SharedSource } from "../../backends/shared.ts";
import { MAX_UNREAD_CHARS } from "../../backends/shared_session.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import { stdioBackend } from "../../backends/stdio.ts";
import { systemClock } from "../../clock.ts";
import type { RequestId } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { settle } from "../fakes/fake_clock.ts";
import { fixture } from "../fixtures/mod.ts";
import { FORCE_PACE, processes, runs } from "./harness.ts";
import { Listener } from "./pool_harness.ts";
import { Sharing } from "./sharing.ts";

Deno.test("Sessions spread over as many children as there may be, and share from then on", async () => {
  await using sharing = new Sharing(2);
  assertEquals([sharing.source.startsProcess, sharing.source.spare, sharing.source.ownsProcess], [
    true,
    0,
    false,
  ]);
  for (let n = 0; n < 5; n++) await sharing.session();
  assertEquals([sharing.children.all.length, sharing.source.spare], [2, 2]);
  assertEquals(sharing.source.startsProcess, false);
  // Whoever comes next gets the one with fewer.
  await sharing.listeners[0]!.close();
  await sharing.listeners[2]!.close();
  const next = await sharing.session();
  next.send({ id: 1, method: "tools/list" });
  assertEquals(sharing.children.all[0]!.methods.at(-1), "tools/list");
});

Deno.test("Where there is no room for a second child, the first is shared", async () => {
  await using sharing = new Sharing(2, { mayStart: () => false });
  for (let n = 0; n < 3; n++) await sharing.session();
  assertEquals(sharing.children.all.length, 1);
});

Deno.test("An initialize is answered by the child's own answer, as it came, under the client's id", async () => {
  await using sharing = new Sharing();
  sharing.children.autoInitialize = false;
  const early = sharing.listen();
  early.initialize({ id: "x", capabilities: { roots: {} }, version: "2024-11-05" });
  early.send({ id: 2, method: "ping" });
  assertEquals(sharing.child.methods, ["initialize"]);
  sharing.child.answer("sojourn:initialize", INITIALIZE_RESULT);
  await settle();
  const late = sharing.listen();
  late.initialize({ id: 7 });
  late.confirm();
  await settle();
  const answer = (id: RequestId) => JSON.stringify({ jsonrpc: "2.0", id, result: INITIALIZE_RESULT });
  assertEquals([early.texts, late.texts], [[answer("x")], [answer(7)]]);
  assertEquals(sharing.child.methods, ["initialize", "notifications/initialized", "ping"]);
});

Deno.test("A session that is paused stops no other, and gets what came in order when it reads on", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.backend.pause();
  const ask = (who: Listener, id: number) => {
    who.send({ id, method: "m" });
    sharing.child.answer(sharing.lastId, { id });
  };
  for (let id = 0; id < 10; id++) {
    ask(a, id);
    ask(b, id);
  }
  assertEquals([a.messages.length, b.messages.length, sharing.child.paused], [0, 10, false]);
  a.backend.resume();
  ask(a, 10);
  await settle();
  ask(a, 11);
  assertEquals(
    a.messages.map((message) => message.kind === "response" && message.id),
    Array.from({ length: 12 }, (_, n) => n),
  );
});

Deno.test("A session that does not read beyond the bound is cut off, and costs nobody else anything", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.backend.pause();
  const big = "x".repeat(MAX_UNREAD_CHARS);
  for (const text of [big, "y"]) {
    assertEquals(a.exits, []);
    a.send({ id: text.length, method: "m" });
    sharing.child.answer(sharing.lastId, { text });
  }
  assertEquals(a.exits.map(({ cause }) => cause), ["cut"]);
  assertEquals([a.messages, a.send({ id: 9, method: "m" })], [[], false]);
  a.backend.resume();
  b.send({ id: 1, method: "m" });
  sharing.child.answer(sharing.lastId);
  assertEquals([b.messages.length, a.messages.length], [1, 0]);
});

Deno.test("A child that dies ends the backends of all its sessions, once, after what it said", async () => {
  await using sharing = new Sharing(2);
  const sessions = [await sharing.session(), await sharing.session(), await sharing.session()];
  const [a, , c] = sessions;
  c!.backend.pause();
  c!.send({ id: 1, method: "m" });
  const [child] = sharing.children.all;
  child!.answer((child!.received.at(-1) as { id: number }).id);
  child!.exit({ cause: "exit", detail: "exited with code 1" });
  assertEquals(sessions.map(({ exits }) => exits.length), [1, 0, 1]);
  assertEquals([a!.messages.length, c!.messages.length, a!.send({ id: 1, method: "m" })], [0, 1, false]);
  assertEquals(child!.closes.length, 1);
});

Deno.test("Where a child died at once, sessions share what is left or wait for a next", async () => {
  await using sharing = new Sharing(1);
  await sharing.session();
  sharing.child.exit();
  const refused = sharing.listen();
  refused.initialize();
  await settle();
  assertEquals(refused.exits, [{
    cause: "spawn",
    detail: "keeps ending and is not started again for 1000 ms",
  }]);
  await sharing.clock.advance(1_000);
  await sharing.session();
  assertEquals(sharing.children.all.length, 2);
});

Deno.test("A child that does not start takes its sessions with it", async () => {
  await using sharing = new Sharing();
  sharing.children.autoInitialize = false;
  const [a, b] = [sharing.listen(), sharing.listen()];
  a.initialize();
  b.initialize();
  sharing.child.says({ id: "sojourn:initialize", error: { code: -1, message: "no" } });
  assertEquals([a.exits[0]?.detail, b.exits[0]?.detail], [
    "refused initialize: no",
    "refused initialize: no",
  ]);
  assert(sharing.child.gone);
});

Deno.test("A child without sessions is given back after a while, or when its place is wanted", async () => {
  await using sharing = new Sharing(2);
  const a = await sharing.session();
  const b = await sharing.session();
  assertEquals(sharing.source.yieldOne(), false);
  await a.close();
  assertEquals([sharing.source.yieldOne(), sharing.children.running.length], [true, 1]);
  await b.close();
  await sharing.clock.advance(IDLE_CHILD_MS - 1);
  const c = await sharing.session();
  await sharing.clock.advance(IDLE_CHILD_MS);
  assertEquals([sharing.children.all.length, sharing.children.running.length], [2, 1]);
  await c.close();
  await sharing.clock.advance(IDLE_CHILD_MS);
  assertEquals(sharing.children.running.length, 0);
});

Deno.test("A child whose sessions left before its turn never starts", async () => {
  await using sharing = new Sharing();
  const blockers = Array.from({ length: 4 }, () => sharing.gate.enter("session", () => {}));
  const a = sharing.listen();
  a.initialize();
  await a.close();
  for (const blocker of blockers) blocker.leave();
  assertEquals([sharing.children.all.length, sharing.source.spare], [0, 0]);
});

Deno.test("A shared child is the source's, whoever uses it", async () => {
  await using sharing = new Sharing();
  await sharing.session();
  assert(sharing.source.owns(sharing.child.owner));
  assertEquals(sharing.source.owns({ serverId: "fake", session: "s1" }), false);
});

Deno.test("Closing the source ends the backends of its sessions, and opens no more", async () => {
  const sharing = new Sharing();
  const a = await sharing.session();
  const paces: (ClosePace | undefined)[] = [undefined, FORCE_PACE];
  await Promise.all(paces.map((pace) => sharing.source.close(pace)));
  assertEquals(a.exits, [{ cause: "exit", detail: "was closed" }]);
  const b = sharing.listen();
  await settle();
  assertEquals([b.exits.length, b.send({ id: 1, method: "m" })], [1, false]);
  await using _ = sharing;
});

for (const shared of [0, -1, 1.5]) {
  Deno.test(`${shared} shared children are refused`, () => {
    assertThrows(() => new Sharing(shared), RangeError, "shared must be a whole number from 1");
  });
}

Deno.test("Two hundred real sessions on two real servers get what is theirs, and nothing is left", async () => {
  const source = new SharedSource({
    serverId: "echo",
    open: stdioBackend({ server: fixture("echo_server"), clock: systemClock, processes }),
    gate: new SpawnGate({ concurrency: 2, clock: systemClock }),
    clock: systemClock,
    startTimeoutMs: 60_000,
    shared: 2,
  });
  const sessions = Array.from({ length: 200 }, (_, n) => new Listener(source, `s${n}`));
  for (const session of sessions) {
    session.initialize();
    session.confirm();
  }
  for (const [n, session] of sessions.entries()) {
    const call = (id: number, name: string, args: Record<string, unknown>) =>
      session.send({
        id,
        method: "tools/call",
        params: { name, arguments: args, _meta: { progressToken: id } },
      });
    call(1, "echo", { message: `of ${n}` });
    call(2, "progress", { n: 3 });
    call(3, "slow", { ms: 60_000 });
    session.send({ method: "notifications/cancelled", params: { requestId: 3 } });
  }
  const done = ({ messages }: Listener) => messages.length === 6;
  await eventually(() => sessions.every(done), "all answers");
  for (const [n, { messages }] of sessions.entries()) {
    const [, ...rest] = messages;
    assert(rest.some(({ text }) => text.includes(`"of ${n}"`)));
    const tokens = rest.flatMap((message) =>
      message.kind === "notification" ? [message.params?.progressToken] : []
    );
    assertEquals(tokens, [2, 2, 2]);
    assertEquals(rest.flatMap((message) => message.kind === "response" ? [message.id] : []).sort(), [1, 2]);
  }
  const pids = new Set(sessions.map(({ backend }) => backend.pid));
  assertEquals(pids.size, 2);
  await Promise.all(sessions.map((session) => session.close()));
  assertEquals([...pids].filter(runs).length, 2);
  await source.close(FORCE_PACE);
  assertEquals([...pids].filter(runs), []);
});
