/**
 * One message on its way to a server elsewhere.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Cancel, Clock } from "../../clock.ts";
import type { Message, RequestId } from "../../protocol/jsonrpc.ts";
import type { Post } from "./wire.ts";

/** See the module's documentation. */
export class Parcel implements Post {
  readonly message: Message;
  readonly text: string;
  readonly kind: Post["kind"];
  /** Of a request; undefined where no answer is wanted. */
  readonly id: RequestId | undefined;
  readonly method: string | undefined;
  /** Its length in bytes, as it counts while the server has not taken it. */
  readonly bytes: number;
  readonly #abort = new AbortController();
  readonly #answered = Promise.withResolvers<void>();
  readonly #taken = Promise.withResolvers<void>();
  readonly #onTaken: ((parcel: Parcel) => void) | undefined;
  #isAnswered = false;
  #isTaken = false;
  #cancelled = false;
  #cancelAbort: Cancel = () => {};

  /** @param onTaken Called once, when the server took it or it was given up. */
  constructor(message: Message, onTaken?: (parcel: Parcel) => void) {
    const { text } = message;
    this.message = message;
    this.text = text;
    this.bytes = Buffer.byteLength(text);
    this.id = message.kind === "request" ? message.id : undefined;
    this.method = message.kind === "response" ? undefined : message.method;
    this.kind = message.kind !== "request"
      ? "tell"
      : message.method === "initialize"
      ? "initialize"
      : "request";
    this.#onTaken = onTaken;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get answered(): boolean {
    return this.#isAnswered;
  }

  get whenAnswered(): Promise<void> {
    return this.#answered.promise;
  }

  /** Whether its client waits no longer, so that nothing is told it any more. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Resolves when the server took it, or it was given up. */
  get whenTaken(): Promise<void> {
    return this.#taken.promise;
  }

  answer(): void {
    this.#isAnswered = true;
    this.#answered.resolve();
  }

  taken(): void {
    if (this.#isTaken) return;
    this.#isTaken = true;
    this.#onTaken?.(this);
    this.#taken.resolve();
  }

  /** Its client waits no longer. A server may end the stream of such a request, and need not: it gets so long, in ms. */
  cancel(clock: Clock, withinMs: number): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#cancelAbort = clock.after(withinMs, () => this.abort());
  }

  /** Nothing more is to come of it. */
  abort(): void {
    this.#abort.abort();
  }

  /** It is over, whatever came of it. */
  end(): void {
    this.#cancelAbort();
    this.taken();
  }
}
