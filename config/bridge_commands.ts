/**
 * `BRIDGE_COMMANDS`: the commands that a request to `/bridge` may have run, as JSON or as `@FILE` with the JSON in it.
 *
 *     {
 *       "fixture": {
 *         "command": "node",
 *         "args": ["/srv/fixture.js", { "pattern": "--region=[a-z]{2}" }],
 *         "moreArgs": { "pattern": "[\\w./-]+", "max": 4 },
 *         "env": ["API_KEY"],
 *         "cwd": "/srv"
 *       }
 *     }
 *
 * A request runs an entry if its `serverPath` is the entry's command as written or as an absolute path, each of its
 * arguments is the text at that place or matches the pattern there as a whole, and each variable is named
 * (`judge_command.ts`). The program is looked for on the `PATH` once, at the start; it is run by its absolute path, and
 * by no shell.
 *
 * @module
 */
import { dirname, isAbsolute, join, resolve } from "node:path";
import { z } from "zod";
import { ConfigError, oneLine } from "./config_error.ts";
import { parseJsonc, type Path } from "./jsonc.ts";
import { type ReadFile, readText } from "./read_text.ts";
import { Report, throwFirst } from "./report.ts";
import { isRuntimeVariable } from "./runtime_variables.ts";
import { SERVER_ID, SERVER_ID_ALLOWED } from "./server_schema.ts";

/** Arguments of one command; more is a slip of the hand. */
const MAX_ARGS = 100;
const MAX_PATTERN_CHARS = 1_000;

/** A command that may be run. */
export interface BridgeCommand {
  readonly name: string;
  /** As it is listed. */
  readonly command: string;
  /** The program, absolute. */
  readonly file: string;
  readonly args: readonly (string | { readonly pattern: string })[];
  /** What may follow them. */
  readonly moreArgs: { readonly pattern: string; readonly max: number } | undefined;
  readonly env: ReadonlySet<string>;
  /** Absolute. */
  readonly cwd: string;
}

/** How to read the setting. */
export interface CommandsOptions {
  /** Whether everybody has to show a token. What requests name is run for nobody else. */
  readonly tokenRequired: boolean;
  /** Absolute: where relative paths start, in a file in its own folder. */
  readonly cwd: string;
  /** Where programs are looked for. */
  readonly path: string | undefined;
  readonly readFile?: ReadFile;
  /** Whether a path is that of a program; a test puts another in its place. */
  readonly isProgram?: (path: string) => boolean;
}

const VARIABLE = "BRIDGE_COMMANDS";
const SHAPE = '{"NAME": {"command": "node", "args": ["/srv/server.js"]}}';

const PATTERN = z.strictObject({
  pattern: z.string("a regular expression").max(MAX_PATTERN_CHARS, `at most ${MAX_PATTERN_CHARS} characters`),
}, { error: notAnObject });
const TEXT = z.string("a text").refine((text) => !text.includes("\0"), "a text without a NUL character");
const ENTRY = z.strictObject({
  command: z.string("a program's name or absolute path").refine(
    (command) => isAbsolute(command) || /^[^\s/\\\0]+$/.test(command),
    "a program's name, or its absolute path",
  ),
  args: z.array(z.union([TEXT, PATTERN], 'texts and {"pattern": "…"}'), "a list").max(
    MAX_ARGS,
    `at most ${MAX_ARGS} of them`,
  ).optional(),
  moreArgs: PATTERN.extend({
    max: z.number(`a whole number from 1 to ${MAX_ARGS}`).refine(
      (max) => Number.isInteger(max) && max >= 1 && max <= MAX_ARGS,
      `a whole number from 1 to ${MAX_ARGS}`,
    ),
  }).optional(),
  env: z.array(
    z.string("a variable's name").regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "a variable's name")
      .refine((name) => !isRuntimeVariable(name), "a variable that no loader, runtime or shell reads"),
    "a list of variables' names",
  ).optional(),
  cwd: z.string("a folder's path").refine((path) => path !== "" && !path.includes("\0"), "a folder's path")
    .optional(),
}, { error: notAnObject });

/**
 * Reads and checks the commands.
 *
 * @param given The setting's value; undefined is none.
 * @throws {ConfigError} On the first mistake, a program that is not there included.
 */
export function loadBridgeCommands(given: string | undefined, options: CommandsOptions): BridgeCommand[] {
  if (given === undefined) return [];
  if (!options.tokenRequired) {
    throw new ConfigError(`${VARIABLE}: not allowed without ACCESS_TOKEN or ACCESS_TOKENS_FILE`);
  }
  const { name, text, folder } = sourceOf(given, options);
  const parsed = parseJsonc(text);
  if (parsed.kind === "mistakes") {
    throwFirst(name, text, parsed.mistakes);
    return [];
  }
  const report = new Report(name, text, parsed.offsetOf);
  const result = z.record(z.string(), ENTRY, `an object such as ${SHAPE}`).safeParse(parsed.value);
  for (const issue of result.error?.issues ?? []) {
    const path = issue.path as Path;
    if (issue.code !== "unrecognized_keys") report.mistake(path, `is not allowed: ${issue.message}`);
    else for (const key of issue.keys) report.mistake([...path, key], "is not known here", "key");
  }
  const commands: BridgeCommand[] = [];
  for (const [name, entry] of Object.entries(result.data ?? {})) {
    if (!SERVER_ID.test(name)) {
      report.mistake([name], `this name is not allowed: ${SERVER_ID_ALLOWED}`, "key");
    }
    const file = programAt(entry.command, options);
    if (file === undefined) {
      const where = isAbsolute(entry.command) ? "is no program" : "is no program on the PATH";
      report.mistake([name, "command"], `${JSON.stringify(entry.command)} ${where}`);
      continue;
    }
    commands.push({
      name,
      command: entry.command,
      file,
      args: entry.args ?? [],
      moreArgs: entry.moreArgs,
      env: new Set(entry.env),
      cwd: resolve(folder, entry.cwd ?? "."),
    });
  }
  report.settle();
  return commands;
}

/** The text, and what an error calls it. */
function sourceOf(
  given: string,
  { cwd, readFile }: CommandsOptions,
): { readonly name: string; readonly text: string; readonly folder: string } {
  if (!given.startsWith("@")) return { name: VARIABLE, text: given, folder: cwd };
  const path = given.slice(1);
  const file = resolve(cwd, path);
  const text = path === "" ? undefined : readText(file, { name: oneLine(path), readFile });
  if (text === undefined) throw new ConfigError(`${VARIABLE}: ${JSON.stringify(path)}: no such file`);
  return { name: oneLine(path), text, folder: dirname(file) };
}

/** The absolute path of a program; undefined where there is none. */
function programAt(command: string, { path, isProgram = isExecutable }: CommandsOptions): string | undefined {
  if (isAbsolute(command)) return isProgram(command) ? command : undefined;
  // As in the servers file: the one that runs the gateway.
  if (command === "deno" && !Deno.build.standalone) return Deno.execPath();
  return (path ?? "").split(":").filter(isAbsolute).map((folder) => join(folder, command)).find(isProgram);
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}

function notAnObject(issue: { readonly code?: string | undefined }): string | undefined {
  return issue.code === "invalid_type" ? `an object, such as in ${SHAPE}` : undefined;
}
