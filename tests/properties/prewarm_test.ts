/**
 * A pool of prewarmed children under random schedules: no child serves two sessions, each is counted once, the pool fills
 * up again whatever happened, and nothing is left of it.
 *
 * Every run has another seed, which is part of the test's name. To repeat one:
 * `FC_SEED=… deno test -A tests/properties/prewarm_test.ts`, with `FC_PATH=…` (from the failure's text) for the one
 * schedule. `FC_RUNS=…` sets the number of schedules.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { MAX_BACK_OFF_MS } from "../../backends/back_off.ts";
import { PrewarmSource } from "../../backends/prewarm.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import { FakeChildren, Listener } from "../backends/pool_harness.ts";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";

const RUNS = Number(Deno.env.get("FC_RUNS") ?? 2_000);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

const PREWARM = 3;
const MAX_AGE_MS = 30_000;
const START_TIMEOUT_MS = 10_000;

const n = fc.nat({ max: 1_000 });
const is = <const Do extends string>(name: Do) => ({ do: fc.constant(name) });
const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ ...is("open") }) },
  { weight: 6, arbitrary: fc.record({ ...is("initialize"), who: n, fits: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ ...is("close"), who: n }) },
  { weight: 4, arbitrary: fc.record({ ...is("answer"), which: n }) },
  { weight: 3, arbitrary: fc.record({ ...is("die"), which: n }) },
  { weight: 1, arbitrary: fc.record({ ...is("yield") }) },
  { weight: 1, arbitrary: fc.record({ ...is("room"), there: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ ...is("lazy"), on: fc.boolean() }) },
  {
    weight: 5,
    arbitrary: fc.record({ ...is("advance"), ms: fc.constantFrom(0, 1, 999, 1_000, 9_000, 40_000) }),
  },
);
type Command = typeof command extends fc.Arbitrary<infer One> ? One : never;

/** A session: whether it sent its `initialize`, and whether it is closed. */
interface Party {
  readonly name: string;
  readonly listener: Listener;
  decided: boolean;
  closed: boolean;
}

class World {
  readonly clock = new FakeClock();
  readonly children = new FakeChildren();
  readonly gate = new SpawnGate({ concurrency: 2, clock: this.clock });
  readonly parties: Party[] = [];
  room = true;
  /** The session that each child was first seen to serve. */
  readonly #servedBy = new Map<FakeBackend, string>();
  /** Children that were told to answer. */
  readonly #answered = new Set<FakeBackend>();
  readonly source = new PrewarmSource({
    serverId: "fake",
    open: this.children.open,
    gate: this.gate,
    clock: this.clock,
    startTimeoutMs: START_TIMEOUT_MS,
    mayStart: () => this.room,
    prewarm: PREWARM,
    prewarmMaxAgeMs: MAX_AGE_MS,
  });

  perform(command: Command): void {
    switch (command.do) {
      case "open": {
        const name = `s${this.parties.length}`;
        this.parties.push({ name, listener: new Listener(this.source, name), decided: false, closed: false });
        return;
      }
      case "initialize": {
        const party = pick(this.parties.filter(({ decided, closed }) => !decided && !closed), command.who);
        if (party === undefined) return;
        party.decided = true;
        return party.listener.initialize({
          id: party.name,
          version: command.fits ? "2025-11-25" : "2024-11-05",
        });
      }
      case "close": {
        const party = pick(this.parties.filter(({ closed }) => !closed), command.who);
        if (party === undefined) return;
        party.closed = true;
        return void party.listener.close();
      }
      case "answer": {
        const waiting = this.children.running.filter((child) => !this.#answered.has(child));
        const child = pick(waiting, command.which);
        const [asked] = child?.received ?? [];
        if (child === undefined || child.options.autoInitialize || asked?.kind !== "request") return;
        this.#answered.add(child);
        return child.answer(asked.id, INITIALIZE_RESULT);
      }
      case "die":
        return pick(this.children.running, command.which)?.exit();
      case "yield":
        return void this.source.yieldOne();
      case "room":
        this.room = command.there;
        return;
      case "lazy":
        this.children.autoInitialize = !command.on;
    }
  }

  check(): void {
    const { source, children, gate } = this;
    const isOf = (child: FakeBackend) => child.owner.session.startsWith("s");
    for (const child of children.all.filter(isOf)) {
      const before = this.#servedBy.get(child) ?? child.owner.session;
      assertEquals(child.owner.session, before, "a child serves a second session");
      this.#servedBy.set(child, before);
    }
    const served = [...this.#servedBy.values()];
    assertEquals(new Set(served).size, served.length, "a session has two children");
    const undecided = this.parties.filter(({ decided, closed }) => !decided && !closed).length;
    const unowned = children.running.filter((child) => !isOf(child)).length;
    assertEquals(
      source.spare,
      unowned - Math.min(undecided, source.ready),
      "processes that belong to nobody",
    );
    assert(source.ready <= PREWARM && unowned <= PREWARM && gate.starting <= 2);
    for (const { name, listener, decided, closed } of this.parties) {
      const answers = listener.messages.filter((message) => message.kind === "response");
      assert(answers.length <= 1 && answers.every(({ id }) => id === name), "an answer is not its own");
      assert(listener.exits.length <= 1 && (!closed || listener.exits.length === 1));
      const child = children.all.find(({ owner }) => owner.session === name);
      if (!decided) assertEquals(child, undefined, "a session that said nothing has a child");
      // Its child was started and answered, ahead or for it, unless it died before.
      const isAnswered = child?.methods.includes("notifications/initialized") === true;
      if (isAnswered && !child.gone && !closed) assertEquals(answers.length, 1);
    }
  }

  async finish(): Promise<void> {
    this.room = true;
    this.children.autoInitialize = true;
    // What hangs in its start is given up, what failed is tried again.
    await this.clock.advance(START_TIMEOUT_MS + MAX_BACK_OFF_MS + 15_000);
    for (let tries = 0; tries < PREWARM && this.source.ready < PREWARM; tries++) {
      this.perform({ do: "open" });
      this.perform({ do: "initialize", who: 0, fits: true });
      await this.clock.advance(MAX_AGE_MS / 10);
    }
    for (const party of this.parties) {
      party.closed = true;
      await party.listener.close();
    }
    await this.clock.advance(MAX_AGE_MS / 10);
    this.check();
    assertEquals(this.source.ready, PREWARM, "the pool did not fill up again");
    await this.source.close();
    await this.clock.advance(0);
    assertEquals(this.children.running.length, 0);
    assertEquals([this.source.spare, this.clock.pending, this.gate.starting, this.gate.waiting], [
      0,
      0,
      0,
      0,
    ]);
  }
}

Deno.test(`No prewarmed child serves two sessions or is lost (${RUNS} schedules, seed ${SEED})`, () =>
  fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 60, size: "max" }), async (schedule) => {
      const world = new World();
      world.source.start();
      for (const command of schedule) {
        if (command.do === "advance") await world.clock.advance(command.ms);
        else world.perform(command);
        await settle();
        world.check();
      }
      await world.finish();
    }),
    { numRuns: RUNS, seed: SEED, ...(PATH !== undefined && { path: PATH }) },
  ));

function pick<Item>(items: readonly Item[], which: number): Item | undefined {
  return items[which % items.length];
}
