/**
 * Mutated requests in large number at every door of the real gateway: what was answered, and what is left of it.
 *
 * `deno task hostile` sends 10,000 to each door and prints a table; its exit code is 1 where something does not hold.
 * Flags:
 *
 *     --requests=N   for each door, from 200 to 1000000 (10000)
 *     --seed=N       which requests; printed where it is not given
 *     --door=TEXT    only doors with that in their names
 *     --json         the verdicts as JSON
 *
 * The mutants are those of the tests (`tests/routes/mutant_arbitraries.ts`, `tests/e2e/bridge_mutants.ts`); the doors
 * are in `hostile/doors.ts`, what has to hold in `hostile/storm.ts`. Everything stays on this machine. Needs Linux.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { storm, type Verdict } from "./hostile/storm.ts";
import { mib } from "./soak/verdict.ts";

const EXIT_USAGE = 2;

/** What is asked for. */
interface Asked {
  readonly requests: number;
  readonly seed: number;
  readonly only: string;
  readonly json: boolean;
}

/** Reads the arguments. @throws {RangeError|TypeError} Where they are not as they should be. */
export function readArgs(args: string[]): Asked {
  const { values } = parseArgs({
    args,
    options: {
      requests: { type: "string", default: "10000" },
      seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]! >> 1 >>> 0) },
      door: { type: "string", default: "" },
      json: { type: "boolean", default: false },
    },
  });
  return {
    requests: whole("requests", values.requests, 200, 1_000_000),
    seed: whole("seed", values.seed, 0, 2 ** 31 - 1),
    only: values.door,
    json: values.json,
  };
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new RangeError(`--${name} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text)}`);
}

const COLUMNS: readonly [title: string, value: (verdict: Verdict) => string | number][] = [
  ["door", ({ door }) => door],
  ["requests", ({ requests }) => requests],
  ["answers by status", ({ statuses }) => Object.entries(statuses).map((pair) => pair.join(": ")).join(", ")],
  ["faults", ({ faults }) => faults],
  ["crashes", ({ crashed, hung }) => Number(crashed) + hung],
  ["foreign", ({ foreign }) => foreign],
  ["RSS", ({ before, after }) => `${mib(before.rssKiB)} → ${mib(after.rssKiB)}`],
  ["heap", ({ before, after }) => `${mib(before.heapKiB)} → ${mib(after.heapKiB)}`],
  ["sessions", ({ after, elsewhere }) => after.sessions + elsewhere],
  ["processes", ({ after }) => after.processes + after.zombies],
  ["handles", ({ before, after }) => `${before.handles} → ${after.handles}`],
  ["timers", ({ before, after }) => `${before.timers} → ${after.timers}`],
  ["", ({ ok }) => ok ? "ok" : "NOT ok"],
];

/** The verdicts as a table of Markdown, and what was wrong below it. */
export function report(verdicts: readonly Verdict[]): string {
  const rows = [
    COLUMNS.map(([title]) => title),
    COLUMNS.map(() => "---"),
    ...verdicts.map((verdict) => COLUMNS.map(([, value]) => String(value(verdict)))),
  ];
  const complaints = verdicts.flatMap(({ door, complaints }) =>
    complaints.map((text) => `! ${door}: ${text}`)
  );
  return [...rows.map((row) => `| ${row.join(" | ")} |`), ...complaints].join("\n");
}

async function main(): Promise<number> {
  let asked: Asked;
  try {
    asked = readArgs(Deno.args);
  } catch (error) {
    print(error instanceof Error ? error.message : String(error));
    return EXIT_USAGE;
  }
  const { requests, seed, json } = asked;
  if (!json) print(`${requests} requests for each door, --seed=${seed}`);
  const verdicts = await storm({ ...asked, ...(!json && { onNews: print }) });
  print(json ? JSON.stringify({ seed, verdicts }) : report(verdicts));
  return verdicts.every(({ ok }) => ok) ? 0 : 1;
}

function print(text: string): void {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
}

if (import.meta.main) {
  const code = await main().catch((error) => {
    print(`! ${error instanceof Error ? error.stack : error}`);
    return 1;
  });
  Deno.exit(code);
}
