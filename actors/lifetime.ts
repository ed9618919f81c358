/**
 * How long a session lives while nobody uses it.
 *
 * @module
 */
import type { EndReason } from "./end_reason.ts";

/** What becomes of a session whose deadline comes while its client holds the standalone stream open. */
export type OnOpenStream = "ping" | "expire";

/** What {@link LifetimeLimits.onOpenStream} may be. */
export const ON_OPEN_STREAM = ["ping", "expire"] as const satisfies readonly OnOpenStream[];

/** TTLs in ms; 0 means never. Where cleanup is off all of them are 0. */
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

/** The deadline of one session. */
export class Lifetime {
  readonly #limits: LifetimeLimits;
  /** True until the client of an implicit session has used its id: it may never have wanted a session. */
  #unclaimed: boolean;

  constructor(limits: LifetimeLimits, { implicit }: { implicit: boolean }) {
    this.#limits = limits;
    this.#unclaimed = implicit;
  }

  /** The client used the session's id. */
  claim(): void {
    this.#unclaimed = false;
  }

  /** The instant at which a session that stays idle since `lastUsed` expires; Infinity for never. */
  deadline(lastUsed: number): number {
    const { idleTtlMs, implicitTtlMs } = this.#limits;
    if (idleTtlMs === 0) return Infinity;
    const shorter = this.#unclaimed && implicitTtlMs > 0;
    return lastUsed + (shorter ? Math.min(idleTtlMs, implicitTtlMs) : idleTtlMs);
  }

  /** Whether the client of an implicit session has yet to use its id. */
  get unclaimed(): boolean {
    return this.#unclaimed;
  }

  /** The reason with which it ends once its deadline has passed. */
  get expiryReason(): EndReason {
    return this.#unclaimed ? "implicit" : "idle";
  }
}
