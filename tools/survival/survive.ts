/**
 * Many sessions of real servers, the gateway killed in the middle of their work and started again, and what is left.
 *
 * Half of the clients have a `server-memory` of their own, with a file of its own; the others each have a process of
 * `server-everything`. Each is the SDK's client with its standalone stream, and runs a script of {@link STEPS} steps. The
 * gateway is killed while the step in the middle is under way. A step that the kill met is done again; none of those
 * that were answered is.
 *
 * @module
 */
import { join } from "node:path";
import { Gateway, Home, type ServerEntry } from "../../tests/e2e/gateway.ts";
import { Survivor } from "../../tests/e2e/survivor.ts";

/** How many there are, and how many may run. */
export interface SurvivalOptions {
  /** Clients, each with one session. */
  readonly sessions: number;
  /** Servers that may run at a time. What is above it hibernates. */
  readonly processes: number;
  /** Clients that have something under way at a time. */
  readonly atOnce: number;
  /** Told as it goes. */
  readonly say?: (line: string) => void;
}

/** What came of it. */
export interface Survival {
  readonly sessions: number;
  /** Clients whose script ended well, and what all the others failed with. */
  readonly finished: number;
  readonly failures: readonly string[];
  /** `initialize` that all clients sent together. */
  readonly initializes: number;
  /** Session ids that all clients sent together. */
  readonly ids: number;
  /** Clients that had a call under way when the gateway was killed, or called before it was back. */
  readonly interrupted: number;
  /** Steps that were answered before the kill. */
  readonly answeredBefore: number;
  /** Sessions that the gateway found when it was started again. */
  readonly found: number;
  /** Processes that were left by the killed gateway when that was gone, and after the end of the next one. */
  readonly leftByKill: number;
  readonly leftAtEnd: number;
  /** The exit code of the second gateway. */
  readonly exitCode: number;
  /** From the kill until the next gateway listens, and until every client was answered by it, in ms. */
  readonly awayMs: number;
  readonly backMs: number;
  readonly wholeMs: number;
}

/** Steps of a script; the gateway is killed in that of the number in the middle. */
export const STEPS = 6;
const KILL_IN = 3;
/** So long that it is scarcity that puts most of them to sleep. */
const HIBERNATE_AFTER_MS = 120_000;

const PACKAGES = { memory: "server-memory@2026.8.31", everything: "server-everything@2026.8.31" };

function entry(name: keyof typeof PACKAGES, env: Record<string, string>, ...args: string[]): ServerEntry {
  return {
    command: "deno",
    args: [
      ...["run", "--quiet", "--no-config", "--no-lock", "-A"],
      `npm:@modelcontextprotocol/${PACKAGES[name]}`,
      ...args,
    ],
    env,
    session: { hibernateAfterMs: HIBERNATE_AFTER_MS, idleTtlMs: 24 * 3_600_000 },
  };
}

/** One client with its script. */
abstract class Script implements AsyncDisposable {
  client!: Survivor;
  /** Steps that were answered. */
  done = 0;

  constructor(readonly n: number, readonly serverId: string) {}

  async open(gateway: Gateway): Promise<void> {
    this.client = await Survivor.to(gateway.url(this.serverId));
  }

  /** Does the next one, again and again until a gateway is there for it. */
  async next(): Promise<void> {
    await this.client.stubbornly(() => this.step(this.done));
    this.done++;
  }

  /** Does one. Whoever does it twice has done it once. */
  protected abstract step(no: number): Promise<void>;

  /** Asserts on all that was done. */
  abstract check(): Promise<void>;

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client?.[Symbol.asyncDispose]();
  }
}

class Memory extends Script {
  #name(no: number): string {
    return `client ${this.n}, step ${no}`;
  }

  protected async step(no: number): Promise<void> {
    const entity = { name: this.#name(no), entityType: "step", observations: [`${this.n}.${no}`] };
    await this.client.text("create_entities", { entities: [entity] });
    if (no === 0) return;
    const relation = { from: this.#name(no), to: this.#name(no - 1), relationType: "follows" };
    await this.client.text("create_relations", { relations: [relation] });
  }

  async check(): Promise<void> {
    const text = await this.client.stubbornly(() => this.client.text("read_graph"));
    const { entities, relations } = JSON.parse(text) as {
      entities: { name: string; observations: string[] }[];
      relations: { from: string; to: string }[];
    };
    const steps = Array.from({ length: STEPS }, (_, no) => no);
    equal(entities.map(({ name }) => name), steps.map((no) => this.#name(no)));
    equal(entities.flatMap(({ observations }) => observations), steps.map((no) => `${this.n}.${no}`));
    equal(relations.map(({ from }) => from), steps.slice(1).map((no) => this.#name(no)));
  }
}

class Everything extends Script {
  readonly #answers: string[] = [];

  protected async step(no: number): Promise<void> {
    if (no === 0) await this.client.client.setLoggingLevel("warning");
    const said = await this.client.text("echo", { message: `client ${this.n}, step ${no}` });
    const sum = await this.client.text("get-sum", { a: this.n, b: no });
    this.#answers[no] = `${said}; ${sum}`;
  }

  check(): Promise<void> {
    equal(
      this.#answers,
      Array.from(
        { length: STEPS },
        (_, no) => `Echo: client ${this.n}, step ${no}; The sum of ${this.n} and ${no} is ${this.n + no}.`,
      ),
    );
    return Promise.resolve();
  }
}

/** See the module's documentation. */
export async function survive(
  { sessions, processes, atOnce, say = () => {} }: SurvivalOptions,
): Promise<Survival> {
  const startMs = performance.now();
  const passedS = () => `${((performance.now() - startMs) / 1_000).toFixed(1)} s`;
  using home = new Home();
  const scripts = Array.from(
    { length: sessions },
    (_, n) => n % 2 === 0 ? new Memory(n, `memory-${n}`) : new Everything(n, "everything"),
  );
  const servers: Record<string, ServerEntry> = { everything: entry("everything", {}, "stdio") };
  for (const { n, serverId } of scripts) {
    if (n % 2 === 0) {
      servers[serverId] = entry("memory", { MEMORY_FILE_PATH: join(home.folder, `${n}.json`) });
    }
  }
  const env = {
    MAX_PROCESSES: String(processes),
    MAX_SESSIONS: String(sessions + 1),
    ADMISSION_WAIT_MS: "60000",
    START_TIMEOUT_MS: "300000",
  };
  const failures: string[] = [];
  const failed = new Set<Script>();
  /** Has each do something, so many at a time. One that fails is out. */
  const each = async (what: (script: Script) => Promise<void>) => {
    const queue = scripts.filter((script) => !failed.has(script));
    const worker = async () => {
      for (let script = queue.shift(); script !== undefined; script = queue.shift()) {
        try {
          await what(script);
        } catch (error) {
          failed.add(script);
          failures.push(`client ${script.n} (${script.serverId}), step ${script.done}: ${error}`);
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  };

  const first = await Gateway.start({ home, servers, env });
  await using _first = first;
  try {
    await each(async (script) => {
      await script.open(first);
      while (script.done < KILL_IN) await script.next();
    });
    say(
      `${passedS()}: ${
        sessions - failed.size
      } sessions are open, each has done ${KILL_IN} of ${STEPS} steps, ` +
        `${first.children().length} servers run`,
    );

    const half = Promise.withResolvers<void>();
    let answered = 0;
    const middle = each(async (script) => {
      await script.next();
      if (++answered >= scripts.length / 2) half.resolve();
    }).finally(half.resolve);
    await half.promise;
    const killMs = performance.now();
    const answeredBefore = scripts.reduce((sum, { done }) => sum + done, 0);
    first.kill("SIGKILL");
    await first.exited();
    const leftByKill = home.processes().length;
    say(`${passedS()}: killed in the middle of step ${KILL_IN + 1}, ${leftByKill} processes are left`);
    await using second = await Gateway.start({ home, servers, env });
    const awayMs = performance.now() - killMs;
    await middle;
    const [line = ""] = second.linesLike(/of an earlier run hibernate/);
    const found = Number(/(\d+) session\(s\)/.exec(line)?.[1] ?? 0);
    say(`${passedS()}: started again after ${awayMs.toFixed(0)} ms, ${found} sessions were found`);
    let backMs = 0;
    await each(async (script) => {
      await script.next();
      backMs = performance.now() - killMs;
      while (script.done < STEPS) await script.next();
      await script.check();
    });
    say(`${passedS()}: ${scripts.length - failed.size} scripts are finished`);
    const exitCode = await second.stop().catch(() => -1);
    const clients = scripts.flatMap(({ client }) => client ?? []);
    return {
      sessions,
      finished: scripts.filter((script) => !failed.has(script) && script.done === STEPS).length,
      failures,
      initializes: clients.reduce((sum, { initializes }) => sum + initializes, 0),
      ids: new Set(clients.flatMap(({ ids }) => Array.from(ids))).size,
      interrupted: clients.filter(({ interruptions }) => interruptions > 0).length,
      answeredBefore,
      found,
      leftByKill,
      leftAtEnd: home.processes().length,
      exitCode,
      awayMs,
      backMs,
      wholeMs: performance.now() - startMs,
    };
  } finally {
    await Promise.all(scripts.map((script) => script[Symbol.asyncDispose]()));
  }
}

/** What does not hold of a run; nothing where all does. */
export function problemsOf(survival: Survival): string[] {
  const { sessions, finished, failures, initializes, ids, found, leftAtEnd, exitCode, interrupted } =
    survival;
  const rows: [boolean, string][] = [
    [finished === sessions, `${finished} of ${sessions} scripts finished`],
    [initializes === sessions, `${initializes} initialize were sent by ${sessions} clients`],
    [ids === sessions, `${ids} session ids were sent by ${sessions} clients`],
    [found === sessions, `${found} of ${sessions} sessions were found after the restart`],
    [interrupted > 0, "the kill met nobody"],
    [leftAtEnd === 0, `${leftAtEnd} processes are left`],
    [exitCode === 0, `the gateway ended with ${exitCode}`],
  ];
  return [...rows.filter(([holds]) => !holds).map(([, text]) => text), ...failures];
}

function equal(actual: readonly string[], expected: readonly string[]): void {
  const [told, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (told !== wanted) throw new Error(`${told} is not ${wanted}`);
}
