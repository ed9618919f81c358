/**
 * The client's requests in flight: sent to the backend and not yet answered, cancelled or timed out.
 *
 * One session owns one of these. It is what "in use" rests on, and the only place that knows which reply an
 * answer belongs to.
 *
 * @module
 */
import { progressTokenOf, relatedTaskOf, type RequestId, type RequestMessage } from "../protocol/jsonrpc.ts";
import type { Params } from "../protocol/jsonrpc.ts";
import type { Reply } from "./client.ts";
import { type StandingRequest, standingRequestOf } from "./standing.ts";

/** One request in flight. */
export interface Exchange {
  readonly id: RequestId;
  readonly method: string;
  readonly reply: Reply;
  /** When it was sent to the backend, in ms of the session's clock. */
  readonly sentAt: number;
  /** From when on its time-out counts: it was sent, or the server last reported progress. */
  freshAt: number;
  /** How long the session had waited for its client until then (see `Questions.waitedMs`). */
  waitedMsBefore: number;
  readonly timeoutMs: number;
  readonly progressToken: RequestId | undefined;
  /** The task whose result it waits for. */
  readonly taskId: string | undefined;
  /** What holds beyond its answer; undefined for most. */
  readonly standing: StandingRequest | undefined;
  /** Whether its reply was turned into a stream because the answer takes long. */
  slow: boolean;
}

const NONE: ReadonlyMap<RequestId, Exchange> = new Map();

/** A map of requests in flight with the look-ups that routing needs. While there are none it holds no maps either. */
export class Exchanges {
  /** By request id, oldest first; `1` and `"1"` are different keys. */
  #byId: Map<RequestId, Exchange> | undefined;
  /** Those that asked for progress, by their token. */
  #byToken: Map<RequestId, Exchange> | undefined;

  get size(): number {
    return this.#byId?.size ?? 0;
  }

  has(id: RequestId): boolean {
    return this.#byId?.has(id) === true;
  }

  get(id: RequestId): Exchange | undefined {
    return this.#byId?.get(id);
  }

  [Symbol.iterator](): Iterator<Exchange> {
    return (this.#byId ?? NONE).values();
  }

  /** Adds a request whose id is not in flight. */
  add(
    request: RequestMessage,
    reply: Reply,
    times: { sentAt: number; waitedMsBefore: number; timeoutMs: number },
  ): void {
    const { id, method, params } = request;
    const progressToken = progressTokenOf(params);
    const exchange: Exchange = {
      id,
      method,
      reply,
      ...times,
      freshAt: times.sentAt,
      progressToken,
      taskId: method === "tasks/result" && typeof params?.taskId === "string" ? params.taskId : undefined,
      standing: standingRequestOf(method, params),
      slow: false,
    };
    (this.#byId ??= new Map()).set(id, exchange);
    if (progressToken !== undefined) (this.#byToken ??= new Map()).set(progressToken, exchange);
  }

  /** Removes and returns a request; undefined when it is not in flight (any more). */
  take(id: RequestId): Exchange | undefined {
    const exchange = this.#byId?.get(id);
    if (exchange === undefined) return undefined;
    this.#byId!.delete(id);
    const { progressToken } = exchange;
    // A client may have used one token twice: the newer request keeps it.
    if (progressToken !== undefined && this.#byToken?.get(progressToken) === exchange) {
      this.#byToken.delete(progressToken);
    }
    if (this.#byId!.size === 0) this.#byId = this.#byToken = undefined;
    return exchange;
  }

  /** Empties the map and returns what was in flight. */
  takeAll(): Exchange[] {
    const all = [...this];
    this.#byId = this.#byToken = undefined;
    return all;
  }

  /** The request that a message of the backend names as its parent, by progress token or related task. */
  parentOf(method: string, params: Params | undefined): Exchange | undefined {
    if (params === undefined || this.#byId === undefined) return undefined;
    if (method === "notifications/progress") {
      const token = params.progressToken;
      return typeof token === "string" || typeof token === "number" ? this.#byToken?.get(token) : undefined;
    }
    const taskId = relatedTaskOf(params);
    if (taskId === undefined) return undefined;
    for (const exchange of this) if (exchange.taskId === taskId) return exchange;
    return undefined;
  }

  /** The newest request whose client is still connected. */
  newestOpen(): Exchange | undefined {
    let newest: Exchange | undefined;
    for (const exchange of this) if (exchange.reply.open) newest = exchange;
    return newest;
  }
}
