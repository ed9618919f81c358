/**
 * A session as it is written down: what changes in its life, as one JSON text. Instants are wall time there, because the
 * clock of the next run begins anew.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { LifetimeState } from "./lifetime.ts";
import type { StandingState } from "./standing.ts";
import type { TimelineState } from "./timeline.ts";

/** What changes in the life of a session, its instants in ms of the clock. */
export interface SessionRecord {
  readonly life: LifetimeState;
  readonly timeline: TimelineState;
  readonly standing: StandingState | undefined;
}

/** As JSON. */
export function recordText({ life, ...record }: SessionRecord, clock: Clock): string {
  return JSON.stringify({ ...record, life: mapLife(life, (instant) => wallOf(instant, clock)) });
}

/** @throws {SyntaxError} Where it is no such text. */
export function readRecord(text: string, clock: Clock): SessionRecord {
  const { life, timeline, standing } = JSON.parse(text) as SessionRecord;
  return { timeline, standing, life: mapLife(life, (wall) => instantOf(wall, clock)) };
}

/** Wall time of an instant of the clock, in whole ms. */
export function wallOf(instant: number, clock: Clock): number {
  return Math.round(clock.wallTime() + instant - clock.now());
}

/** The instant of the clock at a wall time; before its start where that was in an earlier run. */
export function instantOf(wall: number, clock: Clock): number {
  return clock.now() + wall - clock.wallTime();
}

function mapLife(life: LifetimeState, map: (instant: number) => number): LifetimeState {
  const or = (instant: number | null) => instant === null ? null : map(instant);
  return {
    ...life,
    endOfLife: or(life.endOfLife),
    aliveAt: or(life.aliveAt),
    extendedUntil: or(life.extendedUntil),
  };
}
