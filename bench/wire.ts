/**
 * Single requests to a gateway, for benchmarks of what one of them takes.
 *
 * @module
 */
const HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };

/** What came of a request. */
export interface Answered {
  readonly sessionId: string | null;
  readonly text: string;
}

/** POSTs a message and reads the answer. @throws Where that is no answer. */
export async function ask(
  url: string,
  message: Readonly<Record<string, unknown>>,
  sessionId?: string,
): Promise<Answered> {
  const response = await fetch(url, {
    method: "POST",
    headers: { ...HEADERS, ...(sessionId !== undefined && { "mcp-session-id": sessionId }) },
    body: JSON.stringify({ jsonrpc: "2.0", ...message }),
  });
  const text = await response.text();
  if (!response.ok || text.includes('"error":')) throw new Error(`${response.status} ${text}`);
  return { sessionId: response.headers.get("mcp-session-id"), text };
}

/** Opens a session. @returns Its id. */
export async function open(url: string): Promise<string> {
  const clientInfo = { name: "bench", version: "1" };
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
  const { sessionId } = await ask(url, { id: 0, method: "initialize", params });
  await ask(url, { method: "notifications/initialized" }, sessionId!);
  return sessionId!;
}

/** Ends a session. */
export async function end(url: string, sessionId: string): Promise<void> {
  const response = await fetch(url, { method: "DELETE", headers: { "mcp-session-id": sessionId } });
  await response.body?.cancel();
}

/** The value in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A flag's whole number. @throws {RangeError} */
export function whole(name: string, text: string, { min = 1, max }: { min?: number; max: number }): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new RangeError(
    `--${name} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text)}`,
  );
}

/** Writes a line to stdout. */
export function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
