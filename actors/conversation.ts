/**
 * What client and server have to say to each other: which request awaits which answer, and which stream a message
 * goes out on. One session owns one conversation; the session decides how long it lives, the conversation knows
 * whether it is in use.
 *
 * ## Which stream a message of the server goes to
 *
 * | message | stream |
 * | --- | --- |
 * | answer | the reply of its request |
 * | progress | the reply of the request with its token |
 * | related to a task | the reply of the `tasks/result` that waits for that task |
 * | the server takes back a request | the stream which that request went out on |
 * | anything else | the newest request in flight whose client is connected, else the standalone stream |
 *
 * On stdio a message does not say which request it belongs to, hence the last row. Where there is no stream, the
 * message is kept for the next standalone one, or the next one that its client comes back for (bounded; progress is not
 * worth keeping).
 *
 * @module
 */
import { type Failure, rpcErrorText } from "../errors.ts";
import { logger } from "../log.ts";
import {
  encodeNotification,
  encodeRequest,
  type NotificationMessage,
  type RequestId,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/jsonrpc.ts";
import { Backlog, type KeptMessage } from "./backlog.ts";
import type { ClientStream, Reply, StreamLog, StreamLoss, StreamWatch } from "./client.ts";
import { EventLog, type Resumable } from "./event_log.ts";
import { type Exchange, Exchanges } from "./exchanges.ts";
import { type Question, Questions } from "./questions.ts";
import { Standing, type StandingState } from "./standing.ts";

/** Durations in ms. */
export interface ConversationLimits {
  /** How long a server's request waits for the client. */
  readonly clientReplyTimeoutMs: number;
  /** How long a server's request waits at most, however long a request of the client is in flight beside it. */
  readonly requestTimeoutMs: number;
  /** After how long without an answer a reply becomes a stream. */
  readonly sseAfterMs: number;
  /** How many requests of the client may be in flight. */
  readonly maxInFlight: number;
}

/** What conversations ask of their sessions. One for all of them: a conversation pays for no functions of its own. */
export interface ConversationPort<Owner> {
  /** Sends one message to the server. */
  readonly send: (owner: Owner, text: string) => void;
  /** Whether the server does not read what is sent to it. */
  readonly isBusy: (owner: Owner) => boolean;
  /** How the readers of its streams keep up: see {@link StreamWatch}. */
  readonly full: (owner: Owner) => void;
  readonly room: (owner: Owner) => void;
  readonly cut: (owner: Owner, loss: StreamLoss) => void;
}

/** How to make a {@link Conversation}. */
export interface ConversationOptions<Owner> {
  /** The session, and how to ask something of it. */
  readonly owner: Owner;
  readonly port: ConversationPort<Owner>;
  /** Names the session in log lines. */
  readonly handle: string;
  readonly limits: ConversationLimits;
  /** When the session was last used, in ms of its clock. */
  readonly lastUsed: number;
  /** What its client asked for good in an earlier run. */
  readonly standing?: StandingState | undefined;
  /**
   * Returns what {@link Conversation.suspend} of an earlier conversation of the session returned. Called once, when a
   * stream is begun or comes back.
   */
  readonly streams?: (() => string | undefined) | undefined;
}

/** Requests of the server that may wait for the client; each further one gets an error at once. */
const MAX_QUESTIONS = 256;
/** Progress gives a request its time-out anew, until it took so many of them: reports alone are no result. */
const MAX_TIMEOUTS = 24;

/** One request in flight, as monitoring shows it. */
export interface InFlight {
  /** Who waits for its answer. */
  readonly asker: "client" | "server";
  readonly method: string;
  readonly ageMs: number;
}

/** Whose a stream is that ends where it begins. */
const NOBODY: Resumable = { resume: () => {} };

const log = logger("session");

/** See the module's documentation. All times are ms of the session's clock. */
export class Conversation<Owner = unknown> implements StreamWatch {
  readonly #owner: Owner;
  readonly #port: ConversationPort<Owner>;
  readonly #handle: string;
  readonly #limits: ConversationLimits;
  /** The client's requests in flight. */
  readonly #exchanges = new Exchanges();
  /** The server's requests that the client has not answered. */
  readonly #questions = new Questions();
  /** Messages of the server that wait for a standalone stream. */
  #backlog: Backlog | undefined;
  /** The client's GET stream; may be closed by now. */
  #standalone: ClientStream | undefined;
  /** Whether clients may come back for the rest of a stream. */
  #resumable = false;
  /** What went out on its streams; undefined until there was one that can be resumed. */
  #log: EventLog | undefined;
  /** What went out in an earlier run; undefined once it was taken. */
  #earlierStreams: (() => string | undefined) | undefined;
  /** Whether there was an earlier run of which nothing is left. */
  #lostLog = false;
  /** What the client asked for good; undefined where that is nothing. */
  #standing: Standing | undefined;
  /** Whether the client ever asked for a task, which lives in the server beyond its request. */
  #hasTasks = false;
  /** The last message of the client, or the end of the last request in flight. */
  #lastUsed = -Infinity;

  constructor({ owner, port, handle, limits, lastUsed, standing, streams }: ConversationOptions<Owner>) {
    this.#owner = owner;
    this.#port = port;
    this.#handle = handle;
    this.#limits = limits;
    this.#lastUsed = lastUsed;
    if (standing !== undefined) this.#standing = new Standing(standing);
    this.#earlierStreams = streams;
  }

  /** A reader of one of its streams does not keep up. */
  full(): void {
    this.#port.full(this.#owner);
  }

  /** It does again. */
  room(): void {
    this.#port.room(this.#owner);
  }

  /** It did not for too long, and its stream was cut. */
  cut(loss: StreamLoss): void {
    this.#port.cut(this.#owner, loss);
  }

  /** Since when it is idle, where nothing is in flight. */
  get lastUsed(): number {
    return this.#lastUsed;
  }

  /** The client sent a message: it lives, and it uses the session. */
  heard(now: number): void {
    this.#lastUsed = now;
    this.#questions.clientHeard();
  }

  /** The client's requests that are not answered. */
  get requestsInFlight(): number {
    return this.#exchanges.size;
  }

  /** Requests in flight in either direction. While there is one, the session is in use. */
  get inFlight(): number {
    return this.#exchanges.size + this.#questions.inFlight;
  }

  /** What is in flight, oldest first. */
  listInFlight(now: number): InFlight[] {
    const asked = Array.from(
      this.#exchanges,
      ({ method, sentAt }) => ({ method, sentAt, asker: "client" as const }),
    );
    const questions = Array.from(this.#questions).filter(({ counts }) => counts)
      .map(({ method, since }) => ({ method, sentAt: since, asker: "server" as const }));
    return [...asked, ...questions].sort((a, b) => a.sentAt - b.sentAt)
      .map(({ asker, method, sentAt }) => ({ asker, method, ageMs: now - sentAt }));
  }

  /** Whether the client holds its standalone stream open, as far as anybody can tell. */
  get hasStandalone(): boolean {
    return this.#standalone?.open === true;
  }

  /** Whether what is sent on its standalone stream reaches the client, be it when it comes back for it. */
  get reachable(): boolean {
    return this.#standalone !== undefined && isHeld(this.#standalone);
  }

  /** Streams to the client that are open: the standalone one and replies that wait for their answer. */
  get openStreams(): number {
    return Array.from(this.#exchanges).filter(({ reply }) => reply.open).length +
      (this.hasStandalone ? 1 : 0);
  }

  /** Asks the client on its standalone stream whether it is there. */
  ping(id: string): void {
    this.#standalone?.send(encodeRequest(id, "ping"));
  }

  /** The client answered a ping of the gateway's: it lives, though it does not use the session. */
  alive(): void {
    this.#questions.clientHeard();
  }

  /** What the client asked of the server for good; undefined where that is nothing. */
  get standing(): Standing | undefined {
    return this.#standing;
  }

  /** Whether the server may hold something for the client that nobody else has, as far as the gateway can tell. */
  get leansOnServer(): boolean {
    return this.#hasTasks || this.#standing?.complete === false;
  }

  /** Whether the server waits for the client. */
  get asking(): boolean {
    return this.#questions.size > 0;
  }

  /** Things that this object still holds on to; 0 after {@link close}. */
  get held(): number {
    return this.#exchanges.size + this.#questions.size + (this.#backlog?.size ?? 0) +
      (this.#standalone ? 1 : 0);
  }

  /** The reply to a request may become a stream from now on, before or after the request is sent. */
  prepare({ id }: RequestMessage, reply: Reply): void {
    reply.watch(this);
    if (this.#resumable) reply.record(() => this.#beginLog(reply, id));
  }

  /**
   * The client asks.
   *
   * @param timeoutMs How long the server may take; Infinity where somebody else watches over that.
   * @returns Why the request was not sent; undefined when it was.
   */
  request(
    message: RequestMessage,
    reply: Reply,
    { now, timeoutMs }: { now: number; timeoutMs: number },
  ): Failure | undefined {
    if (this.#exchanges.has(message.id)) return { code: "duplicateId", detail: JSON.stringify(message.id) };
    if (this.#exchanges.size >= this.#limits.maxInFlight) {
      return { code: "tooManyInFlight", detail: `maxInFlightPerSession is ${this.#limits.maxInFlight}` };
    }
    this.prepare(message, reply);
    if (message.params?.task !== undefined) this.#hasTasks = true;
    this.#exchanges.add(message, reply, {
      sentAt: now,
      waitedMsBefore: this.#questions.waitedMs(now),
      timeoutMs,
    });
    this.#send(message.text);
    return undefined;
  }

  /** The client tells; maybe that it takes back a request, which is then in flight no longer. */
  notification(message: NotificationMessage): void {
    if (message.method === "notifications/cancelled") this.#cancel(message.params?.requestId);
    this.#send(message.text);
  }

  /** The client answers a question. An answer that comes too late is nobody's mistake. */
  response(message: ResponseMessage, now: number): void {
    if (message.id !== null && this.#questions.remove(message.id, now)) {
      this.#backlog?.forget(message.id);
      this.#send(message.text);
    } else {
      log.debug("Session {handle}: dropped an answer to no open request", { handle: this.#handle });
    }
  }

  /**
   * A second standalone stream replaces the first: that one is often half open, and then nobody reads it. Opening
   * one is a sign of life but no use of the session, or a client that only ever reconnects would keep it for ever.
   */
  openStream(stream: ClientStream, now: number): void {
    this.#questions.clientHeard();
    // Its client may have hung up while it waited its turn.
    if (!stream.open) return;
    stream.watch(this);
    if (this.#resumable) stream.record(() => this.#beginLog(this.#standaloneOwner()));
    this.#standalone?.close();
    this.#standalone = stream;
    this.#deliverKept(stream, now);
  }

  /** From now on streams are numbered, and a client that lost one may come back for the rest. */
  makeResumable(): void {
    this.#resumable = true;
  }

  /** Whether clients may come back for the rest of a stream. */
  get resumable(): boolean {
    return this.#resumable;
  }

  #beginLog(owner: Resumable, requestId?: RequestId): StreamLog {
    return this.#openLog().begin(owner, requestId);
  }

  #openLog(): EventLog {
    if (this.#log !== undefined) return this.#log;
    const earlier = this.#earlierStreams?.();
    const log = earlier === undefined ? new EventLog() : EventLog.restore(earlier, this.#standaloneOwner());
    this.#lostLog = this.#earlierStreams !== undefined && log.streams === 0;
    this.#earlierStreams = undefined;
    return this.#log = log;
  }

  #standaloneOwner(): Resumable {
    return { resume: (stream) => this.#continueOn(stream) };
  }

  /**
   * The client lost the connection of a stream and comes back on another one. No other stream is touched.
   *
   * @returns Why it cannot go on; undefined where it does.
   */
  resume(lastEventId: string, stream: ClientStream, now: number): Failure | undefined {
    this.#questions.clientHeard();
    const found = this.#openLog().after(lastEventId);
    if (found.kind === "unknown") return { code: "eventUnknown" };
    if (found.kind === "gap") return { code: "eventsGone" };
    if (found.kind === "elsewhere") {
      // An SDK's client never comes back without the id, so refusing it would leave it without a stream for good.
      const isStandalone = found.requestId === undefined;
      if (isStandalone && this.#lostLog && !this.hasStandalone) return void this.openStream(stream, now);
      return this.#interrupted(found.requestId, stream);
    }
    stream.watch(this);
    const { owner, missed } = found;
    if (owner !== undefined || missed.length > 0) stream.replay(found.log, missed);
    // What it belongs to is over, and so is this.
    if (owner === undefined) stream.close();
    else owner.resume(stream);
    // No standalone stream may ever come: the client's next one takes what was kept.
    if (this.#standalone === stream || !this.hasStandalone) this.#deliverKept(stream, now);
    return undefined;
  }

  /**
   * The log that knew a stream is gone. If it was a request's, then so is the request, and whoever waits for its answer
   * is told; a client that made up the id gets an error for a request that it made up. If it was the standalone one, all
   * that was said on it went with its server, and it begins anew, unless there is one or no log of the session was lost.
   */
  #interrupted(requestId: RequestId | undefined, stream: ClientStream): Failure | undefined {
    if (requestId === undefined || this.#exchanges.has(requestId)) return { code: "eventsGone" };
    stream.watch(this);
    stream.record(() => this.#beginLog(NOBODY, requestId));
    stream.send(rpcErrorText({ code: "interrupted" }, requestId));
    stream.close();
    return undefined;
  }

  /** The standalone stream goes on on another connection. */
  #continueOn(stream: ClientStream): void {
    const before = this.#standalone;
    this.#standalone = stream;
    if (before === undefined) return;
    this.#questions.moved(before, stream);
    before.drop();
  }

  #deliverKept(stream: ClientStream, now: number): void {
    if (!stream.open) return;
    for (const kept of this.#takeBacklog()) {
      stream.send(kept.text);
      if (kept.questionId !== undefined) this.#questions.delivered(kept.questionId, stream, now);
    }
  }

  /** The server answers. Answers to what was cancelled or timed out are dropped. */
  serverAnswered(message: ResponseMessage, now: number): void {
    const exchange = message.id === null ? undefined : this.#exchanges.take(message.id);
    if (exchange === undefined) {
      log.debug("Session {handle}: dropped an answer to a request that is not in flight", {
        handle: this.#handle,
      });
      return;
    }
    this.#lastUsed = now;
    if (exchange.standing !== undefined && message.error === undefined) {
      (this.#standing ??= new Standing()).note(exchange.standing);
    }
    exchange.reply.answer(message.text);
  }

  /** The server asks the client. */
  serverAsked(message: RequestMessage, now: number): void {
    if (this.#questions.has(message.id)) {
      log.warn("Session {handle}: the server used the id of a request that is in flight, {id}; dropped", {
        handle: this.#handle,
        id: JSON.stringify(message.id),
      });
      return;
    }
    if (this.#questions.size >= MAX_QUESTIONS) {
      // One that does not read would only have the errors pile up as well.
      if (this.#port.isBusy(this.#owner)) return;
      const detail = `${MAX_QUESTIONS} requests wait for it already`;
      return this.#send(rpcErrorText({ code: "clientSilent", detail }, message.id));
    }
    this.#questions.ask(message.id, message.method, now);
    const stream = this.#streamFor(message);
    if (stream === undefined) return this.#keep(message.text, message.id, now);
    stream.send(message.text);
    this.#questions.delivered(message.id, stream, now);
  }

  /** The server tells. */
  serverTold(message: NotificationMessage, now: number): void {
    if (message.method === "notifications/cancelled") return this.#serverCancelled(message, now);
    if (message.method === "notifications/progress") this.#onProgress(message, now);
    const stream = this.#streamFor(message);
    if (stream !== undefined) stream.send(message.text);
    else if (message.method !== "notifications/progress") this.#keep(message.text, undefined, now);
  }

  /**
   * Does what is due: turns slow replies into streams, answers for a server that takes too long, and for a client
   * that does.
   *
   * @returns When this wants to be called next; Infinity when nothing waits.
   */
  onTime(now: number): number {
    let next = Infinity;
    for (const exchange of this.#exchanges) {
      const leftMs = this.#leftMs(exchange, now);
      if (leftMs <= 0) {
        this.#timeOut(exchange, now);
        continue;
      }
      next = Math.min(next, now + leftMs);
      if (exchange.slow) continue;
      const slowAt = exchange.sentAt + this.#limits.sseAfterMs;
      if (now >= slowAt) {
        exchange.slow = true;
        exchange.reply.stream();
      } else {
        next = Math.min(next, slowAt);
      }
    }
    for (const question of this.#questions) next = Math.min(next, this.#onQuestionTime(question, now));
    return next;
  }

  /** The server is gone, and another may take its place: what was in flight fails, and nobody waits for the client. */
  lostServer(failure: Failure, now: number): void {
    for (const { id } of this.#questions) this.#backlog?.forget(id);
    this.#questions.clear();
    const exchanges = this.#exchanges.takeAll();
    if (exchanges.length > 0) this.#lastUsed = now;
    for (const { reply } of exchanges) reply.fail(failure);
  }

  /**
   * The gateway goes and the session stays: what was in flight fails, and the connections of streams are ended.
   *
   * @returns What went out on streams that their client may come back for, and what waits for one; undefined where there
   * never was one.
   */
  suspend(failure: Failure): string | undefined {
    for (const { reply } of this.#exchanges.takeAll()) reply.fail(failure);
    const waiting = this.#backlog?.notifications() ?? [];
    // Where no stream came since the last run, what it left is left again, and behind it what waits.
    if (waiting.length > 0) this.#openLog();
    const streams = this.#log?.export(waiting) ?? this.#earlierStreams?.();
    this.#standalone?.drop();
    this.#standalone = undefined;
    this.close(failure);
    return streams;
  }

  /** Answers all that is in flight with a failure, closes all streams and forgets everything. Idempotent. */
  close(failure: Failure): void {
    const exchanges = this.#exchanges.takeAll();
    const standalone = this.#standalone;
    this.#questions.clear();
    this.#backlog = undefined;
    this.#standalone = undefined;
    this.#log = undefined;
    for (const { reply } of exchanges) reply.fail(failure);
    standalone?.close();
  }

  #send(text: string): void {
    this.#port.send(this.#owner, text);
  }

  /** `initialize` cannot be taken back (the specification forbids it). */
  #cancel(requestId: unknown): void {
    if (typeof requestId !== "string" && typeof requestId !== "number") return;
    if (this.#exchanges.get(requestId)?.method === "initialize") return;
    this.#exchanges.take(requestId)?.reply.fail({ code: "requestCancelled" });
  }

  /** The server takes back a question: it waits no longer, and a client that saw it is told. */
  #serverCancelled(message: NotificationMessage, now: number): void {
    const id = message.params?.requestId;
    if (typeof id !== "string" && typeof id !== "number") return;
    const stream = this.#questions.get(id)?.stream;
    if (!this.#questions.remove(id, now)) return;
    this.#backlog?.forget(id);
    if (stream !== undefined && isHeld(stream)) stream.send(message.text);
  }

  /** See the table at the top. */
  #streamFor(message: RequestMessage | NotificationMessage): ClientStream | undefined {
    const parent = this.#exchanges.parentOf(message.method, message.params);
    const isProgress = message.method === "notifications/progress";
    if (parent !== undefined) {
      const { reply } = parent;
      // What is reported while its client has lost the connection stays in order: it follows on the same stream.
      if (isHeld(reply) || (isProgress && reply.resumable)) return reply;
    }
    const standalone = this.#standalone?.open ? this.#standalone : undefined;
    // Progress of a request that is over (a task's may outlive it) concerns no other request.
    if (isProgress) return standalone;
    return this.#exchanges.newestOpen()?.reply ?? standalone;
  }

  #takeBacklog(): KeptMessage[] {
    const kept = this.#backlog?.takeAll() ?? [];
    this.#backlog = undefined;
    return kept;
  }

  #keep(text: string, questionId: RequestMessage["id"] | undefined, now: number): void {
    for (const dropped of (this.#backlog ??= new Backlog()).keep({ text, questionId })) {
      log.debug("Session {handle}: dropped a message that no stream took", { handle: this.#handle });
      if (dropped.questionId !== undefined) this.#giveUp(dropped.questionId, "it has no stream open", now);
    }
  }

  /** A request whose client asked for progress has its time-out anew with each report. */
  #onProgress({ method, params }: NotificationMessage, now: number): void {
    const exchange = this.#exchanges.parentOf(method, params);
    if (exchange === undefined) return;
    exchange.freshAt = now;
    exchange.waitedMsBefore = this.#questions.waitedMs(now);
  }

  /**
   * How long the server still has for a request. Time that it waited for the client is not its own: that is worth one
   * more time-out at most, or a server that asks without end would keep a request for ever.
   */
  #leftMs({ sentAt, freshAt, waitedMsBefore, timeoutMs }: Exchange, now: number): number {
    const waitedMs = Math.min(this.#questions.waitedMs(now) - waitedMsBefore, timeoutMs);
    return Math.min(freshAt + waitedMs + timeoutMs, sentAt + MAX_TIMEOUTS * timeoutMs) - now;
  }

  #timeOut(exchange: Exchange, now: number): void {
    this.#exchanges.take(exchange.id);
    this.#lastUsed = now;
    const { method, sentAt, freshAt, timeoutMs } = exchange;
    const isCapped = now - sentAt >= MAX_TIMEOUTS * timeoutMs;
    const since = freshAt > sentAt && !isCapped ? " since its last progress" : "";
    const detail = `${method} took more than ${isCapped ? MAX_TIMEOUTS * timeoutMs : timeoutMs} ms${since}`;
    this.#send(
      encodeNotification("notifications/cancelled", { requestId: exchange.id, reason: detail }),
    );
    exchange.reply.fail({ code: "requestTimeout", detail });
  }

  /** Gives up on a question that is due, and returns when it is due otherwise. */
  #onQuestionTime(question: Question, now: number): number {
    const { clientReplyTimeoutMs, requestTimeoutMs } = this.#limits;
    // A person may be thinking about it, on behalf of a request that is in flight. That has a bound too.
    const patient = this.#exchanges.size > 0 && question.stream !== undefined &&
      isHeld(question.stream);
    const limitMs = patient ? Math.max(clientReplyTimeoutMs, requestTimeoutMs) : clientReplyTimeoutMs;
    const dueAt = question.since + limitMs;
    // Patience ends with the stream or the request, which nobody announces: look again now and then.
    if (now < dueAt) return Math.min(dueAt, now + clientReplyTimeoutMs);
    const delivered = question.stream !== undefined;
    this.#backlog?.forget(question.id);
    this.#giveUp(question.id, delivered ? `within ${limitMs} ms` : "it has no stream open", now);
    if (delivered) this.#questions.clientFellSilent();
    return Infinity;
  }

  /** Answers the server in place of the client. */
  #giveUp(questionId: RequestMessage["id"], detail: string, now: number): void {
    if (!this.#questions.remove(questionId, now)) return;
    this.#send(rpcErrorText({ code: "clientSilent", detail }, questionId));
  }
}

/** Whether the client is connected, or expected back. */
function isHeld(stream: ClientStream): boolean {
  return stream.open || stream.away;
}
