/**
 * What a client asked of its server for good: the log level and the resources that it subscribed to. Another server in
 * its place has to be asked for the same.
 *
 * @module
 */
import { encodeRequest, type Params, type RequestId } from "../protocol/jsonrpc.ts";

/** Subscriptions that are remembered, and the longest URI of one. What is beyond is no use that this is made for. */
const MAX_SUBSCRIPTIONS = 1_000;
const MAX_URI_CHARS = 8_192;
/** Begins the ids under which it is asked for again. */
const REPLAY_ID = "sojourn:replay:";

/** A request whose effect outlives its answer. */
export type StandingRequest =
  | { readonly method: "logging/setLevel"; readonly level: string }
  | { readonly method: "resources/subscribe" | "resources/unsubscribe"; readonly uri: string };

/** As it is stored. */
export interface StandingState {
  readonly level?: string;
  readonly uris?: readonly string[];
}

/** Reads a request of the client; undefined where its effect ends with its answer. */
export function standingRequestOf(method: string, params: Params | undefined): StandingRequest | undefined {
  switch (method) {
    case "logging/setLevel":
      return typeof params?.level === "string" ? { method, level: params.level } : undefined;
    case "resources/subscribe":
    case "resources/unsubscribe":
      return typeof params?.uri === "string" ? { method, uri: params.uri } : undefined;
    default:
      return undefined;
  }
}

/** See the module's documentation. */
export class Standing {
  #level: string | undefined;
  readonly #uris: Set<string>;
  /** Whether there is more than is remembered. */
  #overflowed = false;

  constructor({ level, uris = [] }: StandingState = {}) {
    this.#level = level;
    this.#uris = new Set(uris);
  }

  /** The server agreed to one. */
  note(request: StandingRequest): void {
    switch (request.method) {
      case "logging/setLevel":
        this.#level = request.level;
        return;
      case "resources/unsubscribe":
        this.#uris.delete(request.uri);
        return;
      case "resources/subscribe":
        if (this.#uris.size < MAX_SUBSCRIPTIONS && request.uri.length <= MAX_URI_CHARS) {
          this.#uris.add(request.uri);
        } else this.#overflowed = true;
    }
  }

  /** Whether all of it is remembered. */
  get complete(): boolean {
    return !this.#overflowed;
  }

  /** As it is stored. */
  get state(): StandingState {
    return {
      ...(this.#level !== undefined && { level: this.#level }),
      ...(this.#uris.size > 0 && { uris: Array.from(this.#uris) }),
    };
  }

  /** What another server has to be asked, by the ids of those requests; each as one line of JSON. */
  replay(): Map<RequestId, { readonly what: string; readonly text: string }> {
    const asked: [what: string, method: string, params: Params][] = [];
    if (this.#level !== undefined) {
      asked.push([`logging/setLevel ${this.#level}`, "logging/setLevel", { level: this.#level }]);
    }
    for (const uri of this.#uris) {
      asked.push([`resources/subscribe ${uri}`, "resources/subscribe", { uri }]);
    }
    return new Map(asked.map(([what, method, params], at) => {
      const id = `${REPLAY_ID}${at}`;
      return [id, { what, text: encodeRequest(id, method, params) }];
    }));
  }
}
