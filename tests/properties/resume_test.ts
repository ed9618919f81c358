/**
 * Streams that are cut at any point and resumed: nothing is lost, doubled or reordered within what is kept, beyond it
 * there is an error and never a hole, and nothing is ever anybody else's.
 *
 * Every run has another seed, which is part of the tests' names. To repeat one:
 * `FC_SEED=… deno test -A tests/properties`, with `FC_PATH=…` (from the failure's text) for the one schedule.
 * `FC_RUNS=…` sets the number of schedules.
 *
 * @module
 */
import * as fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import type { RequestId } from "../../protocol/jsonrpc.ts";
import { check, type Connection, end, Session, type Stream } from "./resume_model.ts";
import { Wire } from "./resume_wire.ts";
import { conversationsWorld, MAX_MS, routesWorld, type World } from "./resume_world.ts";

/** How many schedules go through the routes; twice as many do without. */
const RUNS = Number(Deno.env.get("FC_RUNS") ?? 2_000);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

const IDS: readonly RequestId[] = [1, "1", "é", "x".repeat(94), "y".repeat(95)];
const MIB = 1024 * 1024;
/** Turns that a body may take to be read. */
const MAX_TURNS = 100;

const who = fc.nat({ max: 2 });
const nth = fc.nat({ max: 5 });
/** Often few and small, sometimes more than is kept. */
const bulk = fc.oneof(
  { weight: 40, arbitrary: fc.record({ times: fc.integer({ min: 1, max: 3 }), size: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ times: fc.constantFrom(120, 257, 700), size: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ times: fc.constant(2), size: fc.constantFrom(70_000, MIB, 2 * MIB) }) },
);
const pick = fc.record({ who, nth: fc.nat({ max: 9 }), back: fc.constantFrom(0, 0, 0, 1, 2, 1_000) });

type Pick = { who: number; nth: number; back: number };
type Bulk = { times: number; size: number };
type Command =
  | { do: "request"; who: number; id: number }
  | { do: "open"; who: number }
  | { do: "hangUp" | "freeze"; who: number; nth: number }
  | { do: "progress"; who: number; nth: number; bulk: Bulk }
  | { do: "tell"; who: number; bulk: Bulk }
  | { do: "answer"; who: number; nth: number }
  | { do: "resume"; picks: Pick[] }
  | { do: "forge"; who: number; pick: Pick }
  | { do: "pass" }
  | { do: "restart"; who: number; kept: boolean };

function of<Do extends Command["do"]>(name: Do, fields: object = {}): fc.Arbitrary<Command> {
  return fc.record({ do: fc.constant(name), ...fields }) as fc.Arbitrary<Command>;
}

const command = fc.oneof(
  { weight: 4, arbitrary: of("request", { who, id: fc.nat({ max: IDS.length - 1 }) }) },
  { weight: 2, arbitrary: of("open", { who }) },
  { weight: 5, arbitrary: of("progress", { who, nth, bulk }) },
  { weight: 4, arbitrary: of("tell", { who, bulk }) },
  { weight: 2, arbitrary: of("answer", { who, nth }) },
  { weight: 4, arbitrary: of("hangUp", { who, nth }) },
  { weight: 1, arbitrary: of("freeze", { who, nth }) },
  { weight: 6, arbitrary: of("resume", { picks: fc.array(pick, { minLength: 1, maxLength: 3 }) }) },
  { weight: 1, arbitrary: of("forge", { who, pick }) },
  { weight: 1, arbitrary: of("pass") },
  { weight: 1, arbitrary: of("restart", { who, kept: fc.boolean() }) },
);

/** Carries out a schedule, and looks what came of each command. */
class Run {
  readonly #world: World;
  readonly #sessions: Session[];
  /** Whose event each id is. */
  readonly #ids = new Map<string, string>();
  /** Responses that have to come. */
  readonly #expected: { wire: Wire; status: number }[] = [];
  #serial = 0;

  constructor(world: World) {
    this.#world = world;
    this.#sessions = world.peers.map((_, no) => new Session(no));
  }

  async perform(command: Command): Promise<void> {
    switch (command.do) {
      case "request":
        this.#request(this.#session(command.who), IDS[command.id]!);
        break;
      case "open": {
        const session = this.#session(command.who);
        const stream = session.openStandalone();
        this.#connect(this.#peer(session).get(), stream);
        session.deliverKept(stream);
        break;
      }
      case "progress":
        this.#progress(this.#session(command.who), command);
        break;
      case "tell":
        this.#tell(this.#session(command.who), command.bulk);
        break;
      case "answer":
        this.#answer(this.#session(command.who), command.nth);
        break;
      case "hangUp":
      case "freeze":
        this.#lose(this.#session(command.who), command);
        break;
      case "resume":
        this.#resume(command.picks.map((pick) => ({ ...pick, by: pick.who })));
        break;
      case "forge":
        this.#resume([{ ...command.pick, by: command.who }]);
        break;
      case "pass":
        await this.#pass();
        break;
      case "restart":
        this.#restart(this.#session(command.who), command.kept);
    }
    await this.#look();
  }

  /** Every client comes back for every stream: what it has not got by then is lost. */
  async finish(): Promise<void> {
    for (const session of this.#sessions) {
      // What somebody is told who comes back is a stream too.
      for (const stream of session.streams.slice()) {
        this.#resume([{ stream, by: session.no, back: 0 }]);
        await this.#look();
        const isWhole = stream.got === stream.sent.length;
        const isRefused = stream.lost || stream.gone > stream.got;
        assert(isWhole || isRefused, "a client that came back for all has not got it");
      }
    }
    for (const session of this.#sessions) {
      for (const { wire } of session.connections) wire.hangUp();
    }
    await this.#world.stop();
  }

  #session(who: number): Session {
    return this.#sessions[who % this.#sessions.length]!;
  }

  #peer({ no }: Session): World["peers"][number] {
    return this.#world.peers[no]!;
  }

  #request(session: Session, id: RequestId): void {
    if (session.inFlight.has(id)) return;
    const stream = session.begin(id);
    const params = { name: "x", _meta: { progressToken: JSON.stringify(id) } };
    const text = JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params });
    this.#connect(this.#peer(session).post(text, id), stream);
  }

  /** A stream begins. */
  #connect(response: Promise<Response>, stream: Stream): void {
    const wire = new Wire(response);
    this.#expected.push({ wire, status: 200 });
    stream.session.connect(wire, { stream, from: 0 });
  }

  #progress(session: Session, { nth, bulk }: { nth: number; bulk: Bulk }): void {
    const stream = at([...session.inFlight.values()], nth);
    if (stream === undefined) return;
    const progressToken = JSON.stringify(stream.requestId);
    this.#say(session, bulk, { method: "notifications/progress", params: { progressToken } }, (text) => {
      session.progress(stream, text);
    });
  }

  #tell(session: Session, bulk: Bulk): void {
    this.#say(session, bulk, { method: "notifications/message", params: {} }, (text) => session.tell(text));
  }

  #answer(session: Session, nth: number): void {
    const id = at([...session.inFlight.keys()], nth);
    if (id === undefined) return;
    const message = { id, result: { serial: this.#serial++ } };
    session.answer(id, JSON.stringify({ jsonrpc: "2.0", ...message }));
    this.#peer(session).says(message);
  }

  #say(
    session: Session,
    { times, size }: Bulk,
    { method, params }: { method: string; params: object },
    believe: (text: string) => void,
  ): void {
    for (let time = 0; time < times; time++) {
      const message = { method, params: { ...params, serial: this.#serial++, fill: "x".repeat(size) } };
      believe(JSON.stringify({ jsonrpc: "2.0", ...message }));
      this.#peer(session).says(message);
    }
  }

  #lose(session: Session, command: { do: "hangUp" | "freeze"; nth: number }): void {
    const connection = at(session.connections.filter(({ upTo }) => upTo === undefined), command.nth);
    if (connection === undefined) return;
    if (command.do === "freeze") return connection.wire.freeze();
    connection.wire.hangUp();
    end(connection, "hungUp");
  }

  async #pass(): Promise<void> {
    await this.#world.clock.advance(MAX_MS);
    for (const { connections } of this.#sessions) {
      for (const connection of connections) end(connection, "whole");
    }
  }

  #restart(session: Session, kept: boolean): void {
    const { restart } = this.#peer(session);
    if (restart === undefined) return;
    for (const connection of session.connections) {
      connection.wire.hangUp();
      end(connection, "hungUp");
    }
    restart.call(this.#peer(session), kept);
    session.restart(kept);
  }

  /** Clients come back, all in one turn. `by` is the session at which they do. */
  #resume(picks: readonly (Partial<Pick> & { by: number; back: number; stream?: Stream })[]): void {
    for (const { who = 0, nth = 0, back, by, stream = at(this.#session(who).streams, nth) } of picks) {
      if (stream === undefined) continue;
      const from = Math.max(0, stream.got - back);
      const id = stream.ids[from];
      // One that never got an id has none to come back with.
      if (id === undefined) continue;
      const session = this.#session(by);
      const { status, opened } = session.resume(stream, { from, isNamed: id.split(".").length === 3 });
      const wire = new Wire(this.#peer(session).get(id));
      this.#expected.push({ wire, status });
      if (opened === undefined) continue;
      session.connect(wire, opened);
      session.deliverKept(opened.stream);
    }
  }

  async #look(): Promise<void> {
    let turns = 0;
    // Bodies are read in several turns, also by their clients.
    do await this.#world.clock.advance(0); while (this.#isBehind && turns++ < MAX_TURNS);
    for (const { wire, status } of this.#expected.splice(0)) {
      assertEquals(wire.status, status, "the status of who comes");
    }
    for (const { connections } of this.#sessions) {
      for (const connection of connections) check(connection, this.#ids);
    }
  }

  /** Whether something that has to come has not come yet. */
  get #isBehind(): boolean {
    return this.#expected.some(({ wire }) => wire.status === undefined) ||
      this.#sessions.some(({ connections }) => connections.some(isBehind));
  }
}

/** Whether more has to come to a connection than came so far. */
function isBehind({ wire, stream, from, upTo, ended }: Connection): boolean {
  if (wire.frozen || ended === "hungUp") return false;
  if (wire.ended !== (ended !== undefined)) return true;
  return ended !== "dropped" && wire.received.length < (upTo ?? stream.sent.length) - from;
}

function at<Item>(items: readonly Item[], nth: number): Item | undefined {
  return items.length === 0 ? undefined : items[nth % items.length];
}

function hold(open: (size: number) => Promise<World> | World, numRuns: number): Promise<void> {
  const property = fc.asyncProperty(
    fc.integer({ min: 1, max: 3 }),
    fc.array(command, { maxLength: 30, size: "max" }),
    async (size, schedule) => {
      const run = new Run(await open(size));
      for (const command of schedule) await run.perform(command);
      await run.finish();
    },
  );
  return fc.assert(property, {
    numRuns,
    seed: SEED,
    endOnFailure: Deno.env.has("FC_QUICK"),
    ...(PATH !== undefined && { path: PATH }),
  });
}

Deno.test(`Streams that are cut go on where they did, behind the routes (${RUNS} schedules, seed ${SEED})`, () =>
  hold(routesWorld, RUNS));

Deno.test(`Streams that are cut go on where they did, also across restarts (${2 * RUNS} schedules, seed ${SEED})`, () =>
  hold(conversationsWorld, 2 * RUNS));
