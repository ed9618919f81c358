/**
 * How much memory the gateway and its children use, of how much they may.
 *
 * - Where a control group (a container, a systemd slice) limits memory to less than the machine has, its own numbers
 *   count: its limit is the one that ends processes. See `cgroup.ts`.
 * - Else the resident sets of the gateway and of all it started count, against `MEMORY_LIMIT_BYTES` or, where that is
 *   not set, 80% of the physical memory. See `rss.ts` for what such a sum is worth.
 * - Where both a group has a limit and `MEMORY_LIMIT_BYTES` is set, both are read and the fuller one counts.
 *
 * ## What a reading costs
 *
 * By a control group some ten small files, read off this thread: 0.4 ms of CPU. By resident sets a scan of the process
 * table, 30 to 40 µs for each process of the machine: 2 ms with 80 of them, 40 ms with 1,000. Scans are shared, give
 * way to other work after every few entries, and rest three times as long as they took
 * (`backends/process_table.ts`). `bench/memory_reading.ts` measures both.
 *
 * @module
 */
import type { ProcessTable } from "../backends/process_table.ts";
import { logger } from "../log.ts";
import { readCgroup } from "./cgroup.ts";
import { rssOfChildren } from "./rss.ts";

/** The part of the physical memory that may be used unless a limit is set: the rest of the machine needs some too. */
const DEFAULT_PART = 0.8;

/** Memory in use, and how much may be, in bytes. */
export interface MemoryReading {
  /** May pass the limit. */
  readonly usedBytes: number;
  /** Above 0. */
  readonly limitBytes: number;
  /** Where both come from. */
  readonly source: "cgroup" | "rss";
}

/** How to make a {@link MemoryProbe}. */
export interface MemoryProbeOptions {
  /** The setting `MEMORY_LIMIT_BYTES`, above 0; undefined where it is not set. */
  readonly memoryLimitBytes: number | undefined;
  readonly processes: ProcessTable;
  /** Where the proc file system is mounted; the one that `processes` reads. */
  readonly procRoot?: string;
  /** Where control groups are mounted. */
  readonly cgroupRoot?: string;
}

/** See the module's documentation. */
export class MemoryProbe {
  readonly #memoryLimitBytes: number | undefined;
  readonly #processes: ProcessTable;
  readonly #procRoot: string;
  readonly #cgroupRoot: string;
  /** Whether the log was told that children are not counted. */
  #warned = false;

  constructor(
    { memoryLimitBytes, processes, procRoot = "/proc", cgroupRoot = "/sys/fs/cgroup" }: MemoryProbeOptions,
  ) {
    this.#memoryLimitBytes = memoryLimitBytes;
    this.#processes = processes;
    this.#procRoot = procRoot;
    this.#cgroupRoot = cgroupRoot;
  }

  /** Measures. Never rejects: what cannot be read is done without. */
  async read(): Promise<MemoryReading> {
    const physicalBytes = await this.#physicalBytes();
    const group = await readCgroup({
      procRoot: this.#procRoot,
      cgroupRoot: this.#cgroupRoot,
      physicalBytes,
    });
    if (group !== undefined && this.#memoryLimitBytes === undefined) return { ...group, source: "cgroup" };
    const limitBytes = this.#memoryLimitBytes ?? Math.floor(DEFAULT_PART * physicalBytes);
    const usedBytes = await this.#rssBytes();
    if (group !== undefined && group.usedBytes / group.limitBytes >= usedBytes / limitBytes) {
      return { ...group, source: "cgroup" };
    }
    return { usedBytes, limitBytes, source: "rss" };
  }

  /** Of the gateway and all that it started, as far as that can be seen. */
  async #rssBytes(): Promise<number> {
    if (!this.#processes.available) {
      this.#warnOnce();
      return Deno.memoryUsage().rss;
    }
    const children = rssOfChildren(await this.#processes.snapshot(), Deno.pid);
    return (this.#processes.read(Deno.pid)?.rssBytes || Deno.memoryUsage().rss) + children;
  }

  /** What `/proc` says comes first: in some containers it is told less than the machine has. */
  async #physicalBytes(): Promise<number> {
    try {
      const text = await Deno.readTextFile(`${this.#procRoot}/meminfo`);
      const kib = Number(text.match(/^MemTotal: +(\d+) kB$/m)?.[1]);
      if (kib > 0) return kib * 1024;
    } catch {
      // No `/proc`: the runtime has other ways.
    }
    return Deno.systemMemoryInfo().total;
  }

  #warnOnce(): void {
    if (this.#warned) return;
    this.#warned = true;
    logger("memory").warn(
      "No process information in {procRoot}: of the memory in use only the gateway's own is counted, not its servers'",
      { procRoot: this.#procRoot },
    );
  }
}
