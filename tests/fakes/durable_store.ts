/**
 * A session store that outlives the gateways that use it, without a file.
 *
 * @module
 */
import type { MemoryStore } from "../../stores/memory.ts";
import type {
  NewSession,
  SessionChange,
  SessionCount,
  SessionStore,
  StoredSession,
  StoredTombstone,
} from "../../stores/store.ts";

/** One gateway's hold on what is kept. Each gateway has its own, over the same memory. */
export class DurableStore implements SessionStore {
  readonly durable = true;
  readonly #kept: MemoryStore;
  /** The most sessions that a page has, so that few of them make many pages. */
  readonly #pageSize: number;
  #open = true;

  constructor(kept: MemoryStore, { pageSize = Infinity }: { readonly pageSize?: number } = {}) {
    this.#kept = kept;
    this.#pageSize = pageSize;
  }

  /** Whether its gateway has not let go of it. */
  get open(): boolean {
    return this.#open;
  }

  /** Its gateway was killed: what that still does in its last turn is written nowhere. */
  cut(): void {
    this.#open = false;
  }

  close(): void {
    this.#open = false;
  }

  add(session: NewSession): number {
    return this.#held.add(session);
  }

  update(changes: readonly SessionChange[]): void {
    this.#held.update(changes);
  }

  get(key: number): StoredSession | undefined {
    return this.#held.get(key);
  }

  find(digest: string): StoredSession | undefined {
    return this.#held.find(digest);
  }

  page(afterKey: number, limit: number): StoredSession[] {
    return this.#held.page(afterKey, Math.min(limit, this.#pageSize));
  }

  counts(): SessionCount[] {
    return this.#held.counts();
  }

  saveStreams(key: number, streams: string): void {
    this.#held.saveStreams(key, streams);
  }

  takeStreams(key: number): string | undefined {
    return this.#held.takeStreams(key);
  }

  end(ended: readonly { readonly key: number; readonly tombstone: StoredTombstone }[]): void {
    this.#held.end(ended);
  }

  tombstones(limit: number): StoredTombstone[] {
    return this.#held.tombstones(limit);
  }

  get #held(): MemoryStore {
    if (!this.#open) throw new Error("This store was closed");
    return this.#kept;
  }
}
