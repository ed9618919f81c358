/**
 * What a soak looks at: what the system tells of a gateway and of all that it started, and what the gateway's probe does.
 * Needs Linux.
 *
 * @module
 */

/** In the environment of everything that a soak starts. */
export const MARKER = "SOJOURN_SOAK";

/** What every line of the probe begins with (`probe.ts`). */
export const PROBE_PREFIX = "@probe ";

/** What the probe tells. */
export interface Reading {
  /** Timers that are set on the gateway's clock. */
  readonly timers: number;
  /** What is in use of the engine's heap, array buffers included. */
  readonly heapKiB: number;
}

/** Everything that belongs to a gateway, itself aside. */
export interface Processes {
  /** The pids of those that run. */
  readonly running: readonly number[];
  /** Children that are over and that the gateway has not taken note of. */
  readonly zombies: number;
}

/** Looks through the process table. */
export function processesOf(gatewayPid: number, marker: string): Processes {
  const running: number[] = [];
  let zombies = 0;
  for (const { name } of Deno.readDirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === gatewayPid) continue;
    try {
      const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
      // The name may hold spaces and parentheses (proc_pid_stat(5)).
      const [state, ppid] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === "Z") {
        // Its environment is gone. Orphans belong to the system's first process, which reaps them or does not.
        if (Number(ppid) === gatewayPid) zombies++;
        continue;
      }
      const environ = Deno.readTextFileSync(`/proc/${pid}/environ`);
      if (environ.split("\0").includes(`${MARKER}=${marker}`)) running.push(pid);
    } catch {
      // Ended meanwhile, or somebody else's.
    }
  }
  return { running, zombies };
}

/** File handles of a process. */
export function handlesOf(pid: number): number {
  return Array.from(Deno.readDirSync(`/proc/${pid}/fd`)).length;
}

/** What each of them is, such as `socket:[123]`, to tell which are new. */
export function handleNames(pid: number): string[] {
  return Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
    try {
      return `${name} → ${Deno.readLinkSync(`/proc/${pid}/fd/${name}`)}`;
    } catch {
      return `${name} (closed meanwhile)`;
    }
  });
}

/** Resident memory of a process, in KiB. */
export function residentKiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1]);
}

/** Sends a signal to a process, or to a group where the number is negative; harmless where there is none. */
export function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // It was quicker.
  }
}
