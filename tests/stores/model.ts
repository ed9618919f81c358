/**
 * A session store as plain as it can be, to compare others with.
 *
 * @module
 */
import type {
  NewSession,
  SessionChange,
  SessionCount,
  SessionStore,
  StoredSession,
  StoredTombstone,
} from "../../stores/store.ts";

/** Lists, and a look at each entry of them. */
export class Model implements Omit<SessionStore, "close" | "durable"> {
  readonly #kept: number;
  #lastKey = 0;
  #sessions: StoredSession[] = [];
  #streams: { key: number; text: string }[] = [];
  #tombstones: StoredTombstone[] = [];

  constructor({ tombstones }: { tombstones: number }) {
    this.#kept = tombstones;
  }

  has(digest: string): boolean {
    return this.find(digest) !== undefined;
  }

  /** @param key Which one another store gave; else the next. */
  add(session: NewSession, key = this.#lastKey + 1): number {
    this.#sessions.push({ ...session, key });
    return this.#lastKey = key;
  }

  update(changes: readonly SessionChange[]): void {
    for (const { key, lastUsed, state } of changes) {
      this.#sessions = this.#sessions.map((session) =>
        session.key === key ? { ...session, lastUsed, state } : session
      );
    }
  }

  get(key: number): StoredSession | undefined {
    return this.#sessions.find((session) => session.key === key);
  }

  find(digest: string): StoredSession | undefined {
    return this.#sessions.find((session) => session.digest === digest);
  }

  page(afterKey: number, limit: number): StoredSession[] {
    return this.#sessions.filter(({ key }) => key > afterKey).slice(0, limit);
  }

  counts(): SessionCount[] {
    const owners = new Set(this.#sessions.map((session) => JSON.stringify(ownerOf(session))));
    return Array.from(owners, (owner) => ({
      ...JSON.parse(owner),
      count: this.#sessions.filter((session) => JSON.stringify(ownerOf(session)) === owner).length,
    }));
  }

  saveStreams(key: number, text: string): void {
    if (this.get(key) === undefined) return;
    this.takeStreams(key);
    this.#streams.push({ key, text });
  }

  takeStreams(key: number): string | undefined {
    const found = this.#streams.find((streams) => streams.key === key);
    this.#streams = this.#streams.filter((streams) => streams !== found);
    return found?.text;
  }

  end(ended: readonly { readonly key: number; readonly tombstone: StoredTombstone }[]): void {
    for (const { key, tombstone } of ended) {
      this.takeStreams(key);
      this.#sessions = this.#sessions.filter((session) => session.key !== key);
      this.#tombstones = this.#tombstones.filter(({ handle }) => handle !== tombstone.handle);
      this.#tombstones.push(tombstone);
    }
    this.#tombstones = this.tombstones(this.#kept);
  }

  tombstones(limit: number): StoredTombstone[] {
    return limit > 0 ? this.#tombstones.slice(-limit) : [];
  }
}

function ownerOf({ serverId, principal }: NewSession): { serverId: string; principal: string } {
  return { serverId, principal };
}
