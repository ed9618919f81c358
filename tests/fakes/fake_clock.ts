/**
 * A clock that moves only when a test says so.
 *
 * @module
 */
import { assertFinite, type Cancel, type Clock, type Timer as KeptTimer } from "../../clock.ts";

/** More than this in one `advance` is a timer that sets itself again and again without delay. */
const MAX_FIRED = 100_000;

interface Timer {
  readonly dueMs: number;
  /** Ties are broken by age, as the runtime does it. */
  readonly seq: number;
  readonly fn: () => void;
}

/** See {@link Clock}; starts at 1,000,000 ms so that a forgotten 0 shows. */
export class FakeClock implements Clock {
  #nowMs = 1_000_000;
  #wallSetMs = 0;
  #seq = 0;
  readonly #timers = new Set<Timer>();
  /** How to take back each timer that its owner keeps, while it is set. */
  readonly #kept = new Map<KeptTimer, Cancel>();

  now(): number {
    return this.#nowMs;
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.#nowMs + this.#wallSetMs;
  }

  /** Somebody sets the machine's clock, by so many ms. */
  setWall(byMs: number): void {
    this.#wallSetMs += byMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    assertFinite(delayMs);
    const timer: Timer = { dueMs: this.#nowMs + Math.max(0, delayMs), seq: this.#seq++, fn };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  set(delayMs: number, timer: KeptTimer): void {
    this.clear(timer);
    const cancel = this.after(delayMs, () => {
      this.#kept.delete(timer);
      timer.fire();
    });
    this.#kept.set(timer, cancel);
  }

  clear(timer: KeptTimer): void {
    this.#kept.get(timer)?.();
    this.#kept.delete(timer);
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, which is in the past where it is late; Infinity when none is set. */
  get nextAt(): number {
    return this.#next(Infinity)?.dueMs ?? Infinity;
  }

  /**
   * Moves time on. Lets everything settle first, then fires the timers that come due one at a time, in order,
   * and lets everything settle after each.
   *
   * @param ms Milliseconds, 0 or more.
   */
  async advance(ms: number): Promise<void> {
    await settle();
    const untilMs = this.#nowMs + ms;
    let fired = 0;
    for (let timer = this.#next(untilMs); timer !== undefined; timer = this.#next(untilMs)) {
      this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
      this.#timers.delete(timer);
      if (++fired > MAX_FIRED) throw new Error(`More than ${MAX_FIRED} timers fired within ${ms} ms`);
      timer.fn();
      await settle();
    }
    this.#nowMs = untilMs;
  }

  /** Moves time on without firing anything: what a busy event loop looks like to who waits for a timer. */
  stall(ms: number): void {
    this.#nowMs += ms;
  }

  #next(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      if (
        next === undefined || timer.dueMs < next.dueMs || (timer.dueMs === next.dueMs && timer.seq < next.seq)
      ) {
        next = timer;
      }
    }
    return next;
  }
}

/** Lets every promise and microtask that is ready run to its end. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
