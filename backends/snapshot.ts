/**
 * One picture of all processes, and what can be told from it: who descends from whom, who shares a group.
 *
 * @module
 */

/** One line of the process table: what `/proc/<pid>/stat` says. */
export interface ProcessEntry {
  readonly pid: number;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  /** Clock ticks since boot. */
  readonly startTime: number;
  /** A zombie: it runs no more and holds nothing but its pid. */
  readonly dead: boolean;
  /** Its pages in RAM, in bytes; pages that it shares with others included. The kernel's count may be some behind. */
  readonly rssBytes: number;
}

/**
 * Reads `/proc/<pid>/stat`. The second field is the program's name in parentheses, which may itself hold spaces
 * and parentheses, so the fields are counted from the last one (proc_pid_stat(5)).
 *
 * @param pageBytes The size of a page, in bytes.
 * @returns Undefined where it is no such line.
 */
export function parseStat(stat: string, pageBytes: number): ProcessEntry | undefined {
  const pid = Number.parseInt(stat, 10);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, ppid, pgrp, session] = fields;
  const startTime = Number(fields[19]);
  if (state === undefined || Number.isNaN(pid) || Number.isNaN(startTime)) return undefined;
  return {
    pid,
    ppid: Number(ppid),
    pgrp: Number(pgrp),
    session: Number(session),
    startTime,
    dead: state === "Z" || state === "X",
    // NaN where the line ends before it.
    rssBytes: Math.max(0, Number(fields[21])) * pageBytes || 0,
  };
}

/** Whose descendants {@link Snapshot.descendants} looks for. */
export interface Family {
  /** The child that it began with: leader of its own session and group. */
  readonly root: { readonly pid: number; readonly startTime: number | undefined };
  /** Undefined where it carries none, or none that is known. */
  readonly marker: string | undefined;
  /** Processes that were found to belong to it before. */
  readonly noted: Iterable<{ readonly pid: number; readonly startTime: number }>;
}

/** Immutable; zombies are left out. */
export class Snapshot {
  readonly #byPid = new Map<number, ProcessEntry>();
  readonly #byParent = new Map<number, ProcessEntry[]>();
  /** By group and by session: a process is listed under both, once where they are the same. */
  readonly #byLeader = new Map<number, ProcessEntry[]>();
  readonly #byMarker = new Map<string, ProcessEntry[]>();
  readonly #markerOf = new Map<number, string>();

  /** @param markers By pid, what of its environment is known. */
  constructor(
    entries: readonly ProcessEntry[],
    markers: ReadonlyMap<number, { marker: string | undefined }>,
  ) {
    for (const entry of entries) {
      this.#byPid.set(entry.pid, entry);
      add(this.#byParent, entry.ppid, entry);
      add(this.#byLeader, entry.pgrp, entry);
      if (entry.session !== entry.pgrp) add(this.#byLeader, entry.session, entry);
      const marker = markers.get(entry.pid)?.marker;
      if (marker === undefined) continue;
      add(this.#byMarker, marker, entry);
      this.#markerOf.set(entry.pid, marker);
    }
  }

  /** How many processes there are. */
  get size(): number {
    return this.#byPid.size;
  }

  /**
   * Everything that runs on behalf of one child, itself included: itself and what was noted before, members of
   * its group and session, processes that carry its marker, and all children of these.
   */
  descendants({ root, marker, noted }: Family): ProcessEntry[] {
    const found = new Map<number, ProcessEntry>();
    const visit = (entry: ProcessEntry) => {
      if (found.has(entry.pid)) return;
      found.set(entry.pid, entry);
      this.#byParent.get(entry.pid)?.forEach(visit);
    };

    if (marker !== undefined) this.#byMarker.get(marker)?.forEach(visit);
    for (const { pid, startTime } of noted) {
      const entry = this.#byPid.get(pid);
      if (entry?.startTime === startTime) visit(entry);
    }
    const { startTime } = root;
    if (startTime !== undefined) {
      const leader = this.#byPid.get(root.pid);
      if (leader?.startTime === startTime) visit(leader);
      // Its pid in other hands means that its group had emptied: the group of that name is somebody else's.
      const reused = leader !== undefined && leader.startTime !== startTime;
      const members = reused ? [] : this.#byLeader.get(root.pid) ?? [];
      members.filter((entry) => entry.startTime >= startTime).forEach(visit);
    }
    return [...found.values()];
  }

  /**
   * The {@link Snapshot.descendants} of a process of which only the pid is known: the marker is the one it carries.
   *
   * @returns Itself included; empty where no process has that pid.
   */
  family(pid: number): ProcessEntry[] {
    const root = this.#byPid.get(pid);
    if (root === undefined) return [];
    return this.descendants({ root, marker: this.#markerOf.get(pid), noted: [] });
  }

  /** Every marker that is carried, with one of those that carry it. */
  *markers(): IterableIterator<readonly [marker: string, carrier: ProcessEntry]> {
    for (const [marker, [carrier]] of this.#byMarker) yield [marker, carrier!];
  }

  /** Whose parent that process is. It need not be in the picture itself: the gateway is not. */
  children(pid: number): readonly ProcessEntry[] {
    return this.#byParent.get(pid) ?? [];
  }
}

function add<K>(map: Map<K, ProcessEntry[]>, key: K, entry: ProcessEntry): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [entry]);
  else list.push(entry);
}
