/**
 * What becomes of a session that an earlier run of the gateway left: it is taken up, hibernated, or it is over.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { StoredSession } from "../stores/store.ts";
import { ENDED_BY, type EndReason } from "./end_reason.ts";
import type { TtlScale } from "./pressure.ts";
import type { Served } from "./roster.ts";
import { Session } from "./session.ts";
import { handleOf } from "./session_id.ts";
import { SESSION_KINDS, type SessionKind } from "./session_kind.ts";
import type { SessionLimits } from "./session_options.ts";
import { instantOf, readRecord, type SessionRecord } from "./session_record.ts";
import type { Tombstone } from "./tombstones.ts";

/** Why one is not taken up. */
export interface Loss {
  readonly reason: EndReason;
  readonly detail: string;
}

/** Takes a session up, or says why not. @param served Its server as it is now; undefined where there is none. */
export function takeUp(stored: StoredSession, served: Served | undefined, clock: Clock): Session | Loss {
  const { serverId, principal, digest, key, protocolVersion } = stored;
  const about = `server "${serverId}"`;
  if (served === undefined) {
    return { reason: "server_changed", detail: `${about} is not configured any more` };
  }
  const { server, source } = served;
  if (stored.fingerprint !== (server.fingerprint ?? "")) {
    return { reason: "server_changed", detail: `${about} was configured anew` };
  }
  if (server.limits.stateful) {
    return {
      reason: "stateful",
      detail: `${about} keeps state of its sessions, and the gateway was restarted`,
    };
  }
  let record: SessionRecord;
  let limits: SessionLimits;
  try {
    record = readRecord(stored.state, clock);
    // It lives by the limits that it was opened with. Those that it did not know are as they are now.
    limits = { ...server.limits, ...JSON.parse(stored.limits) as SessionLimits };
  } catch {
    return { reason: "store_failed", detail: "what was written down of it cannot be read" };
  }
  return new Session({
    id: undefined,
    handle: handleOf(digest),
    principal,
    kind: kindOf(stored),
    context: served.contextWith(limits),
    ownsProcess: !("code" in source) && source.ownsProcess,
    implicitVersion: undefined,
    restored: {
      key,
      digest,
      protocolVersion,
      // The wall clock may have been set back: nobody used it later than now.
      lastUsed: Math.min(clock.now(), instantOf(stored.lastUsed, clock)),
      record,
    },
  });
}

/** What stays of one that was not taken up. */
export function tombstoneOfLost(
  stored: StoredSession,
  { reason, detail }: Loss,
  { clock, scale }: { readonly clock: Clock; readonly scale: TtlScale },
): Tombstone {
  const now = clock.wallTime();
  const { timeline, ttlMs } = readWhatIsThere(stored, clock);
  return {
    handle: handleOf(stored.digest),
    serverId: stored.serverId,
    principal: stored.principal,
    kind: kindOf(stored),
    protocolVersion: stored.protocolVersion,
    openedAt: stored.openedAt,
    endedAt: now,
    verdict: {
      reason,
      detail,
      by: ENDED_BY[reason],
      idleMs: Math.max(0, now - stored.lastUsed),
      ttl: { source: "idleTtlMs", configuredMs: ttlMs, effectiveMs: ttlMs },
      pressure: scale.memory,
      instant: clock.now(),
      at: now,
      missed: false,
    },
    counters: timeline?.counters ??
      { requests: 0, notifications: 0, responses: 0, serverMessages: 0, peakInFlight: 0 },
    timeline: [...timeline?.noted ?? [], { at: now, event: "ended", detail }],
    skipped: timeline?.skipped ?? 0,
  };
}

function readWhatIsThere(
  { state, limits }: StoredSession,
  clock: Clock,
): { timeline: SessionRecord["timeline"] | undefined; ttlMs: number } {
  try {
    const { idleTtlMs } = JSON.parse(limits) as SessionLimits;
    return { timeline: readRecord(state, clock).timeline, ttlMs: idleTtlMs || Infinity };
  } catch {
    return { timeline: undefined, ttlMs: Infinity };
  }
}

function kindOf({ kind }: StoredSession): SessionKind {
  return SESSION_KINDS.find((known) => known === kind) ?? "streamable";
}
