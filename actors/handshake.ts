/**
 * How a session starts: `initialize` has to be answered, in time and by something that speaks MCP.
 *
 * Usually the client sends `initialize` and the gateway watches. In an implicit session the client's first
 * message is another request; the gateway then does the handshake itself.
 *
 * @module
 */
import {
  encodeNotification,
  encodeRequest,
  type RequestId,
  type ResponseMessage,
} from "../protocol/jsonrpc.ts";
import type { ClientMessage } from "./mail.ts";

/** Lines that are no messages which a server may print before it has answered. */
const MAX_GARBAGE_LINES = 20;
/** The id of the gateway's own `initialize`. Nothing else is in flight then, so it cannot clash. */
const OWN_ID = "sojourn:initialize";
/** The client of an implicit session, as its server sees it. */
const CLIENT_INFO = { name: "sojourn", version: "1" };

/** How to make a {@link Handshake}. */
export interface HandshakeOptions {
  /** The message that opens the session. */
  readonly opener: ClientMessage;
  /** Set where the gateway has to initialize: the version that it asks for. */
  readonly implicitVersion: string | undefined;
  /** When the server has to have answered, in ms of the clock. */
  readonly dueAt: number;
  /** When the opener's reply becomes a stream where the gateway does the handshake. */
  readonly slowAt: number;
}

/** What an answer of the server means for the handshake. */
export type HandshakeAnswer =
  | { readonly kind: "unrelated" }
  | { readonly kind: "initialized"; readonly protocolVersion: string | undefined }
  | { readonly kind: "refused"; readonly detail: string };

/** See the module's documentation. */
export class Handshake {
  readonly opener: ClientMessage;
  readonly dueAt: number;
  readonly slowAt: number;
  /** Whether the gateway does it in the client's place. */
  readonly implicit: boolean;
  readonly #implicitVersion: string | undefined;
  readonly #id: RequestId | undefined;
  #garbageLines = 0;

  constructor({ opener, implicitVersion, dueAt, slowAt }: HandshakeOptions) {
    this.opener = opener;
    this.dueAt = dueAt;
    this.slowAt = slowAt;
    this.implicit = implicitVersion !== undefined;
    this.#implicitVersion = implicitVersion;
    if (this.implicit) this.#id = OWN_ID;
    else if (opener.message.kind === "request") this.#id = opener.message.id;
  }

  /** The gateway's own `initialize`. */
  get ownRequest(): string {
    return encodeRequest(OWN_ID, "initialize", {
      protocolVersion: this.#implicitVersion,
      capabilities: {},
      clientInfo: CLIENT_INFO,
    });
  }

  /** What the gateway sends when its own `initialize` was answered. */
  get ownConfirmation(): string {
    return encodeNotification("notifications/initialized");
  }

  /** The client has waited for long enough to get its stream. */
  onTime(now: number): void {
    if (this.implicit && now >= this.slowAt) this.opener.reply.stream();
  }

  /** Reads an answer of the server. */
  onAnswer(answer: ResponseMessage): HandshakeAnswer {
    if (answer.id !== this.#id) return { kind: "unrelated" };
    if (answer.result === undefined) {
      return { kind: "refused", detail: `refused initialize: ${answer.error?.message}` };
    }
    const { protocolVersion } = answer.result;
    return {
      kind: "initialized",
      protocolVersion: typeof protocolVersion === "string" ? protocolVersion : undefined,
    };
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
