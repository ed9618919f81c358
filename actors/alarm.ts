/**
 * One timer for everything that may come due, re-armed lazily: it is only ever moved earlier, and when it fires
 * early its owner looks again. A touch therefore costs no timer operation.
 *
 * @module
 */
import type { Clock, Timer } from "../clock.ts";

/** See the module's documentation. It is its own timer, so arming it allocates nothing. */
export class Alarm<Owner> implements Timer {
  /** For the clock. */
  slot = -1;
  readonly #clock: Clock;
  readonly #owner: Owner;
  readonly #ring: (owner: Owner) => void;
  /** For when it is armed; Infinity where it is not. */
  #at = Infinity;

  /** @param ring Called when an armed instant has come; the alarm is not armed any more then. */
  constructor(clock: Clock, owner: Owner, ring: (owner: Owner) => void) {
    this.#clock = clock;
    this.#owner = owner;
    this.#ring = ring;
  }

  /** Rings at `at` (ms of the clock) at the latest; Infinity asks for nothing. */
  at(at: number): void {
    if (this.#at <= at) return;
    this.#at = at;
    this.#clock.set(at - this.#clock.now(), this);
  }

  /** For the clock: the instant has come. */
  fire(): void {
    this.#at = Infinity;
    this.#ring(this.#owner);
  }

  /** Rings no more. Idempotent. */
  off(): void {
    this.#clock.clear(this);
    this.#at = Infinity;
  }
}
