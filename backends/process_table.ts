/**
 * What runs on this machine, as `/proc` shows it: the means to end all that a child started, and to tell how much
 * memory it holds.
 *
 * A pid alone names nothing for long, since the system uses it again. So a process is its pid and its start
 * time here, and a signal goes out only while both still match.
 *
 * Reading a thousand entries takes tens of milliseconds. Closes that happen together therefore share one scan,
 * a scan gives way to other work after every few entries, and scans take at most a quarter of a core.
 *
 * @module
 */
import { kill } from "node:process";
import type { Clock } from "../clock.ts";
import { logger } from "../log.ts";
import { MARKER_VARIABLE } from "./child_env.ts";
import { readPageBytes } from "./page_size.ts";
import { parseStat, type ProcessEntry, Snapshot } from "./snapshot.ts";

/** How long a scan waits for others who want one too. */
const GATHER_MS = 5;
/** A pause of so many times its length follows each scan. */
const PAUSE_FACTOR = 3;
/** Entries that are read in one go: about half a millisecond. */
const ENTRIES_AT_ONCE = 32;
/** How long the environments of so many entries may take to be read. */
const MAX_READ_MS = 250;

/** A process, safe against reuse of its pid. */
export interface ProcessRef {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of its `stat`. */
  readonly startTime: number;
}

/** Which backend a process says it belongs to, by its environment; undefined where it says nothing. */
export type Markers = Map<number, { readonly startTime: number; readonly marker: string | undefined }>;

/** One machine's processes. Share one table: that is what makes scans shared. */
export class ProcessTable {
  readonly #clock: Clock;
  readonly #procRoot: string;
  readonly #pageBytes: number;
  /** False where there is no `/proc`, as on macOS: then only process groups can be ended. */
  readonly available: boolean;
  /** The scan that has not started yet; whoever asks meanwhile gets it too. */
  #upcoming: Promise<Snapshot> | undefined;
  /** The scan that runs, or the last one. */
  #running: Promise<unknown> = Promise.resolve();
  /** {@link Clock.now} before which the next scan must not start. */
  #restUntilMs = 0;
  /** Which marker a process carries, by pid; read once for each, since it cannot change. */
  #markers: Markers = new Map();
  #warned = false;

  /** @param options.procRoot Where the proc file system is mounted. */
  constructor({ clock, procRoot = "/proc" }: { clock: Clock; procRoot?: string }) {
    this.#clock = clock;
    this.#procRoot = procRoot;
    this.#pageBytes = readPageBytes(procRoot);
    this.available = this.read(Deno.pid) !== undefined;
  }

  /** Says once in the log what is missing where there is no `/proc`. Called when it starts to matter. */
  warnIfMissing(): void {
    if (this.available || this.#warned) return;
    this.#warned = true;
    logger("backend").warn(
      "No process information in {procRoot}: of what a server starts, only its process group can be ended",
      { procRoot: this.#procRoot },
    );
  }

  /** A picture of all processes, taken after this call. Never rejects; empty where there is no `/proc`. */
  snapshot(): Promise<Snapshot> {
    this.#upcoming ??= this.#gather();
    return this.#upcoming;
  }

  /** One process as it is now, a zombie too; undefined when there is none. */
  read(pid: number): ProcessEntry | undefined {
    try {
      return parseStat(Deno.readTextFileSync(`${this.#procRoot}/${pid}/stat`), this.#pageBytes);
    } catch {
      return undefined;
    }
  }

  /** Whether this very process still runs. A zombie does not. */
  alive(process: ProcessRef): boolean {
    const entry = this.read(process.pid);
    return entry !== undefined && entry.startTime === process.startTime && !entry.dead;
  }

  /** Sends a signal to this very process, and to no other that got its pid. */
  signal(process: ProcessRef, signal: Deno.Signal): void {
    if (this.alive(process)) send(process.pid, signal);
  }

  /** Sends a signal to a process group. The caller has made sure whose group it is. */
  signalGroup(pgrp: number, signal: Deno.Signal): void {
    send(-pgrp, signal);
  }

  /** Whether a process group has any member, zombies included. */
  groupExists(pgrp: number): boolean {
    try {
      return kill(-pgrp, 0);
    } catch (error) {
      return !(error instanceof Error && "code" in error && error.code === "ESRCH");
    }
  }

  async #gather(): Promise<Snapshot> {
    await this.#running;
    const restMs = this.#restUntilMs - this.#clock.now();
    await new Promise<void>((resolve) => void this.#clock.after(Math.max(GATHER_MS, restMs), resolve));
    this.#upcoming = undefined;
    const scan = this.#scan();
    this.#running = scan;
    return await scan;
  }

  async #scan(): Promise<Snapshot> {
    const entries: ProcessEntry[] = [];
    const known = this.#markers;
    this.#markers = new Map();
    let busyMs = 0;
    const pids = this.#pids();
    for (let at = 0; at < pids.length; at += ENTRIES_AT_ONCE) {
      const sliceMs = this.#clock.now();
      const slice = pids.slice(at, at + ENTRIES_AT_ONCE).map((pid) => this.read(pid));
      const alive = slice.filter((entry) => entry !== undefined && !entry.dead) as ProcessEntry[];
      entries.push(...alive);
      busyMs += this.#clock.now() - sliceMs;
      await this.#readMarkers(alive, known);
    }
    this.#restUntilMs = this.#clock.now() + PAUSE_FACTOR * busyMs;
    return new Snapshot(entries, this.#markers);
  }

  #pids(): number[] {
    try {
      const names = [...Deno.readDirSync(this.#procRoot)].map((entry) => Number(entry.name));
      return names.filter((pid) => Number.isInteger(pid) && pid !== Deno.pid);
    } catch {
      return [];
    }
  }

  /** Off this thread and bounded: a process in trouble holds up whoever reads its environment. */
  async #readMarkers(entries: readonly ProcessEntry[], known: Markers): Promise<void> {
    const markers = this.#markers;
    const reads: Promise<void>[] = [];
    for (const { pid, startTime, ppid } of entries) {
      const before = known.get(pid);
      if (before?.startTime === startTime) {
        markers.set(pid, before);
        continue;
      }
      reads.push(
        this.#readMarker(pid).then((marker) => {
          // A child of ours that has not started its program yet still shows our own environment.
          if (marker !== undefined || ppid !== Deno.pid) markers.set(pid, { startTime, marker });
        }),
      );
    }
    const { promise: turn, resolve } = Promise.withResolvers<void>();
    if (reads.length === 0) {
      // A chain of immediates would keep sockets waiting.
      this.#clock.after(0, resolve);
      return await turn;
    }
    const cancel = this.#clock.after(MAX_READ_MS, resolve);
    await Promise.race([Promise.all(reads), turn]);
    cancel();
  }

  async #readMarker(pid: number): Promise<string | undefined> {
    try {
      const environ = await Deno.readTextFile(`${this.#procRoot}/${pid}/environ`);
      const prefix = MARKER_VARIABLE + "=";
      return environ.split("\0").find((variable) => variable.startsWith(prefix))?.slice(prefix.length);
    } catch {
      return undefined;
    }
  }
}

function send(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // Gone in the meantime, or run by somebody else: there is nothing more that could be done.
  }
}
