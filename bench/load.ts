/**
 * A load of MCP calls on one gateway, for a fixed time: its own process, so that its work is nobody else's.
 *
 * One request in flight on each connection. Any answer that is not the expected one ends it with an error. Takes one
 * JSON argument, a {@link Load}, and prints one JSON line, a {@link LoadResult}.
 *
 * @module
 */
import { type Answer, HttpConnection } from "./http_connection.ts";

/** What to send. */
export interface Load {
  /** `http://127.0.0.1:PORT/mcp/…`; loopback only. */
  readonly url: string;
  /** How many sessions to open, or the ids of those to use: opening is no part of what is measured. */
  readonly sessions: number | readonly string[];
  readonly connectionsPerSession: number;
  readonly seconds: number;
  /** Bytes of the argument that each call carries. */
  readonly payloadBytes: number;
  /** Progress notifications that each call asks for. */
  readonly progressCount: number;
  /** Events that come back for each call; 0 where the answer comes as plain JSON. */
  readonly expectedEvents: number;
}

/** What came of it. */
export interface LoadResult {
  /** The sessions that were used; they stay open. */
  readonly sessionIds: readonly string[];
  readonly requests: number;
  readonly requestsPerS: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const PROTOCOL_VERSION = "2025-06-18";
/** Keeps the ids of connections that share a session apart. */
const IDS_PER_CONNECTION = 100_000_000;
const HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };

/** Opens a session as any client does. */
async function openSession(url: URL): Promise<string> {
  const connection = await HttpConnection.open(url, HEADERS);
  const params = {
    protocolVersion: PROTOCOL_VERSION,
    capabilities: {},
    clientInfo: { name: "bench", version: "1" },
  };
  const opened = await connection.send(
    connection.encode(JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params })),
  );
  connection.close();
  const sessionId = /^mcp-session-id: (\S+)/im.exec(opened.head)?.[1];
  if (opened.status !== 200 || sessionId === undefined) throw unexpected(opened);
  const confirming = await connect(url, sessionId);
  const confirmed = await confirming.send(
    confirming.encode(JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })),
  );
  confirming.close();
  if (confirmed.status !== 202) throw unexpected(confirmed);
  return sessionId;
}

function connect(url: URL, sessionId: string): Promise<HttpConnection> {
  return HttpConnection.open(url, {
    ...HEADERS,
    "mcp-session-id": sessionId,
    "mcp-protocol-version": PROTOCOL_VERSION,
  });
}

/** Calls until the time is up; returns how long each call took, in µs. */
async function call(connection: HttpConnection, firstId: number, load: Load): Promise<number[]> {
  const args = { message: "x".repeat(load.payloadBytes), progressCount: load.progressCount };
  const tookUs: number[] = [];
  const untilMs = performance.now() + load.seconds * 1000;
  for (let id = firstId; performance.now() < untilMs; id++) {
    const params = {
      name: "echo",
      arguments: args,
      ...(load.progressCount > 0 && { _meta: { progressToken: id } }),
    };
    const request = connection.encode(JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params }));
    const startMs = performance.now();
    const answer = await connection.send(request);
    tookUs.push((performance.now() - startMs) * 1000);
    if (!isAnswerTo(id, answer, load.expectedEvents)) throw unexpected(answer);
  }
  return tookUs;
}

function isAnswerTo(id: number, { status, body }: Answer, expectedEvents: number): boolean {
  const result = `{"jsonrpc":"2.0","id":${id},"result"`;
  if (status !== 200) return false;
  if (expectedEvents === 0) return body.startsWith(result);
  const events = body.match(/^data: .*$/gm) ?? [];
  return events.length === expectedEvents && events.at(-1)!.startsWith(`data: ${result}`);
}

function unexpected({ head, body }: Answer): Error {
  return new Error(`unexpected answer: ${head}${body.slice(0, 1000)}`);
}

if (import.meta.main) {
  const load: Load = JSON.parse(Deno.args[0]!);
  const url = new URL(load.url);
  if (url.hostname !== "127.0.0.1") throw new Error(`load goes to loopback only, not to ${url.hostname}`);
  const { sessions } = load;
  const sessionIds = typeof sessions === "number"
    ? await Promise.all(Array.from({ length: sessions }, () => openSession(url)))
    : sessions;
  const perSession = Array.from({ length: load.connectionsPerSession });
  const connections = await Promise.all(
    sessionIds.flatMap((sessionId) => perSession.map(() => connect(url, sessionId))),
  );
  const calls = connections.map((connection, n) => call(connection, (n + 1) * IDS_PER_CONNECTION, load));
  const tookUs = (await Promise.all(calls)).flat().sort((a, b) => a - b);
  connections.forEach((connection) => connection.close());
  const at = (share: number) => Math.round(tookUs[Math.floor(tookUs.length * share)] ?? 0);
  const result: LoadResult = {
    sessionIds,
    requests: tookUs.length,
    requestsPerS: Math.round(tookUs.length / load.seconds),
    p50Us: at(0.5),
    p99Us: at(0.99),
  };
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(result)}\n`));
}
