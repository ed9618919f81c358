/**
 * How late the event loop is: how much later than it should a timer of our own fires.
 *
 * `monitorEventLoopDelay` of `node:perf_hooks` would be the tool for it and measures nothing under Deno.
 *
 * ## What is told
 *
 * The largest lateness, fading: it counts half after {@link HALF_LIFE_MS}, a quarter after two of them. Not "the
 * largest since somebody asked", because then each who asks (the sweeper, the metrics, the dashboard) would take it
 * from the others; and a stall of half a minute ago says little about now. All latenesses fade alike, so whichever is
 * largest stays so until a larger one comes: two numbers are all that has to be kept.
 *
 * ## What is seen
 *
 * A stall shorter than the period is seen only if the timer falls due in it. A loop that is busy all the time is
 * late every time, and that is what matters here. Up to 4 ms are the runtime's own and no lag.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";

/**
 * How often to look unless told otherwise, in ms. A look wakes the process, and where that was idle it takes about
 * 0.3 ms of CPU, as with any timer of the runtime: 0.07% of a core, and 0.3% at 100 ms.
 */
const PERIOD_MS = 500;
/** As long as the sweeper leaves between two readings at most: what it gets is at least half of what there was. */
const HALF_LIFE_MS = 5_000;

/** How to make a {@link LagMeter}. */
export interface LagMeterOptions {
  readonly clock: Clock;
  /** Milliseconds between two looks, above 0. */
  readonly periodMs?: number;
}

/** See the module's documentation. */
export class LagMeter {
  readonly #clock: Clock;
  readonly #periodMs: number;
  /** Set while it measures. */
  #cancel: Cancel | undefined;
  /** {@link Clock.now} at which the timer should fire. */
  #dueAtMs = Infinity;
  /** The lateness that counts most, and when it was seen. */
  #peakMs = 0;
  #peakAtMs = 0;

  /** @throws {RangeError} If the period is not above 0 and finite. */
  constructor({ clock, periodMs = PERIOD_MS }: LagMeterOptions) {
    if (!(periodMs > 0 && Number.isFinite(periodMs))) {
      throw new RangeError(`Cannot measure lag: periodMs must be above 0 and finite, got ${periodMs}`);
    }
    this.#clock = clock;
    this.#periodMs = periodMs;
  }

  /** Begins to measure. Idempotent; its timer keeps the process alive until {@link LagMeter.stop}. */
  start(): void {
    if (this.#cancel === undefined) this.#arm();
  }

  /** Ends measuring and forgets what was measured. Idempotent; it may be started again. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#dueAtMs = Infinity;
    this.#peakMs = 0;
  }

  /** The largest lateness, fading, in ms; 0 where it does not measure. Asking changes nothing. */
  get lagMs(): number {
    const now = this.#clock.now();
    const fadedMs = this.#peakMs * 2 ** (-(now - this.#peakAtMs) / HALF_LIFE_MS);
    // Whoever asks first after a stall may be there before the timer.
    return Math.max(fadedMs, now - this.#dueAtMs);
  }

  #arm(): void {
    this.#dueAtMs = this.#clock.now() + this.#periodMs;
    this.#cancel = this.#clock.after(this.#periodMs, () => {
      this.#peakMs = this.lagMs;
      this.#peakAtMs = this.#clock.now();
      this.#arm();
    });
  }
}
