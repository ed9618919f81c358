/**
 * The session store that forgets everything when the process ends.
 *
 * @module
 */
import { checkChanges, checkSession, countOf } from "./arguments.ts";
import { Interned } from "./interned.ts";
import type {
  NewSession,
  SessionChange,
  SessionCount,
  SessionStore,
  StoredSession,
  StoredTombstone,
} from "./store.ts";
import { StoreError } from "./store_error.ts";

/** What an error calls it. */
const NAME = "The session store in memory";

/** How many keys of ended sessions stay in the order, beyond one for each session that is there. */
const MAX_STALE_KEYS = 64;

/** See the module's documentation. */
export class MemoryStore implements SessionStore {
  readonly durable = false;
  readonly #keptTombstones: number;
  /** Replaced where something of a session changes, never changed: they have been handed out. */
  readonly #sessions = new Map<number, StoredSession>();
  readonly #keys = new Map<string, number>();
  /** All keys, ascending. Those of ended sessions stay until they are the most. */
  #order: number[] = [];
  #lastKey = 0;
  readonly #texts = new Interned();
  /** How many sessions, by server and then by principal. */
  readonly #counts = new Map<string, Map<string, number>>();
  readonly #streams = new Map<number, string>();
  /** By handle, oldest first. */
  readonly #tombstones = new Map<string, StoredTombstone>();
  #closed = false;

  /** @param options `tombstones`: how many are kept; 0 keeps none. */
  constructor({ tombstones }: { readonly tombstones: number }) {
    this.#keptTombstones = countOf(tombstones);
  }

  add(session: NewSession): number {
    checkSession(session);
    this.#refuseClosed();
    if (this.#keys.has(session.digest)) {
      throw StoreError.of(new Error("UNIQUE constraint failed: sessions.digest"), NAME);
    }
    const key = ++this.#lastKey;
    const [params, result, limits] = textsOf(session).map((text) => this.#texts.take(text));
    this.#sessions.set(key, { ...session, key, params: params!, result: result!, limits: limits! });
    this.#keys.set(session.digest, key);
    this.#order.push(key);
    this.#count(session, 1);
    return key;
  }

  update(changes: readonly SessionChange[]): void {
    checkChanges(changes);
    this.#refuseClosed();
    for (const { key, lastUsed, state } of changes) {
      const session = this.#sessions.get(key);
      if (session !== undefined) this.#sessions.set(key, { ...session, lastUsed, state });
    }
  }

  get(key: number): StoredSession | undefined {
    this.#refuseClosed();
    return this.#sessions.get(key);
  }

  find(digest: string): StoredSession | undefined {
    this.#refuseClosed();
    const key = this.#keys.get(digest);
    return key === undefined ? undefined : this.#sessions.get(key);
  }

  page(afterKey: number, limit: number): StoredSession[] {
    this.#refuseClosed();
    const page: StoredSession[] = [];
    const most = countOf(limit);
    for (let at = firstAfter(this.#order, afterKey); at < this.#order.length && page.length < most; at++) {
      const session = this.#sessions.get(this.#order[at]!);
      if (session !== undefined) page.push(session);
    }
    return page;
  }

  counts(): SessionCount[] {
    this.#refuseClosed();
    return Array.from(
      this.#counts,
      ([serverId, principals]) =>
        Array.from(principals, ([principal, count]) => ({ serverId, principal, count })),
    ).flat();
  }

  saveStreams(key: number, streams: string): void {
    this.#refuseClosed();
    if (this.#sessions.has(key)) this.#streams.set(key, streams);
  }

  takeStreams(key: number): string | undefined {
    this.#refuseClosed();
    const streams = this.#streams.get(key);
    this.#streams.delete(key);
    return streams;
  }

  end(ended: readonly { readonly key: number; readonly tombstone: StoredTombstone }[]): void {
    this.#refuseClosed();
    for (const { key, tombstone: { handle, record } } of ended) {
      this.#forget(key);
      // So that it is the newest, also where its handle was there.
      this.#tombstones.delete(handle);
      this.#tombstones.set(handle, { handle, record });
    }
    for (const oldest of this.#tombstones.keys()) {
      if (this.#tombstones.size <= this.#keptTombstones) break;
      this.#tombstones.delete(oldest);
    }
    if (this.#order.length > 2 * this.#sessions.size + MAX_STALE_KEYS) {
      this.#order = this.#order.filter((key) => this.#sessions.has(key));
    }
  }

  tombstones(limit: number): StoredTombstone[] {
    this.#refuseClosed();
    const skipped = Math.max(0, this.#tombstones.size - countOf(limit));
    return this.#tombstones.values().drop(skipped).toArray();
  }

  close(): void {
    this.#closed = true;
    for (const held of [this.#sessions, this.#keys, this.#counts, this.#streams, this.#tombstones]) {
      held.clear();
    }
    this.#texts.clear();
    this.#order = [];
  }

  #forget(key: number): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#sessions.delete(key);
    this.#keys.delete(session.digest);
    this.#streams.delete(key);
    this.#count(session, -1);
    textsOf(session).forEach((text) => this.#texts.give(text));
  }

  #count({ serverId, principal }: NewSession, change: 1 | -1): void {
    const principals = this.#counts.get(serverId) ?? new Map<string, number>();
    this.#counts.set(serverId, principals);
    const count = (principals.get(principal) ?? 0) + change;
    if (count > 0) principals.set(principal, count);
    else principals.delete(principal);
    if (principals.size === 0) this.#counts.delete(serverId);
  }

  #refuseClosed(): void {
    if (this.#closed) throw StoreError.closed(NAME);
  }
}

function textsOf({ params, result, limits }: NewSession): [string, string, string] {
  return [params, result, limits];
}

/** Where in an ascending list the first number greater than one is; its length where there is none. */
function firstAfter(ascending: readonly number[], value: number): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
