/**
 * Every session store beside a plain model under random calls, a durable one closed and opened again in between.
 *
 * Every run has another seed, which is part of the test's name. To repeat one:
 * `FC_SEED=… deno test -A tests/stores/store_model_test.ts`, with `FC_PATH=…` (from the failure's text) for the one
 * sequence. `FC_RUNS=…` sets the number of sequences.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { StoreError } from "../../stores/store_error.ts";
import { Model } from "./model.ts";
import { contentOf, digestOf, endOf, Kept, sessionOf, sorted, STORE_NAMES } from "./sessions.ts";

const RUNS = Number(Deno.env.get("FC_RUNS") ?? 150);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

const is = <const Do extends string>(name: Do) => ({ do: fc.constant(name) });
/** Of 12 sessions that are put down again and again. */
const who = fc.nat({ max: 11 });
/** The place of a key among all that were ever given; the last ones are those of nobody. */
const which = fc.nat({ max: 30 });
const json = fc.json({ maxDepth: 1 });
const name = fc.oneof(
  fc.constantFrom("files", "memory", "a\0b", '"', ""),
  fc.string({ unit: "binary", maxLength: 4 }),
);
const owner = fc.constantFrom("alice", "bob", "bob\0", '"bob"');
const command = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      ...is("add"),
      who,
      changes: fc.record({
        serverId: owner,
        fingerprint: name,
        principal: owner,
        kind: name,
        protocolVersion: fc.option(name, { nil: undefined }),
        openedAt: fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Object.is(n, -0)),
        params: fc.oneof(fc.constantFrom("{}", "[1]"), json),
        result: fc.oneof(fc.constantFrom("{}", "[1]"), json),
        limits: fc.constantFrom("{}", "[1]"),
        state: json,
      }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      ...is("update"),
      changes: fc.array(fc.record({ which, lastUsed: fc.nat(), state: json }), { maxLength: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ ...is("look"), which, who }) },
  { weight: 3, arbitrary: fc.record({ ...is("page"), which, limit: fc.nat({ max: 8 }) }) },
  { weight: 3, arbitrary: fc.record({ ...is("saveStreams"), which, streams: json }) },
  { weight: 3, arbitrary: fc.record({ ...is("takeStreams"), which }) },
  {
    weight: 5,
    arbitrary: fc.record({
      ...is("end"),
      ended: fc.array(fc.record({ which, n: fc.nat({ max: 9 }), record: json }), { maxLength: 5 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ ...is("tombstones"), limit: fc.nat({ max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ ...is("reopen") }) },
);
type Command = typeof command extends fc.Arbitrary<infer One> ? One : never;

class Pair implements Disposable {
  readonly #kept: Kept;
  readonly #model: Model;
  readonly #keys: number[] = [];

  constructor(store: typeof STORE_NAMES[number], tombstones: number) {
    this.#kept = new Kept(store, { tombstones });
    this.#model = new Model({ tombstones });
  }

  do(command: Command): void {
    const [store, model] = [this.#kept.store, this.#model];
    const key = "which" in command ? this.#key(command.which) : 0;
    switch (command.do) {
      case "add": {
        const session = sessionOf(command.who, command.changes);
        if (model.has(session.digest)) {
          return void assertThrows(() => store.add(session), StoreError, "already");
        }
        const key = store.add(session);
        assert(key > (this.#keys.at(-1) ?? 0), `${key} after ${this.#keys}`);
        this.#keys.push(key);
        return void model.add(session, key);
      }
      case "update": {
        const changes = command.changes.map(({ which, ...change }) => ({ ...change, key: this.#key(which) }));
        store.update(changes);
        return model.update(changes);
      }
      case "look":
        assertEquals(store.get(key), model.get(key));
        return assertEquals(store.find(digestOf(command.who)), model.find(digestOf(command.who)));
      case "page":
        return assertEquals(store.page(key, command.limit), model.page(key, command.limit));
      case "saveStreams":
        store.saveStreams(key, command.streams);
        return model.saveStreams(key, command.streams);
      case "takeStreams":
        return assertEquals(store.takeStreams(key), model.takeStreams(key));
      case "end": {
        const ended = command.ended.map(({ which, n, record }) => endOf(this.#key(which), n, record));
        store.end(ended);
        return model.end(ended);
      }
      case "tombstones":
        return assertEquals(store.tombstones(command.limit), model.tombstones(command.limit));
      case "reopen":
        if (store.durable) this.#kept.reopen();
        return this.check();
    }
  }

  check(): void {
    const [store, model] = [this.#kept.store, this.#model];
    const { sessions, counts, tombstones } = contentOf(store);
    assertEquals(sessions, model.page(0, Infinity));
    assertEquals(counts, sorted(model.counts()));
    assertEquals(tombstones, model.tombstones(Infinity));
  }

  /** The streams too, which are gone then. */
  finish(): void {
    if (this.#kept.store.durable) this.#kept.reopen();
    this.check();
    for (const key of this.#keys) {
      assertEquals(this.#kept.store.takeStreams(key), this.#model.takeStreams(key));
    }
  }

  [Symbol.dispose](): void {
    this.#kept[Symbol.dispose]();
  }

  #key(which: number): number {
    return this.#keys[which] ?? 100 + which;
  }
}

for (const store of STORE_NAMES) {
  Deno.test(`A store tells what a plain list would, whatever was asked of it (${store}, seed ${SEED})`, () => {
    const calls = fc.array(command, { maxLength: 60, size: "max" });
    const property = fc.property(calls, fc.constantFrom(0, 1, 4), (commands, tombstones) => {
      using pair = new Pair(store, tombstones);
      for (const command of commands) pair.do(command);
      pair.finish();
    });
    fc.assert(property, { numRuns: RUNS, seed: SEED, ...(PATH === undefined ? {} : { path: PATH }) });
  });
}
