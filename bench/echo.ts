/**
 * Echo through the gateway against a bare pass-through, in one run: `deno task bench`.
 *
 * Both run the same server behind them and get the same load in turns, so what the machine does meanwhile hits both.
 * What counts is the ratio. Flags: `--pairs=5`, `--seconds=3`, `--json`.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import type { Load, LoadResult } from "./load.ts";

/** The aim at ten sessions, of the pass-through's requests per second. */
const AIM = 0.7;
const AIM_CASE = "10 sessions";

interface Case {
  readonly name: string;
  readonly sessions: number;
  readonly connectionsPerSession: number;
  readonly payloadBytes: number;
}

const CASES: readonly Case[] = [
  { name: "1 session", sessions: 1, connectionsPerSession: 1, payloadBytes: 16 },
  { name: AIM_CASE, sessions: 10, connectionsPerSession: 4, payloadBytes: 16 },
  { name: "1 MiB calls", sessions: 1, connectionsPerSession: 2, payloadBytes: 1024 * 1024 },
];

/** One round under load. */
interface Round extends LoadResult {
  /** CPU time of the gateway's own process, user and system. */
  readonly cpuUsPerRequest: number;
}

/** A gateway under test. */
interface Gateway {
  readonly name: string;
  readonly pid: number;
  readonly url: string;
  end(): void;
}

const encoder = new TextEncoder();
const path = (file: string) => new URL(file, import.meta.url).pathname;
const SERVER_COMMAND = ["run", "--no-config", "--allow-read", "--allow-write", path("echo_child.ts")];

/** Starts a process and waits for what its output has to show. Its whole group ends with `end()`. */
async function start(
  name: string,
  { args, env, find }: {
    args: string[];
    env: Record<string, string>;
    find: (output: string) => string | undefined;
  },
): Promise<Gateway> {
  // By another spelling of its path: under its own one Deno takes the arguments for Node's.
  const deno = Deno.execPath().replace(/\/([^/]*)$/, "/./$1");
  const child = spawn(deno, args, { env: { ...Deno.env.toObject(), ...env }, detached: true });
  let output = "";
  const url = await new Promise<string>((resolve, reject) => {
    const onData = (chunk: Uint8Array) => {
      output += new TextDecoder().decode(chunk);
      const found = find(output);
      if (found !== undefined) resolve(found);
    };
    child.stdout.on("data", onData);
    child.stderr.on("data", (chunk: Uint8Array) => output += new TextDecoder().decode(chunk));
    child.on("exit", () => reject(new Error(`${name} ended: ${output}`)));
  });
  const pid = child.pid!;
  return { name, pid, url, end: () => endGroup(pid) };
}

function endGroup(pid: number): void {
  try {
    Deno.kill(-pid, "SIGTERM");
  } catch {
    // It ended by itself.
  }
}

async function startSojourn(): Promise<Gateway> {
  const config = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(
    config,
    JSON.stringify({ mcpServers: { echo: { command: "deno", args: SERVER_COMMAND } } }),
  );
  const gateway = await start("sojourn", {
    args: ["run", "-A", path("../main.ts")],
    env: { PORT: "0", MCP_CONFIG: config },
    find: (output) => /http:\/\/127\.0\.0\.1:\d+\/mcp\/echo/.exec(output)?.[0],
  });
  await Deno.remove(config);
  return gateway;
}

function startBaseline(): Promise<Gateway> {
  return start("pass-through", {
    args: ["run", "-A", "--no-config", path("baseline/pass_through.ts"), Deno.execPath(), ...SERVER_COMMAND],
    env: {},
    find: (output) => {
      const port = /^(\d+)\n/.exec(output)?.[1];
      return port === undefined ? undefined : `http://127.0.0.1:${port}/mcp/echo`;
    },
  });
}

async function run(gateway: Gateway, { seconds, ...shape }: Case & { seconds: number }): Promise<Round> {
  const load: Load = { url: gateway.url, seconds, ...shape };
  const before = cpuUs(gateway.pid);
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", "--allow-net=127.0.0.1", path("load.ts"), JSON.stringify(load)],
    stderr: "inherit",
  }).output();
  if (!output.success) throw new Error(`the load on ${gateway.name} failed`);
  const result: LoadResult = JSON.parse(new TextDecoder().decode(output.stdout));
  return { ...result, cpuUsPerRequest: Math.round((cpuUs(gateway.pid) - before) / result.requests) };
}

/** CPU time of a process so far (proc_pid_stat(5): fields 14 and 15, in ticks of 10 ms). */
function cpuUs(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function rssMiB(pid: number): number {
  const kb = /VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  return Math.round(Number(kb) / 1024);
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    pairs: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});
const pairs = Math.min(20, Math.max(1, Number(flags.pairs)));
const seconds = Math.min(30, Math.max(1, Number(flags.seconds)));

const gateways: Gateway[] = [];
const endAll = () => gateways.forEach((gateway) => gateway.end());
Deno.addSignalListener("SIGINT", () => (endAll(), Deno.exit(130)));
try {
  gateways.push(await startBaseline(), await startSojourn());
  const [baseline, sojourn] = gateways as [Gateway, Gateway];
  const report = [];
  for (const shape of CASES) {
    for (const gateway of gateways) await run(gateway, { ...shape, seconds: 1 });
    const rounds: { baseline: Round; sojourn: Round }[] = [];
    for (let pair = 0; pair < pairs; pair++) {
      rounds.push({
        baseline: await run(baseline, { ...shape, seconds }),
        sojourn: await run(sojourn, { ...shape, seconds }),
      });
    }
    const ratios = rounds.map((round) => round.sojourn.requestsPerS / round.baseline.requestsPerS);
    report.push({ name: shape.name, ratio: median(ratios), ratios, rounds });
    if (flags.json) continue;
    print(`\n${shape.name}, median of ${pairs} rounds of ${seconds} s`);
    print("               requests/s   p50 µs   p99 µs   CPU µs/request");
    for (const name of ["baseline", "sojourn"] as const) {
      const of = (key: keyof Round) => String(median(rounds.map((round) => round[name][key])));
      const gateway = name === "baseline" ? baseline : sojourn;
      print(
        gateway.name.padEnd(14) + of("requestsPerS").padStart(11) + of("p50Us").padStart(9) +
          of("p99Us").padStart(9) + of("cpuUsPerRequest").padStart(17),
      );
    }
    print(
      `ratio          ${median(ratios).toFixed(2)} (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")})`,
    );
    const cpu = median(rounds.map((round) => round.baseline.cpuUsPerRequest / round.sojourn.cpuUsPerRequest));
    print(`ratio by CPU   ${cpu.toFixed(2)}`);
  }
  if (flags.json) {
    print(JSON.stringify(report));
  } else {
    const aimed = report.find(({ name }) => name === AIM_CASE)!;
    print(`\nresident memory: ${gateways.map(({ name, pid }) => `${name} ${rssMiB(pid)} MiB`).join(", ")}`);
    print(
      `aim at ${AIM_CASE}: ≥ ${AIM}, ${aimed.ratio >= AIM ? "met" : "missed"} with ${aimed.ratio.toFixed(2)}`,
    );
  }
} finally {
  endAll();
}
Deno.exit(0);
