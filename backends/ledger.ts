/**
 * The contract of the ledger: where a backend writes down that it has started a child, so that the child can be ended
 * by somebody else, should its gateway be killed.
 *
 * A child is written down in the turn in which it was started, before the first byte goes to its stdin. Between its
 * start and that write nothing else runs in the gateway, but the gateway can be killed there too, and the write can
 * fail, on a full disk, say. So a child carries the name of its gateway's run in its environment besides, from its
 * very beginning: {@link Ledger.newMarker} gives it, and the run was written down before there was any child. What
 * carries it is found without a row.
 *
 * Nothing here ever throws: a ledger that cannot be written costs no session.
 *
 * @module
 */
import type { BackendOwner } from "./backend.ts";

/** A child that was just started. */
export interface StartedChild {
  /** It leads a process group of its own, which has the same number. */
  readonly pid: number;
  /** Undefined where it could not be read. */
  readonly startTime: number | undefined;
  readonly marker: string;
  readonly owner: BackendOwner;
}

/** The entry of one child. Both ways to end it are idempotent, and the first one counts. */
export interface LedgerEntry {
  /** Nothing is left of the child and of what it started. */
  ended(): void;
  /** Something is, and nobody looks after it any more. */
  abandoned(): void;
}

/** See the module's documentation. */
export interface Ledger {
  /** A new marker for a child that is about to be started. */
  newMarker(): string;
  started(child: StartedChild): LedgerEntry;
}

/** What was found so far. The numbers grow while it is kept. */
export interface LedgerCounters {
  /** Children of earlier runs that had to be ended. */
  orphansEnded: number;
  /** Children of this run without a session that had to be. */
  strayEnded: number;
  /** Entries of which no process was left. */
  entriesRemoved: number;
  /** Rows that could not be written when it was time. */
  writesFailed: number;
}

/** Writes nothing down. */
export const NO_LEDGER: Ledger = {
  newMarker: () => crypto.randomUUID(),
  started: () => ({ ended() {}, abandoned() {} }),
};
