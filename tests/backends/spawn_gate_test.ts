import { assert, assertEquals, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { gated, MAX_HELD_CHARS } from "../../backends/gated.ts";
import { MAX_START_MS, SpawnGate, type Ticket } from "../../backends/spawn_gate.ts";
import { systemClock } from "../../clock.ts";
import { eventually } from "../fakes/eventually.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { fixture } from "../fixtures/mod.ts";
import { FORCE_PACE, processes, runs } from "./harness.ts";
import { stdioBackend } from "../../backends/stdio.ts";
import { FakeChildren, Listener } from "./pool_harness.ts";

const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);

function gate(concurrency: number) {
  const clock = new FakeClock();
  return { clock, gate: new SpawnGate({ concurrency, clock }) };
}

for (const concurrency of [0, -1, 1.5, NaN]) {
  Deno.test(`A gate for ${concurrency} starts at a time is refused`, () => {
    assertThrows(() => gate(concurrency), RangeError, "concurrency must be a whole number from 1");
  });
}

Deno.test("As many start as may, the others in the order in which they came", () => {
  const { gate: two, clock } = gate(2);
  const begun: string[] = [];
  const tickets = ["a", "b", "c", "d"].map((name) => two.enter("session", () => begun.push(name)));
  assertEquals(begun, ["a", "b"]);
  assertEquals([two.starting, two.waiting], [2, 2]);
  tickets[1]!.leave();
  tickets[1]!.leave();
  assertEquals(begun, ["a", "b", "c"]);
  for (const ticket of tickets) ticket.leave();
  assertEquals(begun, ["a", "b", "c", "d"]);
  assertEquals([two.starting, two.waiting, clock.pending], [0, 0, 0]);
});

Deno.test("Sessions go before children that are started ahead", () => {
  const { gate: one } = gate(1);
  const begun: string[] = [];
  const first = one.enter("spare", () => begun.push("first"));
  one.enter("spare", (ticket) => (begun.push("spare"), ticket.leave()));
  one.enter("session", (ticket) => (begun.push("session"), ticket.leave()));
  first.leave();
  assertEquals(begun, ["first", "session", "spare"]);
});

Deno.test("Who gives up its place never begins", () => {
  const { gate: one } = gate(1);
  const begun: string[] = [];
  const first = one.enter("session", () => begun.push("first"));
  one.enter("session", () => begun.push("second")).leave();
  one.enter("session", () => begun.push("third"));
  first.leave();
  assertEquals(begun, ["first", "third"]);
});

Deno.test("A start that hangs holds up the others for so long only", async () => {
  const { gate: one, clock } = gate(1);
  const begun: string[] = [];
  one.enter("session", () => begun.push("hangs"));
  const next = one.enter("session", () => begun.push("next"));
  await clock.advance(MAX_START_MS - 1);
  assertEquals(begun, ["hangs"]);
  await clock.advance(1);
  assertEquals(begun, ["hangs", "next"]);
  next.leave();
  assertEquals(clock.pending, 0);
});

Deno.test("A start that throws gives its turn back", () => {
  const { gate: one } = gate(1);
  assertThrows(() =>
    one.enter("session", () => {
      throw new Error("no");
    })
  );
  assertEquals(one.starting, 0);
});

Deno.test(`However starts come and go, there are never too many and none is forgotten (seed ${SEED})`, async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant("enter" as const),
      kind: fc.constantFrom("session" as const, "spare" as const),
    }),
    fc.record({ do: fc.constant("leave" as const), who: fc.nat() }),
    fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 1, max: 2 * MAX_START_MS }) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (concurrency, steps) => {
        const { gate: some, clock } = gate(concurrency);
        // A model: who waits and who starts, oldest first.
        const tickets: {
          kind: "session" | "spare";
          ticket: Ticket;
          begun: boolean;
          left: boolean;
          at: number;
        }[] = [];
        const check = () => {
          const counts = (entry: typeof tickets[number]) =>
            entry.begun && !entry.left && clock.now() - entry.at < MAX_START_MS;
          const starting = tickets.filter(counts).length;
          const waiting = tickets.filter(({ begun, left }) => !begun && !left);
          assertEquals([some.starting, some.waiting], [starting, waiting.length]);
          assert(starting <= concurrency && (waiting.length === 0 || starting === concurrency));
          assertEquals(clock.pending, starting);
        };
        for (const step of steps) {
          if (step.do === "enter") {
            const entry = { kind: step.kind, begun: false, left: false, at: 0 } as typeof tickets[number];
            tickets.push(entry);
            entry.ticket = some.enter(step.kind, () => {
              assert(!entry.left && !entry.begun);
              const first = tickets.find(({ kind, begun, left }) => kind === "session" && !begun && !left) ??
                tickets.find(({ begun, left }) => !begun && !left);
              assert(entry === first, "out of order");
              entry.begun = true;
              entry.at = clock.now();
            });
          } else if (step.do === "leave" && tickets.length > 0) {
            const entry = tickets[step.who % tickets.length]!;
            entry.left = true;
            entry.ticket.leave();
          } else if (step.do === "advance") {
            await clock.advance(step.ms);
          }
          check();
        }
        for (const entry of tickets) {
          entry.left = true;
          entry.ticket.leave();
        }
        check();
      },
    ),
    { numRuns: 500, seed: SEED },
  );
});

Deno.test("A backend that waits keeps what it is sent, in order, and starts with it", async () => {
  const { gate: one } = gate(1);
  const children = new FakeChildren();
  children.autoInitialize = false;
  const blocker = one.enter("session", () => {});
  const listener = new Listener(gated(children.open, one));
  listener.initialize();
  assert(listener.send({ method: "notifications/x" }));
  assertEquals(children.all.length, 0);
  assert(listener.backend.queuedBytes > 100);
  assertEquals(listener.backend.pid, undefined);
  listener.backend.pause();
  blocker.leave();
  assertEquals(children.newest.methods, ["initialize", "notifications/x"]);
  assertEquals([listener.backend.queuedBytes, listener.backend.pid], [0, children.newest.pid]);
  assert(children.newest.paused);
  await listener.close();
});

Deno.test("A start is over with the first answer, with the exit, and not before", async () => {
  const { gate: one } = gate(1);
  const children = new FakeChildren();
  children.autoInitialize = false;
  const open = gated(children.open, one);
  const [a, b, c] = [new Listener(open), new Listener(open), new Listener(open)];
  a.initialize();
  children.newest.says({ method: "notifications/message" });
  children.newest.says({ id: 1, method: "ping" });
  assertEquals(children.all.length, 1);
  children.newest.answer("init");
  assertEquals(children.all.length, 2);
  children.newest.exit();
  assertEquals(children.all.length, 3);
  assertEquals([a.messages.length, b.exits.length], [3, 1]);
  await Promise.all([a.close(), b.close(), c.close()]);
  assertEquals([one.starting, one.waiting], [0, 0]);
});

Deno.test("Closed before its turn a backend never starts, and its exit comes once, later", async () => {
  const { gate: one, clock } = gate(1);
  const children = new FakeChildren();
  const blocker = one.enter("session", () => {});
  const listener = new Listener(gated(children.open, one));
  const closed = listener.close();
  assertEquals([listener.send({ method: "x" }), listener.exits.length], [false, 0]);
  await Promise.all([closed, listener.close()]);
  assertEquals(listener.exits, [{ cause: "spawn", detail: "was closed before its turn to start" }]);
  blocker.leave();
  await settle();
  assertEquals([children.all.length, one.starting, one.waiting, clock.pending], [0, 0, 0, 0]);
});

Deno.test("Who is sent too much before its turn gives up, and says so", async () => {
  const { gate: one } = gate(1);
  one.enter("session", () => {});
  const listener = new Listener(gated(new FakeChildren().open, one));
  assert(listener.sendText("x".repeat(MAX_HELD_CHARS)));
  assertEquals([listener.sendText("x"), listener.sendText("x")], [false, false]);
  await listener.close();
  assertEquals(listener.exits.map(({ detail }) => detail), [
    "was sent more than 64 MiB before its turn to start",
  ]);
});

Deno.test("Of real servers no more start at a time than may, and all of them do", async () => {
  const one = new SpawnGate({ concurrency: 2, clock: systemClock });
  let most = 0;
  const starting = new Set<number>();
  const raw = stdioBackend({ server: fixture("echo_server"), clock: systemClock, processes });
  const open = gated((owner, events) => {
    const backend = raw(owner, {
      ...events,
      message: (message) => {
        if (message.kind === "response") starting.delete(backend.pid!);
        events.message(message);
      },
      garbage: (excerpt) => events.garbage(excerpt),
      exit: (exit) => events.exit(exit),
    });
    starting.add(backend.pid!);
    most = Math.max(most, starting.size);
    return backend;
  }, one);
  const listeners = Array.from({ length: 8 }, (_, n) => new Listener(open, `s${n}`));
  for (const listener of listeners) listener.initialize();
  await eventually(() => listeners.every(({ messages }) => messages.length === 1), "all answers");
  assertEquals([most, one.starting, one.waiting], [2, 0, 0]);
  const pids = listeners.map(({ backend }) => backend.pid);
  assertEquals(new Set(pids).size, 8);
  await Promise.all(listeners.map((listener) => listener.close(FORCE_PACE)));
  assertEquals(pids.filter(runs), []);
});
