/**
 * How much there may be, and how scarce it is: limits for the supervisor, readings for the sweeper.
 *
 * @module
 */
import type { PressureSource } from "./actors/pressure.ts";
import type { AdmissionLimits, Door } from "./actors/supervisor.ts";
import type { Settings } from "./config/types.ts";
import type { LagMeter } from "./machine/lag.ts";
import type { MemoryProbe } from "./machine/memory.ts";

/** Event-loop lag that counts as full load, in ms: what people notice, and fifty times what an idle runtime has. */
const TOO_LATE_MS = 200;

/** What a server is taken to need, in bytes: between one that runs on Deno and one that `npx` started. */
const PROCESS_BYTES = 100_000_000;
/** How much of the memory that may be used servers may take. */
const PROCESSES_PART = 0.7;

/**
 * How many sessions and processes there may be.
 *
 * @param limitBytes How much memory may be used, for the number of processes where none is set.
 */
export function admissionLimits(
  { maxSessions, maxSessionsPerPrincipal, maxProcesses, opensPerMinute }: Settings,
  limitBytes: number,
): AdmissionLimits {
  return {
    maxSessions,
    maxSessionsPerPrincipal: maxSessionsPerPrincipal === 0 ? Infinity : maxSessionsPerPrincipal,
    opensPerMinute,
    maxProcesses: maxProcesses ?? Math.max(1, Math.floor(PROCESSES_PART * limitBytes / PROCESS_BYTES)),
  };
}

/** How many servers may start at a time: more would take each other's processor. */
export function spawnConcurrency({ spawnConcurrency }: Settings): number {
  return spawnConcurrency ?? 2 * navigator.hardwareConcurrency;
}

/** Whether there is room for a process that no session waits for. */
export function hasRoomToSpare({ counts, limits }: Pick<Door, "counts" | "limits">): boolean {
  return counts.waiting === 0 && counts.processes < limits.maxProcesses;
}

/** What is read. */
export interface LoadParts {
  readonly memory: MemoryProbe;
  readonly lag: LagMeter;
  readonly door: () => Pick<Door, "counts" | "limits">;
}

/** Reads memory, caps and lag. */
export function loadSource({ memory, lag, door }: LoadParts): PressureSource {
  return {
    async read() {
      const { usedBytes, limitBytes } = await memory.read();
      const { counts, limits } = door();
      return {
        memory: usedBytes / limitBytes,
        sessions: counts.sessions / limits.maxSessions,
        processes: counts.processes / limits.maxProcesses,
        lag: lag.lagMs / TOO_LATE_MS,
      };
    },
  };
}
