/**
 * An open SSE response: messages in, events out, with a comment now and then while nothing is said.
 *
 * @module
 */
import type { ClientStream } from "../actors/client.ts";
import type { Cancel, Clock } from "../clock.ts";
import { SSE_KEEP_ALIVE, sseMessage } from "../protocol/sse.ts";

/** Silence after which a comment goes out: nginx gives up after 60 s, Node's fetch after 300 s. */
export const KEEP_ALIVE_MS = 15_000;

const encoder = new TextEncoder();

/** See the module's documentation. Its `body` is read by the HTTP server. */
export class SseStream implements ClientStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #clock: Clock;
  /** Events that the client has not taken; the HTTP server pulls one batch after the other. */
  #waiting: string[] = [];
  /** Set while the HTTP server waits for something to send. */
  #pulled: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Resolves the pull that waits. */
  #onFed: (() => void) | undefined;
  /** `closing` still has events to deliver; `closed` is over, or the client is gone. */
  #state: "open" | "closing" | "closed" = "open";
  /** When the last event was written, in ms of the clock. */
  #wroteAt: number;
  #cancelKeepAlive: Cancel;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.body = new ReadableStream<Uint8Array>({
      pull: (controller) => this.#onPull(controller),
      cancel: () => this.#onGone(),
    }, { highWaterMark: 0 });
    this.#wroteAt = clock.now();
    this.#cancelKeepAlive = clock.after(KEEP_ALIVE_MS, this.#onSilence);
  }

  get open(): boolean {
    return this.#state === "open";
  }

  send(text: string): void {
    if (this.#state !== "open") return;
    this.#write(sseMessage(text));
  }

  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#cancelKeepAlive();
    this.#feed();
  }

  /** Gives up a stream that never became a response. */
  discard(): void {
    this.#onGone();
  }

  #write(event: string): void {
    this.#waiting.push(event);
    this.#wroteAt = this.#clock.now();
    this.#feed();
  }

  #onPull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> | undefined {
    this.#pulled = controller;
    this.#feed();
    if (this.#pulled === undefined) return undefined;
    return new Promise((resolve) => this.#onFed = resolve);
  }

  /** Gives a waiting pull what there is. */
  #feed(): void {
    const controller = this.#pulled;
    if (controller === undefined) return;
    if (this.#waiting.length > 0) {
      controller.enqueue(encoder.encode(this.#waiting.join("")));
      this.#waiting = [];
    } else if (this.#state === "closing") {
      this.#state = "closed";
      controller.close();
    } else {
      return;
    }
    this.#pulled = undefined;
    this.#onFed?.();
    this.#onFed = undefined;
  }

  /** The client hung up. */
  #onGone(): void {
    this.#state = "closed";
    this.#cancelKeepAlive();
    this.#waiting = [];
    this.#pulled = undefined;
    this.#onFed?.();
    this.#onFed = undefined;
  }

  /** The timer is re-armed lazily: an event only writes down when it went out. */
  readonly #onSilence = (): void => {
    let silentMs = this.#clock.now() - this.#wroteAt;
    if (silentMs >= KEEP_ALIVE_MS) {
      // What waits already has not been read: one more comment would only add to it.
      if (this.#waiting.length === 0) this.#write(SSE_KEEP_ALIVE);
      silentMs = 0;
    }
    this.#cancelKeepAlive = this.#clock.after(KEEP_ALIVE_MS - silentMs, this.#onSilence);
  };
}
