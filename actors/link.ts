/**
 * A session's link to its server: the backend, the handshake with it, and whether it may speak.
 *
 * It works inside the session's loop and decides nothing about the session: it says what came of each thing, and the
 * session draws the conclusion.
 *
 * @module
 */
import type { Backend, BackendEvents, BackendExit, ClosePace } from "../backends/backend.ts";
import type { Message, ResponseMessage } from "../protocol/jsonrpc.ts";
import { Garbage } from "./garbage.ts";
import { Handshake } from "./handshake.ts";
import type { ClientMessage, Signal } from "./mail.ts";
import type { SessionContext } from "./session_options.ts";

/** Bytes that the server has not read, from which on further messages are refused. */
const MAX_QUEUE_BYTES = 8 * 1024 * 1024;

/** How to make a {@link Link}. */
export interface LinkOptions<Owner> {
  /** The session, and how to hand it what the server said, in order. */
  readonly owner: Owner;
  readonly signal: (owner: Owner, signal: Signal) => void;
  readonly context: SessionContext;
  /** Names the session. */
  readonly handle: string;
  /** The message that opens the session. */
  readonly opener: ClientMessage;
  /** The version that the gateway's own `initialize` names; undefined where the client sends its own. */
  readonly implicitVersion: string | undefined;
}

/** What an answer of the server is, for the handshake. */
export type Greeting =
  /** The server agreed. Where the gateway asked in the client's place, the client is not told. */
  | { readonly kind: "opened"; readonly protocolVersion: string | undefined }
  /** It did not. */
  | { readonly kind: "refused"; readonly detail: string };

/** See the module's documentation. Instants are ms of the session's clock. */
export class Link<Owner> implements BackendEvents {
  readonly #context: SessionContext;
  readonly #owner: Owner;
  readonly #signal: (owner: Owner, signal: Signal) => void;
  readonly #handle: string;
  readonly #backend: Backend;
  /** Set until the server has answered `initialize`. */
  #handshake: Handshake | undefined;
  #printed: Garbage | undefined;
  /** How many streams to the client are full. While there is one, the backend is paused. */
  #fullStreams = 0;

  /** Opens the backend. */
  constructor({ owner, signal, context, handle, opener, implicitVersion }: LinkOptions<Owner>) {
    const { clock, limits, serverId, openBackend } = context;
    const now = clock.now();
    this.#context = context;
    this.#owner = owner;
    this.#signal = signal;
    this.#handle = handle;
    this.#handshake = new Handshake({
      opener,
      implicitVersion,
      dueAt: now + limits.startTimeoutMs,
      slowAt: now + limits.sseAfterMs,
    });
    this.#backend = openBackend({ serverId, session: handle }, this);
    if (this.implicit) this.#backend.send(this.#handshake.ownRequest);
  }

  /** For the backend: the server sent a message. */
  message(message: Message): void {
    this.#signal(this.#owner, { tag: "message", message });
  }

  /** For the backend: the server printed what is no message. */
  garbage(excerpt: string): void {
    this.#signal(this.#owner, { tag: "garbage", excerpt });
  }

  /** For the backend: it is gone. */
  exit(exit: BackendExit): void {
    this.#signal(this.#owner, { tag: "exit", exit });
  }

  /** Whether the server has yet to answer `initialize`. */
  get starting(): boolean {
    return this.#handshake !== undefined;
  }

  /** Whether the gateway does the handshake in the client's place, and has not done it yet. */
  get implicit(): boolean {
    return this.#handshake?.implicit === true;
  }

  /** When something is due of the start; Infinity once it is over. */
  get nextAt(): number {
    if (this.#handshake === undefined) return Infinity;
    const { dueAt, slowAt, implicit } = this.#handshake;
    return implicit && this.#context.clock.now() < slowAt ? Math.min(slowAt, dueAt) : dueAt;
  }

  /** The process id of the backend, for display. */
  get pid(): number | undefined {
    return this.#backend.pid;
  }

  /** Whether the server does not read what is sent to it. */
  get busy(): boolean {
    return this.#backend.queuedBytes > MAX_QUEUE_BYTES;
  }

  /** Whether a message is the one that opens the session, on its way. */
  isOpener(message: Message): boolean {
    return this.#handshake?.opener.message === message;
  }

  /** Sends one message. Where the backend is gone it goes nowhere: its exit is on its way and fails what is in flight. */
  send(text: string): void {
    this.#backend.send(text);
  }

  /** A stream to the client is full: the server has to wait. */
  full(): void {
    if (++this.#fullStreams === 1) this.#backend.pause();
  }

  /** It is no longer. */
  room(): void {
    if (--this.#fullStreams === 0) this.#backend.resume();
  }

  /**
   * Reads an answer of the server.
   *
   * @returns Undefined where it has nothing to do with the handshake. What the server agreed to is settled then.
   */
  greet(answer: ResponseMessage): Greeting | undefined {
    const result = this.#handshake?.onAnswer(answer);
    if (result === undefined || result.kind === "unrelated") return undefined;
    if (result.kind === "refused") {
      this.#handshake!.opener.reply.name(undefined);
      return result;
    }
    const { implicit, ownConfirmation } = this.#handshake!;
    this.#handshake = undefined;
    if (implicit) this.#backend.send(ownConfirmation);
    return { kind: "opened", protocolVersion: result.protocolVersion };
  }

  /**
   * The server printed what is no message.
   *
   * @returns What is wrong with it, where that is too much for a start.
   */
  onGarbage(excerpt: string): string | undefined {
    this.#printed ??= new Garbage();
    this.#printed.note(excerpt, { handle: this.#handle, serverId: this.#context.serverId });
    return this.#handshake?.onGarbage();
  }

  /** Does what is due of the start. @returns What is wrong with it, where it takes too long. */
  onTime(now: number): string | undefined {
    this.#handshake?.onTime(now);
    if (this.#handshake === undefined || now < this.#handshake.dueAt) return undefined;
    return `did not answer initialize within ${this.#context.limits.startTimeoutMs} ms`;
  }

  /** Ends the backend: see {@link Backend.close}. */
  close(pace: ClosePace): Promise<void> {
    this.#handshake = undefined;
    return this.#backend.close(pace);
  }
}
