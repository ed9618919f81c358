/**
 * A soak: very many clients, nearly all of which leave without a word, half of them in the middle of a request, some by
 * RST, some frozen; and servers that crash, hang, ignore SIGTERM, fork, spew and write garbage. In the end nothing may be
 * left of all that.
 *
 * `deno task soak` lives 30,000 lives and prints how things are every few seconds, then the verdict; its exit code is 1
 * where a criterion does not hold. Flags:
 *
 *     --lives=N   how many, from 100 to 100000 (30000)
 *     --batch=N   how many begin together, from 1 to 200 (50)
 *     --seed=N    which lives; printed where it is not given
 *     --json      one JSON object a line instead of tables
 *
 * The gateway is the real process (`soak/gateway.ts`), looked at from outside but for its timers and its garbage
 * (`soak/probe.ts`); the server behind it is `tests/fixtures/tiny_server.sh`; `soak/plan.ts` says what the lives are made
 * of. Everything stays on this machine and is bounded in number and time. Needs Linux.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { type Sample, soak, type SoakResult } from "./soak/soak.ts";
import { mib } from "./soak/verdict.ts";

/** A soak that is slower than this hangs, in ms for each life and to begin and end with. */
const MS_PER_LIFE = 150;
const MS_AROUND = 180_000;

const EXIT_USAGE = 2;

const COLUMNS: readonly [title: string, value: (sample: Sample) => string | number][] = [
  ["s", ({ atS }) => atS],
  ["lives", ({ lives }) => lives],
  ["refused", ({ refused }) => refused],
  ["open", ({ sessions }) => sessions],
  ["processes", ({ processes }) => processes],
  ["zombies", ({ zombies }) => zombies],
  ["RSS", ({ rssKiB }) => mib(rssKiB)],
  ["heap", ({ heapKiB }) => mib(heapKiB)],
  ["timers", ({ timers }) => timers],
  ["handles", ({ handles }) => handles],
  ["sweep ms", ({ sweepMs }) => sweepMs],
];
const WIDTH = 10;

/** What is asked for. */
interface Asked {
  readonly lives: number;
  readonly batch: number;
  readonly seed: number;
  readonly json: boolean;
}

/** Reads the arguments. @throws {RangeError|TypeError} Where they are not as they should be. */
export function readArgs(args: string[]): Asked {
  const { values } = parseArgs({
    args,
    options: {
      lives: { type: "string", default: "30000" },
      batch: { type: "string", default: "50" },
      seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
      json: { type: "boolean", default: false },
    },
  });
  return {
    lives: whole("lives", values.lives, 100, 100_000),
    batch: whole("batch", values.batch, 1, 200),
    seed: whole("seed", values.seed, 0, 2 ** 32 - 1),
    json: values.json,
  };
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new RangeError(`--${name} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text)}`);
}

/** The verdict as lines. */
export function report(result: SoakResult): string[] {
  const rows = [
    { criterion: "criterion", start: "wanted", end: "found", ok: "" },
    ...result.findings.map((finding) => ({ ...finding, ok: finding.ok ? "ok" : "NOT ok" })),
  ];
  const count = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts).map(([name, count]) => `${name}: ${count}`).join(", ");
  const share = (count: number) => `${(100 * count / result.lives).toFixed(1)}%`;
  return [
    "",
    `${result.lives} lives in ${result.tookS} s; ${share(result.abandoned)} abandoned, ` +
    `${share(result.midRequest)} in the middle of a request, ${share(result.byReset)} by RST`,
    `ends: ${count(result.ends)}`,
    `answers: ${count(result.answers)}`,
    "",
    ...rows.map(({ criterion, start, end, ok }) =>
      `${criterion.padEnd(48)}${start.padEnd(14)}${end.padEnd(22)}${ok}`.trimEnd()
    ),
    ...result.complaints.map((complaint) => `! ${complaint}`),
  ];
}

async function main(): Promise<number> {
  let asked: Asked;
  try {
    asked = readArgs(Deno.args);
  } catch (error) {
    print(error instanceof Error ? error.message : String(error));
    return EXIT_USAGE;
  }
  const { lives, batch, seed, json } = asked;
  print(json ? JSON.stringify({ seed, lives, batch }) : `${lives} lives, --batch=${batch} --seed=${seed}`);
  if (!json) print(COLUMNS.map(([title]) => title.padStart(WIDTH)).join(""));
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort(new Error(`Ended by ${signal}`)));
  }
  const result = await soak({
    ...asked,
    signal: stop.signal,
    withinMs: MS_AROUND + lives * MS_PER_LIFE,
    onSample: (sample) =>
      print(
        json
          ? JSON.stringify(sample)
          : COLUMNS.map(([, value]) => String(value(sample)).padStart(WIDTH)).join(""),
      ),
  });
  print(json ? JSON.stringify(result) : report(result).join("\n"));
  return result.ok ? 0 : 1;
}

function print(text: string): void {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
}

if (import.meta.main) {
  const code = await main().catch((error) => {
    print(`! ${error instanceof Error ? error.message : error}`);
    return 1;
  });
  Deno.exit(code);
}
