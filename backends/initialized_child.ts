/**
 * A child that the gateway itself has initialized, before any client is there: what prewarmed and shared children begin
 * as.
 *
 * It is told that its client is the gateway and has no capabilities, so there is nothing that it may ask of it but
 * whether it is there. That is answered, and everything else is refused.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";
import { rpcErrorText } from "../errors.ts";
import {
  encodeNotification,
  encodeRequest,
  encodeResult,
  type Message,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/jsonrpc.ts";
import { KNOWN_VERSIONS } from "../protocol/revisions.ts";
import type { Backend, BackendExit, BackendOwner, ClosePace, OpenBackend } from "./backend.ts";
import type { Ticket } from "./spawn_gate.ts";

/** The id of the gateway's `initialize`. Nothing else is in flight then. */
const INITIALIZE_ID = "sojourn:initialize";
/** Who the gateway says it is: the same as in an implicit session. */
const CLIENT_INFO = { name: "sojourn", version: "1" };
/** Lines that are no messages which it may print before it has answered, as in a session's own start. */
const MAX_GARBAGE_LINES = 20;
/** The revision that it is asked for: the newest. It answers with the newest that it knows. */
export const ASKED_VERSION = KNOWN_VERSIONS[0]!;

/** Who a child reports to. Called one at a time, never from inside a call of the child's own methods. */
export interface ChildSink {
  /** It has answered `initialize`. Called once at the most, before any message. */
  ready(): void;
  /** Anything that it said since; before that, its notifications. */
  message(message: Message): void;
  garbage(excerpt: string): void;
  /** It ended, or did not start. Called once, and nothing after it. The owner still has to close it. */
  over(exit: BackendExit): void;
}

/** How to make an {@link InitializedChild}. */
export interface ChildOptions {
  readonly open: OpenBackend;
  readonly clock: Clock;
  readonly owner: BackendOwner;
  /** Its turn to start; given back when the start is over. */
  readonly ticket: Ticket;
  readonly startTimeoutMs: number;
  readonly sink: ChildSink;
}

/** See the module's documentation. */
export class InitializedChild implements Backend {
  /** Who it reports to now; whoever takes a child over puts himself here. */
  sink: ChildSink;
  /** When it was started, in ms of the clock. */
  readonly startedAt: number;
  readonly #backend: Backend;
  readonly #ticket: Ticket;
  readonly #startTimeoutMs: number;
  /** Its answer to `initialize`; undefined until then. */
  #answer: ResponseMessage | undefined;
  #over = false;
  #garbageLines = 0;
  readonly #cancelTimeout: Cancel;

  /** Starts it. */
  constructor({ open, clock, owner, ticket, startTimeoutMs, sink }: ChildOptions) {
    this.sink = sink;
    this.startedAt = clock.now();
    this.#ticket = ticket;
    this.#startTimeoutMs = startTimeoutMs;
    this.#cancelTimeout = clock.after(startTimeoutMs, () => this.#fail(this.#tooSlow));
    this.#backend = open(owner, {
      message: (message) => this.#onMessage(message),
      garbage: (excerpt) => this.#onGarbage(excerpt),
      exit: (exit) => this.#end(exit),
    });
    this.#backend.send(encodeRequest(INITIALIZE_ID, "initialize", {
      protocolVersion: ASKED_VERSION,
      capabilities: {},
      clientInfo: CLIENT_INFO,
    }));
  }

  /** Its answer to `initialize`, as it came; undefined until then. */
  get answer(): ResponseMessage | undefined {
    return this.#answer;
  }

  /** The revision that it answered with. */
  get version(): unknown {
    return this.#answer?.result?.protocolVersion;
  }

  get pid(): number | undefined {
    return this.#backend.pid;
  }

  get queuedBytes(): number {
    return this.#backend.queuedBytes;
  }

  send(text: string): boolean {
    return this.#backend.send(text);
  }

  pause(): void {
    this.#backend.pause();
  }

  resume(): void {
    this.#backend.resume();
  }

  close(pace?: ClosePace): Promise<void> {
    this.#cancelTimeout();
    return this.#backend.close(pace);
  }

  /** Answers a request for which there is no client: it may only ask whether somebody is there. */
  answerAlone({ id, method }: RequestMessage): void {
    if (method === "ping") this.send(encodeResult(id, {}));
    else this.send(rpcErrorText({ code: "noClient", detail: method }, id));
  }

  #onMessage(message: Message): void {
    if (this.#over) return;
    if (this.#answer !== undefined) return this.sink.message(message);
    switch (message.kind) {
      case "request":
        return this.answerAlone(message);
      case "notification":
        return this.sink.message(message);
      case "response":
        if (message.id !== INITIALIZE_ID) return;
        if (message.result === undefined) {
          return this.#fail(`refused initialize: ${message.error?.message}`);
        }
        this.#answer = message;
        this.#startOver();
        this.send(encodeNotification("notifications/initialized"));
        return this.sink.ready();
    }
  }

  #onGarbage(excerpt: string): void {
    if (this.#over) return;
    this.sink.garbage(excerpt);
    if (this.#answer !== undefined || ++this.#garbageLines < MAX_GARBAGE_LINES) return;
    this.#fail(
      `wrote ${MAX_GARBAGE_LINES} lines that are no JSON-RPC messages instead of an answer to initialize`,
    );
  }

  get #tooSlow(): string {
    return `did not answer initialize within ${this.#startTimeoutMs} ms`;
  }

  #fail(detail: string): void {
    this.#end({ cause: "exit", detail });
  }

  #end(exit: BackendExit): void {
    if (this.#over) return;
    this.#over = true;
    this.#startOver();
    this.sink.over(exit);
  }

  #startOver(): void {
    this.#cancelTimeout();
    this.#ticket.leave();
  }
}
