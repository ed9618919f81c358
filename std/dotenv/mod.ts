/**
 * A stand-in for `jsr:@std/dotenv`: `parse`, over `node:util`'s `parseEnv`, with the published package's expansion
 * of variables in unquoted values.
 *
 * @module
 */
import { parseEnv } from "node:util";

/** `$NAME`, `${NAME}` and `${NAME:-default}`, unless a backslash stands before the dollar sign. */
const REFERENCE = /(?<!\\)\$(?:\{(?<braced>\w+)(?::-(?<fallback>[^}]*))?\}|(?<bare>\w+))/g;

/** How often a value may refer to one that refers further, before that counts as a circle. */
const MAX_DEPTH = 10;

/**
 * Reads the text of a `.env` file.
 *
 * Single and double quotes keep a value as it is; an unquoted one may refer to other variables of the text or of the
 * environment, whose values win.
 *
 * @param text Lines of `NAME=value`; comments and blank lines are skipped.
 * @returns The variables by name.
 */
export function parse(text: string): Record<string, string> {
  const variables = parseEnv(text) as Record<string, string>;
  const expanded = { ...variables };
  for (const [name, value] of Object.entries(variables)) {
    if (isUnquoted(text, name)) expanded[name] = expand(value, variables, 0).replaceAll("\\$", "$");
  }
  return expanded;
}

/** Whether the last assignment of a name has no quote around its value. */
function isUnquoted(text: string, name: string): boolean {
  const escaped = name.replace(/[^\w]/g, "\\$&");
  const assignments = text.matchAll(new RegExp(`^\\s*(?:export\\s+)?${escaped}\\s*=[ \\t]*(.?)`, "gm"));
  const first = [...assignments].at(-1)?.[1];
  return first !== '"' && first !== "'" && first !== "`";
}

function expand(value: string, variables: Record<string, string>, depth: number): string {
  if (depth >= MAX_DEPTH) return value;
  return value.replace(REFERENCE, (_whole, braced?: string, fallback?: string, bare?: string) => {
    const found = Deno.env.get(braced ?? bare ?? "") ?? variables[braced ?? bare ?? ""];
    return expand(found ?? fallback ?? "", variables, depth + 1);
  });
}
