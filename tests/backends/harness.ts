/**
 * A backend with everything that it reported, for tests with real children.
 *
 * @module
 */
import type { Backend, BackendEvents, BackendExit, ClosePace } from "../../backends/backend.ts";
import { ProcessTable } from "../../backends/process_table.ts";
import { stdioBackend, type StdioOptions } from "../../backends/stdio.ts";
import { systemClock } from "../../clock.ts";
import type { StdioServer } from "../../config/types.ts";
import { encodeRequest, type Message, type Params, type ResponseMessage } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";

/** For children that leave by themselves, also on a busy machine. */
export const TEST_PACE: ClosePace = { termAfterMs: 20_000, killAfterMs: 25_000 };
/** For children that are known to need force. */
export const FORCE_PACE: ClosePace = { termAfterMs: 50, killAfterMs: 150 };

export const processes = new ProcessTable({ clock: systemClock });

/** An open backend. `await using` closes it. */
export class OpenChild implements BackendEvents, AsyncDisposable {
  readonly backend: Backend;
  readonly messages: Message[] = [];
  readonly garbages: string[] = [];
  readonly exits: BackendExit[] = [];
  /** Kinds of all events in order. */
  readonly order: string[] = [];
  #nextId = 1;

  constructor(server: StdioServer, options: Partial<StdioOptions> = {}) {
    const open = stdioBackend({ server, clock: systemClock, processes, ...options });
    this.backend = open({ serverId: "fixture", session: "s1" }, this);
  }

  message(message: Message): void {
    this.messages.push(message);
    this.order.push("message");
  }

  garbage(excerpt: string): void {
    this.garbages.push(excerpt);
    this.order.push("garbage");
  }

  exit(exit: BackendExit): void {
    this.exits.push(exit);
    this.order.push("exit");
  }

  /** Sends a request and waits for its answer. */
  async request(method: string, params?: Params): Promise<ResponseMessage> {
    const id = this.#nextId++;
    this.backend.send(encodeRequest(id, method, params));
    return await eventually(
      () => this.messages.find((m): m is ResponseMessage => m.kind === "response" && m.id === id),
      `the answer to ${method}`,
    );
  }

  /** Calls a tool of the echo server and returns the text of its answer. */
  async call(name: string, args: Params = {}): Promise<string> {
    const { result } = await this.request("tools/call", { name, arguments: args });
    return (result?.content as { text: string }[])[0]!.text;
  }

  /** Waits for the exit. */
  async exited(): Promise<BackendExit> {
    return await eventually(() => this.exits[0], "the exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.close(FORCE_PACE);
  }
}

/** Whether a process runs. */
export function runs(pid: number | undefined): boolean {
  const entry = pid === undefined ? undefined : processes.read(pid);
  return entry !== undefined && !entry.dead;
}

/** A file that is removed at the end of the test. */
export function tempFile(): { readonly path: string } & Disposable {
  const path = Deno.makeTempFileSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path) };
}

/** What a fixture wrote to its `PIDS_FILE`, once it did. */
export async function readPids(path: string): Promise<Record<string, number>> {
  const text = await eventually(() => Deno.readTextFileSync(path) || undefined, "the pids file");
  return JSON.parse(text);
}
