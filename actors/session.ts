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
 * In `#expireIfDue`, and nowhere else (`lifetime.ts` says when): nothing in flight and `now ≥ lastUsed + TTL`. It is asked before each
 * message of the client, when the timer fires, and by the sweeper. There is one timer, re-armed lazily: a touch
 * only writes a timestamp, and a timer that fires early looks again.
 *
 * @module
 */
import { type Backend, type BackendExit, CLOSE_PACE, type ClosePace } from "../backends/backend.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { Message, ResponseMessage } from "../protocol/jsonrpc.ts";
import { Alarm } from "./alarm.ts";
import { Conversation } from "./conversation.ts";
import { END_REASONS, type EndReason, failureOf } from "./end_reason.ts";
import { Handshake } from "./handshake.ts";
import { Inbox } from "./inbox.ts";
import { Lifetime } from "./lifetime.ts";
import type { ClientMessage, Mail, Signal } from "./mail.ts";
import type { SessionOptions } from "./session_options.ts";

/** Messages of the client that may wait while the session starts. */
const MAX_MAIL = 256;
/** Bytes that the server has not read, from which on further messages are refused. */
const MAX_BACKEND_QUEUE_BYTES = 8 * 1024 * 1024;
/** Lines of a server that are no messages which are logged, per session. */
const MAX_GARBAGE_LOGGED = 20;

/** See the module's documentation. */
export type SessionState = "starting" | "active" | "expired" | "ended";

const log = logger("session");

/** See the module's documentation. */
export class Session {
  readonly id: string;
  readonly handle: string;
  readonly serverId: string;
  readonly principal: string;
  readonly kind = "streamable";

  readonly #options: SessionOptions;
  readonly #clock: Clock;
  readonly #inbox: Inbox<Mail, Signal>;
  readonly #conversation: Conversation;
  readonly #lifetime: Lifetime;
  /** The one timer, for the earliest thing that may be due. */
  readonly #alarm: Alarm;
  #state: SessionState = "starting";
  #backend: Backend | undefined;
  /** Set while the state is `starting`. */
  #handshake: Handshake | undefined;
  #draining = false;
  /** Lines of the server that were no messages. */
  #garbageLines = 0;
  /** How many streams to the client are full. While there is one, the backend is paused. */
  #fullStreams = 0;
  #protocolVersion: string | undefined;
  #endReason: EndReason | undefined;
  /** The fastest pace that an end was asked for with. */
  #pace: ClosePace = CLOSE_PACE;
  /** Resolved when all that the session held was given back. */
  readonly #closed = Promise.withResolvers<void>();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.id = options.id;
    this.handle = options.handle;
    this.serverId = options.serverId;
    this.principal = options.principal;
    this.#lifetime = new Lifetime(options.limits, { implicit: options.implicitVersion !== undefined });
    this.#inbox = new Inbox<Mail, Signal>({
      maxMail: MAX_MAIL,
      onMail: (mail) => this.#onMail(mail),
      onSignal: (signal) => this.#onSignal(signal),
      onFault: (error, mail) => this.#onFault(error, mail),
    });
    this.#alarm = new Alarm(options.clock, () => this.#inbox.signal({ tag: "wake" }));
    this.#conversation = new Conversation({
      handle: options.handle,
      limits: options.limits,
      // False means that the backend is gone; its exit is on its way and fails what is in flight.
      send: (text) => void this.#backend?.send(text),
      isBusy: () => this.#isBackendBusy(),
      watch: {
        full: () => this.#inbox.signal({ tag: "full" }),
        room: () => this.#inbox.signal({ tag: "room" }),
        cut: (loss) => this.#onCut(loss),
      },
      now: options.clock.now(),
    });
  }

  get state(): SessionState {
    return this.#state;
  }

  /** The protocol version that client and server agreed on; undefined while starting. */
  get protocolVersion(): string | undefined {
    return this.#protocolVersion;
  }

  /** Why it ended; undefined while it lives. */
  get endReason(): EndReason | undefined {
    return this.#endReason;
  }

  /** Requests in flight in either direction, and messages that wait for the session to start. */
  get inFlight(): number {
    return this.#conversation.inFlight + this.#inbox.waiting;
  }

  /** Messages, requests and streams that the session holds on to; 0 once it ended. */
  get held(): number {
    return this.#conversation.held + this.#inbox.waiting;
  }

  /** Time since the last use, in ms; 0 while anything is in flight. */
  get idleMs(): number {
    return this.inFlight > 0 ? 0 : this.#clock.now() - this.#conversation.lastUsed;
  }

  /** The process id of the backend, for display. */
  get pid(): number | undefined {
    return this.#backend?.pid;
  }

  /** The sweeper's question. Judged now, so that the answer is right even where the timer is late. */
  get expired(): boolean {
    this.#expireIfDue();
    return this.#state === "expired";
  }

  /** The reason with which an expired session ends. */
  get expiryReason(): EndReason {
    return this.#lifetime.expiryReason;
  }

  /** Starts the backend and hands it the message that opens the session. Called once, by the supervisor. */
  start(opener: ClientMessage): void {
    const { openBackend, serverId, implicitVersion, limits } = this.#options;
    const now = this.#clock.now();
    const dueAt = now + limits.startTimeoutMs;
    const slowAt = now + limits.sseAfterMs;
    const handshake = this.#handshake = new Handshake({ opener, implicitVersion, dueAt, slowAt });
    opener.reply.name(this.id);
    this.#backend = openBackend({ serverId, session: this.handle }, {
      message: (message) => this.#inbox.signal({ tag: "message", message }),
      garbage: (excerpt) => this.#inbox.signal({ tag: "garbage", excerpt }),
      exit: (exit) => this.#inbox.signal({ tag: "exit", exit }),
    });
    this.#alarm.at(dueAt);
    if (handshake.implicit) {
      this.#alarm.at(slowAt);
      this.#inbox.hold();
      this.#backend.send(handshake.ownRequest);
    }
    this.#inbox.post(opener);
  }

  /** Hands over something from the client. */
  post(mail: Mail): void {
    const alive = !this.expired && this.#state !== "ended";
    // The opener came through `start`, so whoever comes here knows the id. A deadline that has passed stays.
    if (alive) this.#lifetime.claim();
    if (alive && this.#draining && mail.tag === "message" && mail.message.kind === "request") {
      return mail.reply.fail({ code: "shuttingDown" });
    }
    const result = this.#inbox.post(mail);
    if (result !== "taken") mail.reply.fail({ code: result === "full" ? "inboxFull" : "sessionNotFound" });
  }

  /** Takes no more requests; what is in flight, or waits for the session to start, goes on. */
  drain(): void {
    this.#draining = true;
  }

  /**
   * Ends the session. Idempotent: the first reason stays, a faster pace wins.
   *
   * @returns Resolves when all that the session held was given back. Never rejects.
   */
  end(reason: EndReason, pace: ClosePace = CLOSE_PACE): Promise<void> {
    if (pace.killAfterMs < this.#pace.killAfterMs) this.#pace = pace;
    // The inbox of an ended session is closed, but its backend may still be hurried.
    if (this.#state === "ended") void this.#backend?.close(pace);
    else this.#inbox.signal({ tag: "end", reason });
    return this.#closed.promise;
  }

  #onMail(mail: Mail): void {
    if (this.expired) return mail.reply.fail({ code: "sessionNotFound" });
    const now = this.#clock.now();
    if (mail.tag === "stream") {
      mail.reply.accept();
      return this.#conversation.openStream(mail.stream, now);
    }
    const { message, reply } = mail;
    // A message that is refused is a sign of life all the same.
    this.#conversation.heard(now);
    const failure = this.#refusal(message);
    if (failure !== undefined) return reply.fail(failure);
    switch (message.kind) {
      case "request": {
        const { sseAfterMs, requestTimeoutMs } = this.#options.limits;
        // The handshake has its own.
        const timeoutMs = message === this.#handshake?.opener.message ? Infinity : requestTimeoutMs;
        const refused = this.#conversation.request(message, reply, { now, timeoutMs });
        if (refused !== undefined) return reply.fail(refused);
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

  #isBackendBusy(): boolean {
    return this.#backend!.queuedBytes > MAX_BACKEND_QUEUE_BYTES;
  }

  /** Why a message is not sent to the server. */
  #refusal(message: Message): Failure | undefined {
    if (this.#isBackendBusy()) return { code: "backendBusy", detail: this.#serverName };
    const { kind } = message;
    if (
      kind === "request" && message.method === "initialize" && message !== this.#handshake?.opener.message
    ) {
      return { code: "alreadyInitialized" };
    }
    return undefined;
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
        if (++this.#fullStreams === 1) this.#backend?.pause();
        return;
      case "room":
        if (--this.#fullStreams === 0) this.#backend?.resume();
        return;
      case "wake":
        return this.#onWake();
      case "end":
        return this.#finish(signal.reason);
    }
  }

  #onBackendMessage(message: Message): void {
    if (this.expired) return;
    const now = this.#clock.now();
    switch (message.kind) {
      case "response":
        if (this.#handshake !== undefined && this.#onHandshake(this.#handshake, message)) return;
        this.#conversation.serverAnswered(message, now);
        return this.#rearmAfter(now);
      case "request":
        this.#conversation.serverAsked(message, now);
        return this.#alarm.at(now + this.#options.limits.clientReplyTimeoutMs);
      case "notification":
        this.#conversation.serverTold(message, now);
        return this.#rearmAfter(now);
    }
  }

  /** Makes the session active, or ends it. True where the client does not wait for this answer. */
  #onHandshake(handshake: Handshake, message: ResponseMessage): boolean {
    const answer = handshake.onAnswer(message);
    if (answer.kind === "unrelated") return false;
    if (answer.kind === "refused") {
      handshake.opener.reply.name(undefined);
      // A client that sent initialize gets the server's own words.
      if (!handshake.implicit) this.#conversation.serverAnswered(message, this.#clock.now());
      this.#finish("backend_start_failed", `${this.#serverName} ${answer.detail}`);
      return true;
    }
    this.#state = "active";
    this.#handshake = undefined;
    this.#protocolVersion = answer.protocolVersion;
    log.info("Session {handle} of server {serverId} opened", {
      handle: this.handle,
      serverId: this.serverId,
    });
    if (!handshake.implicit) return false;
    // The gateway's own request, in the client's place, was in flight until now.
    this.#conversation.heard(this.#clock.now());
    this.#alarm.at(this.#deadline);
    this.#backend!.send(handshake.ownConfirmation);
    this.#inbox.release();
    return true;
  }

  #onGarbage(excerpt: string): void {
    this.#garbageLines++;
    if (this.#garbageLines <= MAX_GARBAGE_LOGGED) this.#logGarbage(excerpt);
    const failed = this.#handshake?.onGarbage();
    if (failed !== undefined) this.#finish("backend_start_failed", `${this.#serverName} ${failed}`);
  }

  #logGarbage(excerpt: string): void {
    log.warn("Session {handle}: server {serverId} wrote a line that is no JSON-RPC message: {excerpt}", {
      handle: this.handle,
      serverId: this.serverId,
      excerpt,
    });
    if (this.#garbageLines < MAX_GARBAGE_LOGGED) return;
    log.warn("Session {handle}: further lines that are no JSON-RPC messages are not logged", {
      handle: this.handle,
    });
  }

  #onExit(exit: BackendExit): void {
    const detail = `${this.#serverName} ${exit.detail}`;
    if (this.#handshake !== undefined) this.#finish("backend_start_failed", detail);
    else if (this.expired) this.#finish(this.expiryReason);
    else this.#finish(exit.cause === "overlong" ? "protocol_error" : "backend_exit", detail);
  }

  /** May come after the end, from a stream that still had something to deliver. */
  #onCut({ bytes, stalledMs }: { bytes: number; stalledMs: number }): void {
    log.warn("Session {handle}: cut a stream, nothing was read for {stalledMs} ms and {bytes} bytes waited", {
      handle: this.handle,
      stalledMs: Math.round(stalledMs),
      bytes,
    });
  }

  #onWake(): void {
    const now = this.#clock.now();
    this.#handshake?.onTime(now);
    if (this.#handshake !== undefined && now >= this.#handshake.dueAt) {
      const { startTimeoutMs } = this.#options.limits;
      const detail = `${this.#serverName} did not answer initialize within ${startTimeoutMs} ms`;
      return this.#finish("backend_start_failed", detail);
    }
    this.#rearm(now);
  }

  /** Does what is due and arms the timer for what comes next. */
  #rearm(now: number): void {
    let next = this.#conversation.onTime(now);
    this.#expireIfDue();
    if (this.#state === "expired") return;
    if (this.#handshake !== undefined) next = Math.min(next, this.#handshake.dueAt);
    else if (this.#conversation.inFlight === 0) next = Math.min(next, this.#deadline);
    this.#alarm.at(next);
  }

  /** With less in flight, an unanswered question or the deadline may be due earlier. */
  #rearmAfter(now: number): void {
    if (this.#conversation.asking || this.#conversation.inFlight === 0) this.#rearm(now);
  }

  get #deadline(): number {
    return this.#lifetime.deadline(this.#conversation.lastUsed);
  }

  /** The one place where a session expires. */
  #expireIfDue(): void {
    if (this.#state !== "active" || this.#conversation.requestsInFlight > 0) return;
    const now = this.#clock.now();
    if (now < this.#deadline) return;
    // Its timer may be late: a server's request whose time is up keeps nothing.
    if (this.#conversation.asking) this.#conversation.onTime(now);
    if (this.#conversation.inFlight > 0) return;
    log.debug("Session {handle} expired", { handle: this.handle });
    this.#state = "expired";
    this.#alarm.off();
    this.#conversation.close({ code: "sessionNotFound" });
    // Nobody will come for it, and sweeps follow the longer TTL.
    if (this.#lifetime.unclaimed) void this.end(this.expiryReason);
  }

  /** Gives back everything; each step is taken even where one before it failed. */
  #finish(reason: EndReason, detail?: string): void {
    const failure = failureOf(reason, detail);
    // Mail is unread where the session never started, and then it fails for the same reason.
    const unreadFailure: Failure = this.#handshake !== undefined ? failure : { code: "sessionNotFound" };
    this.#state = "ended";
    this.#endReason = reason;
    log.info("Session {handle} of server {serverId} ended: {reason} ({why})", {
      handle: this.handle,
      serverId: this.serverId,
      reason,
      why: detail ?? END_REASONS[reason],
    });
    this.#handshake = undefined;
    const backendClosed = this.#backend?.close(this.#pace);
    const steps = [
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
      this.#closed.resolve();
      this.#options.onEnded();
    });
  }

  /** A fault of the gateway's own: it costs the message that met it, not the session and not the gateway. */
  #onFault(error: unknown, mail: Mail | undefined): void {
    const failure = reportFault(log, `Session ${this.handle}`, error);
    mail?.reply.fail(failure);
  }

  get #serverName(): string {
    return `server "${this.serverId}"`;
  }
}
