import { assertEquals } from "@std/assert";
import { FLUSH_MS, type Recorded, Records } from "../../actors/records.ts";
import type { Tombstone } from "../../actors/tombstones.ts";
import { MemoryStore } from "../../stores/memory.ts";
import type { SessionChange } from "../../stores/store.ts";
import { StoreError } from "../../stores/store_error.ts";
import { sessionOf } from "../stores/sessions.ts";
import { DurableStore } from "../fakes/durable_store.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { Harness } from "../fakes/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";

const RETRY_MS = 1_000;
const TELL_EVERY_MS = 60_000;
/** Rows of one turn. */
const ROWS = 256;

/** One write of sessions that changed, or of some that are over. */
interface Write {
  /** Since the start, in ms. */
  readonly atMs: number;
  readonly what: "changes" | "ends";
  readonly rows: number;
}

/** A store that tells what is written, and may be full. */
class Disk extends DurableStore {
  full = false;
  readonly writes: Write[] = [];
  readonly #clock: FakeClock;
  readonly #startedAt: number;

  constructor(clock: FakeClock, memory: MemoryStore) {
    super(memory);
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  override add(...args: Parameters<MemoryStore["add"]>): number {
    this.#refuseFull();
    return super.add(...args);
  }

  override update(changes: readonly SessionChange[]): void {
    this.#write("changes", changes.length);
    super.update(changes);
  }

  override end(...args: Parameters<MemoryStore["end"]>): void {
    this.#write("ends", args[0].length);
    super.end(...args);
  }

  #write(what: Write["what"], rows: number): void {
    this.writes.push({ atMs: this.#clock.now() - this.#startedAt, what, rows });
    this.#refuseFull();
  }

  #refuseFull(): void {
    if (this.full) throw new StoreError("full", "sessions.db", "cannot be written");
  }
}

/** A session that tells how often it was looked at. */
class Written implements Recorded {
  marked = false;
  inFlight = 0;
  closed = false;
  keyReads = 0;
  /** How often it was asked what changed. */
  reads = 0;
  readonly #key: number;

  constructor(key: number) {
    this.#key = key;
  }

  get key(): number {
    this.keyReads++;
    return this.#key;
  }

  get change(): Recorded["change"] {
    return { lastUsed: ++this.reads, state: `{"reads":${this.reads}}` };
  }
}

interface Bench {
  readonly clock: FakeClock;
  readonly memory: MemoryStore;
  readonly disk: Disk;
  readonly records: Records;
}

function bench(): Bench {
  const clock = new FakeClock();
  const memory = new MemoryStore({ tombstones: 10_000 });
  const disk = new Disk(clock, memory);
  return { clock, memory, disk, records: new Records({ store: disk, clock }) };
}

let opened = 0;

/** Opens so many sessions. */
function open({ records }: Bench, count: number): Written[] {
  return Array.from({ length: count }, () => {
    const kept = records.opened(sessionOf(++opened));
    if ("code" in kept) throw new Error(kept.detail);
    return new Written(kept.key);
  });
}

/** What is left of a session, whichever. */
async function someTombstone(): Promise<Tombstone> {
  const harness = new Harness();
  const { session } = await harness.open();
  await session.end("client_delete");
  await harness.supervisor.shutDown(0);
  return session.tombstone();
}

Deno.test("A touch of a session that waits to be written down costs a look at a flag", async () => {
  const on = bench();
  const { clock, disk, records } = on;
  const [session] = open(on, 1);
  for (let n = 0; n < 1_000; n++) records.changed(session!);
  const { keyReads, reads } = session!;
  assertEquals([keyReads, reads, clock.pending, records.waiting], [1, 0, 1, 1]);
  await clock.advance(FLUSH_MS - 1);
  assertEquals(disk.writes, []);
  await clock.advance(1);
  assertEquals(disk.writes, [{ atMs: FLUSH_MS, what: "changes", rows: 1 }]);
  assertEquals([session!.reads, session!.marked, clock.pending, records.waiting], [1, false, 0, 0]);
  records.close();
});

Deno.test("A session that is in use is written down again and again, and once more when it is not", async () => {
  const on = bench();
  const { clock, disk, records } = on;
  const [busy, idle] = open(on, 2);
  busy!.inFlight = 1;
  records.changed(busy!);
  records.changed(idle!);
  await clock.advance(3 * FLUSH_MS);
  assertEquals(disk.writes.map(({ atMs, rows }) => [atMs, rows]), [
    [FLUSH_MS, 2],
    [2 * FLUSH_MS, 1],
    [3 * FLUSH_MS, 1],
  ]);
  busy!.inFlight = 0;
  await clock.advance(10 * FLUSH_MS);
  assertEquals([busy!.reads, idle!.reads, busy!.marked, clock.pending], [4, 1, false, 0]);
  records.close();
});

Deno.test("A session without a key is never written down", async () => {
  const { clock, disk, records } = bench();
  const session = new Written(0);
  session.inFlight = 1;
  records.changed(session);
  assertEquals([session.marked, records.waiting, clock.pending], [false, 0, 0]);
  await clock.advance(10 * FLUSH_MS);
  assertEquals([disk.writes, records.remembered(0)], [[], undefined]);
  records.close();
});

Deno.test("Where nothing outlives the gateway no use is written down, and every end at once", async () => {
  const clock = new FakeClock();
  const store = new MemoryStore({ tombstones: 10 });
  const records = new Records({ store, clock });
  const session = new Written(store.add(sessionOf(1)));
  records.changed(session);
  records.ended(session, await someTombstone(), { later: true });
  assertEquals([session.reads, clock.pending, store.counts(), store.tombstones(10).length], [0, 0, [], 1]);
  records.close();
});

Deno.test("What could not be written down is tried again until it can, and meanwhile nothing is opened", async () => {
  const on = bench();
  const { clock, disk, records, memory } = on;
  const [first, second, over] = open(on, 3);
  disk.full = true;
  records.changed(first!);
  await clock.advance(FLUSH_MS);
  const detail = records.trouble;
  assertEquals(detail?.includes("cannot be written"), true);
  assertEquals(records.opened(sessionOf(0)), { code: "storeFailed", detail });
  records.changed(second!);
  over!.closed = true;
  records.ended(over!, await someTombstone(), { later: false });
  const { key } = over!;
  assertEquals([records.isOver(key), records.waiting, clock.pending], [true, 3, 1]);
  await clock.advance(3 * RETRY_MS);
  // The end comes first, so that is what the others wait behind.
  assertEquals(disk.writes.map(({ atMs, what }) => [atMs, what]), [
    [FLUSH_MS, "changes"],
    [FLUSH_MS, "ends"],
    [FLUSH_MS + RETRY_MS, "ends"],
    [FLUSH_MS + 2 * RETRY_MS, "ends"],
    [FLUSH_MS + 3 * RETRY_MS, "ends"],
  ]);
  disk.full = false;
  await clock.advance(RETRY_MS);
  assertEquals([records.isOver(key), records.waiting, records.trouble, clock.pending], [
    false,
    0,
    undefined,
    0,
  ]);
  assertEquals(memory.page(0, 10).map(({ key, state }) => [key, JSON.parse(state)]), [
    [first!.key, { reads: first!.reads }],
    [second!.key, { reads: second!.reads }],
  ]);
  records.close();
});

Deno.test("That nothing can be written down is told once a minute, and at once when it begins again", async () => {
  await using log = await LogCapture.start();
  const on = bench();
  const { clock, disk, records } = on;
  const [session] = open(on, 1);
  const told = () => log.records.splice(0).map(({ level, message }) => `${level} ${message[0]}`);
  const trouble = "error Sessions cannot be written down: ";
  disk.full = true;
  records.changed(session!);
  await clock.advance(FLUSH_MS);
  assertEquals(told(), [trouble]);
  await clock.advance(TELL_EVERY_MS - 1);
  assertEquals(told(), []);
  await clock.advance(1);
  assertEquals(told(), [trouble]);
  await clock.advance(TELL_EVERY_MS);
  assertEquals(told(), [trouble]);
  disk.full = false;
  await clock.advance(RETRY_MS);
  assertEquals(told(), ["info Sessions can be written down again"]);
  disk.full = true;
  records.changed(session!);
  await clock.advance(FLUSH_MS);
  assertEquals(told(), [trouble]);
  disk.full = false;
  records.close();
});

Deno.test("What may be written later is written in slices, a turn for each", async () => {
  const on = bench();
  const { clock, disk, records, memory } = on;
  const tombstone = await someTombstone();
  const sessions = open(on, 3 * ROWS);
  for (const [n, session] of sessions.entries()) {
    if (n < 2 * ROWS + 1) records.lost(session.key, { ...tombstone, handle: `h${n}` }, { later: true });
    else records.changed(session);
  }
  await clock.advance(FLUSH_MS);
  assertEquals([disk.writes.length, clock.pending], [1, 1]);
  await clock.advance(FLUSH_MS);
  assertEquals(disk.writes, [
    { atMs: FLUSH_MS, what: "ends", rows: ROWS },
    { atMs: FLUSH_MS + 1, what: "ends", rows: ROWS },
    { atMs: FLUSH_MS + 2, what: "ends", rows: 1 },
    { atMs: FLUSH_MS + 2, what: "changes", rows: ROWS - 1 },
  ]);
  assertEquals([records.waiting, clock.pending, memory.counts()[0]?.count], [0, 0, ROWS - 1]);
  records.close();
});

Deno.test("A turn has no more rows than it may, whatever they are of", async () => {
  const on = bench();
  const { clock, disk, records } = on;
  const tombstone = await someTombstone();
  const [over, ...used] = open(on, 2 * ROWS + 1);
  for (const session of used) {
    session.inFlight = 1;
    records.changed(session);
  }
  records.lost(over!.key, tombstone, { later: true });
  await clock.advance(2 * FLUSH_MS);
  const rows = new Map<number, number>();
  for (const write of disk.writes) rows.set(write.atMs, (rows.get(write.atMs) ?? 0) + write.rows);
  // The next round begins when this one is over.
  assertEquals([...rows], [[FLUSH_MS, ROWS], [FLUSH_MS + 1, ROWS], [FLUSH_MS + 2, 1]]);
  await clock.advance(2);
  assertEquals(disk.writes.at(-1), { atMs: 2 * FLUSH_MS + 2, what: "changes", rows: ROWS });
  assertEquals(used.map(({ reads }) => reads), used.map((_, n) => n < ROWS ? 2 : 1));
  records.close();
});

Deno.test("An end that is told is written down first, and all that ended before it", async () => {
  const on = bench();
  const { clock, disk, records, memory } = on;
  const tombstone = await someTombstone();
  const sessions = open(on, 2 * ROWS + 2);
  const handles = sessions.map((_, n) => `h${n}`);
  for (const [n, session] of sessions.entries()) {
    records.ended(session, { ...tombstone, handle: handles[n]! }, { later: n < sessions.length - 1 });
  }
  assertEquals(disk.writes.map(({ atMs, rows }) => [atMs, rows]), [[0, ROWS], [0, ROWS], [0, 2]]);
  assertEquals(memory.tombstones(10_000).map(({ handle }) => handle), handles);
  assertEquals([records.waiting, memory.counts()], [0, []]);
  await clock.advance(FLUSH_MS);
  assertEquals([disk.writes.length, clock.pending], [3, 0]);
  records.close();
});

Deno.test("Closing writes down all that waits, and leaves no timer", async () => {
  const on = bench();
  const { clock, disk, records, memory } = on;
  const tombstone = await someTombstone();
  const [over, ...used] = open(on, 2 * ROWS + 2);
  for (let n = 0; n < 2 * ROWS + 1; n++) {
    records.lost(n === 0 ? over!.key : 1e6 + n, { ...tombstone, handle: `h${n}` }, { later: true });
  }
  for (const session of used) records.changed(session);
  records.close();
  assertEquals(disk.writes.map(({ what, rows }) => [what, rows]), [
    ["ends", ROWS],
    ["ends", ROWS],
    ["ends", 1],
    ["changes", ROWS],
    ["changes", ROWS],
    ["changes", 1],
  ]);
  assertEquals([records.waiting, clock.pending, disk.open], [0, 0, false]);
  assertEquals([memory.tombstones(10_000).length, memory.counts()[0]?.count], [2 * ROWS + 1, 2 * ROWS + 1]);
});

Deno.test("Closing a store that is full gives up what waits", async () => {
  const on = bench();
  const { clock, disk, records } = on;
  const [over, used] = open(on, 2);
  disk.full = true;
  records.changed(used!);
  records.ended(over!, await someTombstone(), { later: false });
  records.close();
  assertEquals([clock.pending, disk.open, disk.writes.length], [0, false, 3]);
});

Deno.test("A session that is over is not written down any more, and let go", async () => {
  const on = bench();
  const { clock, disk, records } = on;
  const gone: string[] = [];
  const registry = new FinalizationRegistry((name: string) => gone.push(name));
  const use = (isOver: boolean, name: string) => {
    const [session] = open(on, 1);
    registry.register(session!, name);
    records.changed(session!);
    session!.closed = isOver;
  };
  use(false, "used");
  use(true, "over");
  await clock.advance(FLUSH_MS);
  assertEquals(disk.writes.map(({ rows }) => rows), [1]);
  for (let n = 0; n < 100 && gone.length < 2; n++) {
    churn();
    await settle();
  }
  assertEquals(gone.toSorted(), ["over", "used"]);
  records.close();
});

Deno.test("Openings that are refused while nothing can be written down do not pile up, and ends do", async () => {
  const on = bench();
  const { clock, disk, records, memory } = on;
  const tombstone = await someTombstone();
  disk.full = true;
  for (let n = 0; n < 1_000; n++) records.lost(0, { ...tombstone, handle: `r${n}` }, { later: false });
  assertEquals(records.waiting, 1);
  for (const key of [1, 2]) records.lost(key, { ...tombstone, handle: `e${key}` }, { later: false });
  assertEquals(records.waiting, 3);
  disk.full = false;
  await clock.advance(RETRY_MS);
  assertEquals([records.waiting, records.trouble], [0, undefined]);
  assertEquals(memory.tombstones(10).map(({ handle }) => handle), ["r0", "e1", "e2"]);
  records.close();
});

/** Makes garbage, so that it is collected. */
function churn(): void {
  let kept: unknown[] = [];
  for (let n = 0; n < 200_000; n++) {
    if (n % 1_000 === 0) kept = [];
    kept.push({ n });
  }
}
