/**
 * A server that sessions share without its knowing: what a test tells it to do, on one wire.
 *
 * Each request of a client says in its params whose it is (`of`) and which (`n`), and all that the server does for it
 * says the same. So wherever a message ends up, it tells where it belongs.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { BackendEvents, BackendOwner } from "../../backends/backend.ts";
import type { Message, RequestId, RequestMessage } from "../../protocol/jsonrpc.ts";
import { FakeBackend } from "../fakes/fake_backend.ts";

/** How long it may go on with what was cancelled, in ms. */
const NOTICES_MS = 9_000;

/** A request as the server has it. */
export interface Work {
  readonly id: RequestId;
  readonly token: RequestId | undefined;
  /** Undefined where the gateway asks in nobody's name. */
  readonly of: number | undefined;
  readonly n: number;
  readonly isRefused: boolean;
  /** When it was told that nobody wants it any more. */
  cancelledAt: number | undefined;
}

/** See the module's documentation. */
export class SharingServer extends FakeBackend {
  override readonly pid: number;
  /** Requests that it has not answered. */
  readonly work: Work[] = [];
  /** Those that it has. */
  readonly done: Work[] = [];
  readonly subscribed = new Set<string>();
  level: string | undefined;
  /** Answers to its questions, by their ids. */
  readonly replies = new Map<RequestId, Message[]>();
  readonly #ids = new Set<RequestId>();
  readonly #world: { readonly now: number };

  constructor(
    world: { readonly now: number },
    { pid, owner, events, autoInitialize }: {
      readonly pid: number;
      readonly owner: BackendOwner;
      readonly events: BackendEvents;
      readonly autoInitialize: boolean;
    },
  ) {
    super(owner, events, { autoInitialize });
    this.pid = pid;
    this.#world = world;
  }

  /** Whether it has answered `initialize` and was told that it is in use. */
  get ready(): boolean {
    return !this.gone && this.methods.includes("notifications/initialized");
  }

  /** Requests that it may still be busy with. */
  get busyWith(): Work[] {
    const { now } = this.#world;
    return this.work.filter(({ cancelledAt = now }) => now - cancelledAt < NOTICES_MS);
  }

  /** Answers a request, also one that was cancelled. */
  finish(work: Work): void {
    this.work.splice(this.work.indexOf(work), 1);
    this.done.push(work);
    const { id, of, n } = work;
    if (work.isRefused) this.says({ id, error: { code: -32602, message: "refused", data: { of, n } } });
    else this.answer(id, { of, n });
  }

  override send(text: string): boolean {
    if (!super.send(text)) return false;
    const message = this.received.at(-1)!;
    if (message.kind === "request") this.#onRequest(message);
    else if (message.kind === "response") this.#onReply(message);
    else if (message.method === "notifications/cancelled") this.#onCancel(message.params ?? {});
    return true;
  }

  #onRequest({ id, method, params = {} }: RequestMessage): void {
    assert(!this.#ids.has(id), `id ${id} reached the server twice`);
    this.#ids.add(id);
    if (method === "initialize") return;
    const uri = params.uri as string;
    const isRefused = method === "resources/subscribe" && params.isRefused === true;
    // It does what it is asked in order; the answer may take its time.
    if (method === "resources/subscribe" && !isRefused) this.subscribed.add(uri);
    if (method === "resources/unsubscribe") this.subscribed.delete(uri);
    if (method === "logging/setLevel") this.level = params.level as string;
    const token = (params._meta as Record<string, unknown> | undefined)?.progressToken as
      | RequestId
      | undefined;
    const { of, n = -1 } = params as { of?: number; n?: number };
    assert(
      token === undefined || !this.work.some((other) => other.token === token),
      "a token is in use twice",
    );
    this.work.push({ id, token, of, n, isRefused, cancelledAt: undefined });
  }

  #onReply(message: Message & { kind: "response" }): void {
    const id = message.id!;
    this.replies.set(id, [...this.replies.get(id) ?? [], message]);
  }

  #onCancel({ requestId, of }: Record<string, unknown>): void {
    const work = this.work.find(({ id }) => id === requestId);
    assert(work !== undefined, "a request was cancelled that the server does not have");
    assert(of === undefined || of === work.of, "a session cancelled the request of another");
    work.cancelledAt = this.#world.now;
  }
}
