/**
 * The answer to one POSTed message: plain JSON, or a stream of events where something comes before the answer.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { ClientStream, LoggedEvent, Reply, StreamLog, StreamWatch } from "../actors/client.ts";
import { entryOf, type Failure, rpcErrorText } from "../errors.ts";
import type { RequestId } from "../protocol/jsonrpc.ts";
import { SESSION_HEADER } from "../protocol/revisions.ts";
import { Outflow, type StreamPolicy } from "./outflow.ts";
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
  readonly #policy: StreamPolicy;
  /** The id under which a failure is reported; null where the message has none. */
  readonly #id: RequestId | null;
  readonly #signal: (() => AbortSignal) | undefined;
  #sessionId: string | undefined;
  #watch: StreamWatch | undefined;
  /** Begins the log of the stream; undefined where nobody can come back. */
  #begin: (() => StreamLog) | undefined;
  /** Set once the reply is a stream. It may be another connection's than the one that the message came by. */
  #stream: ClientStream | undefined;
  /** True once `accept`, `answer` or `fail` was called, or the stream was closed. */
  #complete = false;

  /** @param signal Aborts when the client goes away; asked for only where somebody wants to know. */
  constructor(policy: StreamPolicy, id: RequestId | null, signal?: () => AbortSignal) {
    this.#policy = policy;
    this.#id = id;
    this.#signal = signal;
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

  watch(watch: StreamWatch): void {
    this.#watch = watch;
    this.#stream?.watch(watch);
  }

  record(begin: () => StreamLog): void {
    this.#begin = begin;
  }

  get resumable(): boolean {
    return this.#stream?.resumable === true;
  }

  get away(): boolean {
    return !this.#complete && this.#stream?.away === true;
  }

  replay(log: StreamLog, missed: readonly LoggedEvent[]): void {
    this.#stream?.replay(log, missed);
  }

  /** The client came back on another connection: the rest goes out there. */
  resume(stream: ClientStream): void {
    this.#stream?.drop();
    this.#stream = stream;
  }

  drop(): void {
    this.#stream?.drop();
  }

  whenGone(gone: () => void): void {
    this.#signal?.().addEventListener("abort", gone, { once: true });
  }

  accept(): void {
    if (!this.#settle()) return;
    this.#resolve(new Response(null, { status: 202, headers: this.#named({}) }));
  }

  stream(): void {
    if (this.#complete || this.#stream !== undefined) return;
    const stream = new SseStream(this.#policy);
    this.#stream = stream;
    if (this.#watch !== undefined) stream.watch(this.#watch);
    if (this.#begin !== undefined) stream.record(this.#begin);
    this.#resolve(new Response(stream.body, { headers: this.#named(SSE_HEADERS) }));
  }

  send(text: string): void {
    if (this.#complete) return;
    this.stream();
    this.#stream?.send(text);
  }

  answer(text: string): void {
    if (!this.#settle()) return;
    if (this.#stream === undefined) {
      this.#resolve(
        jsonResponse(text, this.#named(JSON_HEADERS), { policy: this.#policy, watch: this.#watch }),
      );
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

/**
 * A JSON text as a response. The HTTP server holds a body of one piece until the last byte was read, however long
 * that takes; one that is larger than what may wait for a reader therefore goes out bit by bit.
 */
export function jsonResponse(
  text: string,
  headers: Record<string, string>,
  { policy, watch }: { policy: StreamPolicy; watch: StreamWatch | undefined },
): Response {
  // No text has more bytes than three for each of its units.
  if (text.length * 3 <= policy.maxBufferBytes) return new Response(text, { headers });
  const length = Buffer.byteLength(text);
  if (length <= policy.maxBufferBytes) return new Response(text, { headers });
  const outflow = new Outflow(policy);
  if (watch !== undefined) outflow.watch(watch);
  outflow.write(text);
  outflow.close();
  return new Response(outflow.body, { headers: { ...headers, "content-length": String(length) } });
}

/** A failure as the response to a request that was refused before anything was sent. */
export function rpcErrorResponse(failure: Failure, id: RequestId | null): Response {
  const { status, retryAfterS } = { ...entryOf(failure), ...failure };
  const headers: Record<string, string> = retryAfterS === undefined
    ? JSON_HEADERS
    : { ...JSON_HEADERS, "retry-after": String(retryAfterS) };
  return new Response(rpcErrorText(failure, id), { status, headers });
}
