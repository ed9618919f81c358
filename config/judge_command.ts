/**
 * Whether a command that a request names may be run: see `bridge_commands.ts` for the list.
 *
 * Patterns are RE2's, which takes time in proportion to the text whatever the pattern: whoever may choose a text cannot
 * keep the gateway busy with it. Its engine costs 5 MB, and is loaded where there is a pattern at all.
 *
 * @module
 */
import type { BridgeCommand } from "./bridge_commands.ts";
import { ConfigError, quote } from "./config_error.ts";
import { isRuntimeVariable } from "./runtime_variables.ts";

/** Characters of an argument that is held against a pattern. */
export const MAX_MATCHED_CHARS = 1_024;

/** What an argument has to match as a whole. */
export interface ArgumentPattern {
  matches(text: string): boolean;
}

/** A command that is ready to be compared with. */
export interface ListedCommand extends Omit<BridgeCommand, "args" | "moreArgs"> {
  readonly args: readonly (string | ArgumentPattern)[];
  readonly moreArgs: { readonly pattern: ArgumentPattern; readonly max: number };
}

/** What follows the listed arguments where an entry allows no more. */
const NO_MORE = { pattern: { matches: () => false }, max: 0 };

/**
 * Makes commands ready.
 *
 * @throws {ConfigError} On a pattern that is none.
 */
export async function listCommands(commands: readonly BridgeCommand[]): Promise<ListedCommand[]> {
  const hasPatterns = commands.some(({ args, moreArgs }) =>
    moreArgs !== undefined || args.some((arg) => typeof arg !== "string")
  );
  if (!hasPatterns) {
    return commands.map((command) => ({ ...command, args: textsOf(command), moreArgs: NO_MORE }));
  }
  const { RE2JS } = await import("re2js");
  const compile = (pattern: string, place: string): ArgumentPattern => {
    try {
      return RE2JS.compile(pattern);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : "none";
      throw new ConfigError(
        `BRIDGE_COMMANDS: ${place}.pattern: ${
          quote(pattern)
        } is not allowed: a regular expression of RE2 (${why})`,
        { cause },
      );
    }
  };
  return commands.map(({ args, moreArgs, ...command }) => ({
    ...command,
    args: args.map((arg, index) =>
      typeof arg === "string" ? arg : compile(arg.pattern, `${command.name}.args[${index}]`)
    ),
    moreArgs: moreArgs === undefined
      ? NO_MORE
      : { pattern: compile(moreArgs.pattern, `${command.name}.moreArgs`), max: moreArgs.max },
  }));
}

function textsOf({ args }: BridgeCommand): string[] {
  return args.filter((arg) => typeof arg === "string");
}

/** What a request wants to have run. */
export interface CommandWish {
  readonly serverPath: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The entry that allows it, or what of it none allows. */
export type CommandVerdict =
  | { readonly state: "listed"; readonly command: ListedCommand }
  | { readonly state: "refused"; readonly why: string };

/**
 * Whether a wish is listed.
 *
 * @param commands Those that whoever wishes may use.
 */
export function judgeCommand(
  commands: readonly ListedCommand[],
  { serverPath, args, env }: CommandWish,
): CommandVerdict {
  const names = Object.keys(env);
  // Whatever is listed: a list made by hand is no reason to trust.
  const forbidden = names.find(isRuntimeVariable);
  if (forbidden !== undefined) return refused(`no request may set ${JSON.stringify(forbidden)}`);
  const named = commands.filter(({ command, file }) => command === serverPath || file === serverPath);
  if (named.length === 0) return refused(`${JSON.stringify(serverPath)} is not listed`);
  const fitting = named.filter((command) => fits(command, args));
  if (fitting.length === 0) {
    return refused(`${JSON.stringify(serverPath)} is not listed with these arguments`);
  }
  const command = fitting.find((command) => names.every((name) => command.env.has(name)));
  if (command !== undefined) return { state: "listed", command };
  const missing = names.find((name) => !fitting.some((command) => command.env.has(name))) ?? names[0];
  return refused(`${JSON.stringify(serverPath)} is not listed with the variable ${JSON.stringify(missing)}`);
}

function fits(command: ListedCommand, args: readonly string[]): boolean {
  const { args: rules, moreArgs } = command;
  if (args.length < rules.length || args.length > rules.length + moreArgs.max) return false;
  return args.every((arg, index) => {
    const rule = rules[index] ?? moreArgs.pattern;
    return typeof rule === "string" ? arg === rule : arg.length <= MAX_MATCHED_CHARS && rule.matches(arg);
  });
}

function refused(why: string): CommandVerdict {
  return { state: "refused", why };
}
