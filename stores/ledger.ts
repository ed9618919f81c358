/**
 * The ledger of child processes in an SQLite file.
 *
 * A row is written in about 11 µs (`bench/ledger.ts`), so that every start of a child can afford it.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type DatabaseKind, openDatabase, transact } from "./database.ts";
import type { ProcessInfo, ProcessRow, ProcessRows, RunRow } from "./process_rows.ts";
import { StoreError } from "./store_error.ts";

/** The file in the data folder. */
export const LEDGER_FILE = "processes.db";

/** "Sj", and 1. */
export const LEDGER: DatabaseKind = {
  applicationId: 0x536a_0001,
  holds: "the list of processes that an earlier run may have left",
  migrations: [
    `
    CREATE TABLE runs (
      id INTEGER PRIMARY KEY,
      name TEXT NOT NULL,
      boot TEXT,
      pid INTEGER NOT NULL,
      started_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE processes (
      id INTEGER PRIMARY KEY,
      run INTEGER NOT NULL,
      pid INTEGER NOT NULL,
      pgrp INTEGER NOT NULL,
      start_time INTEGER,
      marker TEXT NOT NULL,
      server TEXT NOT NULL,
      session TEXT NOT NULL,
      started_at INTEGER NOT NULL
    ) STRICT;
    `,
  ],
};

/** How to open a {@link SqliteLedger}. */
export interface LedgerOptions {
  /** The file; its folder is there. */
  readonly path: string;
  readonly boot: string | undefined;
  /** Ms since the Unix epoch. */
  readonly startedAt: number;
}

interface StoredRow {
  id: number;
  run: number;
  pid: number;
  pgrp: number;
  start_time: number | null;
  marker: string;
  server: string;
  session: string;
  started_at: number;
}

/** See the module's documentation. */
export class SqliteLedger implements ProcessRows {
  readonly run: RunRow;
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #add: StatementSync;
  readonly #remove: StatementSync;
  readonly #rename: StatementSync;
  #closed = false;

  /**
   * Opens the file, makes it where there is none, and writes this run down.
   *
   * @throws {StoreError}
   */
  constructor({ path, boot, startedAt }: LedgerOptions) {
    this.#path = path;
    this.#database = openDatabase(path, LEDGER);
    try {
      const name = crypto.randomUUID();
      const { lastInsertRowid } = this.#database
        .prepare("INSERT INTO runs (name, boot, pid, started_at) VALUES (?, ?, ?, ?)")
        .run(name, boot ?? null, Deno.pid, Math.round(startedAt));
      this.run = { id: Number(lastInsertRowid), name, boot };
      this.#add = this.#database.prepare(
        "INSERT INTO processes (run, pid, pgrp, start_time, marker, server, session, started_at) " +
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      );
      this.#remove = this.#database.prepare("DELETE FROM processes WHERE id = ?");
      this.#rename = this.#database.prepare("UPDATE processes SET session = ? WHERE id = ?");
    } catch (error) {
      this.#database.close();
      throw StoreError.of(error, path, LEDGER.holds);
    }
  }

  earlier(): { runs: RunRow[]; rows: (ProcessRow & { runId: number })[] } {
    return this.#try(() => {
      const runs = this.#database.prepare("SELECT id, name, boot FROM runs WHERE id <> ? ORDER BY id")
        .all(this.run.id) as unknown as { id: number; name: string; boot: string | null }[];
      const rows = this.#database.prepare("SELECT * FROM processes WHERE run <> ? ORDER BY id")
        .all(this.run.id) as unknown as StoredRow[];
      return {
        runs: runs.map(({ id, name, boot }) => ({ id, name, boot: boot ?? undefined })),
        rows: rows.map(({ run, start_time, server, started_at, ...row }) => ({
          ...row,
          runId: run,
          startTime: start_time ?? undefined,
          serverId: server,
          startedAt: started_at,
        })),
      };
    });
  }

  add({ pid, pgrp, startTime, marker, serverId, session, startedAt }: ProcessInfo): number {
    const at = Math.round(startedAt);
    return this.#try(() => {
      const values = [this.run.id, pid, pgrp, startTime ?? null, marker, serverId, session, at];
      return Number(this.#add.run(...values).lastInsertRowid);
    });
  }

  remove(ids: readonly number[]): void {
    if (ids.length === 0) return;
    if (ids.length === 1) return void this.#try(() => this.#remove.run(ids[0]!));
    this.#transact(() => ids.forEach((id) => this.#remove.run(id)));
  }

  rename(sessions: ReadonlyMap<number, string>): void {
    if (sessions.size === 0) return;
    this.#transact(() => sessions.forEach((session, id) => this.#rename.run(session, id)));
  }

  forget(runIds: readonly number[]): void {
    if (runIds.length === 0) return;
    this.#transact(() => {
      for (const id of runIds) {
        this.#database.prepare("DELETE FROM processes WHERE run = ?").run(id);
        this.#database.prepare("DELETE FROM runs WHERE id = ?").run(id);
      }
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#database.close();
  }

  #transact(work: () => void): void {
    this.#try(() => transact(this.#database, work));
  }

  #try<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      throw StoreError.of(error, this.#path, LEDGER.holds);
    }
  }
}
