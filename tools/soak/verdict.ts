/**
 * What a soak has to show.
 *
 * @module
 */
import type { State } from "./gateway.ts";

/** How much more memory than at the baseline is no leak: collections differ, and so does the allocator. */
const MAX_GROWTH = 0.1;
/**
 * What the process may grow by besides where the baseline comes before it is warm, in KiB: code is still being compiled,
 * and the allocator has not seen its largest load.
 */
const WARM_UP_KIB = 24 * 1024;

/** A gateway that serves nobody has nothing to leave behind; by the plan it is 96%. */
const MIN_OPENED_SHARE = 0.9;

/** One criterion, and whether it holds. */
export interface Finding {
  readonly criterion: string;
  readonly start: string;
  readonly end: string;
  readonly ok: boolean;
}

/** What is judged. */
export interface Evidence {
  /** When nothing is open: after the first few lives, after the first few thousand, after the last. */
  readonly start: State;
  readonly baseline: State;
  readonly end: State;
  /** Whether the baseline comes after so many lives that the process grows no more by itself. */
  readonly isWarm: boolean;
  /** Faults in the gateway's log, and lives in which it did what it never should. */
  readonly faults: number;
  readonly broken: number;
  /** Of the lives, how many opened a session, from 0 to 1. */
  readonly openedShare: number;
  readonly exitCode: number;
}

/** Judges. */
export function judge(evidence: Evidence): Finding[] {
  const { start, baseline, end, isWarm, faults, broken, openedShare, exitCode } = evidence;
  const equal = (criterion: string, wanted: number, got: number): Finding => ({
    criterion,
    start: String(wanted),
    end: String(got),
    ok: got === wanted,
  });
  const within = (criterion: string, wantedKiB: number, gotKiB: number, allowedKiB = 0): Finding => {
    const growth = 100 * (gotKiB / wantedKiB - 1);
    return {
      criterion: `${criterion} after GC, at most 10%${allowedKiB > 0 ? ` and ${mib(allowedKiB)}` : ""} more`,
      start: mib(wantedKiB),
      end: `${mib(gotKiB)} (${growth < 0 ? "" : "+"}${growth.toFixed(1)}%)`,
      ok: gotKiB <= (1 + MAX_GROWTH) * wantedKiB + allowedKiB,
    };
  };
  return [
    equal("sessions", 0, end.sessions),
    equal("processes", 0, end.processes),
    equal("zombies", 0, end.zombies),
    equal("timers, as at the start", start.timers, end.timers),
    equal("file handles, as at the start", start.handles, end.handles),
    within("RSS", baseline.rssKiB, end.rssKiB, isWarm ? 0 : WARM_UP_KIB),
    within("heap", baseline.heapKiB, end.heapKiB),
    {
      criterion: "lives that opened a session, at least 90%",
      start: "90%",
      end: `${(100 * openedShare).toFixed(1)}%`,
      ok: openedShare >= MIN_OPENED_SHARE,
    },
    equal("faults in the log", 0, faults),
    equal("answers that must not be", 0, broken),
    equal("exit code", 0, exitCode),
  ];
}

/** KiB as MiB. */
export function mib(kib: number): string {
  return `${(kib / 1024).toFixed(1)} MiB`;
}
