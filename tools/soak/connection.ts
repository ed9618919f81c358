/**
 * A client's end of one connection, which can do what no HTTP client offers: send half a request, stop to read, hang up
 * in every way there is.
 *
 * @module
 */
import { connect, type Socket } from "node:net";

/** How long an answer may take before the gateway counts as hung, in ms. */
const ANSWER_MS = 30_000;

/** A response, or what there is of it. */
export interface Response {
  readonly status: number;
  readonly sessionId: string | undefined;
  readonly text: string;
}

/** What a request is made of. */
export interface Request {
  readonly method: "POST" | "GET" | "DELETE";
  readonly serverId: string;
  readonly sessionId?: string | undefined;
  readonly body?: string;
}

/** The text of a request. */
export function encode({ method, serverId, sessionId, body }: Request): string {
  const session = sessionId === undefined ? "" : `mcp-session-id: ${sessionId}\r\n`;
  const content = body === undefined
    ? ""
    : `content-type: application/json\r\ncontent-length: ${new TextEncoder().encode(body).byteLength}\r\n`;
  return `${method} /mcp/${serverId} HTTP/1.1\r\nhost: 127.0.0.1\r\n` +
    `accept: application/json, text/event-stream\r\n${session}${content}\r\n${body ?? ""}`;
}

/** See the module's documentation. One request at a time; whoever opens it has to close it, in one way or another. */
export class Connection {
  readonly #socket: Socket;
  #received = "";
  #over = false;
  /** Called when there is something new. */
  #onNews: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#received += text;
      this.#onNews();
    });
    const over = () => {
      this.#over = true;
      this.#onNews();
    };
    socket.on("error", over);
    socket.on("close", over);
  }

  /** Connects to a port of this machine. */
  static async open(port: number): Promise<Connection> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", resolve);
    socket.once("error", reject);
    await promise;
    socket.off("error", reject);
    socket.setNoDelay(true);
    return new Connection(socket);
  }

  /** Sends a text, be it a whole request or not. */
  send(text: string): void {
    this.#received = "";
    this.#socket.write(text);
  }

  /** Sends a request and reads the answer to its end. */
  async ask(request: Request): Promise<Response> {
    this.send(encode(request));
    return await this.#answer(isWhole);
  }

  /** Sends a request and waits for the head of its answer. */
  async knock(request: Request): Promise<Response> {
    this.send(encode(request));
    return await this.#answer((text) => text.includes("\r\n\r\n"));
  }

  /** Reads no more; what comes stays with the system. */
  freeze(): void {
    this.#socket.pause();
  }

  /** Hangs up. */
  close(): void {
    this.#socket.destroy();
  }

  /** Hangs up by RST. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** Waits until the gateway hangs up, or ends its stream, for so long at most. */
  async ended(withinMs: number): Promise<void> {
    await this.#until(() => this.#received.endsWith("0\r\n\r\n"), withinMs);
  }

  async #answer(isThere: (text: string) => boolean): Promise<Response> {
    const came = await this.#until(() => isThere(this.#received), ANSWER_MS);
    const text = this.#received;
    if (!came) {
      const how = this.#over ? "hung up" : `said nothing for ${ANSWER_MS} ms`;
      throw new Error(`the gateway ${how} after ${JSON.stringify(text.slice(0, 200))}`);
    }
    return {
      status: Number(text.slice("HTTP/1.1 ".length, "HTTP/1.1 200".length)),
      sessionId: /^mcp-session-id: (\S+)/im.exec(text)?.[1],
      text,
    };
  }

  /** @returns Whether it came true before the connection was over and the time was up. */
  async #until(isTrue: () => boolean, withinMs: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, withinMs);
    this.#onNews = () => {
      if (this.#over || isTrue()) resolve();
    };
    this.#onNews();
    await promise;
    clearTimeout(timer);
    return isTrue();
  }
}

function isWhole(text: string): boolean {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return false;
  const head = text.slice(0, headEnd);
  if (/^transfer-encoding: chunked/im.test(head)) return text.endsWith("\r\n0\r\n\r\n");
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
  return text.length >= headEnd + 4 + length;
}
