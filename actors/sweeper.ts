/**
 * The sweeper gives back what expired sessions hold. It judges no session: it asks each one, and ends those that
 * say that they expired. Clients do not notice the sweep: an expired session answers 404 from its deadline on, swept
 * or not.
 *
 * It also reads the pressure, and applies it: `pressure.ts` says how scarce memory shortens TTLs and evicts, and how
 * the interval between sweeps follows the load.
 *
 * ## Messages
 *
 * | message | from | meaning |
 * | --- | --- | --- |
 * | signal `tick` | its own timer | look at the pressure; sweep, where it is time or the pressure rose |
 * | signal `done` | its own work | sleep again |
 * | signal `wake` | whoever was refused something | sweep now |
 *
 * One tick never overlaps another. Closing goes on behind them, a bounded number at a time: a server that takes its
 * time to leave delays nobody else's sweep.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import { Alarm } from "./alarm.ts";
import type { Events } from "./events.ts";
import { Inbox } from "./inbox.ts";
import {
  EVICT_FROM,
  EVICT_UNTIL,
  type IntervalCause,
  loadOf,
  longestInterval,
  nextInterval,
  NO_PRESSURE,
  type PressureReading,
  type PressureSource,
  RISE,
  TtlScale,
} from "./pressure.ts";
import type { Session } from "./session.ts";
import { KIND_WORDS, type SessionKind } from "./session_kind.ts";

/** Servers closed at a time unless more or fewer are asked for. Each close may wait for a process to obey. */
const CLOSE_CONCURRENCY = 32;
/** How often the pressure is read where sweeps are further apart, in ms. */
const READ_EVERY_MS = 5_000;
/** How long a slice of a sweep works, in ms, and how many times as long it rests: at most a quarter of a core. */
const SLICE_MS = 2;
const REST_FACTOR = 3;
/** Sessions that are asked between two looks at the clock. */
const ASKED_AT_ONCE = 64;

/** How to make a {@link Sweeper}. */
export interface SweeperOptions {
  readonly clock: Clock;
  /** The shortest TTL that is configured, in ms; above 0. Undefined where nothing expires: then it rests. */
  readonly shortestTtlMs: number | undefined;
  /** The sessions to ask. */
  readonly sessions: () => Iterable<Session>;
  /** Where pressure is read; nothing is scarce unless given. */
  readonly pressure?: PressureSource;
  /** What the pressure is written to: the one that the sessions reckon with. */
  readonly scale?: TtlScale;
  readonly events?: Events;
  readonly closeConcurrency?: number;
  /** Called behind each sweep: what else has to be put in order now and then. Must not throw. */
  readonly onSwept?: () => void;
}

/** One sweep. Instants in ms since the Unix epoch, durations in ms. */
export interface SweepReport {
  readonly at: number;
  /** Sessions that were asked, those that had expired, and those that were evicted. */
  readonly asked: number;
  readonly expired: number;
  readonly evicted: number;
  readonly tookMs: number;
}

type Signal = { readonly tag: "tick" | "done" | "wake" };

const log = logger("sweeper");

/** See the module's documentation. */
export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #clock: Clock;
  readonly #scale: TtlScale;
  readonly #inbox: Inbox<Sweeper, never, Signal>;
  readonly #alarm: Alarm<Sweeper>;
  readonly #closing: ClosingQueue;
  /** Undefined while it rests. */
  #shortestTtlMs: number | undefined;
  #started = false;
  #stopped = false;
  #ticking = false;
  /** Somebody was refused something since the last sweep began. */
  #wanted = false;
  #intervalMs: number;
  /** The interval that the log last told of. */
  #toldMs: number;
  #nextSweepAt = Infinity;
  #reading: PressureReading = NO_PRESSURE;
  #loadAtLastSweep = 0;
  #evicting = false;
  #lastSweep: SweepReport | undefined;

  constructor(options: SweeperOptions) {
    const { clock, shortestTtlMs, scale, closeConcurrency = CLOSE_CONCURRENCY } = options;
    assertTtl(shortestTtlMs);
    this.#options = options;
    this.#clock = clock;
    this.#scale = scale ?? new TtlScale({ minTtlMs: shortestTtlMs ?? 0 });
    this.#shortestTtlMs = shortestTtlMs;
    this.#intervalMs = this.#toldMs = shortestTtlMs === undefined ? Infinity : longestInterval(shortestTtlMs);
    this.#closing = new ClosingQueue(clock, closeConcurrency);
    this.#inbox = new Inbox<Sweeper, never, Signal>(this, {
      maxMail: 1,
      onMail: () => {},
      onSignal: (self, signal) => self.#onSignal(signal),
      onFault: (_self, error) => reportFault(log, "Sweeper", error),
    });
    this.#alarm = new Alarm<Sweeper>(clock, this, (self) => self.#inbox.signal({ tag: "tick" }));
  }

  /** Begins to sweep, one interval from now. */
  start(): void {
    this.#started = true;
    this.#nextSweepAt = this.#clock.now() + this.#intervalMs;
    this.#sleep();
  }

  /**
   * Another TTL is the shortest now. The next sweep comes no later than it would where it had been so from the start;
   * undefined ends sweeping until it is called again.
   */
  retune(shortestTtlMs: number | undefined): void {
    assertTtl(shortestTtlMs);
    if (shortestTtlMs === this.#shortestTtlMs) return;
    const wasResting = this.resting;
    this.#shortestTtlMs = shortestTtlMs;
    if (shortestTtlMs === undefined) {
      this.#intervalMs = this.#toldMs = this.#nextSweepAt = Infinity;
      this.#alarm.off();
      return;
    }
    const longestMs = longestInterval(this.#scale.effective(shortestTtlMs));
    if (wasResting) this.#toldMs = longestMs;
    this.#intervalMs = Math.min(this.#intervalMs, longestMs);
    this.#nextSweepAt = Math.min(this.#nextSweepAt, this.#clock.now() + this.#intervalMs);
    // A tick that runs goes to sleep by itself.
    if (this.#started && !this.#ticking) this.#sleep();
  }

  /** Whether nothing expires, so that nothing is swept and no pressure is read. */
  get resting(): boolean {
    return this.#shortestTtlMs === undefined;
  }

  /** Sweeps no more. A sweep that runs goes on to its end. Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#alarm.off();
  }

  /** Sweeps now: something was refused for want of what a sweep may give back. */
  wake(): void {
    this.#inbox.signal({ tag: "wake" });
  }

  /** The time between two sweeps, in ms, as it is now. */
  get intervalMs(): number {
    return this.#intervalMs;
  }

  /** The last reading. */
  get reading(): PressureReading {
    return this.#reading;
  }

  get lastSweep(): SweepReport | undefined {
    return this.#lastSweep;
  }

  /** Sessions that are being closed, or wait for their turn. */
  get closing(): number {
    return this.#closing.size;
  }

  #onSignal(signal: Signal): void {
    switch (signal.tag) {
      case "tick":
        return this.#run();
      case "wake":
        this.#wanted = true;
        return this.#run();
      case "done":
        this.#ticking = false;
        return this.#wanted ? this.#run() : this.#sleep();
    }
  }

  #run(): void {
    if (this.#ticking || this.#stopped || this.resting) return;
    this.#ticking = true;
    this.#alarm.off();
    void this.#tick()
      .catch((error) => reportFault(log, "Sweeper", error))
      .then(() => this.#inbox.signal({ tag: "done" }));
  }

  #sleep(): void {
    if (this.#stopped || this.resting) return;
    const readAt = this.#options.pressure === undefined ? Infinity : this.#clock.now() + READ_EVERY_MS;
    this.#alarm.at(Math.min(this.#nextSweepAt, readAt));
  }

  async #tick(): Promise<void> {
    const { pressure } = this.#options;
    const isShorter = pressure !== undefined && this.#apply(await pressure.read());
    const { load } = loadOf(this.#reading);
    const isDue = this.#clock.now() >= this.#nextSweepAt;
    if (isDue || isShorter || this.#wanted || this.#evicting || load > this.#loadAtLastSweep + RISE) {
      await this.#sweep();
    }
  }

  /** Takes a reading for what holds from now on. Whether TTLs are shorter than before. */
  #apply(reading: PressureReading): boolean {
    this.#reading = reading;
    const { events } = this.#options;
    const shortestTtlMs = this.#shortestTtlMs ?? 0;
    const [sBefore, ttlBefore] = [this.#scale.s, this.#scale.effective(shortestTtlMs)];
    if (reading.memory >= EVICT_FROM) this.#evicting = true;
    if (!this.#scale.set(reading.memory)) return false;
    const { part, load } = loadOf(reading);
    log.info("Effective TTL {fromMs}ms → {toMs}ms of {shortestTtlMs}ms: memory pressure {memory}", {
      fromMs: ttlBefore,
      toMs: this.#scale.effective(shortestTtlMs),
      shortestTtlMs,
      memory: reading.memory.toFixed(2),
    });
    events?.publish({
      at: this.#clock.wallTime(),
      type: "pressure",
      memory: reading.memory,
      load,
      part,
      scale: this.#scale.s,
    });
    return this.#scale.s > sBefore;
  }

  async #sweep(): Promise<void> {
    this.#wanted = false;
    const startedAt = this.#clock.now();
    // Whatever becomes of this one, the next comes in its time.
    this.#nextSweepAt = startedAt + this.#intervalMs;
    const { load } = loadOf(this.#reading);
    const { asked, expired, byKind } = await this.#ask();
    for (const [kind, count] of byKind) {
      log.info(`Cleaning up {count} expired ${KIND_WORDS[kind].many}`, { count, kind });
    }
    if (expired > 0) this.#closing.run();
    const evicted = this.#evicting ? await this.#evict() : 0;
    const at = this.#clock.wallTime();
    const tookMs = this.#clock.now() - startedAt;
    this.#lastSweep = { at, asked, expired, evicted, tookMs };
    const cause = this.#choose({ asked, expired, load, loadBefore: this.#loadAtLastSweep });
    this.#loadAtLastSweep = load;
    this.#nextSweepAt = this.#clock.now() + this.#intervalMs;
    this.#options.onSwept?.();
    this.#options.events?.publish({ type: "sweep", ...this.#lastSweep, intervalMs: this.#intervalMs, cause });
  }

  /** Asks every session, in slices, and queues those that expired. None is found twice. */
  async #ask(): Promise<{ asked: number; expired: number; byKind: Iterable<[SessionKind, number]> }> {
    let expired = 0;
    const byKind = new Map<SessionKind, number>();
    let asked = 0;
    let sliceAt = this.#clock.now();
    for (const session of this.#options.sessions()) {
      asked++;
      if (session.expired && this.#closing.add(session)) {
        expired++;
        byKind.set(session.kind, (byKind.get(session.kind) ?? 0) + 1);
      }
      if (asked % ASKED_AT_ONCE !== 0) continue;
      const workedMs = this.#clock.now() - sliceAt;
      if (workedMs < SLICE_MS) continue;
      await new Promise<void>((resolve) => void this.#clock.after(REST_FACTOR * workedMs, resolve));
      sliceAt = this.#clock.now();
    }
    return { asked, expired, byKind };
  }

  /** Ends idle sessions that may go, those due earliest first, until memory is no longer short. */
  async #evict(): Promise<number> {
    const { pressure, sessions, closeConcurrency = CLOSE_CONCURRENCY } = this.#options;
    let evicted = 0;
    while (this.#reading.memory >= EVICT_UNTIL) {
      const candidates = Array.from(sessions()).filter((session) => session.evictable)
        .sort((a, b) => a.deadline - b.deadline);
      // Where nobody may go now, somebody may be idle at the next look.
      if (candidates.length === 0) return evicted;
      const gone = candidates.slice(0, closeConcurrency).filter((session) => session.evict());
      log.warn("Evicting {count} idle session(s): memory pressure {memory}", {
        count: gone.length,
        memory: this.#reading.memory.toFixed(2),
      });
      evicted += gone.length;
      for (const session of gone) this.#closing.add(session);
      this.#closing.run();
      // Resolves with what the queue does: an end that was asked for before is no other end.
      await Promise.all(gone.map((session) => session.end("evicted")));
      if (pressure === undefined || this.#stopped) return evicted;
      this.#apply(await pressure.read());
    }
    this.#evicting = false;
    return evicted;
  }

  /** Chooses the interval until the next sweep, and says why. */
  #choose(findings: Parameters<typeof nextInterval>[2]): IntervalCause {
    if (this.#shortestTtlMs === undefined) return "no change";
    const ttlMs = this.#scale.effective(this.#shortestTtlMs);
    const { intervalMs, cause } = nextInterval(this.#intervalMs, ttlMs, findings);
    this.#intervalMs = intervalMs;
    if (intervalMs >= 2 * this.#toldMs || intervalMs * 2 <= this.#toldMs) {
      log.info("Sweep interval {fromMs}ms → {toMs}ms: {cause}", {
        fromMs: this.#toldMs,
        toMs: intervalMs,
        cause,
      });
      this.#toldMs = intervalMs;
    }
    return cause;
  }
}

/** @throws {RangeError} If nothing could be swept by it. */
function assertTtl(shortestTtlMs: number | undefined): void {
  if (shortestTtlMs === undefined || (shortestTtlMs > 0 && Number.isFinite(shortestTtlMs))) return;
  throw new RangeError(`Cannot sweep: shortestTtlMs must be above 0 and finite, got ${shortestTtlMs}`);
}

/** Sessions whose end is begun in one turn. Most ends wait for a process; where none does, others get their turn. */
const BEGUN_AT_ONCE = 64;

/** Ends expired sessions, a bounded number at a time, in order. */
class ClosingQueue {
  readonly #clock: Clock;
  readonly #atOnce: number;
  /** Those that wait or are being closed. */
  readonly #all = new Set<Session>();
  #waiting: Session[] = [];
  /** The first of them that still waits. */
  #next = 0;
  #closing = 0;
  #begun = 0;

  constructor(clock: Clock, atOnce: number) {
    this.#clock = clock;
    this.#atOnce = atOnce;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Queues one, for {@link run}. False where it is queued already. */
  add(session: Session): boolean {
    if (this.#all.has(session)) return false;
    this.#all.add(session);
    this.#waiting.push(session);
    return true;
  }

  /** Closes those that wait, as many at a time as may be. */
  run(): void {
    while (this.#closing < this.#atOnce && this.#next < this.#waiting.length) {
      if (this.#begun === BEGUN_AT_ONCE) return;
      if (this.#begun === 0) setImmediate(() => this.#begun = 0);
      // By a timer: a chain of immediates would keep sockets waiting.
      if (++this.#begun === BEGUN_AT_ONCE) this.#clock.after(0, () => this.#onNextTurn());
      this.#close(this.#waiting[this.#next++]!);
    }
    if (this.#next < this.#waiting.length) return;
    this.#waiting = [];
    this.#next = 0;
  }

  #onNextTurn(): void {
    this.#begun = 0;
    this.run();
  }

  #close(session: Session): void {
    const { reason, idleMs, instant } = session.verdict!;
    log.debug(`Closing ${KIND_WORDS[session.kind].one}{handle} (idle for {idleS}s)`, {
      handle: session.handle,
      idleS: Math.floor((idleMs + this.#clock.now() - instant) / 1000),
    });
    this.#closing++;
    void session.end(reason).then(() => {
      this.#closing--;
      this.#all.delete(session);
      this.run();
    });
  }
}
