/**
 * How long a gateway with 100,000 stored sessions takes to serve again, against one with a single one:
 * `deno task bench:restart`.
 *
 * The gateway itself makes the first session, and the store's own code all the others after it, each with an id of its
 * own. Then it is started on the one store and on the other in turns, and timed from the start of its process until
 * `/health` is answered, and until the last of the sessions is, whose server is started for it. It is ended by SIGKILL.
 * Flags: `--sessions=100000` (2 to 1,000,000), `--rounds=5` (1 to 50), `--json`.
 *
 * @module
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { digestOf } from "../actors/session_id.ts";
import { SqliteStore } from "../stores/sqlite.ts";
import { ECHO } from "./processes.ts";
import { ask, median, open, print, whole } from "./wire.ts";

/** Until a stored session is served, in ms more than with a single one. */
const AIM_MS = 1_000;

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    sessions: { type: "string", default: "100000" },
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});
const sessions = whole("sessions", flags.sessions, { min: 2, max: 1_000_000 });
const rounds = whole("rounds", flags.rounds, { max: 50 });

/** From the start of the process, in ms. */
interface Times {
  readonly healthMs: number;
  readonly answeredMs: number;
}

/** A folder with a store, and the id of one of its sessions. */
interface Store {
  readonly folder: string;
  readonly sessionId: string;
}

const folders: string[] = [];

async function main(): Promise<void> {
  try {
    const one = await makeStore(1);
    const many = await makeStore(sessions);
    const pairs: { one: Times; many: Times }[] = [];
    for (let n = -1; n < rounds; n++) {
      const pair = n % 2 === 0
        ? { one: await timed(one), many: await timed(many) }
        : { many: await timed(many), one: await timed(one) };
      if (n >= 0) pairs.push(pair);
    }
    const of = (which: "one" | "many", key: keyof Times) => median(pairs.map((pair) => pair[which][key]));
    const ratio = (key: keyof Times) => median(pairs.map(({ one, many }) => many[key] / one[key]));
    const moreMs = median(pairs.map(({ one, many }) => many.answeredMs - one.answeredMs));
    const result = {
      sessions,
      rounds,
      health: { oneMs: of("one", "healthMs"), manyMs: of("many", "healthMs"), ratio: ratio("healthMs") },
      answered: {
        oneMs: of("one", "answeredMs"),
        manyMs: of("many", "answeredMs"),
        ratio: ratio("answeredMs"),
      },
      moreMs,
      aim: AIM_MS,
      met: moreMs <= AIM_MS,
    };
    const row = (what: string, { oneMs, manyMs, ratio }: typeof result.health) =>
      `${what}: ${manyMs.toFixed(0)} ms with ${sessions} sessions, ${oneMs.toFixed(0)} ms with one, ` +
      `ratio ${ratio.toFixed(2)}`;
    print(
      flags.json ? JSON.stringify(result) : [
        row("/health answered", result.health),
        row("stored session answered", result.answered),
        `that is ${moreMs.toFixed(0)} ms more, aim: ≤ ${AIM_MS}; ${result.met ? "met" : "missed"}`,
      ].join("\n"),
    );
  } finally {
    for (const folder of folders) Deno.removeSync(folder, { recursive: true });
  }
}

async function makeStore(count: number): Promise<Store> {
  const folder = Deno.makeTempDirSync({ prefix: "sojourn-bench-" });
  folders.push(folder);
  const servers = { echo: { ...ECHO.echo, session: { idleTtlMs: 24 * 3_600_000 } } };
  Deno.writeTextFileSync(join(folder, "mcp-servers.json"), JSON.stringify({ mcpServers: servers }));
  let sessionId: string;
  {
    await using gateway = await Started.on(folder);
    sessionId = await open(gateway.url);
  }
  const store = new SqliteStore({ path: join(folder, ".sojourn", "sessions.db"), tombstones: 100 });
  const { key: _, ...first } = store.page(0, 1)[0]!;
  for (let n = 1; n < count; n++) {
    sessionId = crypto.randomUUID();
    store.add({ ...first, digest: digestOf(sessionId) });
  }
  store.close();
  return { folder, sessionId };
}

async function timed({ folder, sessionId }: Store): Promise<Times> {
  const startMs = performance.now();
  await using gateway = await Started.on(folder);
  const healthMs = performance.now() - startMs;
  await ask(
    gateway.url,
    { id: 1, method: "tools/call", params: { name: "echo", arguments: { text: "x" } } },
    sessionId,
  );
  return { healthMs, answeredMs: performance.now() - startMs };
}

/** A gateway that answers `/health`. Disposing it kills it; its servers see the end of their stdin. */
class Started implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  private constructor(readonly url: string, child: Deno.ChildProcess) {
    this.#child = child;
  }

  static async on(folder: string): Promise<Started> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL("../main.ts", import.meta.url).pathname],
      cwd: folder,
      env: { PORT: String(port), MAX_SESSIONS: "1000000" },
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const origin = `http://127.0.0.1:${port}`;
    let ended = false;
    void child.status.then(() => ended = true);
    while (!ended) {
      try {
        const response = await fetch(`${origin}/health`);
        await response.body?.cancel();
        return new Started(`${origin}/mcp/echo`, child);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
    throw new Error("The gateway ended.");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

await main();
Deno.exit(0);
