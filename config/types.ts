/**
 * What the rest of the gateway knows of its configuration: validated, with every default filled in.
 *
 * @module
 */

import type { LogFormat, LogLevel } from "../log.ts";
export { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from "../log.ts";

/** The gateway's own settings, each from a flag, an environment variable, `.env` or its default. */
export interface Settings {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Folder that also gets `gateway.log`; undefined writes no file. */
  readonly logDir: string | undefined;
  /** Idle time after which a streamable session expires, in ms; 0 means never. */
  readonly streamSessionTtlMs: number;
  readonly disableBridgeCleanup: boolean;
  readonly disableStreamCleanup: boolean;
  /** Whether a request without a session id opens a session by itself. */
  readonly implicitSessions: boolean;
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
  /** The longest body that is taken, in bytes. */
  readonly maxBodyBytes: number;
  /** How long a body may take to come, in ms. */
  readonly bodyTimeoutMs: number;
  /** The token of the principal `default`. A secret. */
  readonly accessToken: string | undefined;
  /** File with the tokens of many principals. */
  readonly accessTokensFile: string | undefined;
  /** The token of whoever administers. A secret. */
  readonly adminToken: string | undefined;
  /** Whether the gateway may serve networks without any token. */
  readonly allowUnauthenticated: boolean;
  /** Origins besides the gateway's own from which browsers may come; `*` is all. */
  readonly allowedOrigins: readonly string[];
  /** Values of the Host header that are served, with or without a port; empty is the default rule. */
  readonly allowedHosts: readonly string[];
}

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
}

/** What `session` of a server's entry may set; undefined falls back to the gateway's setting. */
export interface SessionOptions {
  /** Idle time after which a session of this server expires, in ms; 0 means never. */
  readonly idleTtlMs: number | undefined;
  /** How long one request may take, in ms. */
  readonly requestTimeoutMs: number | undefined;
  /** The longest body that is taken for this server, in bytes. */
  readonly maxBodyBytes: number | undefined;
  /** False: sessions of this server never expire. */
  readonly cleanup: boolean;
}

/** One entry of the servers file. */
export interface ServerConfig {
  /** Its key in the file: the `:serverId` of `/mcp/:serverId`. */
  readonly id: string;
  readonly transport: StdioServer | RemoteServer;
  readonly disabled: boolean;
  readonly session: SessionOptions;
}

/** Whether a host is this machine under one of its loopback names or addresses. Brackets and case do not matter. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[|\]$/g, "").replace(/\.$/, "");
  return name === "localhost" || name.endsWith(".localhost") || name === "::1" ||
    /^127(\.\d{1,3}){3}$/.test(name);
}
