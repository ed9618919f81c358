/**
 * The servers of the properties, and limits that make everything fall due often. All of them are so chosen that
 * every instant is a whole number of ms, whatever the pressure and whatever chance says.
 *
 * @module
 */
import { longestInterval } from "../../actors/pressure.ts";
import type { SessionLimits } from "../../actors/supervisor.ts";
import { SERVER } from "../fakes/harness.ts";

/** A server that may do nothing but expire. */
export const SMALL: SessionLimits = {
  idleTtlMs: 18_000,
  implicitTtlMs: 6_000,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: "expire",
  evictable: false,
  requestTimeoutMs: 25_000,
  startTimeoutMs: 15_000,
  hibernateAfterMs: 0,
  // Here a session ends with its server.
  stateful: true,
  clientReplyTimeoutMs: 4_000,
  sseAfterMs: 500,
  maxInFlight: 64,
};

/** Others beside it. */
export const SPARES: readonly SessionLimits[] = [
  { ...SMALL, evictable: true, handshakeTtlMs: 9_000 },
  { ...SMALL, idleTtlMs: 9_000, onOpenStream: "ping", maxLifetimeMs: 20_000, requestTimeoutMs: 5_000 },
];

/** The ids of all servers. */
export const SERVER_IDS: readonly string[] = [SERVER, ...SPARES.map((_, index) => `spare${index}`)];
/** The limits of all servers. */
export const LIMITS: readonly SessionLimits[] = [SMALL, ...SPARES];
/** The server that asks clients which hold a stream open. */
export const PINGING = LIMITS.findIndex(({ onOpenStream }) => onOpenStream === "ping");
/** The server whose idle sessions may go when memory runs out. */
export const EVICTABLE = LIMITS.findIndex(({ evictable }) => evictable);
/** The shortest TTL that memory pressure may cause, in ms. */
export const MIN_TTL_MS = 3_000;
/** The longest time between two sweeps, in ms. */
export const SWEEP_INTERVAL_MS = longestInterval(SMALL.idleTtlMs);
/** The longest time between two readings of the pressure, in ms. */
export const READ_EVERY_MS = 5_000;
/** How many sessions are evicted between two readings. */
export const EVICTED_AT_ONCE = 2;
/** The part of a maximum lifetime that chance may take off. */
const JITTER = 0.1;

/** When the life of a session ends that is opened now; chance says from 0 to 1. */
export function endOfLifeOf({ maxLifetimeMs }: SessionLimits, now: number, chance: number): number {
  return maxLifetimeMs === 0 ? Infinity : now + maxLifetimeMs - Math.floor(maxLifetimeMs * JITTER * chance);
}
