/**
 * How scarce things are, and what follows from it.
 *
 * ## Two pressures
 *
 * *Memory pressure* is the memory in use over the memory that may be used. It alone shortens TTLs, and it alone
 * evicts: giving back sessions gives back memory, and nothing else does it as surely.
 *
 * *Load pressure* is the highest of four parts, each from 0 to 1: memory, sessions and processes against their caps,
 * and the event loop's lag. It steers how often the sweeper looks and nothing else. A full cap or a busy loop is no
 * reason to end a session earlier than its owner was promised: that would be a timer that kills sessions in use once
 * more, only by another name.
 *
 * ## Effective TTL
 *
 * After Envoy's scaled time-outs. With memory pressure `p`:
 *
 *     s      = clamp((p − 0.85) / 0.10, 0, 1)
 *     ttlMin = min(MIN_TTL_MS, ttl)
 *     ttlEff = ttlMin + (ttl − ttlMin) · (1 − s)
 *
 * Below 0.85 it is exactly the TTL that was configured; from 0.95 on it is `ttlMin`. "Never" stays never. A change
 * holds at once and for every session: there is one {@link TtlScale}, and sessions reckon their deadline from it each
 * time that they are asked. No timer is set anew for it. The sweep that brought the change asks every session, and so
 * finds those whose deadline has come to lie in the past; a message that arrives earlier finds it too.
 *
 * ## Sweep interval
 *
 * After Redis' expire cycle: what a sweep found tells how soon to look again.
 *
 * - It starts at a third of the shortest TTL in force: an expired session holds its server for at most that long.
 * - It halves where more than 10% of the sessions had expired, or where load pressure rose.
 * - It grows by half where less than 1% had.
 * - It stays within [min(1 s, TTL/3), TTL/3] of the shortest TTL in force.
 *
 * A sweep works in slices and rests between them, so that it takes at most a quarter of a core however many sessions
 * there are.
 *
 * ## Eviction
 *
 * At memory pressure 0.95 and above, shorter TTLs are not enough. Idle sessions of the servers that allow it
 * (`evictable`) go, those due earliest first, a few at a time with a new reading after each, until the pressure is
 * down to 0.90. The gap between the two keeps it from starting and stopping all the time. A session in use is never
 * among them: it is the session that says so, in the turn in which it goes.
 *
 * @module
 */

/** From which memory pressure on TTLs are scaled, and where they are as short as they get. */
const SCALE_FROM = 0.85;
const SCALE_TO = 0.95;

/** Memory pressure at which eviction begins, and at which it has done enough. */
export const EVICT_FROM = 0.95;
export const EVICT_UNTIL = 0.9;

/** The interval is the TTL divided by this: often enough that little is held for long, seldom enough to be free. */
export const SWEEPS_PER_TTL = 3;
/** The shortest interval between sweeps, in ms, unless a TTL is so short that it needs more. */
const MIN_INTERVAL_MS = 1_000;
/** Parts of the sessions that had expired, above which to look sooner and below which to look later. */
const MANY_EXPIRED = 0.1;
const FEW_EXPIRED = 0.01;
/** A reading moves a little from one to the next; that is no rise. */
export const RISE = 0.02;
/** Changes of `s` below this are not worth a change of every deadline, and a line in the log. */
const DEADBAND = 0.02;

/** What is measured, each from 0 (plenty) upwards; 1 is all there is. */
export interface PressureReading {
  /** Memory in use over the memory that may be used. May pass 1. */
  readonly memory: number;
  /** Sessions over their cap; 0 where there is none. */
  readonly sessions: number;
  /** Processes over their cap; 0 where there is none. */
  readonly processes: number;
  /** The event loop's lag over what counts as too much. */
  readonly lag: number;
}

/** Measures. Never rejects. */
export interface PressureSource {
  read(): Promise<PressureReading>;
}

/** Nothing is scarce. */
export const NO_PRESSURE: PressureReading = { memory: 0, sessions: 0, processes: 0, lag: 0 };

/** The part of a reading that is highest, and how high: 0 to 1. */
export function loadOf(
  reading: PressureReading,
): { readonly part: keyof PressureReading; readonly load: number } {
  let part: keyof PressureReading = "memory";
  for (const other of ["sessions", "processes", "lag"] as const) {
    if (reading[other] > reading[part]) part = other;
  }
  return { part, load: clamp(reading[part]) };
}

/** `s` of the formula: 0 leaves TTLs as they are, 1 makes them as short as they get. */
export function scaleOf(memoryPressure: number): number {
  return clamp((memoryPressure - SCALE_FROM) / (SCALE_TO - SCALE_FROM));
}

/** How far memory pressure shortens TTLs. There is one, which all sessions read; the sweeper writes it. */
export class TtlScale {
  readonly #minTtlMs: number;
  #memory = 0;
  #s = 0;

  /** @param minTtlMs The shortest TTL that pressure may cause, in ms. */
  constructor({ minTtlMs }: { minTtlMs: number }) {
    this.#minTtlMs = minTtlMs;
  }

  /** The memory pressure that it was last set to. */
  get memory(): number {
    return this.#memory;
  }

  /** 0 where TTLs are as configured, 1 where they are as short as they get. */
  get s(): number {
    return this.#s;
  }

  /** @returns Whether TTLs are others than before. */
  set(memoryPressure: number): boolean {
    this.#memory = memoryPressure;
    const s = scaleOf(memoryPressure);
    const isBound = s === 0 || s === 1;
    if (s === this.#s || (!isBound && Math.abs(s - this.#s) < DEADBAND)) return false;
    this.#s = s;
    return true;
  }

  /** The TTL in force where `ttlMs` is configured, in whole ms. Infinity, for never, stays. */
  effective(ttlMs: number): number {
    if (this.#s === 0 || ttlMs === Infinity) return ttlMs;
    const minMs = Math.min(this.#minTtlMs, ttlMs);
    return Math.round(minMs + (ttlMs - minMs) * (1 - this.#s));
  }
}

/** What a sweep learned, for the choice of the next interval. */
export interface SweepFindings {
  /** Sessions that were asked. */
  readonly asked: number;
  /** Those of them that had expired. */
  readonly expired: number;
  /** Load pressure then, and at the sweep before. */
  readonly load: number;
  readonly loadBefore: number;
}

/** Why an interval is what it is. */
export type IntervalCause = "many expired" | "load pressure rose" | "few expired" | "no change";

/**
 * The interval until the next sweep.
 *
 * @param intervalMs The one before.
 * @param shortestTtlMs The shortest TTL in force, in ms.
 */
export function nextInterval(
  intervalMs: number,
  shortestTtlMs: number,
  { asked, expired, load, loadBefore }: SweepFindings,
): { readonly intervalMs: number; readonly cause: IntervalCause } {
  const part = asked === 0 ? 0 : expired / asked;
  if (part > MANY_EXPIRED) {
    return { intervalMs: bounded(intervalMs / 2, shortestTtlMs), cause: "many expired" };
  }
  if (load > loadBefore + RISE) {
    return { intervalMs: bounded(intervalMs / 2, shortestTtlMs), cause: "load pressure rose" };
  }
  if (part < FEW_EXPIRED) {
    return { intervalMs: bounded(intervalMs * 1.5, shortestTtlMs), cause: "few expired" };
  }
  return { intervalMs: bounded(intervalMs, shortestTtlMs), cause: "no change" };
}

/** The longest interval that serves a TTL, in whole ms; at least 1. */
export function longestInterval(ttlMs: number): number {
  return Math.max(1, Math.floor(ttlMs / SWEEPS_PER_TTL));
}

function bounded(intervalMs: number, shortestTtlMs: number): number {
  const longest = longestInterval(shortestTtlMs);
  return Math.floor(Math.max(Math.min(MIN_INTERVAL_MS, longest), Math.min(longest, intervalMs)));
}

function clamp(value: number): number {
  return Math.max(0, Math.min(1, value));
}
