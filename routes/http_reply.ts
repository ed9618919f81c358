/**
 * The answer to one POSTed message: plain JSON, or a stream of events where something comes before the answer.
 *
 * @module
 */
import type { Reply } from "../actors/client.ts";
import type { Clock } from "../clock.ts";
import { entryOf, type Failure, rpcErrorText } from "../errors.ts";
import type { RequestId } from "../protocol/jsonrpc.ts";
import { SESSION_HEADER } from "../protocol/revisions.ts";
import { SseStream } from "./sse_stream.ts";

/** Headers of every JSON answer. */
export const JSON_HEADERS = { "content-type": "application/json" };

/** Headers of every stream of events. `x-accel-buffering` keeps nginx from holding events back. */
export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

/** See {@link Reply}. `response` resolves as soon as status and headers are settled. */
export class HttpReply implements Reply {
  readonly response: Promise<Response>;
  readonly #resolve: (response: Response) => void;
  readonly #clock: Clock;
  /** The id under which a failure is reported; null where the message has none. */
  readonly #id: RequestId | null;
  #sessionId: string | undefined;
  /** Set once the reply is a stream. */
  #stream: SseStream | undefined;
  /** True once `accept`, `answer` or `fail` was called, or the stream was closed. */
  #complete = false;

  constructor(clock: Clock, id: RequestId | null) {
    this.#clock = clock;
    this.#id = id;
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#resolve = resolve;
  }

  get open(): boolean {
    return !this.#complete && (this.#stream?.open ?? true);
  }

  name(sessionId: string | undefined): void {
    this.#sessionId = sessionId;
  }

  accept(): void {
    if (!this.#settle()) return;
    this.#resolve(new Response(null, { status: 202, headers: this.#named({}) }));
  }

  stream(): void {
    if (this.#complete || this.#stream !== undefined) return;
    this.#stream = new SseStream(this.#clock);
    this.#resolve(new Response(this.#stream.body, { headers: this.#named(SSE_HEADERS) }));
  }

  send(text: string): void {
    if (this.#complete) return;
    this.stream();
    this.#stream?.send(text);
  }

  answer(text: string): void {
    if (!this.#settle()) return;
    if (this.#stream === undefined) {
      this.#resolve(new Response(text, { headers: this.#named(JSON_HEADERS) }));
    } else {
      this.#stream.send(text);
      this.#stream.close();
    }
  }

  fail(failure: Failure): void {
    if (this.#stream !== undefined) return this.answer(rpcErrorText(failure, this.#id));
    if (this.#settle()) this.#resolve(rpcErrorResponse(failure, this.#id));
  }

  close(): void {
    this.fail({ code: "sessionNotFound" });
  }

  /** False when the reply was complete before. */
  #settle(): boolean {
    const first = !this.#complete;
    this.#complete = true;
    return first;
  }

  #named(headers: Record<string, string>): Record<string, string> {
    return this.#sessionId === undefined ? headers : { ...headers, [SESSION_HEADER]: this.#sessionId };
  }
}

/** A failure as the response to a request that was refused before anything was sent. */
export function rpcErrorResponse(failure: Failure, id: RequestId | null): Response {
  const { status, retryAfterS } = entryOf(failure);
  const headers: Record<string, string> = retryAfterS === undefined
    ? JSON_HEADERS
    : { ...JSON_HEADERS, "retry-after": String(retryAfterS) };
  return new Response(rpcErrorText(failure, id), { status, headers });
}
