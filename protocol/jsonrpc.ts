/**
 * JSON-RPC 2.0 as MCP uses it: what one message is, and nothing about who sent it.
 *
 * The gateway parses a message to route it and forwards the text that it received, so a message keeps both:
 * the fields that routing needs and the text itself.
 *
 * @module
 */

/** MCP allows strings and integers (here: up to 2^53 − 1); `1` and `"1"` are different ids. */
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

/** Under `_meta` of a message that belongs to a task (MCP 2025-11-25, "Tasks"). */
const RELATED_TASK = "io.modelcontextprotocol/related-task";

/**
 * Reads one message.
 *
 * Strict about what routing needs (version, id, method, the shape of params, result and error), indifferent to
 * all else: the text is forwarded as it came, and what is in it is between client and server.
 *
 * @param text JSON. Line breaks between its tokens are fine; the message's own `text` has none.
 */
export function parseMessage(text: string): Message | Malformed {
  const trimmed = text.trim();
  let value: unknown;
  try {
    value = JSON.parse(trimmed);
  } catch (error) {
    return malformed("json", error instanceof Error ? error.message : "is not JSON");
  }
  if (Array.isArray(value)) return malformed("batch", "a batch (JSON array) is not one message");
  const object = asObject(value);
  if (object === undefined) return malformed("message", "a message is a JSON object");
  return readMessage(object, onOneLine(trimmed));
}

/**
 * Reads a batch: a JSON array of messages, as only revision 2025-03-26 has it.
 *
 * @param text What {@link parseMessage} called a `batch`.
 * @returns Its messages in order, each with its own text as it stands in the array.
 */
export function parseBatch(text: string): (Message | Malformed)[] {
  return elementsOf(text).map(parseMessage);
}

/**
 * The texts of an array's elements, as they stand: encoding them anew could change their numbers.
 *
 * @param array Valid JSON, an array. Nothing here recurses, however deep it is.
 */
function elementsOf(array: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < array.length; at++) {
    switch (array[at]) {
      case '"':
        for (at++; array[at] !== '"'; at++) if (array[at] === "\\") at++;
        break;
      case "[":
      case "{":
        if (depth++ === 0) start = at + 1;
        break;
      case "]":
      case "}":
        if (--depth === 0) elements.push(array.slice(start, at));
        break;
      case ",":
        if (depth === 1) {
          elements.push(array.slice(start, at));
          start = at + 1;
        }
    }
  }
  // `[]` has none, and looks as if it had an empty one.
  return elements.length === 1 && elements[0]!.trim() === "" ? [] : elements;
}

/** The token under which progress of a request is reported, if its sender asked for it. */
export function progressTokenOf(params: Params | undefined): RequestId | undefined {
  const token = asObject(params?._meta)?.progressToken;
  return typeof token === "string" || typeof token === "number" ? token : undefined;
}

/** The task that a message belongs to, if it names one. */
export function relatedTaskOf(params: Params | undefined): string | undefined {
  const taskId = asObject(asObject(params?._meta)?.[RELATED_TASK])?.taskId;
  return typeof taskId === "string" ? taskId : undefined;
}

/** A request as one line of JSON. */
export function encodeRequest(id: RequestId, method: string, params?: Params): string {
  return JSON.stringify({ jsonrpc: "2.0", id, method, params });
}

/** A notification as one line of JSON. */
export function encodeNotification(method: string, params?: Params): string {
  return JSON.stringify({ jsonrpc: "2.0", method, params });
}

/** A successful answer as one line of JSON. */
export function encodeResult(id: RequestId, result: Params): string {
  return JSON.stringify({ jsonrpc: "2.0", id, result });
}

/** The parts of an error object. `code` is an integer. */
export interface ErrorObject {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
}

/** A failed answer as one line of JSON. `id` is null where the request's own could not be read. */
export function encodeError(id: RequestId | null, { code, message, data }: ErrorObject): string {
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code, message, data } });
}

function readMessage(object: Params, text: string): Message | Malformed {
  const { jsonrpc, id, method, params, result, error } = object;
  // JSON has no undefined: a member is undefined exactly when it is absent.
  const isAnswer = result !== undefined || error !== undefined;
  // The id of an answer is one that the other side chose: an error sent back under it would answer nothing.
  const replyId = isRequestId(id) && !(isAnswer && method === undefined) ? id : null;
  const bad = (detail: string) => malformed("message", detail, replyId);

  if (jsonrpc !== "2.0") return bad('jsonrpc must be "2.0"');
  if (method === undefined) {
    return isAnswer ? readResponse(object, text) : bad("a message has a method, a result or an error");
  }
  if (typeof method !== "string") return bad("method must be a string");
  if (isAnswer) return bad("a message with a method has neither result nor error");
  const given = asObject(params);
  if (params !== undefined && given === undefined) return bad("params must be an object");
  if (id === undefined) return { kind: "notification", method, params: given, text };
  if (!isRequestId(id)) return bad("id must be a string or an integer");
  return { kind: "request", id, method, params: given, text };
}

function readResponse({ id, result, error }: Params, text: string): ResponseMessage | Malformed {
  const bad = (detail: string) => malformed("message", detail);
  if (result !== undefined && error !== undefined) return bad("an answer has a result or an error, not both");
  if (error === undefined) {
    const given = asObject(result);
    if (given === undefined) return bad("result must be an object");
    if (!isRequestId(id)) return bad("id must be a string or an integer");
    return { kind: "response", id, result: given, error: undefined, text };
  }
  const { code, message } = asObject(error) ?? {};
  if (!Number.isInteger(code) || typeof message !== "string") {
    return bad("error must be an object with an integer code and a string message");
  }
  if (id !== undefined && id !== null && !isRequestId(id)) {
    return bad("id must be a string, an integer or null");
  }
  return {
    kind: "response",
    id: id ?? null,
    result: undefined,
    error: { code: code as number, message },
    text,
  };
}

function malformed(problem: Malformed["problem"], detail: string, id: RequestId | null = null): Malformed {
  return { kind: "malformed", problem, detail, id };
}

/** Whether a value may be an id of a request. Beyond the safe integers two ids could look the same. */
export function isRequestId(value: unknown): value is RequestId {
  return typeof value === "string" || Number.isSafeInteger(value);
}

/** A JSON object as such; undefined for everything else, arrays too. */
export function asObject(value: unknown): Params | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Params : undefined;
}

/** Valid JSON holds raw line breaks between tokens only, where a space means the same. */
function onOneLine(json: string): string {
  return json.indexOf("\n") < 0 && json.indexOf("\r") < 0 ? json : json.replace(/[\r\n]/g, " ");
}
