/**
 * The kinds of sessions: by which door a session's client came in. All live by the same rules; the log and the
 * monitoring API tell them apart.
 *
 * @module
 */

/** `streamable` came in at `/mcp/:serverId`, `bridge` at `/bridge`, `sse` at `/sse/:serverId`. */
export const SESSION_KINDS = ["streamable", "bridge", "sse"] as const;

/** One of {@link SESSION_KINDS}. */
export type SessionKind = typeof SESSION_KINDS[number];

/** How the log speaks of a kind. */
export interface KindWords {
  /** Several of them. */
  readonly many: string;
  /** One of them, up to its handle. */
  readonly one: string;
}

export const KIND_WORDS: Readonly<Record<SessionKind, KindWords>> = {
  streamable: { many: "streamable session(s)", one: "streamable session " },
  sse: { many: "SSE session(s)", one: "SSE session " },
  // A client of the bridge never sees a session: for whoever reads the log the backend stands for it.
  bridge: { many: "bridge client(s)", one: "bridge client client_" },
};
