/**
 * How long a session lives while nobody uses it.
 *
 * @module
 */
import type { EndReason } from "./end_reason.ts";

/** TTLs in ms; 0 means never. */
export interface LifetimeLimits {
  readonly idleTtlMs: number;
  /** TTL until the client has come back with the id of a session that was opened implicitly. */
  readonly implicitTtlMs: number;
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
