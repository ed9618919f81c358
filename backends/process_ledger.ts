/**
 * The ledger of child processes: which there are, whose they are, and what to do about those that are left over.
 *
 * `reconcile()` compares it with the processes that there are, at the start of the gateway and at each sweep:
 *
 * - what a gateway left that was killed is ended, with all that it started. A process counts as the one that was
 *   written down only while its pid and its start time are the same, or while it carries the marker of that run;
 * - a child of this run that nobody looks after any more is ended: its backend gave up on it, or its session is gone;
 * - an entry of which no process is left is removed.
 *
 * Each is logged and counted. A child of this run has to look lost for {@link GRACE_MS} before anything is done
 * about it, because whoever closes it may be at it.
 *
 * What is in memory here is what counts, and the rows follow. A row that cannot be written is logged once, and tried
 * again at each reconciliation; its child is ended like any other, and should the gateway be killed meanwhile, the
 * next one knows it by its marker.
 *
 * Where there is no `/proc`, as on macOS, a pid is all that is known, and nothing is ended for its pid alone.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { ProcessRows } from "../stores/process_rows.ts";
import { type BackendOwner, type ClosePace, SHUTDOWN_PACE } from "./backend.ts";
import type { Ledger, LedgerCounters, LedgerEntry, StartedChild } from "./ledger.ts";
import { Leftovers } from "./leftovers.ts";
import type { ProcessTable } from "./process_table.ts";
import { leftOf, type Outcome, Reaper } from "./remains.ts";
import type { Snapshot } from "./snapshot.ts";

/** How long a child of this run has to look lost, in ms. The slowest close takes 9 s and the last words on stderr. */
const GRACE_MS = 15_000;
/** Its stdin cannot be ended from here, so there is nothing to wait for before SIGTERM. */
const STRAY_PACE: ClosePace = { termAfterMs: 0, killAfterMs: SHUTDOWN_PACE.killAfterMs };
/** How long after SIGKILL a close waits, in ms. */
const LATE_MS = 1_000;
/** Entries that are compared in one go: about half a millisecond. */
const ENTRIES_AT_ONCE = 128;

/** How to make a {@link ProcessLedger}. */
export interface ProcessLedgerOptions {
  readonly rows: ProcessRows;
  readonly processes: ProcessTable;
  readonly clock: Clock;
}

/** Whether a session, or whoever else may have children, has the one of that name. */
export type IsOwned = (owner: BackendOwner) => boolean;

/** A child of this run. */
interface Entry extends StartedChild {
  /** Where it is written down; undefined where it could not be. */
  rowId: number | undefined;
  /** As it is written down. */
  session: string;
  readonly startedAt: number;
  /** Whether its backend looks after it. */
  held: boolean;
  /** Instant of {@link Clock.now} since when it looks lost. */
  lostSince: number | undefined;
  ending: boolean;
}

const log = logger("ledger");

/** See the module's documentation. */
export class ProcessLedger implements Ledger {
  /** For display, and only to be read. */
  readonly counters: LedgerCounters = { orphansEnded: 0, strayEnded: 0, entriesRemoved: 0, writesFailed: 0 };
  readonly #options: ProcessLedgerOptions;
  readonly #reaper: Reaper;
  readonly #leftovers: Leftovers;
  readonly #entries = new Set<Entry>();
  /** Rows of entries that are gone, and that could not be removed. */
  #doomed: number[] = [];
  /** Set from the first write that fails until none is owed. */
  #inDebt = false;
  #markers = 0;
  #reconciling: Promise<void> | undefined;
  #closed = false;

  /** @throws {StoreError} If what earlier runs left cannot be read. */
  constructor(options: ProcessLedgerOptions) {
    const { rows, processes } = options;
    this.#options = options;
    this.#reaper = new Reaper(options);
    this.#leftovers = new Leftovers({
      rows,
      processes,
      reaper: this.#reaper,
      counters: this.counters,
      remove: (ids) => this.#remove(ids),
      forget: (runIds) => this.#write(() => rows.forget(runIds)),
      // Another look shows whether that was all, and then their runs are forgotten.
      done: () => void this.reconcile(),
    });
  }

  /** How many children of this run are written down, or should be. */
  get size(): number {
    return this.#entries.size;
  }

  newMarker(): string {
    return `${this.#options.rows.run.name}/${++this.#markers}`;
  }

  started(child: StartedChild): LedgerEntry {
    const entry: Entry = {
      ...child,
      rowId: undefined,
      session: child.owner.session,
      startedAt: this.#options.clock.wallTime(),
      held: true,
      lostSince: undefined,
      ending: false,
    };
    this.#entries.add(entry);
    this.#write(() => this.#addRow(entry));
    return {
      ended: () => {
        if (entry.held) this.#drop(entry);
      },
      abandoned: () => entry.held = false,
    };
  }

  /**
   * Compares the ledger with the processes that there are: see the top of this file. One look at the process table at
   * the most, shared with whoever wants one at the same time, and none where the ledger is empty. Calls that come while
   * one is under way join it.
   *
   * @param isOwned Everybody unless given.
   * @returns Resolves when it was looked and what has to be ended is being ended, see {@link settled}. Never rejects.
   */
  reconcile(isOwned: IsOwned = () => true): Promise<void> {
    return this.#reconciling ??= this.#reconcile(isOwned)
      .catch((error) => void reportFault(log, "Process ledger", error))
      .finally(() => this.#reconciling = undefined);
  }

  /** Resolves when nothing is being ended any more, made faster by a pace where one is given. Never rejects. */
  async settled(pace?: ClosePace): Promise<void> {
    while (this.#reconciling !== undefined || this.#reaper.size > 0) {
      await this.#reconciling;
      await this.#reaper.settled(pace);
    }
  }

  /**
   * Ends what is being ended fast, and writes nothing more. Where nothing is left, nothing stays in the file; what is
   * left a second after SIGKILL is for the next run. Idempotent, never rejects.
   */
  async close(pace: ClosePace = SHUTDOWN_PACE): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(pace.killAfterMs + LATE_MS, resolve);
    await Promise.race([this.#finish(pace), late]);
    cancel();
    if (this.#closed) return;
    this.#settleDebt();
    const { rows } = this.#options;
    if (this.#entries.size === 0 && this.#doomed.length === 0) this.#write(() => rows.forget([rows.run.id]));
    this.#closed = true;
    try {
      rows.close();
    } catch (error) {
      reportFault(log, "Process ledger", error);
    }
  }

  async #finish(pace: ClosePace): Promise<void> {
    await this.settled(pace);
    if (this.#leftovers.isEmpty) return;
    await this.reconcile();
    await this.settled(pace);
  }

  async #reconcile(isOwned: IsOwned): Promise<void> {
    if (this.#closed) return;
    this.#settleDebt();
    if (this.#entries.size === 0 && this.#leftovers.isEmpty) return;
    const { processes } = this.#options;
    processes.warnIfMissing();
    if (!processes.available) {
      this.#leftovers.giveUp();
      return this.#compareGroups();
    }
    const snapshot = await processes.snapshot();
    if (this.#closed) return;
    this.#leftovers.compare(snapshot);
    await this.#compare(snapshot, isOwned);
  }

  /** In slices, so that requests are not held up. */
  async #compare(snapshot: Snapshot, isOwned: IsOwned): Promise<void> {
    const now = this.#options.clock.now();
    const renamed: Entry[] = [];
    const gone: Entry[] = [];
    let compared = 0;
    for (const entry of [...this.#entries]) {
      if (++compared % ENTRIES_AT_ONCE === 0) {
        // By a timer: a chain of immediates would keep sockets waiting.
        await new Promise<void>((resolve) => void this.#options.clock.after(0, resolve));
      }
      if (!this.#entries.has(entry) || entry.ending) continue;
      if (entry.session !== entry.owner.session) renamed.push(entry);
      const isKept = entry.held && isOwned(entry.owner);
      const isGone = leftOf(entry, snapshot).length === 0;
      if (!isGone && isKept) entry.lostSince = undefined;
      else if (now - (entry.lostSince ??= now) < GRACE_MS) continue;
      else if (isGone) gone.push(entry);
      else {
        entry.ending = true;
        this.#reaper.end(entry, STRAY_PACE, (outcome) => this.#onEnded(entry, outcome));
      }
    }
    this.#rename(renamed);
    this.#dropGone(gone.filter((entry) => this.#entries.has(entry)));
  }

  /** A prewarmed child that a session took over is that session's. */
  #rename(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const sessions = new Map(entries.map(({ rowId, owner }) => [rowId ?? 0, owner.session]));
    if (!this.#write(() => this.#options.rows.rename(sessions))) return;
    for (const entry of entries) entry.session = entry.owner.session;
  }

  /** Without `/proc`: only what is gone can be told. */
  #compareGroups(): void {
    const now = this.#options.clock.now();
    const gone: Entry[] = [];
    for (const entry of this.#entries) {
      if (this.#options.processes.groupExists(entry.pid)) entry.lostSince = undefined;
      else if (now - (entry.lostSince ??= now) >= GRACE_MS) gone.push(entry);
    }
    this.#dropGone(gone);
  }

  #dropGone(gone: readonly Entry[]): void {
    if (gone.length === 0) return;
    for (const entry of gone) this.#entries.delete(entry);
    this.#remove(gone.flatMap(({ rowId }) => rowId ?? []));
    this.counters.entriesRemoved += gone.length;
    log.info("Removed {count} ledger entries of which no process is left", { count: gone.length });
  }

  /** A child that nobody looked after is gone, or will not go. */
  #onEnded(entry: Entry, outcome: Outcome): void {
    entry.ending = false;
    const properties = { pid: entry.pid, serverId: entry.owner.serverId, session: entry.owner.session };
    if (outcome === "left") {
      log.error(
        "A child without a session outlives SIGKILL: pid {pid}, server {serverId}, session {session}",
        properties,
      );
      return;
    }
    // Its backend may have been quicker.
    if (outcome === "gone") return this.#entries.has(entry) ? this.#dropGone([entry]) : undefined;
    this.#drop(entry);
    this.counters.strayEnded++;
    log.warn("Ended a child without a session: pid {pid}, server {serverId}, session {session}", properties);
  }

  #drop(entry: Entry): void {
    if (!this.#entries.delete(entry)) return;
    if (entry.rowId !== undefined) this.#remove([entry.rowId]);
  }

  #addRow(entry: Entry): void {
    const { pid, startTime, marker, owner: { serverId, session }, startedAt } = entry;
    entry.rowId = this.#options.rows.add({ pid, pgrp: pid, startTime, marker, serverId, session, startedAt });
    entry.session = session;
  }

  #remove(ids: readonly number[]): void {
    if (!this.#write(() => this.#options.rows.remove(ids))) this.#doomed.push(...ids);
  }

  /** Tries again what could not be written. */
  #settleDebt(): void {
    if (!this.#inDebt) return;
    const doomed = this.#doomed;
    this.#doomed = [];
    this.#remove(doomed);
    for (const entry of this.#entries) {
      if (entry.rowId === undefined && !this.#write(() => this.#addRow(entry))) return;
    }
    if (this.#doomed.length > 0) return;
    this.#inDebt = false;
    log.info("The process ledger can be written again; {count} write(s) failed so far", {
      count: this.counters.writesFailed,
    });
  }

  /** @returns Whether it could be written. What cannot costs no session: see the top of this file. */
  #write(work: () => void): boolean {
    try {
      if (!this.#closed) work();
      return true;
    } catch (error) {
      this.counters.writesFailed++;
      if (!this.#inDebt) {
        log.error("The process ledger cannot be written, tried again at each sweep: {why}", {
          why: error instanceof Error ? error.message : error,
        });
      }
      this.#inDebt = true;
      return false;
    }
  }
}
