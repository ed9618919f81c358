/**
 * What a session is made from.
 *
 * @module
 */
import type { OpenBackend } from "../backends/backend.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import type { ConversationLimits } from "./conversation.ts";
import type { Events } from "./events.ts";
import type { IdleGaps } from "./idle_gaps.ts";
import type { LifetimeLimits } from "./lifetime.ts";
import type { TtlScale } from "./pressure.ts";
import type { Records } from "./records.ts";
import type { Session } from "./session.ts";
import type { SessionRecord } from "./session_record.ts";
import type { SessionKind } from "./session_kind.ts";

/** Durations in ms. */
export interface SessionLimits extends ConversationLimits, LifetimeLimits {
  /** How long the server may take to answer `initialize`. */
  readonly startTimeoutMs: number;
  /** Idle time after which a session gives its backend back and lives on; 0 means never. */
  readonly hibernateAfterMs: number;
  /** Whether the server keeps state of its sessions, so that no other can take its place. */
  readonly stateful: boolean;
}

/** What sessions did since the start. Counted by them, read by whoever reports it. */
export interface Slumbers {
  /** Backends that sessions gave back, or lost, while they lived on. */
  hibernations: number;
  revivals: number;
  /** Times that a session wanted to wake up and could not. */
  failures: number;
}

/** What all sessions of a server share. */
export interface SessionContext {
  readonly serverId: string;
  readonly limits: SessionLimits;
  /** The same as JSON, for the store. */
  readonly limitsText: string;
  /** Tells whether the server's entry is still the same. */
  readonly fingerprint: string;
  readonly records: Records;
  readonly clock: Clock;
  readonly openBackend: OpenBackend;
  /** Why that is of no use; undefined where it is. */
  readonly refusal: Failure | undefined;
  /** Whether opening a backend now would start a process. */
  readonly startsProcess: () => boolean;
  readonly scale: TtlScale;
  readonly gaps: IdleGaps;
  readonly events: Events;
  /** From 0 (included) to 1. */
  readonly random: () => number;
  readonly slumbers: Slumbers;
  /** Called when its server answered `initialize`, again for each that takes its place. */
  readonly onActive: (session: Session) => void;
  /** Called when it gave its backend back and lives on. */
  readonly onHibernated: (session: Session) => void;
  /** Called when it needs a backend: it is answered with `revive` or `notRevived`. */
  readonly onWake: (session: Session) => void;
  /** Called when its server failed and it lives on. */
  readonly onServerFailed: (session: Session, detail: string) => void;
  /** Called when nothing is left of a backend that it gave back. */
  readonly onReleased: (session: Session) => void;
  /** Called once for each session, when it is over and no longer counts; what it held is on its way out. */
  readonly onOver: (session: Session) => void;
  /** Called once for each session, after that, when all that it held was given back. */
  readonly onEnded: (session: Session) => void;
}

/** What is known of a session from an earlier run. */
export interface RestoredSession {
  readonly key: number;
  readonly digest: string;
  readonly protocolVersion: string | undefined;
  /** In ms of the clock. */
  readonly lastUsed: number;
  readonly record: SessionRecord;
}

/** How to make a session. */
export interface SessionOptions {
  /** The credential in `mcp-session-id`. Never logged. Undefined for a restored one, whose client knows it. */
  readonly id: string | undefined;
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
  /** Set for one that an earlier run left. It is hibernated, and not started. */
  readonly restored?: RestoredSession;
}
