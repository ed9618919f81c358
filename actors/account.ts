/**
 * The account of one session: who it was, what happened to it, why it is over. From here comes what its tombstone
 * says, what its client is told, and what watchers are told while it lives.
 *
 * @module
 */
import type { Failure } from "../errors.ts";
import type { Message } from "../protocol/jsonrpc.ts";
import { END_REASONS, ENDED_BY, type EndedBy, type EndReason } from "./end_reason.ts";
import type { TtlInForce } from "./lifetime.ts";
import type { SessionContext } from "./session_options.ts";
import type { SessionState } from "./session.ts";
import type { SessionKind } from "./session_kind.ts";
import { Timeline, type TimelineEvent, type TimelineState } from "./timeline.ts";
import type { Tombstone } from "./tombstones.ts";

/** Why a session is over, reckoned at the instant at which that was decided. */
export interface Verdict {
  readonly reason: EndReason;
  /** What happened, where more is known than the reason. */
  readonly detail: string | undefined;
  readonly by: EndedBy;
  /** How long nobody had used it, in ms; 0 where something was in flight. */
  readonly idleMs: number;
  /** The TTL then in force. */
  readonly ttl: TtlInForce;
  /** Memory pressure then. */
  readonly pressure: number;
  /** In ms of the clock. */
  readonly instant: number;
  /** The same in ms since the Unix epoch. */
  readonly at: number;
  /** Whether its client has come back since, to find it gone. */
  missed: boolean;
}

/** What a client may know of the end of its own session: `data` of the 404. Durations in ms, null for never. */
export interface Explanation {
  readonly reason: EndReason;
  readonly message: string;
  readonly idleMs: number;
  readonly ttlMs: number | null;
}

/** What a client is told whose session is over. It is its own, so it may know why. */
export function notFound(verdict: Verdict | undefined): Failure {
  if (verdict === undefined) return { code: "sessionNotFound" };
  const { reason, detail, idleMs, ttl } = verdict;
  const data: Explanation = {
    reason,
    message: `The session is over: ${detail ?? END_REASONS[reason]}`,
    idleMs: Math.floor(idleMs),
    ttlMs: Number.isFinite(ttl.effectiveMs) ? ttl.effectiveMs : null,
  };
  return { code: "sessionNotFound", data };
}

/** A client came back to a session that is over: so long it was idle, and not for good. */
export function noteMissed(verdict: Verdict, { gaps, clock }: Pick<SessionContext, "gaps" | "clock">): void {
  if (verdict.missed || verdict.idleMs === 0) return;
  verdict.missed = true;
  gaps.cameBackLate(verdict.idleMs, verdict.idleMs + clock.now() - verdict.instant);
}

/** How to make an {@link Account}. */
export interface AccountOptions {
  readonly handle: string;
  readonly principal: string;
  readonly kind: SessionKind;
  readonly context: SessionContext;
  /** What was written down of an earlier life. */
  readonly timeline?: TimelineState;
}

/** See the module's documentation. */
export class Account {
  readonly handle: string;
  readonly principal: string;
  readonly kind: SessionKind;
  readonly timeline: Timeline;
  readonly #context: SessionContext;
  #verdict: Verdict | undefined;

  constructor({ handle, principal, kind, context, timeline }: AccountOptions) {
    this.handle = handle;
    this.principal = principal;
    this.kind = kind;
    this.#context = context;
    this.timeline = new Timeline(timeline ?? context.clock.wallTime());
  }

  /** Why the session is over; undefined while it lives. */
  get verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /** The session takes its first steps. */
  opened(): void {
    this.#publish({ type: "opened" });
  }

  /** The server answered `initialize`. */
  active(): void {
    this.timeline.active(this.#context.clock.wallTime());
    this.#publish({ type: "state", state: "active" });
  }

  /**
   * The client sent a message.
   *
   * @param idleMs How long nobody had used the session; undefined where something was in flight.
   */
  received(message: Message, idleMs: number | undefined): void {
    this.timeline.received(message.kind);
    if (message.kind !== "request" || message.method === "initialize") return;
    if (idleMs !== undefined) this.#context.gaps.cameBack(idleMs);
    this.timeline.used(message.method, this.#context.clock);
  }

  /** Its backend was given back, and it lives on. */
  hibernated(why: string): void {
    this.note("hibernated", why);
    this.#publish({ type: "state", state: "hibernated" });
  }

  /** Another backend took the place of the one that was given back. */
  revived(): void {
    this.note("revived");
    this.#publish({ type: "state", state: "active" });
  }

  /** Notes something that happens rarely. */
  note(event: TimelineEvent, detail?: string): void {
    this.timeline.note({
      at: this.#context.clock.wallTime(),
      event,
      ...(detail !== undefined && { detail }),
    });
  }

  /** So many requests are in flight now. */
  inFlight(count: number): void {
    this.timeline.inFlight(count, this.#context.clock);
  }

  /** It is over. The first verdict stays. */
  judge({ reason, detail, idleMs, ttl }: Pick<Verdict, "reason" | "detail" | "idleMs" | "ttl">): Verdict {
    if (this.#verdict !== undefined) return this.#verdict;
    const { clock, scale, gaps } = this.#context;
    if (idleMs > 0) gaps.ended(idleMs);
    return this.#verdict = {
      reason,
      detail,
      by: ENDED_BY[reason],
      idleMs,
      ttl,
      pressure: scale.memory,
      instant: clock.now(),
      at: clock.wallTime(),
      missed: false,
    };
  }

  /** It expired; what it holds waits for the sweeper. */
  expired({ reason }: Verdict): void {
    this.note("expired", END_REASONS[reason]);
    this.#publish({ type: "state", state: "expired" });
  }

  /** It ended. */
  ended({ reason, detail }: Verdict): void {
    this.note("ended", detail ?? END_REASONS[reason]);
    this.#publish({ type: "ended", reason, detail });
  }

  /** Its client asks for something and finds it gone. */
  missed(): void {
    if (this.#verdict !== undefined) noteMissed(this.#verdict, this.#context);
  }

  /** What stays of a session that is over. */
  tombstone(protocolVersion: string | undefined): Tombstone {
    const { handle, principal, kind, timeline } = this;
    const verdict = this.#verdict!;
    return {
      handle,
      serverId: this.#context.serverId,
      principal,
      kind,
      protocolVersion,
      openedAt: timeline.openedAt,
      endedAt: verdict.at,
      verdict,
      counters: timeline.counters,
      timeline: timeline.entries,
      skipped: timeline.skipped,
    };
  }

  #publish(what: News): void {
    const { events, clock, serverId } = this.#context;
    if (!events.watched) return;
    events.publish({
      at: clock.wallTime(),
      session: this.handle,
      serverId,
      principal: this.principal,
      ...what,
    });
  }
}

type News =
  | { readonly type: "opened" }
  | { readonly type: "state"; readonly state: SessionState }
  | { readonly type: "ended"; readonly reason: EndReason; readonly detail: string | undefined };
