/**
 * Pages of sessions that stay right while sessions come, go and are used: one that matches from the first page to the
 * last is on exactly one of them.
 *
 * - By `openedAt`, and with ended sessions by anything, the order never changes: a page begins behind the last of the
 *   page before, by key and handle, and the gateway keeps nothing.
 * - By `idleMs` and `deadline` the order changes with each message. So the order is that of the first page's instant:
 *   the gateway keeps handles and keys as they were then, for a bounded time, and the cursor names what is kept. What
 *   is shown of a session is how it is now; those that ended meanwhile or no longer match are left out.
 *
 * A page looks at every session once, in slices, and makes views of those that are on it only.
 *
 * @module
 */
import type { Session, Supervisor, Tombstone } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { type Identity, maySee } from "./access.ts";
import {
  badQuery,
  type Cursor,
  type Filter,
  type Listing,
  type Order,
  readCursor,
  type Sort,
  writeCursor,
} from "./session_query.ts";
import { type SessionView, sessionView, tombstoneView } from "./session_view.ts";
import { inSlices } from "./turns.ts";

/** Listings that are kept at a time, by all and by one principal; each is some 100 bytes a session. */
const MAX_KEPT = 16;
const MAX_KEPT_BY_PRINCIPAL = 4;
/** How long one is kept after a page of it was read, in ms. */
const KEPT_MS = 120_000;
/** Views that are made in one go. */
const VIEWS_AT_ONCE = 200;

/** One page. */
export interface Page {
  readonly sessions: readonly SessionView[];
  /** Undefined on the last one. */
  readonly nextCursor: string | undefined;
  /** How many match, on all pages. */
  readonly total: number;
}

/** What a page is asked for. */
export interface PageRequest {
  readonly listing: Listing;
  readonly limit: number;
  readonly cursor: string | undefined;
  readonly identity: Identity;
  /** Told of each session that the client may see and that still holds something, whether it matches or not. */
  readonly onVisible: (session: Session) => void;
}

/** See the module's documentation. */
export class SessionPages {
  readonly #supervisor: Supervisor;
  readonly #clock: Clock;
  readonly #kept: KeptOrders;

  constructor({ supervisor, clock }: { readonly supervisor: Supervisor; readonly clock: Clock }) {
    this.#supervisor = supervisor;
    this.#clock = clock;
    this.#kept = new KeptOrders(clock);
  }

  async page({ listing, limit, cursor: given, identity, onVisible }: PageRequest): Promise<Page | Failure> {
    const { filter, sort, order } = listing;
    const clock = this.#clock;
    const cursor = given === undefined ? undefined : readCursor(given, listing, identity);
    if (cursor !== undefined && "code" in cursor) return cursor;
    const moves = filter.state !== "ended" && (sort === "idleMs" || sort === "deadline");
    if (cursor !== undefined && moves !== (cursor.kept !== undefined)) {
      return badQuery("cursor must be the nextCursor of a page");
    }
    const kept = cursor?.kept === undefined ? undefined : this.#kept.get(cursor.kept);
    if (cursor?.kept !== undefined && kept === undefined) return { code: "listingOver" };

    const first = new FirstOf<Session | Tombstone>({ count: limit + 1, order, after: cursor });
    const fresh = moves && kept === undefined ? new Snapshot() : undefined;
    /** Ended ones whose servers are on their way out: they may become tombstones while this looks. */
    const closing = new Set<string>();
    await inSlices(this.#supervisor.sessions, (session) => {
      if (!maySee(identity, session)) return;
      onVisible(session);
      if (filter.state === "ended") {
        if (session.state !== "ended") return;
        closing.add(session.handle);
        this.#offer(first, session.tombstone(), listing);
      } else if (kept === undefined && matches(session, filter)) {
        const key = keyOf(session, sort);
        first.offer(key, session.handle, session);
        fresh?.add(key, session.handle);
      }
    }, { clock });
    if (filter.state === "ended") {
      await inSlices(this.#supervisor.tombstones, (tombstone) => {
        if (closing.has(tombstone.handle) || !maySee(identity, tombstone)) return;
        this.#offer(first, tombstone, listing);
      }, { clock });
    }
    if (kept !== undefined) {
      await inSlices(kept.entries(), ({ key, id }) => {
        const session = this.#supervisor.byHandle(id);
        if (session !== undefined && maySee(identity, session) && matches(session, filter)) {
          first.offer(key, id, session);
        }
      }, { clock });
    }

    const found = first.take();
    const shown = found.slice(0, limit);
    const last = shown.at(-1);
    const more = found.length > limit && last !== undefined;
    const keptId = more && fresh !== undefined ? this.#kept.add(fresh, identity.principal) : cursor?.kept;
    return {
      sessions: await this.#views(shown, filter),
      nextCursor: more
        ? writeCursor({ key: last.key, id: last.id, kept: keptId }, listing, identity)
        : undefined,
      total: first.offered,
    };
  }

  #offer(first: FirstOf<Session | Tombstone>, tombstone: Tombstone, { filter, sort }: Listing): void {
    const { serverId, kind, minIdleMs = 0 } = filter;
    if (serverId !== undefined && tombstone.serverId !== serverId) return;
    if (kind !== undefined && tombstone.kind !== kind) return;
    const { openedAt, endedAt, handle, verdict: { idleMs } } = tombstone;
    if (idleMs < minIdleMs) return;
    const key = sort === "openedAt" ? openedAt : sort === "idleMs" ? idleMs : endedAt;
    first.offer(key, handle, tombstone);
  }

  async #views(
    entries: readonly Entry<Session | Tombstone>[],
    filter: Filter,
  ): Promise<SessionView[]> {
    const views: SessionView[] = [];
    await inSlices(entries, ({ item }) => {
      if (!("account" in item)) views.push(tombstoneView(item));
      // It may have ended since it was found.
      else if (matches(item, filter)) views.push(sessionView(item, { clock: this.#clock }));
    }, { clock: this.#clock, slice: VIEWS_AT_ONCE });
    return views;
  }
}

/** Whether a session that has not ended is one of those that are meant. */
export function matches(session: Session, { serverId, state, kind, minIdleMs = 0 }: Filter): boolean {
  return (serverId === undefined || session.serverId === serverId) &&
    (state === undefined ? session.state !== "ended" : session.state === state) &&
    (kind === undefined || session.kind === kind) &&
    (minIdleMs === 0 || session.idleMs >= minIdleMs);
}

function keyOf(session: Session, sort: Sort): number {
  switch (sort) {
    case "idleMs":
      return session.idleMs;
    case "deadline":
      // Where something is in flight none is running; it is long past where the session is over.
      return session.inFlight > 0 ? Infinity : session.verdict?.instant ?? session.deadline;
    default:
      return session.account.timeline.openedAt;
  }
}

/** One that was found. */
interface Entry<Item> {
  readonly key: number;
  readonly id: string;
  readonly item: Item;
}

/** The first so many of all that are offered, by key and then by id, behind a cursor. Holds twice as many at most. */
export class FirstOf<Item> {
  readonly #count: number;
  readonly #sign: 1 | -1;
  readonly #after: Pick<Cursor, "key" | "id"> | undefined;
  #entries: Entry<Item>[] = [];
  /** The last of the first so many, once there are so many. */
  #bound: Entry<Item> | undefined;
  /** How many were offered, those before the cursor too. */
  offered = 0;

  constructor(
    { count, order, after }: {
      readonly count: number;
      readonly order: Order;
      readonly after: Pick<Cursor, "key" | "id"> | undefined;
    },
  ) {
    this.#count = count;
    this.#sign = order === "asc" ? 1 : -1;
    this.#after = after;
  }

  offer(key: number, id: string, item: Item): void {
    this.offered++;
    const entry = { key, id, item };
    if (this.#after !== undefined && this.#compare(entry, this.#after) <= 0) return;
    if (this.#bound !== undefined && this.#compare(entry, this.#bound) >= 0) return;
    this.#entries.push(entry);
    if (this.#entries.length >= 2 * this.#count) this.#cut();
  }

  /** What was found, in order. */
  take(): readonly Entry<Item>[] {
    this.#cut();
    return this.#entries;
  }

  #cut(): void {
    this.#entries.sort((a, b) => this.#compare(a, b));
    this.#entries = this.#entries.slice(0, this.#count);
    if (this.#entries.length === this.#count) this.#bound = this.#entries.at(-1);
  }

  #compare(a: { key: number; id: string }, b: { key: number; id: string }): number {
    // Not by the difference: that of two infinities is none.
    if (a.key !== b.key) return a.key < b.key ? -this.#sign : this.#sign;
    return a.id === b.id ? 0 : a.id < b.id ? -this.#sign : this.#sign;
  }
}

/** Handles and keys as they were at an instant. */
class Snapshot {
  readonly #keys: number[] = [];
  readonly #ids: string[] = [];

  add(key: number, id: string): void {
    this.#keys.push(key);
    this.#ids.push(id);
  }

  *entries(): Generator<{ key: number; id: string }> {
    for (let at = 0; at < this.#keys.length; at++) yield { key: this.#keys[at]!, id: this.#ids[at]! };
  }
}

/** Snapshots that somebody may want to go on with. The oldest go where there are too many. */
class KeptOrders {
  readonly #clock: Clock;
  /** Those read longest ago first. */
  readonly #byId = new Map<string, { snapshot: Snapshot; principal: string; readAt: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(snapshot: Snapshot, principal: string): string {
    const now = this.#clock.now();
    for (const [id, { readAt }] of this.#byId) if (now - readAt > KEPT_MS) this.#byId.delete(id);
    const own = Array.from(this.#byId).filter(([, kept]) => kept.principal === principal);
    const oldest = own.length >= MAX_KEPT_BY_PRINCIPAL ? own[0]![0] : this.#byId.keys().next().value;
    if (own.length >= MAX_KEPT_BY_PRINCIPAL || this.#byId.size >= MAX_KEPT) this.#byId.delete(oldest!);
    const id = crypto.randomUUID().slice(0, 18);
    this.#byId.set(id, { snapshot, principal, readAt: now });
    return id;
  }

  get(id: string): Snapshot | undefined {
    const kept = this.#byId.get(id);
    this.#byId.delete(id);
    const now = this.#clock.now();
    if (kept === undefined || now - kept.readAt > KEPT_MS) return undefined;
    kept.readAt = now;
    this.#byId.set(id, kept);
    return kept.snapshot;
  }
}
