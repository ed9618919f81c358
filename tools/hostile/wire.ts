/**
 * One mutated request on a connection of its own, as bytes: what no HTTP client would send goes out as it is.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Mutated } from "../../tests/routes/mutants.ts";

/** A gateway that is silent for so long hangs, in ms. */
const HANG_MS = 20_000;
/** So long a stream is read before the client hangs up, in ms. */
const STREAM_MS = 40;
const MAX_HEAD = 256 * 1024;

/** What came back. */
export interface Outcome {
  /** 0 where the connection ended without a response. */
  readonly status: number;
  readonly headers: Headers;
  /** Head and body as they came, a character for each byte. */
  readonly text: string;
  /** True where nothing came and the connection stayed open. */
  readonly hung: boolean;
}

/** The bytes of a request. */
export function bytesOf({ url, method, headers, body, delivery }: Mutated): Buffer<ArrayBuffer> {
  const hostAt = url.indexOf("//") + 2;
  const pathAt = url.indexOf("/", hostAt);
  const host = headers.get("host") ?? url.slice(hostAt, pathAt);
  const lines = [`host: ${host}`];
  for (const [name, value] of headers) if (name !== "host") lines.push(`${name}: ${value}`);
  // A path may hold anything; everything else is bytes already.
  const target = Buffer.from(url.slice(pathAt), "utf8").toString("latin1");
  const isFramed = headers.has("content-length") || headers.has("transfer-encoding");
  const chunked = !isFramed && delivery === "bits" && body !== undefined;
  if (!isFramed && body !== undefined) {
    lines.push(chunked ? "transfer-encoding: chunked" : `content-length: ${body.length}`);
  }
  if (!headers.has("connection")) lines.push("connection: close");
  const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`, "latin1");
  if (body === undefined) return head;
  if (!chunked) {
    const end = delivery === "broken" ? Math.ceil(body.length / 2) : body.length;
    return Buffer.concat([head, body.subarray(0, end)]);
  }
  const size = Math.ceil(body.length / 3);
  const chunks = [0, 1, 2].map((no) => body.slice(no * size, (no + 1) * size))
    .filter(({ length }) => length > 0)
    .flatMap((chunk) => [Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n")]);
  return Buffer.concat([head, ...chunks, Buffer.from("0\r\n\r\n")]);
}

/** Sends a request to a port of this machine and reads its response: to its end, or the start of a stream. */
export async function send(port: number, mutated: Mutated): Promise<Outcome> {
  let socket: Deno.TcpConn;
  try {
    socket = await Deno.connect({ hostname: "127.0.0.1", port });
  } catch {
    return { status: 0, headers: new Headers(), text: "", hung: false };
  }
  let hung = false;
  let closed = false;
  const close = () => {
    if (!closed) socket.close();
    closed = true;
  };
  const watchdog = setTimeout(() => {
    hung = true;
    close();
  }, HANG_MS);
  let streaming: ReturnType<typeof setTimeout> | undefined;
  let text = "";
  try {
    const reading = (async () => {
      const chunk = new Uint8Array(64 * 1024);
      for (;;) {
        const count = await socket.read(chunk);
        if (count === null) return;
        text += Buffer.from(chunk.buffer, 0, count).toString("latin1");
        if (isWhole(text, mutated.method)) return;
        if (streaming === undefined && /\r\ncontent-type: text\/event-stream/i.test(text)) {
          streaming = setTimeout(close, STREAM_MS);
        }
      }
    })();
    reading.catch(() => {});
    try {
      const bytes = bytesOf(mutated);
      for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
      if (mutated.delivery === "broken") await socket.closeWrite();
    } catch {
      // Who refuses a request need not read it to its end.
    }
    await reading.catch(() => {});
  } finally {
    clearTimeout(watchdog);
    clearTimeout(streaming);
    close();
  }
  const [, status = "0"] = /^HTTP\/1\.[01] (\d{3})/.exec(text) ?? [];
  return { status: Number(status), headers: headersOf(text), text, hung: hung && text === "" };
}

function headersOf(text: string): Headers {
  const headers = new Headers();
  const end = text.indexOf("\r\n\r\n");
  if (end < 0 || end > MAX_HEAD) return headers;
  for (const line of text.slice(0, end).split("\r\n").slice(1)) {
    const colon = line.indexOf(":");
    headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return headers;
}

function isWhole(text: string, method: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const head = text.slice(0, end);
  if (/^HTTP\/1\.\d 1\d\d/.test(head)) return false;
  if (method === "HEAD" || /^HTTP\/1\.\d (204|304)/.test(head)) return true;
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return text.length >= end + 4 + Number(length);
  return /\r\ntransfer-encoding: *chunked/i.test(head) && text.endsWith("\r\n0\r\n\r\n");
}
