/**
 * The contract of what keeps the ledger of child processes.
 *
 * A _run_ is one life of the gateway. What a run wrote is there in the next one, also when it was killed right after
 * the call. All calls are synchronous, and each that writes is one transaction: a child has to be written down in the
 * turn in which it was started.
 *
 * @module
 */

/** One life of the gateway. */
export interface RunRow {
  readonly id: number;
  /** Unique, and hard to guess: the markers of its children begin with it. */
  readonly name: string;
  /** The boot of the machine that it ran on; undefined where none could be told. See `backends/boot.ts`. */
  readonly boot: string | undefined;
}

/** A child process as it is written down. */
export interface ProcessInfo {
  readonly pid: number;
  readonly pgrp: number;
  /** Clock ticks since the boot; undefined where it could not be read. */
  readonly startTime: number | undefined;
  /** What it carries in its environment. */
  readonly marker: string;
  readonly serverId: string;
  /** The public handle of its session, or the name of a child that has none. */
  readonly session: string;
  /** Ms since the Unix epoch, for people. */
  readonly startedAt: number;
}

/** The same with its place. */
export interface ProcessRow extends ProcessInfo {
  readonly id: number;
}

/** See the module's documentation. Every call may throw a `StoreError`, and then has changed nothing. */
export interface ProcessRows {
  /** The run that writes. */
  readonly run: RunRow;
  /** What earlier runs left, oldest first. */
  earlier(): {
    readonly runs: readonly RunRow[];
    readonly rows: readonly (ProcessRow & { readonly runId: number })[];
  };
  /** Writes a child of this run down. @returns Its place. */
  add(process: ProcessInfo): number;
  /** Takes rows out. Those that are not there do not matter. */
  remove(ids: readonly number[]): void;
  /** Writes down whose children have become whose since: the new `session` by place. */
  rename(sessions: ReadonlyMap<number, string>): void;
  /** Takes runs out, with all that they left. */
  forget(runIds: readonly number[]): void;
  /** Nothing may be called after it. Idempotent. */
  close(): void;
}
