/**
 * A client that sends exactly what it is told, for what the SDK's client would not do.
 *
 * @module
 */
import { eventually } from "../fakes/eventually.ts";
import type { Gateway } from "./gateway.ts";

/** A message as JSON has it. */
export interface Wire {
  readonly jsonrpc?: string;
  readonly id?: string | number | null;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

/** The answer to a POST, read to its end. */
export interface Answer {
  readonly status: number;
  readonly sessionId: string | null;
  readonly contentType: string | null;
  /** Every message of the body, be it JSON or a stream of events; the last is the answer. */
  readonly messages: readonly Wire[];
  /** The last message. */
  readonly message: Wire | undefined;
}

const HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const VERSION = "2025-11-25";

/** POSTs one message and reads the whole answer. */
export async function post(
  url: string,
  message: Wire,
  { sessionId, signal, headers }: {
    sessionId?: string | undefined;
    signal?: AbortSignal;
    headers?: Readonly<Record<string, string>>;
  } = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method: "POST",
    headers: { ...HEADERS, ...(sessionId !== undefined && { "mcp-session-id": sessionId }), ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", ...message }),
    ...(signal && { signal }),
  });
  const contentType = response.headers.get("content-type");
  const messages = messagesOf(await response.text(), contentType);
  return {
    status: response.status,
    sessionId: response.headers.get("mcp-session-id"),
    contentType,
    messages,
    message: messages.at(-1),
  };
}

/** The messages of a body. */
export function messagesOf(text: string, contentType: string | null): Wire[] {
  if (contentType?.includes("text/event-stream")) {
    return text.split("\n").filter((line) => line.startsWith("data: {")).map((line) =>
      JSON.parse(line.slice(6))
    );
  }
  return text === "" ? [] : [JSON.parse(text)];
}

/** The message that opens a session. */
export function initialize(capabilities: Record<string, unknown> = {}): Wire {
  const clientInfo = { name: "raw", version: "1" };
  return { id: "init", method: "initialize", params: { protocolVersion: VERSION, capabilities, clientInfo } };
}

/** An open session. Nothing is sent that is not asked for. */
export class RawSession {
  readonly #url: string;
  readonly id: string;
  /** What `initialize` was answered with. */
  readonly opened: Wire;
  #nextId = 1;

  private constructor(url: string, id: string, opened: Wire) {
    this.#url = url;
    this.id = id;
    this.opened = opened;
  }

  /** Sends `initialize` and `notifications/initialized`. */
  static async open(
    gateway: Gateway,
    serverId: string,
    { capabilities = {}, initialized = true }: {
      capabilities?: Record<string, unknown>;
      initialized?: boolean;
    } = {},
  ): Promise<RawSession> {
    const url = gateway.url(serverId);
    const { status, sessionId, message } = await post(url, initialize(capabilities));
    if (status !== 200 || sessionId === null) {
      throw new Error(`Cannot open a session of ${serverId}: ${status} ${JSON.stringify(message)}`);
    }
    const session = new RawSession(url, sessionId, message!);
    if (initialized) await session.notify("notifications/initialized");
    return session;
  }

  async request(method: string, params: Record<string, unknown> = {}, signal?: AbortSignal): Promise<Answer> {
    const message = { id: this.#nextId++, method, params };
    return await post(this.#url, message, { sessionId: this.id, ...(signal && { signal }) });
  }

  /** Calls a tool. */
  async call(name: string, args: Record<string, unknown> = {}, signal?: AbortSignal): Promise<Answer> {
    return await this.request("tools/call", { name, arguments: args }, signal);
  }

  /** Calls a tool and returns its text. */
  async text(name: string, args: Record<string, unknown> = {}): Promise<string> {
    const { status, message } = await this.call(name, args);
    const [content] = (message?.result?.content ?? []) as { text: string }[];
    if (content === undefined) throw new Error(`${name}: ${status} ${JSON.stringify(message)}`);
    return content.text;
  }

  async notify(method: string, params: Record<string, unknown> = {}): Promise<number> {
    return (await post(this.#url, { method, params }, { sessionId: this.id })).status;
  }

  /** Answers a request of the server, or of the gateway; returns the status. */
  async answer(id: string | number, result: Record<string, unknown>): Promise<number> {
    return (await post(this.#url, { id, result }, { sessionId: this.id })).status;
  }

  /** The status of a `ping`, which counts as activity. */
  async ping(): Promise<number> {
    return (await this.request("ping")).status;
  }

  async delete(): Promise<number> {
    const response = await fetch(this.#url, { method: "DELETE", headers: { "mcp-session-id": this.id } });
    await response.body?.cancel();
    return response.status;
  }

  /** Opens the standalone stream. */
  async stream(): Promise<OpenStream> {
    return await OpenStream.open(this.#url, {
      headers: { accept: "text/event-stream", "mcp-session-id": this.id },
    });
  }

  /** POSTs a request and reads the stream of its answer as it comes. */
  async requestStream(method: string, params: Record<string, unknown> = {}): Promise<OpenStream> {
    return await OpenStream.open(this.#url, {
      method: "POST",
      headers: { ...HEADERS, "mcp-session-id": this.id },
      body: JSON.stringify({ jsonrpc: "2.0", id: this.#nextId++, method, params }),
    });
  }
}

/** A stream of events that is read as it comes. Dispose it, or read it to its end. */
export class OpenStream implements AsyncDisposable {
  readonly status: number;
  readonly contentType: string | null;
  /** What came, as text. */
  text = "";
  /** True once the gateway ended the stream, or the client cut it. */
  ended = false;
  readonly #cut: AbortController;
  readonly #whole: Promise<void>;

  private constructor(response: Response, cut: AbortController) {
    this.status = response.status;
    this.contentType = response.headers.get("content-type");
    this.#cut = cut;
    this.#whole = this.#read(response);
  }

  static async open(url: string, init: RequestInit): Promise<OpenStream> {
    const cut = new AbortController();
    return new OpenStream(await fetch(url, { ...init, signal: cut.signal }), cut);
  }

  /** The messages so far. */
  get messages(): Wire[] {
    // The last event may be half there.
    const whole = this.text.slice(0, this.text.lastIndexOf("\n\n") + 1);
    return messagesOf(whole, "text/event-stream");
  }

  /** Waits for a message. */
  async message(match: (message: Wire) => boolean, what: string): Promise<Wire> {
    return await eventually(() => this.messages.find(match), what);
  }

  /** Waits for the gateway to end it. */
  async end(): Promise<void> {
    await eventually(() => this.ended, `the end of a stream, which had ${JSON.stringify(this.text)}`);
    await this.#whole;
  }

  /** Cuts the connection. */
  async cut(): Promise<void> {
    this.#cut.abort();
    await this.#whole;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cut();
  }

  async #read(response: Response): Promise<void> {
    try {
      for await (const text of response.body!.pipeThrough(new TextDecoderStream())) this.text += text;
    } catch (error) {
      if (!this.#cut.signal.aborted) this.text += `\n[broken off: ${error}]`;
    }
    this.ended = true;
  }
}
