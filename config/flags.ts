import { parseArgs } from "node:util";
import { nearest, quote } from "./config_error.ts";
import { flagOf, SETTINGS } from "./settings_table.ts";

/** The command line, taken apart. */
export interface Flags {
  readonly help: boolean;
  readonly version: boolean;
  /** The text of each flag that was given, by flag; the last one counts. */
  readonly values: ReadonlyMap<string, string>;
  /** Error lines, in the order of the arguments. */
  readonly mistakes: readonly string[];
}

/** What `node:util` has to know: which flags take a value. */
const OPTIONS = {
  ...Object.fromEntries(
    Object.values(SETTINGS).map(({ variable, isSwitch }) =>
      [
        flagOf(variable).slice(2),
        { type: isSwitch ? "boolean" : "string" },
      ] as const
    ),
  ),
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "V" },
} as const;

/** Takes the command line apart. Values are not checked here: see `readSettings`. */
export function readFlags(args: readonly string[]): Flags {
  const values = new Map<string, string>();
  const mistakes: string[] = [];
  let help = false;
  let version = false;
  // Not `strict`: that wants no value at all for a switch, and its messages are paragraphs.
  const { tokens } = parseArgs({
    // Runners of scripts pass on the `--` that separates their arguments from the script's.
    args: args[0] === "--" ? args.slice(1) : [...args],
    options: OPTIONS,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      mistakes.push(`${quote(token.value)} is not allowed: flags only (see --help)`);
      continue;
    }
    const { name, rawName, value, inlineValue } = token;
    const flag = `--${name}`;
    if (!Object.hasOwn(OPTIONS, name)) {
      mistakes.push(`${quote(rawName)} is not a flag${suggestion(name)}`);
    } else if (name === "help" || name === "version") {
      if (value !== undefined) mistakes.push(`${flag}: ${quote(value)} is not allowed: no value`);
      help ||= name === "help";
      version ||= name === "version";
    } else if (value !== undefined && !(inlineValue === false && /^-\D/.test(value))) {
      values.set(flag, value);
    } else if (OPTIONS[name as keyof typeof OPTIONS].type === "boolean") {
      values.set(flag, "true");
    } else {
      // `--log-dir --port 80`: the next flag is no value.
      mistakes.push(`${flag}: needs a value, such as ${flag}=VALUE`);
    }
  }
  return { help, version, values, mistakes };
}

function suggestion(name: string): string {
  const meant = nearest(name, Object.keys(OPTIONS));
  return meant === undefined ? " (see --help)" : `; did you mean --${meant}?`;
}
