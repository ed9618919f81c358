/**
 * How a session was opened at a server elsewhere, so that it can be opened again where the server forgot it.
 *
 * @module
 */
import {
  asObject,
  type RequestId,
  type RequestMessage,
  type ResponseMessage,
} from "../../protocol/jsonrpc.ts";

/** What a server said of itself: a client was told, and has to be able to rely on it. */
interface Promises {
  readonly protocolVersion: unknown;
  readonly capabilities: unknown;
  readonly name: unknown;
}

/** See the module's documentation. */
export class Greeting {
  readonly request: RequestMessage;
  /** The client's `notifications/initialized`, once it came. */
  confirmation: string | undefined;
  #promises: Promises | undefined;

  constructor(request: RequestMessage) {
    this.request = request;
  }

  get id(): RequestId {
    return this.request.id;
  }

  /** Whether the server agreed, so that there is something to do again. */
  get isAgreed(): boolean {
    return this.#promises !== undefined;
  }

  /** The server answered the first time. @returns The version, where it agreed on one. */
  onAnswer({ result }: ResponseMessage): string | undefined {
    if (result === undefined) return undefined;
    this.#promises = promisesOf(result);
    return versionOf(result);
  }

  /**
   * The server answered once more.
   *
   * @returns What is not as it was; undefined where a client cannot tell the difference.
   */
  changed({ result }: ResponseMessage): string | undefined {
    if (result === undefined) return "refuses to open it again";
    const now = promisesOf(result);
    const before = this.#promises!;
    if (!same(now.protocolVersion, before.protocolVersion)) return "speaks another protocol version";
    if (!same(now.name, before.name)) return "has another name";
    return same(now.capabilities, before.capabilities) ? undefined : "has other capabilities";
  }
}

/** The version in the answer to `initialize`. */
export function versionOf(result: Record<string, unknown> | undefined): string | undefined {
  const version = result?.protocolVersion;
  return typeof version === "string" && /^[\x21-\x7e]{1,64}$/.test(version) ? version : undefined;
}

function promisesOf({ protocolVersion, capabilities, serverInfo }: Record<string, unknown>): Promises {
  return { protocolVersion, capabilities, name: asObject(serverInfo)?.name };
}

/** Whether two JSON values say the same, in whatever order. */
function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one, sorted) === JSON.stringify(other, sorted);
}

function sorted(_key: string, value: unknown): unknown {
  const object = asObject(value);
  if (object === undefined) return value;
  return Object.fromEntries(Object.entries(object).toSorted(([a], [b]) => a < b ? -1 : 1));
}
