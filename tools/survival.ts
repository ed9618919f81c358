/**
 * Sessions of real servers outlive their gateway: `deno task survival` opens 200 of `server-memory` and
 * `server-everything` with the SDK's client, works them, kills the gateway in the middle of it, starts it again, and
 * finishes every client's script. Its exit code is 1 where one had to initialize again, got a wrong answer, or a process
 * is left. Flags:
 *
 *     --sessions=N   how many, from 2 to 1000 (200)
 *     --processes=N  servers that may run at a time, from 2 to 1000; each takes about 75 MB (60)
 *     --at-once=N    clients that work at a time, from 1 to 1000 (20)
 *     --json         the result as one JSON object
 *
 * Everything stays on this machine; the servers come from the npm registry at the first start. Needs Linux.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { problemsOf, survive } from "./survival/survive.ts";

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    sessions: { type: "string", default: "200" },
    processes: { type: "string", default: "60" },
    "at-once": { type: "string", default: "20" },
    json: { type: "boolean", default: false },
  },
});

const survival = await survive({
  sessions: whole("sessions", flags.sessions, 2),
  processes: whole("processes", flags.processes, 2),
  atOnce: whole("at-once", flags["at-once"], 1),
  ...(!flags.json && { say: print }),
});
const problems = problemsOf(survival);
if (flags.json) print(JSON.stringify({ ...survival, problems }));
else {
  const { sessions, interrupted, awayMs, backMs, wholeMs, leftByKill, initializes } = survival;
  const s = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;
  print(
    `${sessions} sessions: the kill met ${interrupted} and left ${leftByKill} processes; listening again after ` +
      `${s(awayMs)}, all answered after ${s(backMs)}; ${initializes} initialize in all; ${s(wholeMs)}`,
  );
  print(problems.length === 0 ? "All went on, and nothing is left." : problems.join("\n"));
}
Deno.exit(problems.length === 0 ? 0 : 1);

function whole(name: string, text: string, min: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= 1_000) return value;
  throw new RangeError(`--${name} must be a whole number from ${min} to 1000, got ${JSON.stringify(text)}`);
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
