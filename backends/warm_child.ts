/**
 * One prewarmed child, from its start until a session takes it or it ends.
 *
 * Meanwhile its `ping` is answered and whatever else it asks is refused. What it tells is kept, bounded, for the
 * session that takes it: a server may say once that its lists changed.
 *
 * @module
 */
import type { Cancel, Clock } from "../clock.ts";
import type { Message, NotificationMessage } from "../protocol/jsonrpc.ts";
import type { BackendExit, ClosePace, OpenBackend } from "./backend.ts";
import { type ChildSink, InitializedChild } from "./initialized_child.ts";
import type { Ticket } from "./spawn_gate.ts";

/** Bounds of what is kept. Over either, the oldest goes. */
const MAX_KEPT_MESSAGES = 64;
const MAX_KEPT_CHARS = 256 * 1024;

/** How to make a {@link WarmChild}. */
export interface WarmChildOptions {
  readonly open: OpenBackend;
  readonly clock: Clock;
  readonly ticket: Ticket;
  readonly startTimeoutMs: number;
  /** From its start; 0 means any age. */
  readonly maxAgeMs: number;
  /** Its name in the log; the session's takes its place. */
  readonly owner: { readonly serverId: string; session: string };
  /** It can be handed out. */
  readonly ready: () => void;
  /** It is too old to be. */
  readonly old: () => void;
  /** It ended by itself, before anybody took it. */
  readonly over: (detail: string) => void;
}

/** See the module's documentation. */
export class WarmChild implements ChildSink {
  /** From when on it is too old, in ms of the clock. */
  readonly expiresAt: number;
  readonly #options: WarmChildOptions;
  readonly #child: InitializedChild;
  readonly #cancelAge: Cancel | undefined;
  #kept: NotificationMessage[] = [];
  #keptChars = 0;
  #state: "starting" | "ready" | "released" = "starting";

  constructor(options: WarmChildOptions) {
    const { open, clock, ticket, startTimeoutMs, maxAgeMs, owner, old } = options;
    this.#options = options;
    this.#child = new InitializedChild({ open, clock, ticket, startTimeoutMs, owner, sink: this });
    this.expiresAt = maxAgeMs > 0 ? this.#child.startedAt + maxAgeMs : Infinity;
    this.#cancelAge = maxAgeMs > 0 ? clock.after(maxAgeMs, old) : undefined;
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  /** What it is called in its owner's place. */
  get name(): string {
    return this.#options.owner.session;
  }

  get startedAt(): number {
    return this.#child.startedAt;
  }

  /** The revision that it answered with; undefined until then. */
  get version(): unknown {
    return this.#child.version;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** It is in the pool no more, and watches over nothing. Idempotent. */
  release(): void {
    this.#state = "released";
    this.#cancelAge?.();
  }

  /**
   * Hands it to a session, which owns it from then on. Called once.
   *
   * @param session The session's handle.
   * @returns The child, and what it told before.
   */
  handOver(
    session: string,
    sink: ChildSink,
  ): { readonly child: InitializedChild; readonly kept: readonly NotificationMessage[] } {
    this.#options.owner.session = session;
    this.#child.sink = sink;
    return { child: this.#child, kept: this.#kept };
  }

  close(pace?: ClosePace): Promise<void> {
    return this.#child.close(pace);
  }

  ready(): void {
    if (this.#state !== "starting") return;
    this.#state = "ready";
    this.#options.ready();
  }

  message(message: Message): void {
    if (message.kind === "request") this.#child.answerAlone(message);
    else if (message.kind === "notification") this.#keep(message);
  }

  /** A session does no more about it than to write it to the log. */
  garbage(): void {}

  over(exit: BackendExit): void {
    if (this.#state !== "released") this.#options.over(exit.detail);
  }

  #keep(message: NotificationMessage): void {
    this.#kept.push(message);
    this.#keptChars += message.text.length;
    while (this.#kept.length > MAX_KEPT_MESSAGES || this.#keptChars > MAX_KEPT_CHARS) {
      this.#keptChars -= this.#kept.shift()!.text.length;
    }
  }
}
