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
 * ## Where a session expires
 *
 * In `#expireIfDue`, and nowhere else: nothing in flight, and the deadline has come (`lifetime.ts` reckons it). It is
 * asked before each message, before any end, when the timer fires, and by the sweeper. There is one timer, re-armed
 * lazily: a touch only writes a timestamp, and a timer that fires early looks again.
 *
 * @module
 */
import { type BackendExit, CLOSE_PACE, type ClosePace, HURRIED_PACE } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { Message, Params, RequestMessage, ResponseMessage } from "../protocol/jsonrpc.ts";
import { canResume } from "../protocol/revisions.ts";
import { Alarm } from "./alarm.ts";
import { Account, notFound, type Verdict } from "./account.ts";
import type { Claim } from "./admission.ts";
import { Conversation, type ConversationPort } from "./conversation.ts";
import { END_REASONS, type EndReason, failureOf } from "./end_reason.ts";
import { type Greeting, Link } from "./link.ts";
import { Inbox, type InboxRules } from "./inbox.ts";
import { type ExpiryReason, Lifetime, type TtlInForce } from "./lifetime.ts";
import type { Reply, StreamLoss } from "./client.ts";
import { answerForNobody } from "./nobody.ts";
import type { ClientMessage, Mail, OpenStream, Signal } from "./mail.ts";
import type { Recorded } from "./records.ts";
import { digestOf } from "./session_id.ts";
import type { SessionKind } from "./session_kind.ts";
import type { SessionContext, SessionOptions } from "./session_options.ts";
import { recordText, wallOf } from "./session_record.ts";
import { Slumber } from "./slumber.ts";
import type { Tombstone } from "./tombstones.ts";

/** Messages of the client that may wait while the session starts. */
const MAX_MAIL = 256;

/** See the module's documentation. */
export type SessionState = "starting" | "active" | "hibernated" | "expired" | "ended";

/** Who waits for a server that no request is for. */
const NOBODY: Pick<Reply, "stream" | "name"> = { stream: () => {}, name: () => {} };

/** Reasons that the next run of the gateway would find by itself. */
const FOUND_AGAIN: ReadonlySet<EndReason> = new Set(["idle", "implicit", "max_lifetime"]);

const log = logger("session");

/** See the module's documentation. */
export class Session implements Recorded {
  /** The credential in `mcp-session-id`; empty while nobody has come with that of a restored session. */
  #id: string;
  /** SHA-256 of it, until then. */
  #digest: string | undefined;
  readonly kind: SessionKind;
  /** In the store; 0 where it is not there. */
  #key = 0;
  /** Whether its backends count as processes of its own. */
  readonly ownsProcess: boolean;

  readonly #context: SessionContext;
  readonly #inbox: Inbox<Session, Mail, Signal>;
  readonly #conversation: Conversation<Session>;
  readonly #lifetime: Lifetime;
  readonly #account: Account;
  /** The one timer, for the earliest thing that may be due. */
  readonly #alarm: Alarm<Session>;
  #state: SessionState = "starting";
  readonly #link: Link<Session>;
  /** The message that woke it, while it waits for a backend. What comes behind it waits in the inbox. */
  #waking: ClientMessage | undefined;
  /** When it gives its backend back; undefined where it keeps it. */
  readonly #slumber: Slumber | undefined;
  /** Whether the gateway goes, and the session is left to the next run. */
  #suspended = false;
  /** For the records. */
  marked = false;
  readonly #implicitVersion: string | undefined;
  #draining = false;
  #protocolVersion: string | undefined;
  /** Whether its server died or did not start. That it refused a client is no failure of its own. */
  #serverFailed = false;
  /** The fastest pace that an end was asked for with. */
  #pace: ClosePace = CLOSE_PACE;
  /** Resolved when all that the session held was given back. There is one once somebody wants to know. */
  #closed: PromiseWithResolvers<void> | undefined;
  #isClosed = false;

  constructor(
    { id, handle, principal, context, ownsProcess, implicitVersion, kind, restored }: SessionOptions,
  ) {
    const { clock, limits, scale, random } = context;
    const now = clock.now();
    this.#id = id ?? "";
    this.kind = kind ?? "streamable";
    this.ownsProcess = ownsProcess;
    this.#context = context;
    this.#implicitVersion = implicitVersion;
    this.#account = new Account({
      handle,
      principal,
      context,
      kind: this.kind,
      ...(restored && { timeline: restored.record.timeline }),
    });
    this.#lifetime = new Lifetime({
      limits,
      scale,
      random,
      openedAt: now,
      // Clients of the bridge never get an id to come back with.
      implicit: implicitVersion !== undefined && this.kind !== "bridge",
      ...(restored && { restored: restored.record.life }),
    });
    if (limits.hibernateAfterMs > 0) this.#slumber = new Slumber(limits.hibernateAfterMs);
    this.#inbox = new Inbox<Session, Mail, Signal>(this, Session.#RULES);
    this.#alarm = new Alarm<Session>(clock, this, Session.#RING);
    this.#link = new Link<Session>({ owner: this, signal: Session.#SIGNAL, context, handle });
    this.#conversation = new Conversation<Session>({
      owner: this,
      port: Session.#PORT,
      handle,
      limits,
      lastUsed: restored?.lastUsed ?? now,
      standing: restored?.record.standing,
      streams: restored && (() => context.records.takeStreams(restored.key)),
    });
    if (restored === undefined) return;
    this.#state = "hibernated";
    this.#key = restored.key;
    this.#digest = restored.digest;
    this.#protocolVersion = restored.protocolVersion;
    if (canResume(restored.protocolVersion)) this.#conversation.makeResumable();
    this.#account.note("hibernated", "the gateway was restarted");
    this.#alarm.at(this.deadline);
  }

  static readonly #RULES: InboxRules<Session, Mail, Signal> = {
    maxMail: MAX_MAIL,
    onMail: (session, mail) => session.#onMail(mail),
    onSignal: (session, signal) => session.#onSignal(signal),
    onFault: (session, error, mail) => session.#onFault(error, mail),
  };

  static readonly #SIGNAL = (session: Session, signal: Signal) => session.#inbox.signal(signal);

  static readonly #RING = (session: Session) => session.#inbox.signal({ tag: "wake" });

  static readonly #PORT: ConversationPort<Session> = {
    send: (session, text) => session.#link.send(text),
    isBusy: (session) => session.#link.busy,
    full: (session) => session.#inbox.signal({ tag: "full" }),
    room: (session) => session.#inbox.signal({ tag: "room" }),
    cut: (session, loss) => session.#onCut(loss),
  };

  /** The credential in `mcp-session-id`; empty while nobody has come with that of a restored session. */
  get id(): string {
    return this.#id;
  }

  /** Somebody came with an id that may be that of a restored session. Whether it is. */
  recognizes(id: string): boolean {
    if (this.#digest !== undefined && digestOf(id) === this.#digest) {
      this.#id = id;
      this.#digest = undefined;
    }
    return this.#id === id;
  }

  /** In the store; 0 where it is not there. */
  get key(): number {
    return this.#key;
  }

  /** Whether nothing more is to be written down of it. */
  get closed(): boolean {
    return this.#state === "ended" || this.#suspended;
  }

  /** For the store: what changes in its life, as it is now. */
  get change(): Recorded["change"] {
    const { clock } = this.#context;
    return {
      lastUsed: wallOf(this.#now - this.idleMs, clock),
      state: recordText({
        life: this.#lifetime.state,
        timeline: this.#account.timeline.state,
        standing: this.#conversation.standing?.state,
      }, clock),
    };
  }

  /** Whether it has a backend that counts as a process of its own. */
  get holdsProcess(): boolean {
    return this.ownsProcess && this.#link.up;
  }

  /** Its public name. */
  get handle(): string {
    return this.#account.handle;
  }

  get principal(): string {
    return this.#account.principal;
  }

  get serverId(): string {
    return this.#context.serverId;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** The protocol version that client and server agreed on; undefined while starting. */
  get protocolVersion(): string | undefined {
    return this.#protocolVersion;
  }

  /** Why it is over; undefined while it lives. Set when it expires, before anything of it is given back. */
  get verdict(): Verdict | undefined {
    return this.#account.verdict;
  }

  /** What went wrong with its server, where that is what ended it; undefined otherwise. */
  get serverFailure(): string | undefined {
    return this.#serverFailed ? this.verdict?.detail : undefined;
  }

  /** Why it ended; undefined until then. */
  get endReason(): EndReason | undefined {
    return this.#state === "ended" ? this.verdict?.reason : undefined;
  }

  /** Requests in flight in either direction, and messages that wait for the session to start. */
  get inFlight(): number {
    return this.#conversation.inFlight + this.#inbox.waiting + (this.#waking === undefined ? 0 : 1);
  }

  /** Messages, requests and streams that the session holds on to; 0 once it ended. */
  get held(): number {
    return this.#conversation.held + this.#inbox.waiting + (this.#waking === undefined ? 0 : 1);
  }

  /** Time since the last use, in ms; 0 while anything is in flight. What it was at the end, once it is over. */
  get idleMs(): number {
    if (this.verdict !== undefined) return this.verdict.idleMs;
    return this.inFlight > 0 ? 0 : this.#now - this.#conversation.lastUsed;
  }

  /** The TTL in force and where it comes from. */
  get ttl(): TtlInForce {
    return this.verdict?.ttl ?? this.#lifetime.ttl;
  }

  /** When it expires if nobody uses it, in ms of the clock; Infinity for never. */
  get deadline(): number {
    return this.#lifetime.deadline(this.#conversation.lastUsed);
  }

  /** When its maximum lifetime ends, in ms of the clock; Infinity for never. */
  get endOfLife(): number {
    return this.#lifetime.endOfLife;
  }

  /** What happened in its life, and how much. */
  get account(): Account {
    return this.#account;
  }

  /** What its client and its server have to say to each other. To be read, not to be told anything. */
  get conversation(): Pick<Conversation, "listInFlight" | "openStreams" | "hasStandalone"> {
    return this.#conversation;
  }

  /** The process id of the backend, for display. */
  get pid(): number | undefined {
    return this.#link.pid;
  }

  /** The sweeper's question. Judged now, so that the answer is right even where the timer is late. */
  get expired(): boolean {
    return this.#isExpired(this.#now);
  }

  #isExpired(now: number): boolean {
    this.#expireIfDue(now);
    return this.#state === "expired";
  }

  /**
   * Memory is short: an idle session of a server that allows it is over.
   *
   * @returns Whether it is. One that is in use stays.
   */
  evict(): boolean {
    if (!this.evictable) return false;
    this.#expire("evicted");
    return true;
  }

  /** Whether it may go before its deadline. */
  get evictable(): boolean {
    return this.#context.limits.evictable && !this.expired && this.#isAlive && this.inFlight === 0;
  }

  /** Whether it has its place in the world: it was opened and is not over. */
  get #isAlive(): boolean {
    return this.#state === "active" || this.#state === "hibernated";
  }

  /** Whether it is idle and may give its backend back before its time. */
  get mayHibernate(): boolean {
    return this.#hibernates && !this.expired && this.#state === "active" && this.inFlight === 0;
  }

  /** Its backend's place is needed. */
  hibernate(why: string): void {
    if (this.mayHibernate) this.#hibernate(why);
  }

  /**
   * Keeps an idle session from expiring for so many ms from now, or for longer where it would live longer anyway.
   * Its maximum lifetime stays.
   *
   * @returns False where it is over.
   */
  extend(ms: number, by: string): boolean {
    if (this.expired || this.#state === "ended") return false;
    this.#lifetime.extend(this.#now + ms);
    this.#account.note("deadline_moved", `extended by ${ms} ms by ${by}`);
    this.#context.records.changed(this);
    return true;
  }

  /** Starts the backend and hands it the message that opens the session. Called once, by the supervisor. */
  start(opener: ClientMessage): void {
    opener.reply.name(this.#id);
    this.#account.opened();
    this.#link.open(opener, this.#implicitVersion);
    this.#alarm.at(this.#link.nextAt);
    // Until the gateway has done the handshake in its place, what the client says waits.
    if (this.#link.asksItself) this.#inbox.hold();
    this.#inbox.post(opener);
  }

  /**
   * There is room for a backend, for which it waits. Called by the supervisor.
   *
   * @returns False where it needs none any more.
   */
  revive(): boolean {
    if (this.#waking === undefined || this.#state !== "hibernated" || this.#link.up) return false;
    const remembered = this.#context.records.remembered(this.#key);
    if (remembered === undefined) {
      this.#notRevived({ code: "storeFailed" });
      return false;
    }
    const { message, reply, forwarded } = this.#waking;
    if (message.kind === "request") this.#conversation.prepare(message, reply);
    this.#link.revive({
      remembered,
      standing: this.#conversation.standing,
      // Only the answer to a request may come as a stream.
      reply: message.kind === "request" ? reply : NOBODY,
      forwarded,
    });
    this.#alarm.at(this.#link.nextAt);
    return true;
  }

  /** There is no room for it. Called by the supervisor. */
  notRevived(failure: Failure): void {
    if (!this.#link.up) this.#notRevived(failure);
  }

  /** What another backend of its own would count as. */
  get claim(): Claim {
    const { startsProcess } = this.#context;
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

  /** Why there can be no backend for it; undefined where there can. */
  get refusal(): Failure | undefined {
    return this.#context.refusal;
  }

  /** Whether it waits for a backend. */
  get waking(): boolean {
    return this.#waking !== undefined && this.#state === "hibernated";
  }

  /** Hands over something from the client. */
  post(mail: Mail): void {
    if (this.#suspended) return mail.reply.fail({ code: "shuttingDown" });
    const alive = !this.expired && this.#state !== "ended";
    // The opener came through `start`, so whoever comes here knows the id. A deadline that has passed stays.
    if (alive) this.#lifetime.claim();
    else if (mail.tag === "message" && mail.message.kind === "request") this.#account.missed();
    if (alive && this.#draining && mail.tag === "message" && mail.message.kind === "request") {
      return mail.reply.fail({ code: "shuttingDown" });
    }
    const result = this.#inbox.post(mail);
    if (result !== "taken") mail.reply.fail(result === "full" ? { code: "inboxFull" } : this.notFound);
  }

  /** What its client is told once it is over. */
  get notFound(): Failure {
    return notFound(this.verdict);
  }

  /** Takes no more requests; what is in flight, or waits for the session to start, goes on. */
  drain(): void {
    this.#draining = true;
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
    if (pace.killAfterMs < this.#pace.killAfterMs) this.#pace = pace;
    // The inbox of an ended session is closed, but its backend may still be hurried.
    if (this.#state === "ended") void this.#link.close(pace);
    else if (this.#suspended) this.#endSuspended(reason, detail);
    else this.#inbox.signal({ tag: "end", reason, detail });
    if (this.#isClosed) return Promise.resolve();
    return (this.#closed ??= Promise.withResolvers()).promise;
  }

  /**
   * The gateway goes. The session hibernates until the next run where there can be one for it, and ends otherwise. A
   * second call may hurry the first.
   */
  suspend(pace: ClosePace): void {
    if (pace.killAfterMs < this.#pace.killAfterMs) this.#pace = pace;
    if (this.#state === "ended" || this.#suspended) void this.#link.close(pace);
    else this.#inbox.signal({ tag: "suspend", pace });
  }

  /** Ends the session unless it is in use, judged in the turn in which it would end. `state` tells afterwards. */
  endIfIdle(reason: EndReason, { detail }: { detail: string | undefined }): void {
    this.#inbox.signal({ tag: "end", reason, detail, onlyIdle: true });
  }

  #onMail(mail: Mail): void {
    const now = this.#now;
    if (this.#isExpired(now)) return mail.reply.fail(this.notFound);
    if (mail.tag === "stream") {
      if (this.#isPastItsLife(now)) return mail.reply.fail(this.notFound);
      this.#onStream(mail, now);
      // It came with the id, and that is worth the longer TTL.
      this.#context.records.changed(this);
      // Requests of the server that waited for it are in flight now.
      return this.#account.inFlight(this.#conversation.inFlight);
    }
    const { message, reply } = mail;
    const { deadline } = this;
    if (message.kind === "response" && this.#lifetime.answered(message.id, now)) {
      this.#conversation.alive();
      if (this.deadline > deadline) this.#account.note("deadline_moved", "the client answered a ping");
      this.#context.records.changed(this);
      reply.accept();
      return this.#rearmAfter(now);
    }
    const idleMs = this.#conversation.inFlight > 0 ? undefined : now - this.#conversation.lastUsed;
    this.#account.received(message, idleMs);
    if (message.kind === "request" && message.method !== "initialize") this.#lifetime.use();
    // A message that is refused is a sign of life all the same.
    this.#conversation.heard(now);
    this.#context.records.changed(this);
    const failure = this.#refusal(message, now);
    if (failure !== undefined) return reply.fail(failure);
    if (this.#state === "hibernated" && needsServer(message)) return this.#wake(mail);
    this.#forward(mail, now);
  }

  /** Hands a message of the client's to the server. */
  #forward({ message, reply }: ClientMessage, now: number): void {
    switch (message.kind) {
      case "request": {
        const { sseAfterMs, requestTimeoutMs } = this.#context.limits;
        // The handshake has its own.
        const timeoutMs = this.#link.isOpener(message) ? Infinity : requestTimeoutMs;
        const refused = this.#conversation.request(message, reply, { now, timeoutMs });
        if (refused !== undefined) return reply.fail(refused);
        this.#account.inFlight(this.#conversation.inFlight);
        return this.#alarm.at(now + Math.min(sseAfterMs, timeoutMs));
      }
      case "notification":
        this.#conversation.notification(message);
        break;
      case "response":
        this.#conversation.response(message, now);
        break;
    }
    reply.accept();
    this.#rearmAfter(now);
  }

  /** A standalone stream, or the rest of one that broke off. Before streams could be resumed that meant nothing. */
  #onStream({ stream, reply, lastEventId }: OpenStream, now: number): void {
    if (lastEventId !== undefined && this.#conversation.resumable) {
      const refused = this.#conversation.resume(lastEventId, stream, now);
      return refused === undefined ? reply.accept() : reply.fail(refused);
    }
    reply.accept();
    this.#conversation.openStream(stream, now);
  }

  /** Why a message is not sent to the server. */
  #refusal(message: Message, now: number): Failure | undefined {
    if (message.kind === "request" && this.#isPastItsLife(now)) return this.notFound;
    if (this.#link.busy) return { code: "backendBusy", detail: this.#serverName };
    const again = message.kind === "request" && message.method === "initialize" &&
      !this.#link.isOpener(message);
    return again ? { code: "alreadyInitialized" } : undefined;
  }

  #onSignal(signal: Signal): void {
    switch (signal.tag) {
      case "message":
        if (this.#link.isFrom(signal.from)) this.#onBackendMessage(signal.message);
        return;
      case "garbage":
        if (this.#link.isFrom(signal.from)) this.#onGarbage(signal.excerpt);
        return;
      case "exit":
        if (this.#link.isFrom(signal.from)) this.#onExit(signal.exit);
        return;
      case "released":
        if (this.#waking !== undefined && !this.#link.up) this.#context.onWake(this);
        return;
      case "suspend":
        return this.#suspend(signal.pace);
      case "full":
        return this.#link.full();
      case "room":
        return this.#link.room();
      case "wake":
        return this.#onWake();
      case "end":
        if (signal.onlyIdle && this.inFlight > 0) return;
        // Its timer may be late: from its deadline on it has expired, whoever ends it.
        this.#expireIfDue(this.#now);
        return this.#finish(signal.reason, signal.detail);
    }
  }

  #onBackendMessage(message: Message): void {
    const now = this.#now;
    if (this.#isExpired(now)) return;
    this.#account.timeline.heardServer();
    this.#context.records.changed(this);
    switch (message.kind) {
      case "response":
        if (!this.#onGreeting(message) && !this.#link.takesAnswer(message)) this.#onAnswer(message, now);
        return this.#rearmAfter(now);
      case "request":
        if (this.kind === "bridge") return this.#answerForNobody(message);
        this.#conversation.serverAsked(message, now);
        this.#account.inFlight(this.#conversation.inFlight);
        return this.#alarm.at(now + this.#context.limits.clientReplyTimeoutMs);
      case "notification":
        // Nobody will come for what the bridge would keep.
        if (this.kind === "bridge" && this.#conversation.requestsInFlight === 0) return;
        this.#conversation.serverTold(message, now);
        return this.#rearmAfter(now);
    }
  }

  /** One that does not read would only have the answers pile up. */
  #answerForNobody(message: RequestMessage): void {
    if (!this.#link!.busy) this.#link!.send(answerForNobody(message));
  }

  #onAnswer(message: ResponseMessage, now: number): void {
    const deadline = this.deadline;
    this.#conversation.serverAnswered(message, now);
    if (now >= deadline && this.deadline > deadline) {
      this.#account.note("deadline_moved", "it fell while a request was in flight");
    }
  }

  /** Makes the session active, or ends it, by the server's answer to `initialize`. Whether that is all to be done. */
  #onGreeting(answer: ResponseMessage): boolean {
    const greeting = this.#link.greet(answer);
    switch (greeting?.kind) {
      case undefined:
        return false;
      case "refused": {
        const detail = `${this.#serverName} ${greeting.detail}`;
        if (this.#waking !== undefined) this.#notRevived({ code: "backendStartFailed", detail });
        else {
          // A client that sent initialize gets the server's own words.
          if (!greeting.own) this.#conversation.serverAnswered(answer, this.#now);
          this.#finish("backend_start_failed", detail);
        }
        return true;
      }
      case "changed":
        this.#finish("server_changed", `${this.#serverName} ${greeting.detail}`);
        return true;
      case "revived":
        this.#onRevived();
        return true;
      case "opened":
        return this.#onOpened(greeting);
    }
  }

  #onOpened({ own, params, result }: Extract<Greeting, { kind: "opened" }>): boolean {
    const { protocolVersion } = result;
    this.#protocolVersion = typeof protocolVersion === "string" ? protocolVersion : undefined;
    this.#account.active();
    const failure = this.#record(params, result);
    if (failure !== undefined) {
      this.#finish("store_failed", failure.detail);
      return true;
    }
    this.#state = "active";
    if (canResume(this.#protocolVersion)) this.#conversation.makeResumable();
    this.#context.onActive(this);
    log.info("Session {handle} of server {serverId} opened", {
      handle: this.handle,
      serverId: this.serverId,
    });
    if (!own) return false;
    // The gateway's own request, in the client's place, was in flight until now.
    this.#conversation.heard(this.#now);
    this.#alarm.at(this.deadline);
    this.#inbox.release();
    return true;
  }

  /** Writes the session down, before its client is told of it. */
  #record(params: Params, result: Params): Failure | undefined {
    if (this.kind !== "streamable") return undefined;
    const { records, serverId, fingerprint, limitsText } = this.#context;
    const kept = records.opened({
      digest: digestOf(this.#id),
      serverId,
      fingerprint,
      principal: this.principal,
      kind: this.kind,
      protocolVersion: this.#protocolVersion,
      openedAt: this.#account.timeline.openedAt,
      params: JSON.stringify(params),
      result: JSON.stringify(result),
      limits: limitsText,
      ...this.change,
    });
    if ("code" in kept) return kept;
    this.#key = kept.key;
    return undefined;
  }

  /** The client needs the server, and there is none: another one is asked for, and what the client says waits for it. */
  #wake(mail: ClientMessage): void {
    this.#waking = mail;
    this.#inbox.hold();
    // Never two at a time: they may want the same lock or port.
    if (this.#link.leaving) this.#link.hurry(HURRIED_PACE);
    else this.#context.onWake(this);
  }

  #onRevived(): void {
    const now = this.#now;
    const mail = this.#waking!;
    this.#waking = undefined;
    this.#state = "active";
    this.#slumber?.woke(now, this.ttl.effectiveMs);
    this.#account.revived();
    this.#context.slumbers.revivals++;
    this.#context.onActive(this);
    log.info("Session {handle} of server {serverId} revived", {
      handle: this.handle,
      serverId: this.serverId,
    });
    this.#conversation.heard(now);
    this.#forward(mail, now);
    this.#inbox.release();
  }

  /** It stays hibernated. What waited for its server fails; the next message tries again. */
  #notRevived(failure: Failure): void {
    const mail = this.#waking;
    if (mail === undefined) return;
    this.#waking = undefined;
    const now = this.#now;
    // It may have asked something before it failed. What waited for it was in flight until now.
    this.#conversation.lostServer(failure, now);
    this.#conversation.heard(now);
    this.#release();
    this.#context.slumbers.failures++;
    this.#context.onHibernated(this);
    log.warn("Session {handle} of server {serverId} was not revived: {code} {detail}", {
      handle: this.handle,
      serverId: this.serverId,
      code: failure.code,
      detail: failure.detail ?? "",
    });
    const waiting = this.#inbox.takeMail();
    this.#inbox.release();
    mail.reply.fail(failure);
    for (const mail of waiting) {
      if (mail.tag === "message") mail.reply.fail(failure);
      else this.#inbox.post(mail);
    }
    this.#context.records.changed(this);
    this.#rearm(now);
  }

  /** Gives the backend back and lives on. */
  #hibernate(why: string): void {
    const now = this.#now;
    const detail = `${this.#serverName} ended`;
    this.#state = "hibernated";
    this.#slumber?.fell(now);
    this.#account.hibernated(why);
    this.#context.slumbers.hibernations++;
    log.info("Session {handle} of server {serverId} hibernates: {why}", {
      handle: this.handle,
      serverId: this.serverId,
      why,
    });
    this.#conversation.lostServer({ code: "backendGone", detail }, now);
    this.#release();
    this.#context.onHibernated(this);
    this.#context.records.changed(this);
    this.#rearm(now);
  }

  #release(): void {
    if (!this.#link.up) return;
    void this.#link.release(CLOSE_PACE).then(() => {
      // Also where the session is over meanwhile.
      this.#context.onReleased(this);
      this.#inbox.signal({ tag: "released" });
    });
  }

  #onGarbage(excerpt: string): void {
    const failed = this.#link.onGarbage(excerpt);
    if (failed !== undefined) this.#onFailedStart(failed);
  }

  #onFailedStart(what: string): void {
    const detail = `${this.#serverName} ${what}`;
    if (this.#waking === undefined) return this.#fail("backend_start_failed", detail);
    this.#context.onServerFailed(this, detail);
    this.#notRevived({ code: "backendStartFailed", detail });
  }

  #onExit(exit: BackendExit): void {
    const detail = `${this.#serverName} ${exit.detail}`;
    if (this.#link.starting) this.#onFailedStart(exit.detail);
    else if (this.expired) this.#finish(this.verdict!.reason);
    // A client that does not read is no failure of a server that others share with it.
    else if (exit.cause === "cut") this.#finish("backend_exit", detail);
    else if (exit.cause === "overlong") this.#fail("protocol_error", detail);
    else if (this.#isRevivable) {
      this.#conversation.lostServer({ code: "backendGone", detail }, this.#now);
      this.#context.onServerFailed(this, detail);
      this.#hibernate(detail);
    } else this.#fail("backend_exit", detail);
  }

  /** Whether another backend can take the place of its own. */
  get #isRevivable(): boolean {
    return this.#key !== 0 && !this.#context.limits.stateful;
  }

  /** Whether it gives its backend back by itself. */
  get #hibernates(): boolean {
    return this.#slumber !== undefined && this.#isRevivable && !this.#conversation.leansOnServer;
  }

  /** When it gives its backend back if nobody uses it; Infinity for never. */
  get #hibernateAt(): number {
    if (this.#state !== "active" || !this.#hibernates) return Infinity;
    return this.#conversation.lastUsed + this.#slumber!.afterMs;
  }

  /** May come after the end, from a stream that still had something to deliver. */
  #onCut({ bytes, stalledMs }: StreamLoss): void {
    log.warn("Session {handle}: cut a stream, nothing was read for {stalledMs} ms and {bytes} bytes waited", {
      handle: this.handle,
      stalledMs: Math.round(stalledMs),
      bytes,
    });
  }

  #onWake(): void {
    const now = this.#now;
    const late = this.#link.onTime(now);
    if (late !== undefined) return this.#onFailedStart(late);
    this.#rearm(now);
  }

  /** Does what is due and arms the timer for what comes next. */
  #rearm(now: number): void {
    let next = this.#conversation.onTime(now);
    this.#expireIfDue(now);
    if (this.#state === "expired" || this.#state === "ended") return;
    if (this.#link.starting) next = Math.min(next, this.#link.nextAt);
    else if (this.inFlight === 0) {
      if (now >= this.#hibernateAt) return this.#hibernate(`it was idle for ${Math.floor(this.idleMs)} ms`);
      next = Math.min(next, this.deadline, this.#hibernateAt);
    }
    this.#alarm.at(next);
  }

  /** With less in flight, an unanswered question or the deadline may be due earlier. */
  #rearmAfter(now: number): void {
    if (this.#conversation.asking || this.#conversation.inFlight === 0) this.#rearm(now);
  }

  /** The one place where a session expires. */
  #expireIfDue(now: number): void {
    if (!this.#isAlive || this.#waking !== undefined) return;
    if (this.#conversation.requestsInFlight > 0 || now < this.deadline) return;
    // Its timer may be late: a server's request whose time is up keeps nothing.
    if (this.#conversation.asking) this.#conversation.onTime(now);
    if (this.#conversation.inFlight > 0 || this.#asks(now)) return;
    this.#expire(this.#lifetime.reasonAt(this.#conversation.lastUsed));
  }

  /** At the deadline a client that holds a stream open is asked whether it is there. Whether it was, just now. */
  #asks(now: number): boolean {
    if (!this.#conversation.reachable) return false;
    const id = this.#lifetime.ask(this.#conversation.lastUsed, now);
    if (id === undefined) return false;
    this.#account.note("pinged", "the deadline came while the client held a stream open");
    this.#conversation.ping(id);
    this.#alarm.at(this.deadline);
    return true;
  }

  /** Past its maximum lifetime a session finishes what is in flight and begins nothing. */
  #isPastItsLife(now: number): boolean {
    return this.#isAlive && now >= this.#lifetime.endOfLife;
  }

  #expire(reason: ExpiryReason): void {
    log.debug("Session {handle} expired", { handle: this.handle });
    const verdict = this.#judge(reason, undefined);
    this.#state = "expired";
    this.#account.expired(verdict);
    this.#alarm.off();
    this.#conversation.close(this.notFound);
    // The next run knows nothing of how scarce memory is now: it would take up again what is over.
    const { effectiveMs, configuredMs } = verdict.ttl;
    if (this.#key !== 0 && (reason === "evicted" || effectiveMs < configuredMs)) {
      this.#context.records.ended(this, this.tombstone(), { later: false });
    }
    // Nobody will come for it, and sweeps follow the longer TTL.
    if (reason === "implicit") void this.end(reason);
  }

  /** Puts down why the session is over, as things are now. */
  #judge(reason: EndReason, detail: string | undefined): Verdict {
    return this.#account.judge({ reason, detail, idleMs: this.idleMs, ttl: this.ttl });
  }

  /** Its server failed it. */
  #fail(reason: EndReason, detail: string): void {
    this.#serverFailed = true;
    this.#finish(reason, detail);
  }

  #finish(reason: EndReason, detail?: string): void {
    const failure = failureOf(reason, detail);
    const wasStarting = this.#state === "starting";
    if (this.#state === "expired") this.#account.note("swept");
    const verdict = this.#judge(reason, detail);
    this.#state = "ended";
    this.#account.ended(verdict);
    this.#context.records.ended(this, this.tombstone(), { later: FOUND_AGAIN.has(verdict.reason) });
    log.info("Session {handle} of server {serverId} ended: {reason} ({why})", {
      handle: this.handle,
      serverId: this.serverId,
      reason: verdict.reason,
      why: detail ?? END_REASONS[verdict.reason],
    });
    // Mail is unread where the session never started, and then it fails for the same reason.
    this.#giveBack({ failure, unread: wasStarting ? failure : this.notFound });
  }

  /** The gateway goes, and its next run takes the session up again, if there can be one for it. */
  #suspend(pace: ClosePace): void {
    this.#expireIfDue(this.#now);
    const { records, limits } = this.#context;
    if (this.#state === "expired") return this.#finish(this.verdict!.reason);
    if (!records.durable || this.#key === 0 || this.#state === "starting") return this.#finish("shutdown");
    if (limits.stateful) return this.#finish("stateful");
    this.#pace = pace.killAfterMs < this.#pace.killAfterMs ? pace : this.#pace;
    const failure: Failure = { code: "shuttingDown" };
    // What is in flight keeps it in use until now: its deadline counts from here.
    if (this.inFlight > 0) this.#conversation.heard(this.#now);
    const streams = this.#conversation.suspend(failure);
    records.suspended(this, streams);
    this.#suspended = true;
    this.#state = "hibernated";
    this.#giveBack({ failure, unread: failure });
  }

  /** What was left to the next run is not to be there. */
  #endSuspended(reason: EndReason, detail: string | undefined): void {
    if (reason === "shutdown" || this.verdict !== undefined) return;
    this.#judge(reason, detail);
    this.#context.records.ended(this, this.tombstone(), { later: false });
  }

  /** Gives back everything; each step is taken even where one before it failed. */
  #giveBack({ failure, unread }: { readonly failure: Failure; readonly unread: Failure }): void {
    const backendClosed = this.#link.close(this.#pace);
    const waking = this.#waking;
    this.#waking = undefined;
    const steps = [
      () => this.#context.onOver(this),
      () => this.#alarm.off(),
      () => this.#conversation.close(failure),
      () => waking?.reply.fail(unread),
      () => this.#inbox.close().forEach(({ reply }) => reply.fail(unread)),
    ];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        this.#onFault(error, undefined);
      }
    }
    void Promise.resolve(backendClosed).catch((error) => this.#onFault(error, undefined)).then(() => {
      this.#isClosed = true;
      this.#closed?.resolve();
      this.#context.onEnded(this);
    });
  }

  /** A fault of the gateway's own: it costs the message that met it, not the session and not the gateway. */
  #onFault(error: unknown, mail: Mail | undefined): void {
    const failure = reportFault(log, `Session ${this.handle}`, error);
    mail?.reply.fail(failure);
  }

  /** What stays of it once it is over. */
  tombstone(): Tombstone {
    return this.#account.tombstone(this.#protocolVersion);
  }

  get #now(): number {
    return this.#context.clock.now();
  }

  get #serverName(): string {
    return `server "${this.serverId}"`;
  }
}

/** Whether a message of the client's is of any use to a server that was started for it. */
function needsServer(message: Message): boolean {
  switch (message.kind) {
    case "request":
      return true;
    case "notification":
      // They belong to what was in flight with a server that is gone.
      return message.method !== "notifications/cancelled" && message.method !== "notifications/progress";
    case "response":
      return false;
  }
}
