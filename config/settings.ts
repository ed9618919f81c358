/**
 * The gateway's own settings, from flags, the environment, `.env` and defaults, in that order.
 *
 * @module
 */
import deno from "../deno.json" with { type: "json" };
import { ConfigError, nearest, quote } from "./config_error.ts";
import { type Flags, readFlags } from "./flags.ts";
import { flagOf, type Setting, SETTINGS, settingsTable, type TableSettings } from "./settings_table.ts";
import { isLoopback, type SettingOrigin, type SettingOrigins, type Settings } from "./types.ts";

export { type SettingRow, settingsTable } from "./settings_table.ts";

/** Variables by name, as `Deno.env.toObject()` gives them. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** Where settings come from, strongest first. */
export interface SettingsSources {
  /** The arguments after the script's name. */
  readonly args: readonly string[];
  readonly env: Variables;
  /** What `.env` sets; the environment wins. */
  readonly dotenv: Variables;
}

/** What the sources ask for: a run, or a text to print. */
export type SettingsResult =
  | {
    readonly kind: "settings";
    readonly settings: Settings;
    /** Where each of them came from. */
    readonly origins: SettingOrigins;
    readonly warnings: readonly string[];
  }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "version"; readonly text: string };

/** Holds servers, not a setting: see `servers.ts`. */
const SERVERS_VARIABLE = "MCP_SERVERS";

/** What the origins of a text are called where the configuration is shown. */
const SHOWN_ORIGINS = { flag: "flag", environment: "env", ".env": "env", default: "default" } as const;

type Key = keyof TableSettings;

/** A setting's text and where it was found. */
interface Found {
  readonly text: string;
  /** The name to call it by in an error. */
  readonly label: string;
  readonly origin: "flag" | "environment" | ".env" | "default";
}

/**
 * Reads all settings.
 *
 * An empty variable counts as unset; an empty flag is a value like any other. `--help` and `--version` win
 * over any mistake beside them.
 *
 * @throws {ConfigError} On an unknown flag, a stray argument or a value out of bounds.
 */
export function readSettings(sources: SettingsSources): SettingsResult {
  const flags = readFlags(sources.args);
  if (flags.help) return { kind: "help", text: helpText() };
  if (flags.version) return { kind: "version", text: versionText() };

  const mistakes = [...flags.mistakes];
  const values: { -readonly [K in Key]?: Settings[K] } = {};
  const origins: { [K in Key]?: SettingOrigin } = {};
  const read = <K extends Key>(key: K, setting: Setting<TableSettings[K]>): void => {
    const found = find(setting, flags, sources);
    origins[key] = SHOWN_ORIGINS[found?.origin ?? "default"];
    if (found === undefined) return;
    const result = setting.schema.safeParse(found.text);
    if (result.success) values[key] = result.data;
    else mistakes.push(refusal(found, setting.secret === true, result.error.issues[0]!.message));
  };
  // Stated as a call per key so that each value keeps the type of its own setting.
  for (const key of Object.keys(SETTINGS) as Key[]) read<Key>(key, SETTINGS[key]);
  if (mistakes.length > 0) throw ConfigError.of(mistakes);

  const mcpConfigNamed = origins.mcpConfig !== "default";
  const unset = {
    logDir: undefined,
    memoryLimitBytes: undefined,
    maxProcesses: undefined,
    spawnConcurrency: undefined,
    bridgeCommands: undefined,
    accessToken: undefined,
    accessTokensFile: undefined,
    adminToken: undefined,
  };
  const settings = { ...unset, ...values, mcpConfigNamed } as Settings;
  refuseOpenNetwork(settings);
  refuseSharedToken(settings);
  return { kind: "settings", settings, origins: origins as SettingOrigins, warnings: warningsOf(sources) };
}

/** Without a token only this machine may be served, unless the operator says otherwise. */
function refuseOpenNetwork({ host, accessToken, accessTokensFile, allowUnauthenticated }: Settings): void {
  const hasToken = accessToken !== undefined || accessTokensFile !== undefined;
  if (hasToken || allowUnauthenticated || isLoopback(host)) return;
  throw new ConfigError(
    `HOST: ${quote(host)} is not allowed without ACCESS_TOKEN or ACCESS_TOKENS_FILE: ` +
      "a loopback address, or ALLOW_UNAUTHENTICATED=true to serve everybody who reaches it",
  );
}

/** With one token for both everybody who may use the gateway would administer it. */
function refuseSharedToken({ accessToken, adminToken }: Settings): void {
  if (adminToken === undefined || adminToken !== accessToken) return;
  throw new ConfigError("ADMIN_TOKEN: its value is not allowed: another one than that of ACCESS_TOKEN");
}

/** Where a setting is given first; undefined where it is given nowhere and has no default. */
function find(setting: Setting<unknown>, flags: Flags, { env, dotenv }: SettingsSources): Found | undefined {
  const { variable, fallback } = setting;
  const flag = flagOf(variable);
  const given = flags.values.get(flag);
  if (given !== undefined) return { text: given, label: flag, origin: "flag" };
  const fromEnv = valueOf(env, variable);
  if (fromEnv) return { text: fromEnv, label: variable, origin: "environment" };
  const fromFile = valueOf(dotenv, variable);
  if (fromFile) return { text: fromFile, label: variable, origin: ".env" };
  return fallback === undefined ? undefined : { text: fallback, label: variable, origin: "default" };
}

function valueOf(variables: Variables, name: string): string | undefined {
  return Object.hasOwn(variables, name) ? variables[name] : undefined;
}

/** The error line of a setting. */
function refusal({ text, label, origin }: Found, isSecret: boolean, allowed: string): string {
  const where =
    { flag: "", environment: " (from the environment)", ".env": " (from .env)", default: "" }[origin];
  return `${label}: ${isSecret ? "its value" : quote(text)} is not allowed: ${allowed}${where}`;
}

function warningsOf({ dotenv }: SettingsSources): string[] {
  const warnings: string[] = [];
  // Only `.env`, which is ours, and only names of several words: the environment is full of strangers.
  const variables = settingsTable().map(({ variable }) => variable);
  const telling = variables.filter((variable) => variable.includes("_"));
  for (const name of Object.keys(dotenv)) {
    if (variables.includes(name) || name === SERVERS_VARIABLE) continue;
    const meant = nearest(name, telling);
    if (meant !== undefined) warnings.push(`.env: ${name} is not a setting; did you mean ${meant}?`);
  }
  return warnings;
}

function versionText(): string {
  return `sojourn ${deno.version}`;
}

function helpText(): string {
  const header = { usage: "Flag", variable: "Variable", default: "Default", help: "" };
  const rows = [header, ...settingsTable()];
  const width = (column: "usage" | "variable" | "default") =>
    Math.max(...rows.map((row) => row[column].length)) + 2;
  const widths = { usage: width("usage"), variable: width("variable"), default: width("default") };
  const lines = rows.map((row) =>
    `  ${row.usage.padEnd(widths.usage)}${row.variable.padEnd(widths.variable)}` +
    `${row.default.padEnd(widths.default)}${row.help}`
  );
  return [
    `${versionText()}: an MCP gateway that looks after its sessions`,
    "",
    "Usage: sojourn [flags]",
    "",
    "A setting is its flag, else its variable in the environment, else in .env, else its default.",
    "MS are milliseconds. A flag with [=BOOL] means true when it stands alone.",
    "",
    ...lines.map((line) => line.trimEnd()),
    "",
    "  -h, --help     Print this and exit",
    "  -V, --version  Print the version and exit",
  ].join("\n");
}
