/**
 * The supervisor opens, finds, lists and ends sessions. It restarts none: a session whose server died is over, and
 * its client opens another.
 *
 * ## Messages
 *
 * | message | from | meaning |
 * | --- | --- | --- |
 * | mail `open` | a route | a client opens a session |
 * | signal `over` | a session | it is over and no longer counts |
 * | signal `ended` | a session | it holds nothing any more |
 * | signal `active` | a session | its server answered `initialize` |
 * | signal `waited` | the door's timer | some opening may have waited long enough |
 * | signal `gone` | a route | the client of an opening that waits is gone |
 * | signal `drain` | main | the gateway shuts down: open nothing, let requests in flight finish, end all |
 * | signal `hurry` | main | do not wait for requests in flight |
 *
 * Whether an opening becomes a session, waits or is refused is for the door to say (`door.ts`).
 *
 * Looking a session up is a plain Map look-up and no message: it is on the path of every request.
 *
 * Of a session that ended a tombstone stays, by which its end can be explained.
 *
 * @module
 */
import { type ClosePace, HURRIED_PACE, SHUTDOWN_PACE } from "../backends/backend.ts";
import type { Cancel, Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import { noteMissed, notFound } from "./account.ts";
import { Events } from "./events.ts";
import type { IdleGaps } from "./idle_gaps.ts";
import { Inbox } from "./inbox.ts";
import type { AdmissionLimits, Claim } from "./admission.ts";
import { Door, type Opening } from "./door.ts";
import { newSessionId, publicHandle } from "./session_id.ts";
import { TtlScale } from "./pressure.ts";
import { Session } from "./session.ts";
import { Roster, type SupervisedServer } from "./roster.ts";
import { Tombstones } from "./tombstones.ts";

export type { ClientMessage, Mail, OpenStream } from "./mail.ts";
export type { Verdict } from "./account.ts";
export type { AdmissionLimits } from "./admission.ts";
export type { Door, Opening } from "./door.ts";
export { END_REASONS, type EndReason } from "./end_reason.ts";
export type { Events, GatewayEvent } from "./events.ts";
export type { IdleGaps, TtlAdvice } from "./idle_gaps.ts";
export type { TtlInForce } from "./lifetime.ts";
export { loadOf, type PressureReading, type TtlScale } from "./pressure.ts";
export type { Session, SessionState } from "./session.ts";
export type { SupervisedServer } from "./roster.ts";
export { SESSION_KINDS, type SessionKind } from "./session_kind.ts";
export type { SessionLimits } from "./session_options.ts";
export type { SweepReport } from "./sweeper.ts";
export type { Counters, TimelineEntry } from "./timeline.ts";
export type { Tombstone } from "./tombstones.ts";

/** Openings that may wait for the supervisor's turn. */
const MAX_OPENINGS = 1_000;
/** How often a drain looks whether anything is still in flight. */
const DRAIN_POLL_MS = 25;

/** How to make a {@link Supervisor}. */
export interface SupervisorOptions {
  readonly clock: Clock;
  readonly servers: Iterable<SupervisedServer>;
  /** How far memory pressure shortens TTLs; not at all unless given. */
  readonly scale?: TtlScale;
  /** How many ended sessions are remembered. */
  readonly tombstones?: number;
  /** From 0 (included) to 1. */
  readonly random?: () => number;
  /** How many sessions and processes there may be; any number unless given. */
  readonly limits?: AdmissionLimits;
  /** How long an opening waits where a limit is met, in ms; not at all unless given. */
  readonly admissionWaitMs?: number;
  /** Called where a limit is met: a sweep may make room. */
  readonly onWant?: () => void;
}

const NO_LIMITS: AdmissionLimits = {
  maxSessions: Infinity,
  maxSessionsPerPrincipal: Infinity,
  maxProcesses: Infinity,
};

/** Ended sessions that are remembered unless more or fewer are asked for. */
const TOMBSTONES = 10_000;

type Signal =
  | { readonly tag: "active" | "over" | "ended"; readonly session: Session }
  | { readonly tag: "waited" }
  | { readonly tag: "gone"; readonly opening: Opening }
  | { readonly tag: "drain"; readonly drainMs: number }
  | { readonly tag: "hurry" };

const log = logger("supervisor");

/** See the module's documentation. */
export class Supervisor {
  readonly #clock: Clock;
  readonly #roster: Roster;
  readonly #inbox: Inbox<Supervisor, Opening, Signal>;
  /** Every session that still holds something, by its id. */
  readonly #sessions = new Map<string, Session>();
  /** The same by its public name. */
  readonly #byHandle = new Map<string, Session>();
  /** Those that ended. */
  readonly tombstones: Tombstones;
  readonly events = new Events();
  /** Since when it counts and remembers, in ms since the Unix epoch. */
  readonly startedAt: number;
  readonly #door: Door;
  /** Set from the start of the shutdown. */
  #drain: { readonly until: number; cancelPoll: Cancel } | undefined;
  /** Set once sessions are being ended for the shutdown: how fast. */
  #endPace: ClosePace | undefined;
  /** Resolves when the shutdown left no session. */
  readonly #drained = Promise.withResolvers<void>();

  constructor({ clock, servers, ...options }: SupervisorOptions) {
    this.#clock = clock;
    this.startedAt = clock.wallTime();
    this.tombstones = new Tombstones(options.tombstones ?? TOMBSTONES);
    this.#door = new Door({
      clock,
      limits: options.limits ?? NO_LIMITS,
      waitMs: options.admissionWaitMs ?? 0,
      spareProcesses: () => this.#roster.spare,
      yieldSpare: () => this.#roster.yieldOne(),
      sessions: () => this.#sessions.values(),
      open: (opening, claim) => this.#start(opening, claim),
      ring: () => this.#inbox.signal({ tag: "waited" }),
      gone: (opening) => this.#inbox.signal({ tag: "gone", opening }),
      onWant: options.onWant ?? (() => {}),
    });
    this.#roster = new Roster(servers, {
      clock,
      scale: options.scale ?? new TtlScale({ minTtlMs: 0 }),
      random: options.random ?? Math.random,
      events: this.events,
      onActive: (session) => this.#inbox.signal({ tag: "active", session }),
      onOver: (session) => this.#inbox.signal({ tag: "over", session }),
      onEnded: (session) => this.#inbox.signal({ tag: "ended", session }),
    });
    this.#inbox = new Inbox<Supervisor, Opening, Signal>(this, {
      maxMail: MAX_OPENINGS,
      onMail: (self, opening) => self.#onOpen(opening),
      onSignal: (self, signal) => self.#onSignal(signal),
      onFault: (_self, error, opening) => {
        const failure = reportFault(log, "Supervisor", error);
        opening?.opener.reply.fail(failure);
      },
    });
  }

  /** Begins to start processes ahead, where servers want that. */
  start(): void {
    this.#roster.start();
  }

  /** The servers that are configured. */
  get servers(): Iterable<SupervisedServer> {
    return this.#roster.servers;
  }

  /** Whether a server by that id is configured. */
  hasServer(serverId: string): boolean {
    return this.#roster.get(serverId) !== undefined;
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

  /** A session that still holds something, by its public name. */
  byHandle(handle: string): Session | undefined {
    return this.#byHandle.get(handle);
  }

  /**
   * What to answer where {@link find} found nothing. To whom the session belonged it says why it is over; to anybody
   * else there never was one.
   *
   * @param request Whether the client asked for something, which tells that it would have needed the session.
   */
  notFound(
    serverId: string,
    sessionId: string,
    principal: string,
    { request }: { request: boolean },
  ): Failure {
    const tombstone = this.tombstones.get(publicHandle(sessionId));
    const isTheirs = tombstone?.serverId === serverId && tombstone.principal === principal;
    if (!isTheirs) return notFound(undefined);
    if (request) noteMissed(tombstone.verdict, this.#roster.get(serverId)!.context);
    return notFound(tombstone.verdict);
  }

  /** Whether the gateway shuts down. */
  get draining(): boolean {
    return this.#drain !== undefined;
  }

  /** What is limited, how much of it is taken, and which servers are in quarantine. */
  get door(): Pick<Door, "counts" | "limits" | "quarantined"> {
    return this.#door;
  }

  /** How long sessions of a server lay idle. */
  gapsOf(serverId: string): IdleGaps | undefined {
    return this.#roster.get(serverId)?.gaps;
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

  #onOpen(opening: Opening): void {
    const { serverId, principal, opener } = opening;
    const served = this.#roster.get(serverId);
    if (served === undefined) {
      return opener.reply.fail({ code: "serverNotFound", detail: JSON.stringify(serverId) });
    }
    if (this.#drain !== undefined) return opener.reply.fail({ code: "shuttingDown" });
    const { source, server: { maxSessions: maxServerSessions = Infinity } } = served;
    if ("code" in source) return opener.reply.fail(source);
    this.#door.onOpening(opening, {
      principal,
      serverId,
      maxServerSessions,
      ownsProcess: source.ownsProcess,
      get startsProcess() {
        return source.startsProcess;
      },
    });
  }

  #start({ serverId, principal, opener, ...asked }: Opening, { ownsProcess }: Claim): Session {
    const id = newSessionId();
    const served = this.#roster.get(serverId)!;
    const { context } = served;
    const handle = publicHandle(id);
    const session = new Session({ id, handle, principal, context, ownsProcess, ...asked });
    session.start(opener);
    served.opened();
    this.#sessions.set(id, session);
    this.#byHandle.set(session.handle, session);
    return session;
  }

  #onSignal(signal: Signal): void {
    switch (signal.tag) {
      case "active":
        return this.#door.onActive(signal.session);
      case "over":
        return this.#door.onOver(signal.session);
      case "ended":
        this.#forget(signal.session);
        this.#door.onClosed(signal.session);
        return this.#onDrainProgress();
      case "waited":
        return this.#door.onTime();
      case "gone":
        return this.#door.onGone(signal.opening);
      case "drain":
        return this.#onDrain(signal.drainMs);
      case "hurry":
        if (this.#drain !== undefined) this.#endAll(HURRIED_PACE);
        return;
    }
  }

  #forget(session: Session): void {
    this.#sessions.delete(session.id);
    this.#byHandle.delete(session.handle);
    this.tombstones.add(session.tombstone());
  }

  #onDrain(drainMs: number): void {
    if (this.#drain !== undefined) return;
    this.#drain = { until: this.#clock.now() + drainMs, cancelPoll: () => {} };
    this.#door.close();
    for (const session of this.#sessions.values()) session.drain();
    this.#onDrainProgress();
  }

  /** Ends the sessions once nothing is in flight or the time is up; done when none is left. */
  #onDrainProgress(): void {
    const drain = this.#drain;
    if (drain === undefined) return;
    drain.cancelPoll();
    if (this.#sessions.size === 0) return this.#closeSources();
    if (this.#endPace !== undefined) return;
    const inFlight = this.#sessions.values().some((session) => session.inFlight > 0);
    const leftMs = drain.until - this.#clock.now();
    if (!inFlight || leftMs <= 0) return this.#endAll(SHUTDOWN_PACE);
    drain.cancelPoll = this.#clock.after(Math.min(DRAIN_POLL_MS, leftMs), () => this.#onDrainProgress());
  }

  #endAll(pace: ClosePace): void {
    this.#drain?.cancelPoll();
    this.#endPace = pace;
    for (const session of this.#sessions.values()) void session.end("shutdown", { pace });
    this.#closeSources();
  }

  /** What no session owns goes with the sessions. */
  #closeSources(): void {
    const pace = this.#endPace ?? SHUTDOWN_PACE;
    void this.#roster.close(pace).then(() => {
      if (this.#sessions.size === 0) this.#drained.resolve();
    });
  }
}
