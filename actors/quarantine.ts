/**
 * Keeps a server whose backends keep dying from being started again and again.
 *
 * Failures are counted with exponential decay (after Erlang's restart intensity and suture): a count that halves as time
 * passes needs no list of instants and has no window at whose edge everything is forgiven. More than
 * {@link MAX_FAILURES} in about a minute put the server into quarantine: no session is opened for 1 s. Then a single
 * one may try. Where it fails as well the time doubles, up to a minute; where its server starts, the quarantine is over.
 *
 * Sessions that live are left alone.
 *
 * @module
 */

/** Failures within about a minute that are still put up with. */
export const MAX_FAILURES = 5;
/** The time constant of the decay, in ms: five a minute for ever stay below the bound, six do not. */
const DECAY_MS = 50_000;
/** The first back-off, and the longest, in ms. */
const MIN_BACK_OFF_MS = 1_000;
const MAX_BACK_OFF_MS = 60_000;

/** What a quarantine says to somebody who wants to open a session. Instants are ms of the clock. */
export type Admittance =
  | { readonly kind: "open" }
  /** Go ahead, and tell how it went. */
  | { readonly kind: "probe" }
  /** Not before `until`, or before the one that tries has come to an end. */
  | { readonly kind: "closed"; readonly until: number };

/** The quarantine of one server. */
export class Quarantine {
  /** Failures, as they have decayed by `#countedAt`. */
  #failures = 0;
  #countedAt = 0;
  /** The back-off that holds, in ms; 0 where there is no quarantine. */
  #backOffMs = 0;
  #until = 0;
  /** Somebody tries. */
  #probing = false;
  #lastFailure: string | undefined;

  /** Why it is in quarantine; undefined where it is not. */
  get reason(): string | undefined {
    return this.#backOffMs > 0 ? this.#lastFailure : undefined;
  }

  /** Until when, in ms of the clock; undefined where it is not in quarantine. */
  get until(): number | undefined {
    return this.#backOffMs > 0 ? this.#until : undefined;
  }

  /** May a session be opened? Whoever is told to probe has to report by {@link started} or {@link failed}. */
  ask(now: number): Admittance {
    if (this.#backOffMs === 0) return { kind: "open" };
    if (this.#probing || now < this.#until) return { kind: "closed", until: Math.max(now, this.#until) };
    this.#probing = true;
    return { kind: "probe" };
  }

  /** A backend started and answered. @returns Whether that ended the quarantine. */
  started(): boolean {
    const ended = this.#probing;
    if (ended) this.#leave();
    return ended;
  }

  /** The one who tried gave up before the server could show anything. */
  abandoned(): void {
    this.#probing = false;
  }

  /**
   * A backend died, or did not start.
   *
   * @param detail What happened, for people.
   * @returns Whether the quarantine begins, or begins anew, with this.
   */
  failed(now: number, detail: string): boolean {
    this.#failures = this.#failures * Math.exp((this.#countedAt - now) / DECAY_MS) + 1;
    this.#countedAt = now;
    this.#lastFailure = detail;
    if (!this.#probing && (this.#backOffMs > 0 || this.#failures <= MAX_FAILURES)) return false;
    this.#probing = false;
    this.#backOffMs = Math.min(MAX_BACK_OFF_MS, Math.max(MIN_BACK_OFF_MS, 2 * this.#backOffMs));
    this.#until = now + this.#backOffMs;
    return true;
  }

  #leave(): void {
    this.#probing = false;
    this.#backOffMs = 0;
    this.#failures = 0;
  }
}
