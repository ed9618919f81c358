/**
 * What can go wrong between the gateway and a server elsewhere, in words that are safe to show: no URL, no header and
 * nothing of a body is quoted, since each may hold a secret.
 *
 * @module
 */
import type { Failure } from "../../errors.ts";

/** What it means for the message that met it. */
export type Trouble =
  /** There is no connection to the server: nothing was sent. */
  | "unreachable"
  /** The connection broke, or nothing came in time: nobody knows whether the message was taken. */
  | "lost"
  /** The server answered with a status that is no success. */
  | "status"
  /** It does not know its own session any more: the message was not taken. */
  | "session"
  /** It speaks only a revision without sessions. */
  | "modern"
  /** It answered with what cannot be an answer, or points elsewhere. */
  | "content"
  /** The gateway itself let go of it. */
  | "closed";

/** Statuses with which a stream may be there later. With any other below 500 it is not offered. */
const LATER = [408, 425, 429];

/** What a server that is well says to who asks wrongly, or must not. */
const ABOUT_REQUEST: readonly number[] = [400, 401, 403, 422];

/** One of them. Its message completes the sentence "server "x" …". */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";
  readonly trouble: Trouble;
  /** The HTTP status, where there was one. */
  readonly status: number | undefined;
  /** The server's own JSON-RPC error, where the body was one: JSON. */
  readonly answer: string | undefined;

  constructor(
    trouble: Trouble,
    message: string,
    { status, answer, cause }: { status?: number; answer?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.trouble = trouble;
    this.status = status;
    this.answer = answer;
  }

  /** What is told the client whose request met it. */
  get failure(): Failure {
    return { code: this.trouble === "modern" ? "upstreamModern" : "upstreamFailed", detail: this.message };
  }

  /**
   * Whether it is about who asks or what, and says nothing of the server's health. A client may send anything as its
   * `initialize`, which servers answer with 400; it must not get them into quarantine by that.
   */
  get isRefusal(): boolean {
    return this.trouble === "modern" || ABOUT_REQUEST.includes(this.status ?? 0);
  }
}

/** What the runtime says when it cannot connect, and what it is called here. In this order. */
const CONNECT_REASONS: readonly [RegExp, string][] = [
  [/dns error|failed to lookup address/i, "its name is not found"],
  [/connection refused/i, "connection refused"],
  [/network (?:is )?unreachable|no route to host|host is unreachable/i, "no route to it"],
  [/invalid peer certificate: UnknownIssuer/, "its certificate is of an unknown authority (see caFile)"],
  [/invalid peer certificate: NotValidForName/, "its certificate is for another name"],
  [/invalid peer certificate: (?:Expired|NotValidYet)/, "its certificate has expired or is not valid yet"],
  [/invalid peer certificate/, "its certificate is not valid"],
  [/InvalidContentType|corrupt message|handshake|tls/i, "it does not speak TLS as expected"],
  [/timed out/i, "no connection in time"],
  [/ports? \d+ (?:is|are) blocked|are blocked/i, "its port is one that fetch never uses"],
];

/** Whether to come back would be of no use. */
export function isFinal(error: unknown): boolean {
  if (!(error instanceof UpstreamError)) return true;
  const { trouble, status } = error;
  if (trouble === "closed" || trouble === "content") return true;
  return status !== undefined && status < 500 && !LATER.includes(status);
}

/** What the transport throws of its own: a redirect that it does not follow. */
export function asUpstreamError(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code === "number" && code >= 300 && code < 400) {
    return new UpstreamError(
      "status",
      `answered with HTTP ${code}, a redirect that does not keep the request`,
      {
        status: code,
      },
    );
  }
  return connectionError(error);
}
/** What the runtime threw, in words; never its own, which hold the whole URL. */
export function connectionError(cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  const text = chain(cause);
  const reason = CONNECT_REASONS.find(([pattern]) => pattern.test(text))?.[1];
  const isUnsent = /client error \(Connect\)|Connection refused|lookup address|are blocked/i.test(text);
  if (isUnsent || reason !== undefined) {
    return new UpstreamError("unreachable", `could not be reached: ${reason ?? "the connection failed"}`, {
      cause,
    });
  }
  return new UpstreamError("lost", "broke the connection before it answered", { cause });
}

function chain(error: unknown): string {
  const texts: string[] = [];
  for (let at = error; at instanceof Error && texts.length < 8; at = at.cause) {
    texts.push(`${at.name}: ${at.message}`);
  }
  return texts.join(" <- ");
}
