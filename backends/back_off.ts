/**
 * How long to wait before a child is started again that keeps dying: 1 s, then twice as long each time, up to a minute.
 *
 * A child that lived for {@link STABLE_MS}, or that a session took, served its purpose: its end is no failure.
 *
 * @module
 */

/** A child that lived for so long did not fail to start, in ms. */
export const STABLE_MS = 60_000;
/** The first wait, and the longest, in ms. */
export const MIN_BACK_OFF_MS = 1_000;
export const MAX_BACK_OFF_MS = 60_000;

/** See the module's documentation. Instants are ms of one clock. */
export class BackOff {
  #waitMs = 0;
  #until = -Infinity;

  /** Nothing is to be started before this instant. */
  get until(): number {
    return this.#until;
  }

  /** Whether the last one failed: the next is a trial, and one is enough. */
  get trying(): boolean {
    return this.#waitMs > 0;
  }

  /** Somebody had use of a child. */
  succeeded(): void {
    this.#waitMs = 0;
    this.#until = -Infinity;
  }

  /**
   * A child ended by itself.
   *
   * @param startedAt When it was started. Those that were started together fail once.
   */
  ended(startedAt: number, now: number): void {
    if (now - startedAt >= STABLE_MS) return this.succeeded();
    if (startedAt < this.#until) return;
    this.#waitMs = Math.min(MAX_BACK_OFF_MS, Math.max(MIN_BACK_OFF_MS, 2 * this.#waitMs));
    this.#until = now + this.#waitMs;
  }

  /** Puts the next start off for the shortest time, though nothing failed. */
  rest(now: number): void {
    this.#until = Math.max(this.#until, now + MIN_BACK_OFF_MS);
  }
}
