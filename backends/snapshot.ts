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
}

/**
 * Reads `/proc/<pid>/stat`. The second field is the program's name in parentheses, which may itself hold spaces
 * and parentheses, so the fields are counted from the last one (proc_pid_stat(5)).
 */
export function parseStat(stat: string): ProcessEntry | undefined {
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
  };
}

/** Whose descendants {@link Snapshot.descendants} looks for. */
export interface Family {
  /** The child that it began with: leader of its own session and group. */
  readonly root: { readonly pid: number; readonly startTime: number | undefined };
  readonly marker: string;
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
      if (marker !== undefined) add(this.#byMarker, marker, entry);
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

    this.#byMarker.get(marker)?.forEach(visit);
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
}

function add<K>(map: Map<K, ProcessEntry[]>, key: K, entry: ProcessEntry): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [entry]);
  else list.push(entry);
}
