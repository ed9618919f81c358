/**
 * What is left of ended sessions: enough to say why each is over, and nothing that could be used.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Verdict } from "./account.ts";
import { END_REASONS } from "./end_reason.ts";
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
  /** How many are kept. */
  readonly capacity: number;
  /** Oldest first. */
  readonly #byHandle = new Map<string, Tombstone>();

  /** @param capacity How many are kept; 0 keeps none. */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.#byHandle.size;
  }

  /** Keeps one more; the oldest goes where that is one too many. */
  add(tombstone: Tombstone): void {
    this.#byHandle.set(tombstone.handle, tombstone);
    if (this.#byHandle.size <= this.capacity) return;
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

/** A tombstone as it is stored: JSON, in which Infinity is null, and the instant of its verdict is left to wall time. */
export function tombstoneText({ verdict, ...tombstone }: Tombstone): string {
  const { instant: _, ...rest } = verdict;
  return JSON.stringify({ ...tombstone, verdict: rest });
}

/** Reads one; undefined where it is none. */
export function tombstoneOf(text: string, clock: Clock): Tombstone | undefined {
  try {
    const { verdict, ...tombstone } = JSON.parse(text) as Tombstone;
    if (!(verdict.reason in END_REASONS) || typeof tombstone.handle !== "string") return undefined;
    const { configuredMs, effectiveMs, ...ttl } = verdict.ttl;
    return {
      ...tombstone,
      protocolVersion: tombstone.protocolVersion,
      verdict: {
        ...verdict,
        detail: verdict.detail,
        ttl: { ...ttl, configuredMs: configuredMs ?? Infinity, effectiveMs: effectiveMs ?? Infinity },
        instant: clock.now() - Math.max(0, clock.wallTime() - verdict.at),
      },
    };
  } catch {
    return undefined;
  }
}
