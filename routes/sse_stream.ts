/**
 * An open SSE response: messages in, events out, with a comment now and then while nothing is said.
 *
 * @module
 */
import type { ClientStream, LoggedEvent, StreamLog, StreamWatch } from "../actors/client.ts";
import type { Cancel } from "../clock.ts";
import { SSE_KEEP_ALIVE, sseMessage, ssePriming } from "../protocol/sse.ts";
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
  #cancelKeepAlive: Cancel;
  /** Numbers and keeps what is sent; undefined where nobody can come back. */
  #log: StreamLog | undefined;

  /** @param onGone Called when it was discarded or cut, or the reader hung up; maybe more than once. */
  constructor(policy: StreamPolicy, onGone: () => void = () => {}) {
    this.#policy = policy;
    this.#outflow = new Outflow(policy, () => {
      this.#cancelKeepAlive();
      onGone();
    });
    this.body = this.#outflow.body;
    this.#wroteAt = policy.clock.now();
    this.#cancelKeepAlive = policy.clock.after(KEEP_ALIVE_MS, this.#onSilence);
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
  }

  get resumable(): boolean {
    return this.#log !== undefined;
  }

  replay(log: StreamLog, missed: readonly LoggedEvent[]): void {
    this.#log = log;
    for (const { id, text } of missed) this.write(sseMessage(text, id));
  }

  send(text: string): void {
    this.write(sseMessage(text, this.#log?.add(text)));
  }

  close(): void {
    this.#cancelKeepAlive();
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

  /** Ends it at once: its reader does not keep up. */
  cut(): void {
    this.#outflow.cut();
  }

  /** Sends an event that is formatted already. */
  write(event: string): void {
    this.#outflow.write(event);
    this.#wroteAt = this.#policy.clock.now();
  }

  /** The timer is re-armed lazily: an event only writes down when it went out. */
  readonly #onSilence = (): void => {
    const { clock } = this.#policy;
    let silentMs = clock.now() - this.#wroteAt;
    if (silentMs >= KEEP_ALIVE_MS) {
      // What waits already has not been read: one more comment would only add to it.
      if (this.#outflow.waitingBytes === 0) this.write(SSE_KEEP_ALIVE);
      silentMs = 0;
    }
    this.#cancelKeepAlive = clock.after(KEEP_ALIVE_MS - silentMs, this.#onSilence);
  };
}
