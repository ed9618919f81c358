/**
 * What a page of `GET /sessions` costs the message path with very many sessions: `deno task bench:monitoring`.
 *
 * The gateway's actors and routes over backends that answer at once, served on loopback. A process of its own sends
 * calls at a steady pace and measures each; another does nothing, or reads page after page without a pause, or does
 * so where all views are made and sorted in one go, which is what comes to mind first. In turns, so that whatever
 * else the machine does hits all three. Flags: `--sessions=10000`, `--rounds=5`, `--seconds=3`, `--json`.
 *
 * @module
 */
import { MemoryStore } from "../stores/memory.ts";
import { parseArgs } from "node:util";
import { type Session, Supervisor } from "../actors/supervisor.ts";
import type { Backend, BackendEvents } from "../backends/backend.ts";
import { systemClock } from "../clock.ts";
import { parseMessage } from "../protocol/jsonrpc.ts";
import { createApp } from "../routes/app.ts";
import { sessionView } from "../routes/session_view.ts";
import { openAccess } from "../tests/fakes/access.ts";
import { FakeReply } from "../tests/fakes/fake_client.ts";
import { LIMITS, request } from "../tests/fakes/harness.ts";
import { HttpConnection } from "./http_connection.ts";

const WAYS = ["nothing", "pages", "naive"] as const;
type Way = typeof WAYS[number];

/** Connections that call, and how long each rests between two calls, in ms. */
const CALLERS = 4;
const REST_MS = 4;
const LIMIT = 500;
const SORTS = ["openedAt", "idleMs", "deadline"];

/** What the child that calls prints. */
interface Calls {
  readonly tookUs: readonly number[];
}

/** One round of one way. */
interface Round {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  readonly calls: number;
  readonly pagesPerS: number;
}

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    sessions: { type: "string", default: "10000" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
    // What the children are told.
    call: { type: "string" },
    read: { type: "string" },
    naive: { type: "boolean", default: false },
    session: { type: "string", multiple: true, default: [] },
  },
});
const seconds = Number(flags.seconds);

async function main(): Promise<void> {
  const [sessions, rounds] = [Number(flags.sessions), Number(flags.rounds)];
  const supervisor = new Supervisor({
    store: new MemoryStore({ tombstones: 100 }),
    clock: systemClock,
    servers: [{ id: "bench", limits: LIMITS, backend: (_owner, events) => new EchoBackend(events) }],
  });
  for (let n = 0; n < sessions; n++) {
    const opener = {
      tag: "message",
      message: request("initialize", { id: 0 }),
      reply: new FakeReply(),
    } as const;
    supervisor.open({ serverId: "bench", principal: "anyone", opener, implicitVersion: undefined });
    if (n % 500 === 0) await turn();
  }
  await turn();
  const ids = Array.from(supervisor.sessions, ({ id }) => id).slice(0, CALLERS);
  const app = createApp({
    access: openAccess(systemClock),
    supervisor,
    clock: systemClock,
    implicitSessions: false,
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => request.url.includes("/naive") ? naivePage(supervisor) : app(request),
  );
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const results: Record<Way, Round[]> = { nothing: [], pages: [], naive: [] };
  try {
    // The first round of each warms up.
    for (let round = 0; round <= rounds; round++) {
      for (const way of WAYS) {
        const result = await measure(origin, { way, ids });
        if (round > 0) results[way].push(result);
      }
    }
  } finally {
    await server.shutdown();
    await supervisor.shutDown(0);
  }
  report(results, sessions);
  // Timers of the clock and bodies that are not due yet.
  Deno.exit(0);
}

async function measure(origin: string, { way, ids }: { way: Way; ids: readonly string[] }): Promise<Round> {
  const reader = way === "nothing"
    ? undefined
    : child([`--read=${origin}`, ...(way === "naive" ? ["--naive"] : [])]);
  const caller = child([`--call=${origin}/mcp/bench`, ...ids.map((id) => `--session=${id}`)]);
  const { tookUs } = JSON.parse(await textOf(caller)) as Calls;
  const pages = reader === undefined ? 0 : Number(await textOf(reader));
  const sorted = tookUs.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor(sorted.length * part)] ?? 0;
  return {
    p50Us: at(0.5),
    p99Us: at(0.99),
    maxUs: sorted.at(-1) ?? 0,
    calls: sorted.length,
    pagesPerS: pages / seconds,
  };
}

function child(args: readonly string[]): Deno.ChildProcess {
  const script = new URL(import.meta.url).pathname;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script, `--seconds=${seconds}`, ...args],
    stdout: "piped",
  }).spawn();
}

async function textOf(process: Deno.ChildProcess): Promise<string> {
  const { code, stdout } = await process.output();
  if (code !== 0) throw new Error(`a child ended with code ${code}`);
  return new TextDecoder().decode(stdout);
}

/** Calls for so long, at a pace that leaves the gateway time for more. */
async function callSteadily(url: URL, sessionIds: readonly string[]): Promise<void> {
  const tookUs: number[] = [];
  const untilMs = performance.now() + seconds * 1000;
  await Promise.all(sessionIds.map(async (sessionId) => {
    const connection = await HttpConnection.open(url, {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-session-id": sessionId,
    });
    for (let id = 1; performance.now() < untilMs; id++) {
      const bytes = connection.encode(`{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{}}`);
      const startMs = performance.now();
      const { status, body } = await connection.send(bytes);
      tookUs.push(Math.round((performance.now() - startMs) * 1000));
      if (status !== 200) throw new Error(`unexpected answer: ${status} ${body}`);
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
    }
    connection.close();
  }));
  print(JSON.stringify({ tookUs } satisfies Calls));
}

/** Reads page after page, listing after listing. */
async function readPages(origin: string, naive: boolean): Promise<void> {
  const untilMs = performance.now() + seconds * 1000;
  let pages = 0;
  let cursor: string | null = null;
  for (let listing = 0; performance.now() < untilMs; pages++) {
    const sort = SORTS[listing % SORTS.length];
    const path: string = naive
      ? "/naive"
      : `/sessions?limit=${LIMIT}&sort=${sort}${cursor === null ? "" : `&cursor=${cursor}`}`;
    const response = await fetch(origin + path);
    const page = await response.json();
    if (response.status !== 200 || page.sessions.length === 0) throw new Error(JSON.stringify(page));
    cursor = page.nextCursor ?? null;
    if (cursor === null) listing++;
  }
  print(String(pages));
}

/** All views, sorted, in one go. */
function naivePage(supervisor: Supervisor): Response {
  const views = Array.from(
    supervisor.sessions,
    (session: Session) => sessionView(session, { clock: systemClock }),
  );
  views.sort((a, b) => a.idleMs - b.idleMs || (a.id < b.id ? -1 : 1));
  return Response.json({ sessions: views.slice(0, LIMIT) });
}

/** A server that answers everything at once. */
class EchoBackend implements Backend {
  readonly pid = undefined;
  readonly queuedBytes = 0;

  constructor(readonly events: BackendEvents) {}

  send(text: string): boolean {
    const message = parseMessage(text);
    if (message.kind !== "request") return true;
    const answer = parseMessage(
      `{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":{"protocolVersion":"2025-06-18"}}`,
    );
    if (answer.kind !== "malformed") queueMicrotask(() => this.events.message(answer));
    return true;
  }
  pause(): void {}
  resume(): void {}

  async close(): Promise<void> {
    await turn();
    this.events.exit({ cause: "exit", detail: "exited with code 0" });
  }
}

function report(results: Readonly<Record<Way, readonly Round[]>>, sessions: number): void {
  const rows = WAYS.map((way) => {
    const rounds = results[way];
    const of = (key: keyof Round) => median(rounds.map((round) => round[key]));
    const ratio = median(rounds.map(({ p99Us }, at) => p99Us / results.nothing[at]!.p99Us));
    return {
      way,
      p50Us: of("p50Us"),
      p99Us: of("p99Us"),
      maxUs: of("maxUs"),
      pagesPerS: of("pagesPerS"),
      ratio,
    };
  });
  if (flags.json) return print(JSON.stringify({ sessions, rows }));
  print(`${sessions} sessions, ${LIMIT} on a page; calls while another client reads:`);
  print("               p50 ms   p99 ms   max ms   pages/s   p99 ratio");
  for (const { way, p50Us, p99Us, maxUs, pagesPerS, ratio } of rows) {
    const ms = (us: number) => (us / 1000).toFixed(2).padStart(9);
    print(
      `${way.padEnd(12)}${ms(p50Us)}${ms(p99Us)}${ms(maxUs)}${pagesPerS.toFixed(0).padStart(10)}${
        ratio.toFixed(2).padStart(12)
      }`,
    );
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

if (flags.call !== undefined) await callSteadily(new URL(flags.call), flags.session);
else if (flags.read !== undefined) await readPages(flags.read, flags.naive);
else await main();
