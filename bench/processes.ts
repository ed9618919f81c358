/**
 * The processes of a comparison: the two gateways and the load on them. Each is the leader of a group of its own, so
 * that it ends with what it started, and so that a Ctrl-C on the terminal reaches none of them before us.
 *
 * @module
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { settingsTable } from "../config/mod.ts";
import type { Load, LoadResult } from "./load.ts";

/** A gateway under test. */
export interface Gateway {
  readonly name: string;
  readonly pid: number;
  readonly url: string;
  /** Whether it forwards what comes before an answer. */
  readonly streams: boolean;
}

/** What a gateway may take to end in good order, in ms. */
const END_MS = 8_000;

const pathOf = (file: string) => new URL(file, import.meta.url).pathname;
const SERVER_ARGS = ["run", "--no-config", "--allow-read", "--allow-write", pathOf("echo_child.ts")];

/** What Sojourn serves unless something else is asked for. */
export const ECHO = { echo: { command: "deno", args: SERVER_ARGS } };

const running = new Set<ChildProcessWithoutNullStreams>();
/** Where each Sojourn runs. */
const folders: string[] = [];
let ending = false;

/** Starts the least code that forwards. */
export async function startBaseline(): Promise<Gateway> {
  const args = [
    "run",
    "-A",
    "--no-config",
    pathOf("baseline/pass_through.ts"),
    Deno.execPath(),
    ...SERVER_ARGS,
  ];
  const child = start(args);
  const port = await firstMatch(child, /^(\d+)\n/);
  return {
    name: "pass-through",
    pid: child.pid!,
    url: `http://127.0.0.1:${port}/mcp/echo`,
    streams: false,
  };
}

/**
 * Starts Sojourn as people run it: no setting but a port and a servers file.
 *
 * @param options.env On top of that.
 * @param options.servers By their names, instead of `echo`. The gateway's URL is that of the first.
 */
export async function startSojourn(
  { env = {}, servers = ECHO }: {
    readonly env?: Readonly<Record<string, string>>;
    readonly servers?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  } = {},
): Promise<Gateway> {
  // A folder without a `.env`. Its servers run in it too, so it stays until they are gone.
  const folder = await Deno.makeTempDir({ prefix: "sojourn-bench-" });
  folders.push(folder);
  await Deno.writeTextFile(`${folder}/mcp-servers.json`, JSON.stringify({ mcpServers: servers }));
  const child = start(["run", "-A", pathOf("../main.ts"), "--port=0"], folder, env);
  const url = await firstMatch(child, /(http:\/\/127\.0\.0\.1:\d+\/mcp\/[^\s"]+)/);
  return { name: "sojourn", pid: child.pid!, url, streams: true };
}

/** Runs a load to its end. Fails where an answer was not the expected one. */
export async function runLoad(load: Load): Promise<LoadResult> {
  const child = start([
    "run",
    "--no-config",
    "--allow-net=127.0.0.1",
    pathOf("load.ts"),
    JSON.stringify(load),
  ]);
  return JSON.parse(await firstMatch(child, /^(\{.*\})\n/));
}

/** Ends everything that was started and is not over; what does not go in time is killed. Idempotent. */
export async function endAll(): Promise<void> {
  ending = true;
  await Promise.all(Array.from(running, async (child) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    child.once("exit", () => resolve());
    signalGroup(child, "SIGTERM");
    const timer = setTimeout(() => signalGroup(child, "SIGKILL"), END_MS);
    if (running.has(child)) await promise;
    clearTimeout(timer);
  }));
  for (const folder of folders) await Deno.remove(folder, { recursive: true }).catch(() => {});
}

function start(
  args: string[],
  cwd?: string,
  more: Readonly<Record<string, string>> = {},
): ChildProcessWithoutNullStreams {
  if (ending) throw new Error("everything is being ended");
  const env = Deno.env.toObject();
  // What is set for a gateway on this machine is not meant for the one that is measured.
  for (const { variable } of settingsTable()) delete env[variable];
  // By another spelling of its path: under its own one Deno takes the arguments for Node's.
  const deno = Deno.execPath().replace(/\/(?=[^/]*$)/, "/./");
  const child = spawn(deno, args, {
    env: { ...env, ...more },
    detached: true,
    ...(cwd !== undefined && { cwd }),
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** What a process says, up to the first match of a pattern; its first group is what is returned. */
async function firstMatch(child: ChildProcessWithoutNullStreams, pattern: RegExp): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const decoder = new TextDecoder();
  let [output, errors, found] = ["", "", false];
  child.stdout.on("data", (chunk: Uint8Array) => {
    // Read on, or the pipe fills up; but keep no more of it.
    if (found) return;
    output += decoder.decode(chunk, { stream: true });
    const match = pattern.exec(output)?.[1];
    if (match === undefined) return;
    found = true;
    resolve(match);
  });
  child.stderr.on("data", (chunk: Uint8Array) => {
    if (!found) errors += new TextDecoder().decode(chunk);
  });
  child.once("error", reject);
  child.once(
    "close",
    () => reject(new Error(`${child.spawnargs.join(" ").slice(0, 300)} ended:\n${output}${errors}`)),
  );
  return await promise;
}

function signalGroup({ pid }: ChildProcessWithoutNullStreams, signal: Deno.Signal): void {
  try {
    if (pid !== undefined) Deno.kill(-pid, signal);
  } catch {
    // It ended by itself.
  }
}

/** CPU time of a process so far, user and system, in µs (proc_pid_stat(5): fields 14 and 15, in ticks of 10 ms). */
export function cpuUs({ pid }: Gateway): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** Resident memory of a process. */
export function residentMiB({ pid }: Gateway): number {
  const kb = /VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  return Math.round(Number(kb) / 1024);
}
