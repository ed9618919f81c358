/**
 * Ends one child process and all that it started.
 *
 * One loop, from the first `end()` until nothing is left: look who is there, send the signal that is due, wait
 * for the next instant at which something can have changed. The child gets its end of input first; SIGTERM and
 * SIGKILL follow at the times of the pace, for the child and for what it left behind alike.
 *
 * Who belongs to the family is looked up before each signal, because a process that dies orphans its children and
 * their descent can then no longer be seen. What was noted stays noted, by pid and start time.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { ClosePace } from "./backend.ts";
import type { ProcessTable } from "./process_table.ts";
import type { ProcessEntry } from "./snapshot.ts";

/** How often the noted processes are looked at while they are expected to go; doubles from one to the other. */
const MIN_POLL_MS = 5;
const MAX_POLL_MS = 100;
/**
 * After SIGKILL: a process that outlives it this long hangs in the kernel, and waiting does not help. One that only waits
 * for a processor on a busy machine, so that it can die, was seen to take more than 2 s.
 */
const GIVE_UP_MS = 5_000;

/** What a {@link ProcessFamily} is made of. */
export interface FamilyOptions {
  /** The child: leader of its own session and group. */
  readonly pid: number;
  readonly marker: string;
  readonly clock: Clock;
  readonly processes: ProcessTable;
  /**
   * Of a child of an earlier run of the gateway: its start time, or null where the child itself is gone and only what
   * carries its marker is left. Read now unless given.
   */
  readonly startTime?: number | null;
  /** Ends the child's input. Called once, when its descendants were noted for the first time. */
  endInput(): void;
  /** These pids survived SIGKILL. */
  gaveUp(pids: number[]): void;
}

/** One child and its descendants. */
export class ProcessFamily {
  readonly #options: FamilyOptions;
  /** The child's; undefined where it was gone before it could be read, or there is no `/proc`. */
  readonly startTime: number | undefined;
  /** Who was there at the last look. */
  #noted: ProcessEntry[] = [];
  /** Instants of {@link Clock.now}; infinite until `end()`, and only ever moved closer. */
  #termAtMs = Infinity;
  #killAtMs = Infinity;
  /** The strongest signal that went out, and when SIGKILL first did. */
  #sent: "SIGTERM" | "SIGKILL" | undefined;
  #killedAtMs = Infinity;
  /** Who got SIGTERM: once is enough, many programs take a second one for impatience. */
  readonly #termed = new Set<string>();
  /** Whether the runtime reported the child's exit. */
  #childGone = false;
  /** Without `/proc`: whether the child's group has members. Once seen empty, its number is anybody's. */
  #groupHeld = true;
  #ending: Promise<void> | undefined;
  /** Cuts the current wait short. */
  #wake: () => void = () => {};

  /** To be made right after the child was started, while its pid is certain. */
  constructor(options: FamilyOptions) {
    this.#options = options;
    const { startTime = options.processes.read(options.pid)?.startTime } = options;
    this.startTime = startTime ?? undefined;
  }

  /** Whether it took a signal. */
  get forced(): boolean {
    return this.#sent !== undefined;
  }

  /** The runtime saw the child exit. */
  childExited(): void {
    this.#childGone = true;
    const { pid, processes } = this.#options;
    this.#groupHeld = processes.groupExists(pid);
    this.#wake();
  }

  /**
   * Ends the family. Idempotent; a later call can only bring the signals closer.
   *
   * @returns Resolves when no process is left or, after telling `gaveUp`, when one cannot be ended. Never rejects.
   */
  end(pace: ClosePace): Promise<void> {
    const now = this.#options.clock.now();
    this.#termAtMs = Math.min(this.#termAtMs, now + pace.termAfterMs);
    this.#killAtMs = Math.min(this.#killAtMs, now + pace.killAfterMs);
    this.#wake();
    return this.#ending ??= this.#run();
  }

  async #run(): Promise<void> {
    const { clock, processes, pid } = this.#options;
    processes.warnIfMissing();
    let clear = await this.#look();
    this.#options.endInput();
    while (!clear) {
      const now = clock.now();
      if (now >= this.#killedAtMs + GIVE_UP_MS) {
        const left = this.#noted.map((entry) => entry.pid);
        return this.#options.gaveUp(left.length > 0 ? left : [pid]);
      }
      if (now >= this.#killAtMs) this.#signal("SIGKILL", now);
      else if (now >= this.#termAtMs) this.#signal("SIGTERM", now);
      await this.#change();
      clear = await this.#look();
    }
  }

  /**
   * Notes who is there.
   *
   * @returns Whether nobody is. Only a look that began after the child's exit can tell: it sees what the child
   * started at the very end.
   */
  async #look(): Promise<boolean> {
    const { pid, marker, processes } = this.#options;
    const childGone = this.#childGone;
    if (!processes.available) return childGone && !this.#groupLeft();
    const snapshot = await processes.snapshot();
    this.#noted = snapshot.descendants({
      root: { pid, startTime: this.startTime },
      marker,
      noted: this.#noted,
    });
    return childGone && this.#noted.length === 0;
  }

  #signal(signal: "SIGTERM" | "SIGKILL", now: number): void {
    const { pid, processes } = this.#options;
    const first = this.#sent !== signal;
    this.#sent = signal;
    if (signal === "SIGKILL") this.#killedAtMs = Math.min(this.#killedAtMs, now);

    // The group as a whole, so that a member which was born meanwhile gets the signal too; the others by name.
    const toGroup = (first || signal === "SIGKILL") && this.#groupIsOurs();
    if (toGroup) processes.signalGroup(pid, signal);
    for (const entry of this.#noted) {
      const key = `${entry.pid} ${entry.startTime}`;
      const again = signal === "SIGTERM" && this.#termed.has(key);
      this.#termed.add(key);
      if (!again && !(toGroup && entry.pgrp === pid)) processes.signal(entry, signal);
    }
  }

  /** Waits for the next instant at which something is due or can have changed. */
  async #change(): Promise<void> {
    const { clock } = this.#options;
    const dueAtMs = this.#dueAtMs();
    for (let pollMs = MIN_POLL_MS;; pollMs = Math.min(2 * pollMs, MAX_POLL_MS)) {
      const dueMs = dueAtMs - clock.now();
      if (dueMs <= 0) return;
      // As long as the child lives its exit is what there is to wait for, and the runtime reports that.
      const polls = this.#childGone || this.#sent === "SIGKILL";
      const woken = await this.#sleep(polls ? Math.min(dueMs, pollMs) : dueMs);
      if (woken || !this.#anyLeft()) return;
      // Whoever forks faster than it is killed has to be looked up again.
      if (this.#sent === "SIGKILL" && pollMs === MAX_POLL_MS) return;
    }
  }

  #dueAtMs(): number {
    if (this.#sent === "SIGKILL") return this.#killedAtMs + GIVE_UP_MS;
    return this.#sent === "SIGTERM" ? this.#killAtMs : Math.min(this.#termAtMs, this.#killAtMs);
  }

  /** @returns Whether it was cut short. */
  #sleep(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(ms, () => resolve(false));
      this.#wake = () => {
        cancel();
        resolve(true);
      };
    });
  }

  #anyLeft(): boolean {
    const { processes } = this.#options;
    return processes.available ? this.#noted.some((entry) => processes.alive(entry)) : this.#groupLeft();
  }

  /** A member that still has its start time proves that the group is the child's and nobody else's. */
  #groupIsOurs(): boolean {
    const { pid, processes } = this.#options;
    if (!processes.available) return this.#groupLeft();
    if (this.startTime === undefined && !this.#childGone) return true;
    return this.#noted.some((entry) => entry.pgrp === pid && processes.alive(entry));
  }

  #groupLeft(): boolean {
    const { pid, processes } = this.#options;
    if (this.#childGone) this.#groupHeld &&= processes.groupExists(pid);
    return this.#groupHeld;
  }
}
