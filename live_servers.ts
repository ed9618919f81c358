/**
 * The servers file, read again while the gateway runs: checked whole, then applied at once or not at all.
 *
 * Reading and checking happen in one turn, and so does handing the result to the supervisor, which applies what it is
 * handed in order. So two reloads at once are one after the other.
 *
 * @module
 */
import { announceLimits } from "./announce.ts";
import type { SupervisedServer, Supervisor } from "./actors/supervisor.ts";
import {
  ConfigError,
  diffServers,
  isEmpty,
  isOfBackend,
  type ServerConfig,
  type ServersDiff,
} from "./config/mod.ts";
import { logger } from "./log.ts";
import type { Reload } from "./routes/reload.ts";
import { effectiveLimits, type LimitsConfig, type SharedParts, supervisedServer } from "./servers.ts";

/** How to make {@link LiveServers}. */
export interface LiveServersOptions {
  /** Settings, which stay, and the servers at the start. */
  readonly config: LimitsConfig & { readonly servers: readonly ServerConfig[] };
  /** What servers are made with. */
  readonly parts: SharedParts;
  /** Servers that are in no file and always there. */
  readonly always?: readonly SupervisedServer[];
  /** Reads and checks the file. @throws {ConfigError} If it is wrong. */
  readonly read: () => { readonly servers: readonly ServerConfig[]; readonly warnings: readonly string[] };
  /** Called when other servers are in force. */
  readonly onApplied: () => void;
}

const log = logger("servers");

/** See the module's documentation. */
export class LiveServers {
  readonly #options: LiveServersOptions;
  /** Those that are in force, or were handed to the supervisor last. */
  #configs: readonly ServerConfig[];
  #served: ReadonlyMap<string, SupervisedServer>;
  #supervisor: Supervisor | undefined;

  constructor(options: LiveServersOptions) {
    const { config, parts } = options;
    this.#options = options;
    this.#configs = config.servers;
    this.#served = byId(
      config.servers.filter(({ disabled }) => !disabled).map((server) =>
        supervisedServer(server, config, parts)
      ),
    );
  }

  /** The servers to begin with. */
  get servers(): Iterable<SupervisedServer> {
    return this.#all(this.#served);
  }

  /** Whom changes are handed to. */
  attach(supervisor: Supervisor): void {
    this.#supervisor = supervisor;
  }

  /**
   * Reads the file again and applies it. What comes of it is logged.
   *
   * @param isQuiet Whether nothing is said where nothing changed.
   * @returns What changed, why nothing did, or that the gateway shuts down.
   */
  async reload({ isQuiet = false }: { isQuiet?: boolean } = {}): ReturnType<Reload> {
    const supervisor = this.#supervisor;
    if (supervisor === undefined || supervisor.draining) return { kind: "shuttingDown" };
    const { config, parts, read, onApplied } = this.#options;
    let result: ReturnType<LiveServersOptions["read"]>;
    try {
      result = read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      log.warn("Servers stay as they were: {reason}", { reason: error.message });
      return { kind: "wrong", reason: error.message };
    }
    const { servers, warnings } = result;
    const diff = diffServers(this.#configs, servers);
    const isSame = isEmpty(diff);
    if (isSame && isQuiet) return { kind: "applied", diff, warnings };
    for (const warning of warnings) log.warn("{warning}", { warning });
    if (isSame) {
      log.info("Servers read again: nothing changed");
      return { kind: "applied", diff, warnings };
    }
    const keysOf = new Map(diff.changed.map(({ id, keys }) => [id, keys]));
    const next = servers.filter(({ disabled }) => !disabled).map((server) => {
      const known = this.#served.get(server.id);
      const keys = keysOf.get(server.id);
      if (known !== undefined && keys === undefined) return known;
      const made = supervisedServer(server, config, parts);
      // With other limits it is the same server, and keeps what it has started.
      return known === undefined || keys!.some(isOfBackend) ? made : { ...made, backend: known.backend };
    });
    this.#configs = servers;
    this.#served = byId(next);
    const inUse = (id: string) => countOf(supervisor.sessions, id);
    const before = new Map(diff.removed.map((id) => [id, inUse(id)]));
    await supervisor.replaceServers(this.#all(this.#served));
    if (supervisor.draining) return { kind: "shuttingDown" };
    this.#tell(diff, before);
    onApplied();
    return { kind: "applied", diff, warnings };
  }

  #all(served: ReadonlyMap<string, SupervisedServer>): SupervisedServer[] {
    return [...served.values(), ...this.#options.always ?? []];
  }

  #tell(diff: ServersDiff, sessions: ReadonlyMap<string, number>): void {
    const { config } = this.#options;
    const { added, removed, changed, unchanged } = diff;
    log.info(
      "Servers read again: {added} added, {removed} removed, {changed} changed, {unchanged} unchanged",
      { added: added.length, removed: removed.length, changed: changed.length, unchanged },
    );
    for (const serverId of removed) {
      const count = sessions.get(serverId) ?? 0;
      if (count === 0) log.info("Server {serverId} removed", { serverId });
      else {log.info("Server {serverId} removed; {count} session(s) go on until they end", {
          serverId,
          count,
        });}
    }
    const limitsOf = (serverId: string) => {
      const server = this.#configs.find(({ id }) => id === serverId);
      if (server !== undefined) announceLimits(serverId, effectiveLimits(config, server.session));
    };
    for (const serverId of added) {
      log.info("Server {serverId} added, at /mcp/{serverId}", { serverId });
      limitsOf(serverId);
    }
    for (const { id: serverId, keys } of changed) {
      log.info("Server {serverId} changed: {keys}", { serverId, keys: keys.join(", ") });
      limitsOf(serverId);
    }
  }
}

function byId(servers: readonly SupervisedServer[]): ReadonlyMap<string, SupervisedServer> {
  return new Map(servers.map((server) => [server.id, server]));
}

function countOf(sessions: Iterable<{ readonly serverId: string }>, id: string): number {
  let count = 0;
  for (const { serverId } of sessions) if (serverId === id) count++;
  return count;
}
