/**
 * How often something may happen, for each of many names: so many a minute, and as many at once.
 *
 * For each name it keeps one number, the instant up to which what happened is paid for (the generic cell rate algorithm):
 * each time moves it by a minute divided by the rate, and it may lie up to a minute ahead. So a name that stays below its
 * rate is never refused, one that is over it gets through at exactly that rate, and nothing has to be done as time passes:
 * there is no timer. To be refused costs nothing.
 *
 * The names used least recently are forgotten beyond a bound, and begin anew.
 *
 * @module
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "./clock.ts";

const MINUTE_MS = 60_000;
/** Names that are remembered: some 100 bytes each. */
const MAX_NAMES = 10_000;
/** Sums of fractions of ms are that exact, in ms. */
const ROUNDING_MS = 1e-3;

/** See the module's documentation. */
export class Rate {
  readonly #clock: Clock;
  readonly #paidUntil: LRUCache<string, number>;

  constructor({ clock, maxNames = MAX_NAMES }: { readonly clock: Clock; readonly maxNames?: number }) {
    this.#clock = clock;
    this.#paidUntil = new LRUCache({ max: maxNames });
  }

  /** How many names are remembered. */
  get size(): number {
    return this.#paidUntil.size;
  }

  /**
   * It happens once more, unless that is too often.
   *
   * @param perMinute 0 and Infinity are any number. It may change from call to call.
   * @returns 0 where it may, else in how many ms it may again.
   */
  take(name: string, perMinute: number): number {
    if (perMinute === 0 || perMinute === Infinity) return 0;
    const now = this.#clock.now();
    const stepMs = MINUTE_MS / perMinute;
    const paidUntil = Math.max(now, this.#paidUntil.get(name) ?? now);
    const waitMs = paidUntil - (now + MINUTE_MS - stepMs);
    if (waitMs > ROUNDING_MS) return waitMs;
    this.#paidUntil.set(name, paidUntil + stepMs);
    return 0;
  }
}
