/**
 * How a mistake in the configuration is said: one line that names what is wrong, the value and what is
 * allowed.
 *
 * @module
 */
import { distance } from "fastest-levenshtein";

/** How much of a value an error shows, in characters. */
const MAX_SHOWN = 80;

/** What would break out of one line, or reorder it on a terminal. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** A mistake in flags, environment, `.env` or the servers file. Its message is one line, for the operator. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(message: string, options?: ErrorOptions) {
    super(oneLine(message), options);
  }

  /** @param mistakes At least one. The first is told, the others are counted. */
  static of(mistakes: readonly string[]): ConfigError {
    const more = mistakes.length - 1;
    return new ConfigError(`${mistakes[0]}${more > 0 ? ` (and ${more} more)` : ""}`);
  }
}

/** The text with everything that would not print as itself escaped. */
export function oneLine(text: string): string {
  return text.replace(UNPRINTABLE, (char) => {
    const hex = char.codePointAt(0)!.toString(16);
    return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`;
  });
}

/** The text as a JSON string on one line, cut after 80 characters. */
export function quote(text: string): string {
  // Sliced first: spreading a huge string to count its characters would cost as many array cells.
  const characters = [...text.slice(0, 2 * MAX_SHOWN + 2)];
  const shown = characters.length > MAX_SHOWN ? `${characters.slice(0, MAX_SHOWN).join("")}…` : text;
  return oneLine(JSON.stringify(shown));
}

/** The candidate that `word` is most likely a misspelling of, or undefined where none is close. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const given = fold(word);
  let best: string | undefined;
  let bestEdits = Infinity;
  for (const candidate of candidates) {
    const meant = fold(candidate);
    const edits = looksLike(given, meant) ? Math.min(1, distance(given, meant)) : distance(given, meant);
    if (edits < bestEdits && edits <= Math.max(1, Math.floor(meant.length / 4))) {
      best = candidate;
      bestEdits = edits;
    }
  }
  return best;
}

/** Whether a name was cut short (`STREAM_SESSION_TTL`) or has letters swapped: as good a guess as one wrong letter. */
function looksLike(given: string, meant: string): boolean {
  const isCut = Math.min(given.length, meant.length) >= 4 &&
    (meant.startsWith(given) || given.startsWith(meant));
  return isCut || [...given].sort().join("") === [...meant].sort().join("");
}

/** Spelling without what people vary: case, `_` and `-`. */
function fold(name: string): string {
  return name.slice(0, MAX_SHOWN).toLowerCase().replaceAll(/[_-]/g, "");
}
