/**
 * One timer for everything that may come due, re-armed lazily: it is only ever moved earlier, and when it fires
 * early its owner looks again. A touch therefore costs no timer operation.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";

/** See the module's documentation. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #armed: { readonly at: number; readonly cancel: Cancel } | undefined;

  /** @param ring Called when an armed instant has come; the alarm is not armed any more then. */
  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at `at` (ms of the clock) at the latest; Infinity asks for nothing. */
  at(at: number): void {
    if (at === Infinity) return;
    if (this.#armed !== undefined) {
      if (this.#armed.at <= at) return;
      this.#armed.cancel();
    }
    const cancel = this.#clock.after(at - this.#clock.now(), () => {
      this.#armed = undefined;
      this.#ring();
    });
    this.#armed = { at, cancel };
  }

  /** Rings no more. Idempotent. */
  off(): void {
    this.#armed?.cancel();
    this.#armed = undefined;
  }
}
