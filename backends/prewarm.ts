/**
 * Children that are started and initialized before anybody asks for them, so that a session finds one ready.
 *
 * A few words on when a session gets one is at {@link fits}: the session must not be able to tell. What the server can
 * tell is the name of its client, which is the gateway's.
 *
 * The pool is topped up as children are handed out, die or grow old, when their turn comes at the gate and there is
 * room. Where children die at once it waits longer each time (`back_off.ts`) and then tries a single one. A child
 * that is handed out leaves the pool in that turn and never comes back: it belongs to one session and ends with it.
 *
 * @module
 */
import type { Cancel } from "../clock.ts";
import { logger } from "../log.ts";
import { asObject, type RequestMessage } from "../protocol/jsonrpc.ts";
import { BackOff } from "./back_off.ts";
import type { Backend, BackendEvents, BackendOwner, ClosePace, OpenBackend } from "./backend.ts";
import { gated } from "./gated.ts";
import { ASKED_VERSION } from "./initialized_child.ts";
import { PrewarmedBackend, type WarmPool } from "./prewarmed_backend.ts";
import type { BackendSource, SourceOptions } from "./source.ts";
import type { Ticket } from "./spawn_gate.ts";
import { WarmChild } from "./warm_child.ts";

/** How long after there was no room it is looked again, in ms. */
const LOOK_AGAIN_MS = 5_000;

/** The shortest time after which children may be replaced, in ms: below it they would be replaced all the time. */
export const MIN_MAX_AGE_MS = 1_000;

/** What a server's entry says of its prewarmed children. */
export interface PrewarmOptions {
  /** How many are kept ready, from 1. */
  readonly prewarm: number;
  /**
   * Age from which on a child is replaced, in ms from its start; 0 means never, else at least {@link MIN_MAX_AGE_MS}.
   * Chance takes off up to a tenth, so that those that were started together do not go together.
   */
  readonly prewarmMaxAgeMs: number;
}

/** How to make a {@link PrewarmSource}. */
export interface PrewarmSourceOptions extends SourceOptions, PrewarmOptions {
  /** From 0 to 1, 1 excluded; `Math.random` unless given. */
  readonly random?: () => number;
}

const log = logger("backend");

/** See the module's documentation. */
export class PrewarmSource implements BackendSource, WarmPool {
  readonly open: OpenBackend;
  readonly ownsProcess = true;
  /** Sessions that took a child, and that had one started for them. Counted here, read by whoever shows them. */
  readonly counters = { taken: 0, cold: 0 };
  readonly #options: PrewarmSourceOptions;
  readonly #openCold: OpenBackend;
  readonly #backOff = new BackOff();
  /** Started and not handed out, oldest first; those that have answered are ready. */
  readonly #children = new Set<WarmChild>();
  /** Starts that wait for their turn. */
  readonly #tickets = new Set<Ticket>();
  /** Sessions that have not said yet what they need. */
  readonly #undecided = new Set<PrewarmedBackend>();
  /** Children on their way out, and when they are gone. */
  readonly #leaving = new Map<WarmChild, Promise<void>>();
  /** Set while the pool looks again later. */
  #cancelLook: Cancel | undefined;
  #state: "new" | "running" | "closed" = "new";
  #made = 0;

  /** @throws {RangeError} If one of the options is out of its range. */
  constructor(options: PrewarmSourceOptions) {
    const { prewarm, prewarmMaxAgeMs } = options;
    if (!Number.isInteger(prewarm) || prewarm < 1) {
      throw new RangeError(`Cannot prewarm: prewarm must be a whole number from 1, got ${prewarm}`);
    }
    if (prewarmMaxAgeMs !== 0 && !(prewarmMaxAgeMs >= MIN_MAX_AGE_MS && Number.isFinite(prewarmMaxAgeMs))) {
      throw new RangeError(
        `Cannot prewarm: prewarmMaxAgeMs must be 0 or from ${MIN_MAX_AGE_MS}, got ${prewarmMaxAgeMs}`,
      );
    }
    this.#options = options;
    this.#openCold = gated(options.open, options.gate);
    this.open = (owner, events) => {
      const isKept = !this.startsProcess;
      const backend = new PrewarmedBackend(this, owner, { events, isKept });
      this.#undecided.add(backend);
      return backend;
    };
  }

  /** How many are ready to be handed out. */
  get ready(): number {
    return this.#readyChildren().length;
  }

  get startsProcess(): boolean {
    return this.#undecided.size >= this.ready;
  }

  get spare(): number {
    return this.#children.size - this.#kept + this.#leaving.size;
  }

  owns({ serverId, session }: BackendOwner): boolean {
    if (serverId !== this.#options.serverId) return false;
    const has = (child: WarmChild) => child.name === session;
    return this.#children.values().some(has) || this.#leaving.keys().some(has);
  }

  start(): void {
    if (this.#state !== "new") return;
    this.#state = "running";
    this.#topUp();
  }

  yieldOne(): boolean {
    const [child] = this.#children;
    if (child === undefined || this.#children.size <= this.#kept) return false;
    log.debug("Server {serverId}: gave back a prewarmed process", { serverId: this.#options.serverId });
    // Its place is not for another one of the kind.
    this.#backOff.rest(this.#options.clock.now());
    this.#retire(child);
    this.#topUp();
    return true;
  }

  /** Sessions own what they have, and open the rest cold. */
  retire(): void {
    void this.close();
  }

  async close(pace?: ClosePace): Promise<void> {
    this.#state = "closed";
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    for (const ticket of this.#tickets) ticket.leave();
    this.#tickets.clear();
    for (const child of this.#leaving.keys()) void child.close(pace);
    for (const child of [...this.#children]) this.#retire(child, pace);
    while (this.#leaving.size > 0) await Promise.all(this.#leaving.values());
  }

  /** Takes a child that an `initialize` fits, for the session that sent it; undefined where there is none. */
  take(backend: PrewarmedBackend, initialize: RequestMessage | undefined): WarmChild | undefined {
    this.#undecided.delete(backend);
    if (initialize === undefined || this.#state === "closed") return undefined;
    const child = this.#readyChildren().find((child) => fits(initialize, child));
    if (child === undefined) return undefined;
    this.#children.delete(child);
    child.release();
    this.counters.taken++;
    this.#backOff.succeeded();
    // In a turn of its own: a spawn takes longer than an answer that is ready.
    this.#lookAgain(0);
    return child;
  }

  /** Opens a child for a session that takes none of these. */
  openCold(owner: BackendOwner, events: BackendEvents, { wasKept }: { readonly wasKept: boolean }): Backend {
    // The session came in on a place that one of these held.
    if (wasKept && this.#options.mayStart?.() === false) this.yieldOne();
    this.counters.cold++;
    return this.#openCold(owner, events);
  }

  /** A session is gone before it said anything. */
  forget(backend: PrewarmedBackend): void {
    this.#undecided.delete(backend);
  }

  /** One is kept for each session that may take it, and counts as the session's. */
  get #kept(): number {
    return Math.min(this.#undecided.size, this.ready);
  }

  #readyChildren(): WarmChild[] {
    const now = this.#options.clock.now();
    return Array.from(this.#children).filter((child) => child.isReady && now < child.expiresAt);
  }

  /** Starts what is missing, now or when it may. */
  #topUp(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    if (this.#state !== "running") return;
    const { prewarm, clock, gate, mayStart = () => true } = this.#options;
    const present = this.#children.size + this.#tickets.size;
    // A server that keeps dying gets one try at a time.
    const missing = Math.min(prewarm, this.#backOff.trying ? 1 : Infinity) - present;
    if (missing <= 0) return;
    const waitMs = this.#backOff.until - clock.now();
    if (waitMs > 0) return this.#lookAgain(waitMs);
    if (!mayStart()) return this.#lookAgain(LOOK_AGAIN_MS);
    for (let n = 0; n < missing; n++) {
      let begun = false;
      const ticket = gate.enter("spare", (ticket) => {
        begun = true;
        this.#tickets.delete(ticket);
        this.#begin(ticket);
      });
      if (!begun) this.#tickets.add(ticket);
    }
  }

  #lookAgain(inMs: number): void {
    this.#cancelLook?.();
    this.#cancelLook = this.#options.clock.after(inMs, () => {
      this.#cancelLook = undefined;
      this.#topUp();
    });
  }

  /** Its turn has come. What was so when it was asked for may be so no longer. */
  #begin(ticket: Ticket): void {
    const { serverId, open, clock, startTimeoutMs, mayStart = () => true } = this.#options;
    const put = this.#backOff.until > clock.now() || !mayStart();
    if (put || this.#children.size >= this.#options.prewarm) {
      ticket.leave();
      // Later, or each of those that wait would ask anew at once.
      if (put && this.#cancelLook === undefined) this.#lookAgain(LOOK_AGAIN_MS);
      return;
    }
    const child: WarmChild = new WarmChild({
      open,
      clock,
      ticket,
      startTimeoutMs,
      maxAgeMs: this.#options.prewarmMaxAgeMs * (1 - 0.1 * (this.#options.random ?? Math.random)()),
      owner: { serverId, session: `prewarmed-${++this.#made}` },
      ready: () => this.#topUp(),
      old: () => {
        this.#retire(child);
        this.#topUp();
      },
      over: (detail) => this.#onOver(child, detail),
    });
    this.#children.add(child);
  }

  /** It ended by itself. */
  #onOver(child: WarmChild, detail: string): void {
    const wanted = this.#children.has(child);
    if (!wanted) return;
    const { serverId, clock } = this.#options;
    this.#backOff.ended(child.startedAt, clock.now());
    log.warn("Server {serverId}: a prewarmed process {detail}", { serverId, detail });
    this.#retire(child);
    this.#topUp();
  }

  /** Takes a child out of the pool and ends it. */
  #retire(child: WarmChild, pace?: ClosePace): void {
    this.#children.delete(child);
    child.release();
    const closed = child.close(pace).finally(() => this.#leaving.delete(child));
    this.#leaving.set(child, closed);
  }
}

/**
 * Whether a client could tell a prewarmed child from one that got its own `initialize`: it could not where it asks for
 * the revision that the child answered with, or for the one that the gateway asked for (to which the same server gives
 * the same answer), declares no capabilities, and says nothing beside its name.
 *
 * Its name is never the gateway's. A server that behaves differently for different clients should not be prewarmed.
 */
export function fits({ params }: RequestMessage, child: { readonly version: unknown }): boolean {
  const { protocolVersion, capabilities, clientInfo: _clientInfo, ...more } = params ?? {};
  const declared = asObject(capabilities);
  return declared !== undefined && Object.keys(declared).length === 0 && Object.keys(more).length === 0 &&
    typeof protocolVersion === "string" &&
    (protocolVersion === child.version || protocolVersion === ASKED_VERSION);
}
