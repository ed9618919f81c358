/**
 * Echo through the gateway against a bare pass-through, in one run: `deno task bench`.
 *
 * Both run the same server behind them and get the same load in turns, so what the machine does meanwhile hits both.
 * What counts is the ratio. Flags: `--pairs=5`, `--seconds=3`, `--json`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { LoadResult } from "./load.ts";
import {
  cpuUs,
  endAll,
  type Gateway,
  residentMiB,
  runLoad,
  startBaseline,
  startSojourn,
} from "./processes.ts";

/** The aim at ten sessions, of the pass-through's requests per second. */
const AIM = 0.7;
const AIM_CASE = "10 sessions";
const WARM_UP_SECONDS = 2;
const EXIT_INTERRUPTED = 130;

interface Case {
  readonly name: string;
  readonly sessions: number;
  readonly connectionsPerSession: number;
  readonly payloadBytes: number;
  readonly progressCount: number;
  /** What to know when comparing. */
  readonly note?: string;
}

const SMALL = { payloadBytes: 16, progressCount: 0 };
const CASES: readonly Case[] = [
  { name: "1 session", sessions: 1, connectionsPerSession: 4, ...SMALL },
  { name: AIM_CASE, sessions: 10, connectionsPerSession: 4, ...SMALL },
  { name: "1 MiB calls", sessions: 1, connectionsPerSession: 2, payloadBytes: 1024 * 1024, progressCount: 0 },
  {
    name: "calls with 10 progress notifications",
    sessions: 1,
    connectionsPerSession: 4,
    payloadBytes: 16,
    progressCount: 10,
    note: "the pass-through drops the notifications: this is what a stream costs, not a race",
  },
];

/** One gateway in one case, with its sessions open. */
interface Contender {
  readonly gateway: Gateway;
  readonly sessionIds: readonly string[];
}

/** One round under load. */
interface Round extends Omit<LoadResult, "sessionIds"> {
  /** CPU time of the gateway's own process. */
  readonly cpuUsPerRequest: number;
  /** Its part of one core; near 100 where it and not the load was the limit. */
  readonly corePercent: number;
}

/** One round of each, right after one another. */
interface Pair {
  readonly baseline: Round;
  readonly sojourn: Round;
}

/** What came of one case. */
interface CaseReport {
  readonly name: string;
  /** Medians of Sojourn's part of the pass-through: by requests per second, and by requests per CPU second. */
  readonly ratio: number;
  readonly ratioByCpu: number;
  readonly pairs: readonly Pair[];
}

/** Opens the sessions, and gives the code the time to be compiled. */
async function warmUp(gateway: Gateway, shape: Case): Promise<Contender> {
  const { sessionIds } = await loadOn({ gateway }, shape, WARM_UP_SECONDS);
  return { gateway, sessionIds };
}

function loadOn(
  { gateway, sessionIds }: { gateway: Gateway; sessionIds?: readonly string[] },
  { sessions, connectionsPerSession, payloadBytes, progressCount }: Case,
  seconds: number,
): Promise<LoadResult> {
  return runLoad({
    url: gateway.url,
    sessions: sessionIds ?? sessions,
    connectionsPerSession,
    payloadBytes,
    progressCount,
    seconds,
    expectedEvents: gateway.streams && progressCount > 0 ? progressCount + 1 : 0,
  });
}

async function round(contender: Contender, shape: Case, seconds: number): Promise<Round> {
  const beforeUs = cpuUs(contender.gateway);
  const { sessionIds: _, ...result } = await loadOn(contender, shape, seconds);
  const usedUs = cpuUs(contender.gateway) - beforeUs;
  return {
    ...result,
    cpuUsPerRequest: usedUs / result.requests,
    corePercent: usedUs / seconds / 10_000,
  };
}

async function runCase(
  shape: Case,
  gateways: { baseline: Gateway; sojourn: Gateway },
  { pairs: count, seconds }: { pairs: number; seconds: number },
): Promise<CaseReport> {
  const baseline = await warmUp(gateways.baseline, shape);
  const sojourn = await warmUp(gateways.sojourn, shape);
  const pairs: Pair[] = [];
  for (let n = 0; n < count; n++) {
    // Who goes first changes, so that neither always has the warmer machine.
    if (n % 2 === 0) {
      const first = await round(baseline, shape, seconds);
      pairs.push({ baseline: first, sojourn: await round(sojourn, shape, seconds) });
    } else {
      const first = await round(sojourn, shape, seconds);
      pairs.push({ baseline: await round(baseline, shape, seconds), sojourn: first });
    }
  }
  return {
    name: shape.name,
    ratio: median(pairs.map(rateRatio)),
    ratioByCpu: median(pairs.map(cpuRatio)),
    pairs,
  };
}

function rateRatio({ baseline, sojourn }: Pair): number {
  return sojourn.requestsPerS / baseline.requestsPerS;
}

function cpuRatio({ baseline, sojourn }: Pair): number {
  return baseline.cpuUsPerRequest / sojourn.cpuUsPerRequest;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function printCase(report: CaseReport, { note }: Case, seconds: number): void {
  const { name, pairs } = report;
  const columns = {
    "requests/s": "requestsPerS",
    "p50 µs": "p50Us",
    "p99 µs": "p99Us",
    "CPU µs/request": "cpuUsPerRequest",
    "% of a core": "corePercent",
  } as const;
  const row = (label: string, cells: string[]) =>
    print(
      label.padEnd(14) + Object.keys(columns).map((head, n) => cells[n]!.padStart(head.length + 3)).join(""),
    );
  print(`\n${name}, median of ${pairs.length} rounds of ${seconds} s`);
  row("", Object.keys(columns));
  for (const [label, key] of [["pass-through", "baseline"], ["sojourn", "sojourn"]] as const) {
    const cell = (column: keyof Round) => median(pairs.map((pair) => pair[key][column])).toFixed(0);
    row(label, Object.values(columns).map(cell));
  }
  const each = (ratio: (pair: Pair) => number) => pairs.map((pair) => ratio(pair).toFixed(2)).join(", ");
  print(`ratio         ${report.ratio.toFixed(2)} (${each(rateRatio)})`);
  print(`ratio by CPU  ${report.ratioByCpu.toFixed(2)} (${each(cpuRatio)})`);
  if (note !== undefined) print(note);
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
      pairs: { type: "string", default: "5" },
      seconds: { type: "string", default: "3" },
      json: { type: "boolean", default: false },
    },
  });
  const pairs = count("pairs", flags.pairs, 50);
  const seconds = count("seconds", flags.seconds, 60);
  const gateways = { baseline: await startBaseline(), sojourn: await startSojourn() };
  const reports: CaseReport[] = [];
  for (const shape of CASES) {
    const report = await runCase(shape, gateways, { pairs, seconds });
    reports.push(report);
    if (!flags.json) printCase(report, shape, seconds);
  }
  const resident = Object.values(gateways).map((gateway) => ({
    name: gateway.name,
    residentMiB: residentMiB(gateway),
  }));
  const aimed = reports.find(({ name }) => name === AIM_CASE)!;
  const met = aimed.ratio >= AIM;
  if (flags.json) return print(JSON.stringify({ cases: reports, resident, aim: AIM, met }));
  const sizes = resident.map(({ name, residentMiB }) => `${name} ${residentMiB} MiB`);
  print(`\nresident memory afterwards: ${sizes.join(", ")}`);
  print(`aim at ${AIM_CASE}: ≥ ${AIM}; ${met ? "met" : "missed"} with ${aimed.ratio.toFixed(2)}`);
}

// Also where it ends early: nothing that was started may stay. A second Ctrl-C changes nothing.
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.addSignalListener(signal, () => {
    interrupted = true;
    void endAll().then(() => Deno.exit(EXIT_INTERRUPTED));
  });
}
let exitCode = 0;
try {
  await main();
} catch (error) {
  // What an interrupted run fails with is of no interest.
  if (!interrupted) Deno.stderr.writeSync(new TextEncoder().encode(`bench: ${(error as Error).message}\n`));
  exitCode = interrupted ? EXIT_INTERRUPTED : 1;
}
await endAll();
Deno.exit(exitCode);
