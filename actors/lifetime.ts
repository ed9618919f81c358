/**
 * How long a session lives. Every instant at which one may end by time is reckoned here; that it ends is decided in
 * `session.ts`, which also knows whether it is in use.
 *
 * Two instants count:
 *
 * - the *idle deadline*: `last use + effective TTL`, later where something extended it;
 * - the *end of life*: `opened + MAX_LIFETIME_MS`, less up to a tenth by chance, so that sessions which were opened
 *   together do not end together.
 *
 * A client that holds its standalone stream open may only be reading. At its idle deadline such a session is asked
 * with a `ping` first, and has until {@link PING_TIMEOUT_MS} later. An answer proves that somebody is there: the
 * deadline moves by one TTL, though the session is as idle as before. No answer means that the stream is half open.
 *
 * @module
 */
import type { OnOpenStream } from "../config/types.ts";
import type { EndReason } from "./end_reason.ts";
import type { TtlScale } from "./pressure.ts";

/** How long a client has to answer the `ping` at its deadline, in ms. */
export const PING_TIMEOUT_MS = 10_000;
/** Begins the ids of those pings. */
const PING_ID = "sojourn:ping:";
/** How much of a maximum lifetime chance may take off. */
const JITTER = 0.1;

/** TTLs in ms; 0 means never. Where cleanup is off the session's own are 0. */
export interface LifetimeLimits {
  /** Idle time after which a session expires. */
  readonly idleTtlMs: number;
  /** TTL until the client has come back with the id of a session that was opened implicitly. */
  readonly implicitTtlMs: number;
  /** TTL of a session that was only ever initialized; 0 means that the idle TTL applies. */
  readonly handshakeTtlMs: number;
  /** Age from which on a session takes no new requests. */
  readonly maxLifetimeMs: number;
  readonly onOpenStream: OnOpenStream;
  /** Whether an idle session may go before its deadline when memory runs out. */
  readonly evictable: boolean;
}

/** The limit that a session's TTL comes from. */
export type TtlSource = "idleTtlMs" | "implicitTtlMs" | "handshakeTtlMs";

/** The TTL in force and where it comes from. */
export interface TtlInForce {
  readonly source: TtlSource;
  /** As configured, in ms; Infinity for never. */
  readonly configuredMs: number;
  /** As memory pressure leaves it, in ms. */
  readonly effectiveMs: number;
}

/** Why time ends a session. */
export type ExpiryReason = Extract<EndReason, "idle" | "implicit" | "max_lifetime" | "evicted">;

/** How to make a {@link Lifetime}. */
export interface LifetimeOptions {
  readonly limits: LifetimeLimits;
  readonly scale: TtlScale;
  readonly openedAt: number;
  /** Whether the client sent no `initialize`: it may never have wanted a session. */
  readonly implicit: boolean;
  /** From 0 (included) to 1. */
  readonly random: () => number;
  /** How it stood when the session was written down, its instants in ms of the clock. */
  readonly restored?: LifetimeState;
}

/** What of a lifetime cannot be reckoned anew. Instants in ms; null for never. */
export interface LifetimeState {
  readonly endOfLife: number | null;
  readonly aliveAt: number | null;
  readonly extendedUntil: number | null;
  readonly unclaimed: boolean;
  readonly unused: boolean;
}

/** See the module's documentation. All instants are ms of the session's clock. */
export class Lifetime {
  readonly #limits: LifetimeLimits;
  readonly #scale: TtlScale;
  /** From when on the session takes no new requests; Infinity for never. */
  readonly endOfLife: number;
  /** True until the client of an implicit session has used its id. */
  #unclaimed: boolean;
  /** True until the client has asked for anything but the handshake. */
  #unused = true;
  /** When the client last answered a ping of ours. */
  #aliveAt = -Infinity;
  /** An administrator keeps the session until then. */
  #extendedUntil = -Infinity;
  /** The ping that is out, since when nobody had used the session then, and until when it waits. */
  #ping: { readonly idleSince: number; readonly until: number } | undefined;
  #pings = 0;

  constructor({ limits, scale, openedAt, implicit, random, restored }: LifetimeOptions) {
    this.#limits = limits;
    this.#scale = scale;
    this.#unclaimed = implicit;
    if (restored !== undefined) {
      this.endOfLife = restored.endOfLife ?? Infinity;
      this.#aliveAt = restored.aliveAt ?? -Infinity;
      this.#extendedUntil = restored.extendedUntil ?? -Infinity;
      this.#unclaimed = restored.unclaimed;
      this.#unused = restored.unused;
      return;
    }
    const { maxLifetimeMs } = limits;
    this.endOfLife = maxLifetimeMs === 0
      ? Infinity
      : openedAt + Math.ceil(maxLifetimeMs * (1 - JITTER * random()));
  }

  /** What is to be written down. */
  get state(): LifetimeState {
    return {
      endOfLife: finite(this.endOfLife),
      aliveAt: finite(this.#aliveAt),
      extendedUntil: finite(this.#extendedUntil),
      unclaimed: this.#unclaimed,
      unused: this.#unused,
    };
  }

  /** The client used the session's id. */
  claim(): void {
    this.#unclaimed = false;
  }

  /** Whether the client of an implicit session has yet to use its id. */
  get unclaimed(): boolean {
    return this.#unclaimed;
  }

  /** The client asked for something that is no handshake. */
  use(): void {
    this.#unused = false;
  }

  /** Which TTL holds, and how long it is. */
  get ttl(): TtlInForce {
    const source = this.#source;
    return { source, configuredMs: this.#configuredMs(source), effectiveMs: this.#effectiveMs };
  }

  get #source(): TtlSource {
    const { idleTtlMs, implicitTtlMs, handshakeTtlMs } = this.#limits;
    const idleMs = this.#configuredMs("idleTtlMs");
    if (this.#unclaimed && implicitTtlMs > 0 && implicitTtlMs < idleMs && idleTtlMs > 0) {
      return "implicitTtlMs";
    }
    return this.#unused && handshakeTtlMs > 0 && handshakeTtlMs < idleMs ? "handshakeTtlMs" : "idleTtlMs";
  }

  #configuredMs(source: TtlSource): number {
    const ttlMs = this.#limits[source];
    return ttlMs === 0 ? Infinity : ttlMs;
  }

  get #effectiveMs(): number {
    return this.#scale.effective(this.#configuredMs(this.#source));
  }

  /** The instant at which a session that stays idle since `lastUsed` is over; Infinity for never. */
  deadline(lastUsed: number): number {
    return Math.min(this.#idleDeadline(lastUsed), this.endOfLife);
  }

  /** With which reason a session that was last used then ends at its deadline. */
  reasonAt(lastUsed: number): ExpiryReason {
    if (this.endOfLife < this.#idleDeadline(lastUsed)) return "max_lifetime";
    return this.#unclaimed ? "implicit" : "idle";
  }

  /**
   * The deadline has come; may the client be asked whether it is still there?
   *
   * @returns The id of the `ping` to send, or undefined where asking is of no use.
   */
  ask(lastUsed: number, now: number): string | undefined {
    if (this.#limits.onOpenStream !== "ping" || now >= this.endOfLife || this.#isAsked(lastUsed)) {
      return undefined;
    }
    this.#ping = { idleSince: this.#idleSince(lastUsed), until: now + PING_TIMEOUT_MS };
    return `${PING_ID}${++this.#pings}`;
  }

  /** Whether an answer is to a ping of ours. The right one moves the deadline; one that comes late changes nothing. */
  answered(id: unknown, now: number): boolean {
    if (typeof id !== "string" || !id.startsWith(PING_ID)) return false;
    if (this.#ping !== undefined && id === `${PING_ID}${this.#pings}`) {
      this.#ping = undefined;
      this.#aliveAt = now;
    }
    return true;
  }

  /** Keeps the session from expiring idle until then. */
  extend(until: number): void {
    this.#extendedUntil = Math.max(this.#extendedUntil, until);
  }

  #idleDeadline(lastUsed: number): number {
    return this.#isAsked(lastUsed) ? this.#ping!.until : this.#unasked(lastUsed);
  }

  /** The idle deadline, pings aside. */
  #unasked(lastUsed: number): number {
    return Math.max(this.#idleSince(lastUsed) + this.#effectiveMs, this.#extendedUntil);
  }

  /** When the client was last known to be there. */
  #idleSince(lastUsed: number): number {
    return Math.max(lastUsed, this.#aliveAt);
  }

  /**
   * Whether a ping is out for the deadline. After a message it tells nothing more. A deadline that moves without one
   * (pressure fell, somebody extended it) is never earlier for it; beyond the end of the ping there will be another.
   */
  #isAsked(lastUsed: number): boolean {
    const ping = this.#ping;
    return ping !== undefined && ping.idleSince === this.#idleSince(lastUsed) &&
      this.#unasked(lastUsed) <= ping.until;
  }
}

function finite(instant: number): number | null {
  return Number.isFinite(instant) ? instant : null;
}
