/**
 * What a session is made from.
 *
 * @module
 */
import type { OpenBackend } from "../backends/backend.ts";
import type { Clock } from "../clock.ts";
import type { ConversationLimits } from "./conversation.ts";
import type { LifetimeLimits } from "./lifetime.ts";

/** Durations in ms. */
export interface SessionLimits extends ConversationLimits, LifetimeLimits {
  /** How long the server may take to answer `initialize`. */
  readonly startTimeoutMs: number;
}

/** How to make a session. */
export interface SessionOptions {
  /** The credential in `mcp-session-id`. Never logged. */
  readonly id: string;
  /** The public name, for logs and monitoring. */
  readonly handle: string;
  readonly serverId: string;
  /** Who opened it. */
  readonly principal: string;
  readonly limits: SessionLimits;
  readonly clock: Clock;
  readonly openBackend: OpenBackend;
  /** Set where the client sent no `initialize`: the version that the gateway's own one names. */
  readonly implicitVersion: string | undefined;
  /** Called once, when the session ended and all that it held was given back. */
  readonly onEnded: () => void;
}
