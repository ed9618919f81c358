/**
 * What `sessions.db` is made of, and the SQL that reads and writes it.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { DatabaseKind } from "./database.ts";
import { TEXTS_SCHEMA } from "./texts.ts";

/** The file in the data folder. */
export const SESSIONS_FILE = "sessions.db";

/** "Sj", and 2. Instants are REAL, which keeps every number as it is. */
export const SESSIONS: DatabaseKind = {
  applicationId: 0x536a_0002,
  holds: "the sessions that an earlier run left",
  migrations: [
    `${TEXTS_SCHEMA}
    CREATE TABLE sessions (
      key INTEGER PRIMARY KEY AUTOINCREMENT,
      digest BLOB NOT NULL UNIQUE,
      server TEXT NOT NULL,
      fingerprint TEXT NOT NULL,
      principal TEXT NOT NULL,
      kind TEXT NOT NULL,
      version TEXT,
      opened_at REAL NOT NULL,
      params INTEGER NOT NULL,
      result INTEGER NOT NULL,
      limits INTEGER NOT NULL,
      last_used REAL NOT NULL,
      state TEXT NOT NULL
    ) STRICT;
    -- Holds all that counts sessions, and all that tells which texts are in use.
    CREATE INDEX sessions_owner ON sessions (server, principal, params, result, limits);
    CREATE TABLE streams (
      key INTEGER PRIMARY KEY,
      text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE tombstones (
      place INTEGER PRIMARY KEY AUTOINCREMENT,
      handle TEXT NOT NULL UNIQUE,
      record TEXT NOT NULL
    ) STRICT;
    `,
  ],
};

/** A session as it is in the file. */
export interface SessionRow {
  key: number;
  digest: Uint8Array;
  server: string;
  fingerprint: string;
  principal: string;
  kind: string;
  version: string | null;
  opened_at: number;
  params: number;
  result: number;
  limits: number;
  last_used: number;
  state: string;
}

/** How many of them somebody has. */
export interface CountRow {
  server: string;
  principal: string;
  n: number;
}

/** By what each is for. */
export type Statements = ReturnType<typeof prepare>;

/** Every statement that is used again and again. */
export const SQL = {
  add:
    "INSERT INTO sessions (digest, server, fingerprint, principal, kind, version, opened_at, params, result, " +
    "limits, last_used, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
  update: "UPDATE sessions SET last_used = ?, state = ? WHERE key = ?",
  get: "SELECT * FROM sessions WHERE key = ?",
  find: "SELECT * FROM sessions WHERE digest = ?",
  page: "SELECT * FROM sessions WHERE key > ? ORDER BY key LIMIT ?",
  counts: "SELECT server, principal, count(*) AS n FROM sessions GROUP BY server, principal",
  saveStreams:
    "INSERT OR REPLACE INTO streams (key, text) SELECT key, :streams FROM sessions WHERE key = :key",
  takeStreams: "DELETE FROM streams WHERE key = ? RETURNING text",
  end: "DELETE FROM sessions WHERE key = ?",
  endStreams: "DELETE FROM streams WHERE key = ?",
  forgetTombstone: "DELETE FROM tombstones WHERE handle = ?",
  addTombstone: "INSERT INTO tombstones (handle, record) VALUES (?, ?)",
  collect:
    "WITH used AS MATERIALIZED (SELECT DISTINCT params, result, limits FROM sessions) DELETE FROM texts " +
    "WHERE id NOT IN (SELECT params FROM used UNION SELECT result FROM used UNION SELECT limits FROM used)",
  trim: "DELETE FROM tombstones WHERE place IN (SELECT place FROM tombstones ORDER BY place LIMIT ?)",
  tombstones: "SELECT handle, record FROM tombstones ORDER BY place DESC LIMIT ?",
} as const;

/** All of {@link SQL}, ready to be run. */
export function prepare(database: DatabaseSync) {
  const entries = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
  return Object.fromEntries(entries) as { [Name in keyof typeof SQL]: StatementSync };
}

/** A name as a column holds it: as it is, or as JSON where SQLite would not give it back as it was. */
export function toColumn(name: string): string {
  return name.startsWith('"') || name.includes("\0") || !name.isWellFormed() ? JSON.stringify(name) : name;
}

/** The name that a column holds. */
export function fromColumn(column: string): string {
  return column.startsWith('"') ? JSON.parse(column) as string : column;
}
