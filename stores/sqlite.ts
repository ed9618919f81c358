/**
 * The session store in an SQLite file: sessions outlive the gateway, however that ends.
 *
 * What a touch changes (`last_used`, `state`) is in the session's row; the long texts that stay as they are lie in a
 * table of their own, each once (`texts.ts`). Those that no session has any more are removed at the next opening.
 *
 * What each call costs with 100,000 sessions in the file is measured by `bench/store.ts`.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { checkChanges, checkSession, countOf, isDigest } from "./arguments.ts";
import { openDatabase, transact } from "./database.ts";
import {
  type CountRow,
  fromColumn,
  prepare,
  type SessionRow,
  SESSIONS,
  type Statements,
  toColumn,
} from "./sqlite_schema.ts";
import type {
  NewSession,
  SessionChange,
  SessionCount,
  SessionStore,
  StoredSession,
  StoredTombstone,
} from "./store.ts";
import { StoreError } from "./store_error.ts";
import { Texts } from "./texts.ts";

/** How to open a {@link SqliteStore}. */
export interface SqliteStoreOptions {
  /** The file; its folder is there. */
  readonly path: string;
  /** How many tombstones are kept; 0 keeps none. */
  readonly tombstones: number;
}

/** See the module's documentation. */
export class SqliteStore implements SessionStore {
  readonly durable = true;
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly #texts: Texts;
  readonly #keptTombstones: number;
  /** How many tombstones there are: counting them would read them all. */
  #tombstones = 0;
  #closed = false;

  /**
   * Opens the file and makes it where there is none.
   *
   * @throws {StoreError}
   */
  constructor({ path, tombstones }: SqliteStoreOptions) {
    this.#path = path;
    this.#keptTombstones = countOf(tombstones);
    this.#database = openDatabase(path, SESSIONS);
    try {
      this.#statements = prepare(this.#database);
      this.#texts = new Texts(this.#database);
      const { n } = this.#database.prepare("SELECT count(*) AS n FROM tombstones").get() as { n: number };
      this.#tombstones = n;
      this.#collect();
    } catch (error) {
      this.#database.close();
      throw StoreError.of(error, path, SESSIONS.holds);
    }
  }

  add(session: NewSession): number {
    checkSession(session);
    const { serverId, fingerprint, principal, kind, protocolVersion } = session;
    const names = [serverId, fingerprint, principal, kind].map(toColumn);
    const version = protocolVersion === undefined ? null : toColumn(protocolVersion);
    return this.#transact(() => {
      const texts = [session.params, session.result, session.limits].map((text) => this.#texts.idOf(text));
      const { lastInsertRowid } = this.#statements.add.run(
        Uint8Array.fromHex(session.digest),
        ...names,
        version,
        session.openedAt,
        ...texts,
        session.lastUsed,
        session.state,
      );
      return Number(lastInsertRowid);
    });
  }

  update(changes: readonly SessionChange[]): void {
    checkChanges(changes);
    const run = ({ key, lastUsed, state }: SessionChange) => {
      this.#statements.update.run(lastUsed, state, key);
    };
    if (changes.length > 1) this.#transact(() => changes.forEach(run));
    else this.#try(() => changes.forEach(run));
  }

  get(key: number): StoredSession | undefined {
    return this.#try(() => this.#sessionOf(this.#statements.get.get(key)));
  }

  find(digest: string): StoredSession | undefined {
    return this.#try(() =>
      isDigest(digest) ? this.#sessionOf(this.#statements.find.get(Uint8Array.fromHex(digest))) : undefined
    );
  }

  page(afterKey: number, limit: number): StoredSession[] {
    return this.#try(() =>
      this.#statements.page.all(afterKey, countOf(limit)).map((row) => this.#sessionOf(row)!)
    );
  }

  counts(): SessionCount[] {
    return this.#try(() =>
      (this.#statements.counts.all() as unknown as CountRow[])
        .map(({ server, principal, n }) => ({
          serverId: fromColumn(server),
          principal: fromColumn(principal),
          count: n,
        }))
    );
  }

  saveStreams(key: number, streams: string): void {
    this.#try(() => this.#statements.saveStreams.run({ key, streams }));
  }

  takeStreams(key: number): string | undefined {
    // All of them, because only a statement that ran to its end is committed.
    const [row] = this.#try(() => this.#statements.takeStreams.all(key)) as { text: string }[];
    return row?.text;
  }

  end(ended: readonly { readonly key: number; readonly tombstone: StoredTombstone }[]): void {
    const { end, endStreams, forgetTombstone, addTombstone } = this.#statements;
    if (ended.length === 0) return this.#try(() => undefined);
    this.#tombstones = this.#transact(() => {
      let tombstones = this.#tombstones + ended.length;
      for (const { key, tombstone: { handle, record } } of ended) {
        end.run(key);
        endStreams.run(key);
        // So that it is the newest, also where its handle was there.
        tombstones -= Number(forgetTombstone.run(toColumn(handle)).changes);
        addTombstone.run(toColumn(handle), record);
      }
      return this.#trim(tombstones);
    });
  }

  tombstones(limit: number): StoredTombstone[] {
    const rows = this.#try(() => this.#statements.tombstones.all(countOf(limit)));
    return (rows as unknown as StoredTombstone[])
      .map(({ handle, record }) => ({ handle: fromColumn(handle), record })).reverse();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#database.close();
    } catch {
      // What was written is in the log beside the file.
    }
  }

  /** Removes what nobody can ask for. Where there is no room even for that, it waits for the next opening. */
  #collect(): void {
    try {
      this.#tombstones = this.#transact(() => {
        this.#statements.collect.run();
        return this.#trim(this.#tombstones);
      });
    } catch (error) {
      if (!(error instanceof StoreError && error.problem === "full")) throw error;
    }
  }

  /** Lets the oldest tombstones go that are too many. @returns How many are left of so many. */
  #trim(tombstones: number): number {
    if (tombstones <= this.#keptTombstones) return tombstones;
    this.#statements.trim.run(tombstones - this.#keptTombstones);
    return this.#keptTombstones;
  }

  #sessionOf(row: unknown): StoredSession | undefined {
    if (row === undefined) return undefined;
    const { key, digest, server, fingerprint, principal, kind, version, opened_at, ...rest } =
      row as SessionRow;
    return {
      key,
      digest: digest.toHex(),
      serverId: fromColumn(server),
      fingerprint: fromColumn(fingerprint),
      principal: fromColumn(principal),
      kind: fromColumn(kind),
      protocolVersion: version === null ? undefined : fromColumn(version),
      openedAt: opened_at,
      params: this.#texts.textOf(rest.params),
      result: this.#texts.textOf(rest.result),
      limits: this.#texts.textOf(rest.limits),
      lastUsed: rest.last_used,
      state: rest.state,
    };
  }

  #transact<Result>(work: () => Result): Result {
    return this.#try(() => {
      try {
        return transact(this.#database, work);
      } catch (error) {
        this.#texts.forget();
        throw error;
      }
    });
  }

  #try<Result>(work: () => Result): Result {
    if (this.#closed) throw StoreError.closed(this.#path);
    try {
      return work();
    } catch (error) {
      throw StoreError.of(error, this.#path, SESSIONS.holds);
    }
  }
}
