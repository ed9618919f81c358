/**
 * What the gateway says when it starts: where it serves, how to try it, and how it cleans up.
 *
 * @module
 */
import type { BridgeCommand } from "./config/mod.ts";
import { isLoopback, type ServerConfig, type SettingOrigins, type Settings } from "./config/types.ts";
import { logger } from "./log.ts";
import { type EffectiveLimits, effectiveLimits } from "./servers.ts";
import { longestInterval } from "./actors/pressure.ts";

/** Below so many characters a token is called short. */
const SHORT_TOKEN = 16;

const EXAMPLE = `{"mcpServers": {"files": {"command": "npx", "args": ["-y", "SOME-MCP-SERVER"]}}}`;

const log = logger("main");

/** What to announce. */
export interface Announcement {
  readonly config: {
    readonly settings: Settings;
    readonly origins: SettingOrigins;
    readonly servers: readonly ServerConfig[];
    readonly bridgeCommands: readonly BridgeCommand[];
    readonly serversFileFound: boolean;
  };
  /** The port that is really listened on. */
  readonly port: number;
  /** Writes a line to the terminal as it is, so that it can be copied. */
  readonly print: (line: string) => void;
}

/** Announces the start, in the log and, where people read it, with a command to copy. */
export function announce({ config, port, print }: Announcement): void {
  const { settings, serversFileFound } = config;
  const host = settings.host.includes(":") ? `[${settings.host}]` : settings.host;
  const origin = `http://${host}:${port}`;
  const servers = config.servers.filter((server) => !server.disabled);
  log.info("Sojourn listens on {origin}", { origin });
  // The port has to be known at any level.
  if (!log.isEnabledFor("info")) print(listeningLine(origin, settings.logFormat));
  for (const { id } of servers) {
    log.info("Serving {serverId} at {url}", { serverId: id, url: `${origin}/mcp/${id}` });
  }
  if (servers.length === 0) {
    log.warn("No servers: {why}. Add one to {file}, such as {example}", {
      why: serversFileFound
        ? `${settings.mcpConfig} names none that is enabled`
        : `there is no ${settings.mcpConfig}`,
      file: settings.mcpConfig,
      example: EXAMPLE,
    });
  }
  announceCleanup("Bridge", {
    disabledBy: settings.disableBridgeCleanup
      ? "DISABLE_BRIDGE_CLEANUP"
      : settings.bridgeSessionTtlMs === 0
      ? "BRIDGE_SESSION_TTL_MS"
      : undefined,
    ttlMs: settings.bridgeSessionTtlMs,
  });
  announceCleanup("Streamable", {
    disabledBy: settings.disableStreamCleanup
      ? "DISABLE_STREAM_CLEANUP"
      : settings.streamSessionTtlMs === 0
      ? "STREAM_SESSION_TTL_MS"
      : undefined,
    ttlMs: settings.streamSessionTtlMs,
  });
  for (const { id, session } of servers) announceLimits(id, effectiveLimits(config, session));
  announceCommands(config.bridgeCommands);
  announceAccess(settings);
  announceForwarding(settings, servers);
  announceMonitoring(settings);
  const [first] = servers;
  if (first !== undefined) {
    const command = curlCommand(`${origin}/mcp/${first.id}`, settings);
    if (settings.logFormat === "text") print(`Try it:\n${command}`);
    else log.info("Try it: {command}", { command });
  }
}

function listeningLine(origin: string, format: Settings["logFormat"]): string {
  const text = `Sojourn listens on ${origin}`;
  return format === "json" ? JSON.stringify({ message: text, properties: { origin } }) : text;
}

function announceCleanup(
  kind: string,
  { disabledBy, ttlMs }: { disabledBy: string | undefined; ttlMs: number },
): void {
  if (disabledBy !== undefined) {
    log.warn("{kind} session cleanup disabled ({disabledBy}): idle sessions never expire", {
      kind,
      disabledBy,
    });
  } else {
    log.info("{kind} session cleanup enabled (interval: {intervalMs}ms, TTL: {ttlMs}ms)", {
      kind,
      intervalMs: longestInterval(ttlMs),
      ttlMs,
    });
  }
}

/** What holds for a server's sessions and where it came from, and what of it may not be what was meant. */
export function announceLimits(serverId: string, { limits, cleanup, origins }: EffectiveLimits): void {
  const { idleTtlMs, handshakeTtlMs, maxLifetimeMs, onOpenStream, evictable, requestTimeoutMs } = limits;
  const values = { idleTtlMs, handshakeTtlMs, maxLifetimeMs, requestTimeoutMs, onOpenStream, evictable };
  // The text has words where the properties, for machines, keep 0 and false.
  const ms = (name: "idleTtlMs" | "handshakeTtlMs" | "maxLifetimeMs", zero: string) =>
    values[name] === 0 ? zero : `{${name}}ms`;
  const parts = [
    `idle TTL ${ms("idleTtlMs", "never")} (${origins.idleTtlMs})`,
    `handshake TTL ${ms("handshakeTtlMs", "off")} (${origins.handshakeTtlMs})`,
    `max lifetime ${ms("maxLifetimeMs", "never")} (${origins.maxLifetimeMs})`,
    `request timeout {requestTimeoutMs}ms (${origins.requestTimeoutMs})`,
    `on open stream {onOpenStream} (${origins.onOpenStream})`,
    `evictable ${evictable ? "yes" : "no"} (${origins.evictable})`,
  ];
  log.info(`Sessions of {serverId}: ${parts.join(", ")}`, { serverId, ...values, cleanup, origins });
  // That the gateway's own settings say so was told for all servers.
  if (idleTtlMs === 0 && maxLifetimeMs === 0 && origins.idleTtlMs === "file") {
    const which = handshakeTtlMs === 0 ? "" : " once they are used";
    log.warn(`Sessions of {serverId} never expire${which} (its entry says so)`, { serverId });
  }
  if (idleTtlMs > 0 && handshakeTtlMs >= idleTtlMs) {
    log.warn("Sessions of {serverId}: the handshake TTL has no effect, the idle TTL being no longer", {
      serverId,
    });
  }
}

/** What whoever has a token may have run. */
function announceCommands(commands: readonly BridgeCommand[]): void {
  if (commands.length === 0) return;
  log.info("POST /bridge runs what requests name, as far as BRIDGE_COMMANDS lists it: {commands}", {
    commands: commands.map(({ name, file }) => `${name} (${file})`).join(", "),
  });
}

function announceAccess({ accessToken, accessTokensFile, adminToken, allowedHosts, host }: Settings): void {
  for (const [variable, token] of [["ACCESS_TOKEN", accessToken], ["ADMIN_TOKEN", adminToken]] as const) {
    if (token !== undefined && token.length < SHORT_TOKEN) {
      log.warn("{variable} is shorter than {length} characters: it can be guessed", {
        variable,
        length: SHORT_TOKEN,
      });
    }
  }
  if (accessToken !== undefined || accessTokensFile !== undefined) {
    log.info("A token is required for everything but /health");
  } else if (isLoopback(host)) {
    log.info("No token is required: whoever can reach {host} may use every server", { host });
  } else {
    log.warn("No token is required (ALLOW_UNAUTHENTICATED): whoever can reach {host} may use every server", {
      host,
    });
    if (allowedHosts.length === 0) {
      log.warn(
        "Any Host is served: a web page can use every server through the browser of whoever opens it, by DNS rebinding. " +
          "Set ALLOWED_HOSTS to the names that clients use",
      );
    }
  }
}

/** A token of the gateway's own is not meant for somebody else's server. */
function announceForwarding(
  { accessToken, accessTokensFile, adminToken }: Settings,
  servers: readonly ServerConfig[],
): void {
  if (accessToken === undefined && accessTokensFile === undefined && adminToken === undefined) return;
  for (const { id, transport } of servers) {
    if (transport.type === "stdio" || !transport.forwardHeaders.includes("authorization")) continue;
    log.warn(
      "Server {serverId} gets the client's authorization header, in which clients send the gateway's own token",
      { serverId: id },
    );
  }
}

/** Who may see and end sessions at `/sessions`. */
function announceMonitoring({ accessToken, accessTokensFile, adminToken, host }: Settings): void {
  const needsToken = accessToken !== undefined || accessTokensFile !== undefined;
  if (adminToken !== undefined) {
    log.info("GET /sessions needs ADMIN_TOKEN for all sessions; {others} see their own", {
      others: needsToken ? "holders of other tokens" : "those without a token",
    });
  } else if (needsToken) {
    log.info("GET /sessions shows holders of tokens their own sessions; nobody administers (no ADMIN_TOKEN)");
  } else {
    const text = "GET /sessions is open: whoever can reach {host} may see and end every session";
    if (isLoopback(host)) log.info(text, { host });
    else log.warn(text, { host });
  }
}

/** One line that a shell takes as it is. */
function curlCommand(
  url: string,
  { implicitSessions, accessToken, accessTokensFile }: Settings,
): string {
  const message = implicitSessions ? { jsonrpc: "2.0", id: 1, method: "tools/list" } : {
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "curl", version: "1" } },
  };
  const needsToken = accessToken !== undefined || accessTokensFile !== undefined;
  // The token itself is not printed.
  const token = needsToken ? ` -H "authorization: Bearer $ACCESS_TOKEN"` : "";
  return `curl -sS ${url}${token} -H 'content-type: application/json' ` +
    `-H 'accept: application/json, text/event-stream' -d '${JSON.stringify(message)}'`;
}
