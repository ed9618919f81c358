/**
 * Where in the text of a message the members stand that say whose it is, so that they can be replaced and all else
 * stays as it came: numbers keep their digits, keys their order.
 *
 * Encoding a message anew would be simpler and would change it: `1.0` would become `1`, a long number would lose
 * digits, of two members by one name one would be gone.
 *
 * Which value a receiver takes where a member is there twice, or in another spelling, depends on who reads: the first,
 * the last, or, where names are compared without regard to case (Go's `encoding/json` does), that of `"ID"`. A message
 * of one session that means another to the server would be another session's, so such a message is called
 * {@link Members.doubtful}.
 *
 * @module
 */

/** A part of a text, `end` excluded. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The members that are looked for, as paths. */
export const PATHS = [
  "jsonrpc",
  "id",
  "method",
  "result",
  "error",
  "params",
  "params.requestId",
  "params.progressToken",
  "params.uri",
  "params.level",
  "params.task",
  "params._meta",
  "params._meta.progressToken",
] as const;
export type Path = typeof PATHS[number];

/** What was found in a text. */
export interface Members {
  /** The values of a member, in the order in which they stand; more than one where it is there more than once. */
  at(path: Path): readonly Span[];
  /** A path of which the text has two members that some reader could take for one; undefined where there is none. */
  readonly doubtful: string | undefined;
}

/** What is looked for in an object. */
interface Tree {
  readonly members: ReadonlyMap<string, Tree>;
  /** The same names where case does not count. */
  readonly folded: ReadonlyMap<string, string>;
}

const LEAF = tree({});
const TREE = tree({
  jsonrpc: LEAF,
  id: LEAF,
  method: LEAF,
  result: LEAF,
  error: LEAF,
  params: tree({
    requestId: LEAF,
    progressToken: LEAF,
    uri: LEAF,
    level: LEAF,
    task: LEAF,
    _meta: tree({ progressToken: LEAF }),
  }),
});

const NONE: readonly Span[] = [];
const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Looks for the members of a message.
 *
 * @param text A JSON object: valid JSON, as whoever parsed it before knows. Nothing here recurses with its depth.
 */
export function findMembers(text: string): Members {
  const found: Found = { spans: new Map(), doubtful: undefined };
  readObject(text, skipSpace(text, 0), { tree: TREE, prefix: "", found });
  return { at: (path) => found.spans.get(path) ?? NONE, doubtful: found.doubtful };
}

/** One replacement. */
export interface Patch {
  readonly spans: readonly Span[];
  /** JSON. */
  readonly by: string;
}

/** The text with some parts replaced. No two of the spans overlap. */
export function replace(text: string, patches: readonly Patch[]): string {
  const all = patches.flatMap(({ spans, by }) => spans.map((span) => ({ ...span, by })));
  all.sort((a, b) => a.start - b.start);
  let replaced = "";
  let at = 0;
  for (const { start, end, by } of all) {
    replaced += text.slice(at, start) + by;
    at = end;
  }
  return replaced + text.slice(at);
}

interface Found {
  readonly spans: Map<string, Span[]>;
  doubtful: string | undefined;
}

interface Search {
  readonly tree: Tree;
  /** The path to the object, with a full stop behind it. */
  readonly prefix: string;
  readonly found: Found;
}

/** Reads an object from its brace on. @returns The place behind it. */
function readObject(text: string, at: number, search: Search): number {
  at = skipSpace(text, at + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACE) {
    const nameEnd = skipString(text, at);
    const name = nameOf(text.slice(at, nameEnd));
    // Behind the colon.
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const end = readMember(text, start, { name, search });
    at = skipSpace(text, end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return at + 1;
}

function readMember(text: string, start: number, { name, search }: { name: string; search: Search }): number {
  const { tree, prefix, found } = search;
  const inner = tree.members.get(name);
  if (inner === undefined) {
    const known = tree.folded.get(fold(name));
    if (known !== undefined) found.doubtful ??= prefix + known;
    return skipValue(text, start);
  }
  const path = prefix + name;
  const end = text.charCodeAt(start) === OPEN_BRACE && inner.members.size > 0
    ? readObject(text, start, { tree: inner, prefix: `${path}.`, found })
    : skipValue(text, start);
  const spans = found.spans.get(path);
  if (spans === undefined) {
    found.spans.set(path, [{ start, end }]);
  } else {
    spans.push({ start, end });
    found.doubtful ??= path;
  }
  return end;
}

function tree(members: Readonly<Record<string, Tree>>): Tree {
  const names = Object.keys(members);
  return {
    members: new Map(Object.entries(members)),
    folded: new Map(names.map((name) => [fold(name), name])),
  };
}

/** In both directions: the long s has an upper case only, the Kelvin sign a lower case only. */
function fold(name: string): string {
  return name.toUpperCase().toLowerCase();
}

/** What a key is called, quotes and escapes resolved. */
function nameOf(key: string): string {
  return key.includes("\\") ? JSON.parse(key) : key.slice(1, -1);
}

function skipValue(text: string, at: number): number {
  const first = text.charCodeAt(at);
  if (first === QUOTE) return skipString(text, at);
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) return skipScalar(text, at);
  let depth = 0;
  for (;;) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = skipString(text, at);
        continue;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth++;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        if (--depth === 0) return at + 1;
    }
    // Valid JSON never gets here; the end of the text must not be looked for for ever.
    if (++at >= text.length) return at;
  }
}

/** A string from its opening quote on. */
function skipString(text: string, at: number): number {
  for (let from = at + 1;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) return text.length;
    let before = quote - 1;
    while (text.charCodeAt(before) === BACKSLASH) before--;
    // An odd number of backslashes escapes it.
    if ((quote - before) % 2 === 1) return quote + 1;
    from = quote + 1;
  }
}

/** A number, `true`, `false` or `null`. */
function skipScalar(text: string, at: number): number {
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code <= 0x20 || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET) break;
  }
  return at;
}

function skipSpace(text: string, at: number): number {
  while (text.charCodeAt(at) <= 0x20) at++;
  return at;
}
