/**
 * The backend of a session whose server has prewarmed children: which child stands behind it is decided by the first
 * message that the session sends.
 *
 * An `initialize` that fits takes a child that is ready. It is answered by that child's own answer, under the client's
 * id, and what the child told before follows; the client's `notifications/initialized` goes nowhere, since the child
 * had one. Anything else opens a child as if there were no pool.
 *
 * @module
 */
import { type Message, parseMessage, type RequestMessage } from "../protocol/jsonrpc.ts";
import type { Backend, BackendEvents, BackendExit, BackendOwner, ClosePace } from "./backend.ts";
import { findMembers, replace } from "./members.ts";
import type { WarmChild } from "./warm_child.ts";

/** What such a backend asks of the pool. */
export interface WarmPool {
  /** A child that belongs to the caller from now on; undefined where none fits. Called once by each backend. */
  take(backend: PrewarmedBackend, initialize: RequestMessage | undefined): WarmChild | undefined;
  /**
   * Opens a child as if there were no pool.
   *
   * @param options.wasKept Whether a child was kept for the session, so that nobody made room for another.
   */
  openCold(owner: BackendOwner, events: BackendEvents, options: { readonly wasKept: boolean }): Backend;
  /** A backend that was closed before it decided. */
  forget(backend: PrewarmedBackend): void;
}

const CONFIRMATION = "notifications/initialized";

/** See the module's documentation. */
export class PrewarmedBackend implements Backend {
  readonly #pool: WarmPool;
  readonly #owner: BackendOwner;
  readonly #events: BackendEvents;
  readonly #isKept: boolean;
  /** Undefined until the first message. */
  #inner: Backend | undefined;
  /** Reports that wait for a turn of their own; those that come meanwhile go behind them. */
  #reports: (() => void)[] = [];
  #paused = false;
  /** Whether the next confirmation is one too many for the child. */
  #swallows = false;
  /** Set where it was closed before it decided. */
  #over: Promise<void> | undefined;

  /** @param options.isKept Whether there is a child for it at this moment. */
  constructor(
    pool: WarmPool,
    owner: BackendOwner,
    { events, isKept }: { readonly events: BackendEvents; readonly isKept: boolean },
  ) {
    this.#pool = pool;
    this.#owner = owner;
    this.#events = events;
    this.#isKept = isKept;
  }

  get pid(): number | undefined {
    return this.#inner?.pid;
  }

  get queuedBytes(): number {
    return this.#inner?.queuedBytes ?? 0;
  }

  send(text: string): boolean {
    if (this.#over !== undefined) return false;
    if (this.#inner === undefined) return this.#decide(text);
    if (this.#swallows && text.includes(CONFIRMATION) && isConfirmation(text)) {
      this.#swallows = false;
      return true;
    }
    return this.#inner.send(text);
  }

  pause(): void {
    this.#paused = true;
    this.#inner?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#inner?.resume();
  }

  close(pace?: ClosePace): Promise<void> {
    if (this.#inner !== undefined) return this.#inner.close(pace);
    this.#pool.forget(this);
    return this.#over ??= Promise.resolve().then(() =>
      this.#events.exit({ cause: "spawn", detail: "was closed before it was started" })
    );
  }

  #decide(text: string): boolean {
    const message = parseMessage(text);
    const isInitialize = message.kind === "request" && message.method === "initialize";
    const initialize = isInitialize ? message : undefined;
    const warm = this.#pool.take(this, initialize);
    if (warm !== undefined) {
      this.#adopt(warm, initialize!);
      return true;
    }
    this.#inner = this.#pool.openCold(this.#owner, this.#events, { wasKept: this.#isKept });
    if (this.#paused) this.#inner.pause();
    return this.#inner.send(text);
  }

  #adopt(warm: WarmChild, { id }: RequestMessage): void {
    const { child, kept } = warm.handOver(this.#owner.session, {
      ready() {},
      message: (message) => this.#report(() => this.#events.message(message)),
      garbage: (excerpt) => this.#report(() => this.#events.garbage(excerpt)),
      over: (exit: BackendExit) => this.#report(() => this.#events.exit(exit)),
    });
    this.#inner = child;
    this.#swallows = true;
    const answer = child.answer!;
    const text = replace(answer.text, [{ spans: findMembers(answer.text).at("id"), by: JSON.stringify(id) }]);
    const first: Message[] = [{ ...answer, id, text }, ...kept];
    for (const message of first) this.#reports.push(() => this.#events.message(message));
    if (this.#paused) child.pause();
    // Not from inside `send`.
    queueMicrotask(() => {
      while (this.#reports.length > 0) this.#reports.shift()!();
    });
  }

  /** Reports what the child says, behind what it said before. */
  #report(report: () => void): void {
    if (this.#reports.length > 0) this.#reports.push(report);
    else report();
  }
}

function isConfirmation(text: string): boolean {
  const message = parseMessage(text);
  return message.kind === "notification" && message.method === CONFIRMATION;
}
