/**
 * The revisions of MCP that have sessions, and the headers that go with them.
 *
 * @module
 */

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

/** What a client speaks that does not say (the specification's word on a missing version header). */
export const DEFAULT_PROTOCOL_VERSION = "2025-03-26";

/** The header that names the session. */
export const SESSION_HEADER = "mcp-session-id";

/** The header that names the revision which client and server agreed on. */
export const VERSION_HEADER = "mcp-protocol-version";

/** Whether the gateway knows a revision. A session's own negotiated one is accepted besides. */
export function isKnownVersion(version: string): boolean {
  return KNOWN_VERSIONS.includes(version);
}
