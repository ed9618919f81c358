/**
 * What the ledger of child processes costs: a row, a start with and without it, and a reconciliation.
 *
 * Run it with `deno run -A bench/ledger.ts`. What counts is the part of a start, and the CPU time of a reconciliation
 * beside that of the look at the process table which it takes; not the figures of one machine.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { cpuUsage } from "node:process";
import { ProcessLedger } from "../backends/process_ledger.ts";
import { ProcessTable } from "../backends/process_table.ts";
import { stdioBackend } from "../backends/stdio.ts";
import { systemClock } from "../clock.ts";
import { SqliteLedger } from "../stores/ledger.ts";

const ROWS = 20_000;
/** Rows that are there while others come and go. */
const KEPT_ROWS = 500;
const STARTS = 300;
const ENTRIES = [0, 100, 1_000, 10_000];
const CHILDREN = 200;

const clock = systemClock;
const processes = new ProcessTable({ clock });
const owner = { serverId: "files", session: "3f9a1c0be27d" };
const folder = Deno.makeTempDirSync();
let files = 0;

function openRows(): SqliteLedger {
  return new SqliteLedger({ path: `${folder}/${++files}.db`, boot: "boot", startedAt: clock.wallTime() });
}

/** In µs. */
function told(ms: number[]): string {
  ms.sort((a, b) => a - b);
  const at = (part: number) => (1_000 * ms[Math.floor(part * (ms.length - 1))]!).toFixed(1);
  return `${at(0.5)} µs (p99 ${at(0.99)}, longest ${at(1)})`;
}

function timed(into: number[], work: () => void): void {
  const start = clock.now();
  work();
  into.push(clock.now() - start);
}

function benchRows(): void {
  const rows = openRows();
  const [adds, removes]: [number[], number[]] = [[], []];
  const kept: number[] = [];
  for (let n = 0; n < ROWS; n++) {
    const marker = `${rows.run.name}/${n}`;
    timed(adds, () => {
      kept.push(rows.add({ pid: n, pgrp: n, startTime: 123_456_789, marker, startedAt: 1.7e12, ...owner }));
    });
    if (kept.length > KEPT_ROWS) timed(removes, () => rows.remove([kept.shift()!]));
  }
  rows.close();
  print(`row written   ${told(adds)}`);
  print(`row removed   ${told(removes)}`);
}

async function benchStarts(): Promise<void> {
  const ledger = new ProcessLedger({ rows: openRows(), processes, clock });
  const server = { type: "stdio", command: "cat", args: [], env: {}, cwd: folder } as const;
  const open = {
    "start without": stdioBackend({ server, clock, processes }),
    "start with   ": stdioBackend({ server, clock, processes, ledger }),
  };
  const times: Record<string, number[]> = {};
  const events = { message() {}, garbage() {}, exit() {} };
  for (let n = 0; n < STARTS; n++) {
    for (const [way, start] of Object.entries(open)) {
      let close = () => Promise.resolve();
      timed(times[way] ??= [], () => {
        const backend = start(owner, events);
        close = () => backend.close();
      });
      await close();
    }
  }
  await ledger.close();
  for (const [way, ms] of Object.entries(times)) print(`${way} ${told(ms)}`);
}

async function benchReconcile(): Promise<void> {
  const children = Array.from({ length: CHILDREN }, () => spawn("sleep", ["100000"]));
  const rows = openRows();
  const ledger = new ProcessLedger({ rows, processes, clock });
  const cpuMs = async (work: () => Promise<unknown>) => {
    const all: number[] = [];
    for (let round = 0; round < 20; round++) {
      const before = cpuUsage();
      await work();
      const { user, system } = cpuUsage(before);
      all.push((user + system) / 1_000);
    }
    return all.sort((a, b) => a - b)[10]!.toFixed(1);
  };
  const size = (await processes.snapshot()).size;
  print(`a look at ${size} processes: ${await cpuMs(() => processes.snapshot())} ms of CPU time`);
  for (const count of ENTRIES) {
    while (ledger.size < count) {
      const pid = children[ledger.size % CHILDREN]!.pid!;
      const { startTime } = processes.read(pid)!;
      ledger.started({ pid, startTime, marker: ledger.newMarker(), owner });
    }
    print(
      `reconciling ${count} entries: ${await cpuMs(() =>
        ledger.reconcile()
      )} ms of CPU time, the look included`,
    );
  }
  rows.close();
  for (const child of children) child.kill("SIGKILL");
}

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

benchRows();
await benchStarts();
await benchReconcile();
Deno.removeSync(folder, { recursive: true });
Deno.exit(0);
