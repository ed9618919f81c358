/**
 * A server as a child process that speaks on its stdin and stdout, one line a message.
 *
 * The streams are those of `node:child_process`: with more than one message on its way they carry two to four
 * times what `Deno.Command`'s do, at a lower p99 and half the memory (`bench/stdio.ts`). Signals are sent by
 * `Deno.kill`, since the child's own `kill()` works only once under Deno; see `process_family.ts`.
 *
 * The life of a child, as this file sees it:
 *
 * - its stdout ends and it exits, in either order: `exit` is reported when both happened, so that an answer which
 *   was written at the very end still comes first;
 * - only one of the two happens, because a grandchild holds the pipe or the child closed it: `exit` is reported
 *   {@link LINGER_MS} later, as no more will come of it;
 * - while it is paused it exits: what the pipe still held is read, and no more than {@link MAX_LATE_BYTES};
 * - it breaks the bound of a line: `exit` is reported at once;
 * - it never started: `exit` is reported in a later turn.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import type { EventEmitter } from "node:events";
import type { Cancel, Clock } from "../clock.ts";
import type { StdioServer } from "../config/types.ts";
import { logger } from "../log.ts";
import { parseBatch, parseMessage } from "../protocol/jsonrpc.ts";
import {
  type Backend,
  type BackendEvents,
  type BackendExit,
  type BackendOwner,
  CLOSE_PACE,
  type ClosePace,
  type OpenBackend,
} from "./backend.ts";
import { childEnv, programOf, thisRuntime } from "./child_env.ts";
import { exitDetail, overlongDetail, startFailure } from "./exit_detail.ts";
import { JsonLines, MAX_LINE_BYTES } from "./json_lines.ts";
import { type Ledger, type LedgerEntry, NO_LEDGER } from "./ledger.ts";
import { ProcessFamily } from "./process_family.ts";
import type { ProcessTable } from "./process_table.ts";
import { StderrLog } from "./stderr_log.ts";

/** How long the rest of an exit may take: the end of stdout after the process, or the process after a stream. */
const LINGER_MS = 1_000;
/** A pipe holds at most this, so what comes beyond was written by somebody who outlives the process. */
const MAX_LATE_BYTES = 1024 * 1024;
/** How long the last words on stderr may take once no process is left. */
const LAST_WORDS_MS = 250;
/** Of what is no message, so much is shown. */
const EXCERPT_CHARS = 200;

const log = logger("backend");

/** What a stdio backend is made of. */
export interface StdioOptions {
  readonly server: StdioServer;
  readonly clock: Clock;
  readonly processes: ProcessTable;
  /** Where children are written down; nowhere unless given. */
  readonly ledger?: Ledger;
  /** Bytes; the longest message that is taken. */
  readonly maxLineBytes?: number;
}

/** Opens children of one server. */
export function stdioBackend(options: StdioOptions): OpenBackend {
  return (owner, events) => new StdioBackend(options, owner, events);
}

class StdioBackend implements Backend {
  readonly #options: StdioOptions;
  readonly #owner: BackendOwner;
  readonly #events: BackendEvents;
  readonly #lines: JsonLines;
  readonly #stderr: StderrLog;
  /** Undefined where the child never started. */
  #child: ChildProcessWithoutNullStreams | undefined;
  #family: ProcessFamily | undefined;
  #entry: LedgerEntry | undefined;
  /** How the process ended; undefined while it runs. */
  #ended: string | undefined;
  #stdoutEnded = false;
  #paused = false;
  /** Bytes that came after the exit of a paused process. */
  #lateBytes = 0;
  #closing: Promise<void> | undefined;
  /** Set while one half of an exit waits for the other. */
  #cancelLinger: Cancel | undefined;
  #reported = false;
  readonly #whenReported = Promise.withResolvers<void>();

  constructor(options: StdioOptions, owner: BackendOwner, events: BackendEvents) {
    const { maxLineBytes = MAX_LINE_BYTES } = options;
    this.#options = options;
    this.#owner = owner;
    this.#events = events;
    this.#stderr = new StderrLog(owner, options.clock);
    this.#lines = new JsonLines({
      line: (text) => this.#onLine(text),
      invalid: (excerpt) => this.#onGarbage(excerpt),
      overlong: () => this.#report({ cause: "overlong", detail: overlongDetail(maxLineBytes) }),
    }, maxLineBytes);
    this.#start();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get queuedBytes(): number {
    return this.#child?.stdin.writableLength ?? 0;
  }

  send(text: string): boolean {
    const stdin = this.#child?.stdin;
    if (stdin === undefined || this.#closing !== undefined || this.#reported || !stdin.writable) return false;
    stdin.write(Buffer.from(text + "\n"));
    return true;
  }

  pause(): void {
    this.#paused = true;
    this.#child?.stdout.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#child?.stdout.resume();
  }

  close(pace: ClosePace = CLOSE_PACE): Promise<void> {
    // A server that hangs in a write would not see the end of its input.
    if (this.#paused) this.resume();
    const familyEnded = this.#family?.end(pace);
    return this.#closing ??= this.#close(familyEnded);
  }

  #start(): void {
    const { server, ledger = NO_LEDGER } = this.#options;
    const marker = ledger.newMarker();
    const env = childEnv(Deno.env.toObject(), server.env, marker);
    const program = programOf(server.command, thisRuntime(env.PATH));
    if (program.state === "missing") return this.#failLater(program.detail);
    const onError = (error: unknown) => this.#failLater(startFailure(error, server.command, server.cwd));
    try {
      const file = respelled(program.file);
      const child = spawn(file, server.args, { cwd: server.cwd, env, detached: true });
      child.on("error", (error) => {
        if (child.pid === undefined) onError(error);
      });
      // Each write to a child that is gone ends here; that it is gone is learned elsewhere.
      // Out of descriptors it has no streams either; the reason comes as an event.
      const streams: (EventEmitter | null)[] = [child.stdin, child.stdout, child.stderr];
      for (const stream of streams) stream?.on("error", () => {});
      this.#child = child;
      if (child.pid !== undefined) this.#attend(child, child.pid, marker);
    } catch (error) {
      // Such as a zero byte in an argument.
      onError(error);
    }
  }

  #failLater(detail: string): void {
    setImmediate(() => this.#report({ cause: "spawn", detail }));
  }

  #attend(child: ChildProcessWithoutNullStreams, pid: number, marker: string): void {
    const { clock, processes, ledger = NO_LEDGER } = this.#options;
    const family = this.#family = new ProcessFamily({
      pid,
      marker,
      clock,
      processes,
      endInput: () => child.stdin.end(),
      gaveUp: (pids) => this.#gaveUp(child, pids),
    });
    // In the turn of its start: nobody could have sent it anything yet.
    this.#entry = ledger.started({ pid, startTime: family.startTime, marker, owner: this.#owner });
    child.on("exit", (code, signal) => {
      this.#ended = exitDetail(code, signal);
      this.#family?.childExited();
      // What it said before counts, and is little. The state stays paused, for the sake of what follows it.
      if (this.#paused) child.stdout.resume();
      this.#settle(this.#ended);
    });
    child.stdout.on("data", (chunk: Uint8Array) => this.#onOutput(chunk));
    child.stdout.on("close", () => {
      this.#lines.end();
      this.#stdoutEnded = true;
      this.#settle("closed its stdout");
    });
    child.stderr.on("data", (chunk: Uint8Array) => this.#stderr.push(chunk));
    // A server that reads no more is seen when it is written to. What was on its way is lost.
    child.stdin.on("error", () => this.#settle("closed its stdin"));
  }

  /** Reports the exit if it is complete, else gives the rest of it some time. */
  #settle(detail: string): void {
    if (this.#reported) return;
    if (this.#ended !== undefined && this.#stdoutEnded) {
      return this.#report({ cause: "exit", detail: this.#ended });
    }
    this.#cancelLinger?.();
    this.#cancelLinger = this.#options.clock.after(LINGER_MS, () => {
      // A close that is under way brings the process to its end, and that is what is reported then.
      if (this.#ended === undefined && this.#closing !== undefined) return;
      this.#report({ cause: "exit", detail: this.#ended ?? detail });
    });
  }

  #onOutput(chunk: Uint8Array): void {
    if (this.#paused && this.#ended !== undefined) {
      this.#lateBytes += chunk.byteLength;
      if (this.#lateBytes > MAX_LATE_BYTES) return this.#report({ cause: "exit", detail: this.#ended });
    }
    this.#lines.push(chunk);
  }

  #onLine(text: string): void {
    const message = parseMessage(text);
    if (message.kind !== "malformed") {
      if (!this.#reported) this.#events.message(message);
    } else if (message.problem === "batch") {
      // Revision 2025-03-26 lets a server answer in batches; the client gets each message by itself.
      const elements = parseBatch(text).filter((element) => element.kind !== "malformed");
      if (elements.length === 0) this.#onGarbage(text);
      for (const element of elements) if (!this.#reported) this.#events.message(element);
    } else {
      this.#onGarbage(text);
    }
  }

  #onGarbage(text: string): void {
    if (!this.#reported) this.#events.garbage(text.slice(0, EXCERPT_CHARS).toWellFormed());
  }

  #report(exit: BackendExit): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#cancelLinger?.();
    this.#child?.stdout.destroy();
    this.#whenReported.resolve();
    this.#events.exit(exit);
  }

  #gaveUp(child: ChildProcessWithoutNullStreams, pids: number[]): void {
    log.error("Session {handle}: server {serverId} outlives SIGKILL, processes {pids} are left behind", {
      handle: this.#owner.session,
      serverId: this.#owner.serverId,
      pids: pids.join(", "),
    });
    this.#entry?.abandoned();
    child.unref();
    this.#report({ cause: "exit", detail: this.#ended ?? "could not be ended" });
  }

  async #close(familyEnded: Promise<void> | undefined): Promise<void> {
    await familyEnded;
    this.#entry?.ended();
    await this.#whenReported.promise;
    const child = this.#child;
    if (child !== undefined) {
      await this.#lastWords(child);
      // Ended streams that are not destroyed as well keep their memory.
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
    }
    this.#stderr.end();
  }

  /** Lets what is left in the pipe of stderr reach the log. */
  async #lastWords({ pid, stderr }: ChildProcessWithoutNullStreams): Promise<void> {
    if (pid === undefined || stderr.closed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    stderr.once("close", resolve);
    const cancel = this.#options.clock.after(LAST_WORDS_MS, resolve);
    await promise;
    cancel();
  }
}

/**
 * The same file under a spelling that the runtime does not know as its own path: for that one it takes the
 * arguments for Node's and rewrites them, and `deno -A server.ts` ends in "V8 did not recognize flag".
 */
function respelled(file: string): string {
  return file === Deno.execPath() ? file.replace(/\/(?=[^/]*$)/, "/./") : file;
}
