/**
 * How many servers may be starting at a time: twenty at once take each other's processor, and all are late.
 *
 * A start lasts from the spawn until the server has answered `initialize`, failed, or is gone, but for
 * {@link MAX_START_MS} at most: who takes longer waits for something else than this machine's processor, and a server
 * that hangs must not keep all others from starting. Whoever wants to start asks for a turn, begins when it comes, and
 * gives it back. Sessions go before children that are started ahead; otherwise who came first goes first.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";

/** How long a start counts at the most, in ms. */
export const MAX_START_MS = 15_000;

/** Who wants to start: somebody waits for a session's, and for no spare one. */
export type StartKind = "session" | "spare";

/** A turn, or the place in the queue for one. */
export interface Ticket {
  /** Gives the turn back, or the place up: it does not begin any more then. Idempotent. */
  leave(): void;
}

/** See the module's documentation. One for the whole gateway. */
export class SpawnGate {
  readonly #clock: Clock;
  readonly #concurrency: number;
  /** Those whose turn it is. */
  readonly #starting = new Set<Turn>();
  /** Those that wait, oldest first. */
  readonly #waiting: Readonly<Record<StartKind, Set<Turn>>> = { session: new Set(), spare: new Set() };

  /**
   * @param options.concurrency How many may start at a time, from 1.
   * @throws {RangeError} If it is no whole number from 1.
   */
  constructor({ concurrency, clock }: { readonly concurrency: number; readonly clock: Clock }) {
    if (!(concurrency >= 1) || (Number.isFinite(concurrency) && !Number.isInteger(concurrency))) {
      throw new RangeError(
        `Cannot make a gate: concurrency must be a whole number from 1, got ${concurrency}`,
      );
    }
    this.#concurrency = concurrency;
    this.#clock = clock;
  }

  /** How many are starting. */
  get starting(): number {
    return this.#starting.size;
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#waiting.session.size + this.#waiting.spare.size;
  }

  /**
   * Asks for a turn.
   *
   * @param begin Called once with the turn, in this call where there is room, unless the ticket was given up before.
   *   It must see to it that the turn is given back.
   */
  enter(kind: StartKind, begin: (ticket: Ticket) => void): Ticket {
    const turn: Turn = { begin, cancelLimit: undefined, leave: () => this.#leave(turn) };
    this.#waiting[kind].add(turn);
    this.#admit();
    return turn;
  }

  #admit(): void {
    while (this.#starting.size < this.#concurrency) {
      const [turn] = this.#waiting.session.size > 0 ? this.#waiting.session : this.#waiting.spare;
      if (turn === undefined) return;
      this.#forget(turn);
      this.#starting.add(turn);
      turn.cancelLimit = this.#clock.after(MAX_START_MS, turn.leave);
      try {
        turn.begin(turn);
      } catch (error) {
        turn.leave();
        throw error;
      }
    }
  }

  #leave(turn: Turn): void {
    this.#forget(turn);
    turn.cancelLimit?.();
    if (this.#starting.delete(turn)) this.#admit();
  }

  #forget(turn: Turn): void {
    this.#waiting.session.delete(turn);
    this.#waiting.spare.delete(turn);
  }
}

interface Turn extends Ticket {
  readonly begin: (ticket: Ticket) => void;
  /** Set while it counts as starting. */
  cancelLimit: Cancel | undefined;
}
