/**
 * A day of a gateway in a few seconds, drawn: how many sessions there are, how scarce memory is, and what the sweeper
 * makes of it.
 *
 * The actors are the real ones; time, servers and memory are not. Clients come in bursts when people start to work,
 * few come at lunch, and at three something else on the machine takes memory for an hour and a half. Chance is the same
 * each time, so the picture changes only where the gateway does.
 *
 * `deno task day` writes `docs/simulated-day.svg` and prints the day's figures.
 *
 * @module
 */
import * as echarts from "echarts";
import { NO_PRESSURE } from "../actors/pressure.ts";
import { Sweeper } from "../actors/sweeper.ts";
import { FakeReply } from "../tests/fakes/fake_client.ts";
import { settle } from "../tests/fakes/fake_clock.ts";
import { Harness, PRINCIPAL, request, SERVER } from "../tests/fakes/harness.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const TTL_MS = 5 * MINUTE;
const SEED = 20_261_123;

/** Memory: of the machine, of the gateway with nothing to do, and of one server. */
const LIMIT_MIB = 16_384;
const BASE_MIB = 2_048;
const SERVER_MIB = 48;
/** What else takes memory, in MiB, from when to when (hours), and how long it takes to rise and to fall. */
const SQUEEZE = { mib: 11_400, from: 15, until: 16.5, rampH: 0.1 };

/** How many sessions are opened in an hour, by the hour of the day. */
const ARRIVALS = [
  20,
  10,
  10,
  10,
  15,
  40,
  120,
  400,
  1_150,
  1_350,
  1_200,
  1_050,
  350,
  600,
  1_250,
  1_200,
  1_100,
  700,
]
  .concat([350, 200, 150, 100, 60, 30]);
/** A session's client sends so many requests on average, then is gone without a word, nearly always. */
const MEAN_REQUESTS = 7;
const DELETES = 0.03;

/** How things were at one minute of the day. */
export interface Sample {
  /** In hours. */
  readonly at: number;
  readonly sessions: number;
  readonly inUse: number;
  readonly memory: number;
  readonly effectiveTtlS: number;
  readonly intervalS: number;
}

/** What came of the day. */
export interface Day {
  readonly samples: readonly Sample[];
  readonly opened: number;
  /** How sessions ended. */
  readonly ends: Readonly<Record<string, number>>;
  /** Requests whose session had expired or was evicted before they came. */
  readonly cameTooLate: number;
  readonly answered: number;
}

/** A day, one minute after the other. */
export async function simulate(): Promise<Day> {
  const random = seeded(SEED);
  const harness = new Harness({
    limits: { idleTtlMs: TTL_MS, evictable: true },
    minTtlMs: 30 * SECOND,
    tombstones: 100_000,
    random,
  });
  const { clock, supervisor, scale } = harness;
  const start = clock.now();
  const hour = () => (clock.now() - start) / HOUR;
  const memory = () => (BASE_MIB + supervisor.size * SERVER_MIB + SQUEEZE.mib * ramp(hour())) / LIMIT_MIB;
  const sweeper = new Sweeper({
    clock,
    scale,
    shortestTtlMs: TTL_MS,
    sessions: () => supervisor.sessions,
    pressure: { read: () => Promise.resolve({ ...NO_PRESSURE, memory: memory() }) },
  });
  sweeper.start();

  let opened = 0;
  let answered = 0;
  let cameTooLate = 0;
  const arrive = () => {
    clock.after(exponential(random, HOUR / ARRIVALS[Math.floor(hour()) % 24]!), arrive);
    opened++;
    void visit();
  };
  /** One client, from its opening to its last request. */
  const visit = async () => {
    const reply = harness.opening(request("initialize", { id: "init" }));
    await settle();
    const backend = harness.backends.at(-1)!;
    const session = supervisor.find(SERVER, reply.sessionId!, PRINCIPAL)!;
    const step = (left: number) => {
      if (left === 0) return random() < DELETES ? void session.end("client_delete") : undefined;
      // Mostly seconds between requests, now and then minutes.
      const thinkMs = exponential(random, random() < 0.85 ? 12 * SECOND : 2 * MINUTE);
      clock.after(thinkMs, () => {
        const reply = new FakeReply();
        session.post({ tag: "message", message: request("tools/call", { id: left }), reply });
        clock.after(exponential(random, 800), () => {
          if (reply.failed !== undefined) return void cameTooLate++;
          backend.answer(left);
          answered++;
          step(left - 1);
        });
      });
    };
    step(Math.ceil(exponential(random, MEAN_REQUESTS)));
  };
  arrive();

  const samples: Sample[] = [];
  for (let minute = 0; minute < 24 * 60; minute++) {
    await clock.advance(MINUTE);
    // What ended is of no use any more, and a day is long.
    harness.backends.splice(0, harness.backends.findIndex(({ closed }) => !closed));
    samples.push({
      at: hour(),
      sessions: supervisor.size,
      inUse: Array.from(supervisor.sessions).filter(({ inFlight }) => inFlight > 0).length,
      memory: memory(),
      effectiveTtlS: scale.effective(TTL_MS) / SECOND,
      intervalS: sweeper.intervalMs / SECOND,
    });
  }
  sweeper.stop();
  const ends: Record<string, number> = {};
  for (const { verdict } of supervisor.tombstones) ends[verdict.reason] = (ends[verdict.reason] ?? 0) + 1;
  return { samples, opened, ends, cameTooLate, answered };
}

/** Draws the day as four charts above each other. */
export function draw({ samples }: Day): string {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 1_000, height: 900 });
  const panels = [
    { title: "Sessions", series: ["sessions", "inUse"], marks: [] },
    { title: "Memory pressure", series: ["memory"], marks: [0.85, 0.95] },
    { title: "Effective TTL in s (300 configured)", series: ["effectiveTtlS"], marks: [] },
    { title: "Sweep interval in s", series: ["intervalS"], marks: [] },
  ] as const;
  const top = (index: number) => 50 + index * 215;
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    legend: {
      data: ["sessions", "inUse"],
      right: 30,
      top: 16,
      formatter: (name: string) => LEGEND[name] ?? name,
    },
    color: ["#1f5fa8", "#d9822b"],
    title: panels.map(({ title }, index) => ({
      text: title,
      left: 60,
      top: top(index) - 32,
      textStyle: { fontSize: 14 },
    })),
    grid: panels.map((_, index) => ({ left: 60, right: 30, top: top(index), height: 150 })),
    xAxis: panels.map((_, gridIndex) => ({
      gridIndex,
      type: "value",
      min: 0,
      max: 24,
      interval: 2,
      axisLabel: { formatter: "{value}:00" },
    })),
    yAxis: panels.map(({ title }, gridIndex) => ({
      gridIndex,
      type: "value",
      min: 0,
      ...(title === "Memory pressure" && { max: 1 }),
    })),
    series: panels.flatMap(({ series, marks }, index) =>
      series.map((name, nth) => ({
        type: "line",
        name,
        step: name === "intervalS" ? "end" : false,
        showSymbol: false,
        lineStyle: { width: 1.4 },
        xAxisIndex: index,
        yAxisIndex: index,
        data: samples.map((sample) => [round(sample.at), round(sample[name])]),
        ...(nth === 0 && marks.length > 0 && {
          markLine: {
            silent: true,
            symbol: "none",
            lineStyle: { type: "dashed", color: "#999999" },
            label: { position: "insideEndTop", formatter: "{c}" },
            data: marks.map((yAxis) => ({ yAxis })),
          },
        }),
      }))
    ),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}

const LEGEND: Readonly<Record<string, string>> = { sessions: "hold a server", inUse: "in use" };

/** 0 outside the squeeze, 1 in the midst of it. */
function ramp(hour: number): number {
  const { from, until, rampH } = SQUEEZE;
  const h = hour % 24;
  return Math.max(0, Math.min(1, (h - from) / rampH, (until - h) / rampH));
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

function exponential(random: () => number, mean: number): number {
  return -mean * Math.log(1 - random());
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 4_294_967_296;
  };
}

if (import.meta.main) {
  const day = await simulate();
  const file = new URL("../docs/simulated-day.svg", import.meta.url);
  Deno.writeTextFileSync(file, draw(day));
  const most = (name: keyof Sample) => Math.max(...day.samples.map((sample) => sample[name]));
  const least = (name: keyof Sample) => Math.min(...day.samples.map((sample) => sample[name]));
  const figures = {
    "sessions opened": day.opened,
    "most at once": most("sessions"),
    "requests answered": day.answered,
    "requests that came too late": day.cameTooLate,
    "highest memory pressure": round(most("memory")),
    "shortest effective TTL, s": least("effectiveTtlS"),
    "shortest sweep interval, s": least("intervalS"),
    "longest sweep interval, s": most("intervalS"),
    ...Object.fromEntries(Object.entries(day.ends).map(([reason, count]) => [`ended: ${reason}`, count])),
  };
  for (const [name, figure] of Object.entries(figures)) {
    print(`${name.padEnd(30)}${String(figure).padStart(8)}`);
  }
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
