/**
 * How scarce things are: where the sweeper's readings come from.
 *
 * @module
 */
import type { PressureSource } from "./actors/pressure.ts";
import type { Door } from "./actors/supervisor.ts";
import type { LagMeter } from "./machine/lag.ts";
import type { MemoryProbe } from "./machine/memory.ts";

/** Event-loop lag that counts as full load, in ms: what people notice, and fifty times what an idle runtime has. */
const TOO_LATE_MS = 200;

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
