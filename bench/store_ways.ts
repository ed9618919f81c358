/**
 * The ways of keeping sessions in a file that `store.ts` compares.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { type DatabaseKind, openDatabase } from "../stores/database.ts";
import { STORES } from "../stores/mod.ts";
import { SESSIONS_FILE } from "../stores/sqlite_schema.ts";
import type { NewSession, SessionChange, SessionStore } from "../stores/store.ts";

/** What is measured of a store. */
export type Kept = Pick<SessionStore, "add" | "update" | "counts" | "close"> & {
  find(digest: string): unknown;
  page(afterKey: number, limit: number): unknown[];
};

/** One way. */
export interface Way {
  readonly file: string;
  /** Opens it as far as has to be before the first session can be served. */
  open(dir: string): Kept;
}

/** The gateway's, and one as it is written without a second thought. */
export const WAYS: Readonly<Record<"store" | "naive", Way>> = {
  store: { file: SESSIONS_FILE, open: (dir) => STORES.sqlite({ dir, tombstones: 10_000 }) },
  naive: { file: "naive.db", open: (dir) => new NaiveStore(`${dir}/naive.db`) },
};

const NAIVE: DatabaseKind = {
  applicationId: 1,
  holds: "nothing of worth",
  migrations: [
    `CREATE TABLE sessions (
      key INTEGER PRIMARY KEY AUTOINCREMENT,
      digest TEXT NOT NULL UNIQUE,
      server TEXT, fingerprint TEXT, principal TEXT, kind TEXT, version TEXT, opened_at REAL,
      params TEXT, result TEXT, limits TEXT, last_used REAL, state TEXT
    )`,
  ],
};

/**
 * Every text in every row, no index beside that of the digests, a transaction for each row, statements prepared when
 * they are needed, all sessions read at the opening. The file is opened, checked and written as the gateway's is.
 */
class NaiveStore implements Kept {
  readonly #database: DatabaseSync;
  /** As a gateway would have them that reads all at its start. */
  readonly sessions: unknown[];

  constructor(path: string) {
    this.#database = openDatabase(path, NAIVE);
    this.sessions = this.page(0, Number.MAX_SAFE_INTEGER);
  }

  add(session: NewSession): number {
    const { digest, serverId, fingerprint, principal, kind, protocolVersion, openedAt } = session;
    const sql =
      "INSERT INTO sessions (digest, server, fingerprint, principal, kind, version, opened_at, params, " +
      "result, limits, last_used, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    const { lastInsertRowid } = this.#database.prepare(sql).run(
      ...[digest, serverId, fingerprint, principal, kind, protocolVersion ?? null, openedAt],
      ...[session.params, session.result, session.limits, session.lastUsed, session.state],
    );
    return Number(lastInsertRowid);
  }

  update(changes: readonly SessionChange[]): void {
    for (const { key, lastUsed, state } of changes) {
      const sql = "UPDATE sessions SET last_used = ?, state = ? WHERE key = ?";
      this.#database.prepare(sql).run(lastUsed, state, key);
    }
  }

  find(digest: string): unknown {
    return this.#database.prepare("SELECT * FROM sessions WHERE digest = ?").get(digest);
  }

  page(afterKey: number, limit: number): unknown[] {
    const sql = "SELECT * FROM sessions WHERE key > ? ORDER BY key LIMIT ?";
    return this.#database.prepare(sql).all(afterKey, limit);
  }

  counts() {
    const sql = "SELECT server AS serverId, principal, count(*) AS count FROM sessions GROUP BY 1, 2";
    return this.#database.prepare(sql).all() as unknown as ReturnType<SessionStore["counts"]>;
  }

  close(): void {
    this.#database.close();
  }
}
