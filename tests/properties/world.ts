/**
 * A gateway on fake time that carries out commands, writes down what everybody saw, and checks what must hold
 * whatever happened and in whatever order. It expects nothing in particular: see `oracle.ts` for that.
 *
 * @module
 */
import type { EndReason } from "../../actors/end_reason.ts";
import type { Session } from "../../actors/supervisor.ts";
import { SWEEPS_PER_TTL } from "../../actors/pressure.ts";
import { Sweeper } from "../../actors/sweeper.ts";
import type { ErrorCode } from "../../errors.ts";
import type { Message } from "../../protocol/jsonrpc.ts";
import { assert, assertEquals } from "@std/assert";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, message, PRINCIPAL, SERVER } from "../fakes/harness.ts";
import { type Command, type SessionCommand, SMALL } from "./commands.ts";

export const SWEEP_INTERVAL_MS = SMALL.idleTtlMs / SWEEPS_PER_TTL;

/** Something that a client sent, and where it is answered. */
export interface Mail {
  readonly life: Life;
  readonly what: "open" | "request" | "initializeAgain" | "notification" | "cancel" | "response" | "stream";
  /** The id of the request, of the request that is cancelled, or of the server's request that is answered. */
  readonly id: string | number;
  /** Marks it, so that it is known wherever it turns up. */
  readonly tag: string;
  readonly reply: FakeReply;
  readonly stream?: FakeStream;
}

/** A message of a server that turned up on a stream of a client. */
export interface Sighting {
  readonly life: Life;
  readonly stream: FakeStream;
  readonly message: Record<string, unknown>;
}

/** The error by which a server learned that its request gets no answer. */
export interface GivenUp {
  readonly life: Life;
  readonly id: string | number;
}

/** One session from outside: everything that its client and its server saw. */
export class Life {
  session: Session | undefined;
  backend: FakeBackend | undefined;
  readonly mail: Mail[] = [];
  /** Where messages to its client can go, replies and standalone streams, and how far each was read. */
  readonly outlets: { readonly mail: Mail; readonly stream: FakeStream; seen: number; lastNo: number }[] = [];
  standalone: FakeStream | undefined;
  /** How much of what the backend received was looked at. */
  received = 0;
  /** How often each mark reached the backend. */
  readonly reached = new Map<string, number>();
  /** The reason of its end, from when it was first seen. */
  reason: EndReason | undefined;

  constructor(readonly no: number, readonly implicit: boolean) {}

  /** The newest request of that id which is not complete. */
  pending(id: string | number): Mail | undefined {
    return this.mail.findLast((mail) =>
      mail.id === id && (mail.what === "request" || mail.what === "open") &&
      mail.reply.completion === undefined
    );
  }
}

/** What a reply came to, in one word that can be compared. */
export function outcomeOf({ completion }: FakeReply): string {
  if (completion === undefined) return "pending";
  if (completion.kind === "failed") return completion.failure.code;
  if (completion.kind === "accepted") return "accepted";
  const { result, error } = JSON.parse(completion.text);
  return `answered ${result?.tag ?? error?.message ?? "initialize"}`;
}

/** Failures of requests that never reach a server. */
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  "duplicateId",
  "alreadyInitialized",
  "backendBusy",
  "inboxFull",
  "sessionNotFound",
]);

/** See the module's documentation. */
export class World {
  readonly harness = new Harness({ limits: SMALL });
  readonly lives: Life[] = [];
  readonly sweeper: Sweeper;
  /** Every mark of a server's message that was seen by a client. */
  readonly seen = new Set<string>();
  /** The marks of all that was said, and whose they are. */
  readonly said = new Map<string, Life>();
  /** Whether time passed without the timers. */
  late = false;
  /** Resolves with the shutdown, once one was asked for. */
  drained: Promise<void> | undefined;
  #lastNo = 0;
  /** What turned up since the last look. */
  sightings: Sighting[] = [];
  givenUp: GivenUp[] = [];

  constructor() {
    const { clock, supervisor } = this.harness;
    this.sweeper = new Sweeper({
      clock,
      shortestTtlMs: SMALL.idleTtlMs,
      sessions: () => supervisor.sessions,
    });
    this.sweeper.start();
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

  open({ implicit, slow }: { implicit: boolean; slow: boolean }): Mail {
    const life = new Life(this.lives.length, implicit);
    this.lives.push(life);
    this.harness.autoInitialize = !slow;
    const id = implicit ? 0 : `init${life.no}`;
    const { tag } = this.mark(life);
    const method = implicit ? "tools/call" : "initialize";
    const opener = message({ id, method, params: { tag, _meta: { progressToken: id } } });
    const mail: Mail = {
      life,
      what: "open",
      id,
      tag,
      reply: this.harness.opening(opener, implicit ? "2025-03-26" : undefined),
    };
    this.#remember(mail);
    return mail;
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
      case "openStream": {
        const stream = new FakeStream();
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
      this.said.set(tag, life);
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
      case "advance":
        return;
      default: {
        const life = this.life(command.who);
        if (life !== undefined && this.send(life, command) === undefined) this.act(life, command);
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
    this.sightings = [];
    this.givenUp = [];
    for (const life of this.lives) this.#lookAt(life);
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
      this.#checkClosed(life, "ended");
    }
  }

  #remember(mail: Mail): void {
    const { life, reply, stream } = mail;
    life.mail.push(mail);
    life.outlets.push({ mail, stream: stream ?? reply, seen: 0, lastNo: 0 });
    if (stream !== undefined) life.standalone = stream;
  }

  #lookAt(life: Life): void {
    this.#meet(life);
    this.#readBackend(life);
    this.#readOutlets(life);
    for (const mail of life.mail) this.#checkMail(mail);
    if (life.session !== undefined) this.#checkSession(life, life.session);
  }

  /** Learns which session and which backend came of an opening. */
  #meet(life: Life): void {
    const opener = life.mail[0]!;
    if (life.session !== undefined) return;
    for (const session of this.harness.supervisor.sessions) {
      if (session.id !== opener.reply.sessionId) continue;
      life.session = session;
      assert(this.harness.supervisor.find(SERVER, session.id, PRINCIPAL) === session);
      life.backend = this.harness.backends.find(({ owner }) => owner.session === session.handle);
    }
  }

  #readBackend(life: Life): void {
    const { backend } = life;
    if (backend === undefined) return;
    for (; life.received < backend.received.length; life.received++) {
      const received = backend.received[life.received]!;
      const tag = markOf(received);
      if (tag !== undefined) {
        assert(tag.startsWith(`s${life.no}m`), `${tag} reached the server of session ${life.no}`);
        const times = (life.reached.get(tag) ?? 0) + 1;
        assertEquals(times, 1, `${tag} reached its server more than once`);
        life.reached.set(tag, times);
      } else if (received.kind === "response" && received.error !== undefined) {
        this.givenUp.push({ life, id: received.id! });
      }
    }
  }

  #readOutlets(life: Life): void {
    for (const outlet of life.outlets) {
      for (; outlet.seen < outlet.stream.sent.length; outlet.seen++) {
        const message = JSON.parse(outlet.stream.sent[outlet.seen]!);
        const { tag, no } = message.params;
        assert(this.said.get(tag) === life, `${tag} turned up on a stream of session ${life.no}`);
        assert(!this.seen.has(tag), `${tag} was sent twice`);
        assert(no > outlet.lastNo, `${tag} came after a later message`);
        if (message.method === "notifications/progress" && outlet.mail.stream === undefined) {
          assertEquals(message.params.progressToken, outlet.mail.id, `${tag} is progress of another request`);
        }
        outlet.lastNo = no;
        this.seen.add(tag);
        this.sightings.push({ life, stream: outlet.stream, message });
      }
    }
  }

  #checkMail({ reply, tag, life, what }: Mail): void {
    assert(reply.completions <= 1, `${tag} was completed ${reply.completions} times`);
    const reached = life.reached.get(tag) ?? 0;
    const outcome = outcomeOf(reply);
    if (REFUSALS.has(outcome)) {
      assertEquals(reached, 0, `${tag} was refused (${outcome}) and reached its server`);
    }
    if (what !== "request") return;
    if (outcome === "requestCancelled" || outcome === "requestTimeout" || outcome.startsWith("answered")) {
      assertEquals(reached, 1, `${tag} is over (${outcome}) and never reached its server`);
    }
    if (outcome === "pending") {
      const state = life.session?.state;
      assert(
        state === "active" || state === "starting",
        `${tag} waits for an answer of a session that is ${state}`,
      );
      if (state === "active") assertEquals(reached, 1, `${tag} is pending and never reached its server`);
    }
  }

  #checkSession(life: Life, session: Session): void {
    const { state, endReason } = session;
    assert(life.reason === undefined || endReason === life.reason, `the reason changed to ${endReason}`);
    life.reason = endReason;
    assertEquals(state === "ended", endReason !== undefined, "exactly the ended sessions have a reason");
    const isListed = this.harness.supervisor.find(SERVER, session.id, PRINCIPAL) === session;
    const closed = life.backend?.closed === true;
    if (state === "ended") {
      assert(life.backend!.closes.length > 0, "a session ended without closing its backend");
      assertEquals(isListed, !closed, "a session is listed exactly as long as its backend closes");
    } else assert(isListed, `a session that is ${state} is not to be found`);
    if (state !== "ended" && state !== "expired") return;
    assertEquals(session.held, 0, `a session that is ${state} holds something`);
    assertEquals(session.inFlight, 0, `a session that is ${state} has something in flight`);
    this.#checkClosed(life, state);
  }

  /** A stream that was refused was never the session's, so it is for others to close. */
  #checkClosed(life: Life, state: string): void {
    for (const { mail, stream } of life.outlets) {
      const isTheirs = mail.stream === undefined || outcomeOf(mail.reply) === "accepted";
      assert(!isTheirs || !stream.open, `a session that is ${state} has an open stream`);
    }
  }
}

/** The id of the request that starts a session's server. */
function initializeId(life: Life): string {
  return life.implicit ? "sojourn:initialize" : `init${life.no}`;
}

/** The mark of a message of a client. */
function markOf(message: Message): string | undefined {
  const tag = message.kind === "response" ? message.result?.tag : message.params?.tag;
  return typeof tag === "string" ? tag : undefined;
}
