/**
 * The `summary` of `GET /sessions`: how many sessions there are, how scarce things are and what holds. See
 * `docs/sessions-api.md`.
 *
 * @module
 */
import {
  loadOf,
  type PressureReading,
  type Session,
  type SessionState,
  type SupervisedServer,
  type Supervisor,
  type SweepReport,
  type TtlScale,
} from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import { clipped } from "./redact.ts";
import { iso, isoOfInstant, orNull, rounded } from "./session_view.ts";

/** What is known of the sweeper. */
export interface SweepStatus {
  /** Whether nothing expires, so that nothing is swept; false unless given. */
  readonly resting?: boolean;
  /** The time between two sweeps, in ms, as it is now. */
  readonly intervalMs: number;
  readonly lastSweep: SweepReport | undefined;
  /** The last reading of the pressure. */
  readonly reading: PressureReading;
  /** Sessions that are being closed, or wait for their turn. */
  readonly closing: number;
}

/** How many there are of each. */
export type StateCounts = Record<SessionState, number>;

/** Counts the sessions that it is shown. One that is `ended` is over and its server still on its way out. */
export class Tally {
  readonly byState: StateCounts = none();
  readonly byServer = new Map<string, StateCounts>();
  total = 0;

  add({ state, serverId }: Session): void {
    let counts = this.byServer.get(serverId);
    if (counts === undefined) this.byServer.set(serverId, counts = none());
    this.byState[state]++;
    counts[state]++;
    this.total++;
  }

  /** As it is shown. */
  get view() {
    return { total: this.total, byState: this.byState, byServer: Object.fromEntries(this.byServer) };
  }
}

/** What a summary for administrators is made from. */
export interface SummaryContext {
  readonly supervisor: Supervisor;
  readonly clock: Clock;
  readonly sweep: SweepStatus | undefined;
  readonly scale: TtlScale | undefined;
}

/** What only administrators see: it is about everybody's sessions. */
export function gatewaySummary({ supervisor, clock, sweep: sweeper, scale }: SummaryContext) {
  const sweep = sweeper?.resting ? undefined : sweeper;
  const { counts, limits, quarantined } = supervisor.door;
  const quarantines = new Map(quarantined.map((quarantine) => [quarantine.serverId, quarantine]));
  return {
    remembered: supervisor.tombstones.size,
    slumbers: supervisor.slumbers,
    pressure: sweep === undefined ? null : pressureView(sweep.reading, scale?.s ?? 0),
    sweep: sweep === undefined ? null : sweepView(sweep),
    limits: {
      maxSessions: orNull(limits.maxSessions),
      maxSessionsPerPrincipal: orNull(limits.maxSessionsPerPrincipal),
      maxProcesses: orNull(limits.maxProcesses),
    },
    taken: counts,
    servers: Array.from(supervisor.servers, (server) => {
      const quarantine = quarantines.get(server.id);
      return {
        ...serverView(server, scale),
        quarantine: quarantine === undefined
          ? null
          : { until: isoOfInstant(quarantine.until, clock), reason: clipped(quarantine.reason) },
      };
    }),
  };
}

function pressureView(reading: PressureReading, ttlScale: number) {
  const { part, load } = loadOf(reading);
  const parts = Object.fromEntries(Object.entries(reading).map(([name, value]) => [name, rounded(value)]));
  return { memory: rounded(reading.memory), load: rounded(load), part, parts, ttlScale: rounded(ttlScale) };
}

function sweepView({ intervalMs, lastSweep, closing }: SweepStatus) {
  return {
    intervalMs,
    closing,
    last: lastSweep === undefined
      ? null
      : { ...lastSweep, at: iso(lastSweep.at), tookMs: Math.round(lastSweep.tookMs) },
  };
}

/** A server's limits and where each comes from, and its TTLs as pressure leaves them. */
function serverView(
  { id, limits, origins, maxSessions, backend }: SupervisedServer,
  scale: TtlScale | undefined,
) {
  const ttl = (name: "idleTtlMs" | "handshakeTtlMs" | "implicitTtlMs") => {
    const ms = limits[name];
    return ms === 0 ? null : scale?.effective(ms) ?? ms;
  };
  return {
    serverId: id,
    served: !("code" in backend),
    effectiveTtlMs: {
      idle: ttl("idleTtlMs"),
      handshake: ttl("handshakeTtlMs"),
      implicit: ttl("implicitTtlMs"),
    },
    limits: Object.fromEntries(
      Object.entries({ ...limits, maxSessions: maxSessions ?? null }).map(([name, value]) => [
        name,
        { value, origin: origins?.[name] ?? null },
      ]),
    ),
  };
}

function none(): StateCounts {
  return { starting: 0, active: 0, hibernated: 0, expired: 0, ended: 0 };
}
