/**
 * JSON-RPC 2.0 as MCP uses it: what one message is, and nothing about who sent it.
 *
 * The gateway parses a message to route it and forwards the text that it received, so a message keeps both:
 * the fields that routing needs and the text itself.
 *
 * @module
 */

/** MCP allows strings and integers; `1` and `"1"` are different ids. */
export type RequestId = string | number;

/** The JSON object under `params`, or nothing. */
export type Params = Record<string, unknown>;

/** A message that asks for an answer. */
export interface RequestMessage {
  readonly kind: "request";
  readonly id: RequestId;
  readonly method: string;
  readonly params: Params | undefined;
  /** The message as one line of JSON, no line break inside or behind it. */
  readonly text: string;
}

/** A message that asks for none. */
export interface NotificationMessage {
  readonly kind: "notification";
  readonly method: string;
  readonly params: Params | undefined;
  readonly text: string;
}

/** The answer to a request: a result or an error. */
export interface ResponseMessage {
  readonly kind: "response";
  /** `null` only on an error whose request could not be read. */
  readonly id: RequestId | null;
  readonly result: Params | undefined;
  readonly error: { readonly code: number; readonly message: string } | undefined;
  readonly text: string;
}

/** One JSON-RPC message. */
export type Message = RequestMessage | NotificationMessage | ResponseMessage;

/** Why a text is no message. `id` is set where the sender can be answered by it. */
export interface Malformed {
  readonly kind: "malformed";
  readonly problem: "json" | "batch" | "message";
  /** What is wrong and where, for the sender to read. */
  readonly detail: string;
  readonly id: RequestId | null;
}
