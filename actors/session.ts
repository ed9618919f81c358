/**
 * A session: one client's conversation with one server, and how long it lives.
 *
 * ## States
 *
 *     starting ──initialized──▶ active ──deadline──▶ expired ──swept──▶ ended
 *         │                     ▲    │                  ▲                 ▲
 *         │              revived│    │idle, server gone │deadline         │
 *         │                     │    ▼                  │                 │
 *         │                    hibernated ──────────────┘                 │
 *         └──────── failed, deleted, shut down ───────────────────────────┘
 *
 * A hibernated session has no backend and lives on; the next message of its client wakes it: another backend is asked
 * for, greeted as the first one was, and what the client says waits meanwhile. What a server does not survive (its state
 * is its own: `stateful`) ends its session instead.
 *
 * An expired session answers as if it were gone; what it holds is given back by the sweeper, in batches.
 *
 * ## Messages
 *
 * | message | from | meaning |
 * | --- | --- | --- |
 * | mail `message` | a route | the client POSTed a JSON-RPC message |
 * | mail `stream` | a route | the client opened its standalone stream |
 * | signal `message`, `garbage`, `exit` | the backend | what the server said, or its end |
 * | signal `released` | the link | nothing is left of the backend that was given back |
 * | signal `full`, `room` | a stream to the client | more waits for its reader than may; no longer |
 * | signal `wake` | the session's own timer | something may be due |
 * | signal `end` | supervisor, sweeper | end now, for this reason |
 * | signal `suspend` | supervisor | the gateway goes: hibernate for the next run, or end |
 *
 * The loop forwards and never awaits the server's answer, so a cancellation never queues behind the call that it
 * cancels.
 *
 * A client that does not read stops its own server: while any stream of the session is full the backend is paused.
 * It goes on when the client has read, or when the stream was cut because it did not.
 *
 * Where a session expires: `session_time.ts`. What is in which file: `session_core.ts`.
 *
 * @module
 */
import { CLOSE_PACE, type ClosePace } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import type { Account, Verdict } from "./account.ts";
import type { Claim } from "./admission.ts";
import type { Conversation } from "./conversation.ts";
import type { EndReason } from "./end_reason.ts";
import type { InboxRules } from "./inbox.ts";
import type { TtlInForce } from "./lifetime.ts";
import type { ClientMessage, Mail, Signal } from "./mail.ts";
import { onMail } from "./session_client.ts";
import { SessionCore } from "./session_core.ts";
import { endSuspended, finish, hasten, onFault, suspend } from "./session_end.ts";
import { digestOf } from "./session_id.ts";
import type { SessionKind } from "./session_kind.ts";
import type { SessionOptions } from "./session_options.ts";
import { onExit, onGarbage, onServerMessage, onTimer } from "./session_server.ts";
import { hibernate, notRevived, onReleased, revive } from "./session_sleep.ts";
import { expire, expireIfDue, isExpired } from "./session_time.ts";
import type { Tombstone } from "./tombstones.ts";

/** Messages of the client that may wait while the session starts. */
const MAX_MAIL = 256;

/** See the module's documentation. */
export type SessionState = "starting" | "active" | "hibernated" | "expired" | "ended";

const RULES: InboxRules<SessionCore, Mail, Signal> = { maxMail: MAX_MAIL, onMail, onSignal, onFault };

/** See the module's documentation. */
export class Session {
  readonly #core: SessionCore;

  constructor(options: SessionOptions) {
    this.#core = new SessionCore({ ...options, session: this, rules: RULES });
  }

  /** The credential in `mcp-session-id`; empty while nobody has come with that of a restored session. */
  get id(): string {
    return this.#core.id;
  }

  /** Somebody came with an id that may be that of a restored session. Whether it is. */
  recognizes(id: string): boolean {
    const core = this.#core;
    if (core.digest !== undefined && digestOf(id) === core.digest) {
      core.id = id;
      core.digest = undefined;
    }
    return core.id === id;
  }

  /** Its public name. */
  get handle(): string {
    return this.#core.account.handle;
  }

  get kind(): SessionKind {
    return this.#core.kind;
  }

  get principal(): string {
    return this.#core.account.principal;
  }

  get serverId(): string {
    return this.#core.context.serverId;
  }

  get state(): SessionState {
    return this.#core.state;
  }

  /** The protocol version that client and server agreed on; undefined while starting. */
  get protocolVersion(): string | undefined {
    return this.#core.protocolVersion;
  }

  /** Why it is over; undefined while it lives. Set when it expires, before anything of it is given back. */
  get verdict(): Verdict | undefined {
    return this.#core.verdict;
  }

  /** What its client is told once it is over. */
  get notFound(): Failure {
    return this.#core.notFound;
  }

  /** What went wrong with its server, where that is what ended it; undefined otherwise. */
  get serverFailure(): string | undefined {
    return this.#core.serverFailed ? this.verdict?.detail : undefined;
  }

  /** Why it ended; undefined until then. */
  get endReason(): EndReason | undefined {
    return this.state === "ended" ? this.verdict?.reason : undefined;
  }

  /** Requests in flight in either direction, and messages that wait for the session to start or to wake up. */
  get inFlight(): number {
    return this.#core.inFlight;
  }

  /** Messages, requests and streams that the session holds on to; 0 once it ended. */
  get held(): number {
    return this.#core.held;
  }

  /** Time since the last use, in ms; 0 while anything is in flight. What it was at the end, once it is over. */
  get idleMs(): number {
    return this.#core.idleMs;
  }

  /** The TTL in force and where it comes from. */
  get ttl(): TtlInForce {
    return this.#core.ttl;
  }

  /** When it expires if nobody uses it, in ms of the clock; Infinity for never. */
  get deadline(): number {
    return this.#core.deadline;
  }

  /** When its maximum lifetime ends, in ms of the clock; Infinity for never. */
  get endOfLife(): number {
    return this.#core.lifetime.endOfLife;
  }

  /** What happened in its life, and how much. */
  get account(): Account {
    return this.#core.account;
  }

  /** What its client and its server have to say to each other. To be read, not to be told anything. */
  get conversation(): Pick<Conversation, "listInFlight" | "openStreams" | "hasStandalone"> {
    return this.#core.conversation;
  }

  /** The process id of the backend, for display. */
  get pid(): number | undefined {
    return this.#core.link.pid;
  }

  /** Whether its backends count as processes of its own. */
  get ownsProcess(): boolean {
    return this.#core.ownsProcess;
  }

  /** Whether it has a backend that counts as a process of its own. */
  get holdsProcess(): boolean {
    return this.ownsProcess && this.#core.link.up;
  }

  /** The sweeper's question. Judged now, so that the answer is right even where the timer is late. */
  get expired(): boolean {
    return isExpired(this.#core, this.#core.now);
  }

  /** Whether it may go before its deadline. */
  get evictable(): boolean {
    const core = this.#core;
    return core.context.limits.evictable && !this.expired && core.isAlive && core.inFlight === 0;
  }

  /**
   * Memory is short: an idle session of a server that allows it is over.
   *
   * @returns Whether it is. One that is in use stays.
   */
  evict(): boolean {
    if (!this.evictable) return false;
    expire(this.#core, "evicted");
    return true;
  }

  /** Whether it is idle and may give its backend back before its time. */
  get mayHibernate(): boolean {
    const core = this.#core;
    return core.hibernates && !this.expired && core.state === "active" && core.inFlight === 0;
  }

  /** Its backend's place is needed. One that is in use keeps it. */
  hibernate(why: string): void {
    if (this.mayHibernate) hibernate(this.#core, why);
  }

  /**
   * Keeps an idle session from expiring for so many ms from now, or for longer where it would live longer anyway.
   * Its maximum lifetime stays.
   *
   * @returns False where it is over.
   */
  extend(ms: number, by: string): boolean {
    const core = this.#core;
    if (this.expired || core.state === "ended") return false;
    core.lifetime.extend(core.now + ms);
    core.account.note("deadline_moved", `extended by ${ms} ms by ${by}`);
    core.touch();
    return true;
  }

  /** Starts the backend and hands it the message that opens the session. Called once, by the supervisor. */
  start(opener: ClientMessage): void {
    const { account, alarm, id, implicitVersion, inbox, link } = this.#core;
    opener.reply.name(id);
    account.opened();
    link.open(opener, implicitVersion);
    alarm.at(link.nextAt);
    // Until the gateway has done the handshake in its place, what the client says waits.
    if (link.asksItself) inbox.hold();
    inbox.post(opener);
  }

  /** Whether it waits for a backend. */
  get waking(): boolean {
    return this.#core.waking !== undefined && this.state === "hibernated";
  }

  /** Why there can be no backend for it; undefined where there can. */
  get refusal(): Failure | undefined {
    return this.#core.context.refusal;
  }

  /** What another backend of its own would count as. */
  get claim(): Claim {
    const { startsProcess } = this.#core.context;
    return {
      principal: this.principal,
      serverId: this.serverId,
      maxServerSessions: Infinity,
      ownsProcess: this.ownsProcess,
      get startsProcess() {
        return startsProcess();
      },
      isRevival: true,
    };
  }

  /**
   * There is room for a backend, for which it waits. Called by the supervisor.
   *
   * @returns False where it needs none any more.
   */
  revive(): boolean {
    return revive(this.#core);
  }

  /** There is no room for it. Called by the supervisor. */
  notRevived(failure: Failure): void {
    if (!this.#core.link.up) notRevived(this.#core, failure);
  }

  /** Hands over something from the client. */
  post(mail: Mail): void {
    const { account, draining, inbox, lifetime, suspended } = this.#core;
    if (suspended) return mail.reply.fail({ code: "shuttingDown" });
    const isRequest = mail.tag === "message" && mail.message.kind === "request";
    const alive = !this.expired && this.state !== "ended";
    // The opener came through `start`, so whoever comes here knows the id. A deadline that has passed stays.
    if (alive) lifetime.claim();
    else if (isRequest) account.missed();
    if (alive && draining && isRequest) return mail.reply.fail({ code: "shuttingDown" });
    const result = inbox.post(mail);
    if (result !== "taken") mail.reply.fail(result === "full" ? { code: "inboxFull" } : this.notFound);
  }

  /** Takes no more requests; what is in flight, or waits for the session to start, goes on. */
  drain(): void {
    this.#core.draining = true;
  }

  /**
   * Ends the session. Idempotent: the first reason stays, a faster pace wins.
   *
   * @param options.detail More than the reason says, such as who asked for it.
   * @returns Resolves when all that the session held was given back. Never rejects.
   */
  end(
    reason: EndReason,
    { pace = CLOSE_PACE, detail }: { pace?: ClosePace; detail?: string } = {},
  ): Promise<void> {
    const core = this.#core;
    hasten(core, pace);
    // The inbox of an ended session is closed, but its backend may still be hurried.
    if (core.state === "ended") void core.link.close(pace);
    else if (core.suspended) endSuspended(core, reason, detail);
    else core.inbox.signal({ tag: "end", reason, detail });
    if (core.isClosed) return Promise.resolve();
    return (core.whenClosed ??= Promise.withResolvers()).promise;
  }

  /** Ends the session unless it is in use, judged in the turn in which it would end. `state` tells afterwards. */
  endIfIdle(reason: EndReason, { detail }: { detail: string | undefined }): void {
    this.#core.inbox.signal({ tag: "end", reason, detail, onlyIdle: true });
  }

  /**
   * The gateway goes. The session hibernates until the next run where there can be one for it, and ends otherwise. A
   * second call may hurry the first.
   */
  suspend(pace: ClosePace): void {
    const core = this.#core;
    hasten(core, pace);
    if (core.closed) void core.link.close(pace);
    else core.inbox.signal({ tag: "suspend", pace });
  }

  /** What stays of it once it is over. */
  tombstone(): Tombstone {
    return this.#core.tombstone();
  }
}

function onSignal(core: SessionCore, signal: Signal): void {
  const { link } = core;
  switch (signal.tag) {
    // What a backend still says that was let go concerns nobody.
    case "message":
      if (link.isFrom(signal.from)) onServerMessage(core, signal.message);
      return;
    case "garbage":
      if (link.isFrom(signal.from)) onGarbage(core, signal.excerpt);
      return;
    case "exit":
      if (link.isFrom(signal.from)) onExit(core, signal.exit);
      return;
    case "released":
      return onReleased(core);
    case "full":
      return link.full();
    case "room":
      return link.room();
    case "wake":
      return onTimer(core);
    case "suspend":
      return suspend(core, signal.pace);
    case "end":
      if (signal.onlyIdle && core.inFlight > 0) return;
      // Its timer may be late: from its deadline on it has expired, whoever ends it.
      expireIfDue(core, core.now);
      return finish(core, signal.reason, signal.detail);
  }
}
