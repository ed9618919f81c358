/**
 * The configuration: everything that is read before anything is started.
 *
 * @module
 */
import { join } from "node:path";
import { parse } from "@std/dotenv";
import { type BridgeCommand, loadBridgeCommands } from "./bridge_commands.ts";
import { ConfigError } from "./config_error.ts";
import { type ReadFile, readText } from "./read_text.ts";
import { loadServers, type ServersResult } from "./servers.ts";
import { readSettings, type Variables } from "./settings.ts";
import type { ServerConfig, SettingOrigins, Settings } from "./types.ts";

export type { BridgeCommand } from "./bridge_commands.ts";
export {
  type CommandVerdict,
  type CommandWish,
  judgeCommand,
  listCommands,
  type ListedCommand,
} from "./judge_command.ts";
export { ConfigError } from "./config_error.ts";
export { type SettingRow, settingsTable } from "./settings.ts";
export { loadTokens, type TokenEntry } from "./tokens_file.ts";
export { watchFile } from "./file_watch.ts";
export { diffServers, isEmpty, isOfBackend } from "./servers_diff.ts";
export { watchTokensFile } from "./tokens_watch.ts";
export type * from "./types.ts";

/** What the configuration is read from. */
export interface ConfigSources {
  /** The arguments after the script's name. */
  readonly args: readonly string[];
  readonly env: Variables;
  /** Absolute: where `.env` is looked for, and where relative paths start. */
  readonly cwd: string;
  readonly readFile?: ReadFile;
}

/** What to do: run with a configuration, or print a text and leave. */
export type ConfigResult =
  | {
    readonly kind: "run";
    readonly settings: Settings;
    /** Where each setting came from. */
    readonly origins: SettingOrigins;
    readonly servers: readonly ServerConfig[];
    /** Commands that a request to `/bridge` may have run. */
    readonly bridgeCommands: readonly BridgeCommand[];
    /** One line each, for the log. */
    readonly warnings: readonly string[];
    /** False where the default servers file is missing. */
    readonly serversFileFound: boolean;
  }
  | { readonly kind: "help" | "version"; readonly text: string };

/**
 * Reads the whole configuration: flags, environment, `.env`, servers file.
 *
 * Reads two files and changes nothing: the environment of the process stays as it is.
 *
 * @throws {ConfigError} On the first mistake; exit code 2 is for the caller.
 */
export function loadConfig({ args, env, cwd, ...options }: ConfigSources): ConfigResult {
  const dotenv = readDotenv(cwd, options);
  const result = readSettings({ args, env, dotenv });
  if (result.kind !== "settings") return result;
  const { settings, origins } = result;
  const { servers, warnings, found } = loadServers(settings.mcpConfig, {
    named: settings.mcpConfigNamed,
    env: { ...dotenv, ...env },
    cwd,
    ...options,
  });
  const bridgeCommands = loadBridgeCommands(settings.bridgeCommands, {
    tokenRequired: settings.accessToken !== undefined || settings.accessTokensFile !== undefined,
    cwd,
    path: env.PATH,
    ...options,
  });
  return {
    kind: "run",
    settings,
    origins,
    servers,
    bridgeCommands,
    warnings: [...result.warnings, ...warnings],
    serversFileFound: found,
  };
}

/**
 * Reads the servers file again, and `.env` for what its `${VAR}` see. Settings stay as they were.
 *
 * @throws {ConfigError} On the first mistake, and where the file is gone.
 */
export function reloadServers(
  { mcpConfig }: Pick<Settings, "mcpConfig">,
  { env, cwd, ...options }: Omit<ConfigSources, "args">,
): ServersResult {
  // A file that is gone is not one that names no servers.
  return loadServers(mcpConfig, {
    named: true,
    env: { ...readDotenv(cwd, options), ...env },
    cwd,
    ...options,
  });
}

function readDotenv(cwd: string, options: Pick<ConfigSources, "readFile">): Record<string, string> {
  return parseDotenv(readText(join(cwd, ".env"), { name: ".env", ...options }) ?? "");
}

function parseDotenv(text: string): Record<string, string> {
  try {
    return parse(text);
  } catch (error) {
    // Variables that refer to each other in a circle.
    throw new ConfigError(`.env: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
