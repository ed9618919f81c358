/**
 * The one source of time. Nothing else in the gateway reads a clock or sets a timer (the lint plugin in
 * `tools/` holds that), so that every deadline can be driven by a test.
 *
 * @module
 */

import { type Cancel, type Timer, TimerQueue } from "./timers.ts";

export type { Cancel, Timer };

/** What the actors know of time. */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start; never jumps when the wall clock is set. */
  now(): number;
  /** Wall time in milliseconds since the Unix epoch. For display and storage only, never for deadlines. */
  wallTime(): number;
  /**
   * Calls `fn` once, `delayMs` from now. The timer keeps the process alive until it fires or is cancelled.
   *
   * @param delayMs Milliseconds; below 0 counts as 0, and any finite size is honoured.
   * @throws {RangeError} If `delayMs` is NaN or infinite: "never" is expressed by setting no timer.
   */
  after(delayMs: number, fn: () => void): Cancel;
  /**
   * Sets a timer that its owner keeps, or sets it anew: the same as {@link Clock.after} without an allocation, for
   * those of whom there are very many.
   *
   * @throws {RangeError} As `after` does.
   */
  set(delayMs: number, timer: Timer): void;
  /** Takes a timer back. Harmless where it is not set, also because it fired. */
  clear(timer: Timer): void;
}

/** Every timer of the machine's clock. */
const timers = new TimerQueue({
  now: () => performance.now(),
  arm(delayMs, fn) {
    const timer = setTimeout(fn, delayMs);
    return () => clearTimeout(timer);
  },
});

/**
 * The clock of the machine.
 *
 * @example A timer that is cancelled does not fire
 * ```ts
 * import { assertThrows } from "@std/assert";
 *
 * const clock: Clock = systemClock;
 * const cancel: Cancel = clock.after(60_000, () => {
 *   throw new Error("never");
 * });
 * cancel();
 *
 * const timer: Timer = { slot: -1, fire: cancel };
 * clock.set(60_000, timer);
 * clock.clear(timer);
 * assertThrows(() => assertFinite(Infinity), RangeError);
 * ```
 */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  after(delayMs, fn) {
    assertFinite(delayMs);
    return timers.after(delayMs, fn);
  },
  set(delayMs, timer) {
    assertFinite(delayMs);
    timers.set(delayMs, timer);
  },
  clear: (timer) => timers.clear(timer),
};

/** Throws unless the delay is a finite number of milliseconds. Shared with the test clock. */
export function assertFinite(delayMs: number): void {
  if (!Number.isFinite(delayMs)) {
    throw new RangeError(`Cannot set a timer: delayMs must be finite, got ${delayMs}`);
  }
}
