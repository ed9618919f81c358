/**
 * A stand-in for `jsr:@std/dotenv`: `parse`, with the published package's quoting and its expansion of variables in
 * unquoted values. `node:util`'s `parseEnv` says neither how a value was quoted nor reads `\t`, so it is no base.
 *
 * @module
 */

/** One assignment: its name, then its value in single quotes, in double quotes, or bare up to a comment. */
const ASSIGNMENT = /^\s*(?:export\s+)?([^\s=#]+)\s*=[ \t]*(?:'([^']*)'|"([^"]*)"|([^\r\n#]*))/gm;
const NAME = /^[A-Za-z_]\w*$/;

/**
 * `${NAME}`, `$NAME` without a backslash before it, and either with `:-` and a default. Unlike the published one,
 * which reads on to the last brace of the line, a default in braces ends with its own.
 */
const REFERENCE = /\$\{(\w+)(?::-((?:\$\{[^}]*\}|[^}])+))?\}|(?<!\\)\$(\w+)(?::-(.+))?/g;

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/**
 * Reads the text of a `.env` file.
 *
 * Single quotes keep a value as it is, double quotes know `\n`, `\r` and `\t`; an unquoted value may refer to other
 * variables, of the text first and else of the environment. A backslash before `$NAME` prevents that and stays.
 *
 * @param text Lines of `NAME=value`; comments, blank lines and invalid names are skipped.
 * @returns The variables by name.
 * @throws {RangeError} If variables refer to each other in a circle.
 */
export function parse(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  const bare = new Set<string>();
  for (const [, name = "", single, double, unquoted = ""] of text.matchAll(ASSIGNMENT)) {
    if (!NAME.test(name)) {
      // deno-lint-ignore no-console -- as published.
      console.warn(`Ignored "${name}": not a valid variable name`);
      continue;
    }
    if (unquoted !== "") bare.add(name);
    variables[name] = single !== undefined
      ? withoutEdges(single)
      : double !== undefined
      ? withoutEdges(double).replace(/\\([nrt])/g, (_, letter: string) => ESCAPES[letter] ?? "")
      : unquoted.trim();
  }
  const expanded = { ...variables };
  for (const name of bare) expanded[name] = expand(variables[name] ?? "", variables, [name]);
  return expanded;
}

/** A quoted text may start and end on lines of its own. */
function withoutEdges(text: string): string {
  return text.replace(/^\r?\n/, "").replace(/\r?\n$/, "");
}

/** @param via The variables whose values led here: meeting one of them again is a circle. */
function expand(value: string, variables: Record<string, string>, via: readonly string[]): string {
  return value.replace(REFERENCE, (...[, braced, bracedDefault, bare, bareDefault]: string[]) => {
    const name = braced ?? bare ?? "";
    if (via.includes(name)) throw new RangeError(`Cannot expand $${name}: it refers to itself`);
    const found = variables[name] ?? Deno.env.get(name);
    if (found !== undefined) return expand(found, variables, [...via, name]);
    // As published: an unset variable without a default reads "undefined".
    return expand(bracedDefault ?? bareDefault ?? "undefined", variables, via);
  });
}
