/**
 * A backend that does what a test tells it to, over arrays.
 *
 * @module
 */
import type { Backend, BackendEvents, BackendExit, BackendOwner, ClosePace } from "../../backends/backend.ts";
import { type Message, parseMessage, type RequestId } from "../../protocol/jsonrpc.ts";
import { assert } from "@std/assert";

/** What a fake answers to `initialize`. */
export const INITIALIZE_RESULT = {
  protocolVersion: "2025-06-18",
  capabilities: {},
  serverInfo: { name: "fake", version: "1" },
};

/** See {@link Backend}. The switches may be set at any time. */
export class FakeBackend implements Backend {
  readonly pid: number = 4242;
  queuedBytes = 0;
  /** Every message that reached the server, parsed. */
  readonly received: Message[] = [];
  /** Paces of the `close()` calls. */
  readonly closes: (ClosePace | undefined)[] = [];
  /** While true, `close()` does not come to an end. */
  stubborn = false;
  /** Whether `close()` came to its end. */
  closed = false;
  readonly #closed = Promise.withResolvers<void>();
  #gone = false;
  /** Whether it is not read from. What it says meanwhile comes when it is. */
  paused = false;
  /** What it said while it was paused. */
  #unread: Message[] = [];

  constructor(
    readonly owner: BackendOwner,
    readonly events: BackendEvents,
    readonly options: { autoInitialize: boolean },
  ) {}

  send(text: string): boolean {
    if (this.#gone) return false;
    const message = parseMessage(text);
    assert(message.kind !== "malformed", `the session sent what is no message: ${text}`);
    this.received.push(message);
    if (this.options.autoInitialize && message.kind === "request" && message.method === "initialize") {
      queueMicrotask(() => this.answer(message.id, INITIALIZE_RESULT));
    }
    return true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    for (const message of this.#unread.splice(0)) this.events.message(message);
  }

  close(pace?: ClosePace): Promise<void> {
    this.closes.push(pace);
    if (!this.stubborn) this.finishClose();
    return this.#closed.promise;
  }

  /** Lets a stubborn backend go. */
  finishClose(): void {
    this.exit({ cause: "exit", detail: "exited with code 0" });
    this.closed = true;
    this.#closed.resolve();
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** The server sends something; given as the object that it is. */
  says(message: Record<string, unknown>): void {
    if (this.#gone) return;
    const parsed = parseMessage(JSON.stringify({ jsonrpc: "2.0", ...message }));
    assert(parsed.kind !== "malformed", "a test sent what is no message");
    if (this.paused) this.#unread.push(parsed);
    else this.events.message(parsed);
  }

  answer(id: RequestId, result: Record<string, unknown> = {}): void {
    this.says({ id, result });
  }

  exit(exit: BackendExit = { cause: "exit", detail: "exited with code 1" }): void {
    if (this.#gone) return;
    // Like the real one, it tells what was said before.
    this.resume();
    this.#gone = true;
    this.events.exit(exit);
  }

  /** Methods of the requests and notifications that arrived, in order. */
  get methods(): string[] {
    return this.received.flatMap((message) => message.kind === "response" ? [] : [message.method]);
  }
}
