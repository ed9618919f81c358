/**
 * A load of MCP calls on one gateway, for a fixed time: its own process, so that its work is nobody else's.
 *
 * Speaks HTTP/1.1 on plain keep-alive connections with one request in flight on each, which costs a fraction of
 * `fetch`. Any answer that is not the expected one ends it with an error. Takes one JSON argument, a {@link Load}, and
 * prints one JSON line, a {@link LoadResult}.
 *
 * @module
 */

/** What to send. */
export interface Load {
  /** `http://127.0.0.1:PORT/mcp/…`; loopback only. */
  readonly url: string;
  readonly sessions: number;
  readonly connectionsPerSession: number;
  readonly seconds: number;
  /** Bytes of the argument that each call carries. */
  readonly payloadBytes: number;
}

/** What came of it. */
export interface LoadResult {
  readonly requests: number;
  readonly requestsPerS: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** One keep-alive connection with one request in flight at a time. */
class Connection {
  readonly #socket: Deno.TcpConn;
  readonly #head: string;
  readonly #buffer = new Uint8Array(4 * 1024 * 1024);

  private constructor(socket: Deno.TcpConn, head: string) {
    this.#socket = socket;
    this.#head = head;
  }

  static async open(url: URL, sessionId: string | undefined): Promise<Connection> {
    const socket = await Deno.connect({ hostname: url.hostname, port: Number(url.port) });
    socket.setNoDelay(true);
    const session = sessionId === undefined
      ? ""
      : `mcp-session-id: ${sessionId}\r\nmcp-protocol-version: 2025-06-18\r\n`;
    return new Connection(
      socket,
      `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\n` +
        `accept: application/json, text/event-stream\r\n${session}content-length: `,
    );
  }

  /** A request as bytes. */
  encode(body: string): Uint8Array {
    return encoder.encode(`${this.#head}${encoder.encode(body).byteLength}\r\n\r\n${body}`);
  }

  /** Sends a request and reads its response; fails on any other status than `status`. */
  async send(request: Uint8Array, status = 200): Promise<{ head: string; body: string }> {
    for (let sent = 0; sent < request.byteLength;) sent += await this.#socket.write(request.subarray(sent));
    let size = 0;
    for (;;) {
      const read = await this.#socket.read(this.#buffer.subarray(size));
      if (read === null) throw new Error("the gateway closed the connection");
      size += read;
      // Only the beginning is decoded each time: a large body would otherwise cost more than it does the gateway.
      const start = decoder.decode(this.#buffer.subarray(0, Math.min(size, 1024)));
      const headEnd = start.indexOf("\r\n\r\n");
      if (headEnd < 0) continue;
      const head = start.slice(0, headEnd);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (size < headEnd + 4 + length) continue;
      if (!head.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`unexpected answer: ${start}`);
      return { head, body: decoder.decode(this.#buffer.subarray(headEnd + 4, size)) };
    }
  }

  close(): void {
    this.#socket.close();
  }
}

async function openSession(url: URL): Promise<string> {
  const connection = await Connection.open(url, undefined);
  const { head } = await connection.send(connection.encode(JSON.stringify({
    jsonrpc: "2.0",
    id: 0,
    method: "initialize",
    params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
  })));
  connection.close();
  const sessionId = /mcp-session-id: (\S+)/i.exec(head)?.[1];
  if (sessionId === undefined) throw new Error(`initialize named no session: ${head}`);
  const confirming = await Connection.open(url, sessionId);
  const confirmation = JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" });
  await confirming.send(confirming.encode(confirmation), 202);
  confirming.close();
  return sessionId;
}

/** Calls until the time is up; returns how long each call took, in µs. */
async function call(
  connection: Connection,
  firstId: number,
  { seconds, payloadBytes }: Load,
): Promise<number[]> {
  const payload = "x".repeat(payloadBytes);
  const tookUs: number[] = [];
  const untilMs = performance.now() + seconds * 1000;
  for (let id = firstId; performance.now() < untilMs; id++) {
    const params = { name: "echo", arguments: { message: payload } };
    const request = connection.encode(JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params }));
    const startMs = performance.now();
    const { body } = await connection.send(request);
    tookUs.push((performance.now() - startMs) * 1000);
    if (!body.startsWith(`{"jsonrpc":"2.0","id":${id},"result"`)) {
      throw new Error(`unexpected answer: ${body}`);
    }
  }
  return tookUs;
}

if (import.meta.main) {
  const load: Load = JSON.parse(Deno.args[0]!);
  const url = new URL(load.url);
  if (url.hostname !== "127.0.0.1") throw new Error(`load goes to loopback only, not to ${url.hostname}`);
  const calls: Promise<number[]>[] = [];
  const connections: Connection[] = [];
  for (let session = 0; session < load.sessions; session++) {
    const sessionId = await openSession(url);
    for (let n = 0; n < load.connectionsPerSession; n++) {
      connections.push(await Connection.open(url, sessionId));
    }
  }
  connections.forEach((connection, n) => calls.push(call(connection, (n + 1) * 100_000_000, load)));
  const tookUs = (await Promise.all(calls)).flat().sort((a, b) => a - b);
  connections.forEach((connection) => connection.close());
  const at = (share: number) => Math.round(tookUs[Math.floor(tookUs.length * share)] ?? 0);
  const result: LoadResult = {
    requests: tookUs.length,
    requestsPerS: Math.round(tookUs.length / load.seconds),
    p50Us: at(0.5),
    p99Us: at(0.99),
  };
  Deno.stdout.writeSync(encoder.encode(`${JSON.stringify(result)}\n`));
}
