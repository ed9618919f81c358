/**
 * What it costs a request that sessions are written down: `deno task bench:persistence`.
 *
 * Two gateways as people run them, one with `SESSION_STORE=sqlite` and one with `memory`, the same server behind them, and
 * the same load on ten sessions in turns. The ratio is what a request costs with the store of what it costs without, by
 * CPU time of the gateway's own process and by requests per second, round by round, and its median. Flags: `--pairs=10`
 * (1 to 50), `--seconds=3` (1 to 60), `--json`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { median, print, whole } from "./wire.ts";
import { cpuUs, endAll, type Gateway, runLoad, startSojourn } from "./processes.ts";

/** What a request may cost with the store, of what it costs without. */
const AIM = 1.05;
const LOAD = { connectionsPerSession: 4, payloadBytes: 16, progressCount: 0, expectedEvents: 0 };
const SESSIONS = 10;
const WARM_UP_SECONDS = 3;

interface Round {
  readonly cpuUsPerRequest: number;
  readonly requestsPerS: number;
}

interface Contender {
  readonly gateway: Gateway;
  readonly sessionIds: readonly string[];
}

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    pairs: { type: "string", default: "10" },
    seconds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});
const count = whole("pairs", flags.pairs, { max: 50 });
const seconds = whole("seconds", flags.seconds, { max: 60 });

try {
  const on = await contender("sqlite");
  const off = await contender("memory");
  const pairs: { on: Round; off: Round }[] = [];
  for (let n = 0; n < count; n++) {
    pairs.push(
      n % 2 === 0
        ? { on: await round(on), off: await round(off) }
        : { off: await round(off), on: await round(on) },
    );
  }
  const byCpu = pairs.map(({ on, off }) => on.cpuUsPerRequest / off.cpuUsPerRequest);
  const byRate = pairs.map(({ on, off }) => off.requestsPerS / on.requestsPerS);
  const of = (key: keyof Round, store: "on" | "off") => median(pairs.map((pair) => pair[store][key]));
  const result = {
    pairs: count,
    cpuUsOn: of("cpuUsPerRequest", "on"),
    cpuUsOff: of("cpuUsPerRequest", "off"),
    requestsPerSOn: of("requestsPerS", "on"),
    requestsPerSOff: of("requestsPerS", "off"),
    ratioByCpu: median(byCpu),
    ratioByRate: median(byRate),
    aim: AIM,
    met: median(byCpu) <= AIM,
  };
  const each = (ratios: number[]) => ratios.map((ratio) => ratio.toFixed(2)).join(", ");
  print(
    flags.json ? JSON.stringify(result) : [
      `sqlite  ${result.cpuUsOn.toFixed(1)} µs CPU a request, ${result.requestsPerSOn.toFixed(0)} requests/s`,
      `memory  ${result.cpuUsOff.toFixed(1)} µs CPU a request, ${
        result.requestsPerSOff.toFixed(0)
      } requests/s`,
      `ratio by CPU   ${result.ratioByCpu.toFixed(3)} (${each(byCpu)})`,
      `ratio by rate  ${result.ratioByRate.toFixed(3)} (${each(byRate)})`,
      `aim: ≤ ${AIM} by CPU; ${result.met ? "met" : "missed"}`,
    ].join("\n"),
  );
} finally {
  await endAll();
}
Deno.exit(0);

async function contender(store: string): Promise<Contender> {
  const gateway = await startSojourn({ env: { SESSION_STORE: store } });
  const { sessionIds } = await runLoad({
    url: gateway.url,
    sessions: SESSIONS,
    seconds: WARM_UP_SECONDS,
    ...LOAD,
  });
  return { gateway, sessionIds };
}

async function round({ gateway, sessionIds }: Contender): Promise<Round> {
  const before = cpuUs(gateway);
  const { requests, requestsPerS } = await runLoad({
    url: gateway.url,
    sessions: sessionIds,
    seconds,
    ...LOAD,
  });
  return { cpuUsPerRequest: (cpuUs(gateway) - before) / requests, requestsPerS };
}
