/**
 * What earlier runs of the gateway left: entries of the ledger, and processes.
 *
 * A run that ended in good order leaves nothing, and then there is nothing to look for. One that was killed leaves
 * entries. Most are of servers that went when their stdin ended; what is still there is ended. A run is forgotten when
 * a look at all processes shows that none carries its name any more.
 *
 * @module
 */
import { logger } from "../log.ts";
import type { ProcessRows, RunRow } from "../stores/process_rows.ts";
import { SHUTDOWN_PACE } from "./backend.ts";
import type { LedgerCounters } from "./ledger.ts";
import type { ProcessTable } from "./process_table.ts";
import { leftOf, type Outcome, type Reaper, type Remains } from "./remains.ts";
import type { Snapshot } from "./snapshot.ts";

/** Their stdin ended with their gateway: they get a little time to leave by themselves, then SIGTERM and SIGKILL. */
const ORPHAN_PACE = SHUTDOWN_PACE;

/** What {@link Leftovers} works with. */
export interface LeftoversOptions {
  readonly rows: ProcessRows;
  readonly processes: ProcessTable;
  readonly reaper: Reaper;
  readonly counters: LedgerCounters;
  /** Removes rows. Never throws. */
  readonly remove: (ids: readonly number[]) => void;
  /** Removes runs. Never throws. @returns Whether it could. */
  readonly forget: (runIds: readonly number[]) => boolean;
  /** All that was found has been ended. */
  readonly done: () => void;
}

/** A child of an earlier run. */
interface Leftover extends Remains {
  /** Undefined where it was never written down, and only its marker is known. */
  readonly rowId: number | undefined;
  readonly serverId: string;
  readonly session: string;
  ending: boolean;
  /** Whether the log was told that it cannot be ended. */
  told: boolean;
}

const log = logger("ledger");

/** See the module's documentation. */
export class Leftovers {
  readonly #options: LeftoversOptions;
  /** By their names. */
  readonly #runs: Map<string, RunRow>;
  /** By their markers. */
  readonly #entries = new Map<string, Leftover>();

  /** @throws {StoreError} If they cannot be read. */
  constructor(options: LeftoversOptions) {
    this.#options = options;
    const { run: { boot } } = options.rows;
    const { runs, rows } = options.rows.earlier();
    this.#runs = new Map(runs.map((run) => [run.name, run]));
    const sameBoot = new Set(
      runs.filter((run) => boot !== undefined && run.boot === boot).map(({ id }) => id),
    );
    for (const { id, runId, pid, startTime, marker, serverId, session } of rows) {
      this.#entries.set(marker, {
        rowId: id,
        pid,
        // Counted from the boot: in another one the same number is another instant.
        startTime: sameBoot.has(runId) ? startTime : undefined,
        marker,
        serverId,
        session,
        ending: false,
        told: false,
      });
    }
  }

  /** Whether no earlier run left anything. */
  get isEmpty(): boolean {
    return this.#runs.size === 0;
  }

  /** Compares what is left with a picture of all processes: removes entries, and begins to end processes. */
  compare(snapshot: Snapshot): void {
    if (this.isEmpty) return;
    this.#findUnwritten(snapshot);
    const gone: Leftover[] = [];
    let found = 0;
    for (const entry of this.#entries.values()) {
      if (entry.ending) continue;
      if (leftOf(entry, snapshot).length === 0) {
        gone.push(entry);
        continue;
      }
      if (!entry.told) found++;
      entry.ending = true;
      this.#options.reaper.end(entry, ORPHAN_PACE, (outcome) => this.#onEnded(entry, outcome));
    }
    if (found > 0) log.warn("Servers of an earlier run still run, ending them: {count}", { count: found });
    this.#removeGone(gone);
    if (this.#entries.size === 0) this.#forgetRuns();
  }

  /**
   * Without `/proc`: of whatever has their pids now, nothing tells whether it is theirs, so nothing is ended. Said once,
   * and forgotten.
   */
  giveUp(): void {
    if (this.isEmpty) return;
    const entries = [...this.#entries.values()];
    const isLeft = ({ pid }: Leftover) => this.#options.processes.groupExists(pid);
    const left = entries.filter(isLeft);
    if (left.length > 0) {
      log.warn(
        "An earlier run may have left servers running, and without /proc they cannot be told from other " +
          "processes: look yourself at the process groups {pids}",
        { pids: left.map(({ pid }) => pid).join(", ") },
      );
    }
    this.#removeGone(entries.filter((entry) => !left.includes(entry)));
    this.#entries.clear();
    this.#forgetRuns();
  }

  /** Children that were started and not written down: see `ledger.ts`. */
  #findUnwritten(snapshot: Snapshot): void {
    for (const [marker, { pid, startTime }] of snapshot.markers()) {
      const isTheirs = this.#runs.has(marker.slice(0, Math.max(0, marker.indexOf("/"))));
      if (!isTheirs || this.#entries.has(marker)) continue;
      const names = { serverId: "unknown", session: "unknown" };
      const state = { rowId: undefined, ending: false, told: false };
      this.#entries.set(marker, { pid, startTime, marker, ...names, ...state });
    }
  }

  #onEnded(entry: Leftover, outcome: Outcome): void {
    entry.ending = false;
    const { pid, serverId, session } = entry;
    if (outcome === "left") {
      // It hangs in the kernel. It is tried again, and not told again.
      if (!entry.told) {
        log.error(
          "An orphan of an earlier run outlives SIGKILL: pid {pid}, server {serverId}, session {session}",
          { pid, serverId, session },
        );
      }
      entry.told = true;
      return;
    }
    if (outcome === "gone") this.#removeGone([entry]);
    else {
      this.#options.counters.orphansEnded++;
      log.warn("Ended an orphan of an earlier run: pid {pid}, server {serverId}, session {session}", {
        pid,
        serverId,
        session,
      });
      this.#remove([entry]);
    }
    if (this.#entries.size === 0) this.#options.done();
  }

  #removeGone(gone: readonly Leftover[]): void {
    if (gone.length === 0) return;
    this.#options.counters.entriesRemoved += gone.length;
    log.info("Removed {count} ledger entries of an earlier run, of which no process is left", {
      count: gone.length,
    });
    this.#remove(gone);
  }

  #remove(entries: readonly Leftover[]): void {
    for (const { marker } of entries) this.#entries.delete(marker);
    this.#options.remove(entries.flatMap(({ rowId }) => rowId ?? []));
  }

  #forgetRuns(): void {
    if (this.#options.forget(Array.from(this.#runs.values(), ({ id }) => id))) this.#runs.clear();
  }
}
