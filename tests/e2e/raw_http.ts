/**
 * One TCP connection, one text of any bytes, and all that comes back.
 *
 * @module
 */

/** Long enough for anything; only a connection that hangs takes longer, and then the test fails. */
const HANG_MS = 20_000;

/** One response of several that a connection may carry. */
export interface RawResponse {
  /** The first line. */
  readonly status: string;
  readonly headers: Headers;
  readonly body: string;
}

/** How to talk. */
export interface TalkOptions {
  /** Whether the client ends its side at once. */
  readonly hangsUp?: boolean;
  /** The client ends its side when so much has come: for what the other side leaves open. Not at all unless given. */
  readonly endAfter?: (text: string) => boolean;
}

/** Text as bytes of Latin-1, one for each character. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** Sends a text, a byte for each character, and returns all that comes back until the other side ends it. */
export async function talk(
  origin: string,
  text: string,
  { hangsUp = false, endAfter }: TalkOptions = {},
): Promise<string> {
  const { hostname, port } = new URL(origin);
  using socket = await Deno.connect({ hostname, port: Number(port) });
  const answer = read(socket, endAfter);
  const watchdog = setTimeout(() => socket.close(), HANG_MS);
  try {
    const bytes = bytesOf(text);
    for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
    if (hangsUp) await socket.closeWrite();
  } catch (error) {
    // Who refuses a request need not read it to its end.
    if (!isCut(error)) throw error;
  }
  try {
    return await answer;
  } finally {
    clearTimeout(watchdog);
  }
}

async function read(socket: Deno.TcpConn, endAfter: TalkOptions["endAfter"]): Promise<string> {
  const bytes = new Uint8Array(64 * 1024);
  let text = "";
  let ended = false;
  for (;;) {
    let count: number | null;
    try {
      count = await socket.read(bytes);
    } catch (error) {
      // A connection that is closed with something unread is reset.
      if (isCut(error)) return text;
      throw new Error(`the connection hung, after ${JSON.stringify(text.slice(0, 1_000))}`, { cause: error });
    }
    if (count === null) return text;
    for (const byte of bytes.subarray(0, count)) text += String.fromCharCode(byte);
    if (ended || endAfter?.(text) !== true) continue;
    ended = true;
    await socket.closeWrite();
  }
}

function isCut(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.NotConnected;
}

/**
 * The responses in a text.
 *
 * @param isHead Whether they answer HEAD, so that they have no bodies.
 */
export function responsesOf(text: string, isHead = false): RawResponse[] {
  const responses: RawResponse[] = [];
  while (text !== "") {
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) throw new Error(`no response: ${JSON.stringify(text.slice(0, 1_000))}`);
    const [status = "", ...lines] = text.slice(0, end).split("\r\n");
    const headers = new Headers(lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }));
    text = text.slice(end + 4);
    const length = isHead ? 0 : Number(headers.get("content-length") ?? 0);
    responses.push({ status, headers, body: text.slice(0, length) });
    text = text.slice(length);
  }
  return responses;
}
