/**
 * The real gateway as a child process, in a folder of its own, with everything that it printed.
 *
 * `await using` stops it and fails the test if any process that it started is left; what is left is ended.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { applyEdits, modify, parse } from "jsonc-parser";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually } from "../fakes/eventually.ts";

/** The project's folder, with a slash at its end. */
export const PROJECT = fileURLToPath(new URL("../../", import.meta.url));

/** Long enough for servers that are downloaded at their first start. */
export const FIRST_START_MS = 120_000;
/** The gateway ends requests within the drain and all else within 4 s; more than that means that it hangs. */
const EXIT_MS = 30_000;

/** In the environment of the gateway, and by the servers file of all that it starts. */
const MARKER = "SOJOURN_E2E";

/** What the gateway itself needs of this process's environment: programs, caches, certificates. */
export const NEEDED = [
  ...["PATH", "HOME", "DENO_DIR", "TMPDIR", "XDG_CACHE_HOME"],
  ...["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "DENO_CERT", "DENO_TLS_CA_STORE"],
];

/** An entry of the servers file. */
export interface ServerEntry {
  readonly env?: Readonly<Record<string, string>>;
  readonly [key: string]: unknown;
}

/** How to run the gateway. */
export interface GatewayOptions {
  /**
   * What `mcp-servers.json` holds: these entries, or those of the committed file (with its lock file and an
   * empty `workspace/` beside it, as in a clone), or, undefined, there is no such file.
   */
  readonly servers?: Readonly<Record<string, ServerEntry>> | "committed";
  /** On top of the little that is handed on. `PORT` is 0 unless given. */
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** More files in its folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Where it lives, and lived before; a folder of its own unless given. */
  readonly home?: Home;
  /** The command line up to the gateway's own arguments; `deno run -A main.ts` unless given. */
  readonly program?: readonly [string, ...string[]];
}

/**
 * A folder, with the data folder in it, and a port for one gateway after the other. All of them have the same marker, so
 * that entries of the servers file stay what they are, and what any of them started is found. Removed at the end.
 */
export class Home implements Disposable {
  readonly folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "sojourn-e2e-" }));
  readonly marker: string = crypto.randomUUID();
  /** That of the first gateway, once it listens. */
  port = 0;

  file(name: string): string {
    return join(this.folder, name);
  }

  /** Everything that any of its gateways started and that is alive. */
  processes(): ProcessInfo[] {
    return processesOf(this.marker);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** A process as `/proc` shows it. */
export interface ProcessInfo {
  readonly pid: number;
  readonly command: string;
}

/** See the module's documentation. */
export class Gateway implements AsyncDisposable {
  /** Its working directory. Removed at the end. */
  readonly folder: string;
  /** What it printed, in lines without their breaks. */
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  /** `http://127.0.0.1:PORT`; empty until it listens. */
  origin = "";
  readonly #marker: string;
  /** Whether the folder is its own. */
  readonly #isHomeless: boolean;
  readonly #child: Deno.ChildProcess;
  readonly #whole: Promise<unknown>;
  #status: Deno.CommandStatus | undefined;
  /** Whether a test ended it by force, so that it could not end its children. */
  #killed = false;

  /** Starts it and returns at once. */
  static spawn(options: GatewayOptions = {}): Gateway {
    return new Gateway(options);
  }

  /** Starts it and waits until it listens. */
  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    const gateway = new Gateway(options);
    try {
      const line = await gateway.waitForLine(/listens on http/);
      gateway.origin = /listens on (http:\/\/[^\s"]+)/.exec(line)![1]!;
      if (options.home !== undefined) options.home.port = Number(new URL(gateway.origin).port);
      // The last that it says when it starts.
      if (options.servers !== undefined) await gateway.waitForLine(/curl -sS/);
      return gateway;
    } catch (error) {
      await gateway.#cleanUp();
      throw error;
    }
  }

  private constructor({ servers, env = {}, args = [], files = {}, home, program }: GatewayOptions) {
    this.#isHomeless = home === undefined;
    this.#marker = home?.marker ?? crypto.randomUUID();
    this.folder = home?.folder ?? Deno.realPathSync(Deno.makeTempDirSync({ prefix: "sojourn-e2e-" }));
    if (servers !== undefined) {
      Deno.writeTextFileSync(join(this.folder, "mcp-servers.json"), serversText(servers, this.#marker));
    }
    if (servers === "committed") {
      Deno.copyFileSync(join(PROJECT, "servers.lock"), join(this.folder, "servers.lock"));
      Deno.mkdirSync(join(this.folder, "workspace"));
    }
    for (const [name, text] of Object.entries(files)) {
      Deno.mkdirSync(dirname(join(this.folder, name)), { recursive: true });
      Deno.writeTextFileSync(join(this.folder, name), text);
    }
    const [command, ...before] = program ?? [Deno.execPath(), "run", "-A", join(PROJECT, "main.ts")];
    this.#child = new Deno.Command(command, {
      args: [...before, ...args],
      cwd: this.folder,
      clearEnv: true,
      env: { ...neededEnv(), PORT: String(home?.port ?? 0), [MARKER]: this.#marker, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#whole = Promise.all([
      collectLines(this.#child.stdout, this.stdout),
      collectLines(this.#child.stderr, this.stderr),
      this.#child.status.then((status) => this.#status = status),
    ]);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Its exit code; undefined while it runs. A signal that ended it counts as 128 and its number. */
  get exitCode(): number | undefined {
    return this.#status?.code;
  }

  /** Everything that it printed, for messages and searches. */
  get output(): string {
    return [...this.stdout, ...this.stderr].join("\n");
  }

  /** Writes the servers file anew. */
  writeServers(servers: Readonly<Record<string, ServerEntry>>): void {
    this.writeServersText(serversText(servers, this.#marker));
  }

  /** The same, whatever it is. */
  writeServersText(text: string): void {
    Deno.writeTextFileSync(join(this.folder, "mcp-servers.json"), text);
  }

  /** Where a server is served. */
  url(serverId: string): string {
    return `${this.origin}/mcp/${serverId}`;
  }

  /** The lines on stdout that match. */
  linesLike(pattern: RegExp): string[] {
    return this.stdout.filter((line) => pattern.test(line));
  }

  /** Waits for a line on stdout. Fails at once if the gateway ends without it. */
  async waitForLine(pattern: RegExp, withinMs = 20_000): Promise<string> {
    return await this.#eventually(
      () => {
        const line = this.stdout.find((line) => pattern.test(line));
        if (line === undefined && this.#status !== undefined) throw this.#failure(`ended without ${pattern}`);
        return line;
      },
      `a line like ${pattern}`,
      withinMs,
    );
  }

  /** Processes that it started and what those started: all that is alive and has the marker, itself aside. */
  children(): ProcessInfo[] {
    return processesOf(this.#marker).filter(({ pid }) => pid !== this.pid);
  }

  /** Waits until so many of them are left. */
  async waitForChildren(count: number, withinMs = 20_000): Promise<ProcessInfo[]> {
    return await this.#eventually(
      () => {
        const children = this.children();
        return children.length === count && children;
      },
      () => `${count} child process(es), there are ${describe(this.children())}`,
      withinMs,
    );
  }

  /** Sends it a signal. */
  kill(signal: Deno.Signal): void {
    this.#killed ||= signal === "SIGKILL";
    this.#child.kill(signal);
  }

  /** Waits for its end, and for all that it printed. */
  async exited(withinMs = EXIT_MS): Promise<number> {
    await this.#eventually(() => this.#status !== undefined, "its end", withinMs);
    await this.#whole;
    return this.#status!.code;
  }

  /** SIGTERM; returns the exit code once it ended and nothing of it is left. */
  async stop(): Promise<number> {
    if (this.#status === undefined) this.kill("SIGTERM");
    const code = await this.exited();
    await this.waitForChildren(0, 5_000);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (!this.#killed) await this.stop();
    } finally {
      await this.#cleanUp();
    }
  }

  async #cleanUp(): Promise<void> {
    if (this.#status === undefined) this.kill("SIGKILL");
    await this.#whole;
    for (const { pid } of this.children()) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It was quicker.
      }
    }
    if (this.#isHomeless) await Deno.remove(this.folder, { recursive: true });
  }

  async #eventually<T>(
    look: () => T | undefined | false,
    what: string | (() => string),
    withinMs: number,
  ): Promise<T> {
    try {
      return await eventually(look, "", withinMs);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("Waited")) throw error;
      throw this.#failure(`${error.message}${typeof what === "string" ? what : what()}`);
    }
  }

  #failure(message: string): Error {
    return new Error(`Gateway: ${message}; it printed:\n${this.output}`);
  }
}

/** Processes whose environment carries a marker, zombies aside: theirs cannot be read. */
export function processesOf(marker: string): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const environ = Deno.readTextFileSync(`/proc/${name}/environ`).split("\0");
      if (!environ.includes(`${MARKER}=${marker}`)) continue;
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim();
      found.push({ pid: Number(name), command });
    } catch {
      // Ended meanwhile, or somebody else's.
    }
  }
  return found;
}

/**
 * Asserts that the gateway has forgotten every session, which it tells when it is shut down.
 *
 * A session is forgotten once its last process is gone and the rest of its stderr was read: that is not seen
 * from outside, hence the pause.
 */
export async function assertNoneLeft(gateway: Gateway): Promise<void> {
  await gateway.waitForChildren(0);
  await passMs(1_500);
  assertEquals(await gateway.stop(), 0);
  assertMatch(gateway.linesLike(/shutting down/).join(), /SIGTERM: shutting down, 0 session\(s\) open$/);
}

/** Lets time pass where what is to be shown is that nothing happens, or that it happens at any moment. */
export function passMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether a program that some tests are about is there at all. */
export function onPath(program: string): boolean {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  return folders.some((folder) => statOf(join(folder, program))?.isFile);
}

function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch {
    return undefined;
  }
}

/** What the gateway needs of this process's environment. */
function neededEnv(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of NEEDED) {
    const value = Deno.env.get(name);
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** The entries of the committed `mcp-servers.json`. */
export function committedServers(): Record<string, ServerEntry> {
  return parse(committedText()).mcpServers;
}

function committedText(): string {
  return Deno.readTextFileSync(join(PROJECT, "mcp-servers.json"));
}

/** A servers file in which each entry hands on the marker. */
function serversText(servers: NonNullable<GatewayOptions["servers"]>, marker: string): string {
  if (servers === "committed") {
    let text = committedText();
    for (const id of Object.keys(committedServers())) {
      const path = ["mcpServers", id, "env", MARKER];
      text = applyEdits(text, modify(text, path, marker, { formattingOptions: { insertSpaces: true } }));
    }
    return text;
  }
  const entries = Object.entries(servers).map(([id, entry]) => [
    id,
    "url" in entry ? entry : { ...entry, env: { ...entry.env, [MARKER]: marker } },
  ]);
  return JSON.stringify({ mcpServers: Object.fromEntries(entries) });
}

async function collectLines(stream: ReadableStream<Uint8Array>, into: string[]): Promise<void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    into.push(...lines);
  }
  if (rest !== "") into.push(rest);
}

function describe(children: readonly ProcessInfo[]): string {
  return children.map(({ pid, command }) => `${pid} (${command.slice(0, 120)})`).join(", ") || "none";
}
