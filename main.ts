/**
 * Where everything is put together: configuration, actors, routes, signals.
 *
 * @module
 */
import { Supervisor } from "./actors/supervisor.ts";
import { TtlScale } from "./actors/pressure.ts";
import { Sweeper } from "./actors/sweeper.ts";
import { ProcessTable } from "./backends/process_table.ts";
import { SpawnGate } from "./backends/spawn_gate.ts";
import { systemClock } from "./clock.ts";
import { commandServers, commandsOf } from "./commands.ts";
import {
  type BridgeCommand,
  ConfigError,
  type ConfigResult,
  listCommands,
  type ListedCommand,
  loadConfig,
  reloadServers,
  type Settings,
  watchFile,
  watchTokensFile,
} from "./config/mod.ts";
import { type Data, openData, ownedBy } from "./data.ts";
import { reportFault } from "./fault.ts";
import { Listener } from "./listener.ts";
import { admissionLimits, hasRoomToSpare, loadSource, spawnConcurrency } from "./load.ts";
import { closeLogging, configureLogging, logger } from "./log.ts";
import type { Token } from "./routes/access.ts";
import { LagMeter } from "./machine/lag.ts";
import { MemoryProbe } from "./machine/memory.ts";
import { rssOf } from "./machine/rss.ts";
import { createApp } from "./routes/app.ts";
import { BodyReader } from "./routes/body.ts";
import { LegacySse } from "./routes/legacy_sse.ts";
import type { StreamPolicy } from "./routes/outflow.ts";
import { EventFeed } from "./routes/event_feed.ts";
import { LiveServers } from "./live_servers.ts";
import { forwardedHeadersOf, maxBodyBytesOf, shortestTtlMs } from "./servers.ts";
import { accessOf, tokensOf } from "./tokens.ts";
import { announce } from "./announce.ts";
import { onShutdownSignal } from "./signals.ts";

/** A mistake in the configuration; what a shell calls a usage error. */
const EXIT_CONFIG = 2;
/** The port is taken, the log folder is not writable, and the like. */
const EXIT_FAILURE = 1;
/** How long the HTTP server may take to let go of connections once all sessions are closed, in ms. */
const HTTP_CLOSE_MS = 500;

const log = logger("main");

if (import.meta.main) await main();

async function main(): Promise<void> {
  const config = readConfig();
  if (config.kind !== "run") {
    print(config.text);
    return;
  }
  const { settings, warnings } = config;
  const tokens = readTokens(settings);
  const commands = await readCommands(config.bridgeCommands);
  try {
    await configureLogging({ level: settings.logLevel, format: settings.logFormat, dir: settings.logDir });
  } catch (error) {
    return fail(messageOf(error), EXIT_FAILURE);
  }
  for (const warning of warnings) log.warn("{warning}", { warning });
  keepRunning();

  const clock = systemClock;
  const processes = new ProcessTable({ clock });
  const { ledger, store } = readData(settings, { clock, processes });
  const gate = new SpawnGate({ concurrency: spawnConcurrency(settings), clock });
  const parts = { clock, processes, ledger, gate };
  const live = new LiveServers({
    config,
    parts: { ...parts, mayStart: () => hasRoomToSpare(supervisor.door) },
    always: commandServers(config),
    read: () => reloadServers(settings, { env: Deno.env.toObject(), cwd: Deno.cwd() }),
    onApplied: () => retune(),
  });
  const memory = new MemoryProbe({ memoryLimitBytes: settings.memoryLimitBytes, processes });
  const lag = new LagMeter({ clock });
  const scale = new TtlScale({ minTtlMs: settings.minTtlMs });
  const access = accessOf(settings, { clock, tokens });
  const limits = {
    ...admissionLimits(settings, (await memory.read()).limitBytes),
    of: (principal: string) => access.limitsOf(principal),
  };
  const supervisor: Supervisor = new Supervisor({
    clock,
    servers: live.servers,
    store,
    scale,
    limits,
    admissionWaitMs: settings.admissionWaitMs,
    tombstones: settings.tombstones,
    onWant: () => sweeper.wake(),
  });
  live.attach(supervisor);
  const sweeper = new Sweeper({
    clock,
    shortestTtlMs: shortestTtlMs(supervisor.limitsInForce),
    sessions: () => supervisor.sessions,
    scale,
    pressure: loadSource({ memory, lag, door: () => supervisor.door }),
    events: supervisor.events,
    closeConcurrency: settings.sweepCloseConcurrency,
    onSwept: () => void ledger.reconcile(ownedBy(supervisor)),
  });
  const retune = () => sweeper.retune(shortestTtlMs(supervisor.limitsInForce));
  const feed = new EventFeed({ supervisor, clock });
  const streams: StreamPolicy = {
    clock,
    maxBufferBytes: settings.maxStreamBufferBytes,
    stallMs: settings.streamStallMs,
    maxMs: settings.streamMaxMs,
    cuts: 0,
  };
  const bodies = new BodyReader({
    clock,
    timeoutMs: settings.bodyTimeoutMs,
    maxBytes: maxBodyBytesOf(settings, supervisor),
  });
  const { implicitSessions } = settings;
  const forwardedHeaders = forwardedHeadersOf(supervisor);
  const legacy = settings.legacySse
    ? new LegacySse({ supervisor, clock, implicitSessions, streams, bodies, forwardedHeaders })
    : undefined;
  const app = createApp({
    access,
    supervisor,
    clock,
    implicitSessions,
    commands: commandsOf(commands, parts),
    forwardedHeaders,
    streams,
    legacy,
    sweep: sweeper,
    scale,
    // 0 is a process that is gone, or that nobody can look at.
    rssOf: async (pid) => rssOf(await processes.snapshot(), pid) || undefined,
    reload: () => live.reload(),
    feed,
    bodies,
  });
  const watches = [
    watchTokensFile(settings.accessTokensFile, {
      clock,
      reload: () => {
        const tokens = tokensOf(settings);
        access.replaceTokens(tokens);
        return tokens.length;
      },
    }),
    watchFile(settings.mcpConfig, {
      clock,
      // The file that a start does without may be missing for longer.
      read: (again) => {
        if (again || config.serversFileFound) void live.reload({ isQuiet: !again });
      },
    }),
  ];

  // What an earlier run left is found before anybody is served. Ending it goes on behind.
  await ledger.reconcile();
  const { count, done } = supervisor.restore();
  if (count > 0) {
    log.info("{count} session(s) of an earlier run hibernate until their clients come back", { count });
    // They keep the TTLs that they were opened with.
    void done.then(retune);
  }
  let listener: Listener;
  try {
    listener = new Listener({ clock, hostname: settings.host, port: settings.port, handler: app });
  } catch (error) {
    return fail(`Cannot listen on ${settings.host}:${settings.port}: ${messageOf(error)}`, EXIT_FAILURE);
  }
  supervisor.start();
  sweeper.start();
  lag.start();
  const stopListening = onShutdownSignal({
    clock,
    onFirst: async (signal) => {
      log.info("{signal}: shutting down, {count} session(s) open", { signal, count: supervisor.size });
      for (const stop of watches) stop();
      sweeper.stop();
      lag.stop();
      try {
        await supervisor.shutDown(settings.drainMs);
        await ledger.close();
        // Whoever watches was told of every end; the server waits for streams that are open.
        feed.close();
        legacy?.close();
        await Promise.race([
          listener.close(),
          new Promise<void>((resolve) => clock.after(HTTP_CLOSE_MS, resolve)),
        ]);
        log.info("All closed");
        stopListening();
        await closeLogging();
      } finally {
        Deno.exit(0);
      }
    },
    onReload: () => void live.reload(),
    onSecond: (signal) => {
      log.warn("{signal} again: not waiting for requests in flight", { signal });
      supervisor.hurry();
    },
  });
  // Last: whoever reads that the gateway is there may end it at once.
  announce({ config, port: listener.port, print });
}

/** A fault that nobody caught must not take every session down with it. It is logged, and everything goes on. */
function keepRunning(): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    reportFault(log, "Unhandled rejection", event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    reportFault(log, "Uncaught error", event.error);
  });
}

/** Reads the configuration, or ends the process with one line that says what is wrong with it. */
function readConfig(): ConfigResult {
  try {
    return loadConfig({ args: Deno.args, env: Deno.env.toObject(), cwd: Deno.cwd() });
  } catch (error) {
    if (error instanceof ConfigError) return fail(error.message, EXIT_CONFIG);
    throw error;
  }
}

/** Reads the tokens, or ends the process with one line that says what is wrong with their file. */
function readTokens(settings: Settings): Token[] {
  try {
    return tokensOf(settings);
  } catch (error) {
    if (error instanceof ConfigError) return fail(error.message, EXIT_CONFIG);
    throw error;
  }
}

/** Reads the patterns of commands, or ends the process with one line that says what is wrong with one. */
async function readCommands(commands: readonly BridgeCommand[]): Promise<ListedCommand[]> {
  try {
    return await listCommands(commands);
  } catch (error) {
    if (error instanceof ConfigError) return fail(error.message, EXIT_CONFIG);
    throw error;
  }
}

/** Takes the data folder, or ends the process with one line that says why it cannot. */
function readData(settings: Settings, parts: Parameters<typeof openData>[1]): Data {
  try {
    return openData(settings, parts);
  } catch (error) {
    return fail(messageOf(error), EXIT_FAILURE);
  }
}

/** Writes a line to stdout. Nobody may be there to read it, and that is no reason not to serve. */
function print(text: string): void {
  const bytes = new TextEncoder().encode(`${text}\n`);
  try {
    for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
  } catch {
    // The log tells it, on stderr.
  }
}

function fail(message: string, code: number): never {
  Deno.stderr.writeSync(new TextEncoder().encode(`sojourn: ${message}\n`));
  Deno.exit(code);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
