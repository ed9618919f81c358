/**
 * Bytes on their way to one reader, with a bound on what waits for it.
 *
 * The HTTP server pulls: as long as the reader takes what it gets, nothing waits here. A reader that stops is
 * noticed once the sockets between are full (about 4 MiB on Linux), and from then on texts wait in this object.
 * Over the bound the outflow is *full* and says so to its {@link StreamWatch}, who keeps more from coming; it has
 * *room* again at half the bound. If nothing is read for `stallMs` while it is full, or while it has something to
 * deliver after its end, it is *cut*: what waits is dropped and the response ends where it is.
 *
 * So a frozen reader costs at most the bound and what its sender had on the way when it was told to stop. A text
 * that is larger than the bound passes where nothing else waits, and makes the outflow full by itself.
 *
 * Reading shows only as the sockets between empty, which happens in steps of up to a third of their buffers: a
 * reader slower than about 50 KB/s that has more than the bound before it counts as frozen with the default of 30 s.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { StreamWatch } from "../actors/client.ts";
import type { Cancel, Clock } from "../clock.ts";

/** What a pull gets at most, in bytes: the HTTP server holds a few of them for each response. */
const PULL_BYTES = 64 * 1024;
const NOTHING = new Uint8Array(0);

const encoder = new TextEncoder();

/** What all streams of a gateway have in common. */
export interface StreamPolicy {
  readonly clock: Clock;
  /** Bytes that may wait for one reader. */
  readonly maxBufferBytes: number;
  /** How long a reader of a full stream may read nothing, in ms. */
  readonly stallMs: number;
  /** After how long the connection of a stream that can be resumed is ended on purpose, in ms; 0 for never. */
  readonly maxMs: number;
  /** How many streams were cut so far. Counted by the streams, read by whoever reports it. */
  cuts: number;
}

/** The bounds where nobody sets others. */
export const STREAM_DEFAULTS = { maxBufferBytes: 4 * 1024 * 1024, stallMs: 30_000, maxMs: 0 } as const;

/** See the module's documentation. Its `body` is read by the HTTP server. */
export class Outflow {
  readonly body: ReadableStream<Uint8Array>;
  readonly #policy: StreamPolicy;
  readonly #onGone: () => void;
  /** Texts that wait, oldest first, and their size in bytes. */
  #texts: string[] = [];
  #textBytes = 0;
  /** The beginning of what waits, encoded already. */
  #bytes: Uint8Array = NOTHING;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  /** Resolves the pull that waits for something to send; undefined where none waits. */
  #onFed: (() => void) | undefined;
  /** `closing` still has something to deliver; `closed` is over, or the reader is gone. */
  #state: "open" | "closing" | "closed" = "open";
  /** Who is told; set by the session that sends. */
  #watch: StreamWatch | undefined;
  #full = false;
  /** When the reader last took something, or something began to wait for it; in ms of the clock. */
  #readAt = 0;
  /** The timer that looks for a stall; set while there can be one. */
  #cancelStall: Cancel | undefined;

  /** @param onGone Called when it was discarded or cut, or the reader hung up; maybe more than once. */
  constructor(policy: StreamPolicy, onGone: () => void = () => {}) {
    this.#policy = policy;
    this.#onGone = onGone;
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      pull: () => this.#onPull(),
      cancel: () => this.discard(),
    }, { highWaterMark: 0 });
  }

  /** False once it was closed, cut, or left by its reader. */
  get open(): boolean {
    return this.#state === "open";
  }

  /** Bytes that wait for the reader. */
  get waitingBytes(): number {
    return this.#textBytes + this.#bytes.byteLength;
  }

  /** See {@link StreamWatch}. There is one; a later call replaces it. */
  watch(watch: StreamWatch): void {
    this.#watch = watch;
  }

  /** Sends a text. Does nothing unless it is open. */
  write(text: string): void {
    if (this.#state !== "open") return;
    if (this.#onFed !== undefined) {
      // The reader waits, so nothing else does.
      this.#bytes = encoder.encode(text);
      this.#feed();
    } else {
      if (this.waitingBytes === 0) this.#readAt = this.#policy.clock.now();
      this.#texts.push(text);
      this.#textBytes += Buffer.byteLength(text);
    }
    this.#weigh();
  }

  /** Ends it behind what waits. Idempotent. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#feed();
    this.#weigh();
  }

  /** Gives it up: the reader hung up, or it never became a response. Idempotent. */
  discard(): void {
    this.#state = "closed";
    this.#texts = [];
    this.#textBytes = 0;
    this.#bytes = NOTHING;
    this.#onFed?.();
    this.#onFed = undefined;
    this.#weigh();
    this.#onGone();
  }

  /** Gives up a reader that does not keep up: what waits is dropped and the response ends where it is. Idempotent. */
  cut(): void {
    if (this.#state === "closed") return;
    // Not an error of the body: the runtime would print its stack. An event that is half out is void by the
    // format, and of a body with a length the HTTP server notices that it is short.
    this.#controller.close();
    this.discard();
  }

  #onPull(): Promise<void> | undefined {
    this.#readAt = this.#policy.clock.now();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onFed = resolve;
    this.#feed();
    this.#weigh();
    return promise;
  }

  /** Gives a waiting pull what there is. */
  #feed(): void {
    const fed = this.#onFed;
    if (fed === undefined) return;
    if (this.#bytes.byteLength === 0 && this.#texts.length > 0) this.#encode();
    const bytes = this.#bytes;
    if (bytes.byteLength === 0 && this.#state !== "closing") return;
    // All is in order before the reader gets it: the HTTP server may find only then that the client is gone, and
    // cancels within this very call.
    this.#onFed = undefined;
    if (bytes.byteLength > 0) {
      this.#bytes = bytes.byteLength > PULL_BYTES ? bytes.subarray(PULL_BYTES) : NOTHING;
      this.#controller.enqueue(bytes.subarray(0, PULL_BYTES));
    } else {
      this.#state = "closed";
      this.#controller.close();
    }
    fed();
  }

  /** Encodes texts for one pull, at least one of them. */
  #encode(): void {
    let count = 0;
    for (let chars = 0; count < this.#texts.length && chars < PULL_BYTES; count++) {
      chars += this.#texts[count]!.length;
    }
    this.#bytes = encoder.encode(this.#texts.splice(0, count).join(""));
    this.#textBytes -= this.#bytes.byteLength;
  }

  /** Tells the watch where fullness changed, and sets the timer while a stall would count. */
  #weigh(): void {
    const { maxBufferBytes, stallMs, clock } = this.#policy;
    const bytes = this.waitingBytes;
    if (this.#full ? bytes <= maxBufferBytes / 2 : bytes > maxBufferBytes) {
      this.#full = !this.#full;
      if (this.#full) this.#watch?.full();
      else this.#watch?.room();
    }
    if (!this.#full && !(this.#state === "closing" && bytes > 0)) {
      this.#cancelStall?.();
      this.#cancelStall = undefined;
    } else if (this.#cancelStall === undefined) {
      const leftMs = this.#readAt + stallMs - clock.now();
      this.#cancelStall = clock.after(leftMs, this.#onStall);
    }
  }

  /** The timer is re-armed lazily: a read only writes down when it was. */
  readonly #onStall = (): void => {
    this.#cancelStall = undefined;
    const stalledMs = this.#policy.clock.now() - this.#readAt;
    if (stalledMs < this.#policy.stallMs) return this.#weigh();
    const bytes = this.waitingBytes;
    this.#policy.cuts++;
    this.cut();
    this.#watch?.cut({ bytes, stalledMs });
  };
}
