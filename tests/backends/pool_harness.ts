/**
 * What the tests of gates and pools have in common: children that are fakes, and sessions that only listen.
 *
 * @module
 */
import type {
  Backend,
  BackendEvents,
  BackendExit,
  BackendOwner,
  ClosePace,
  OpenBackend,
} from "../../backends/backend.ts";
import type { BackendSource } from "../../backends/source.ts";
import type { Message } from "../../protocol/jsonrpc.ts";
import { FakeBackend } from "../fakes/fake_backend.ts";

/** Opens fakes and remembers them. */
export class FakeChildren {
  /** Every one that was opened, oldest first. */
  readonly all: FakeBackend[] = [];
  /** Whether those that are opened from now on answer `initialize` by themselves. */
  autoInitialize = true;

  readonly open: OpenBackend = (owner, events) => {
    const child = new FakeBackend(owner, events, { autoInitialize: this.autoInitialize });
    this.all.push(child);
    return child;
  };

  /** Those that were neither closed nor ended by themselves. */
  get running(): FakeBackend[] {
    return this.all.filter(({ gone }) => !gone);
  }

  get newest(): FakeBackend {
    return this.all.at(-1)!;
  }
}

/** A session as far as its backend sees it. `await using` closes it. */
export class Listener implements BackendEvents, AsyncDisposable {
  readonly backend: Backend;
  readonly messages: Message[] = [];
  readonly garbages: string[] = [];
  readonly exits: BackendExit[] = [];
  /** True while the backend's own `send` runs: nothing may be reported then. */
  #sending = false;

  constructor(open: OpenBackend | BackendSource, session = "s1") {
    const owner: BackendOwner = { serverId: "fake", session };
    this.backend = (typeof open === "function" ? open : open.open)(owner, this);
  }

  message(message: Message): void {
    this.#check("a message");
    this.messages.push(message);
  }

  garbage(excerpt: string): void {
    this.#check("garbage");
    this.garbages.push(excerpt);
  }

  exit(exit: BackendExit): void {
    this.#check("an exit");
    this.exits.push(exit);
  }

  /** Sends a message, given as the object that it is. */
  send(message: Record<string, unknown>): boolean {
    return this.sendText(JSON.stringify({ jsonrpc: "2.0", ...message }));
  }

  sendText(text: string): boolean {
    this.#sending = true;
    try {
      return this.backend.send(text);
    } finally {
      this.#sending = false;
    }
  }

  /** Sends an `initialize` as a client without capabilities does, unless said otherwise. */
  initialize(
    { id = "init", version = "2025-11-25", capabilities = {}, ...more }: {
      id?: string | number;
      version?: string;
      capabilities?: Record<string, unknown>;
    } & Record<string, unknown> = {},
  ): void {
    const params = {
      protocolVersion: version,
      capabilities,
      clientInfo: { name: "c", version: "1" },
      ...more,
    };
    this.send({ id, method: "initialize", params });
  }

  confirm(): void {
    this.send({ method: "notifications/initialized" });
  }

  /** The texts of the messages. */
  get texts(): string[] {
    return this.messages.map(({ text }) => text);
  }

  close(pace?: ClosePace): Promise<void> {
    return this.backend.close(pace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #check(what: string): void {
    if (this.#sending) throw new Error(`${what} was reported from inside send`);
    if (this.exits.length > 0) throw new Error(`${what} was reported after the exit`);
  }
}
