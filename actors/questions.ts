/**
 * The server's requests to the client (sampling, elicitation, roots, ping) that wait for an answer.
 *
 * A question that reached the client counts as in flight, but only for `clientReplyTimeoutMs`, and not at all
 * while the client has left an earlier one unanswered and has not been heard since: a server that asks again and
 * again must not keep the session of a vanished client alive.
 *
 * @module
 */
import type { RequestId } from "../protocol/jsonrpc.ts";
import type { ClientStream } from "./client.ts";

/** One request of the server that the client has not answered. */
export interface Question {
  readonly id: RequestId;
  readonly method: string;
  /** When it was asked, then when it was delivered, in ms of the session's clock. */
  since: number;
  /** The stream that it went out on; undefined while it is kept for want of one. */
  stream: ClientStream | undefined;
  /** Whether it counts as in flight. */
  counts: boolean;
}

const NONE: ReadonlyMap<RequestId, Question> = new Map();

/** The questions of one session. While there are none it holds no map either. */
export class Questions {
  #byId: Map<RequestId, Question> | undefined;
  /** How many of them count as in flight. */
  #counting = 0;
  /** Total time with at least one that counts, up to `#waitingSince`. */
  #waitedMs = 0;
  #waitingSince = 0;
  /** True from a question that timed out at the client until the client is heard again. */
  #clientSilent = false;

  get size(): number {
    return this.#byId?.size ?? 0;
  }

  /** How many count as in flight. */
  get inFlight(): number {
    return this.#counting;
  }

  has(id: RequestId): boolean {
    return this.#byId?.has(id) === true;
  }

  get(id: RequestId): Question | undefined {
    return this.#byId?.get(id);
  }

  [Symbol.iterator](): Iterator<Question> {
    return (this.#byId ?? NONE).values();
  }

  /** Notes a question that no stream could take yet. */
  ask(id: RequestId, method: string, now: number): void {
    (this.#byId ??= new Map()).set(id, { id, method, since: now, stream: undefined, counts: false });
  }

  /** Notes that a question went out to the client. */
  delivered(id: RequestId, stream: ClientStream, now: number): void {
    const question = this.#byId?.get(id);
    if (question === undefined || question.stream !== undefined) return;
    question.stream = stream;
    question.since = now;
    if (this.#clientSilent) return;
    question.counts = true;
    if (this.#counting++ === 0) this.#waitingSince = now;
  }

  /** What a stream carried is carried on by another one. */
  moved(from: ClientStream, to: ClientStream): void {
    for (const question of this) if (question.stream === from) question.stream = to;
  }

  /** Forgets a question that was answered, cancelled or given up; false when there is none by that id. */
  remove(id: RequestId, now: number): boolean {
    const question = this.#byId?.get(id);
    if (question === undefined) return false;
    this.#byId!.delete(id);
    if (this.#byId!.size === 0) this.#byId = undefined;
    if (question.counts && --this.#counting === 0) this.#waitedMs += now - this.#waitingSince;
    return true;
  }

  /** The client let a question time out: those that come from now on do not count until it is heard again. */
  clientFellSilent(): void {
    this.#clientSilent = true;
  }

  /** The client sent something. */
  clientHeard(): void {
    this.#clientSilent = false;
  }

  /** Total time during which at least one that counts was at the client: requests in flight do not age in it. */
  waitedMs(now: number): number {
    return this.#counting > 0 ? this.#waitedMs + (now - this.#waitingSince) : this.#waitedMs;
  }

  /** Forgets everything. */
  clear(): void {
    this.#byId = undefined;
    this.#counting = 0;
  }
}
