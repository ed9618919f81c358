/**
 * What a client asked a server to go on doing, so that it can be asked for again where the server forgot the session:
 * subscriptions and the level of log messages.
 *
 * @module
 */
import { encodeRequest, type Message, type Params, type RequestMessage } from "../../protocol/jsonrpc.ts";

/** Subscriptions that are remembered. Of more the oldest are not asked for again. */
const MAX_SUBSCRIPTIONS = 1_000;

/** See the module's documentation. */
export class Standing {
  #level: Params | undefined;
  readonly #subscriptions = new Map<string, Params>();

  /** The server did what it was asked. */
  done({ method, params }: RequestMessage): void {
    const uri = params?.uri;
    if (method === "logging/setLevel") this.#level = params;
    if (typeof uri !== "string") return;
    if (method === "resources/unsubscribe") this.#subscriptions.delete(uri);
    if (method !== "resources/subscribe") return;
    this.#subscriptions.delete(uri);
    this.#subscriptions.set(uri, params!);
    if (this.#subscriptions.size <= MAX_SUBSCRIPTIONS) return;
    const [oldest] = this.#subscriptions.keys();
    this.#subscriptions.delete(oldest!);
  }

  /** All of it, as requests of the gateway's own. Their ids are none of the client's. */
  requests(): RequestMessage[] {
    const wanted: [method: string, params: Params][] = Array.from(
      this.#subscriptions.values(),
      (params) => ["resources/subscribe", params],
    );
    if (this.#level !== undefined) wanted.push(["logging/setLevel", this.#level]);
    return wanted.map(([method, params], index) => {
      const id = `sojourn:again:${index}`;
      return { kind: "request", id, method, params, text: encodeRequest(id, method, params) };
    });
  }
}

/** Whether a message may be one of those that {@link Standing.done} wants to know of. */
export function stands(message: Message): message is RequestMessage {
  return message.kind === "request" &&
    /^(?:logging\/setLevel|resources\/(?:un)?subscribe)$/.test(message.method);
}
