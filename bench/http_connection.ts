/**
 * A client's half of HTTP/1.1 on one plain keep-alive connection, with one request in flight at a time: a fraction of
 * what `fetch` costs, so that the load takes little from the gateway under it.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** What came back. */
export interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

const FIRST_BUFFER_BYTES = 64 * 1024;
const HEAD_END = Buffer.from("\r\n\r\n");
const CRLF = Buffer.from("\r\n");

/** See the module's documentation. Understands `content-length` and chunked bodies, as the gateways send them. */
export class HttpConnection {
  readonly #socket: Deno.TcpConn;
  readonly #head: string;
  /** Its first {@link #size} bytes are the response so far. */
  #buffer = Buffer.alloc(FIRST_BUFFER_BYTES);
  #size = 0;

  private constructor(socket: Deno.TcpConn, head: string) {
    this.#socket = socket;
    this.#head = head;
  }

  /** Connects. Each request will be a POST to `url` with these headers. */
  static async open(url: URL, headers: Record<string, string>): Promise<HttpConnection> {
    const socket = await Deno.connect({ hostname: url.hostname, port: Number(url.port) });
    socket.setNoDelay(true);
    const lines = Object.entries({ host: url.host, ...headers }).map(([name, value]) =>
      `${name}: ${value}\r\n`
    );
    return new HttpConnection(socket, `POST ${url.pathname} HTTP/1.1\r\n${lines.join("")}content-length: `);
  }

  /** A request as bytes, so that encoding it is no part of the time that it takes. */
  encode(body: string): Uint8Array {
    return Buffer.from(`${this.#head}${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  /** Sends a request and reads its response. */
  async send(request: Uint8Array): Promise<Answer> {
    for (let sent = 0; sent < request.byteLength;) sent += await this.#socket.write(request.subarray(sent));
    this.#size = 0;
    let bodyAt = 0;
    while (bodyAt === 0) {
      await this.#read();
      const end = this.#received.indexOf(HEAD_END);
      if (end >= 0) bodyAt = end + HEAD_END.byteLength;
    }
    const head = this.#buffer.toString("latin1", 0, bodyAt);
    const length = /^content-length: (\d+)/im.exec(head)?.[1];
    const body = /^transfer-encoding: chunked/im.test(head)
      ? await this.#chunked(bodyAt)
      : await this.#sized(bodyAt, Number(length ?? 0));
    return { status: Number(head.slice("HTTP/1.1 ".length, "HTTP/1.1 200".length)), head, body };
  }

  close(): void {
    this.#socket.close();
  }

  get #received(): Buffer {
    return this.#buffer.subarray(0, this.#size);
  }

  async #read(): Promise<void> {
    if (this.#size === this.#buffer.byteLength) {
      const larger = Buffer.alloc(2 * this.#size);
      this.#buffer.copy(larger);
      this.#buffer = larger;
    }
    const read = await this.#socket.read(this.#buffer.subarray(this.#size));
    if (read === null) throw new Error("the gateway closed the connection");
    this.#size += read;
  }

  async #sized(bodyAt: number, length: number): Promise<string> {
    while (this.#size < bodyAt + length) await this.#read();
    return this.#buffer.toString("utf8", bodyAt, bodyAt + length);
  }

  async #chunked(bodyAt: number): Promise<string> {
    const parts: Buffer[] = [];
    for (let at = bodyAt;;) {
      let end = this.#received.indexOf(CRLF, at);
      for (; end < 0; end = this.#received.indexOf(CRLF, at)) await this.#read();
      const size = parseInt(this.#buffer.toString("latin1", at, end), 16);
      const start = end + CRLF.byteLength;
      at = start + size + CRLF.byteLength;
      while (this.#size < at) await this.#read();
      if (size === 0) return Buffer.concat(parts).toString();
      // A copy, because the buffer may be replaced by a larger one.
      parts.push(Buffer.from(this.#buffer.subarray(start, start + size)));
    }
  }
}
