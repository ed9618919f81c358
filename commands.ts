/**
 * From `BRIDGE_COMMANDS` to what runs: the commands that requests to `/bridge` may name.
 *
 * Each is to the supervisor a server of its own, which only the bridge sees: it has its quarantine, and its sessions can
 * be listed by it.
 *
 * @module
 */
import { gated } from "./backends/gated.ts";
import type { SpawnGate } from "./backends/spawn_gate.ts";
import { stdioBackend } from "./backends/stdio.ts";
import { type BridgeCommand, judgeCommand, type ListedCommand } from "./config/mod.ts";
import type { ServerConfig } from "./config/types.ts";
import type { BridgeCommands } from "./routes/bridge.ts";
import { bridgeLimits, type ConfiguredServer, type LimitsConfig, type SharedParts } from "./servers.ts";

/** Begins the id of a command. No server's name has a colon. */
const PREFIX = "bridge:";

/** A command has no entry in the servers file, and so nothing of its own. */
const NOTHING_SET: ServerConfig["session"] = {
  idleTtlMs: undefined,
  handshakeTtlMs: undefined,
  maxLifetimeMs: undefined,
  onOpenStream: undefined,
  evictable: undefined,
  hibernateAfterMs: undefined,
  requestTimeoutMs: undefined,
  maxSessions: undefined,
  maxInFlightPerSession: undefined,
  maxBodyBytes: undefined,
  cleanup: undefined,
};

/** The commands as the supervisor gets them. */
export function commandServers(
  config: LimitsConfig & { readonly bridgeCommands: readonly BridgeCommand[] },
): ConfiguredServer[] {
  const { bridgeLimits: limits, bridgeOrigins: origins } = bridgeLimits(config, NOTHING_SET);
  return config.bridgeCommands.map(({ name }) => ({
    id: PREFIX + name,
    limits,
    origins,
    bridgeLimits: limits,
    bridgeOrigins: origins,
    bridgeOnly: true,
    // Every opening brings its own, for the arguments that it names.
    backend: () => {
      throw new Error("A command was opened without its arguments");
    },
  }));
}

/** What the bridge runs where a request names a command. */
export function commandsOf(
  commands: readonly ListedCommand[],
  { gate, ...parts }: Pick<SharedParts, "clock" | "processes" | "ledger"> & { readonly gate: SpawnGate },
): BridgeCommands {
  return {
    find(wish, servers) {
      const allowed = commands.filter(({ name }) => servers?.has(PREFIX + name) ?? true);
      const verdict = judgeCommand(allowed, wish);
      if (verdict.state === "refused") return verdict;
      const { name, file, cwd } = verdict.command;
      const { args, env } = wish;
      const open = stdioBackend({ server: { type: "stdio", command: file, args, env, cwd }, ...parts });
      return { state: "listed", serverId: PREFIX + name, openBackend: gated(open, gate) };
    },
  };
}
