/**
 * After how long an idle session gives its backend back. The time is the server's `hibernateAfterMs`, and longer for a
 * session that keeps waking up: it doubles whenever the client comes back after less than that, up to the session's TTL,
 * and is the usual one again once the session slept for longer.
 *
 * @module
 */

/** See the module's documentation. Instants are ms of the session's clock. */
export class Slumber {
  readonly #usualMs: number;
  #afterMs: number;
  /** A session that an earlier run left may have slept for any time. */
  #sleptAt = -Infinity;

  /** @param usualMs At least 1. */
  constructor(usualMs: number) {
    this.#usualMs = this.#afterMs = usualMs;
  }

  /** Idle time after which the backend is given back, in ms. */
  get afterMs(): number {
    return this.#afterMs;
  }

  /** The backend was given back. */
  fell(now: number): void {
    this.#sleptAt = now;
  }

  /** The client came back. @param ttlMs The session's, or Infinity. */
  woke(now: number, ttlMs: number): void {
    const sleptMs = now - this.#sleptAt;
    this.#afterMs = sleptMs < this.#afterMs ? Math.min(2 * this.#afterMs, ttlMs) : this.#usualMs;
  }
}
