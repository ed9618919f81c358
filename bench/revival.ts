/**
 * How long the client of a session that hibernates waits for an answer, against a client that opens a session of the same
 * server for the same question: `deno task bench:revival`.
 *
 * Real servers behind the real gateway, in turns. The cold start is `initialize`, `notifications/initialized` and the
 * question; the revival is the question alone, for which the gateway does the rest. Flags: `--rounds=15` (1 to 1,000),
 * `--json`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { publicHandle } from "../actors/session_id.ts";
import { endAll, startSojourn } from "./processes.ts";
import { ask, end, median, open, print, whole } from "./wire.ts";

const HIBERNATE_AFTER_MS = 200;
const QUESTION = { id: 1, method: "tools/list" };

const { values: flags } = parseArgs({
  args: Deno.args,
  options: { rounds: { type: "string", default: "15" }, json: { type: "boolean", default: false } },
});
const rounds = whole("rounds", flags.rounds, { max: 1_000 });

const deno = (...args: string[]) => ({
  command: "deno",
  args: ["run", "--quiet", "--no-config", "--no-lock", "-A", ...args],
  session: { hibernateAfterMs: HIBERNATE_AFTER_MS },
});
const servers: Readonly<Record<string, ReturnType<typeof deno>>> = {
  smallest: deno(new URL("../tests/fixtures/echo_server.ts", import.meta.url).pathname),
  "server-memory": deno("npm:@modelcontextprotocol/server-memory@2026.8.31"),
};

try {
  const gateway = await startSojourn({ servers });
  const origin = new URL(gateway.url).origin;
  for (const name of Object.keys(servers)) await compare(name, `${origin}/mcp/${name}`, origin);
} finally {
  await endAll();
}
Deno.exit(0);

async function compare(name: string, url: string, origin: string): Promise<void> {
  const session = await open(url);
  const times: { coldMs: number; revivalMs: number }[] = [];
  // The first one downloads and compiles.
  for (let round = -1; round < rounds; round++) {
    const revival = async () => {
      await asleep(origin, session);
      return await timed(() => ask(url, QUESTION, session));
    };
    const pair = round % 2 === 0
      ? { coldMs: await cold(url), revivalMs: await revival() }
      : { revivalMs: await revival(), coldMs: await cold(url) };
    if (round >= 0) times.push(pair);
  }
  await end(url, session);
  const result = {
    server: name,
    rounds,
    coldMs: median(times.map(({ coldMs }) => coldMs)),
    revivalMs: median(times.map(({ revivalMs }) => revivalMs)),
    ratio: median(times.map(({ coldMs, revivalMs }) => revivalMs / coldMs)),
  };
  print(
    flags.json
      ? JSON.stringify(result)
      : `${name}: cold ${result.coldMs.toFixed(0)} ms, revival ${result.revivalMs.toFixed(0)} ms, ` +
        `ratio ${result.ratio.toFixed(2)}, median of ${rounds} rounds`,
  );
}

async function cold(url: string): Promise<number> {
  let session = "";
  const ms = await timed(async () => {
    session = await open(url);
    await ask(url, QUESTION, session);
  });
  await end(url, session);
  return ms;
}

/** Waits until a session hibernates, and for so long that its threshold does not grow. */
async function asleep(origin: string, session: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${origin}/sessions/${publicHandle(session)}`);
    const { state } = await response.json();
    if (state === "hibernated") break;
    await rest(50);
  }
  await rest(2 * HIBERNATE_AFTER_MS);
}

async function timed(what: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await what();
  return performance.now() - startMs;
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
