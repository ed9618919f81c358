/**
 * The revisions of MCP that have sessions.
 *
 * @module
 */
import { SUPPORTED_PROTOCOL_VERSIONS } from "@modelcontextprotocol/sdk/types.js";

/** What a client speaks that does not say (the specification's word on a missing version header). */
export const DEFAULT_PROTOCOL_VERSION = "2025-03-26";

/** The header that names the session. */
export const SESSION_HEADER = "mcp-session-id";

/** The header that names the revision which client and server agreed on. */
export const VERSION_HEADER = "mcp-protocol-version";

/** Whether the gateway knows a revision. A session's own negotiated one is accepted besides. */
export function isKnownVersion(version: string): boolean {
  return SUPPORTED_PROTOCOL_VERSIONS.includes(version);
}
