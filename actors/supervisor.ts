/**
 * The supervisor opens, finds, lists and ends sessions. It restarts none: a session whose server died is over, and
 * its client opens another.
 *
 * ## Messages
 *
 * | message | from | meaning |
 * | --- | --- | --- |
 * | mail `open` | a route | a client opens a session |
 * | signal `ended` | a session | it ended and holds nothing any more |
 * | signal `drain` | main | the gateway shuts down: open nothing, let requests in flight finish, end all |
 * | signal `hurry` | main | do not wait for requests in flight |
 *
 * Looking a session up is a plain Map look-up and no message: it is on the path of every request.
 *
 * @module
 */
import { type ClosePace, HURRIED_PACE, type OpenBackend, SHUTDOWN_PACE } from "../backends/backend.ts";
import type { Cancel, Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import { Inbox } from "./inbox.ts";
import type { ClientMessage } from "./mail.ts";
import { newSessionId, publicHandle } from "./session_id.ts";
import { Session } from "./session.ts";
import type { SessionLimits } from "./session_options.ts";

export type { ClientMessage, Mail, OpenStream } from "./mail.ts";
export type { Session } from "./session.ts";
export type { SessionLimits } from "./session_options.ts";

/** Openings that may wait for the supervisor's turn. */
const MAX_OPENINGS = 1_000;
/** How often a drain looks whether anything is still in flight. */
const DRAIN_POLL_MS = 25;

/** A server as the supervisor knows it. */
export interface SupervisedServer {
  readonly id: string;
  readonly limits: SessionLimits;
  /** How to open a backend, or why none can be opened. */
  readonly backend: OpenBackend | Failure;
}

/** How to make a {@link Supervisor}. */
export interface SupervisorOptions {
  readonly clock: Clock;
  readonly servers: Iterable<SupervisedServer>;
}

/** A client's wish for a session. */
export interface Opening {
  readonly serverId: string;
  readonly principal: string;
  /** `initialize`, or with `implicitVersion` any other request. It is answered in its own reply. */
  readonly opener: ClientMessage;
  /** The version with which the gateway initializes in the client's place; undefined where the client does. */
  readonly implicitVersion: string | undefined;
}

type Signal =
  | { readonly tag: "ended"; readonly session: Session }
  | { readonly tag: "drain"; readonly drainMs: number }
  | { readonly tag: "hurry" };

const log = logger("supervisor");

/** See the module's documentation. */
export class Supervisor {
  readonly #clock: Clock;
  readonly #servers: ReadonlyMap<string, SupervisedServer>;
  readonly #inbox: Inbox<Opening, Signal>;
  /** Every session that still holds something, by its id. */
  readonly #sessions = new Map<string, Session>();
  /** Set from the start of the shutdown. */
  #drain: { readonly until: number; cancelPoll: Cancel } | undefined;
  /** Set once sessions are being ended for the shutdown: how fast. */
  #endPace: ClosePace | undefined;
  /** Resolves when the shutdown left no session. */
  readonly #drained = Promise.withResolvers<void>();

  constructor({ clock, servers }: SupervisorOptions) {
    this.#clock = clock;
    this.#servers = new Map(Array.from(servers, (server) => [server.id, server]));
    this.#inbox = new Inbox<Opening, Signal>({
      maxMail: MAX_OPENINGS,
      onMail: (opening) => this.#onOpen(opening),
      onSignal: (signal) => this.#onSignal(signal),
      onFault: (error, opening) => {
        const failure = reportFault(log, "Supervisor", error);
        opening?.opener.reply.fail(failure);
      },
    });
  }

  /** The servers that are configured. */
  get servers(): Iterable<SupervisedServer> {
    return this.#servers.values();
  }

  /** Whether a server by that id is configured. */
  hasServer(serverId: string): boolean {
    return this.#servers.has(serverId);
  }

  /** Every session that still holds something, oldest first. */
  get sessions(): IterableIterator<Session> {
    return this.#sessions.values();
  }

  /** How many sessions still hold something. */
  get size(): number {
    return this.#sessions.size;
  }

  /** The session of that id, where it is this server's and this principal's. It may have expired by now. */
  find(serverId: string, sessionId: string, principal: string): Session | undefined {
    const session = this.#sessions.get(sessionId);
    return session?.serverId === serverId && session.principal === principal ? session : undefined;
  }

  /** Opens a session, or says in the opener's reply why not. A refused opening leaves nothing behind. */
  open(opening: Opening): void {
    const result = this.#inbox.post(opening);
    if (result !== "taken") opening.opener.reply.fail({ code: "inboxFull" });
  }

  /**
   * Ends everything: no new sessions from now on, `drainMs` for the requests in flight, then all sessions at the
   * pace of a shutdown. Idempotent.
   *
   * @returns Resolves when nothing is left. Never rejects.
   */
  shutDown(drainMs: number): Promise<void> {
    this.#inbox.signal({ tag: "drain", drainMs });
    return this.#drained.promise;
  }

  /** Cuts a shutdown short: waits for no request and signals the servers at once. */
  hurry(): void {
    this.#inbox.signal({ tag: "hurry" });
  }

  #onOpen({ serverId, principal, opener, implicitVersion }: Opening): void {
    const server = this.#servers.get(serverId);
    if (server === undefined) {
      return opener.reply.fail({ code: "serverNotFound", detail: JSON.stringify(serverId) });
    }
    if (this.#drain !== undefined) return opener.reply.fail({ code: "shuttingDown" });
    if (typeof server.backend !== "function") return opener.reply.fail(server.backend);
    const id = newSessionId();
    const session = new Session({
      id,
      handle: publicHandle(id),
      serverId,
      principal,
      limits: server.limits,
      clock: this.#clock,
      openBackend: server.backend,
      implicitVersion,
      onEnded: () => this.#inbox.signal({ tag: "ended", session }),
    });
    session.start(opener);
    this.#sessions.set(id, session);
  }

  #onSignal(signal: Signal): void {
    switch (signal.tag) {
      case "ended":
        this.#sessions.delete(signal.session.id);
        return this.#onDrainProgress();
      case "drain":
        return this.#onDrain(signal.drainMs);
      case "hurry":
        if (this.#drain !== undefined) this.#endAll(HURRIED_PACE);
        return;
    }
  }

  #onDrain(drainMs: number): void {
    if (this.#drain !== undefined) return;
    this.#drain = { until: this.#clock.now() + drainMs, cancelPoll: () => {} };
    for (const session of this.#sessions.values()) session.drain();
    this.#onDrainProgress();
  }

  /** Ends the sessions once nothing is in flight or the time is up; done when none is left. */
  #onDrainProgress(): void {
    const drain = this.#drain;
    if (drain === undefined) return;
    drain.cancelPoll();
    if (this.#sessions.size === 0) return this.#drained.resolve();
    if (this.#endPace !== undefined) return;
    const inFlight = this.#sessions.values().some((session) => session.inFlight > 0);
    const leftMs = drain.until - this.#clock.now();
    if (!inFlight || leftMs <= 0) return this.#endAll(SHUTDOWN_PACE);
    drain.cancelPoll = this.#clock.after(Math.min(DRAIN_POLL_MS, leftMs), () => this.#onDrainProgress());
  }

  #endAll(pace: ClosePace): void {
    this.#drain?.cancelPoll();
    this.#endPace = pace;
    for (const session of this.#sessions.values()) void session.end("shutdown", pace);
    if (this.#sessions.size === 0) this.#drained.resolve();
  }
}
