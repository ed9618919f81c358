/**
 * From the data folder to what is kept in it.
 *
 * @module
 */
import { readBoot } from "./backends/boot.ts";
import { type IsOwned, ProcessLedger } from "./backends/process_ledger.ts";
import type { ProcessTable } from "./backends/process_table.ts";
import type { Clock } from "./clock.ts";
import { DataDir } from "./stores/data_dir.ts";
import type { Settings } from "./config/types.ts";
import { STORES } from "./stores/mod.ts";
import type { SessionStore } from "./stores/store.ts";
import { LEDGER_FILE, SqliteLedger } from "./stores/ledger.ts";

/** What the gateway keeps. The folder is its own until the process ends. */
export interface Data {
  readonly dir: DataDir;
  readonly ledger: ProcessLedger;
  /** Closed by whoever writes to it. */
  readonly store: SessionStore;
}

/**
 * Takes the data folder and opens what is in it.
 *
 * @throws {StoreError} One line that says what is wrong and what to do, such as that another gateway has the folder.
 */
export function openData(
  { dataDir, sessionStore, tombstones }: Pick<Settings, "dataDir" | "sessionStore" | "tombstones">,
  { clock, processes }: { readonly clock: Clock; readonly processes: ProcessTable },
): Data {
  const dir = new DataDir(dataDir);
  try {
    const boot = processes.available ? readBoot() : undefined;
    const rows = new SqliteLedger({ path: dir.file(LEDGER_FILE), boot, startedAt: clock.wallTime() });
    const store = STORES[sessionStore]({ dir: dir.path, tombstones });
    return { dir, store, ledger: new ProcessLedger({ rows, processes, clock }) };
  } catch (error) {
    dir[Symbol.dispose]();
    throw error;
  }
}

/** A session's handle; children that no session owns have names with a dash. */
const HANDLE = /^[0-9a-f]+$/;

/**
 * Whose children are looked after: those of sessions that still hold something, and those that were started ahead or
 * are shared, of which their backends' owner knows.
 */
export function ownedBy(supervisor: { byHandle(handle: string): unknown }): IsOwned {
  return ({ session }) => !HANDLE.test(session) || supervisor.byHandle(session) !== undefined;
}
