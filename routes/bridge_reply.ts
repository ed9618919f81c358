/**
 * The answer to one request to `/bridge`: the result as plain JSON, or a stream of events with the progress before it.
 *
 * | what the server does | plain | stream |
 * | --- | --- | --- |
 * | it reports progress, or says something else meanwhile | | event `notification` |
 * | it answers with a result | 200, the result | event `result` |
 * | it answers with an error | 422, `{"error": …}` | event `error`, the same |
 * | the gateway cannot deliver | its status, a problem document | event `error`, the same |
 *
 * A stream begins with the first event, or when the answer takes long. An error that comes before has its status.
 *
 * @module
 */
import type { ClientStream, Reply, StreamWatch } from "../actors/client.ts";
import { ERRORS, type Failure } from "../errors.ts";
import { memberText, withMember } from "../protocol/members.ts";
import { sseNamed } from "../protocol/sse.ts";
import { JSON_HEADERS, jsonResponse, SSE_HEADERS } from "./http_reply.ts";
import type { StreamPolicy } from "./outflow.ts";
import { problem, problemOf } from "./problem.ts";
import { SseStream } from "./sse_stream.ts";

/** What becomes of one attempt to have the request answered. */
export interface Attempt {
  /** It failed. @returns Whether somebody sees to it: then the client is told nothing yet. */
  failed(failure: Failure): boolean;
  /** Calls back if nobody waits any more for the session that was to be opened. */
  whenGone(gone: () => void): void;
}

/** How to make a {@link BridgeReply}. */
export interface BridgeReplyOptions {
  readonly policy: StreamPolicy;
  /** Whether the client takes a stream. */
  readonly streams: boolean;
  /** The client's own token for progress, as JSON; undefined where it has none. */
  readonly progressToken: string | undefined;
}

/** See {@link Reply}. `response` resolves as soon as status and headers are settled. */
export class BridgeReply implements Reply {
  readonly response: Promise<Response>;
  readonly resumable = false;
  readonly away = false;
  /** Who is asked before the client is told of a failure. */
  attempt: Attempt | undefined;
  readonly #resolve: (response: Response) => void;
  readonly #options: BridgeReplyOptions;
  #watch: StreamWatch | undefined;
  /** Set once the reply is a stream. */
  #stream: SseStream | undefined;
  #complete = false;

  constructor(options: BridgeReplyOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#resolve = resolve;
  }

  /** A client that went away takes nothing back, so what belongs to its request still goes nowhere else. */
  get open(): boolean {
    return !this.#complete;
  }

  watch(watch: StreamWatch): void {
    this.#watch = watch;
    this.#stream?.watch(watch);
  }

  whenGone(gone: () => void): void {
    this.attempt?.whenGone(gone);
  }

  stream(): void {
    if (this.#complete || this.#stream !== undefined || !this.#options.streams) return;
    const stream = this.#stream = new SseStream(this.#options.policy);
    if (this.#watch !== undefined) stream.watch(this.#watch);
    this.#resolve(new Response(stream.body, { headers: SSE_HEADERS }));
  }

  send(text: string): void {
    if (this.#complete || !this.#options.streams) return;
    this.stream();
    this.#stream!.write(sseNamed("notification", this.#asTheClientKnows(text)));
  }

  answer(text: string): void {
    if (!this.#settle()) return;
    const result = memberText(text, "result");
    if (result !== undefined) return this.#finish("result", result);
    const error = `{"error":${memberText(text, "error") ?? "null"}}`;
    if (this.#stream !== undefined) return this.#finish("error", error);
    this.#resolve(new Response(error, { status: ERRORS.serverError.status, headers: JSON_HEADERS }));
  }

  fail(failure: Failure): void {
    if (this.#complete || this.attempt?.failed(failure) === true) return;
    this.#settle();
    // Sessions are nothing that this client knows of.
    const told: Failure = failure.code === "sessionEnded" || failure.code === "sessionNotFound"
      ? { code: "backendGone", detail: failure.detail }
      : failure;
    if (this.#stream !== undefined) this.#finish("error", JSON.stringify(problemOf(told)));
    else this.#resolve(problem(told));
  }

  close(): void {
    this.fail({ code: "backendGone" });
  }

  /** The session's id is nobody's business here. */
  name(_sessionId: string | undefined): void {}
  /** Only messages without an answer are accepted, and none of them comes here. */
  accept(): void {}
  /** Nobody comes back for the rest of this stream. */
  record(): void {}
  replay(): void {}
  resume(_stream: ClientStream): void {}
  drop(): void {}

  #finish(event: "result" | "error", text: string): void {
    const { policy, streams } = this.#options;
    if (!streams) {
      return this.#resolve(jsonResponse(text, { ...JSON_HEADERS }, { policy, watch: this.#watch }));
    }
    let stream = this.#stream;
    if (stream === undefined) {
      stream = new SseStream(policy);
      if (this.#watch !== undefined) stream.watch(this.#watch);
      this.#resolve(new Response(stream.body, { headers: SSE_HEADERS }));
    }
    stream.write(sseNamed(event, text));
    stream.close();
  }

  /** Progress comes under the gateway's token. */
  #asTheClientKnows(text: string): string {
    const { progressToken } = this.#options;
    const params = memberText(text, "params");
    if (progressToken === undefined || memberText(text, "method") !== '"notifications/progress"') return text;
    if (params === undefined) return text;
    return withMember(text, "params", withMember(params, "progressToken", progressToken));
  }

  /** False when the reply was complete before. */
  #settle(): boolean {
    const first = !this.#complete;
    this.#complete = true;
    return first;
  }
}
