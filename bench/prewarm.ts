/**
 * How long a client waits for the answer to `initialize` with a child that was started ahead, against one that is started
 * for it: `deno task bench:prewarm`.
 *
 * Real servers behind the real backends, without the HTTP in front that is the same for both. In turns: a session of each
 * kind is opened, timed and closed, so that whatever else the machine does hits both. A round begins when the pool is
 * full again, as it is for a client that comes now and then. Flags: `--rounds=20` (1 to 1,000), `--json`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { Backend, OpenBackend } from "../backends/backend.ts";
import { HURRIED_PACE } from "../backends/backend.ts";
import { gated } from "../backends/gated.ts";
import { PrewarmSource } from "../backends/prewarm.ts";
import { ProcessTable } from "../backends/process_table.ts";
import { SpawnGate } from "../backends/spawn_gate.ts";
import { stdioBackend } from "../backends/stdio.ts";
import { systemClock } from "../clock.ts";
import type { StdioServer } from "../config/types.ts";
import { encodeRequest } from "../protocol/jsonrpc.ts";

const PREWARM = 2;
const START_TIMEOUT_MS = 120_000;
/** After the pool is full: what the last starts left to do is done. */
const REST_MS = 100;

const { values: flags } = parseArgs({
  args: Deno.args,
  options: { rounds: { type: "string", default: "20" }, json: { type: "boolean", default: false } },
});
const rounds = Number(flags.rounds);
if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1_000) {
  throw new RangeError(`--rounds must be a whole number from 1 to 1000, got ${flags.rounds}`);
}

const folder = Deno.makeTempDirSync({ prefix: "sojourn-bench-" });
const pathOf = (file: string) => new URL(file, import.meta.url).pathname;
const deno = (...args: string[]): StdioServer => ({
  type: "stdio",
  command: "deno",
  args: ["run", "--quiet", "--no-config", "--no-lock", ...args],
  env: {},
  cwd: folder,
});
const servers: Record<string, StdioServer> = {
  "smallest on Deno": deno("-A", pathOf("../tests/fixtures/echo_server.ts")),
  "server-memory (SDK)": deno("-A", "npm:@modelcontextprotocol/server-memory@2026.8.31"),
};

try {
  for (const [name, server] of Object.entries(servers)) await compare(name, server);
} finally {
  Deno.removeSync(folder, { recursive: true });
}

async function compare(name: string, server: StdioServer): Promise<void> {
  const clock = systemClock;
  const gate = new SpawnGate({ concurrency: PREWARM, clock });
  const open = stdioBackend({ server, clock, processes: new ProcessTable({ clock }) });
  const source = new PrewarmSource({
    serverId: "bench",
    open,
    gate,
    clock,
    startTimeoutMs: START_TIMEOUT_MS,
    prewarm: PREWARM,
    prewarmMaxAgeMs: 0,
  });
  const cold = gated(open, gate);
  source.start();
  const times: { coldMs: number; warmMs: number }[] = [];
  try {
    // The first ones download and compile.
    for (let round = -1; round < rounds; round++) {
      await full(source);
      const pair = round % 2 === 0
        ? { coldMs: await timed(cold), warmMs: await timed(source.open) }
        : { warmMs: await timed(source.open), coldMs: await timed(cold) };
      if (round >= 0) times.push(pair);
    }
  } finally {
    await source.close(HURRIED_PACE);
  }
  const ratios = times.map(({ coldMs, warmMs }) => warmMs / coldMs);
  const result = {
    server: name,
    rounds,
    coldMs: median(times.map(({ coldMs }) => coldMs)),
    prewarmedMs: median(times.map(({ warmMs }) => warmMs)),
    ratio: median(ratios),
    worstRatio: Math.max(...ratios),
  };
  print(
    flags.json
      ? JSON.stringify(result)
      : `${name}: cold ${result.coldMs.toFixed(1)} ms, prewarmed ${result.prewarmedMs.toFixed(3)} ms, ` +
        `ratio ${result.ratio.toFixed(5)} (1 to ${Math.round(1 / result.ratio)}), ` +
        `worst of ${rounds} rounds ${result.worstRatio.toFixed(5)}`,
  );
}

/** Opens a session, and closes it when `initialize` is answered. @returns How long that took, in ms. */
async function timed(open: OpenBackend): Promise<number> {
  const answered = Promise.withResolvers<number>();
  const startMs = systemClock.now();
  const backend: Backend = open({ serverId: "bench", session: "bench" }, {
    message: () => answered.resolve(systemClock.now() - startMs),
    garbage: () => {},
    exit: ({ detail }) => answered.reject(new Error(`The server ${detail}`)),
  });
  backend.send(encodeRequest(1, "initialize", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "bench", version: "1" },
  }));
  try {
    return await answered.promise;
  } finally {
    await backend.close(HURRIED_PACE);
  }
}

async function full(source: PrewarmSource): Promise<void> {
  while (source.ready < PREWARM) await rest(5);
  await rest(REST_MS);
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => void systemClock.after(ms, resolve));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}
