/**
 * The answer to a batch (revision 2025-03-26): a JSON array of the answers, or a stream of events where something
 * comes before the last of them.
 *
 * @module
 */
import type { Reply, StreamWatch } from "../actors/client.ts";
import { type Failure, rpcErrorText } from "../errors.ts";
import type { RequestId } from "../protocol/jsonrpc.ts";
import { JSON_HEADERS, jsonResponse, SSE_HEADERS } from "./http_reply.ts";
import type { StreamPolicy } from "./outflow.ts";
import { SseStream } from "./sse_stream.ts";

/** Gathers the replies to the messages of one batch. */
export class BatchReply {
  readonly response: Promise<Response>;
  readonly #resolve: (response: Response) => void;
  readonly #policy: StreamPolicy;
  /** Answers that wait for the others, as long as there is no stream. */
  #answers: string[] = [];
  #answerChars = 0;
  /** Parts that are not complete. */
  #left: number;
  #stream: SseStream | undefined;
  /** The same for each part: a batch belongs to one session. */
  #watch: StreamWatch | undefined;

  /** @param size How many messages the batch has; at least 1. */
  constructor(policy: StreamPolicy, size: number) {
    this.#policy = policy;
    this.#left = size;
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#resolve = resolve;
  }

  /**
   * The reply to one message of the batch. To be made once for each.
   *
   * @param id Under which a failure is reported. Null for a message without one: its failure is told under null.
   */
  part(id: RequestId | null): Reply {
    let complete = false;
    const finish = (text: string | undefined) => {
      if (complete) return;
      complete = true;
      this.#partDone(text);
    };
    // What was said on the stream of a part may have a sequel after it, such as that a request is taken back.
    const isOpen = () => this.#stream?.open ?? !complete;
    return {
      get open() {
        return isOpen();
      },
      // A batch never opens a session.
      name: () => {},
      whenGone: () => {},
      // Batches belong to a revision whose streams cannot be resumed.
      record: () => {},
      resumable: false,
      away: false,
      replay: () => {},
      resume: () => {},
      drop: () => {},
      watch: (watch) => {
        this.#watch = watch;
        this.#stream?.watch(watch);
      },
      accept: () => finish(undefined),
      stream: () => {
        if (!complete) this.#startStream();
      },
      send: (text) => {
        if (!complete || this.#stream !== undefined) this.#startStream().send(text);
      },
      answer: (text) => finish(text),
      fail: (failure) => finish(rpcErrorText(failure, id)),
      close: () => finish(rpcErrorText({ code: "sessionNotFound" } satisfies Failure, id)),
    };
  }

  #partDone(text: string | undefined): void {
    if (text !== undefined) {
      this.#answerChars += text.length;
      // More than may wait for a reader is not gathered either.
      if (this.#stream === undefined && this.#answerChars > this.#policy.maxBufferBytes) this.#startStream();
      if (this.#stream === undefined) this.#answers.push(text);
      else this.#stream.send(text);
    }
    if (--this.#left > 0) return;
    if (this.#stream !== undefined) return this.#stream.close();
    this.#resolve(
      this.#answers.length === 0
        ? new Response(null, { status: 202 })
        : jsonResponse(`[${this.#answers.join(",")}]`, JSON_HEADERS, {
          policy: this.#policy,
          watch: this.#watch,
        }),
    );
  }

  /** Turns the reply into a stream, which begins with the answers that waited. */
  #startStream(): SseStream {
    if (this.#stream !== undefined) return this.#stream;
    const stream = this.#stream = new SseStream(this.#policy);
    if (this.#watch !== undefined) stream.watch(this.#watch);
    for (const answer of this.#answers) stream.send(answer);
    this.#answers = [];
    this.#resolve(new Response(stream.body, { headers: SSE_HEADERS }));
    return stream;
  }
}
