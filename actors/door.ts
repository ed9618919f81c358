/**
 * The door: whether a client's wish for a session becomes one now, later or not at all.
 *
 * It works inside the supervisor's loop. In this order:
 *
 * 1. A principal that opens too many a minute is refused.
 * 2. A server in quarantine opens nothing (`quarantine.ts`).
 * 3. Where no limit is met the session is opened.
 * 4. Where one is, room is made: what has expired and was not swept yet goes, else, where it is about processes, the session
 *    hibernates that may and was idle for the longest, else the idle session of those that count against the limit and may
 *    be evicted whose deadline is nearest. One goes for each opening that meets the limit.
 * 5. The opening waits for room, in fair turns (`admission.ts`), for `ADMISSION_WAIT_MS` at most.
 * 6. Then it is refused, with the limit and a time after which trying again may help.
 *
 * A refused opening has registered nothing, and a client that goes away while it waits has left the queue.
 *
 * @module
 */
import type { OpenBackend } from "../backends/backend.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import { Admission, type AdmissionLimits, type Claim, type Obstacle } from "./admission.ts";
import { Alarm } from "./alarm.ts";
import type { Reply } from "./client.ts";
import { Rate } from "../rate.ts";
import type { ClientMessage } from "./mail.ts";
import { Quarantine } from "./quarantine.ts";
import type { Session } from "./session.ts";
import type { SessionKind } from "./session_kind.ts";

/** A client's wish for a session. */
export interface Opening {
  readonly serverId: string;
  readonly principal: string;
  /** `initialize`, or with `implicitVersion` any other request. It is answered in its own reply. */
  readonly opener: ClientMessage;
  /** The version with which the gateway initializes in the client's place; undefined where the client does. */
  readonly implicitVersion: string | undefined;
  /** By which door the client comes in; `streamable` unless given. */
  readonly kind?: SessionKind;
  /** For one of kind `bridge`: what its session has of its own. */
  readonly bridge?: BridgeOpening;
}

/** What a session of the bridge has of its own where others take it from their server. */
export interface BridgeOpening {
  /** Opens its backend; the server's own way unless given. */
  readonly openBackend?: OpenBackend | undefined;
  /** Called once the session is there, with its first message on its way. Not called where the opening is refused. */
  readonly onOpened: (session: Session) => void;
  /** Called once, after that, when the session is over. */
  readonly onOver: () => void;
}

/** A session's wish for a backend: it gave its own back, and its client needs it. */
export interface Revival {
  readonly serverId: string;
  readonly session: Session;
  /** Where it is answered. */
  readonly opener: { readonly reply: Pick<Reply, "open" | "fail" | "whenGone"> };
}

/** What the door is asked for. */
export type Wish = Opening | Revival;

/** How to make a {@link Door}. */
export interface DoorOptions {
  readonly clock: Clock;
  readonly limits: AdmissionLimits;
  /** How long an opening waits for room, in ms. */
  readonly waitMs: number;
  /** Processes that belong to no session. */
  readonly spareProcesses: () => number;
  /** Has one of them given back. False where there is none. */
  readonly yieldSpare: () => boolean;
  readonly sessions: () => Iterable<Session>;
  /** Opens a session and starts it, or revives one. Undefined where nobody wants that any more. */
  readonly open: (wish: Wish, claim: Claim) => Session | undefined;
  /** Some opening may have waited long enough: {@link Door.onTime} is to be called from the loop. */
  readonly ring: () => void;
  /** The client of an opening that waits is gone: {@link Door.onGone} is to be called from the loop. */
  readonly gone: (wish: Wish) => void;
  /** Somebody met a limit. */
  readonly onWant: () => void;
}

/** A server that opens nothing for a while. Instants in ms of the clock. */
export interface Quarantined {
  readonly serverId: string;
  readonly until: number;
  readonly reason: string;
}

/** How often it is looked whether a process that was started ahead has gone, while somebody waits, in ms. */
const LOOK_AGAIN_MS = 100;
/** Bounds of `Retry-After`, in s, and what is said where nothing is known. */
const MIN_RETRY_S = 1;
const MAX_RETRY_S = 120;
const USUAL_RETRY_S = 30;
/** How long a reckoned `Retry-After` is good for, in ms: where many are refused, sessions are not looked through for each. */
const RETRY_GOOD_MS = 1_000;

/** Sessions of one shared child learn of its end one after the other, within so many ms. */
const SAME_FAILURE_MS = 250;

const log = logger("supervisor");

/** See the module's documentation. */
export class Door {
  readonly #options: DoorOptions;
  readonly #admission: Admission<Wish>;
  readonly #alarm: Alarm<Door>;
  readonly #quarantines = new Map<string, Quarantine>();
  /** Sessions that try whether their server is well again. */
  readonly #probes = new Set<Session>();
  /** How often each principal opened. */
  readonly #openings: Rate;
  #retry = { what: "", after: -Infinity, seconds: 0 };
  #refused = 0;
  /** When a shared child of each server last failed. */
  readonly #lastSharedFailure = new Map<string, number>();

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#admission = new Admission(options.limits, options.spareProcesses);
    this.#openings = new Rate({ clock: options.clock });
    this.#alarm = new Alarm<Door>(options.clock, this, (door) => door.#options.ring());
  }

  /** What counts against the limits, how many wait, and how many were refused so far. */
  get counts(): {
    readonly sessions: number;
    readonly processes: number;
    readonly waiting: number;
    readonly refused: number;
  } {
    return { ...this.#admission.counts, waiting: this.#admission.waiting, refused: this.#refused };
  }

  /** The limits that hold for all servers together. */
  get limits(): AdmissionLimits {
    return this.#options.limits;
  }

  /** Servers that open nothing for a while. */
  get quarantined(): Quarantined[] {
    return Array.from(this.#quarantines).flatMap(([serverId, { until, reason }]) =>
      until === undefined ? [] : [{ serverId, until, reason: reason ?? "" }]
    );
  }

  /** Somebody knocks. */
  onOpening(opening: Wish, claim: Claim): void {
    const tooOften = "session" in opening ? undefined : this.#tooOften(opening.principal);
    if (tooOften !== undefined) return this.#refuse(opening, tooOften);
    const quarantine = this.#quarantines.get(opening.serverId);
    if (quarantine?.until !== undefined && this.#now < quarantine.until) {
      return this.#refuse(opening, this.#quarantined(opening.serverId, quarantine.until));
    }
    const obstacle = this.#admission.obstacle(claim);
    if (obstacle === undefined) return this.#open(opening, claim);
    const { waitMs, onWant } = this.#options;
    onWant();
    if (waitMs === 0 || !this.#admission.wait(opening, claim, this.#now + waitMs)) {
      this.#makeRoom(obstacle);
      return this.#refuse(opening, this.#limited(obstacle));
    }
    this.#makeRoom(obstacle);
    opening.opener.reply.whenGone(() => this.#options.gone(opening));
    this.#alarm.at(this.#admission.nextAt);
  }

  /** The server of a session answered `initialize`. */
  onActive(session: Session): void {
    const { serverId } = session;
    if (!this.#probes.delete(session)) return;
    if (this.#quarantines.get(serverId)?.started()) {
      log.info("Server {serverId} started again: its quarantine is over", { serverId });
    }
  }

  /** So many sessions of an earlier run are there, each without a backend. */
  onRestored(counts: Iterable<{ principal: string; serverId: string; count: number }>): void {
    for (const count of counts) this.#admission.restored(count);
  }

  /** One of them was not taken up. */
  onLost(session: Pick<Claim, "principal" | "serverId">): void {
    this.#admission.over(session);
    this.#serve();
  }

  /** The server of a session failed it, and the session lives on. `isOld` as in {@link onOver}. */
  onServerFailed(session: Session, detail: string, { isOld }: { readonly isOld: boolean }): void {
    this.#probes.delete(session);
    if (!isOld && this.#isNews(session)) this.#onFailure(session.serverId, detail);
  }

  /** A session gave its backend back: that it may have been a probe tells nothing. */
  onHibernated(session: Session): void {
    if (this.#probes.delete(session)) this.#quarantines.get(session.serverId)?.abandoned();
  }

  /** Nothing is left of a backend that a session gave back. */
  onReleased(session: Session): void {
    this.#admission.closed(session);
    this.#serve();
  }

  /**
   * The servers were replaced.
   *
   * @param gone Those that are served no longer as they were: how often they failed tells nothing any more.
   * @param refusalOf Why nothing is opened at a server.
   */
  onServers(gone: readonly string[], refusalOf: (serverId: string) => Failure | undefined): void {
    for (const serverId of gone) {
      this.#quarantines.delete(serverId);
      this.#lastSharedFailure.delete(serverId);
    }
    for (const session of this.#probes) if (gone.includes(session.serverId)) this.#probes.delete(session);
    // Sessions that hibernate keep what they were opened with.
    const isRefused = (wish: Wish) => !("session" in wish) && refusalOf(wish.serverId) !== undefined;
    for (const { opening } of this.#admission.takeWhere(isRefused)) {
      this.#refuse(opening, refusalOf(opening.serverId)!);
    }
    // Of others there may be more now.
    this.#serve();
  }

  /**
   * A session is over. It no longer counts, though its process may.
   *
   * @param isOld Whether its server is no longer served as it was when it was opened: then its failure is no news of it.
   */
  onOver(session: Session, { isOld }: { readonly isOld: boolean }): void {
    this.#admission.over(session);
    const { serverId, serverFailure } = session;
    const isProbe = this.#probes.delete(session);
    if (serverFailure !== undefined && !isOld && this.#isNews(session)) {
      this.#onFailure(serverId, serverFailure);
    } else if (isProbe) this.#quarantines.get(serverId)?.abandoned();
    this.#serve();
  }

  /** All that a session held was given back. */
  onClosed(session: Session): void {
    if (session.holdsProcess) this.#admission.closed(session);
    this.#serve();
  }

  /** Those who have waited long enough are refused. */
  onTime(): void {
    for (const { opening, claim } of this.#admission.expired(this.#now)) {
      const obstacle = this.#admission.obstacle(claim);
      if (obstacle !== undefined) this.#refuse(opening, this.#limited(obstacle));
      else this.#open(opening, claim);
    }
    this.#serve();
    if (this.#admission.waiting === 0) return;
    const isSpareLeaving = this.#options.spareProcesses() > 0;
    this.#alarm.at(
      isSpareLeaving ? Math.min(this.#now + LOOK_AGAIN_MS, this.#admission.nextAt) : this.#admission.nextAt,
    );
  }

  /** The client of one that waits is gone. */
  onGone(opening: Wish): void {
    if (this.#admission.leave(opening)) log.debug("A client went away while it waited for a session");
  }

  /** Nobody is let in any more. */
  close(): void {
    this.#alarm.off();
    for (const { opening } of this.#admission.all()) opening.opener.reply.fail({ code: "shuttingDown" });
  }

  /** Opens sessions for those who wait, as far as there is room. */
  #serve(): void {
    for (let next = this.#admission.next(); next !== undefined; next = this.#admission.next()) {
      if (next.opening.opener.reply.open) this.#open(next.opening, next.claim);
    }
    if (this.#admission.waiting === 0) this.#alarm.off();
  }

  #open(opening: Wish, claim: Claim): void {
    const { serverId } = opening;
    const answer = this.#quarantines.get(serverId)?.ask(this.#now) ?? { kind: "open" };
    if (answer.kind === "closed") return this.#refuse(opening, this.#quarantined(serverId, answer.until));
    const session = this.#options.open(opening, claim);
    if (session === undefined) {
      // Somebody else may try.
      if (answer.kind === "probe") this.#quarantines.get(serverId)?.abandoned();
      return;
    }
    this.#admission.opened(claim);
    if (answer.kind === "probe") this.#probes.add(session);
  }

  #makeRoom({ limit, concerns }: Obstacle): void {
    // What was only started ahead goes before anybody's session. Nobody tells when it is gone: look now and then.
    if (limit === "MAX_PROCESSES" && this.#options.yieldSpare()) {
      return this.#alarm.at(this.#now + LOOK_AGAIN_MS);
    }
    const forProcess = limit === "MAX_PROCESSES";
    let victim: Session | undefined;
    let sleeper: Session | undefined;
    for (const session of this.#options.sessions()) {
      if (!concerns(session) || (forProcess && !session.holdsProcess)) continue;
      if (session.expired) return void session.end(session.verdict!.reason);
      if (forProcess && session.mayHibernate && (sleeper === undefined || session.idleMs > sleeper.idleMs)) {
        sleeper = session;
      }
      if (session.evictable && (victim === undefined || session.deadline < victim.deadline)) victim = session;
    }
    // It costs its client the time of a start, not the session.
    if (sleeper !== undefined) return sleeper.hibernate("its process was needed");
    if (victim?.evict()) void victim.end("evicted");
  }

  /** A child that sessions share fails once, however many of them it takes along. */
  #isNews({ ownsProcess, serverId }: Session): boolean {
    if (ownsProcess) return true;
    const last = this.#lastSharedFailure.get(serverId) ?? -Infinity;
    if (this.#now < last + SAME_FAILURE_MS) return false;
    this.#lastSharedFailure.set(serverId, this.#now);
    return true;
  }

  #onFailure(serverId: string, detail: string): void {
    let quarantine = this.#quarantines.get(serverId);
    if (quarantine === undefined) this.#quarantines.set(serverId, quarantine = new Quarantine());
    if (!quarantine.failed(this.#now, detail)) return;
    log.warn("Server {serverId} is in quarantine for {ms}ms: {detail}", {
      serverId,
      ms: Math.round(quarantine.until! - this.#now),
      detail,
    });
  }

  #refuse(opening: Wish, failure: Failure): void {
    this.#refused++;
    opening.opener.reply.fail(failure);
  }

  #quarantined(serverId: string, until: number): Failure {
    const reason = this.#quarantines.get(serverId)?.reason;
    const retryAfterS = Math.max(MIN_RETRY_S, Math.ceil((until - this.#now) / 1000));
    return { code: "serverQuarantined", detail: reason, retryAfterS };
  }

  /** A principal opens one more: why it may not. */
  #tooOften(principal: string): Failure | undefined {
    const { limits } = this.#options;
    const perMinute = limits.of?.(principal).opensPerMinute ?? limits.opensPerMinute ?? 0;
    const waitMs = this.#openings.take(principal, perMinute);
    if (waitMs === 0) return undefined;
    return {
      code: "openedTooOften",
      detail: `${perMinute} a minute`,
      retryAfterS: Math.ceil(waitMs / 1000),
    };
  }

  #limited(obstacle: Obstacle): Failure {
    const { limit, max } = obstacle;
    return { code: "limitReached", detail: `${limit} is ${max}`, retryAfterS: this.#retryAfterS(obstacle) };
  }

  /** When the next session that counts against a limit expires, in s. */
  #retryAfterS({ limit, scope, concerns }: Obstacle): number {
    const now = this.#now;
    const what = `${limit} ${scope}`;
    if (this.#retry.what === what && now < this.#retry.after + RETRY_GOOD_MS) return this.#retry.seconds;
    let next = Infinity;
    for (const session of this.#options.sessions()) {
      if (concerns(session) && session.inFlight === 0) next = Math.min(next, session.deadline);
    }
    const inS = Math.ceil((next - now) / 1000);
    const seconds = next === Infinity ? USUAL_RETRY_S : Math.max(MIN_RETRY_S, Math.min(MAX_RETRY_S, inS));
    this.#retry = { what, after: now, seconds };
    return seconds;
  }

  get #now(): number {
    return this.#options.clock.now();
  }
}
