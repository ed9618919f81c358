/**
 * Ways to keep the deadlines of very many sessions: the gateway's actors, its timer queue alone, and what comes to
 * mind first, a scan of everything and a timer of the runtime for each.
 *
 * @module
 */
import type { SessionStore } from "../stores/store.ts";
import { Supervisor } from "../actors/supervisor.ts";
import { Sweeper } from "../actors/sweeper.ts";
import type { Backend, BackendEvents } from "../backends/backend.ts";
import { type Cancel, type Clock, systemClock, type Timer as KeptTimer } from "../clock.ts";
import { encodeRequest, type Message, parseMessage } from "../protocol/jsonrpc.ts";
import type { Failure } from "../errors.ts";
import { FakeReply } from "../tests/fakes/fake_client.ts";
import { LIMITS } from "../tests/fakes/harness.ts";
import { TimerQueue } from "../timers.ts";

/** A way to keep the deadlines of a number of sessions. */
export interface Way {
  /** Opens them all. Called first, once. */
  open(): Promise<void>;
  /** A message of session `n`, as far as its deadline goes. */
  touch?(n: number, now: number): void;
  /** One notification of every session, as a whole. */
  notify?(): Promise<void>;
  /** Uses every session at one instant. @returns How long from now they all expire, in ms. Called last. */
  useAll(): Promise<number>;
  readonly allExpired: boolean;
  /** Begins to give back what expired sessions hold, where that is not done as they expire. */
  sweep?(): void;
  readonly allClosed: boolean;
}

export const WAYS = { sojourn, queue, scan, timeouts } satisfies Record<string, (sessions: number) => Way>;
export type WayName = keyof typeof WAYS;

const TTL_MS = 300_000;
/** How often the naive scan looks. Far more often than a gateway would: only what one look costs is measured. */
const SCAN_MS = 10;
/** Messages between two turns of the event loop: fewer than any inbox holds. */
const BATCH = 500;

type Timer = ReturnType<typeof setTimeout>;

/** The machine's clock on a queue of its own, that can be made to stand still and to jump. */
class BenchClock implements Clock {
  readonly wallTime = systemClock.wallTime;
  #offsetMs = 0;
  #stoodAt: number | undefined;
  #armed: { readonly at: number; readonly fire: () => void; timer: Timer } | undefined;
  readonly #queue = new TimerQueue({
    now: () => this.now(),
    arm: (delayMs, fn) => {
      const fire = () => {
        this.#armed = undefined;
        fn();
      };
      this.#armed = { at: this.now() + delayMs, fire, timer: setTimeout(fire, delayMs) };
      return () => clearTimeout(this.#armed?.timer);
    },
  });

  now(): number {
    return this.#stoodAt ?? systemClock.now() + this.#offsetMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    return this.#queue.after(delayMs, fn);
  }

  set(delayMs: number, timer: KeptTimer): void {
    this.#queue.set(delayMs, timer);
  }

  clear(timer: KeptTimer): void {
    this.#queue.clear(timer);
  }

  /** Whether a timer is due. */
  get busy(): boolean {
    return this.#armed !== undefined && this.#armed.at <= this.now();
  }

  /** Time stands still until the next jump. */
  stop(): void {
    this.#stoodAt = this.now();
  }

  jump(ms: number): void {
    this.#offsetMs = this.now() + ms - systemClock.now();
    this.#stoodAt = undefined;
    if (this.#armed === undefined) return;
    clearTimeout(this.#armed.timer);
    this.#armed.timer = setTimeout(this.#armed.fire, 0);
  }
}

const INITIALIZED = parsed(`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}`);

/** A server that agrees to everything and ends as soon as it is told to. */
class BenchBackend implements Backend {
  readonly pid = undefined;
  readonly queuedBytes = 0;
  events: BackendEvents | undefined;
  #initialized = false;

  send(): boolean {
    // The first message of every session is the one.
    if (this.#initialized) return true;
    this.#initialized = true;
    queueMicrotask(() => this.events?.message(INITIALIZED));
    return true;
  }
  pause(): void {}
  resume(): void {}

  async close(): Promise<void> {
    await turn();
    this.events?.exit({ cause: "exit", detail: "exited with code 0" });
    this.events = undefined;
  }
}

/** A client that wants to know nothing, unless it is refused. */
class Nobody extends FakeReply {
  override accept(): void {}
  override answer(): void {}
  override fail({ code }: Failure): void {
    throw new Error(`The gateway refused a message: ${code}`);
  }
}
const NOBODY = new Nobody();

/** In the place of a file: what sessions cost there is another bench's subject (`store.ts`). */
class Elsewhere implements SessionStore {
  readonly durable = true;
  #keys = 0;

  add(): number {
    return ++this.#keys;
  }

  update(): void {}
  end(): void {}
  saveStreams(): void {}
  close(): void {}

  get(): undefined {}
  find(): undefined {}
  takeStreams(): undefined {}

  page(): [] {
    return [];
  }

  counts(): [] {
    return [];
  }

  tombstones(): [] {
    return [];
  }
}

/** The actors of the gateway. */
function sojourn(count: number): Way {
  const clock = new BenchClock();
  // Made before anything is measured.
  const backends = Array.from({ length: count }, () => new BenchBackend());
  let opened = 0;
  const limits = { ...LIMITS, idleTtlMs: TTL_MS };
  const supervisor = new Supervisor({
    store: new Elsewhere(),
    clock,
    servers: [{
      id: "bench",
      limits,
      backend(_owner, events) {
        const backend = backends[opened++]!;
        backend.events = events;
        return backend;
      },
    }],
    tombstones: 0,
  });
  const sweeper = new Sweeper({ clock, shortestTtlMs: TTL_MS, sessions: () => supervisor.sessions });
  const initialize = encodeRequest(1, "initialize", { protocolVersion: "2025-11-25" });
  const notification = parsed(`{"jsonrpc":"2.0","method":"notifications/bench"}`);
  const notify = async () => {
    let posted = 0;
    for (const session of supervisor.sessions) {
      session.post({ tag: "message", message: notification, reply: NOBODY });
      if (++posted % BATCH === 0) await turn();
    }
    await turn();
  };
  return {
    async open() {
      for (let n = 0; n < count; n++) {
        const opener = { tag: "message", message: parsed(initialize), reply: NOBODY } as const;
        supervisor.open({ serverId: "bench", principal: "anyone", opener, implicitVersion: undefined });
        if (n % BATCH === 0) await turn();
      }
      await turn();
      assertAll(supervisor.sessions, "active");
      // Their timers were set for the start and find the deadline when they fire.
      clock.jump(limits.startTimeoutMs);
      while (clock.busy) await turn();
    },
    notify,
    async useAll() {
      clock.stop();
      await notify();
      clock.jump(TTL_MS);
      return 0;
    },
    get allExpired() {
      if (clock.busy) return false;
      assertAll(supervisor.sessions, "expired");
      return true;
    },
    sweep: () => sweeper.wake(),
    get allClosed() {
      return supervisor.size === 0;
    },
  };
}

/** What the other ways know of a session. */
interface Entry {
  lastUsed: number;
  timer?: Timer;
}

/** The sessions of a way without actors: a Map, as everybody has one. */
function opened(sessions: number, each: (entry: Entry, id: string) => void): Entry[] {
  return Array.from({ length: sessions }, () => {
    const entry: Entry = { lastUsed: 0 };
    each(entry, crypto.randomUUID());
    return entry;
  });
}

/** A session whose timer looks again where it was used meanwhile. */
class KeptEntry implements KeptTimer {
  slot = -1;
  /** A fraction from the start: a field that was ever anything else gets an object on the heap with each touch. */
  lastUsed = -Infinity;

  constructor(readonly id: string, readonly owner: { expire(entry: KeptEntry): void }) {}

  fire(): void {
    this.owner.expire(this);
  }
}

/** The queue of the gateway alone. */
function queue(sessions: number): Way {
  const clock = new BenchClock();
  const byId = new Map<string, KeptEntry>();
  let entries: KeptEntry[] = [];
  const owner = {
    expire(entry: KeptEntry) {
      const leftMs = entry.lastUsed + TTL_MS - clock.now();
      if (leftMs > 0) clock.set(leftMs, entry);
      else byId.delete(entry.id);
    },
  };
  return {
    async open() {
      entries = Array.from({ length: sessions }, () => {
        const entry = new KeptEntry(crypto.randomUUID(), owner);
        entry.lastUsed = clock.now();
        byId.set(entry.id, entry);
        clock.set(TTL_MS, entry);
        return entry;
      });
      await turn();
    },
    touch(n, now) {
      entries[n]!.lastUsed = now;
    },
    async useAll() {
      clock.stop();
      for (const entry of entries) entry.lastUsed = clock.now();
      clock.jump(TTL_MS);
      await turn();
      return 0;
    },
    get allExpired() {
      return byId.size === 0;
    },
    get allClosed() {
      return byId.size === 0;
    },
  };
}

/** A look at every session in an interval. */
function scan(sessions: number): Way {
  const byId = new Map<string, Entry>();
  let entries: Entry[] = [];
  let aheadMs = 0;
  return {
    async open() {
      entries = opened(sessions, (entry, id) => {
        entry.lastUsed = systemClock.now();
        byId.set(id, entry);
      });
      const interval = setInterval(() => {
        const now = systemClock.now() + aheadMs;
        for (const [id, { lastUsed }] of byId) if (lastUsed + TTL_MS <= now) byId.delete(id);
        if (byId.size === 0) clearInterval(interval);
      }, SCAN_MS);
      await turn();
    },
    touch(n, now) {
      entries[n]!.lastUsed = now;
    },
    async useAll() {
      const now = systemClock.now();
      for (const entry of entries) entry.lastUsed = now;
      aheadMs = TTL_MS;
      await turn();
      return 0;
    },
    get allExpired() {
      return byId.size === 0;
    },
    get allClosed() {
      return byId.size === 0;
    },
  };
}

/** A timer of the runtime for each session, cleared and set again with each message. */
function timeouts(sessions: number): Way {
  /** From the setting of the last timer to the deadline of all. */
  const LEAD_MS = 3_000;
  const byId = new Map<string, Entry>();
  const ids: string[] = [];
  let entries: Entry[] = [];
  const set = (entry: Entry, id: string, delayMs: number) => {
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => byId.delete(id), delayMs);
  };
  return {
    async open() {
      entries = opened(sessions, (entry, id) => {
        byId.set(id, entry);
        ids.push(id);
        set(entry, id, TTL_MS);
      });
      await turn();
    },
    touch(n) {
      set(entries[n]!, ids[n]!, TTL_MS);
    },
    async useAll() {
      const at = systemClock.now() + LEAD_MS;
      for (const [n, entry] of entries.entries()) set(entry, ids[n]!, at - systemClock.now());
      await turn();
      return at - systemClock.now();
    },
    get allExpired() {
      return byId.size === 0;
    },
    get allClosed() {
      return byId.size === 0;
    },
  };
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function parsed(text: string): Message {
  const message = parseMessage(text);
  if (message.kind === "malformed") throw new Error(`This is no message: ${text}`);
  return message;
}

function assertAll(sessions: Iterable<{ readonly state: string }>, wanted: string): void {
  for (const { state } of sessions) {
    if (state !== wanted) throw new Error(`A session should be ${wanted} by now, and is ${state}`);
  }
}
