/**
 * The gateway under soak: the real process, in a folder and a process group of its own.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import {
  handleNames,
  handlesOf,
  MARKER,
  PROBE_PREFIX,
  processesOf,
  type Reading,
  residentKiB,
  signal,
} from "./machine.ts";
import { serversFile } from "./plan.ts";

/** How long the gateway may take for its start, for an answer, and for its end, in ms. */
const START_MS = 60_000;
const ANSWER_MS = 30_000;
const END_MS = 20_000;
/** Lines of the log that tell of a fault; so many are kept. */
const MAX_FAULTS = 20;
const FAULT = /\[(ERROR|FATAL)\]/;
/** Deno's advice to whoever looks at `request.signal`, once; it tells of no fault. */
const ADVICE = /^Deno\.serve: request\.signal aborts on successful responses/;

/**
 * So that lives pass quickly, and that what the gateway remembers on purpose is full when the memory is looked at for
 * the first time. The limits are met now and then; whoever is refused is counted.
 */
const SETTINGS = {
  PORT: "0",
  STREAM_SESSION_TTL_MS: "1500",
  REQUEST_TIMEOUT_MS: "1500",
  START_TIMEOUT_MS: "2000",
  CLIENT_REPLY_TIMEOUT_MS: "1000",
  SSE_AFTER_MS: "100",
  BODY_TIMEOUT_MS: "2000",
  STREAM_STALL_MS: "1000",
  MAX_STREAM_BUFFER_BYTES: "262144",
  MAX_SESSIONS: "400",
  MAX_PROCESSES: "500",
  SPAWN_CONCURRENCY: "16",
  SWEEP_CLOSE_CONCURRENCY: "200",
  ADMISSION_WAIT_MS: "20000",
  TOMBSTONES: "200",
  // All come as one principal, and faster than one may.
  OPENS_PER_MINUTE: "0",
};

/** What of this process's environment the gateway needs. */
const NEEDED = ["PATH", "HOME", "DENO_DIR", "TMPDIR", "XDG_CACHE_HOME"];

/** How to run it; as a soak does unless given. */
export interface SoakGatewayOptions {
  /** On top of the soak's own. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The servers file; every entry hands on the marker that it is given. */
  readonly servers?: (marker: string) => Record<string, unknown>;
  /** More files in its folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** The administrator's token, where there is one. */
  readonly adminToken?: string;
}

/** How things are with the gateway. */
export interface State {
  /** Sessions, those included whose server is on its way out. */
  readonly sessions: number;
  readonly processes: number;
  readonly zombies: number;
  readonly timers: number;
  readonly heapKiB: number;
  readonly handles: number;
  readonly rssKiB: number;
  readonly sweepMs: number;
}

/** See the module's documentation. Disposing ends it and all that it started, by force where that is needed. */
export class SoakGateway implements AsyncDisposable {
  readonly #folder = Deno.makeTempDirSync({ prefix: "sojourn-soak-" });
  readonly #marker = crypto.randomUUID();
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: Promise<unknown>;
  readonly #listening = Promise.withResolvers<number>();
  /** Who waits for a line of the probe, in order. */
  readonly #asking: PromiseWithResolvers<Reading>[] = [];
  #code: number | undefined;
  /** What it said of faults, and all of its stderr. */
  readonly faults: string[] = [];
  /** Where it listens, once it does. */
  port = 0;
  readonly #adminToken: string | undefined;

  static async start(options: SoakGatewayOptions = {}): Promise<SoakGateway> {
    const gateway = new SoakGateway(options);
    try {
      gateway.port = await within(START_MS, gateway.#listening.promise, "the gateway's start");
      return gateway;
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw new Error(`Cannot start the gateway: ${gateway.faults.join("\n")}`, { cause: error });
    }
  }

  private constructor({ settings = {}, servers = serversFile, files = {}, adminToken }: SoakGatewayOptions) {
    this.#adminToken = adminToken;
    Deno.writeTextFileSync(`${this.#folder}/mcp-servers.json`, JSON.stringify(servers(this.#marker)));
    for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(`${this.#folder}/${name}`, text);
    const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url));
    const env = Object.fromEntries(NEEDED.flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value]];
    }));
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--v8-flags=--expose-gc",
        `--preload=${pathOf("probe.ts")}`,
        pathOf("../../main.ts"),
      ],
      cwd: this.#folder,
      clearEnv: true,
      env: { ...env, ...SETTINGS, ...settings, [MARKER]: this.#marker },
      // A group of its own, so that a Ctrl-C on the terminal does not reach it before us.
      detached: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#output = Promise.all([
      readLines(this.#child.stdout, (line) => this.#onLine(line)),
      readLines(this.#child.stderr, (line) => this.#onFault(line)),
      this.#child.status.then(({ code }) => this.#onEnd(code)),
    ]);
  }

  /** Looks at it from all sides. */
  async look(options: { readonly gc?: boolean } = {}): Promise<State> {
    const { pid } = this.#child;
    const reading = await this.#ask(options.gc ? "gc" : "read");
    const summary = await this.#summary();
    const { running, zombies } = processesOf(pid, this.#marker);
    return {
      ...summary,
      processes: running.length,
      zombies,
      ...reading,
      handles: handlesOf(pid),
      rssKiB: residentKiB(pid),
    };
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Whether it ended by itself, or was ended. */
  get ended(): boolean {
    return this.#code !== undefined;
  }

  /** What its file handles are. */
  get handleNames(): string[] {
    return handleNames(this.#child.pid);
  }

  /** What runs of it, as command lines. */
  get processNames(): string[] {
    return processesOf(this.#child.pid, this.#marker).running.map((pid) => {
      try {
        return `${pid} ${Deno.readTextFileSync(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim()}`;
      } catch {
        return `${pid} (ended meanwhile)`;
      }
    });
  }

  /** Ends it in good order. @returns Its exit code. */
  async stop(): Promise<number> {
    if (this.#code === undefined) signal(this.#child.pid, "SIGTERM");
    await within(END_MS, this.#output, "the gateway's end");
    return this.#code!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } catch {
      signal(this.#child.pid, "SIGKILL");
    }
    for (const pid of processesOf(this.#child.pid, this.#marker).running) signal(pid, "SIGKILL");
    await this.#output;
    await this.#stdin.close().catch(() => {});
    await Deno.remove(this.#folder, { recursive: true });
  }

  /** What its monitoring API says. */
  async #summary(): Promise<Pick<State, "sessions" | "sweepMs">> {
    const response = await fetch(`http://127.0.0.1:${this.port}/sessions?limit=1`, {
      headers: {
        connection: "close",
        ...(this.#adminToken !== undefined && { authorization: `Bearer ${this.#adminToken}` }),
      },
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const { summary } = await response.json();
    return { sessions: summary.counts.total, sweepMs: Math.round(summary.sweep.intervalMs) };
  }

  async #ask(what: "read" | "gc"): Promise<Reading> {
    const answer = Promise.withResolvers<Reading>();
    this.#asking.push(answer);
    await this.#stdin.write(new TextEncoder().encode(`${what}\n`));
    return await within(ANSWER_MS, answer.promise, "the probe's answer");
  }

  #onLine(line: string): void {
    if (line.startsWith(PROBE_PREFIX)) {
      {
        return this.#asking.shift()?.resolve(JSON.parse(line.slice(PROBE_PREFIX.length)));
      }
    }
    const port = /listens on http:\/\/[^\s"]+:(\d+)/.exec(line)?.[1];
    if (port !== undefined) this.#listening.resolve(Number(port));
    if (FAULT.test(line)) this.#onFault(line);
  }

  #onFault(line: string): void {
    if (ADVICE.test(line)) return;
    if (this.faults.length < MAX_FAULTS) this.faults.push(line);
  }

  #onEnd(code: number): void {
    this.#code = code;
    const error = new Error(`the gateway ended with code ${code}`);
    this.#listening.reject(error);
    for (const answer of this.#asking.splice(0)) answer.reject(error);
  }
}

async function readLines(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void): Promise<void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    lines.forEach(onLine);
  }
  if (rest !== "") onLine(rest);
}

async function within<T>(ms: number, promise: Promise<T>, what: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`Waited ${ms} ms in vain for ${what}`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
