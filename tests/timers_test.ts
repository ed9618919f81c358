/**
 * The timer queue on fake time, against the simplest thing that could be right.
 *
 * @module
 */
import * as fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { settle } from "./fakes/fake_clock.ts";
import { type Cancel, MAX_ARM_MS, SLICE_MS, type Timer, TimerQueue } from "../timers.ts";

const DAY_MS = 86_400_000;

/** A runtime with one timer, which fires when a test says so; time passes too when a callback says that it works. */
class FakeRuntime {
  nowMs = 1_000;
  /** Turns in which the timer fired. */
  turns = 0;
  /** What the queue asked for, oldest first. */
  readonly asked: number[] = [];
  #timer: { readonly at: number; readonly fn: () => void } | undefined;

  readonly queue = new TimerQueue({
    now: () => this.nowMs,
    arm: (delayMs, fn) => {
      assert(this.#timer === undefined, "two timers of the runtime were set at once");
      assert(delayMs >= 0 && delayMs <= MAX_ARM_MS, `armed for ${delayMs} ms`);
      this.asked.push(delayMs);
      const timer = this.#timer = { at: this.nowMs + delayMs, fn };
      return () => {
        if (this.#timer === timer) this.#timer = undefined;
      };
    },
  });

  /** When the timer fires; Infinity when none is set. */
  get armedAt(): number {
    return this.#timer?.at ?? Infinity;
  }

  /** Lets the timer fire, and runs all that follows in the same turn. */
  async turn({ earlyMs = 0 } = {}): Promise<void> {
    const { at, fn } = this.#timer!;
    this.#timer = undefined;
    this.nowMs = Math.max(this.nowMs, at - earlyMs);
    this.turns++;
    fn();
    await settle();
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    while (this.armedAt <= Math.max(untilMs, this.nowMs)) await this.turn();
    this.nowMs = Math.max(this.nowMs, untilMs);
  }
}

/** Runs `body` and returns what was reported meanwhile as an error that nobody caught. */
async function reported(body: () => Promise<void>): Promise<unknown[]> {
  const errors: unknown[] = [];
  const listener = (event: ErrorEvent) => {
    event.preventDefault();
    errors.push(event.error);
  };
  globalThis.addEventListener("error", listener);
  try {
    await body();
  } finally {
    globalThis.removeEventListener("error", listener);
  }
  return errors;
}

// [delay in ms, the runtime's timers that it takes].
for (
  const [delayMs, steps] of [
    [-1, [0]],
    [0, [0]],
    [0.5, [0.5]],
    [1, [1]],
    [MAX_ARM_MS - 1, [MAX_ARM_MS - 1]],
    [MAX_ARM_MS, [MAX_ARM_MS]],
    [MAX_ARM_MS + 1, [MAX_ARM_MS, 1]],
    [2 * MAX_ARM_MS, [MAX_ARM_MS, MAX_ARM_MS]],
    [2 * MAX_ARM_MS + 5, [MAX_ARM_MS, MAX_ARM_MS, 5]],
    [366 * DAY_MS, [...Array.from({ length: 14 }, () => MAX_ARM_MS), 366 * DAY_MS - 14 * MAX_ARM_MS]],
  ] as const
) {
  Deno.test(`A timer of ${delayMs} ms takes ${steps.length} of the runtime and fires at its instant`, async () => {
    const runtime = new FakeRuntime();
    const start = runtime.nowMs;
    const firedAt: number[] = [];
    runtime.queue.after(delayMs, () => firedAt.push(runtime.nowMs - start));
    for (const [at, stepMs] of steps.entries()) {
      assertEquals(firedAt, []);
      assertEquals(runtime.asked.length, at + 1);
      assertEquals(runtime.asked[at], stepMs);
      await runtime.turn();
    }
    assertEquals(firedAt, [Math.max(0, delayMs)]);
    assertEquals(runtime.armedAt, Infinity);
  });
}

Deno.test("A timer of the runtime that fires early is set again for what is missing", async () => {
  const runtime = new FakeRuntime();
  let fired = false;
  runtime.queue.after(10, () => fired = true);
  await runtime.turn({ earlyMs: 0.25 });
  assert(!fired);
  assertEquals(runtime.asked, [10, 0.25]);
  await runtime.turn();
  assert(fired);
});

Deno.test("Timers fire by their instants, and those of one instant by age", async () => {
  const runtime = new FakeRuntime();
  const fired: string[] = [];
  for (const [delayMs, name] of [[30, "d"], [10, "b"], [30, "e"], [20, "c"], [-5, "a"], [30, "f"]] as const) {
    runtime.queue.after(delayMs, () => fired.push(name));
  }
  await runtime.advance(30);
  assertEquals(fired, ["a", "b", "c", "d", "e", "f"]);
});

Deno.test("Only the earliest timer is known to the runtime, and none when none is left", () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const cancels = [30, 10, 20].map((delayMs) => queue.after(delayMs, () => {}));
  assertEquals(runtime.asked, [30, 10]);
  for (const cancel of cancels) {
    assert(runtime.armedAt < Infinity);
    cancel();
  }
  assertEquals([queue.size, runtime.armedAt], [0, Infinity]);
});

Deno.test("A cancel that comes late or twice does not cancel who has the place now", async () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const fired: string[] = [];
  const cancelFired = queue.after(1, () => fired.push("first"));
  await runtime.advance(1);
  queue.after(1, () => fired.push("second"));
  cancelFired();
  const cancel = queue.after(2, () => fired.push("never"));
  cancel();
  queue.after(2, () => fired.push("third"));
  cancel();
  await runtime.advance(2);
  assertEquals(fired, ["first", "second", "third"]);
});

Deno.test("A cancel from before the memory was given back cancels nobody", async () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const least = queue.capacity;
  const cancels = Array.from({ length: 1_000 }, (_, n) => queue.after(n, () => {}));
  assertEquals(queue.capacity, 1_024);
  await runtime.advance(1_000);
  assertEquals(queue.capacity, least);
  let fired = 0;
  for (let n = 0; n < least; n++) queue.after(1, () => fired++);
  for (const cancel of cancels) cancel();
  await runtime.advance(1);
  assertEquals(fired, least);
});

Deno.test("A callback may set timers and cancel those that are due with it", async () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const fired: string[] = [];
  queue.after(5, () => {
    fired.push("a");
    cancel();
    queue.after(0, () => fired.push(`set in turn 1, fired in turn ${runtime.turns}`));
  });
  const cancel = queue.after(5, () => fired.push("cancelled"));
  queue.after(5, () => fired.push(`b in turn ${runtime.turns}`));
  await runtime.advance(5);
  assertEquals(fired, ["a", "b in turn 1", "set in turn 1, fired in turn 2"]);
});

Deno.test("What a callback leaves to a microtask happens before the next callback", async () => {
  const runtime = new FakeRuntime();
  const seen: string[] = [];
  for (const name of ["a", "b"]) {
    runtime.queue.after(1, () => {
      seen.push(name);
      queueMicrotask(() => seen.push(`${name}, microtask`));
    });
  }
  await runtime.advance(1);
  assertEquals(seen, ["a", "a, microtask", "b", "b, microtask"]);
});

Deno.test("A callback that throws is reported and the others fire", async () => {
  const runtime = new FakeRuntime();
  const fired: string[] = [];
  const fault = new Error("thrown by a timer");
  const errors = await reported(async () => {
    for (const name of ["a", "b", "c"]) {
      runtime.queue.after(1, () => {
        fired.push(name);
        if (name === "b") throw fault;
      });
    }
    await runtime.advance(1);
  });
  assertEquals(fired, ["a", "b", "c"]);
  assertEquals(errors, [fault]);
});

for (
  const [what, post] of [["callbacks", (work: () => void) => work()], ["microtasks", queueMicrotask]] as const
) {
  Deno.test(`${what} of 1,000 timers of one instant that work for 1 ms each are cut in slices`, async () => {
    const runtime = new FakeRuntime();
    const turnOf: number[] = [];
    for (let n = 0; n < 1_000; n++) {
      runtime.queue.after(10, () =>
        post(() => {
          turnOf.push(runtime.turns);
          runtime.nowMs += 1;
        }));
    }
    await runtime.advance(10);
    assertEquals(turnOf, Array.from({ length: 1_000 }, (_, n) => 1 + Math.floor(n / SLICE_MS)));
    assert(runtime.asked.slice(1).every((delayMs) => delayMs === 0));
  });
}

Deno.test("A callback is let go when its timer fired and when it was cancelled", async () => {
  const runtime = new FakeRuntime();
  const kept: Cancel[] = [];
  const gone: string[] = [];
  const registry = new FinalizationRegistry((name: string) => gone.push(name));
  const set = (name: string) => {
    const fn = () => void name.length;
    registry.register(fn, name);
    kept.push(runtime.queue.after(1, fn));
  };
  set("fired");
  await runtime.advance(1);
  set("cancelled");
  kept[1]!();
  set("set");
  for (let n = 0; n < 100 && gone.length < 2; n++) {
    churn();
    await settle();
  }
  assertEquals(gone.toSorted(), ["cancelled", "fired"]);
  kept[2]!();
});

Deno.test("Very many timers in no order, half of them cancelled, fire in order", async () => {
  const COUNT = 10_007;
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const fired: number[] = [];
  // Every delay once, far from those before and after it.
  const delays = Array.from({ length: COUNT }, (_, n) => n * 7_919 % COUNT);
  const cancels = delays.map((delayMs) => queue.after(delayMs, () => fired.push(delayMs)));
  for (const [n, delayMs] of delays.entries()) if (delayMs % 2 === 1) cancels[n]!();
  assertEquals(queue.size, Math.ceil(COUNT / 2));
  queue.after(COUNT, () => {});
  for (const cancel of cancels.slice(0, 100)) cancel();
  const left = delays.slice(100).filter((delayMs) => delayMs % 2 === 0).toSorted((a, b) => a - b);
  assertEquals(queue.size, left.length + 1);
  await runtime.advance(COUNT);
  assertEquals(fired, left);
});

/** A timer that its owner keeps, and that writes down when it fires. */
function kept(runtime: FakeRuntime): Timer & { readonly firedAt: number[] } {
  const firedAt: number[] = [];
  return { slot: -1, firedAt, fire: () => void firedAt.push(runtime.nowMs - 1_000) };
}

Deno.test("A timer that its owner keeps can be set anew, and fires once for the last time that it was set", async () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const timer = kept(runtime);
  for (const delayMs of [5, 1, 10]) queue.set(delayMs, timer);
  assertEquals(queue.size, 1);
  await runtime.advance(100);
  assertEquals(timer.firedAt, [10]);
  queue.set(5, timer);
  await runtime.advance(5);
  assertEquals(timer.firedAt, [10, 105]);
});

Deno.test("Taking a kept timer back takes back no other that has its place now", async () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const [first, second] = [kept(runtime), kept(runtime)];
  queue.clear(first);
  queue.set(5, first);
  queue.clear(first);
  queue.set(5, second);
  queue.clear(first);
  assertEquals(queue.size, 1);
  await runtime.advance(5);
  queue.clear(second);
  assertEquals([first.firedAt, second.firedAt], [[], [5]]);
});

Deno.test("A kept timer may set itself again when it fires", async () => {
  const runtime = new FakeRuntime();
  const { queue } = runtime;
  const timer = kept(runtime);
  const again: Timer = {
    slot: -1,
    fire() {
      timer.fire();
      if (timer.firedAt.length < 3) queue.set(10, again);
    },
  };
  queue.set(10, again);
  await runtime.advance(100);
  assertEquals(timer.firedAt, [10, 20, 30]);
});

/** What a timer does when it fires. */
interface Doings {
  /** How long it works. */
  readonly workMs: number;
  /** Delays of the timers that it sets. */
  readonly sets: readonly number[];
  /** Which of the timers so far it cancels, fired or not. */
  readonly cancels: readonly number[];
  readonly throws: boolean;
}

type Command =
  | { readonly do: "set"; readonly delayMs: number; readonly doings: Doings }
  | { readonly do: "cancel"; readonly nth: number }
  | { readonly do: "advance"; readonly ms: number };

const delayMs = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: -1, max: 12 }) },
  { weight: 1, arbitrary: fc.double({ min: 0, max: 4, noNaN: true }) },
  { weight: 1, arbitrary: fc.constantFrom(MAX_ARM_MS, MAX_ARM_MS + 1, 366 * DAY_MS) },
);
const doings: fc.Arbitrary<Doings> = fc.record({
  workMs: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.constantFrom(0.5, 1, SLICE_MS, 20)),
  sets: fc.array(delayMs, { maxLength: 2 }),
  cancels: fc.array(fc.nat(200), { maxLength: 2 }),
  throws: fc.boolean(),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("set"), delayMs, doings }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel"), nth: fc.nat(200) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("advance"),
      ms: fc.oneof(fc.nat(15), fc.constantFrom(MAX_ARM_MS, 367 * DAY_MS)),
    }),
  },
);

const IDLE: Doings = { workMs: 0, sets: [], cancels: [], throws: false };

/** One timer as the model knows it. */
interface Modelled {
  readonly due: number;
  readonly age: number;
  readonly setInTurn: number;
}

/** A queue and a plain list of what is set, which is looked at whenever a timer fires. */
class Compared {
  readonly runtime = new FakeRuntime();
  /** What is set. */
  readonly live = new Set<Modelled>();
  thrown = 0;
  readonly #all: { readonly timer: Modelled; readonly cancel: Cancel }[] = [];
  #turn = -1;
  #workedMs = 0;

  set(delayMs: number, doings: Doings): void {
    const { runtime, live } = this;
    const timer: Modelled = {
      due: runtime.nowMs + Math.max(0, delayMs),
      age: this.#all.length,
      setInTurn: this.#turn,
    };
    live.add(timer);
    this.#all.push({ timer, cancel: runtime.queue.after(delayMs, () => this.#fired(timer, doings)) });
  }

  cancel(nth: number): void {
    const entry = this.#all[nth % this.#all.length];
    entry?.cancel();
    if (entry !== undefined) this.live.delete(entry.timer);
  }

  #fired(timer: Modelled, { workMs, sets, cancels, throws }: Doings): void {
    const { runtime, live } = this;
    if (this.#turn !== runtime.turns) this.#workedMs = 0;
    this.#turn = runtime.turns;
    assert(live.has(timer), "fired twice, or after it was cancelled");
    assert(runtime.nowMs >= timer.due, "fired early");
    assertEquals(timer, this.next(), "fired before one that comes first");
    assert(timer.setInTurn !== runtime.turns, "fired in the turn in which it was set");
    assert(this.#workedMs < SLICE_MS, "fired when the budget of its turn was spent");
    live.delete(timer);
    runtime.nowMs += workMs;
    this.#workedMs += workMs;
    for (const nth of cancels) this.cancel(nth);
    for (const delayMs of sets) this.set(delayMs, IDLE);
    if (throws) {
      this.thrown++;
      throw new Error("thrown by a timer");
    }
  }

  /** What comes first of what is set. */
  next(): Modelled | undefined {
    let next: Modelled | undefined;
    for (const timer of this.live) if (next === undefined || timer.due < next.due) next = timer;
    return next;
  }

  /** Between two turns. */
  check(): void {
    this.#turn = -1;
    const { runtime, live } = this;
    assertEquals(runtime.queue.size, live.size);
    const due = this.next()?.due ?? Infinity;
    assertEquals(runtime.armedAt < Infinity, live.size > 0, "whether the runtime's timer is set");
    assert(runtime.armedAt <= Math.max(due, runtime.nowMs), "the runtime's timer is late");
    assert(runtime.queue.capacity <= 64 || live.size > 0);
  }
}

Deno.test("Whatever is set and cancelled, what is due fires in order, in time and once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 200, size: "max" }), async (commands) => {
      const compared = new Compared();
      const { runtime } = compared;
      const errors = await reported(async () => {
        for (const command of commands) {
          if (command.do === "set") compared.set(command.delayMs, command.doings);
          else if (command.do === "cancel") compared.cancel(command.nth);
          else {
            await runtime.advance(command.ms);
            assert((compared.next()?.due ?? Infinity) > runtime.nowMs, "what is due did not fire");
          }
          compared.check();
        }
        await runtime.advance(400 * DAY_MS);
        await runtime.advance(400 * DAY_MS);
        compared.check();
      });
      assertEquals(errors.filter((error) => (error as Error).message !== "thrown by a timer"), []);
      assertEquals([compared.live.size, errors.length], [0, compared.thrown]);
    }),
    { numRuns: 500 },
  );
});

/** Makes garbage, so that it is collected. */
function churn(): void {
  let kept: unknown[] = [];
  for (let n = 0; n < 200_000; n++) {
    if (n % 1_000 === 0) kept = [];
    kept.push({ n });
  }
}
