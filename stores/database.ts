/**
 * Opens an SQLite file of the data folder.
 *
 * What is there and cannot be understood is never written: a file that exists is first looked at through a connection
 * that can only read (one that could write would bring the log beside it into the file when it is closed). Only what
 * is whole, ours and of a schema that this version knows is opened for writing.
 *
 * In WAL mode with `synchronous = NORMAL` a write is in the file system's cache when the call returns: it outlives the
 * gateway, however that ends, and costs no `fsync`. A power cut may take the last writes, never the file.
 *
 * Others may read the files while the gateway runs (`sqlite3 FILE`), also to copy them (`VACUUM INTO`).
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "./store_error.ts";

/** How long a write waits for another program that holds the file, in ms. The event loop waits too. */
const BUSY_MS = 100;
/** What is kept of a log that has been written back, in bytes. */
const MAX_LOG_BYTES = 4 * 1024 * 1024;
/** SQLite's least. */
const LEAST_PAGE_BYTES = 512;
/** Only its owner. */
const MODE = 0o600;

/** One kind of file. */
export interface DatabaseKind {
  /** SQLite's `application_id`: tells the kinds apart, and each from any other program's. */
  readonly applicationId: number;
  /** Completes "to start without …". */
  readonly holds: string;
  /**
   * SQL that takes the schema from each version to the next; the first makes it. What was once released never
   * changes: a new schema is one more step.
   */
  readonly migrations: readonly string[];
}

/**
 * Opens a file, makes it where there is none, and brings its schema up to date, each step in one transaction.
 *
 * @param path Absolute, in a folder that exists. The file and those that SQLite puts beside it get mode 0600.
 * @throws {StoreError} Names the file, what is wrong with it and what to do.
 */
export function openDatabase(path: string, kind: DatabaseKind): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    prepareFile(path);
    check(path, kind);
    database = new DatabaseSync(path, { timeout: BUSY_MS });
    const { journal_mode } = database.prepare("PRAGMA journal_mode = WAL").get() as Row;
    if (journal_mode !== "wal") throw new Error(`no write-ahead log there, only ${journal_mode}`);
    database.exec(`PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = ${MAX_LOG_BYTES}`);
    migrate(database, kind);
    return database;
  } catch (error) {
    database?.close();
    throw StoreError.of(error, path, kind.holds);
  }
}

/** Does something in one transaction: all of it, or, where it throws, nothing. */
export function transact<Result>(database: DatabaseSync, work: () => Result): Result {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    // Some errors, such as a full disk, have rolled it back already.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

type Row = Record<string, unknown>;

/** Made here, because SQLite would make it readable for everybody; the files beside it get its mode. */
function prepareFile(path: string): void {
  using file = Deno.openSync(path, { read: true, write: true, create: true, mode: MODE });
  const { mode } = file.statSync();
  if (mode !== null && (mode & 0o777) !== MODE) Deno.chmodSync(path, MODE);
}

/** Throws unless the file is empty, or whole and ours. */
function check(path: string, { applicationId, migrations, holds }: DatabaseKind): void {
  const cut = cutOff(path);
  if (cut !== undefined) throw StoreError.of(new Error(`malformed: ${cut}`), path, holds);
  using database = new ReadOnly(path);
  const version = Number(database.value("PRAGMA user_version"));
  const owner = Number(database.value("PRAGMA application_id"));
  const isEmpty = Number(database.value("SELECT count(*) FROM sqlite_schema")) === 0;
  if (owner !== applicationId && !(isEmpty && version === 0)) {
    throw new StoreError(
      "foreign",
      path,
      "is a database of something else and was left as it is: move it away, or set DATA_DIR to another folder",
    );
  }
  if (version > migrations.length) {
    throw new StoreError(
      "newer",
      path,
      `has schema ${version}, and this version of Sojourn knows those up to ${migrations.length}; it was left as ` +
        `it is: run the later version that wrote it, or move it away to start without ${holds}`,
    );
  }
  // The first thing that is wrong. Takes one to two milliseconds for each MiB.
  const found = String(database.value("PRAGMA quick_check(1)"));
  if (found !== "ok") {
    throw StoreError.of(new Error(`malformed: ${found.replaceAll("\n", " ")}`), path, holds);
  }
}

/**
 * How a file was cut that SQLite would take for a whole one: an empty file for a new one, with which it removes the log
 * beside it; a page that is not all there for one that ends in zeros. With a log that page can be on its way.
 */
function cutOff(path: string): string | undefined {
  const { size } = Deno.statSync(path);
  const hasLog = sizeOf(`${path}-wal`) > 0;
  if (size === 0) return hasLog ? "it is empty, and its log is not" : undefined;
  // No page is smaller, and each size is a multiple of it.
  return size % LEAST_PAGE_BYTES !== 0 && !hasLog ? "it ends within a page" : undefined;
}

/** In bytes; 0 where there is no such file. */
function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

class ReadOnly implements Disposable {
  readonly #database: DatabaseSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { readOnly: true, timeout: BUSY_MS });
  }

  /** The first value of the first row. */
  value(sql: string): unknown {
    return Object.values(this.#database.prepare(sql).get() ?? {})[0];
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

function migrate(database: DatabaseSync, { applicationId, migrations }: DatabaseKind): void {
  const { user_version } = database.prepare("PRAGMA user_version").get() as Row;
  for (let version = Number(user_version); version < migrations.length; version++) {
    transact(database, () => {
      database.exec(migrations[version]!);
      database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version + 1}`);
    });
  }
}
