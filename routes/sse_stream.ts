/**
 * An open SSE response: messages in, events out, with a comment now and then while nothing is said.
 *
 * Where the gateway limits how long a response may take (`maxMs` of its policy), a stream that can be resumed is ended
 * in time, before something in between cuts it: its client is told when to come back, and the stream goes on on another
 * connection. One that cannot be resumed is never ended for that.
 *
 * @module
 */
import type { ClientStream, LoggedEvent, StreamLog, StreamWatch } from "../actors/client.ts";
import type { Cancel } from "../clock.ts";
import { SSE_KEEP_ALIVE, sseMessage, ssePriming, sseRetry } from "../protocol/sse.ts";
import { Outflow, type StreamPolicy } from "./outflow.ts";

/** Silence after which a comment goes out: nginx gives up after 60 s, Node's fetch after 300 s. */
export const KEEP_ALIVE_MS = 15_000;
/** After how long a client that lost its connection is asked to come back, in ms. */
export const RETRY_MS = 1_000;

/** See the module's documentation. Its `body` is read by the HTTP server. */
export class SseStream implements ClientStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #policy: StreamPolicy;
  readonly #outflow: Outflow;
  /** When the last event was written, in ms of the clock. */
  #wroteAt: number;
  /** When its connection is ended on purpose; Infinity for never. */
  #endAt = Infinity;
  #isAway = false;
  #cancelTimer: Cancel;
  /** Numbers and keeps what is sent; undefined where nobody can come back. */
  #log: StreamLog | undefined;

  /** @param onGone Called when it was discarded or cut, or the reader hung up; maybe more than once. */
  constructor(policy: StreamPolicy, onGone: () => void = () => {}) {
    this.#policy = policy;
    this.#outflow = new Outflow(policy, () => {
      this.#cancelTimer();
      this.#isAway = false;
      onGone();
    });
    this.body = this.#outflow.body;
    this.#wroteAt = policy.clock.now();
    this.#cancelTimer = policy.clock.after(KEEP_ALIVE_MS, this.#onTime);
  }

  get open(): boolean {
    return this.#outflow.open;
  }

  watch(watch: StreamWatch): void {
    this.#outflow.watch(watch);
  }

  record(begin: () => StreamLog): void {
    this.#log = begin();
    this.write(ssePriming(this.#log.primingId, { retryMs: RETRY_MS }));
    this.#limit();
  }

  get resumable(): boolean {
    return this.#log !== undefined;
  }

  get away(): boolean {
    return this.#isAway;
  }

  replay(log: StreamLog, missed: readonly LoggedEvent[]): void {
    this.#log = log;
    for (const { id, text } of missed) this.write(sseMessage(text, id));
    // One that gets no id has none to come back with.
    if (missed.length === 0) this.write(ssePriming(log.lastId, { retryMs: RETRY_MS }));
    this.#limit();
  }

  send(text: string): void {
    this.write(sseMessage(text, this.#log?.add(text)));
  }

  close(): void {
    this.#cancelTimer();
    this.#isAway = false;
    this.#log?.finish();
    this.#outflow.close();
  }

  drop(): void {
    this.cut();
  }

  /** Gives up a stream that never became a response. */
  discard(): void {
    this.#outflow.discard();
  }

  /** Whether it was closed, and its reader has everything. */
  get done(): boolean {
    return !this.open && this.#outflow.waitingBytes === 0;
  }

  /** Ends it at once: its reader does not keep up. */
  cut(): void {
    this.#outflow.cut();
  }

  /** Sends an event that is formatted already. */
  write(event: string): void {
    this.#outflow.write(event);
    this.#wroteAt = this.#policy.clock.now();
  }

  /** From now on its connection is open for so long at most. */
  #limit(): void {
    const { clock, maxMs } = this.#policy;
    if (maxMs === 0 || !this.open) return;
    this.#endAt = clock.now() + maxMs;
    this.#cancelTimer();
    this.#arm();
  }

  /** Re-armed lazily: an event only writes down when it went out. */
  #arm(): void {
    const { clock } = this.#policy;
    const dueAt = Math.min(this.#wroteAt + KEEP_ALIVE_MS, this.#endAt);
    this.#cancelTimer = clock.after(dueAt - clock.now(), this.#onTime);
  }

  readonly #onTime = (): void => {
    const now = this.#policy.clock.now();
    if (now >= this.#endAt) return this.#endConnection();
    if (now - this.#wroteAt >= KEEP_ALIVE_MS) {
      // What waits already has not been read: one more comment would only add to it.
      if (this.#outflow.waitingBytes === 0) this.#outflow.write(SSE_KEEP_ALIVE);
      this.#wroteAt = now;
    }
    this.#arm();
  };

  /** The connection is over behind what waits for its reader, the stream is not. */
  #endConnection(): void {
    this.write(sseRetry(RETRY_MS));
    this.#outflow.close();
    this.#isAway = true;
  }
}
