/**
 * A gateway on fake time that carries out commands, and checks what must hold whatever happened and in whatever order
 * (`watch.ts`). It expects nothing in particular: see `oracle.ts` for that.
 *
 * @module
 */
import { NO_PRESSURE } from "../../actors/pressure.ts";
import { Sweeper } from "../../actors/sweeper.ts";
import { assert, assertEquals } from "@std/assert";
import { FakeBackend } from "../fakes/fake_backend.ts";
import { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, message, PRINCIPAL } from "../fakes/harness.ts";
import { Accounts } from "./accounts.ts";
import type { Command, SessionCommand } from "./commands.ts";
import { Life, type Mail } from "./life.ts";
import { EVICTED_AT_ONCE, MIN_TTL_MS, SERVER_IDS, SMALL, SPARES } from "./servers.ts";
import { Watch } from "./watch.ts";

/** Begins the ids of the gateway's pings. */
const PING_ID = "sojourn:ping:";

/** What happened at the gateway's own doing, in order. */
export type Note =
  | { readonly kind: "reading"; readonly memory: number }
  | { readonly kind: "ping"; readonly life: Life };

/** See the module's documentation. */
export class World {
  readonly harness: Harness;
  readonly lives: Life[] = [];
  readonly sweeper: Sweeper;
  readonly watch: Watch;
  readonly accounts: Accounts;
  /** Memory in use: so much when it was set, and so much less for each backend that was closed since. */
  #memory = { then: 0, relief: 0, closed: 0 };
  #chance = 0;
  /** Whether time passed without the timers. */
  late = false;
  /** Resolves with the shutdown, once one was asked for. */
  drained: Promise<void> | undefined;
  #lastNo = 0;
  /** Since they were last taken. */
  notes: Note[] = [];

  constructor() {
    this.harness = new Harness({
      limits: SMALL,
      minTtlMs: MIN_TTL_MS,
      random: () => this.#chance,
      moreServers: SPARES.map((limits, index) => ({
        id: SERVER_IDS[1 + index]!,
        limits,
        backend: (owner, events) => {
          const { autoInitialize, backends } = this.harness;
          const backend = new FakeBackend(owner, events, { autoInitialize });
          backends.push(backend);
          return backend;
        },
      })),
    });
    const { clock, supervisor, scale } = this.harness;
    this.watch = new Watch(supervisor, this.harness.backends);
    this.accounts = new Accounts(supervisor);
    this.sweeper = new Sweeper({
      clock,
      shortestTtlMs: SMALL.idleTtlMs,
      sessions: () => supervisor.sessions,
      scale,
      pressure: { read: () => Promise.resolve({ ...NO_PRESSURE, memory: this.#read() }) },
      closeConcurrency: EVICTED_AT_ONCE,
    });
    this.sweeper.start();
  }

  #read(): number {
    const { then, relief, closed } = this.#memory;
    const memory = Math.max(0, then - relief * (this.#closed - closed));
    this.notes.push({ kind: "reading", memory });
    return memory;
  }

  get #closed(): number {
    return this.harness.backends.filter(({ closed }) => closed).length;
  }

  get now(): number {
    return this.harness.clock.now();
  }

  /** The session that a command means; undefined before the first. */
  life(who: number): Life | undefined {
    return this.lives.at(-1 - who % Math.max(1, this.lives.length));
  }

  /** A mark that nothing else has. */
  mark(life: Life): { no: number; tag: string } {
    const no = ++this.#lastNo;
    return { no, tag: `s${life.no}m${no}` };
  }

  open({ server, implicit, slow, chance }: Omit<Extract<Command, { do: "open" }>, "do">): Mail {
    const life = new Life(this.lives.length, server, implicit);
    this.lives.push(life);
    this.harness.autoInitialize = !slow;
    this.#chance = chance;
    const id = implicit ? 0 : `init${life.no}`;
    const { tag } = this.mark(life);
    const method = implicit ? "tools/call" : "initialize";
    const opener = message({ id, method, params: { tag, _meta: { progressToken: id } } });
    const reply = new FakeReply();
    const mail: Mail = { life, what: "open", id, tag, reply };
    this.#remember(mail);
    this.harness.supervisor.open({
      serverId: SERVER_IDS[server]!,
      principal: PRINCIPAL,
      opener: { tag: "message", message: opener, reply },
      implicitVersion: implicit ? "2025-03-26" : undefined,
    });
    return mail;
  }

  press({ memory, relief }: { memory: number; relief: number }): void {
    this.#memory = { then: memory, relief, closed: this.#closed };
  }

  /** Whether an administrator can still keep a session; undefined before it is known. */
  extend({ session }: Life, ms: number): boolean | undefined {
    return session?.extend(ms, "an administrator");
  }

  /** Carries out what a client does by sending something; undefined where it sends nothing. */
  send(life: Life, command: SessionCommand): Mail | undefined {
    const { session } = life;
    if (session === undefined) return undefined;
    const { tag } = this.mark(life);
    const post = (what: Mail["what"], id: string | number, fields: Record<string, unknown>): Mail => {
      const mail: Mail = { life, what, id, tag, reply: new FakeReply() };
      this.#remember(mail);
      session.post({ tag: "message", message: message(fields), reply: mail.reply });
      return mail;
    };
    switch (command.do) {
      case "request": {
        const { id } = command;
        return post("request", id, {
          id,
          method: "tools/call",
          params: { tag, _meta: { progressToken: id } },
        });
      }
      case "initializeAgain":
        return post("initializeAgain", "again", { id: "again", method: "initialize", params: { tag } });
      case "notify":
        return post("notification", "", { method: "notifications/roots/list_changed", params: { tag } });
      case "cancel": {
        const { id } = command;
        return post("cancel", id, { method: "notifications/cancelled", params: { tag, requestId: id } });
      }
      case "respond":
        return post("response", `q${command.id}`, { id: `q${command.id}`, result: { tag } });
      case "answerPing": {
        const ping = life.pings.at(-1 - command.id) ?? `${PING_ID}0`;
        return post("pong", ping, { id: ping, result: { tag } });
      }
      case "openStream": {
        const stream = new PingedStream(() => this.notes.push({ kind: "ping", life }));
        const mail: Mail = { life, what: "stream", id: "", tag, reply: new FakeReply(), stream };
        this.#remember(mail);
        session.post({ tag: "stream", stream, reply: mail.reply });
        return mail;
      }
      default:
        return undefined;
    }
  }

  /**
   * Carries out what concerns a session and is no message of its client.
   *
   * @returns The mark of what its server said, if it said anything.
   */
  act(life: Life, command: SessionCommand): string | undefined {
    const { session, backend } = life;
    if (session === undefined || backend === undefined) return undefined;
    const { no, tag } = this.mark(life);
    const says = (fields: Record<string, unknown>): string | undefined => {
      if (backend.gone) return undefined;
      this.watch.said.set(tag, life);
      backend.says(fields);
      return tag;
    };
    switch (command.do) {
      case "hangUpStream":
        life.standalone?.hangUp();
        return undefined;
      case "hangUpReply":
        life.pending(command.id)?.reply.hangUp();
        return undefined;
      case "delete":
        void session.end("client_delete");
        return undefined;
      case "serverStarts":
        backend.answer(initializeId(life), { protocolVersion: "2025-06-18" });
        return undefined;
      case "serverRefuses":
        backend.says({ id: initializeId(life), error: { code: -32602, message: "refused" } });
        return undefined;
      case "serverAnswersTwice":
        backend.answer(command.id, { tag });
        backend.answer(command.id, { tag: "second answer" });
        return tag;
      case "serverAnswers":
        backend.answer(command.id, { tag });
        return tag;
      case "serverAsks":
        return says({ id: `q${command.id}`, method: "sampling/createMessage", params: { no, tag } });
      case "serverTakesBack":
        return says({ method: "notifications/cancelled", params: { requestId: `q${command.id}`, no, tag } });
      case "serverTells":
        return says({ method: "notifications/tools/list_changed", params: { no, tag } });
      case "serverReportsProgress":
        return says({
          method: "notifications/progress",
          params: { progressToken: command.id, progress: no, no, tag },
        });
      case "serverExits":
        backend.exit();
        return undefined;
      case "serverBreaksProtocol":
        backend.exit({ cause: "overlong", detail: "sent a line longer than 64 MiB" });
        return undefined;
      case "serverSpeaksAfterItsExit":
        if (!backend.gone) return undefined;
        backend.events.message(message({ id: 0, result: { tag } }));
        backend.events.message(message({ id: "q0", method: "roots/list", params: { tag } }));
        backend.events.exit({ cause: "exit", detail: "exited once more" });
        return undefined;
      case "toggleStubborn":
        backend.stubborn = !backend.stubborn;
        if (!backend.stubborn && backend.closes.length > 0) backend.finishClose();
        return undefined;
      case "toggleFull":
        backend.queuedBytes = backend.queuedBytes === 0 ? 2 ** 30 : 0;
        return undefined;
      default:
        return undefined;
    }
  }

  /** Carries out anything, and expects nothing. Time passes in the caller's hands. */
  perform(command: Command): void {
    switch (command.do) {
      case "open":
        this.open(command);
        return;
      case "stall":
        return this.stall(command.ms);
      case "shutDown":
        return this.shutDown(command);
      case "press":
        return this.press(command);
      case "advance":
        return;
      default: {
        const life = this.life(command.who);
        if (life === undefined) return;
        if (command.do === "extend") return void this.extend(life, command.ms);
        if (this.send(life, command) === undefined) this.act(life, command);
      }
    }
  }

  stall(ms: number): void {
    this.harness.clock.stall(ms);
    if (ms > 0) this.late = true;
  }

  shutDown({ drainMs, hurry }: { drainMs: number; hurry: boolean }): void {
    this.drained = this.harness.supervisor.shutDown(drainMs);
    if (hurry) this.harness.supervisor.hurry();
  }

  /** Lets everything settle, takes down what turned up, and checks what must hold at any time. */
  async look(): Promise<void> {
    await settle();
    this.watch.look(this.lives);
    const living = this.lives.filter(({ session }) =>
      session?.state === "starting" || session?.state === "active"
    );
    const { pending } = this.harness.clock;
    const most = living.length + 1 + (this.drained === undefined ? 0 : 1);
    assert(
      pending <= most,
      `${pending} timers are set where ${most} may be: one of each session, sweeper and drain`,
    );
  }

  /** Ends everything and checks that nothing is left of it. */
  async finish(): Promise<void> {
    const { clock, supervisor, backends } = this.harness;
    await clock.advance(0);
    this.shutDown({ drainMs: 0, hurry: true });
    await settle();
    this.sweeper.stop();
    for (const backend of backends) {
      backend.stubborn = false;
      assert(backend.closes.length > 0, "a backend was not closed");
      backend.finishClose();
    }
    await this.drained;
    await this.look();
    await clock.advance(0);
    assertEquals(clock.pending, 0, "timers are left");
    assertEquals(supervisor.size, 0, "map entries are left");
    for (const life of this.lives) {
      for (const { reply, tag } of life.mail) {
        assertEquals(reply.completions, 1, `${tag} was not completed once`);
      }
      this.watch.checkClosed(life, "ended");
    }
    this.accounts.check(this.lives, backends.length);
  }

  #remember(mail: Mail): void {
    const { life, reply, stream } = mail;
    life.mail.push(mail);
    life.outlets.push({ mail, stream: stream ?? reply, seen: 0, lastNo: 0 });
    if (stream !== undefined) life.standalone = stream;
  }
}

/** The id of the request that starts a session's server. */
function initializeId(life: Life): string {
  return life.implicit ? "sojourn:initialize" : `init${life.no}`;
}

/** Says when the gateway asks on it whether anybody is there. */
class PingedStream extends FakeStream {
  readonly #onPing: () => void;

  constructor(onPing: () => void) {
    super();
    this.#onPing = onPing;
  }

  override send(text: string): void {
    if (this.open && text.includes(PING_ID)) this.#onPing();
    super.send(text);
  }
}
