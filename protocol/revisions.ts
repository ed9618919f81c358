/**
 * The revisions of MCP that have sessions, and the headers that go with them.
 *
 * @module
 */
import { asObject, type Message } from "./jsonrpc.ts";

/**
 * What the SDK supports (`SUPPORTED_PROTOCOL_VERSIONS`, which a test compares): listed here, because its import would
 * cost the gateway 9 MB and 30 ms for one array.
 */
export const KNOWN_VERSIONS: readonly string[] = [
  "2025-11-25",
  "2025-06-18",
  "2025-03-26",
  "2024-11-05",
  "2024-10-07",
];

/** The only revision with batches. */
export const BATCH_VERSION = "2025-03-26";

/** The first revision without sessions. The gateway does not serve it: its clients fall back to `initialize`. */
const FIRST_MODERN_VERSION = "2026-07-28";
/** Where a modern client says its revision, in `_meta` of each request. */
const MODERN_VERSION_KEY = "io.modelcontextprotocol/protocolVersion";
/** The request with which a modern client begins. */
const MODERN_DISCOVERY = "server/discover";

/** What a client speaks that does not say (the specification's word on a missing version header). */
export const DEFAULT_PROTOCOL_VERSION = "2025-03-26";

/** The first revision whose streams have event ids and can be resumed. Older clients may not expect such events. */
const RESUMABLE_SINCE = "2025-11-25";

/** The header that names the session. */
export const SESSION_HEADER = "mcp-session-id";

/** The header that names the revision which client and server agreed on. */
export const VERSION_HEADER = "mcp-protocol-version";

/** Whether the gateway knows a revision. A session's own negotiated one is accepted besides. */
export function isKnownVersion(version: string): boolean {
  return KNOWN_VERSIONS.includes(version);
}

/**
 * The modern revision that a request asks for; undefined where it is none.
 *
 * @param header The version header, or null.
 * @param message The message, where there is one.
 */
export function modernVersionOf(header: string | null, message: Message | undefined): string | undefined {
  if (header !== null && isModern(header)) return header;
  if (message === undefined || message.kind === "response") return undefined;
  const named = asObject(message.params?._meta)?.[MODERN_VERSION_KEY];
  // The key alone is modern, whatever it names: older revisions do not have it.
  if (typeof named === "string") return named;
  return message.method === MODERN_DISCOVERY ? FIRST_MODERN_VERSION : undefined;
}

/** Revisions are named by their dates, so they compare as text. */
function isModern(version: string): boolean {
  return version >= FIRST_MODERN_VERSION && /^\d{4}-\d{2}-\d{2}$/.test(version);
}

/** Whether streams of a session of that version can be resumed. Versions are dates, and compare as text. */
export function canResume(version: string | undefined): boolean {
  return version !== undefined && version >= RESUMABLE_SINCE;
}
