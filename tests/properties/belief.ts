/**
 * What is believed of one session, and the sums that its life comes to.
 *
 * @module
 */
import { PING_TIMEOUT_MS } from "../../actors/lifetime.ts";
import type { EndReason, SessionLimits } from "../../actors/supervisor.ts";
import type { Counters } from "../../actors/timeline.ts";
import type { FakeStream } from "../fakes/fake_client.ts";
import type { Life, Mail } from "./life.ts";
import { MIN_TTL_MS } from "./servers.ts";

/** A server that reports progress without end keeps a request for so many time-outs. */
const MAX_TIMEOUTS = 24;

/** A request of the client in flight. */
export interface Asked {
  readonly mail: Mail;
  readonly sentAt: number;
  /** It was sent, or the server last reported progress: from then on its time-out counts. */
  freshAt: number;
  readonly timeoutMs: number;
  /** How long the server waited for the client since then: that time is not its own. */
  pausedMs: number;
}

/** A request of the server that is not answered. */
export interface Question {
  /** When it was asked, then when it was seen by the client. */
  since: number;
  stream: FakeStream | undefined;
  /** Whether it may keep the session: not where the client left an earlier one unanswered. */
  counts: boolean;
}

/** How far TTLs are scaled down: 0 not at all, 1 as far as it goes. */
export function scaled(ttlMs: number, s: number): number {
  const minMs = Math.min(MIN_TTL_MS, ttlMs);
  return Math.round(ttlMs - s * (ttlMs - minMs));
}

/** See the module's documentation. */
export class Belief {
  phase: "starting" | "active" | "expired" | "ended" = "starting";
  /** The reason with which it ended, or will when it is swept. */
  reason: EndReason | undefined;
  cameBack: boolean;
  /** Whether its client has asked for anything but the handshake. */
  used = false;
  expiredAt = Infinity;
  silent = false;
  draining = false;
  readonly asked = new Map<string | number, Asked>();
  readonly questions = new Map<string | number, Question>();
  /** Those that were open when it expired, for as long as nobody saw that. */
  shelved = new Map<string | number, Question>();
  /** What waits for the start of an implicit session. */
  held: Mail[] = [];
  standalone: FakeStream | undefined;
  /** When its client last answered a ping. */
  aliveAt = -Infinity;
  /** An administrator keeps it until then. */
  keptUntil = -Infinity;
  /** The ping that is not answered: since when the session was idle then, and how long it waits. */
  ping: { readonly idleSince: number; readonly until: number } | undefined;
  /** How many pings went out: the last one may have done so in the turn of the message that is looked at. */
  pingsSent = 0;
  /** Pings that have to turn up at the next look. */
  duePings = 0;
  readonly counters: { -readonly [name in keyof Counters]: number } = {
    requests: 0,
    notifications: 0,
    responses: 0,
    serverMessages: 0,
    peakInFlight: 0,
  };
  /** Whether the session itself was seen to have expired. */
  isSeen = false;
  /** How often its client came back after it was idle. */
  returns = 0;
  /** How long it was idle when it was over. */
  idleMsAtEnd = 0;
  /** Whether its client came back when it was over. */
  missed = false;
  /** Since when something of it that was due is done: whether before or after something else, cannot be told. */
  doneAt = -Infinity;

  constructor(
    readonly life: Life,
    readonly limits: SessionLimits,
    { now, endOfLife }: { now: number; endOfLife: number },
  ) {
    this.openedAt = this.lastUsed = now;
    this.endOfLife = endOfLife;
    this.cameBack = !life.implicit;
  }

  readonly openedAt: number;
  readonly endOfLife: number;
  lastUsed: number;

  /** The TTL as configured. */
  get ttlMs(): number {
    const { idleTtlMs, implicitTtlMs, handshakeTtlMs } = this.limits;
    if (!this.cameBack) return Math.min(idleTtlMs, implicitTtlMs);
    return !this.used && handshakeTtlMs > 0 ? Math.min(idleTtlMs, handshakeTtlMs) : idleTtlMs;
  }

  /** Since when nobody is known to be there. */
  get #idleSince(): number {
    return Math.max(this.lastUsed, this.aliveAt);
  }

  /** Until when it may be idle where it is asked nothing. */
  #unasked(s: number): number {
    return Math.max(this.#idleSince + scaled(this.ttlMs, s), this.keptUntil);
  }

  /** Whether its client was asked and need not be asked again. */
  #isAsked(s: number): boolean {
    return this.ping?.idleSince === this.#idleSince && this.#unasked(s) <= this.ping.until;
  }

  idleDeadline(s: number): number {
    return this.#isAsked(s) ? this.ping!.until : this.#unasked(s);
  }

  deadline(s: number): number {
    return Math.min(this.idleDeadline(s), this.endOfLife);
  }

  /** Nothing keeps it, and its time is up. */
  isDue(now: number, s: number): boolean {
    return this.phase === "active" && this.inFlight(now) === 0 && now >= this.deadline(s);
  }

  /** Whether its client is to be asked first. */
  isToBeAsked(now: number, s: number): boolean {
    return this.isDue(now, s) && this.limits.onOpenStream === "ping" && this.standalone?.open === true &&
      now < this.endOfLife && !this.#isAsked(s);
  }

  isDead(now: number, s: number): boolean {
    return this.isDue(now, s) && !this.isToBeAsked(now, s);
  }

  ask(now: number): void {
    this.ping = { idleSince: this.#idleSince, until: now + PING_TIMEOUT_MS };
    this.pingsSent++;
  }

  /** Why time ends it. */
  reasonAt(s: number): EndReason {
    if (this.endOfLife < this.idleDeadline(s)) return "max_lifetime";
    return this.cameBack ? "idle" : "implicit";
  }

  /** It is over, with nothing to wait for but the sweep. */
  expire(now: number, s: number, reason = this.reasonAt(s)): void {
    this.reason = reason;
    this.idleMsAtEnd = now - this.lastUsed;
    this.phase = "expired";
    this.expiredAt = now;
    this.shelved = new Map(this.questions);
    this.questions.clear();
  }

  /** Its deadline came to lie ahead again before anybody saw that it had passed. */
  restore(): void {
    this.phase = "active";
    this.reason = undefined;
    this.idleMsAtEnd = 0;
    for (const [id, question] of this.shelved) this.questions.set(id, question);
  }

  /** When a request is answered for. */
  dueAt({ sentAt, freshAt, pausedMs, timeoutMs }: Asked): number {
    return Math.min(freshAt + Math.min(pausedMs, timeoutMs) + timeoutMs, sentAt + MAX_TIMEOUTS * timeoutMs);
  }

  /** The design's definition of "in flight". */
  inFlight(now: number): number {
    let counting = 0;
    for (const question of this.questions.values()) {
      if (question.counts && now < question.since + this.limits.clientReplyTimeoutMs) counting++;
    }
    return this.asked.size + counting;
  }

  /** The same where nothing is overdue: a client's request keeps the server's requests. */
  get inUse(): number {
    return this.asked.size + this.questions.values().filter(({ counts }) => counts).toArray().length;
  }

  countInFlight(): void {
    this.counters.peakInFlight = Math.max(this.counters.peakInFlight, this.inUse);
  }

  isOverdue(now: number): boolean {
    if (this.phase === "starting" && now >= this.openedAt + this.limits.startTimeoutMs) return true;
    for (const asked of this.asked.values()) if (now >= this.dueAt(asked)) return true;
    for (const { since } of this.questions.values()) {
      if (now >= since + this.limits.clientReplyTimeoutMs) return true;
    }
    return false;
  }
}
