/**
 * What the session store in an SQLite file costs with 100,000 sessions in it, against a naive one: `deno task bench:store`.
 *
 * Both are filled with the same sessions, and then asked the same in turns, so that whatever else the machine does hits
 * both. What the naive one leaves out is told at the top of `NaiveStore` (`store_ways.ts`). Flags: `--sessions=100000`
 * (1,000 to 1,000,000), `--rounds=5` (1 to 100), `--json`.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { parseArgs } from "node:util";
import { systemClock } from "../clock.ts";
import type { NewSession } from "../stores/store.ts";
import { type Kept, WAYS } from "./store_ways.ts";

/** Of each kind in a round. */
const ADDED = 300;
const TOUCHED = 1_000;
const FOUND = 1_000;
const ON_PAGE = 500;

/** In a file of 100,000 sessions. */
const OPEN_AIM_MS = 1_000;

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    sessions: { type: "string", default: "100000" },
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});
const sessions = whole("sessions", flags.sessions, 1_000, 1_000_000);
const rounds = whole("rounds", flags.rounds, 1, 100);

type WayName = keyof typeof WAYS;
const NAMES = Object.keys(WAYS) as WayName[];

/** What is measured, in the unit that its name ends in, for each way and round. */
const times = new Map<string, Record<WayName, number[]>>();
const dir = Deno.makeTempDirSync({ prefix: "sojourn-bench-" });
const digests: string[] = [];

try {
  const kept = { store: WAYS.store.open(dir), naive: WAYS.naive.open(dir) };
  for (let n = 0; n < sessions; n++) {
    const session = sessionOf(n);
    digests.push(session.digest);
    for (const name of NAMES) kept[name].add(session);
  }
  for (let round = 0; round < rounds; round++) {
    const added = Array.from({ length: ADDED }, (_, n) => sessionOf(sessions + round * ADDED + n));
    const changes = Array.from({ length: TOUCHED }, () => {
      const key = 1 + below(sessions);
      return { key, lastUsed: 1.8e12, state: stateOf(key + round) };
    });
    const found = Array.from({ length: FOUND }, () => digests[below(sessions)]!);
    const afterKey = below(sessions - ON_PAGE);
    for (const name of round % 2 === 0 ? NAMES : NAMES.toReversed()) {
      const way = kept[name];
      timed("add, µs each", name, () => added.forEach((session) => way.add(session)), 1_000 / ADDED);
      timed("update in a batch, µs a row", name, () => way.update(changes), 1_000 / TOUCHED);
      timed("find, µs each", name, () => found.forEach((digest) => way.find(digest)), 1_000 / FOUND);
      timed(`page of ${ON_PAGE}, ms`, name, () => way.page(afterKey, ON_PAGE));
      timed("counts, ms", name, () => way.counts());
      way.close();
      let opened: Kept | undefined;
      timed("opening, ms", name, () => opened = WAYS[name].open(dir));
      kept[name] = opened!;
    }
  }
  report(checkMs());
  for (const name of NAMES) kept[name].close();
} finally {
  Deno.removeSync(dir, { recursive: true });
}

function timed(what: string, way: WayName, work: () => unknown, factor = 1): void {
  const startMs = systemClock.now();
  work();
  const entry = times.get(what) ?? { store: [], naive: [] };
  times.set(what, entry);
  entry[way].push((systemClock.now() - startMs) * factor);
}

/** What of an opening is SQLite's look at the whole file, in ms. */
function checkMs(): number {
  using database = new DatabaseSync(`${dir}/${WAYS.store.file}`, { readOnly: true });
  const all = Array.from({ length: rounds }, () => {
    const startMs = systemClock.now();
    database.prepare("PRAGMA quick_check(1)").get();
    return systemClock.now() - startMs;
  });
  return median(all);
}

function report(quickCheckMs: number): void {
  const mib = Object.fromEntries(
    NAMES.map((name) => [name, Deno.statSync(`${dir}/${WAYS[name].file}`).size / 2 ** 20]),
  ) as Record<WayName, number>;
  const rows = Array.from(times, ([what, { store, naive }]) => ({
    what,
    store: median(store),
    naive: median(naive),
    ratio: median(store.map((value, round) => naive[round]! / value)),
  }));
  rows.push({ what: "file, MiB", ...mib, ratio: mib.naive / mib.store });
  if (flags.json) return print(JSON.stringify({ sessions, rounds, rows, quickCheckMs }));
  print(`${sessions} sessions, medians of ${rounds} rounds`);
  print(`${"".padEnd(30)}${"store".padStart(10)}${"naive".padStart(10)}   naive / store`);
  for (const { what, store, naive, ratio } of rows) {
    print(
      `${what.padEnd(30)}${store.toFixed(2).padStart(10)}${naive.toFixed(2).padStart(10)}${
        ratio.toFixed(2).padStart(16)
      }`,
    );
  }
  print(`of the opening, PRAGMA quick_check: ${quickCheckMs.toFixed(0)} ms`);
  const openMs = rows.find(({ what }) => what.startsWith("opening"))!.store;
  if (openMs > OPEN_AIM_MS) print(`aimed at: an opening within ${OPEN_AIM_MS} ms`);
}

/** As clients of some kinds open them with servers of some kinds: texts of usual lengths, most of them the same. */
function sessionOf(n: number): NewSession {
  const client = { name: `client ${n % 7}`, version: "1.2.3", title: "An editor" };
  return {
    digest: crypto.getRandomValues(new Uint8Array(32)).toHex(),
    serverId: `server${n % 10}`,
    fingerprint: `${n % 10}`.repeat(64),
    principal: `user${n % 100}`,
    kind: "streamable",
    protocolVersion: "2025-11-25",
    openedAt: 1.7e12 + n,
    params: JSON.stringify({
      protocolVersion: "2025-11-25",
      capabilities: { roots: { listChanged: true }, sampling: {}, elicitation: {} },
      clientInfo: client,
    }),
    result: JSON.stringify({
      protocolVersion: "2025-11-25",
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true },
        logging: {},
        prompts: {},
      },
      serverInfo: { name: `server ${n % 10}`, version: "4.5.6" },
      instructions: "What this server is for, and how its tools go together. ".repeat(10),
    }),
    limits: JSON.stringify({ idleTtlMs: 300_000 + (n % 10), handshakeTtlMs: 0, requestTimeoutMs: 3_600_000 }),
    lastUsed: 1.7e12 + n,
    state: stateOf(n),
  };
}

function stateOf(n: number): string {
  return JSON.stringify({
    logLevel: "info",
    subscriptions: [`file:///notes/${n}.md`],
    counters: { requests: n, errors: 0, notifications: 3, bytesIn: 10 * n, bytesOut: 100 * n },
  });
}

/** A whole number from 0, one that comes at random. */
function below(count: number): number {
  return Math.floor(Math.random() * count);
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new RangeError(`--${name} must be a whole number from ${min} to ${max}, got ${text}`);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
