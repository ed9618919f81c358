/**
 * What is left of ended sessions: enough to say why each is over, and nothing that could be used.
 *
 * @module
 */
import type { Verdict } from "./account.ts";
import type { SessionKind } from "./session_kind.ts";
import type { Counters, TimelineEntry } from "./timeline.ts";

/** The record of one ended session. Instants are wall time in ms since the Unix epoch. */
export interface Tombstone {
  readonly handle: string;
  readonly serverId: string;
  readonly principal: string;
  readonly kind: SessionKind;
  readonly protocolVersion: string | undefined;
  readonly openedAt: number;
  readonly endedAt: number;
  readonly verdict: Verdict;
  readonly counters: Counters;
  readonly timeline: readonly TimelineEntry[];
  /** Entries of the timeline that had to go. */
  readonly skipped: number;
}

/** The newest so many tombstones, by the handle of their session. */
export class Tombstones {
  readonly #capacity: number;
  /** Oldest first. */
  readonly #byHandle = new Map<string, Tombstone>();

  /** @param capacity How many are kept; 0 keeps none. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#byHandle.size;
  }

  /** Keeps one more; the oldest goes where that is one too many. */
  add(tombstone: Tombstone): void {
    this.#byHandle.set(tombstone.handle, tombstone);
    if (this.#byHandle.size <= this.#capacity) return;
    for (const oldest of this.#byHandle.keys()) {
      this.#byHandle.delete(oldest);
      return;
    }
  }

  get(handle: string): Tombstone | undefined {
    return this.#byHandle.get(handle);
  }

  /** All of them, oldest first. */
  [Symbol.iterator](): IterableIterator<Tombstone> {
    return this.#byHandle.values();
  }
}
