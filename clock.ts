/**
 * The one source of time. Nothing else in the gateway reads a clock or sets a timer (the lint plugin in
 * `tools/` holds that), so that every deadline can be driven by a test.
 *
 * @module
 */

/** Cancels a timer. Harmless when it has fired or was cancelled before. */
export type Cancel = () => void;

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
}

/** The longest delay that a JavaScript timer takes, in ms; a longer one fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

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
 * assertThrows(() => assertFinite(Infinity), RangeError);
 * ```
 */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  after(delayMs, fn) {
    assertFinite(delayMs);
    let timer: ReturnType<typeof setTimeout>;
    const arm = (leftMs: number) => {
      const stepMs = Math.min(leftMs, MAX_TIMER_MS);
      timer = setTimeout(() => leftMs > stepMs ? arm(leftMs - stepMs) : fn(), stepMs);
    };
    arm(Math.max(0, delayMs));
    return () => clearTimeout(timer);
  },
};

/** Throws unless the delay is a finite number of milliseconds. Shared with the test clock. */
export function assertFinite(delayMs: number): void {
  if (!Number.isFinite(delayMs)) {
    throw new RangeError(`Cannot set a timer: delayMs must be finite, got ${delayMs}`);
  }
}
