/**
 * A session: one client's conversation with one server, and how long it lives.
 *
 * ## States
 *
 *     starting ──initialized──▶ active ──deadline──▶ expired ──swept──▶ ended
 *         └──────── failed, deleted, server gone, shut down ───────────────▲
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
 * | signal `full`, `room` | a stream to the client | more waits for its reader than may; no longer |
 * | signal `wake` | the session's own timer | something may be due |
 * | signal `end` | supervisor, sweeper | end now, for this reason |
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
import { type BackendExit, CLOSE_PACE, type ClosePace } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { Message, ResponseMessage } from "../protocol/jsonrpc.ts";
import { canResume } from "../protocol/revisions.ts";
import { Alarm } from "./alarm.ts";
import { Account, notFound, type Verdict } from "./account.ts";
import { Conversation, type ConversationPort } from "./conversation.ts";
import { END_REASONS, type EndReason, failureOf } from "./end_reason.ts";
import { Link } from "./link.ts";
import { Inbox, type InboxRules } from "./inbox.ts";
import { type ExpiryReason, Lifetime, type TtlInForce } from "./lifetime.ts";
import type { StreamLoss } from "./client.ts";
import type { ClientMessage, Mail, OpenStream, Signal } from "./mail.ts";
import type { SessionContext, SessionOptions } from "./session_options.ts";
import type { Tombstone } from "./tombstones.ts";

/** Messages of the client that may wait while the session starts. */
const MAX_MAIL = 256;

/** See the module's documentation. */
export type SessionState = "starting" | "active" | "expired" | "ended";

const log = logger("session");

/** See the module's documentation. */
export class Session {
  readonly id: string;
  readonly kind = "streamable";
  /** Whether its backend counts as a process of its own. */
  readonly ownsProcess: boolean;

  readonly #context: SessionContext;
  readonly #inbox: Inbox<Session, Mail, Signal>;
  readonly #conversation: Conversation<Session>;
  readonly #lifetime: Lifetime;
  readonly #account: Account;
  /** The one timer, for the earliest thing that may be due. */
  readonly #alarm: Alarm<Session>;
  #state: SessionState = "starting";
  #link: Link<Session> | undefined;
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

  constructor({ id, handle, principal, context, ownsProcess, implicitVersion }: SessionOptions) {
    const { clock, limits, scale, random } = context;
    const now = clock.now();
    this.id = id;
    this.ownsProcess = ownsProcess;
    this.#context = context;
    this.#implicitVersion = implicitVersion;
    this.#account = new Account({ handle, principal, context });
    this.#lifetime = new Lifetime({
      limits,
      scale,
      random,
      openedAt: now,
      implicit: implicitVersion !== undefined,
    });
    this.#inbox = new Inbox<Session, Mail, Signal>(this, Session.#RULES);
    this.#alarm = new Alarm<Session>(clock, this, Session.#RING);
    this.#conversation = new Conversation<Session>({ owner: this, port: Session.#PORT, handle, limits, now });
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
    send: (session, text) => session.#link?.send(text),
    isBusy: (session) => session.#link?.busy === true,
    full: (session) => session.#inbox.signal({ tag: "full" }),
    room: (session) => session.#inbox.signal({ tag: "room" }),
    cut: (session, loss) => session.#onCut(loss),
  };

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
    return this.#conversation.inFlight + this.#inbox.waiting;
  }

  /** Messages, requests and streams that the session holds on to; 0 once it ended. */
  get held(): number {
    return this.#conversation.held + this.#inbox.waiting;
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
    return this.#link?.pid;
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
    return this.#context.limits.evictable && !this.expired && this.#state === "active" && this.inFlight === 0;
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
    return true;
  }

  /** Starts the backend and hands it the message that opens the session. Called once, by the supervisor. */
  start(opener: ClientMessage): void {
    opener.reply.name(this.id);
    this.#account.opened();
    this.#link = new Link<Session>({
      owner: this,
      signal: Session.#SIGNAL,
      context: this.#context,
      handle: this.handle,
      opener,
      implicitVersion: this.#implicitVersion,
    });
    this.#alarm.at(this.#link.nextAt);
    // Until the gateway has done the handshake in its place, what the client says waits.
    if (this.#link.implicit) this.#inbox.hold();
    this.#inbox.post(opener);
  }

  /** Hands over something from the client. */
  post(mail: Mail): void {
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
    if (this.#state === "ended") void this.#link?.close(pace);
    else this.#inbox.signal({ tag: "end", reason, detail });
    if (this.#isClosed) return Promise.resolve();
    return (this.#closed ??= Promise.withResolvers()).promise;
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
      // Requests of the server that waited for it are in flight now.
      return this.#account.inFlight(this.#conversation.inFlight);
    }
    const { message, reply } = mail;
    const { deadline } = this;
    if (message.kind === "response" && this.#lifetime.answered(message.id, now)) {
      this.#conversation.alive();
      if (this.deadline > deadline) this.#account.note("deadline_moved", "the client answered a ping");
      reply.accept();
      return this.#rearmAfter(now);
    }
    const idleMs = this.#conversation.inFlight > 0 ? undefined : now - this.#conversation.lastUsed;
    this.#account.received(message, idleMs);
    if (message.kind === "request" && message.method !== "initialize") this.#lifetime.use();
    // A message that is refused is a sign of life all the same.
    this.#conversation.heard(now);
    const failure = this.#refusal(message, now);
    if (failure !== undefined) return reply.fail(failure);
    switch (message.kind) {
      case "request": {
        const { sseAfterMs, requestTimeoutMs } = this.#context.limits;
        // The handshake has its own.
        const timeoutMs = this.#link!.isOpener(message) ? Infinity : requestTimeoutMs;
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
    if (this.#link!.busy) return { code: "backendBusy", detail: this.#serverName };
    const again = message.kind === "request" && message.method === "initialize" &&
      !this.#link!.isOpener(message);
    return again ? { code: "alreadyInitialized" } : undefined;
  }

  #onSignal(signal: Signal): void {
    switch (signal.tag) {
      case "message":
        return this.#onBackendMessage(signal.message);
      case "garbage":
        return this.#onGarbage(signal.excerpt);
      case "exit":
        return this.#onExit(signal.exit);
      case "full":
        return this.#link?.full();
      case "room":
        return this.#link?.room();
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
    switch (message.kind) {
      case "response":
        if (!this.#onGreeting(message)) this.#onAnswer(message, now);
        return this.#rearmAfter(now);
      case "request":
        this.#conversation.serverAsked(message, now);
        this.#account.inFlight(this.#conversation.inFlight);
        return this.#alarm.at(now + this.#context.limits.clientReplyTimeoutMs);
      case "notification":
        this.#conversation.serverTold(message, now);
        return this.#rearmAfter(now);
    }
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
    const { implicit = false } = this.#link ?? {};
    const greeting = this.#link?.greet(answer);
    if (greeting === undefined) return false;
    if (greeting.kind === "refused") {
      // A client that sent initialize gets the server's own words.
      if (!implicit) this.#conversation.serverAnswered(answer, this.#now);
      this.#finish("backend_start_failed", `${this.#serverName} ${greeting.detail}`);
      return true;
    }
    this.#state = "active";
    this.#protocolVersion = greeting.protocolVersion;
    if (canResume(greeting.protocolVersion)) this.#conversation.makeResumable();
    this.#account.active();
    this.#context.onActive(this);
    log.info("Session {handle} of server {serverId} opened", {
      handle: this.handle,
      serverId: this.serverId,
    });
    if (!implicit) return false;
    // The gateway's own request, in the client's place, was in flight until now.
    this.#conversation.heard(this.#now);
    this.#alarm.at(this.deadline);
    this.#inbox.release();
    return true;
  }

  #onGarbage(excerpt: string): void {
    const failed = this.#link?.onGarbage(excerpt);
    if (failed !== undefined) this.#fail("backend_start_failed", `${this.#serverName} ${failed}`);
  }

  #onExit(exit: BackendExit): void {
    const detail = `${this.#serverName} ${exit.detail}`;
    if (this.#link?.starting) this.#fail("backend_start_failed", detail);
    else if (this.expired) this.#finish(this.verdict!.reason);
    // A client that does not read is no failure of a server that others share with it.
    else if (exit.cause === "cut") this.#finish("backend_exit", detail);
    else this.#fail(exit.cause === "overlong" ? "protocol_error" : "backend_exit", detail);
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
    const late = this.#link?.onTime(now);
    if (late !== undefined) return this.#fail("backend_start_failed", `${this.#serverName} ${late}`);
    this.#rearm(now);
  }

  /** Does what is due and arms the timer for what comes next. */
  #rearm(now: number): void {
    let next = this.#conversation.onTime(now);
    this.#expireIfDue(now);
    if (this.#state === "expired" || this.#state === "ended") return;
    if (this.#link?.starting) next = Math.min(next, this.#link.nextAt);
    else if (this.#conversation.inFlight === 0) next = Math.min(next, this.deadline);
    this.#alarm.at(next);
  }

  /** With less in flight, an unanswered question or the deadline may be due earlier. */
  #rearmAfter(now: number): void {
    if (this.#conversation.asking || this.#conversation.inFlight === 0) this.#rearm(now);
  }

  /** The one place where a session expires. */
  #expireIfDue(now: number): void {
    if (this.#state !== "active" || this.#conversation.requestsInFlight > 0 || now < this.deadline) return;
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
    return this.#state === "active" && now >= this.#lifetime.endOfLife;
  }

  #expire(reason: ExpiryReason): void {
    log.debug("Session {handle} expired", { handle: this.handle });
    const verdict = this.#judge(reason, undefined);
    this.#state = "expired";
    this.#account.expired(verdict);
    this.#alarm.off();
    this.#conversation.close(this.notFound);
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

  /** Gives back everything; each step is taken even where one before it failed. */
  #finish(reason: EndReason, detail?: string): void {
    const failure = failureOf(reason, detail);
    const wasStarting = this.#link?.starting === true;
    if (this.#state === "expired") this.#account.note("swept");
    const verdict = this.#judge(reason, detail);
    this.#state = "ended";
    this.#account.ended(verdict);
    // Mail is unread where the session never started, and then it fails for the same reason.
    const unreadFailure: Failure = wasStarting ? failure : this.notFound;
    log.info("Session {handle} of server {serverId} ended: {reason} ({why})", {
      handle: this.handle,
      serverId: this.serverId,
      reason: verdict.reason,
      why: detail ?? END_REASONS[verdict.reason],
    });
    const backendClosed = this.#link?.close(this.#pace);
    const steps = [
      () => this.#context.onOver(this),
      () => this.#alarm.off(),
      () => this.#conversation.close(failure),
      () => this.#inbox.close().forEach(({ reply }) => reply.fail(unreadFailure)),
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
