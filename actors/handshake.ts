/**
 * How a session gets to know a server: `initialize` has to be answered, in time and by something that speaks MCP.
 *
 * | who asks | when |
 * | --- | --- |
 * | the client | it opens its session; the gateway watches |
 * | the gateway, in its place | its first message is another request: an implicit session |
 * | the gateway, again | the session is revived: another backend takes the place of the one that the client met |
 *
 * @module
 */
import {
  encodeNotification,
  encodeRequest,
  type Params,
  type RequestId,
  type ResponseMessage,
} from "../protocol/jsonrpc.ts";
import type { Reply } from "./client.ts";
import type { ClientMessage } from "./mail.ts";

/** Lines that are no messages which a server may print before it has answered. */
const MAX_GARBAGE_LINES = 20;
/** The id of the gateway's own `initialize`. Nothing else is in flight then, so it cannot clash. */
const OWN_ID = "sojourn:initialize";
/** The client of an implicit session, as its server sees it. */
const CLIENT_INFO = { name: "sojourn", version: "1" };

/** When things are due, in ms of the clock. */
export interface HandshakeTimes {
  /** When the server has to have answered. */
  readonly dueAt: number;
  /** When the reply that waits for the gateway's own handshake becomes a stream. */
  readonly slowAt: number;
}

/** What an answer of the server means for the handshake. */
export type HandshakeAnswer =
  | { readonly kind: "unrelated" }
  | { readonly kind: "initialized"; readonly result: Params }
  | { readonly kind: "refused"; readonly detail: string };

/** The params with which the gateway initializes in the place of a client that did not. */
export function implicitParams(protocolVersion: string): Params {
  return { protocolVersion, capabilities: {}, clientInfo: CLIENT_INFO };
}

/** See the module's documentation. */
export class Handshake {
  readonly dueAt: number;
  readonly slowAt: number;
  /** What was asked. */
  readonly params: Params;
  /** The client's own `initialize`; undefined where the gateway asks. */
  readonly opener: ClientMessage | undefined;
  /** Who waits for it. */
  readonly reply: Pick<Reply, "stream" | "name">;
  readonly #id: RequestId | undefined;
  #garbageLines = 0;

  /**
   * @param asked The client's own `initialize`, or the params with which the gateway asks on behalf of whoever waits for
   * `reply`.
   */
  constructor(
    asked: ClientMessage | { readonly params: Params; readonly reply: Pick<Reply, "stream" | "name"> },
    { dueAt, slowAt }: HandshakeTimes,
  ) {
    this.dueAt = dueAt;
    this.slowAt = slowAt;
    this.reply = asked.reply;
    if ("params" in asked) {
      this.params = asked.params;
      this.#id = OWN_ID;
    } else {
      const { message } = this.opener = asked;
      const request = message.kind === "request" ? message : undefined;
      this.params = request?.params ?? {};
      this.#id = request?.id;
    }
  }

  /** The gateway's own `initialize`. */
  get ownRequest(): string {
    return encodeRequest(OWN_ID, "initialize", this.params);
  }

  /** What the gateway sends when its own `initialize` was answered. */
  get ownConfirmation(): string {
    return encodeNotification("notifications/initialized");
  }

  /** The client has waited for long enough to get its stream. */
  onTime(now: number): void {
    if (this.opener === undefined && now >= this.slowAt) this.reply.stream();
  }

  /** When something is due, in ms of the clock. */
  nextAt(now: number): number {
    return this.opener === undefined && now < this.slowAt ? Math.min(this.slowAt, this.dueAt) : this.dueAt;
  }

  /** Reads an answer of the server. */
  onAnswer(answer: ResponseMessage): HandshakeAnswer {
    if (answer.id !== this.#id) return { kind: "unrelated" };
    if (answer.result === undefined) {
      return { kind: "refused", detail: `refused initialize: ${answer.error?.message}` };
    }
    return { kind: "initialized", result: answer.result };
  }

  /**
   * Counts a line that is no message. Servers print banners on stdout; one that prints little else does not
   * speak MCP.
   *
   * @returns Why the start failed, or undefined where it may still succeed.
   */
  onGarbage(): string | undefined {
    if (++this.#garbageLines < MAX_GARBAGE_LINES) return undefined;
    return `wrote ${MAX_GARBAGE_LINES} lines that are no JSON-RPC messages instead of an answer to initialize`;
  }
}
