/**
 * What an entry of the servers file may hold.
 *
 * @module
 */
import { z } from "zod";
import { expand, type Expansion, type Lookup } from "./expand.ts";
import { HEADER_NAME, maySet, remoteSchema } from "./remote_entry.ts";
import { allowedBytes, allowedMs, isWithin, MAX_BYTES, MAX_COUNT } from "./settings_table.ts";
import { MAX_MS, ON_OPEN_STREAM } from "./types.ts";

/** What a server's name may be: it stands in URLs, logs and metrics. */
export const SERVER_ID = /^(?!\.\.?$)[A-Za-z0-9._-]{1,64}$/;
export const SERVER_ID_ALLOWED = "1 to 64 of A-Z a-z 0-9 . _ - and neither . nor ..";

/** The values of `type`; the two with "streamable" are other tools' names for `http`. */
export const TYPES = ["stdio", "http", "streamable-http", "streamableHttp", "sse"] as const;

/** A header's value as `fetch` takes it: no control but the tab, nothing beyond Latin-1. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Carries a mistake of a reference through zod's list of issues. */
export interface ReferenceIssue {
  readonly expansion: Extract<Expansion, { kind: "mistake" }>;
}

/**
 * The schema of an entry. Every message says what is allowed; values are for the caller to show or hide.
 *
 * @param lookup Variables for `${VAR}`; undefined leaves texts as written and checks only their type, which is
 *   what a disabled entry gets: its variables need not be there.
 */
export function entrySchema(lookup: Lookup | undefined) {
  const string = "a text in double quotes";

  /** A text whose references are replaced before it is held against `isAllowed`. */
  const text = (allowed: string, isAllowed: (text: string) => boolean) => {
    const written = z.string({ error: string });
    if (lookup === undefined) return written;
    return written.transform((value, context) => {
      const expansion = expand(value, lookup);
      if (expansion.kind === "text") return expansion.text;
      const params = { expansion } satisfies ReferenceIssue;
      context.addIssue({ code: "custom", message: expansion.allowed, params });
      return z.NEVER;
    }).pipe(z.string().refine(isAllowed, allowed));
  };

  /** Texts by name. */
  const texts = (
    [nameAllowed, isName]: [string, (name: string) => boolean],
    [allowed, isAllowed]: [string, (value: string) => boolean],
  ) =>
    z.record(z.string().refine(isName, nameAllowed), text(allowed, isAllowed), {
      error: `an object of texts, such as {"NAME": "value"}`,
    });

  return z.object({
    command: text("a program's name or path", (value) => value.trim() !== "" && hasNoNul(value)).optional(),
    args: z.array(text("a text without a NUL character", hasNoNul), {
      error: `a list of texts, such as ["-y", "package"]`,
    }).optional(),
    env: texts(
      ["a variable's name: not empty, without = and NUL", (name) => name !== "" && !/[=\0]/.test(name)],
      ["a text without a NUL character", hasNoNul],
    ).optional(),
    cwd: text("a folder's path", (value) => value !== "" && hasNoNul(value)).optional(),
    type: z.enum(TYPES, { error: "one of stdio, http, sse" }).optional(),
    url: text("an http or https URL without user and password (put credentials into headers)", isUrl)
      .optional(),
    headers: texts(
      [
        "a header's name: letters, digits and -; not one of the connection's, and not mcp-…",
        (name) => HEADER_NAME.test(name) && maySet(name),
      ],
      ["a header's value: one line of Latin-1 text", (value) => HEADER_VALUE.test(value)],
    ).refine(isEachOnce, "each header once, upper and lower case being the same").optional(),
    ...remoteSchema(),
    caFile: text("a file's path", (value) => value !== "" && hasNoNul(value)).optional(),
    disabled: flag().optional(),
    // For people: the gateway has no use for it.
    description: z.unknown().optional(),
    // Other tools': see `warnForeign`.
    timeout: z.unknown().optional(),
    retries: z.unknown().optional(),
    backend: z.union([
      z.literal("perSession"),
      z.strictObject(
        { prewarm: children(), prewarmMaxAgeMs: ms(1_000).or(z.literal(0)).optional() },
        { error: BACKEND_ALLOWED },
      ),
      z.strictObject({ shared: children() }, { error: BACKEND_ALLOWED }),
    ], { error: BACKEND_ALLOWED }).optional(),
    stateful: flag().optional(),
    session: z.object({
      idleTtlMs: ms(0).optional(),
      hibernateAfterMs: ms(0).optional(),
      handshakeTtlMs: ms(0).optional(),
      maxLifetimeMs: ms(0).optional(),
      onOpenStream: z.enum(ON_OPEN_STREAM, { error: `one of ${ON_OPEN_STREAM.join(", ")}` }).optional(),
      evictable: flag().optional(),
      requestTimeoutMs: ms(1).optional(),
      maxBodyBytes: bytes(1).optional(),
      maxSessions: count().optional(),
      maxInFlightPerSession: count().optional(),
      cleanup: flag().optional(),
    }, { error: `an object, such as {"idleTtlMs": 600000}` }).optional(),
  }, { error: `an object, such as {"command": "npx", "args": ["-y", "package"]}` });
}

/** Children of one server that are started ahead, or shared: more is a slip of the hand. */
const MAX_CHILDREN = 1_000;
const BACKEND_ALLOWED =
  `"perSession", {"prewarm": N, "prewarmMaxAgeMs": MS} or {"shared": N} with N from 1 to ${MAX_CHILDREN}`;

function children() {
  const error = `a whole number from 1 to ${MAX_CHILDREN}`;
  return z.number({ error }).refine((value) => isWithin(value, 1, MAX_CHILDREN), error);
}

/** The keys of an entry, and of its `session`. */
export const ENTRY_KEYS = Object.keys(entrySchema(undefined).shape);
export const SESSION_KEYS = Object.keys(entrySchema(undefined).shape.session.unwrap().shape);

function ms(min: number) {
  const error = allowedMs(min);
  return z.number({ error }).refine((value) => isWithin(value, min, MAX_MS), error);
}

function bytes(min: number) {
  const error = allowedBytes(min);
  return z.number({ error }).refine((value) => isWithin(value, min, MAX_BYTES), error);
}

function count() {
  const error = `a whole number from 1 to ${MAX_COUNT}`;
  return z.number({ error }).refine((value) => isWithin(value, 1, MAX_COUNT), error);
}

function flag() {
  return z.boolean({ error: "true or false, without quotes" });
}

function hasNoNul(text: string): boolean {
  return !text.includes("\0");
}

function isEachOnce(headers: Record<string, string>): boolean {
  const names = Object.keys(headers);
  return new Set(names.map((name) => name.toLowerCase())).size === names.length;
}

function isUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "";
}
