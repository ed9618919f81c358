/**
 * What is written down of sessions, and when.
 *
 * | what | when |
 * | --- | --- |
 * | a session opens | before its client is told |
 * | it is used | within {@link FLUSH_MS}, many sessions together: a touch costs the request path one look at a flag |
 * | it ends | before anybody is told; where time ended it with the next changes, because the next run would find the same |
 * | the gateway shuts down | at once, with what went out on its streams |
 *
 * The store may fail: its disk is full, say. Then nothing more is opened (a session that a restart would lose is no
 * promise to make), those that are open go on, and what could not be written is tried again until it can.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import type { Params } from "../protocol/jsonrpc.ts";
import type {
  NewSession,
  SessionChange,
  SessionCount,
  SessionStore,
  StoredSession,
  StoredTombstone,
} from "../stores/store.ts";
import type { Remembered } from "./revival.ts";
import { type Tombstone, tombstoneOf, tombstoneText } from "./tombstones.ts";

/** After how long a change is written down, in ms: so much may be lost to a SIGKILL. */
export const FLUSH_MS = 500;
/** After how long what failed is tried again, in ms. */
const RETRY_MS = 1_000;
/**
 * Changes and ends that are written in one turn: about a millisecond. An end that must be written before anybody is told
 * takes all those before it along.
 */
const ROWS_AT_ONCE = 256;
/** How often it is told that nothing can be written, in ms. */
const TELL_EVERY_MS = 60_000;

/** A session, as far as it is written down. */
export interface Recorded {
  /** The store's; 0 where it has none. */
  readonly key: number;
  /** What changes in its life, as it is now. */
  readonly change: Omit<SessionChange, "key">;
  /** Requests in flight: while there is one it is used all the time, and written down again and again. */
  readonly inFlight: number;
  /** Whether it is over, or left to the next run. */
  readonly closed: boolean;
  /** Whether it waits to be written down. The records' own mark: a touch that finds it set has nothing to do. */
  marked: boolean;
}

/** How to make {@link Records}. */
export interface RecordsOptions {
  readonly store: SessionStore;
  readonly clock: Clock;
}

type Ended = Parameters<SessionStore["end"]>[0][number];

const log = logger("store");

/** See the module's documentation. */
export class Records {
  readonly #store: SessionStore;
  readonly #clock: Clock;
  /** Whether what is written outlives the gateway. */
  readonly durable: boolean;
  /** Sessions that changed since they were last written down. */
  #changed: Recorded[] = [];
  /** How many of them are written. */
  #written = 0;
  /** The same for the next round: those that are in use when they are written. */
  #inUse: Recorded[] = [];
  /** Ends that are not written down yet, oldest first. */
  #ended: Ended[] = [];
  /** Their keys. */
  readonly #over = new Set<number>();
  #cancelFlush: Cancel | undefined;
  #toldAt = -Infinity;
  #trouble: string | undefined;

  constructor({ store, clock }: RecordsOptions) {
    this.#store = store;
    this.#clock = clock;
    this.durable = store.durable;
  }

  /** What keeps it from writing; undefined while it can. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Changes and ends that wait to be written. */
  get waiting(): number {
    return this.#changed.length - this.#written + this.#inUse.length + this.#ended.length;
  }

  /** Puts a session down. */
  opened(session: NewSession): { readonly key: number } | Failure {
    let key = 0;
    const problem = this.#try(() => key = this.#store.add(session));
    return problem === undefined ? { key } : { code: "storeFailed", detail: problem };
  }

  /** A session was used, or something else changed in it. */
  changed(session: Recorded): void {
    if (session.marked || !this.durable || session.key === 0) return;
    session.marked = true;
    this.#changed.push(session);
    this.#flushIn(FLUSH_MS);
  }

  /**
   * A session is over.
   *
   * @param options.later Whether that may be written with the next changes.
   */
  ended(session: Recorded, tombstone: Tombstone, { later }: { later: boolean }): void {
    this.lost(session.key, tombstone, { later });
  }

  /** The same for one that was not taken up again. */
  lost(key: number, tombstone: Tombstone, { later }: { later: boolean }): void {
    // What was never written down may be refused again and again while nothing can be: one is enough to try with.
    if (key === 0 && this.#trouble !== undefined && this.#ended.length > 0) return;
    this.#over.add(key);
    this.#ended.push({ key, tombstone: { handle: tombstone.handle, record: tombstoneText(tombstone) } });
    if (later && this.durable) this.#flushIn(FLUSH_MS);
    else if (!this.#writeAllEnds()) this.#flushIn(RETRY_MS);
  }

  /** The gateway goes, the session stays. @param streams What went out on its streams, for its client to come back for. */
  suspended(session: Recorded, streams: string | undefined): void {
    const { key, change } = session;
    this.#try(() => this.#store.update([{ key, ...change }]));
    if (streams !== undefined) this.#try(() => this.#store.saveStreams(key, streams));
  }

  /** What revives a session; undefined where nothing is known of it. */
  remembered(key: number): Remembered | undefined {
    return this.#read(() => {
      const stored = key === 0 ? undefined : this.#store.get(key);
      return stored && {
        params: JSON.parse(stored.params) as Params,
        result: JSON.parse(stored.result) as Params,
      };
    });
  }

  /** What went out on a session's streams in an earlier run. It is asked for once. */
  takeStreams(key: number): string | undefined {
    return this.#read(() => this.#store.takeStreams(key));
  }

  /** Whether a session that is still in the store is over: its end waits to be written. */
  isOver(key: number): boolean {
    return this.#over.has(key);
  }

  find(digest: string): StoredSession | undefined {
    return this.#read(() => this.#store.find(digest));
  }

  page(afterKey: number, limit: number): StoredSession[] {
    return this.#read(() => this.#store.page(afterKey, limit)) ?? [];
  }

  counts(): SessionCount[] {
    return this.#read(() => this.#store.counts()) ?? [];
  }

  /** The newest so many, oldest first. Those that cannot be read are left out. */
  tombstones(limit: number): Tombstone[] {
    const stored: StoredTombstone[] = this.#read(() => this.#store.tombstones(limit)) ?? [];
    return stored.flatMap(({ record }) => tombstoneOf(record, this.#clock) ?? []);
  }

  /** Writes what waits, and lets go of the store. */
  close(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    this.#writeAllEnds();
    while (this.#written < this.#changed.length && this.#writeChanges(ROWS_AT_ONCE));
    this.#store.close();
  }

  /** In slices: others get their turns between them. */
  readonly #onFlush = (): void => {
    this.#cancelFlush = undefined;
    const ends = Math.min(this.#ended.length, ROWS_AT_ONCE);
    if (!this.#writeEnds(ends) || !this.#writeChanges(ROWS_AT_ONCE - ends)) return this.#flushIn(RETRY_MS);
    if (this.#ended.length > 0 || this.#written < this.#changed.length) return this.#flushIn(1);
    // Also where nothing waits: sessions that are over would be held on to.
    this.#changed = this.#inUse;
    this.#inUse = [];
    this.#written = 0;
    if (this.#changed.length > 0) this.#flushIn(FLUSH_MS);
  };

  /** One timer for all of it, or each failure would beget another. */
  #flushIn(ms: number): void {
    this.#cancelFlush ??= this.#clock.after(ms, this.#onFlush);
  }

  #writeAllEnds(): boolean {
    while (this.#ended.length > 0) {
      if (!this.#writeEnds(ROWS_AT_ONCE)) return false;
    }
    return true;
  }

  /** @returns False where the store failed, and nothing was written. */
  #writeEnds(most: number): boolean {
    const slice = this.#ended.slice(0, most);
    if (slice.length === 0) return true;
    if (this.#try(() => this.#store.end(slice)) !== undefined) return false;
    for (const { key } of slice) this.#over.delete(key);
    this.#ended = this.#ended.slice(slice.length);
    return true;
  }

  /** @returns The same. */
  #writeChanges(most: number): boolean {
    const slice = this.#changed.slice(this.#written, this.#written + most);
    // What is over or left to the next run has been written.
    const rows = slice.filter(({ closed }) => !closed).map(({ key, change }) => ({ key, ...change }));
    if (rows.length > 0 && this.#try(() => this.#store.update(rows)) !== undefined) return false;
    this.#written += slice.length;
    for (const session of slice) {
      session.marked = !session.closed && session.inFlight > 0;
      if (session.marked) this.#inUse.push(session);
    }
    return true;
  }

  /** @returns What went wrong; undefined where nothing did. */
  #try(write: () => void): string | undefined {
    try {
      write();
      if (this.#trouble !== undefined) log.info("Sessions can be written down again");
      this.#trouble = undefined;
      this.#toldAt = -Infinity;
      return undefined;
    } catch (error) {
      return this.#onTrouble(error);
    }
  }

  #read<Result>(read: () => Result): Result | undefined {
    try {
      return read();
    } catch (error) {
      this.#onTrouble(error);
      return undefined;
    }
  }

  #onTrouble(error: unknown): string {
    const problem = error instanceof Error ? error.message : String(error);
    this.#trouble = problem;
    if (this.#clock.now() >= this.#toldAt + TELL_EVERY_MS) {
      this.#toldAt = this.#clock.now();
      log.error("Sessions cannot be written down: {problem}", { problem });
    }
    return problem;
  }
}
