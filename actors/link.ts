/**
 * A session's link to its server: the backend, the handshake with it, and whether it may speak.
 *
 * A session may have several backends in its life, one after the other and never two at a time: it can be let go
 * ({@link Link.release}) and another one put in its place ({@link Link.revive}). What a backend still says once it was
 * let go concerns nobody.
 *
 * It works inside the session's loop and decides nothing about the session: it says what came of each thing, and the
 * session draws the conclusion.
 *
 * @module
 */
import type { Backend, BackendEvents, BackendExit, ClosePace } from "../backends/backend.ts";
import { logger } from "../log.ts";
import type { Message, Params, ResponseMessage } from "../protocol/jsonrpc.ts";
import type { Reply } from "./client.ts";
import { Garbage } from "./garbage.ts";
import { Handshake, type HandshakeTimes, implicitParams } from "./handshake.ts";
import type { ClientMessage, Signal } from "./mail.ts";
import { differenceOf, type Remembered } from "./revival.ts";
import type { SessionContext } from "./session_options.ts";
import type { Standing } from "./standing.ts";

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
}

/** Headers of the client for its backend, where its server's entry hands any on. */
type Forwarded = ClientMessage["forwarded"];

/** What an answer of the server is, for the handshake. */
export type Greeting =
  /** The server agreed. Where the gateway asked in the client's place, the client is not told. */
  | { readonly kind: "opened"; readonly own: boolean; readonly params: Params; readonly result: Params }
  /** The server agreed again. */
  | { readonly kind: "revived" }
  /** It did not. */
  | { readonly kind: "refused"; readonly own: boolean; readonly detail: string }
  /** It is not the server that the client knows. */
  | { readonly kind: "changed"; readonly detail: string };

const log = logger("session");

/** See the module's documentation. Instants are ms of the session's clock. */
export class Link<Owner> {
  readonly #context: SessionContext;
  readonly #owner: Owner;
  readonly #signal: (owner: Owner, signal: Signal) => void;
  readonly #handle: string;
  #wire: Wire<Owner> | undefined;
  /** A backend that was let go and is not gone yet. */
  #leaving: Backend | undefined;
  /** Set until the server has answered `initialize`. */
  #handshake: Handshake | undefined;
  /** Set while that is a server which the client knows already. */
  #known: { readonly remembered: Remembered; readonly standing: Standing | undefined } | undefined;
  /** What a revived server was asked in the client's place and has not answered, by id. */
  #replayed: ReturnType<Standing["replay"]> | undefined;
  #printed: Garbage | undefined;
  /** How many streams to the client are full. While there is one, the backend is paused. */
  #fullStreams = 0;

  constructor({ owner, signal, context, handle }: LinkOptions<Owner>) {
    this.#context = context;
    this.#owner = owner;
    this.#signal = signal;
    this.#handle = handle;
  }

  /** Opens the first backend. @param implicitVersion Set where the client did not send `initialize`. */
  open(opener: ClientMessage, implicitVersion: string | undefined): void {
    const asked = implicitVersion === undefined
      ? opener
      : { params: implicitParams(implicitVersion), reply: opener.reply };
    this.#begin(new Handshake(asked, this.#times()), opener.forwarded);
  }

  /** Opens another backend in the place of one that is gone. */
  revive(
    { remembered, standing, reply, forwarded }: {
      readonly remembered: Remembered;
      readonly standing: Standing | undefined;
      /** Who waits for it. */
      readonly reply: Pick<Reply, "stream" | "name">;
      /** Of who waits for it. */
      readonly forwarded: Forwarded;
    },
  ): void {
    this.#known = { remembered, standing };
    this.#begin(new Handshake({ params: remembered.params, reply }, this.#times()), forwarded);
  }

  #times(): HandshakeTimes {
    const { clock, limits } = this.#context;
    const now = clock.now();
    return { dueAt: now + limits.startTimeoutMs, slowAt: now + limits.sseAfterMs };
  }

  #begin(handshake: Handshake, forwarded: Forwarded): void {
    const { serverId, openBackend } = this.#context;
    this.#handshake = handshake;
    this.#printed = undefined;
    const wire = this.#wire = new Wire<Owner>(this.#owner, this.#signal);
    const owner = { serverId, session: this.#handle, ...(forwarded && { forwarded }) };
    wire.backend = openBackend(owner, wire);
    if (this.#fullStreams > 0) wire.backend.pause();
    if (handshake.opener === undefined) wire.backend.send(handshake.ownRequest);
  }

  /** Whether there is a backend, ready or not. */
  get up(): boolean {
    return this.#wire !== undefined;
  }

  /** Whether an event comes from the present backend. */
  isFrom(wire: unknown): boolean {
    return this.#wire === wire;
  }

  /** Whether the server has yet to answer `initialize`. */
  get starting(): boolean {
    return this.#handshake !== undefined;
  }

  /** Whether the gateway does the handshake in the client's place, and has not done it yet. */
  get asksItself(): boolean {
    return this.#handshake !== undefined && this.#handshake.opener === undefined;
  }

  /** When something is due of the start; Infinity once it is over. */
  get nextAt(): number {
    return this.#handshake?.nextAt(this.#context.clock.now()) ?? Infinity;
  }

  /** The process id of the backend, for display. */
  get pid(): number | undefined {
    return this.#wire?.backend.pid;
  }

  /** Whether the server does not read what is sent to it. */
  get busy(): boolean {
    return this.#wire !== undefined && this.#wire.backend.queuedBytes > MAX_QUEUE_BYTES;
  }

  /** Whether a message is the one that opens the session, on its way. */
  isOpener(message: Message): boolean {
    return this.#handshake?.opener?.message === message;
  }

  /** Sends one message. Where the backend is gone it goes nowhere: its exit is on its way and fails what is in flight. */
  send(text: string): void {
    this.#wire?.backend.send(text);
  }

  /** A stream to the client is full: the server has to wait. */
  full(): void {
    if (++this.#fullStreams === 1) this.#wire?.backend.pause();
  }

  /** It is no longer. */
  room(): void {
    if (--this.#fullStreams === 0) this.#wire?.backend.resume();
  }

  /**
   * Reads an answer of the server.
   *
   * @returns Undefined where it has nothing to do with the handshake. What the server agreed to is settled then.
   */
  greet(answer: ResponseMessage): Greeting | undefined {
    const handshake = this.#handshake;
    const found = handshake?.onAnswer(answer);
    if (handshake === undefined || found === undefined || found.kind === "unrelated") return undefined;
    const own = handshake.opener === undefined;
    if (found.kind === "refused") {
      handshake.reply.name(undefined);
      return { ...found, own };
    }
    const known = this.#known;
    const difference = known && differenceOf(known.remembered.result, found.result);
    if (difference !== undefined) return { kind: "changed", detail: difference };
    this.#handshake = undefined;
    if (own) this.send(handshake.ownConfirmation);
    if (known === undefined) return { kind: "opened", own, params: handshake.params, result: found.result };
    this.#known = undefined;
    this.#replay(known.standing);
    return { kind: "revived" };
  }

  #replay(standing: Standing | undefined): void {
    const replayed = standing?.replay();
    if (replayed === undefined || replayed.size === 0) return;
    this.#replayed = replayed;
    for (const { text } of replayed.values()) this.send(text);
  }

  /** Whether an answer is to something that the gateway asked in the client's place. */
  takesAnswer({ id, error }: ResponseMessage): boolean {
    const asked = id === null ? undefined : this.#replayed?.get(id);
    if (asked === undefined) return false;
    this.#replayed!.delete(id!);
    if (this.#replayed!.size === 0) this.#replayed = undefined;
    if (error !== undefined) {
      log.warn("Session {handle}: the revived server {serverId} refused {what}: {error}", {
        handle: this.#handle,
        serverId: this.#context.serverId,
        what: asked.what,
        error: error.message,
      });
    }
    return true;
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

  /** Whether a backend that was let go is not gone yet. */
  get leaving(): boolean {
    return this.#leaving !== undefined;
  }

  /**
   * Lets the backend go.
   *
   * @returns Resolves when nothing is left of it. Never rejects.
   */
  release(pace: ClosePace): Promise<void> {
    const backend = this.#wire?.backend;
    this.#wire = undefined;
    this.#handshake = this.#known = this.#replayed = undefined;
    if (backend === undefined) return Promise.resolve();
    this.#leaving = backend;
    return backend.close(pace).then(() => {
      this.#leaving = undefined;
    });
  }

  /** Hurries a backend that is being let go. */
  hurry(pace: ClosePace): void {
    void this.#leaving?.close(pace);
  }

  /** Ends whatever there is: see {@link Backend.close}. It stays `up`, for whoever counts. */
  close(pace: ClosePace): Promise<void> {
    this.#handshake = undefined;
    return Promise.all([this.#leaving?.close(pace), this.#wire?.backend.close(pace)]).then(() => {});
  }
}

/** What one backend reports, on its way to the session. It tells this backend from those before and after it. */
class Wire<Owner> implements BackendEvents {
  backend!: Backend;
  readonly #owner: Owner;
  readonly #signal: (owner: Owner, signal: Signal) => void;

  constructor(owner: Owner, signal: (owner: Owner, signal: Signal) => void) {
    this.#owner = owner;
    this.#signal = signal;
  }

  message(message: Message): void {
    this.#signal(this.#owner, { tag: "message", message, from: this });
  }

  garbage(excerpt: string): void {
    this.#signal(this.#owner, { tag: "garbage", excerpt, from: this });
  }

  exit(exit: BackendExit): void {
    this.#signal(this.#owner, { tag: "exit", exit, from: this });
  }
}
