/**
 * What a session is made from.
 *
 * @module
 */
import type { OpenBackend } from "../backends/backend.ts";
import type { Clock } from "../clock.ts";
import type { ConversationLimits } from "./conversation.ts";
import type { Events } from "./events.ts";
import type { IdleGaps } from "./idle_gaps.ts";
import type { LifetimeLimits } from "./lifetime.ts";
import type { TtlScale } from "./pressure.ts";
import type { Session } from "./session.ts";
import type { SessionKind } from "./session_kind.ts";

/** Durations in ms. */
export interface SessionLimits extends ConversationLimits, LifetimeLimits {
  /** How long the server may take to answer `initialize`. */
  readonly startTimeoutMs: number;
}

/** What all sessions of a server share. */
export interface SessionContext {
  readonly serverId: string;
  readonly limits: SessionLimits;
  readonly clock: Clock;
  readonly openBackend: OpenBackend;
  readonly scale: TtlScale;
  readonly gaps: IdleGaps;
  readonly events: Events;
  /** From 0 (included) to 1. */
  readonly random: () => number;
  /** Called when its server answered `initialize`. */
  readonly onActive: (session: Session) => void;
  /** Called once for each session, when it is over and no longer counts; what it held is on its way out. */
  readonly onOver: (session: Session) => void;
  /** Called once for each session, after that, when all that it held was given back. */
  readonly onEnded: (session: Session) => void;
}

/** How to make a session. */
export interface SessionOptions {
  /** The credential in `mcp-session-id`. Never logged. */
  readonly id: string;
  /** The public name, for logs and monitoring. */
  readonly handle: string;
  /** Who opened it. */
  readonly principal: string;
  readonly context: SessionContext;
  /** Whether its backend counts as a process of its own. */
  readonly ownsProcess: boolean;
  /** Set where the client sent no `initialize`: the version that the gateway's own one names. */
  readonly implicitVersion: string | undefined;
  /** By which door its client came in; `streamable` unless given. */
  readonly kind?: SessionKind;
}
