/**
 * Sessions and stores for the tests of session stores.
 *
 * @module
 */
import { STORES } from "../../stores/mod.ts";
import type { NewSession, SessionCount, SessionStore, StoredTombstone } from "../../stores/store.ts";
import { Folder } from "./helpers.ts";

/** The names of all stores. */
export const STORE_NAMES = Object.keys(STORES) as (keyof typeof STORES)[];

/** What names one session in the tests. */
export function digestOf(n: number): string {
  return n.toString(16).padStart(64, "0");
}

/** A session by its number; equal numbers have the same digest. */
export function sessionOf(n: number, changes: Partial<NewSession> = {}): NewSession {
  return {
    digest: digestOf(n),
    serverId: "files",
    fingerprint: "print",
    principal: "alice",
    kind: "streamable",
    protocolVersion: "2025-11-25",
    openedAt: 1_700_000_000_000 + n,
    params: '{"protocolVersion":"2025-11-25","clientInfo":{"name":"client","version":"1"}}',
    result: '{"protocolVersion":"2025-11-25","serverInfo":{"name":"server","version":"1"}}',
    limits: '{"idleTtlMs":300000}',
    lastUsed: 1_700_000_000_000 + n,
    state: "{}",
    ...changes,
  };
}

/** The end of a session, with the tombstone of a number. */
export function endOf(
  key: number,
  n: number,
  record = `{"n":${n}}`,
): { key: number; tombstone: StoredTombstone } {
  return { key, tombstone: { handle: `handle${n}`, record } };
}

/** Counts in an order of their own. */
export function sorted(counts: readonly SessionCount[]): SessionCount[] {
  return counts.toSorted((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
}

/** All that a store holds, streams aside. */
export function contentOf(store: Pick<SessionStore, "page" | "counts" | "tombstones">) {
  return {
    sessions: store.page(0, Infinity),
    counts: sorted(store.counts()),
    tombstones: store.tombstones(Infinity),
  };
}

/** One store in a folder of its own, both gone at the end. */
export class Kept implements Disposable {
  readonly folder = new Folder();
  readonly tombstones: number;
  store: SessionStore;

  constructor(readonly name: keyof typeof STORES, { tombstones = 5 } = {}) {
    this.tombstones = tombstones;
    this.store = this.#open(tombstones);
  }

  /** Closes the store and opens it again, as the next process would. */
  reopen(tombstones = this.tombstones): SessionStore {
    this.store.close();
    return this.store = this.#open(tombstones);
  }

  [Symbol.dispose](): void {
    this.store.close();
    this.folder[Symbol.dispose]();
  }

  #open(tombstones: number): SessionStore {
    return STORES[this.name]({ dir: this.folder.path, tombstones });
  }
}
