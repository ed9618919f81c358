/**
 * The members of a JSON object as they are written: what is taken out or put in keeps its digits and its order, which
 * decoding and encoding would change. Nothing here recurses, however deep a text is.
 *
 * Where a key is there twice the last one counts, as for `JSON.parse`.
 *
 * @module
 */

/** Where the value of a member stands in its object's text. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * The text of a member's value.
 *
 * @param object Valid JSON, an object.
 * @returns Undefined where there is no such member.
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(memberText('{"id": 1, "result": {"n": 1.0}}', "result"), '{"n": 1.0}');
 * assertEquals(withMember('{"a": 1.0}', "b", "2"), '{"b":2,"a": 1.0}');
 * assertEquals(withMember('{"a": 1.0}', "a", "2"), '{"a": 2}');
 * ```
 */
export function memberText(object: string, key: string): string | undefined {
  const span = spanOf(object, key);
  return span === undefined ? undefined : object.slice(span.start, span.end);
}

/**
 * The object with a member set to a value.
 *
 * @param object Valid JSON, an object.
 * @param value Valid JSON.
 */
export function withMember(object: string, key: string, value: string): string {
  const span = spanOf(object, key);
  if (span !== undefined) return object.slice(0, span.start) + value + object.slice(span.end);
  const open = object.indexOf("{") + 1;
  const isEmpty = object.slice(open).trim() === "}";
  return `${object.slice(0, open)}${JSON.stringify(key)}:${value}${isEmpty ? "" : ","}${object.slice(open)}`;
}

function spanOf(object: string, key: string): Span | undefined {
  let found: Span | undefined;
  let depth = 0;
  /** Of the key that is being read, or whose value is; undefined between members. */
  let name: string | undefined;
  let start = 0;
  for (let at = 0; at < object.length; at++) {
    switch (object[at]) {
      case '"': {
        const from = at;
        for (at++; object[at] !== '"'; at++) if (object[at] === "\\") at++;
        if (depth === 1 && name === undefined) name = JSON.parse(object.slice(from, at + 1)) as string;
        break;
      }
      case ":":
        if (depth === 1) start = at + 1;
        break;
      case "[":
      case "{":
        depth++;
        break;
      case "]":
      case "}":
      case ",":
        if (object[at] !== ",") depth--;
        // The end of a member: a comma of this object, or its own brace.
        if (depth === (object[at] === "," ? 1 : 0)) {
          if (name === key) found = trimmed(object, { start, end: at });
          name = undefined;
        }
    }
  }
  return found;
}

function trimmed(text: string, { start, end }: Span): Span {
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return { start, end };
}

/** What JSON calls white space. */
function isSpace(unit: number): boolean {
  return unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09;
}
