import { assertEquals } from "@std/assert";
import { loadConfig } from "../config/mod.ts";
import { admissionLimits } from "../load.ts";

const GB = 1_000_000_000;

// [environment, memory limit, sessions, per principal, processes, openings a minute].
const CASES: [Record<string, string>, number, number, number, number, number][] = [
  [{}, 16 * GB, 1_000, Infinity, 112, 3_000],
  [{}, 0.05 * GB, 1_000, Infinity, 1, 3_000],
  [{ MAX_SESSIONS: "5", MAX_SESSIONS_PER_PRINCIPAL: "2", MAX_PROCESSES: "7" }, GB, 5, 2, 7, 3_000],
  [{ OPENS_PER_MINUTE: "0" }, 16 * GB, 1_000, Infinity, 112, 0],
];
for (const [env, limitBytes, maxSessions, maxSessionsPerPrincipal, maxProcesses, opensPerMinute] of CASES) {
  Deno.test(`Limits of ${JSON.stringify(env)} with ${limitBytes} bytes of memory`, () => {
    const config = loadConfig({ args: [], env, cwd: "/nowhere" });
    if (config.kind !== "run") throw new Error("no configuration");
    assertEquals(admissionLimits(config.settings, limitBytes), {
      maxSessions,
      maxSessionsPerPrincipal,
      maxProcesses,
      opensPerMinute,
    });
  });
}
