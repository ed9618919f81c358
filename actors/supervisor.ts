/**
 * The supervisor opens, finds, lists and ends sessions. It restarts none: a session whose server died is over, and
 * its client opens another.
 *
 * ## Messages
 *
 * | message | from | meaning |
 * | --- | --- | --- |
 * | mail `open` | a route | a client opens a session |
 * | signal `servers` | whoever read the configuration | the servers are these now |
 * | signal `over` | a session | it is over and no longer counts |
 * | signal `ended` | a session | it holds nothing any more |
 * | signal `active` | a session | its server answered `initialize` |
 * | signal `wake` | a session | it hibernates and needs a backend |
 * | signal `failed` | a session | its server failed it, and it lives on |
 * | signal `hibernated`, `released` | a session | it gave its backend back; nothing is left of that |
 * | signal `waited` | the door's timer | some opening may have waited long enough |
 * | signal `gone` | a route | the client of an opening that waits is gone |
 * | signal `drain` | main | the gateway shuts down: open nothing, let requests in flight finish, end all |
 * | signal `hurry` | main | do not wait for requests in flight |
 *
 * Whether an opening becomes a session, waits or is refused is for the door to say (`door.ts`).
 *
 * Looking a session up is a plain Map look-up and no message: it is on the path of every request.
 *
 * Sessions that an earlier run of the gateway left are taken up in the background, each at once when its client comes;
 * they count against the limits from the start.
 *
 * Of a session that ended a tombstone stays, by which its end can be explained.
 *
 * @module
 */
import { type ClosePace, HURRIED_PACE, SHUTDOWN_PACE } from "../backends/backend.ts";
import type { BackendSource } from "../backends/source.ts";
import type { Cancel, Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { SessionStore, StoredSession } from "../stores/store.ts";
import { noteMissed, notFound } from "./account.ts";
import { Events } from "./events.ts";
import type { IdleGaps } from "./idle_gaps.ts";
import { Inbox } from "./inbox.ts";
import type { AdmissionLimits, Claim } from "./admission.ts";
import { Door, type Opening, type Revival, type Wish } from "./door.ts";
import { digestOf, handleOf, newSessionId, publicHandle } from "./session_id.ts";
import { TtlScale } from "./pressure.ts";
import { Records } from "./records.ts";
import { takeUp, tombstoneOfLost } from "./restore.ts";
import { Session } from "./session.ts";
import type { SessionLimits, Slumbers } from "./session_options.ts";
import { Roster, type Served, type SupervisedServer } from "./roster.ts";
import { Tombstones } from "./tombstones.ts";

export type { ClientMessage, Mail, OpenStream } from "./mail.ts";
export type { Verdict } from "./account.ts";
export type { AdmissionLimits, PrincipalLimits } from "./admission.ts";
export type { BridgeOpening, Door, Opening } from "./door.ts";
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
/** Sessions of an earlier run that are taken up in one turn. */
const TAKEN_UP_AT_ONCE = 128;
/** How often a drain looks whether anything is still in flight. */
const DRAIN_POLL_MS = 25;

/** How to make a {@link Supervisor}. */
export interface SupervisorOptions {
  readonly clock: Clock;
  readonly servers: Iterable<SupervisedServer>;
  /** How far memory pressure shortens TTLs; not at all unless given. */
  readonly scale?: TtlScale;
  /** Where sessions are written down. It is closed at the end of the shutdown. */
  readonly store: SessionStore;
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
  | {
    readonly tag: "active" | "wake" | "hibernated" | "released" | "ended";
    readonly session: Session;
  }
  | {
    readonly tag: "failed";
    readonly session: Session;
    readonly detail: string;
    readonly served: Served;
  }
  | { readonly tag: "over"; readonly session: Session; readonly served: Served }
  | { readonly tag: "servers"; readonly servers: readonly SupervisedServer[]; readonly done: () => void }
  | { readonly tag: "waited" }
  | { readonly tag: "gone"; readonly opening: Wish }
  | { readonly tag: "drain"; readonly drainMs: number }
  | { readonly tag: "hurry" };

const log = logger("supervisor");

/** See the module's documentation. */
export class Supervisor {
  readonly #clock: Clock;
  readonly #roster: Roster;
  readonly #inbox: Inbox<Supervisor, Opening, Signal>;
  readonly #records: Records;
  readonly #scale: TtlScale;
  /** Sessions by their ids, as far as these are known. */
  readonly #sessions = new Map<string, Session>();
  /** Sessions of an earlier run whose clients have not come back. */
  #dormant = 0;
  /** Whether some of them are not taken up yet. */
  #restoring = false;
  /** Every session that still holds something, by its public name, oldest first. */
  readonly #byHandle = new Map<string, Session>();
  /** Those that ended. */
  readonly tombstones: Tombstones;
  readonly events = new Events();
  /** Since when it counts and remembers, in ms since the Unix epoch. */
  readonly startedAt: number;
  readonly slumbers: Slumbers = { hibernations: 0, revivals: 0, failures: 0 };
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
    this.#records = new Records({ store: options.store, clock });
    this.#scale = options.scale ?? new TtlScale({ minTtlMs: 0 });
    this.tombstones = new Tombstones(options.tombstones ?? TOMBSTONES);
    this.#door = new Door({
      clock,
      limits: options.limits ?? NO_LIMITS,
      waitMs: options.admissionWaitMs ?? 0,
      spareProcesses: () => this.#roster.spare,
      yieldSpare: () => this.#roster.yieldOne(),
      sessions: () => this.#byHandle.values(),
      open: (wish, claim) => "session" in wish ? this.#revive(wish) : this.#start(wish, claim),
      ring: () => this.#inbox.signal({ tag: "waited" }),
      gone: (opening) => this.#inbox.signal({ tag: "gone", opening }),
      onWant: options.onWant ?? (() => {}),
    });
    this.#roster = new Roster(servers, {
      clock,
      scale: this.#scale,
      records: this.#records,
      slumbers: this.slumbers,
      random: options.random ?? Math.random,
      events: this.events,
      onActive: (session) => this.#inbox.signal({ tag: "active", session }),
      onWake: (session) => this.#inbox.signal({ tag: "wake", session }),
      onHibernated: (session) => this.#inbox.signal({ tag: "hibernated", session }),
      onServerFailed: (session, detail, served) =>
        this.#inbox.signal({ tag: "failed", session, detail, served }),
      onReleased: (session) => this.#inbox.signal({ tag: "released", session }),
      onOver: (session, served) => this.#inbox.signal({ tag: "over", session, served }),
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

  /**
   * Takes up the sessions that an earlier run left. They can be found from now on.
   *
   * @returns How many there are. Resolves once each is taken up, or the gateway shuts down. Never rejects.
   */
  restore(): { readonly count: number; readonly done: Promise<void> } {
    if (!this.#records.durable) return { count: 0, done: Promise.resolve() };
    const counts = this.#records.counts();
    this.#door.onRestored(counts);
    const count = counts.reduce((sum, { count }) => sum + count, 0);
    this.#restoring = true;
    return { count, done: this.#restoreAll() };
  }

  /** In slices: who is served meanwhile gets turns between them. */
  async #restoreAll(): Promise<void> {
    const turn = () => new Promise<void>((resolve) => void this.#clock.after(1, resolve));
    for (const tombstone of this.#records.tombstones(this.tombstones.capacity)) {
      if (this.tombstones.get(tombstone.handle) === undefined) this.tombstones.add(tombstone);
    }
    let page: StoredSession[];
    let after = 0;
    do {
      page = this.#records.page(after, TAKEN_UP_AT_ONCE);
      for (const stored of page) this.#takeUp(stored);
      after = page.at(-1)?.key ?? after;
      await turn();
    } while (page.length > 0 && this.#drain === undefined);
    this.#restoring = false;
  }

  /** Takes up one, unless it is there. Undefined where it is over, also where that is not written down yet. */
  #takeUp(stored: StoredSession): Session | undefined {
    const handle = handleOf(stored.digest);
    const there = this.#byHandle.get(handle);
    if (there !== undefined) return there;
    if (this.#records.isOver(stored.key)) return undefined;
    const served = this.#roster.get(stored.serverId);
    const session = takeUp(stored, served, this.#clock);
    if (!(session instanceof Session)) {
      const tombstone = tombstoneOfLost(stored, session, { clock: this.#clock, scale: this.#scale });
      this.tombstones.add(tombstone);
      this.#records.lost(stored.key, tombstone, { later: true });
      this.#door.onLost(stored);
      log.info("Session {handle} of server {serverId} ended: {reason} ({why})", {
        handle,
        serverId: stored.serverId,
        reason: session.reason,
        why: session.detail,
      });
      return undefined;
    }
    served!.opened();
    this.#dormant++;
    this.#byHandle.set(handle, session);
    return session;
  }

  /** The servers that are configured. */
  get servers(): Iterable<SupervisedServer> {
    return this.#roster.servers;
  }

  /**
   * Whether a server by that id is configured, or was while sessions of it were opened that still hold something. One
   * that only the bridge knows is none.
   */
  hasServer(serverId: string): boolean {
    const served = this.#roster.known(serverId);
    return served !== undefined && served.server.bridgeOnly !== true;
  }

  /** The server of that id, also one that is drained or that only the bridge knows. */
  server(serverId: string): SupervisedServer | undefined {
    return this.#roster.known(serverId)?.server;
  }

  /** Every set of limits that some session may have: those of new ones, and those that others were opened with. */
  get limitsInForce(): Iterable<SessionLimits> {
    return this.#roster.limits();
  }

  /**
   * Replaces the servers, between two messages: whatever is handled before sees the old ones, whatever comes later the
   * new ones. Sessions keep what they were opened with. Openings that wait for a server that is gone are refused. Does
   * nothing during a shutdown.
   *
   * @param servers One that is as it was should come with the `backend` that it had: it goes on with what it has started.
   * @returns Resolves when that is done.
   */
  replaceServers(servers: readonly SupervisedServer[]): Promise<void> {
    const { promise, resolve: done } = Promise.withResolvers<void>();
    this.#inbox.signal({ tag: "servers", servers, done });
    return promise;
  }

  /** Every session that still holds something, oldest first. */
  get sessions(): IterableIterator<Session> {
    return this.#byHandle.values();
  }

  /** How many sessions still hold something. */
  get size(): number {
    return this.#byHandle.size;
  }

  /** What keeps sessions from being written down; undefined while nothing does. */
  get storeTrouble(): string | undefined {
    return this.#records.trouble;
  }

  /** The session of that id, where it is this server's and this principal's. It may have expired by now. */
  find(serverId: string, sessionId: string, principal: string): Session | undefined {
    const theirs = (session: Session | undefined) =>
      session?.serverId === serverId && session.principal === principal ? session : undefined;
    // Somebody else's is looked for as long as one that is not there.
    return theirs(this.#sessions.get(sessionId)) ?? theirs(this.#recognize(sessionId));
  }

  /** Somebody comes with an id that may be that of a session which an earlier run left. */
  #recognize(sessionId: string): Session | undefined {
    if (this.#dormant === 0 && !this.#restoring) return undefined;
    const digest = digestOf(sessionId);
    let session = this.#byHandle.get(handleOf(digest));
    // A gateway that goes leaves those that are not taken up to the next run.
    if (session === undefined && this.#restoring && this.#drain === undefined) {
      const stored = this.#records.find(digest);
      session = stored && this.#takeUp(stored);
    }
    if (session === undefined || session.id !== "" || !session.recognizes(sessionId)) return undefined;
    this.#dormant--;
    this.#sessions.set(sessionId, session);
    return session;
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
    // It may be left to the next run already, whoever it belongs to.
    if (tombstone === undefined && this.#drain !== undefined && this.#records.durable) {
      return { code: "shuttingDown" };
    }
    const isTheirs = tombstone?.serverId === serverId && tombstone.principal === principal;
    if (!isTheirs) return notFound(undefined);
    const context = this.#roster.known(serverId)?.context;
    if (request && context !== undefined) noteMissed(tombstone.verdict, context);
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
    return this.#roster.known(serverId)?.gaps;
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
    const refused = this.#refusalOf(serverId);
    if (refused !== undefined) return opener.reply.fail(refused);
    const roster = this.#roster;
    // Asked each time: while it waits the server may change. One that is gone is refused in that turn.
    const source = () => roster.get(serverId)!.source as BackendSource;
    this.#door.onOpening(opening, {
      principal,
      serverId,
      get maxServerSessions() {
        return roster.get(serverId)!.server.maxSessions ?? Infinity;
      },
      get ownsProcess() {
        return source().ownsProcess;
      },
      get startsProcess() {
        return source().startsProcess;
      },
    });
  }

  /** Why no session of a server is opened, whatever the limits. */
  #refusalOf(serverId: string): Failure | undefined {
    const served = this.#roster.get(serverId);
    if (served === undefined) return { code: "serverNotFound", detail: JSON.stringify(serverId) };
    if (this.#drain !== undefined) return { code: "shuttingDown" };
    return "code" in served.source ? served.source : undefined;
  }

  #onServers(servers: readonly SupervisedServer[]): void {
    if (this.#drain !== undefined) return;
    const gone = this.#roster.replace(servers);
    this.#door.onServers(gone, (serverId) => this.#refusalOf(serverId));
  }

  #revive({ session }: Revival): Session | undefined {
    return session.revive() ? session : undefined;
  }

  /** A session that hibernates knocks at the door again. */
  #onWake(session: Session): void {
    const { serverId } = session;
    if (this.#drain !== undefined) return session.notRevived({ code: "shuttingDown" });
    // Of the server that it was opened with: that may be drained, and another one have its id.
    if (session.refusal !== undefined) return session.notRevived(session.refusal);
    const reply = {
      get open() {
        return session.waking;
      },
      fail: (failure: Failure) => session.notRevived(failure),
      // It waits on behalf of all that its client says meanwhile.
      whenGone: () => {},
    };
    this.#door.onOpening({ serverId, session, opener: { reply } }, session.claim);
  }

  #start({ bridge, ...opening }: Opening, { ownsProcess }: Claim): Session {
    const { serverId, principal, opener, ...asked } = opening;
    let id = newSessionId();
    while (this.#byHandle.has(publicHandle(id))) id = newSessionId();
    const served = this.#roster.get(serverId)!;
    const context = bridge === undefined ? served.context : served.bridged(bridge);
    const handle = publicHandle(id);
    const session = new Session({ id, handle, principal, context, ownsProcess, ...asked });
    session.start(opener);
    served.opened();
    this.#sessions.set(id, session);
    this.#byHandle.set(session.handle, session);
    bridge?.onOpened(session);
    return session;
  }

  #onSignal(signal: Signal): void {
    switch (signal.tag) {
      case "active":
        return this.#door.onActive(signal.session);
      case "wake":
        return this.#onWake(signal.session);
      case "failed":
        return this.#door.onServerFailed(signal.session, signal.detail, { isOld: signal.served.drained });
      case "hibernated":
        return this.#door.onHibernated(signal.session);
      case "released":
        return this.#door.onReleased(signal.session);
      case "over":
        return this.#door.onOver(signal.session, { isOld: signal.served.drained });
      case "servers":
        this.#onServers(signal.servers);
        return signal.done();
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
    if (session.id !== "") this.#sessions.delete(session.id);
    else this.#dormant--;
    this.#byHandle.delete(session.handle);
    // One that the next run takes up again is not over.
    if (session.verdict !== undefined) this.tombstones.add(session.tombstone());
  }

  #onDrain(drainMs: number): void {
    if (this.#drain !== undefined) return;
    this.#drain = { until: this.#clock.now() + drainMs, cancelPoll: () => {} };
    this.#door.close();
    for (const session of this.#byHandle.values()) session.drain();
    this.#onDrainProgress();
  }

  /** Ends the sessions once nothing is in flight or the time is up; done when none is left. */
  #onDrainProgress(): void {
    const drain = this.#drain;
    if (drain === undefined) return;
    drain.cancelPoll();
    if (this.#byHandle.size === 0) return this.#closeSources();
    if (this.#endPace !== undefined) return;
    const inFlight = this.#byHandle.values().some((session) => session.inFlight > 0);
    const leftMs = drain.until - this.#clock.now();
    if (!inFlight || leftMs <= 0) return this.#endAll(SHUTDOWN_PACE);
    drain.cancelPoll = this.#clock.after(Math.min(DRAIN_POLL_MS, leftMs), () => this.#onDrainProgress());
  }

  #endAll(pace: ClosePace): void {
    this.#drain?.cancelPoll();
    this.#endPace = pace;
    for (const session of this.#byHandle.values()) session.suspend(pace);
    this.#closeSources();
  }

  /** What no session owns goes with the sessions. */
  #closeSources(): void {
    const pace = this.#endPace ?? SHUTDOWN_PACE;
    void this.#roster.close(pace).then(() => {
      if (this.#byHandle.size > 0) return;
      this.#records.close();
      this.#drained.resolve();
    });
  }
}
