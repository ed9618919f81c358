/**
 * Ends what children left that nobody looks after any more, a bounded number of families at a time.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { ClosePace } from "./backend.ts";
import { ProcessFamily } from "./process_family.ts";
import type { ProcessTable } from "./process_table.ts";
import type { ProcessEntry, Snapshot } from "./snapshot.ts";

/** Families that are ended at a time: they share their looks at the process table, and each looks every 100 ms. */
const AT_ONCE = 128;

/** A child, or what it left, by what was written down of it. */
export interface Remains {
  readonly pid: number;
  /** Without it only the marker tells. */
  readonly startTime: number | undefined;
  readonly marker: string;
}

/**
 * Who is left of a child: itself, where a process has both its pid and its start time, what carries its marker, and the
 * children of these. Its group alone proves nothing: once it was empty, its number is anybody's.
 */
export function leftOf({ pid, startTime, marker }: Remains, snapshot: Snapshot): ProcessEntry[] {
  const noted = startTime === undefined ? [] : [{ pid, startTime }];
  return snapshot.descendants({ root: { pid, startTime: undefined }, marker, noted });
}

/** What became of them: they went by themselves, they were made to, or they did not go. */
export type Outcome = "gone" | "ended" | "left";

/** How to make a {@link Reaper}. */
export interface ReaperOptions {
  readonly clock: Clock;
  readonly processes: ProcessTable;
}

/** See the module's documentation. */
export class Reaper {
  readonly #options: ReaperOptions;
  /** Those that wait for their turn. */
  readonly #waiting: (() => void)[] = [];
  readonly #families = new Set<ProcessFamily>();
  /** Everything that was asked for and is not done. */
  readonly #all = new Set<Promise<void>>();
  /** Set once everything has to be that fast. */
  #pace: ClosePace | undefined;

  constructor(options: ReaperOptions) {
    this.#options = options;
  }

  /** How many families are being ended, or wait for it. */
  get size(): number {
    return this.#all.size;
  }

  /**
   * Ends what is left of a child.
   *
   * @param done Called once, in a later turn.
   */
  end(child: Remains, pace: ClosePace, done: (outcome: Outcome) => void): void {
    const ending = this.#end(child, pace).then(done).finally(() => {
      this.#all.delete(ending);
      this.#waiting.shift()?.();
    });
    this.#all.add(ending);
  }

  /**
   * Resolves when all is done. Never rejects.
   *
   * @param pace Makes everything as fast as that, from now on.
   */
  async settled(pace?: ClosePace): Promise<void> {
    this.#pace = pace ?? this.#pace;
    if (pace !== undefined) { for (const family of this.#families) void family.end(pace); }
    while (this.#all.size > 0) await Promise.all(this.#all);
  }

  async #end({ pid, startTime, marker }: Remains, pace: ClosePace): Promise<Outcome> {
    if (this.#families.size >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let outcome: Outcome | undefined;
    const { processes } = this.#options;
    // While it lives its group is its own as well.
    const leads = startTime !== undefined && processes.alive({ pid, startTime });
    const family = new ProcessFamily({
      ...this.#options,
      pid,
      marker,
      startTime: leads ? startTime : null,
      // The gateway that had it is gone, or has lost it.
      endInput() {},
      gaveUp: () => outcome = "left",
    });
    this.#families.add(family);
    // Its exit is reported to nobody: it has to be looked for.
    family.childExited();
    await family.end(this.#pace ?? pace);
    this.#families.delete(family);
    return outcome ?? (family.forced ? "ended" : "gone");
  }
}
