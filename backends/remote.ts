/**
 * A server elsewhere, reached over HTTP: the contract of `backend.ts` over a session of ours at that server.
 *
 * - What the client sends goes out in order; a message that wants no answer, and `initialize`, is taken before the next
 *   one is sent. Requests do not wait for each other's answers.
 * - A request that fails (a status, a broken connection, an answer that is none) is answered with an error, and nothing
 *   else is touched. Only a first `initialize` that fails ends the backend: its server is not there.
 * - A message that may have been taken is never sent again. `remote/connection.ts` says when one was not.
 *
 * What is said by HTTP, how streams are read and where a request may go is in the other files of `remote/`.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { RemoteServer } from "../config/types.ts";
import { rpcErrorText } from "../errors.ts";
import { logger } from "../log.ts";
import { type Message, parseBatch, parseMessage } from "../protocol/jsonrpc.ts";
import {
  type Backend,
  type BackendEvents,
  type BackendExit,
  type BackendOwner,
  CLOSE_PACE,
  type ClosePace,
  type OpenBackend,
} from "./backend.ts";
import { overlongDetail } from "./exit_detail.ts";
import { MAX_LINE_BYTES } from "./json_lines.ts";
import { Connection } from "./remote/connection.ts";
import { Parcel } from "./remote/parcel.ts";
import { loadWire } from "./remote/transports.ts";
import { connectionError, type UpstreamError } from "./remote/upstream_error.ts";
import { Deadline, Gate, settledOr, Tasks } from "./remote/waiting.ts";
import { type BackendSource, perSessionSource } from "./source.ts";

/** What may wait to be sent, in bytes. A session stops long before; this is for one that does not ask. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
/** Of what is no message, so much is shown. */
const EXCERPT_CHARS = 200;

const log = logger("backend");

/** What a remote backend is made of. */
export interface RemoteOptions {
  readonly server: RemoteServer;
  readonly clock: Clock;
  /** Bytes; the longest message that is taken. */
  readonly maxMessageBytes?: number;
}

/** Where the backends of a remote server come from. They own no process. */
export function remoteSource(options: RemoteOptions): BackendSource {
  return {
    ...perSessionSource(remoteBackend(options)),
    ownsProcess: false,
    startsProcess: false,
    // Loaded before the first session wants it. Where that fails, so does the session.
    start: () => void loadWire(options.server.type).catch(() => {}),
  };
}

/** Opens sessions at one server. */
export function remoteBackend(options: RemoteOptions): OpenBackend {
  return (owner, events) => new RemoteBackend(options, owner, events);
}

class RemoteBackend implements Backend {
  readonly pid = undefined;
  readonly #options: RemoteOptions;
  readonly #owner: BackendOwner;
  readonly #events: BackendEvents;
  readonly #connection: Connection;
  readonly #tasks = new Tasks((error) => log.error("Fault of a remote backend: {error}", { error }));
  readonly #gate = new Gate();
  /** Aborts when nothing is to be done any more but to end the session. */
  readonly #over = new AbortController();
  /** What waits for its turn, in order. */
  readonly #queue: Parcel[] = [];
  #pumping = false;
  #queuedBytes = 0;
  /** What is on its way, or waits for its answer. */
  readonly #underway = new Set<Parcel>();
  #reported = false;
  #closing: Promise<void> | undefined;
  /** How long a close waits for a session that is being opened, and for its end. */
  readonly #patience: Deadline;
  readonly #closed: Deadline;

  constructor(options: RemoteOptions, owner: BackendOwner, events: BackendEvents) {
    const { server, clock, maxMessageBytes: maxBytes = MAX_LINE_BYTES } = options;
    this.#options = options;
    this.#owner = owner;
    this.#events = events;
    this.#patience = new Deadline(clock);
    this.#closed = new Deadline(clock);
    this.#connection = new Connection({
      server,
      clock,
      owner,
      maxBytes,
      gate: this.#gate,
      tasks: this.#tasks,
      over: this.#over.signal,
      events: {
        text: (text, take) => this.#onText(text, take),
        message: (message) => this.#onMessage(message),
        overlong: () =>
          this.#report({ cause: "overlong", detail: overlongDetail(maxBytes).replace("line", "message") }),
        changed: (detail) => this.#report({ cause: "exit", detail }),
      },
    });
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  send(text: string): boolean {
    if (this.#closing !== undefined || this.#over.signal.aborted) return false;
    const message = parseMessage(text);
    // A session sends messages and nothing else.
    if (message.kind === "malformed") return false;
    const parcel = new Parcel(message, ({ bytes }) => this.#queuedBytes -= bytes);
    if (this.#queuedBytes + parcel.bytes > MAX_QUEUED_BYTES) {
      queueMicrotask(() => this.#report({ cause: "exit", detail: "does not take what is sent to it" }));
      return false;
    }
    this.#queuedBytes += parcel.bytes;
    if (message.kind === "notification" && message.method === "notifications/cancelled") {
      this.#cancel(message.params?.requestId);
    }
    this.#queue.push(parcel);
    if (!this.#pumping) this.#tasks.run(() => this.#pump());
    return true;
  }

  pause(): void {
    if (this.#closing === undefined) this.#gate.shut();
  }

  resume(): void {
    this.#gate.open();
  }

  close({ termAfterMs, killAfterMs }: ClosePace = CLOSE_PACE): Promise<void> {
    this.#patience.within(termAfterMs);
    this.#closed.within(killAfterMs);
    return this.#closing ??= this.#close();
  }

  /** Sends what waits, one after the other. */
  async #pump(): Promise<void> {
    this.#pumping = true;
    // Nothing is reported from inside `send`.
    await Promise.resolve();
    for (let next; (next = this.#queue.shift()) !== undefined;) {
      const parcel = next;
      await this.#connection.steady();
      const delivered = Promise.withResolvers<void>();
      this.#tasks.run(() => this.#deliver(parcel).finally(delivered.resolve));
      // A server may keep the stream of an answer open.
      if (parcel.kind === "initialize") await Promise.race([parcel.whenAnswered, delivered.promise]);
      else if (parcel.kind === "tell") await parcel.whenTaken;
    }
    this.#pumping = false;
  }

  /** Sends one, and sees to it that it is answered. */
  async #deliver(parcel: Parcel): Promise<void> {
    this.#underway.add(parcel);
    if (this.#over.signal.aborted) parcel.abort();
    try {
      await this.#connection.post(parcel);
    } catch (error) {
      this.#onFailure(parcel, connectionError(error));
    } finally {
      this.#underway.delete(parcel);
      parcel.end();
    }
  }

  #onText(text: string, take: (message: Message) => void): void {
    const message = parseMessage(text);
    if (message.kind !== "malformed") return take(message);
    // Revision 2025-03-26 lets a server answer in batches; the client gets each message by itself.
    const elements = message.problem === "batch" ? parseBatch(text) : [];
    const messages = elements.filter((element) => element.kind !== "malformed");
    for (const element of messages) take(element);
    if (messages.length > 0 || this.#reported) return;
    this.#events.garbage(text.slice(0, EXCERPT_CHARS).toWellFormed());
  }

  #onMessage(message: Message): void {
    if (this.#reported || this.#over.signal.aborted) return;
    if (message.kind === "response" && message.id !== null) {
      const parcel = this.#find(message.id);
      if (parcel !== undefined) this.#connection.onAnswered(parcel, message);
      parcel?.answer();
    }
    this.#events.message(message);
  }

  /** The newest by that id: one that was cancelled may still be under way when its client uses its id again. */
  #find(id: unknown): Parcel | undefined {
    return Array.from(this.#underway).findLast((parcel) => parcel.id !== undefined && parcel.id === id);
  }

  #cancel(requestId: unknown): void {
    const { clock, server } = this.#options;
    const parcel = this.#find(requestId);
    if (parcel?.kind === "request") parcel.cancel(clock, server.readTimeoutMs);
  }

  #onFailure(parcel: Parcel, error: UpstreamError): void {
    if (this.#reported || this.#over.signal.aborted || parcel.cancelled || parcel.answered) return;
    if (parcel.id === undefined) {
      return log.warn("Session {handle}: server {serverId} did not take {what}: it {why}", {
        handle: this.#owner.session,
        serverId: this.#owner.serverId,
        what: parcel.method ?? "an answer",
        why: error.message,
      });
    }
    const own = error.answer === undefined ? undefined : parseMessage(error.answer);
    const isOwn = own?.kind === "response" && own.id === parcel.id;
    if (parcel.kind === "initialize" && !error.isRefusal && !isOwn) {
      return this.#report({ cause: "spawn", detail: error.message });
    }
    parcel.answer();
    const answer = isOwn ? own : parseMessage(rpcErrorText(error.failure, parcel.id));
    if (answer.kind !== "malformed") this.#events.message(answer);
  }

  #report(exit: BackendExit): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#letGo();
    this.#events.exit(exit);
  }

  /** Nothing is sent or read any more. */
  #letGo(): void {
    this.#over.abort();
    this.#gate.open();
    for (const parcel of this.#queue.splice(0)) parcel.end();
    for (const parcel of this.#underway) parcel.abort();
    this.#connection.stop();
  }

  async #close(): Promise<void> {
    this.#gate.open();
    // A session that is just being opened could not be ended: its id is not known.
    const opening = Array.from(this.#underway).find(({ kind }) => kind === "initialize");
    const opened = Promise.all([opening?.whenTaken, this.#connection.steady()]);
    await settledOr(opened, this.#patience.signal);
    this.#letGo();
    // What is under way was let go of, and may leave something to be ended.
    await this.#tasks.ended();
    await this.#connection.terminate(this.#closed.signal);
    await this.#connection.close();
    this.#patience.end();
    this.#closed.end();
    // A failed start may still be on its way to be told; else this is the end.
    await Promise.resolve();
    this.#report({ cause: "exit", detail: "was closed" });
  }
}
