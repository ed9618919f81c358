/**
 * One timer for everything that may come due, re-armed lazily: it is only ever moved earlier, and when it fires
 * early its owner looks again. A touch therefore costs no timer operation.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";

/** See the module's documentation. */
export class Alarm<Owner> {
  readonly #clock: Clock;
  readonly #owner: Owner;
  readonly #ring: (owner: Owner) => void;
  /** For when it is armed; Infinity where it is not. */
  #at = Infinity;
  #cancel: Cancel | undefined;

  /** @param ring Called when an armed instant has come; the alarm is not armed any more then. */
  constructor(clock: Clock, owner: Owner, ring: (owner: Owner) => void) {
    this.#clock = clock;
    this.#owner = owner;
    this.#ring = ring;
  }

  /** Rings at `at` (ms of the clock) at the latest; Infinity asks for nothing. */
  at(at: number): void {
    if (this.#at <= at) return;
    this.#cancel?.();
    this.#at = at;
    this.#cancel = this.#clock.after(at - this.#clock.now(), () => {
      this.#at = Infinity;
      this.#cancel = undefined;
      this.#ring(this.#owner);
    });
  }

  /** Rings no more. Idempotent. */
  off(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#at = Infinity;
  }
}
