/**
 * References to variables in the servers file.
 *
 * - `${VAR}` is the variable's value, also when that is empty; an unset one is a mistake.
 * - `${VAR:-default}` is the default when the variable is unset or empty, as in a shell.
 * - `${env:VAR}` is VS Code's spelling of the same.
 * - `$${` is a literal `${`; any other `$` is itself.
 *
 * What a reference gave is not searched for references again.
 *
 * @module
 */

/** A variable's value; undefined where it is unset. */
export type Lookup = (name: string) => string | undefined;

/** What became of a text. */
export type Expansion = { readonly kind: "text"; readonly text: string } | Mistake;

/** A reference that cannot be replaced. */
interface Mistake {
  readonly kind: "mistake";
  /** The reference as written. */
  readonly reference: string;
  /** Whether `reference` is a name and nothing else, and so may be shown even where values are secret. */
  readonly isName: boolean;
  /** What is allowed instead. Quotes nothing but the variable's name. */
  readonly allowed: string;
}

const REFERENCE = /^(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/** What VS Code replaces by itself and the gateway has no counterpart for. */
const EDITOR_REFERENCE =
  /^(?:[A-Za-z]+:.*|(?:workspaceFolder|file|relativeFile)\w*|userHome|pathSeparator|\/)$/s;

/**
 * Replaces every reference to a variable.
 *
 * @param lookup Asked once for each reference.
 * @returns The text, or the first mistake from the left.
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const lookup: Lookup = (name) => name === "HOME" ? "/home/ada" : undefined;
 * const home: Expansion = expand("${HOME}/${DIR:-notes}", lookup);
 * assertEquals(home, { kind: "text", text: "/home/ada/notes" });
 * assertEquals(expand("$${HOME}", lookup), { kind: "text", text: "${HOME}" });
 * assertEquals(expand("${DIR}", lookup).kind, "mistake");
 * ```
 */
export function expand(text: string, lookup: Lookup): Expansion {
  let expanded = "";
  let from = 0;
  while (true) {
    const open = text.indexOf("${", from);
    if (open < 0) return { kind: "text", text: expanded + text.slice(from) };
    if (open > from && text[open - 1] === "$") {
      expanded += text.slice(from, open - 1) + "${";
      from = open + 2;
      continue;
    }
    const close = text.indexOf("}", open);
    if (close < 0) return malformed(text.slice(open), 'a "}" after "${", or "$${" for a literal "${"');
    const value = resolve(text.slice(open + 2, close), lookup);
    if (typeof value !== "string") return value;
    expanded += text.slice(from, open) + value;
    from = close + 1;
  }
}

/** The value of what stands between `${` and `}`. */
function resolve(inner: string, lookup: Lookup): string | Mistake {
  const reference = `\${${inner}}`;
  const [, name, fallback] = REFERENCE.exec(inner) ?? [];
  if (name === undefined || EDITOR_REFERENCE.test(name)) {
    return malformed(
      reference,
      EDITOR_REFERENCE.test(inner)
        ? "${VAR} or ${VAR:-default}; the other references of VS Code are not supported"
        : '${VAR} or ${VAR:-default}, or "$${" for a literal "${"',
    );
  }
  if (fallback?.includes("${")) return malformed(reference, 'a default without another "${" in it');
  const value = lookup(name);
  if (fallback !== undefined) return value || fallback;
  if (value !== undefined) return value;
  const allowed = `${name} is not set: set it in the environment or in .env, or write \${${name}:-default}`;
  return { kind: "mistake", reference, isName: true, allowed };
}

function malformed(reference: string, allowed: string): Mistake {
  return { kind: "mistake", reference, isName: false, allowed };
}
