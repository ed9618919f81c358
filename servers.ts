/**
 * From the configuration of a server to what the supervisor needs: its limits and how to open a backend.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { SessionLimits, SupervisedServer } from "./actors/supervisor.ts";
import type { Ledger } from "./backends/ledger.ts";
import { gated } from "./backends/gated.ts";
import { PrewarmSource } from "./backends/prewarm.ts";
import type { ProcessTable } from "./backends/process_table.ts";
import { remoteSource } from "./backends/remote.ts";
import { SharedSource } from "./backends/shared.ts";
import { type BackendSource, perSessionSource } from "./backends/source.ts";
import { SpawnGate } from "./backends/spawn_gate.ts";
import { stdioBackend } from "./backends/stdio.ts";
import type { Clock } from "./clock.ts";
import type { ServerConfig, SettingOrigin, SettingOrigins, Settings, StdioServer } from "./config/types.ts";

/** Where nothing expires and memory pressure may still evict, it is swept as if this were the TTL, in ms. */
const EVICTION_TTL_MS = 300_000;

/** Requests of one session that may be in flight unless its server's entry says otherwise. */
const MAX_IN_FLIGHT = 64;

/** What every backend shares. */
export interface SharedParts {
  readonly clock: Clock;
  readonly processes: ProcessTable;
  /** Where children are written down; nowhere unless given. */
  readonly ledger?: Ledger;
  /** Where starts wait for their turn; all begin at once unless given. */
  readonly gate?: SpawnGate;
  /** Whether there is room for a process that no session waits for. */
  readonly mayStart?: () => boolean;
}

/** The gateway's settings and where each came from. */
export interface LimitsConfig {
  readonly settings: Settings;
  readonly origins: SettingOrigins;
}

/** Where the value of a limit came from; `file` is the server's entry in the servers file. */
export type LimitOrigin = SettingOrigin | "file";

/** Where the limits that an entry may set came from, and whether time ends sessions at all. */
export type LimitOrigins = Readonly<
  Record<
    | "idleTtlMs"
    | "handshakeTtlMs"
    | "maxLifetimeMs"
    | "onOpenStream"
    | "evictable"
    | "requestTimeoutMs"
    | "cleanup",
    LimitOrigin
  >
>;

/** What holds for the sessions of one server, and why. */
export interface EffectiveLimits {
  readonly limits: Omit<SessionLimits, "stateful">;
  /** False where time ends no session: every limit that would is 0 or false. */
  readonly cleanup: boolean;
  readonly origins: LimitOrigins;
}

/** A server as the supervisor gets it, with the origins of its limits for whoever shows them. */
export interface ConfiguredServer extends SupervisedServer {
  readonly origins: LimitOrigins;
}

/** A value and where it came from. */
interface Choice<Value> {
  readonly value: Value;
  readonly origin: LimitOrigin;
}

/** The servers to serve; disabled ones are not served at all. */
export function supervisedServers(
  config: LimitsConfig & { readonly servers: readonly ServerConfig[] },
  parts: SharedParts,
): ConfiguredServer[] {
  return config.servers.filter((server) => !server.disabled)
    .map((server) => supervisedServer(server, config, parts));
}

/** One of them. */
export function supervisedServer(
  server: ServerConfig,
  config: LimitsConfig,
  parts: SharedParts,
): ConfiguredServer {
  const { id, transport, session } = server;
  const effective = effectiveLimits(config, session);
  const { origins } = effective;
  const limits = { ...effective.limits, stateful: server.stateful };
  return {
    id,
    limits,
    origins,
    fingerprint: fingerprintOf(server),
    ...bridgeLimits(config, session),
    ...(session.maxSessions !== undefined && { maxSessions: session.maxSessions }),
    ...(transport.type !== "stdio" && transport.forwardHeaders.length > 0 &&
      { forwardHeaders: transport.forwardHeaders }),
    ...(session.maxBodyBytes !== undefined && { maxBodyBytes: session.maxBodyBytes }),
    backend: transport.type === "stdio"
      ? sourceOf(server, { transport, startTimeoutMs: limits.startTimeoutMs, ...parts })
      : remoteSource({ server: transport, clock: parts.clock }),
  };
}

/** What a session that outlives the gateway has to find again: what the server starts or reaches, and nothing else. */
function fingerprintOf({ transport, backend }: ServerConfig): string {
  const { type } = transport;
  const reached = type === "stdio" ? transport : { type, url: transport.url, headers: transport.headers };
  return createHash("sha256").update(JSON.stringify({ transport: reached, backend })).digest("hex");
}

/** What holds for a server's sessions of kind `bridge`: its own settings, else those of the bridge. */
export function bridgeLimits(
  { settings, origins }: LimitsConfig,
  session: ServerConfig["session"],
): { readonly bridgeLimits: SessionLimits; readonly bridgeOrigins: LimitOrigins } {
  const effective = effectiveLimits({
    settings: {
      ...settings,
      streamSessionTtlMs: settings.bridgeSessionTtlMs,
      disableStreamCleanup: settings.disableBridgeCleanup,
    },
    origins: {
      ...origins,
      streamSessionTtlMs: origins.bridgeSessionTtlMs,
      disableStreamCleanup: origins.disableBridgeCleanup,
    },
  }, session);
  // Nobody could name such a session to have it woken up.
  const bridgeLimits = { ...effective.limits, hibernateAfterMs: 0, stateful: true };
  return { bridgeLimits, bridgeOrigins: effective.origins };
}

/** Where the backends of a server come from: `docs/backends.md` describes the three ways. */
function sourceOf(
  { id, backend }: ServerConfig,
  { transport, startTimeoutMs, gate: given, mayStart, ...parts }: SharedParts & {
    readonly transport: StdioServer;
    readonly startTimeoutMs: number;
  },
): BackendSource {
  const { clock } = parts;
  const gate = given ?? new SpawnGate({ concurrency: Infinity, clock });
  const open = stdioBackend({ server: transport, ...parts });
  if (backend === "perSession") return perSessionSource(gated(open, gate));
  const options = { serverId: id, open, gate, clock, startTimeoutMs, ...(mayStart && { mayStart }) };
  return "shared" in backend
    ? new SharedSource({ ...options, ...backend })
    : new PrewarmSource({ ...options, ...backend });
}

/**
 * A server's own settings, where it has any, before the gateway's.
 *
 * Where cleanup is off, what ends sessions by time is off too, and its origin is the switch: `cleanup` of the
 * server's entry, else `DISABLE_STREAM_CLEANUP`. An entry cannot turn on what the gateway turned off.
 *
 * @param session Of the server's entry.
 */
export function effectiveLimits(
  { settings, origins }: LimitsConfig,
  session: ServerConfig["session"],
): EffectiveLimits {
  const cleanup: Choice<boolean> = settings.disableStreamCleanup && session.cleanup !== false
    ? { value: false, origin: origins.disableStreamCleanup }
    : choose(session.cleanup, true, origins.disableStreamCleanup);
  const unlessOff = <Value>(off: Value, choice: Choice<Value>): Choice<Value> =>
    cleanup.value ? choice : { value: off, origin: cleanup.origin };
  const idleTtlMs = unlessOff(
    0,
    choose(session.idleTtlMs, settings.streamSessionTtlMs, origins.streamSessionTtlMs),
  );
  const handshakeTtlMs = unlessOff(
    0,
    choose(session.handshakeTtlMs, settings.handshakeTtlMs, origins.handshakeTtlMs),
  );
  const maxLifetimeMs = unlessOff(
    0,
    choose(session.maxLifetimeMs, settings.maxLifetimeMs, origins.maxLifetimeMs),
  );
  const onOpenStream = choose(session.onOpenStream, settings.onOpenStream, origins.onOpenStream);
  const evictable = unlessOff(false, choose(session.evictable, false, "default"));
  const requestTimeoutMs = choose(
    session.requestTimeoutMs,
    settings.requestTimeoutMs,
    origins.requestTimeoutMs,
  );
  return {
    limits: {
      idleTtlMs: idleTtlMs.value,
      implicitTtlMs: settings.implicitTtlMs,
      handshakeTtlMs: handshakeTtlMs.value,
      maxLifetimeMs: maxLifetimeMs.value,
      onOpenStream: onOpenStream.value,
      evictable: evictable.value,
      requestTimeoutMs: requestTimeoutMs.value,
      startTimeoutMs: settings.startTimeoutMs,
      hibernateAfterMs: session.hibernateAfterMs ?? 0,
      clientReplyTimeoutMs: settings.clientReplyTimeoutMs,
      sseAfterMs: settings.sseAfterMs,
      maxInFlight: session.maxInFlightPerSession ?? MAX_IN_FLIGHT,
    },
    cleanup: cleanup.value,
    origins: {
      idleTtlMs: idleTtlMs.origin,
      handshakeTtlMs: handshakeTtlMs.origin,
      maxLifetimeMs: maxLifetimeMs.origin,
      onOpenStream: onOpenStream.origin,
      evictable: evictable.origin,
      requestTimeoutMs: requestTimeoutMs.origin,
      cleanup: cleanup.origin,
    },
  };
}

/** What the server's entry says, else what holds for all servers. */
function choose<Value>(own: Value | undefined, general: Value, origin: SettingOrigin): Choice<Value> {
  return own === undefined ? { value: general, origin } : { value: own, origin: "file" };
}

/** The client's headers that a server's entry hands on, by name in lower case; undefined where there are none. */
export function forwardedHeadersOf(
  supervisor: { server(serverId: string): Pick<SupervisedServer, "forwardHeaders"> | undefined },
): (serverId: string) => readonly string[] | undefined {
  return (serverId) => supervisor.server(serverId)?.forwardHeaders;
}

/** The longest body for a server, in bytes: its own bound, as it is now, before the gateway's. */
export function maxBodyBytesOf(
  { maxBodyBytes }: Pick<Settings, "maxBodyBytes">,
  supervisor: { server(serverId: string): Pick<SupervisedServer, "maxBodyBytes"> | undefined },
): (serverId: string) => number {
  return (serverId) => supervisor.server(serverId)?.maxBodyBytes ?? maxBodyBytes;
}

/**
 * The shortest time after which the sweeper may find a session expired, in ms; undefined where none ever expires and
 * none may be evicted. Implicit sessions whose id never came back do not count: they end by themselves.
 */
export function shortestTtlMs(inForce: Iterable<SessionLimits>): number | undefined {
  const limits = Array.from(inForce);
  const ttls = limits.flatMap(({ idleTtlMs, handshakeTtlMs, maxLifetimeMs }) => [
    idleTtlMs,
    handshakeTtlMs,
    maxLifetimeMs,
  ]).filter((ttlMs) => ttlMs > 0);
  if (ttls.length > 0) return Math.min(...ttls);
  return limits.some(({ evictable }) => evictable) ? EVICTION_TTL_MS : undefined;
}
