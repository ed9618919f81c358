/**
 * Where sessions are written down so that they outlive the process that serves them: the contract. The edge cases are
 * the contract:
 *
 * - A session's key is the store's own: a number from 1 that is never given to another session.
 * - What is not there is no error: changing or ending an unknown key changes nothing, finding one finds nothing. A
 *   session that ended is not there.
 * - Every method is done when it returns; what it wrote is there for the next call, and for the next process after a
 *   SIGKILL where the store is durable. A power cut may take the last seconds and damages nothing.
 * - A method either does all of what it was asked or throws {@link StoreError} and has done nothing.
 * - The store never reads the JSON texts that it keeps. Equal texts of many sessions are kept once.
 * - JSON texts are well-formed and without NUL, as JSON is; names may hold any character.
 * - A digest of another form and an instant that is not finite are mistakes of the caller's: a `TypeError`, and nothing
 *   was done.
 *
 * Listing is by pages in order of keys, so that it can go on while sessions come and go.
 *
 * @module
 */

/** What of a session is put down when it opens and stays as it is. Instants are ms since the Unix epoch. */
export interface NewSession {
  /** SHA-256 of its id, as 64 hexadecimal digits. The id itself is a credential and is never written. */
  readonly digest: string;
  readonly serverId: string;
  /** Tells whether the server's entry is still the one that the session was opened with. */
  readonly fingerprint: string;
  readonly principal: string;
  readonly kind: string;
  readonly protocolVersion: string | undefined;
  readonly openedAt: number;
  /** The client's params of `initialize`, as JSON. */
  readonly params: string;
  /** The server's result, as JSON. */
  readonly result: string;
  /** The limits that hold for it, as JSON. */
  readonly limits: string;
  readonly lastUsed: number;
  /** What else changes in its life, as JSON. */
  readonly state: string;
}

/** A session as it is in the store. */
export interface StoredSession extends NewSession {
  readonly key: number;
}

/** What changed of a session. */
export interface SessionChange {
  readonly key: number;
  readonly lastUsed: number;
  readonly state: string;
}

/** What is kept of a session that ended. */
export interface StoredTombstone {
  /** The session's public name. */
  readonly handle: string;
  /** Everything, as JSON. */
  readonly record: string;
}

/** How many sessions somebody has with a server. */
export interface SessionCount {
  readonly serverId: string;
  readonly principal: string;
  readonly count: number;
}

/** See the module's documentation. Every method may throw `StoreError`, `close` aside. */
export interface SessionStore {
  /** Whether what is written outlives the process. */
  readonly durable: boolean;
  /** Puts a session down. @returns Its key. @throws {StoreError} Also where the digest is there already. */
  add(session: NewSession): number;
  /** Notes what changed, for all of them or for none. */
  update(changes: readonly SessionChange[]): void;
  get(key: number): StoredSession | undefined;
  find(digest: string): StoredSession | undefined;
  /** The sessions whose keys come after one, at most so many, in order of keys. 0 is before all. */
  page(afterKey: number, limit: number): StoredSession[];
  /** How many there are, by server and principal. Without reading each. */
  counts(): SessionCount[];
  /** Keeps what went out on a session's streams, in place of what was kept before. */
  saveStreams(key: number, streams: string): void;
  /** Returns what was kept of them and forgets it. */
  takeStreams(key: number): string | undefined;
  /**
   * Forgets sessions and all that was kept of them, and keeps their tombstones instead; of these the newest so many.
   * A tombstone is kept also where its session was not there. All of it in one.
   */
  end(ended: readonly { readonly key: number; readonly tombstone: StoredTombstone }[]): void;
  /** The newest so many tombstones, oldest first. */
  tombstones(limit: number): StoredTombstone[];
  /** Writes what is left to write and lets go of the file. Idempotent, never throws; nothing else works afterwards. */
  close(): void;
}
