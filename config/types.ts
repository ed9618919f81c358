/**
 * What the rest of the gateway knows of its configuration: validated, with every default filled in.
 *
 * @module
 */

import type { LogFormat, LogLevel } from "../log.ts";
export { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from "../log.ts";

/** The longest time that can be set, in ms: over a year is `0`, never, or a slip of the hand. */
export const MAX_MS = 366 * 24 * 60 * 60 * 1000;

/** What becomes of a session whose deadline comes while its client holds the standalone stream open. */
export const ON_OPEN_STREAM = ["ping", "expire"] as const;
export type OnOpenStream = typeof ON_OPEN_STREAM[number];

/** Where sessions are written down: see `stores/mod.ts`. */
export const SESSION_STORES = ["sqlite", "memory"] as const;
export type SessionStoreName = typeof SESSION_STORES[number];

/** The gateway's own settings, each from a flag, an environment variable, `.env` or its default. */
export interface Settings {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Folder that also gets `gateway.log`; undefined writes no file. */
  readonly logDir: string | undefined;
  /** Folder of what outlives the gateway. */
  readonly dataDir: string;
  readonly sessionStore: SessionStoreName;
  /** Idle time after which a streamable session expires, in ms; 0 means never. */
  readonly streamSessionTtlMs: number;
  /** The same for a bridge session. */
  readonly bridgeSessionTtlMs: number;
  /** The same for one that was only initialized; 0 means that the usual one applies. */
  readonly handshakeTtlMs: number;
  /** Age from which on a session takes no new requests, in ms; 0 means never. */
  readonly maxLifetimeMs: number;
  readonly onOpenStream: OnOpenStream;
  /** The shortest TTL that memory pressure may cause, in ms. */
  readonly minTtlMs: number;
  /** What counts as all the memory there is; undefined is 80% of the physical memory. */
  readonly memoryLimitBytes: number | undefined;
  /** Servers that a sweep closes at a time. */
  readonly sweepCloseConcurrency: number;
  /** Sessions that may be open at a time. */
  readonly maxSessions: number;
  /** The same for each principal; 0 is no limit of its own. */
  readonly maxSessionsPerPrincipal: number;
  /** Sessions that each principal may open in a minute; 0 is any number. */
  readonly opensPerMinute: number;
  /** Child processes of all servers together; undefined takes what fits into the memory. */
  readonly maxProcesses: number | undefined;
  /** Servers that start at a time; undefined is two for each core. */
  readonly spawnConcurrency: number | undefined;
  /** How long an opening waits for room where a limit is met, in ms. */
  readonly admissionWaitMs: number;
  /** Ended sessions that are remembered. */
  readonly tombstones: number;
  /** The commands that a request to `/bridge` may have run, as written: see `bridge_commands.ts`. */
  readonly bridgeCommands: string | undefined;
  readonly disableBridgeCleanup: boolean;
  readonly disableStreamCleanup: boolean;
  /** Whether a request without a session id opens a session by itself. */
  readonly implicitSessions: boolean;
  /** Whether HTTP+SSE is served besides. */
  readonly legacySse: boolean;
  readonly mcpConfig: string;
  /** Whether `mcpConfig` was asked for by name: then a missing file is a mistake. */
  readonly mcpConfigNamed: boolean;
  readonly requestTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly clientReplyTimeoutMs: number;
  readonly sseAfterMs: number;
  readonly implicitTtlMs: number;
  readonly drainMs: number;
  /** Bytes that may wait for one reader of a stream. */
  readonly maxStreamBufferBytes: number;
  /** How long the reader of a stream that is over that may read nothing, in ms. */
  readonly streamStallMs: number;
  /** How long the connection of a stream that can be resumed may be open, in ms; 0 for any time. */
  readonly streamMaxMs: number;
  /** The longest body that is taken, in bytes. */
  readonly maxBodyBytes: number;
  /** How long a body may take to come, in ms. */
  readonly bodyTimeoutMs: number;
  /** The token of the principal `default`. A secret. */
  readonly accessToken: string | undefined;
  /** File with the tokens of many principals. */
  readonly accessTokensFile: string | undefined;
  /** Wrong tokens from one address in a minute, from which on they get 429; 0 is any number. */
  readonly authFailuresPerMinute: number;
  /** The token of whoever administers. A secret. */
  readonly adminToken: string | undefined;
  /** Whether the gateway may serve networks without any token. */
  readonly allowUnauthenticated: boolean;
  /** Origins besides the gateway's own from which browsers may come; `*` is all. */
  readonly allowedOrigins: readonly string[];
  /** Values of the Host header that are served, with or without a port; empty is the default rule. */
  readonly allowedHosts: readonly string[];
}

/** Where a setting's value came from; `env` is the environment or `.env`. */
export type SettingOrigin = "default" | "env" | "flag";

/** Where each setting that has a variable and a flag of its own came from. */
export type SettingOrigins = Readonly<Record<Exclude<keyof Settings, "mcpConfigNamed">, SettingOrigin>>;

/** A server that runs as a child process and speaks on stdin and stdout. */
export interface StdioServer {
  readonly type: "stdio";
  readonly command: string;
  readonly args: readonly string[];
  /** Variables on top of the allow-list that every child gets. Values may be secrets. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute. Defaults to the folder of the configuration file. */
  readonly cwd: string;
}

/** A server elsewhere, reached over HTTP. */
export interface RemoteServer {
  readonly type: "http" | "sse";
  readonly url: string;
  /** Values may be secrets. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names of the client's headers that are handed on, in lower case. */
  readonly forwardHeaders: readonly string[];
  /** How long it may take to be connected to, in ms. */
  readonly connectTimeoutMs: number;
  /** How long it may take to send what is due, in ms. */
  readonly readTimeoutMs: number;
  /** Certificates in PEM form that are trusted besides the usual ones. */
  readonly caCerts: string | undefined;
}

/** What `session` of a server's entry may set; undefined falls back to the gateway's setting or default. */
export interface SessionOptions {
  /** Idle time after which a session of this server expires, in ms; 0 means never. */
  readonly idleTtlMs: number | undefined;
  /** Idle time after which a session gives its backend back and lives on, in ms; 0 means never. */
  readonly hibernateAfterMs: number | undefined;
  /** The same for one that was only initialized; 0 means that `idleTtlMs` applies. */
  readonly handshakeTtlMs: number | undefined;
  /** Age from which on a session takes no new requests, in ms; 0 means never. */
  readonly maxLifetimeMs: number | undefined;
  readonly onOpenStream: OnOpenStream | undefined;
  /** Whether an idle session may go before its deadline when memory runs out. */
  readonly evictable: boolean | undefined;
  /** How long one request may take, in ms. */
  readonly requestTimeoutMs: number | undefined;
  /** How many sessions this server may have. */
  readonly maxSessions: number | undefined;
  /** How many requests of one session may be in flight. */
  readonly maxInFlightPerSession: number | undefined;
  /** The longest body that is taken for this server, in bytes. */
  readonly maxBodyBytes: number | undefined;
  /** False: time ends no session of this server. */
  readonly cleanup: boolean | undefined;
}

/** Where the backends of a server come from: see `docs/backends.md`. */
export type BackendMode =
  | "perSession"
  /** So many are started ahead, and replaced from that age on, in ms; 0 is never. */
  | { readonly prewarm: number; readonly prewarmMaxAgeMs: number }
  /** Sessions share so many. */
  | { readonly shared: number };

/** One entry of the servers file. */
export interface ServerConfig {
  /** Its key in the file: the `:serverId` of `/mcp/:serverId`. */
  readonly id: string;
  readonly transport: StdioServer | RemoteServer;
  readonly disabled: boolean;
  readonly backend: BackendMode;
  /** Whether the server keeps state of its sessions, so that none of them outlives it. */
  readonly stateful: boolean;
  readonly session: SessionOptions;
}

/** A server that is served by another entry now. */
export interface ChangedServer {
  readonly id: string;
  /** What of its entry changed, such as `args`, `env.API_KEY` or `session.idleTtlMs`, in alphabetical order. */
  readonly keys: readonly string[];
}

/** What another servers file means for those who use the servers: to disable one is to remove it. Without values. */
export interface ServersDiff {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly ChangedServer[];
  /** How many are as they were. */
  readonly unchanged: number;
}

/** Whether a host is this machine under one of its loopback names or addresses. Brackets and case do not matter. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[|\]$/g, "").replace(/\.$/, "");
  return name === "localhost" || name.endsWith(".localhost") || name === "::1" ||
    /^127(\.\d{1,3}){3}$/.test(name);
}
