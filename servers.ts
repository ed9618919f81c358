/**
 * From the configuration of a server to what the supervisor needs: its limits and how to open a backend.
 *
 * @module
 */
import type { SessionLimits, SupervisedServer } from "./actors/supervisor.ts";
import { SWEEPS_PER_TTL } from "./actors/sweeper.ts";
import type { ProcessTable } from "./backends/process_table.ts";
import { stdioBackend } from "./backends/stdio.ts";
import type { Clock } from "./clock.ts";
import type { ServerConfig, Settings } from "./config/types.ts";

/** What every backend shares. */
export interface SharedParts {
  readonly clock: Clock;
  readonly processes: ProcessTable;
}

/** The servers to serve; disabled ones are not served at all. */
export function supervisedServers(
  { settings, servers }: { readonly settings: Settings; readonly servers: readonly ServerConfig[] },
  { clock, processes }: SharedParts,
): SupervisedServer[] {
  return servers.filter((server) => !server.disabled).map(({ id, transport, session }) => ({
    id,
    limits: limitsOf(settings, session),
    backend: transport.type === "stdio" ? stdioBackend({ server: transport, clock, processes }) : {
      code: "serverNotServed",
      detail: `server "${id}" is remote (${transport.type}), and this version serves stdio servers only`,
    },
  }));
}

/** A server's own settings, where it has any, before the gateway's. */
function limitsOf(settings: Settings, session: ServerConfig["session"]): SessionLimits {
  const cleanup = session.cleanup && !settings.disableStreamCleanup;
  return {
    idleTtlMs: cleanup ? session.idleTtlMs ?? settings.streamSessionTtlMs : 0,
    implicitTtlMs: settings.implicitTtlMs,
    handshakeTtlMs: 0,
    maxLifetimeMs: 0,
    onOpenStream: "ping",
    evictable: false,
    requestTimeoutMs: session.requestTimeoutMs ?? settings.requestTimeoutMs,
    startTimeoutMs: settings.startTimeoutMs,
    clientReplyTimeoutMs: settings.clientReplyTimeoutMs,
    sseAfterMs: settings.sseAfterMs,
  };
}

/** The longest body for a server, in bytes: its own bound before the gateway's. */
export function maxBodyBytesOf(
  { settings, servers }: { readonly settings: Settings; readonly servers: readonly ServerConfig[] },
): (serverId: string) => number {
  const own = new Map(servers.map(({ id, session }) => [id, session.maxBodyBytes]));
  return (serverId) => own.get(serverId) ?? settings.maxBodyBytes;
}

/** The interval that serves the shortest TTL in force, in ms; undefined where nothing ever expires. */
export function sweepIntervalMs(servers: Iterable<SupervisedServer>): number | undefined {
  const ttls = Array.from(servers, ({ limits }) => limits.idleTtlMs).filter((ttlMs) => ttlMs > 0);
  return ttls.length === 0 ? undefined : intervalFor(Math.min(...ttls));
}

/** How often to sweep for a TTL, in ms; at least 1. */
export function intervalFor(ttlMs: number): number {
  return Math.max(1, Math.floor(ttlMs / SWEEPS_PER_TTL));
}
