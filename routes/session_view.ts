/**
 * What the monitoring API shows of a session: see `docs/sessions-api.md`. Instants are ISO 8601, durations whole ms,
 * and null is never or none. Of what names a session only the handle is here.
 *
 * @module
 */
import {
  type Counters,
  END_REASONS,
  type EndReason,
  type Session,
  type SessionKind,
  type SessionState,
  type SupervisedServer,
  type TimelineEntry,
  type Tombstone,
  type TtlInForce,
  type Verdict,
} from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import { clipped } from "./redact.ts";

/** A session as a list has it. */
export interface SessionView {
  readonly id: string;
  readonly serverId: string;
  readonly principal: string;
  readonly kind: SessionKind;
  readonly state: SessionState;
  readonly protocolVersion: string | null;
  readonly openedAt: string;
  readonly endedAt: string | null;
  readonly idleMs: number;
  readonly inFlight: number;
  readonly openStreams: number;
  /** Null too while it is in use. */
  readonly deadline: string | null;
  readonly ttlMs: number | null;
  readonly pid: number | null;
  readonly endReason: EndReason | null;
}

/** A TTL, and why it is what it is. */
export interface TtlView {
  readonly effectiveMs: number | null;
  readonly configuredMs: number | null;
  readonly source: TtlInForce["source"];
  readonly origin: string | null;
  readonly why: string;
}

/** Why a session is over. */
export interface EndView {
  readonly reason: EndReason;
  readonly message: string;
  readonly by: string;
  readonly at: string;
  readonly idleMs: number;
  readonly ttl: TtlView;
  readonly pressure: number;
}

/** A session by itself. */
export interface SessionDetail extends SessionView {
  readonly ttl: TtlView;
  readonly endOfLife: string | null;
  readonly end: EndView | null;
  readonly backend:
    | { readonly pid: number | null; readonly uptimeMs: number; readonly rssBytes: number | null }
    | null;
  readonly requests: readonly { readonly from: string; readonly method: string; readonly ageMs: number }[];
  readonly standaloneStream: boolean;
  readonly counters: Counters;
  readonly timeline: readonly {
    readonly at: string;
    readonly event: string;
    readonly detail: string | null;
  }[];
  readonly timelineSkipped: number;
}

/** What a view takes from elsewhere. */
export interface ViewContext {
  readonly clock: Clock;
  /** The server of a session, with the origins of what holds for sessions of that kind. */
  readonly server: (session: Pick<Session, "serverId" | "kind">) => ServerLimits | undefined;
}

/** What is told of the limits of a server. */
export type ServerLimits = Pick<SupervisedServer, "origins">;

/** A server as it is for sessions of a kind. */
export function limitsFor(server: SupervisedServer | undefined, kind: SessionKind): ServerLimits | undefined {
  if (server === undefined || kind === "streamable") return server;
  const origins = server.bridgeOrigins ?? server.origins;
  return origins === undefined ? {} : { origins };
}

/** A session that is not over. */
export function sessionView(session: Session, { clock }: Pick<ViewContext, "clock">): SessionView {
  const { inFlight, verdict } = session;
  return {
    id: session.handle,
    serverId: session.serverId,
    principal: session.principal,
    kind: session.kind,
    state: session.state,
    protocolVersion: session.protocolVersion ?? null,
    openedAt: iso(session.account.timeline.openedAt),
    endedAt: null,
    idleMs: Math.floor(session.idleMs),
    inFlight,
    openStreams: session.conversation.openStreams,
    deadline: inFlight > 0 || verdict !== undefined ? null : isoOfInstant(session.deadline, clock),
    ttlMs: orNull(session.ttl.effectiveMs),
    pid: session.pid ?? null,
    endReason: verdict?.reason ?? null,
  };
}

/** A session that ended. */
export function tombstoneView(tombstone: Tombstone): SessionView {
  const { verdict } = tombstone;
  return {
    id: tombstone.handle,
    serverId: tombstone.serverId,
    principal: tombstone.principal,
    kind: tombstone.kind,
    state: "ended",
    protocolVersion: tombstone.protocolVersion ?? null,
    openedAt: iso(tombstone.openedAt),
    endedAt: iso(tombstone.endedAt),
    idleMs: Math.floor(verdict.idleMs),
    inFlight: 0,
    openStreams: 0,
    deadline: null,
    ttlMs: orNull(verdict.ttl.effectiveMs),
    pid: null,
    endReason: verdict.reason,
  };
}

/** All that there is to say of a session that is not over. */
export function sessionDetail(
  session: Session,
  { rssBytes, ...context }: ViewContext & { readonly rssBytes: number | undefined },
): SessionDetail {
  const { clock } = context;
  const { account, conversation, pid, verdict } = session;
  const { timeline } = account;
  return {
    ...sessionView(session, context),
    ttl: ttlView(session.ttl, context.server(session)),
    endOfLife: isoOfInstant(session.endOfLife, clock),
    end: verdict === undefined ? null : endView(verdict, context.server(session)),
    backend: {
      pid: pid ?? null,
      uptimeMs: Math.max(0, clock.wallTime() - timeline.openedAt),
      rssBytes: rssBytes ?? null,
    },
    requests: conversation.listInFlight(clock.now()).map(({ asker, method, ageMs }) => ({
      from: asker,
      method: clipped(method, 100),
      ageMs: Math.floor(ageMs),
    })),
    standaloneStream: conversation.hasStandalone,
    ...historyOf({
      counters: timeline.counters,
      timeline: timeline.entries,
      skipped: timeline.skipped,
    }),
  };
}

/** All that there is to say of a session that ended. */
export function tombstoneDetail(tombstone: Tombstone, context: ViewContext): SessionDetail {
  const { verdict } = tombstone;
  const server = context.server(tombstone);
  return {
    ...tombstoneView(tombstone),
    ttl: ttlView(verdict.ttl, server),
    endOfLife: null,
    end: endView(verdict, server),
    backend: null,
    requests: [],
    standaloneStream: false,
    ...historyOf(tombstone),
  };
}

/** Why a session is over. */
export function endView(verdict: Verdict, server: ServerLimits | undefined): EndView {
  const { reason, detail, by, at, idleMs, ttl, pressure } = verdict;
  return {
    reason,
    message: clipped(detail ?? END_REASONS[reason]),
    by,
    at: iso(at),
    idleMs: Math.floor(idleMs),
    ttl: ttlView(ttl, server),
    pressure: rounded(pressure),
  };
}

/** A TTL in force, and why it is what it is. */
export function ttlView(
  { source, configuredMs, effectiveMs }: TtlInForce,
  server: ServerLimits | undefined,
): TtlView {
  const origin = server?.origins?.[source] ?? null;
  const configured = `${source} is ${orNull(configuredMs) ?? 0}${origin === null ? "" : ` (${origin})`}`;
  const why = configuredMs === Infinity
    ? `${configured}: never`
    : effectiveMs < configuredMs
    ? `${configured}, shortened to ${effectiveMs} ms by memory pressure`
    : configured;
  return { effectiveMs: orNull(effectiveMs), configuredMs: orNull(configuredMs), source, origin, why };
}

function historyOf(
  { counters, timeline, skipped }: {
    readonly counters: Counters;
    readonly timeline: readonly TimelineEntry[];
    readonly skipped: number;
  },
): Pick<SessionDetail, "counters" | "timeline" | "timelineSkipped"> {
  return {
    counters,
    timeline: timeline.map(({ at, event, detail }) => ({
      at: iso(at),
      event,
      detail: detail === undefined ? null : clipped(detail),
    })),
    timelineSkipped: skipped,
  };
}

/** Wall time as ISO 8601. */
export function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

/** An instant of the clock as ISO 8601; null for never. */
export function isoOfInstant(instant: number, clock: Clock): string | null {
  return Number.isFinite(instant) ? iso(Math.round(clock.wallTime() + instant - clock.now())) : null;
}

/** Infinity, for never, is null in JSON. */
export function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** To three places. */
export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
