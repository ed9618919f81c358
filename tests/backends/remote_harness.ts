/**
 * A remote backend with everything that it reported.
 *
 * @module
 */
import type { Backend, BackendEvents, BackendExit, BackendOwner } from "../../backends/backend.ts";
import { remoteBackend, type RemoteOptions } from "../../backends/remote.ts";
import { systemClock } from "../../clock.ts";
import type { RemoteServer } from "../../config/types.ts";
import {
  encodeNotification,
  encodeRequest,
  type Message,
  type Params,
  type ResponseMessage,
} from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";

export const CLIENT: Params = {
  protocolVersion: "2025-11-25",
  capabilities: { sampling: {} },
  clientInfo: { name: "test", version: "1" },
};

/** An entry with everything filled in. */
export function remote(url: string, given: Partial<RemoteServer> = {}): RemoteServer {
  return {
    type: "http",
    url,
    headers: {},
    forwardHeaders: [],
    connectTimeoutMs: 10_000,
    readTimeoutMs: 10_000,
    caCerts: undefined,
    ...given,
  };
}

/** An open backend. `await using` closes it. */
export class OpenRemote implements BackendEvents, AsyncDisposable {
  readonly backend: Backend;
  readonly messages: Message[] = [];
  readonly garbages: string[] = [];
  readonly exits: BackendExit[] = [];
  /** Kinds of all events in order. */
  readonly order: string[] = [];
  #nextId = 1;
  #sending = false;

  constructor(
    server: RemoteServer,
    { owner = {}, ...options }: Partial<RemoteOptions> & { owner?: Partial<BackendOwner> } = {},
  ) {
    const open = remoteBackend({ server, clock: systemClock, ...options });
    this.backend = open({ serverId: "far", session: "s1", ...owner }, this);
  }

  message(message: Message): void {
    this.#note("message");
    this.messages.push(message);
  }

  garbage(excerpt: string): void {
    this.#note("garbage");
    this.garbages.push(excerpt);
  }

  exit(exit: BackendExit): void {
    this.#note("exit");
    this.exits.push(exit);
  }

  #note(what: string): void {
    if (this.#sending) throw new Error(`${what} came from inside send`);
    if (this.exits.length > 0) throw new Error(`${what} came after the exit`);
    this.order.push(what);
  }

  send(text: string): boolean {
    this.#sending = true;
    try {
      return this.backend.send(text);
    } finally {
      this.#sending = false;
    }
  }

  /** Sends a request and returns its id. */
  ask(method: string, params?: Params): number {
    const id = this.#nextId++;
    this.send(encodeRequest(id, method, params));
    return id;
  }

  async answer(id: number): Promise<ResponseMessage> {
    return await eventually(
      () => this.messages.find((m): m is ResponseMessage => m.kind === "response" && m.id === id),
      `the answer to ${id}`,
    );
  }

  async request(method: string, params?: Params): Promise<ResponseMessage> {
    return await this.answer(this.ask(method, params));
  }

  /** Initializes as a client does. */
  async initialize(params: Params = CLIENT): Promise<ResponseMessage> {
    const answer = await this.request("initialize", params);
    this.send(encodeNotification("notifications/initialized"));
    return answer;
  }

  /** Calls a tool and returns the text of its answer. */
  async call(name: string, args: Params = {}): Promise<string> {
    const { result, error } = await this.request("tools/call", { name, arguments: args });
    if (error !== undefined) return `error ${error.code}: ${error.message}`;
    return (result?.content as { text: string }[])[0]!.text;
  }

  async exited(): Promise<BackendExit> {
    return await eventually(() => this.exits[0], "the exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.close();
  }
}
