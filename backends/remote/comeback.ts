/**
 * When to come back for a stream that broke off: when the server says, within bounds; else after {@link FIRST_MS}, and
 * twice as long for each attempt in vain.
 *
 * @module
 */

/** The first wait, in ms, unless the server names one. */
const FIRST_MS = 500;
/** It may name none shorter or longer than these: one is a storm, the other for ever. */
const MIN_MS = 50;
const MAX_MS = 60_000;

/** How far a stream was read. */
export interface Progress {
  lastEventId: string | undefined;
  /** Whether an event came since it was last looked. */
  moved: boolean;
}

/** See the module's documentation. */
export class Comeback {
  #saidMs: number | undefined;

  /** The server names its wait, in ms. */
  said(ms: number): void {
    this.#saidMs = ms;
  }

  /** How long to wait before the so-many-th attempt, from 1, in ms. */
  afterMs(attempt: number): number {
    const firstMs = Math.max(MIN_MS, this.#saidMs ?? FIRST_MS);
    return Math.min(MAX_MS, firstMs * 2 ** (attempt - 1));
  }
}
