/**
 * Very many idle sessions in one process: `deno task bench:sessions`.
 *
 * Four ways to keep their deadlines, each in a process of its own, in turns: the gateway's actors with backends that
 * do nothing, the gateway's timer queue alone, a scan of a Map in an interval, and a timer of the runtime for each
 * session that is set again with each message. Flags: `--sessions=100000`, `--rounds=3`, `--json`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { Measured } from "./sessions_child.ts";
import type { WayName } from "./sessions_ways.ts";

/** What is aimed at, with 100,000 sessions. */
const AIMS = [
  { what: "touch", way: "queue", key: "touchNs", most: 100, unit: "ns" },
  { what: "longest stall while all expire", way: "sojourn", key: "expireStallMs", most: 10, unit: "ms" },
  { what: "memory of an idle session", way: "sojourn", key: "heapBytes", most: 1024, unit: "bytes" },
] as const;

/** The ways in the order of the table. */
const LABELS: Readonly<Record<WayName, string>> = {
  sojourn: "sojourn",
  queue: "its timer queue alone",
  scan: "setInterval scan of a Map",
  timeouts: "setTimeout per session",
};
const WAYS = Object.keys(LABELS) as WayName[];
const BASELINES: readonly WayName[] = ["scan", "timeouts"];

/** What the columns show; a way that has no such cost leaves its cell empty. */
const COLUMNS: Readonly<Record<string, keyof Measured>> = {
  "heap B": "heapBytes",
  "resident B": "residentBytes",
  "touch ns": "touchNs",
  "clock ns": "clockNs",
  "message ns": "messageNs",
  "expire ms": "expireMs",
  "stall ms": "expireStallMs",
  "sweep ms": "sweepMs",
  "sweep stall ms": "sweepStallMs",
};
const LABEL_WIDTH = 28;

type Row = Partial<Record<keyof Measured, number>>;

/** Measures one way, in a process of its own. */
async function measure(way: WayName, sessions: number): Promise<Measured> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--v8-flags=--expose-gc",
      new URL("sessions_child.ts", import.meta.url).pathname,
      way,
      String(sessions),
    ],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`"${LABELS[way]}" could not be measured`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The median of each figure. */
function medians(rounds: readonly Measured[]): Row {
  const keys = Object.keys(rounds[0]!) as (keyof Measured)[];
  return Object.fromEntries(keys.map((key) => [key, median(rounds.map((round) => round[key]!))]));
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Each figure of one row as a part of another's. */
function ratios(row: Row, to: Row): Row {
  const keys = Object.keys(row) as (keyof Measured)[];
  return Object.fromEntries(
    keys.flatMap((key) => to[key] === undefined ? [] : [[key, row[key]! / to[key]]]),
  );
}

function printRow(label: string, row: Row, digits: (value: number) => number): void {
  const cells = Object.entries(COLUMNS).map(([head, key]) => {
    const value = row[key];
    return (value === undefined ? "" : value.toFixed(digits(value))).padStart(head.length + 3);
  });
  print(label.padEnd(LABEL_WIDTH) + cells.join(""));
}

function printTable(rows: Readonly<Record<WayName, Row>>, sessions: number, rounds: number): void {
  print(`${sessions} sessions, median of ${rounds} round(s); bytes for each session`);
  print("".padEnd(LABEL_WIDTH) + Object.keys(COLUMNS).map((head) => head.padStart(head.length + 3)).join(""));
  const digits = (value: number) => value < 100 ? 1 : 0;
  for (const way of WAYS) printRow(LABELS[way], rows[way], digits);
  for (const way of ["sojourn", "queue"] as const) {
    for (const baseline of BASELINES) {
      printRow(`${way} / ${baseline}`, ratios(rows[way], rows[baseline]), () => 2);
    }
  }
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** A flag's whole number. */
function count(name: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new RangeError(`--${name} must be a whole number from 1 to ${max}, got ${JSON.stringify(text)}`);
}

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    args: Deno.args,
    options: {
      sessions: { type: "string", default: "100000" },
      rounds: { type: "string", default: "3" },
      json: { type: "boolean", default: false },
    },
  });
  const sessions = count("sessions", flags.sessions, 500_000);
  const rounds = count("rounds", flags.rounds, 20);
  const measured: Record<WayName, Measured[]> = { sojourn: [], queue: [], scan: [], timeouts: [] };
  for (let round = 0; round < rounds; round++) {
    for (const way of WAYS) measured[way].push(await measure(way, sessions));
  }
  const rows = Object.fromEntries(WAYS.map((way) => [way, medians(measured[way])])) as Record<WayName, Row>;
  const aims = AIMS.map((aim) => ({ ...aim, is: rows[aim.way][aim.key]! }));
  if (flags.json) return print(JSON.stringify({ sessions, medians: rows, rounds: measured, aims }));
  printTable(rows, sessions, rounds);
  print("");
  for (const { what, most, unit, is } of aims) {
    print(`aim, ${what}: ≤ ${most} ${unit}; ${is <= most ? "met" : "missed"} with ${is.toFixed(1)}`);
  }
}

try {
  await main();
} catch (error) {
  Deno.stderr.writeSync(new TextEncoder().encode(`bench: ${(error as Error).message}\n`));
  Deno.exit(1);
}
