/**
 * Children that sessions share: for servers that keep no state of a session, and opted in to server by server. What
 * sessions give up for it is told in `docs/backends.md`.
 *
 * A session gets the child with the fewest sessions and stays with it. Children are started when a session comes and
 * none is free, up to `shared` of them; one that nobody uses for {@link IDLE_CHILD_MS} is given back. Where a child
 * dies, the backends of its sessions exit, and sessions that come then get another, with back-off.
 *
 * @module
 */
import { BackOff } from "./back_off.ts";
import type { Backend, BackendEvents, BackendOwner, ClosePace, OpenBackend } from "./backend.ts";
import { SharedChild } from "./shared_child.ts";
import { SharedSession } from "./shared_session.ts";
import type { BackendSource, SourceOptions } from "./source.ts";

/** How long a child without sessions is kept, in ms. */
export const IDLE_CHILD_MS = 300_000;

/** What a server's entry says of its shared children. */
export interface SharedOptions {
  /** How many there may be, from 1. */
  readonly shared: number;
}

/** See the module's documentation. */
export class SharedSource implements BackendSource {
  readonly open: OpenBackend;
  readonly ownsProcess = false;
  readonly #options: SourceOptions & SharedOptions;
  readonly #backOff = new BackOff();
  /** Those that take sessions. */
  readonly #children = new Set<SharedChild>();
  /** Those on their way out, and when they are gone. */
  readonly #leaving = new Map<SharedChild, Promise<void>>();
  #closed = false;
  #made = 0;

  /** @throws {RangeError} If `shared` is no whole number from 1. */
  constructor(options: SourceOptions & SharedOptions) {
    const { shared } = options;
    if (!Number.isInteger(shared) || shared < 1) {
      throw new RangeError(`Cannot share: shared must be a whole number from 1, got ${shared}`);
    }
    this.#options = options;
    this.open = (owner, events) => {
      const child = this.#closed ? undefined : this.#choose();
      return child === undefined
        ? new NoBackend(events, this.#whyNone)
        : new SharedSession(child, { owner, events });
    };
  }

  get startsProcess(): boolean {
    return this.#children.size === 0;
  }

  get spare(): number {
    return this.#children.size + this.#leaving.size;
  }

  owns({ serverId, session }: BackendOwner): boolean {
    if (serverId !== this.#options.serverId) return false;
    const has = (child: SharedChild) => child.name === session;
    return this.#children.values().some(has) || this.#leaving.keys().some(has);
  }

  /** Children are started when sessions come. */
  start(): void {}

  yieldOne(): boolean {
    const child = Array.from(this.#children).find(({ sessions }) => sessions === 0);
    if (child === undefined) return false;
    this.#retire(child);
    return true;
  }

  /** What a session uses stays for it; the rest goes. */
  retire(): void {
    while (this.yieldOne());
  }

  async close(pace?: ClosePace): Promise<void> {
    this.#closed = true;
    for (const child of this.#leaving.keys()) void child.close(pace);
    for (const child of [...this.#children]) this.#retire(child, pace);
    while (this.#leaving.size > 0) await Promise.all(this.#leaving.values());
  }

  /** The child for a session that comes now; undefined where there is none and none may be started. */
  #choose(): SharedChild | undefined {
    const { shared, clock, mayStart = () => true } = this.#options;
    let least: SharedChild | undefined;
    for (const child of this.#children) {
      if (least === undefined || child.sessions < least.sessions) least = child;
    }
    if (least?.sessions === 0) return least;
    if (this.#children.size >= shared || clock.now() < this.#backOff.until) return least;
    // Room for the first was made when the session was let in.
    if (least !== undefined && !mayStart()) return least;
    return this.#start();
  }

  #start(): SharedChild {
    const { serverId } = this.#options;
    const child: SharedChild = new SharedChild({
      ...this.#options,
      owner: { serverId, session: `shared-${++this.#made}` },
      idleMs: IDLE_CHILD_MS,
      idle: () => this.#retire(child),
      over: (startedAt) => {
        if (!this.#children.has(child)) return;
        this.#backOff.ended(startedAt, this.#options.clock.now());
        this.#retire(child);
      },
    });
    this.#children.add(child);
    return child;
  }

  #retire(child: SharedChild, pace?: ClosePace): void {
    this.#children.delete(child);
    const closed = child.close(pace).finally(() => this.#leaving.delete(child));
    this.#leaving.set(child, closed);
  }

  get #whyNone(): string {
    const waitMs = Math.ceil(this.#backOff.until - this.#options.clock.now());
    return this.#closed ? "is being closed" : `keeps ending and is not started again for ${waitMs} ms`;
  }
}

/** What a session gets where there is no child: its exit, in a later turn. */
class NoBackend implements Backend {
  readonly pid = undefined;
  readonly queuedBytes = 0;
  readonly #reported: Promise<void>;

  constructor(events: BackendEvents, detail: string) {
    this.#reported = Promise.resolve().then(() => events.exit({ cause: "spawn", detail }));
  }

  send(): boolean {
    return false;
  }

  pause(): void {}

  resume(): void {}

  close(): Promise<void> {
    return this.#reported;
  }
}
