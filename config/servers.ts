/**
 * The servers file: `mcp-servers.json`, as the ecosystem writes it.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { ConfigError, oneLine } from "./config_error.ts";
import { parseJsonc, type Path, ROOT_KEYS, shown } from "./jsonc.ts";
import { type ReadFile, readText } from "./read_text.ts";
import { Report, throwFirst } from "./report.ts";
import { isObject, readEntry, unknownKey } from "./server_entry.ts";
import type { Variables } from "./settings.ts";
import type { ServerConfig } from "./types.ts";

/** How to read the servers file. */
export interface ServersOptions {
  /** Whether the operator named the file: then it has to be there. */
  readonly named: boolean;
  /** What `${VAR}` sees. */
  readonly env: Variables;
  /** Where a relative path starts, absolute. Defaults to the folder that the process runs in. */
  readonly cwd?: string;
  readonly readFile?: ReadFile;
}

/** What the servers file holds. */
export interface ServersResult {
  /** In the order of the file, disabled ones included. */
  readonly servers: readonly ServerConfig[];
  /** One line each. */
  readonly warnings: readonly string[];
  /** False where the default file is missing: no mistake, but no servers either, unless `MCP_SERVERS` has some. */
  readonly found: boolean;
}

/** Beside the servers: VS Code's own list and what points an editor to a schema. */
const SILENT_KEYS = ["$schema"];

/** The servers themselves where there is no file: MCP Connect has it so. */
const VARIABLE = "MCP_SERVERS";

const SHAPE = '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "some-server"]}}}';

/**
 * Reads and checks the servers file.
 *
 * Texts of an entry are expanded (see `expand`), except in a disabled entry: its texts stay as written and
 * only their types are checked, so that it needs no variables to be set.
 *
 * @param path As the operator wrote it: errors call the file so.
 * @throws {ConfigError} On the first mistake in the file; if a named file is missing, or any cannot be read.
 */
export function loadServers(path: string, options: ServersOptions): ServersResult {
  const { named, env, cwd = Deno.cwd(), readFile } = options;
  const file = resolve(cwd, path);
  const name = oneLine(path);
  const text = readText(file, { name, readFile });
  const inVariable = Object.hasOwn(env, VARIABLE) ? env[VARIABLE] || undefined : undefined;
  if (text !== undefined) {
    const result = { ...serversIn(text, { name, env, folder: dirname(file), readFile }), found: true };
    if (inVariable === undefined) return result;
    return { ...result, warnings: [...result.warnings, `${VARIABLE} is set but not read: there is ${name}`] };
  }
  if (named) {
    throw new ConfigError(`${name}: no such file: MCP_CONFIG or --mcp-config has to name one that exists`);
  }
  if (inVariable === undefined) return { servers: [], warnings: [], found: false };
  return { ...serversIn(inVariable, { name: VARIABLE, env, folder: cwd, readFile }), found: false };
}

/** Reads the servers of a text, which an error calls by its name. Relative paths start in the folder. */
function serversIn(
  text: string,
  { name, env, folder, readFile }: {
    readonly name: string;
    readonly env: Variables;
    readonly folder: string;
    readonly readFile: ReadFile | undefined;
  },
): Omit<ServersResult, "found"> {
  const parsed = parseJsonc(text);
  if (parsed.kind === "mistakes") {
    throwFirst(name, text, parsed.mistakes);
    return { servers: [], warnings: [] };
  }
  const report = new Report(name, text, parsed.offsetOf);
  const context = {
    report,
    lookup: (variable: string) => Object.hasOwn(env, variable) ? env[variable] : undefined,
    folder,
    readFile,
  };
  const servers = entriesOf(parsed.value, report)
    .map(([at, raw]) => readEntry(at, raw, context))
    .filter((server) => server !== undefined);
  return { servers, warnings: report.settle() };
}

/** The entries with their paths; none where the file has another shape. */
function entriesOf(root: unknown, report: Report): [Path, unknown][] {
  if (!isObject(root)) {
    report.mistake([], `${shown(root)} is not allowed: an object, such as ${SHAPE}`);
    return [];
  }
  const [key, second] = ROOT_KEYS.filter((key) => key in root);
  if (key === undefined) {
    const entries = Object.entries(root).filter(([name]) => !SILENT_KEYS.includes(name));
    if (
      entries.length > 0 && entries.every(([, raw]) => isObject(raw) && ("command" in raw || "url" in raw))
    ) {
      return entries.map(([id, raw]) => [[id], raw]);
    }
    report.mistake([], `needs the key "mcpServers", such as ${SHAPE}`);
    return [];
  }
  if (second !== undefined) report.mistake([second], `is not allowed beside "${key}": one of the two`, "key");
  for (const other of Object.keys(root)) {
    if (![...ROOT_KEYS, ...SILENT_KEYS].includes(other)) {
      report.warning([other], unknownKey(other, ROOT_KEYS));
    }
  }
  const entries = root[key];
  if (isObject(entries)) return Object.entries(entries).map(([id, raw]) => [[key, id], raw]);
  report.mistake([key], `${shown(entries)} is not allowed: an object of servers, such as in ${SHAPE}`);
  return [];
}
