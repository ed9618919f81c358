import { resolve } from "node:path";
import { nearest, quote } from "./config_error.ts";
import type { Lookup } from "./expand.ts";
import { entryDepth, isSecretive, type Path, shown } from "./jsonc.ts";
import type { ReadFile } from "./read_text.ts";
import { readRemote } from "./remote_entry.ts";
import type { Report } from "./report.ts";
import {
  ENTRY_KEYS,
  entrySchema,
  type ReferenceIssue,
  SERVER_ID,
  SERVER_ID_ALLOWED,
  SESSION_KEYS,
  TYPES,
} from "./server_schema.ts";
import { allowedMs, isWithin } from "./settings_table.ts";
import { MAX_MS, type ServerConfig, type StdioServer } from "./types.ts";

/** What an entry is read against. */
export interface EntryContext {
  readonly report: Report;
  readonly lookup: Lookup;
  /** Of the servers file, absolute: relative paths in it start there. */
  readonly folder: string;
  readonly readFile?: ReadFile | undefined;
}

/** Age from which on children that were started ahead are replaced, in ms. */
const PREWARM_MAX_AGE_MS = 60 * 60 * 1000;

/** A `timeout` of another tool is taken for milliseconds from here on. */
const LEAST_FOREIGN_MS = 1_000;

/** Keys that mean something only beside `command`, or only beside `url`. */
const STDIO_KEYS = ["args", "env", "cwd"];
const REMOTE_KEYS = ["headers", "forwardHeaders", "connectTimeoutMs", "readTimeoutMs", "caFile"];

/** Keys of `session` that say when time ends a session, with the value that agrees with `cleanup: false`. */
const CLEANUP_KEYS: Readonly<Record<string, unknown>> = {
  idleTtlMs: 0,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: undefined,
  evictable: false,
};

/**
 * Reads one entry of the servers file. What is wrong with it goes to the report.
 *
 * @param path Of the entry in the file; its last part is the server's id.
 * @returns Undefined where the entry has a mistake.
 */
export function readEntry(path: Path, raw: unknown, context: EntryContext): ServerConfig | undefined {
  const { report, lookup, folder } = context;
  const id = String(path.at(-1));
  const isNamed = SERVER_ID.test(id);
  if (!isNamed) report.mistake(path, `this name is not allowed: ${SERVER_ID_ALLOWED}`, "key");

  const entry = isObject(raw) ? raw : undefined;
  if (entry !== undefined) warnUnknown(path, entry, report);
  if (entry !== undefined) warnForeign(path, entry, report);
  if (isObject(entry?.session)) warnIneffective([...path, "session"], entry.session, report);
  const isFit = entry === undefined || checkTransport(path, entry, report);

  const result = entrySchema(entry?.disabled === true ? undefined : lookup).safeParse(raw);
  if (!result.success) {
    for (const issue of result.error.issues) {
      const at = [...path, ...issue.path.map((part) => typeof part === "symbol" ? String(part) : part)];
      if (issue.code === "invalid_key") {
        report.mistake(at, `this name is not allowed: ${issue.issues[0]!.message}`, "key");
      } else {
        const { expansion } = (issue.code === "custom" ? issue.params ?? {} : {}) as Partial<ReferenceIssue>;
        const value = expansion ? referenceShown(at, expansion) : valueShown(at, valueAt(raw, issue.path));
        report.mistake(at, `${value} is not allowed: ${issue.message}`);
      }
    }
  }
  if (!result.success || !isFit || !isNamed) return undefined;

  const {
    command,
    args = [],
    env = {},
    cwd = ".",
    type,
    url,
    headers = {},
    disabled,
    backend,
    stateful,
    session,
  } = result.data;
  const { forwardHeaders, connectTimeoutMs, readTimeoutMs, caFile } = result.data;
  const remote = () =>
    readRemote(path, {
      type: type === "sse" ? "sse" : "http",
      url: url!,
      headers,
      forwardHeaders,
      connectTimeoutMs,
      readTimeoutMs,
      caFile,
    }, { ...context, disabled: disabled === true });
  const stdio = (program: string): StdioServer => (
    { type: "stdio", command: program, args, env, cwd: resolve(folder, cwd) }
  );
  return {
    id,
    transport: command === undefined ? remote() : stdio(command),
    disabled: disabled ?? false,
    backend: typeof backend === "object" && "prewarm" in backend
      ? { prewarm: backend.prewarm, prewarmMaxAgeMs: backend.prewarmMaxAgeMs ?? PREWARM_MAX_AGE_MS }
      : backend ?? "perSession",
    stateful: stateful ?? false,
    session: {
      idleTtlMs: session?.idleTtlMs,
      hibernateAfterMs: session?.hibernateAfterMs,
      handshakeTtlMs: session?.handshakeTtlMs,
      maxLifetimeMs: session?.maxLifetimeMs,
      onOpenStream: session?.onOpenStream,
      evictable: session?.evictable,
      requestTimeoutMs: session?.requestTimeoutMs ?? foreignTimeoutMs(result.data.timeout),
      maxBodyBytes: session?.maxBodyBytes,
      maxSessions: session?.maxSessions,
      maxInFlightPerSession: session?.maxInFlightPerSession,
      cleanup: session?.cleanup,
    },
  };
}

function warnUnknown(path: Path, entry: Record<string, unknown>, report: Report): void {
  const warn = (within: Path, object: Record<string, unknown>, known: readonly string[]) => {
    for (const key of Object.keys(object).filter((key) => !known.includes(key))) {
      report.warning([...within, key], unknownKey(key, known));
    }
  };
  warn(path, entry, ENTRY_KEYS);
  if (isObject(entry.session)) warn([...path, "session"], entry.session, SESSION_KEYS);
}

/**
 * `timeout` of other tools as ours: milliseconds, as MCP Connect has it. To some it is seconds, and a server whose
 * requests had a few milliseconds would answer none.
 */
function foreignTimeoutMs(timeout: unknown): number | undefined {
  return typeof timeout === "number" && isWithin(timeout, LEAST_FOREIGN_MS, MAX_MS) ? timeout : undefined;
}

/** Says what becomes of keys that other tools have. */
function warnForeign(path: Path, entry: Record<string, unknown>, report: Report): void {
  const { timeout, session } = entry;
  if (timeout !== undefined) {
    const own = isObject(session) && session.requestTimeoutMs !== undefined;
    const said = own
      ? "has no effect beside session.requestTimeoutMs"
      : foreignTimeoutMs(timeout) !== undefined
      ? "is taken for milliseconds, and for session.requestTimeoutMs"
      : `is ignored: not ${allowedMs(LEAST_FOREIGN_MS)}; set session.requestTimeoutMs`;
    report.warning([...path, "timeout"], said);
  }
  if (entry.retries !== undefined) {
    report.warning([...path, "retries"], "has no effect: what was sent to a server is never sent again");
  }
}

/** Warns of keys that `cleanup: false` takes the effect from. */
function warnIneffective(path: Path, session: Record<string, unknown>, report: Report): void {
  if (session.cleanup !== false) return;
  for (const [key, agreeing] of Object.entries(CLEANUP_KEYS)) {
    if (key in session && session[key] !== agreeing) {
      report.warning([...path, key], 'has no effect beside "cleanup": false');
    }
  }
}

/** What is said of a key that nobody reads. */
export function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  return `unknown key, ignored${meant === undefined ? "" : `; did you mean ${quote(meant)}?`}`;
}

/** Whether `command`, `url` and `type` go together. */
function checkTransport(path: Path, entry: Record<string, unknown>, report: Report): boolean {
  const isStdio = "command" in entry;
  const isRemote = "url" in entry;
  if (!isStdio && !isRemote) {
    report.mistake(path, 'needs "command" (a program to start) or "url" (a server to reach)');
    return false;
  }
  if (isStdio && isRemote) {
    report.mistake([...path, "url"], 'is not allowed beside "command": one of the two', "key");
    return false;
  }
  for (const key of isStdio ? REMOTE_KEYS : STDIO_KEYS) {
    if (key in entry) report.warning([...path, key], `has no effect beside "${isStdio ? "command" : "url"}"`);
  }
  if (isRemote && isObject(entry.backend)) {
    const why = 'a server at a "url" has no processes to start ahead or to share';
    report.mistake([...path, "backend"], `is not allowed beside "url": ${why}`, "key");
    return false;
  }
  // Any other type is the schema's to refuse.
  const type = TYPES.find((type) => type === entry.type);
  if (type !== undefined && (type === "stdio") !== isStdio) {
    const allowed = isStdio ? 'stdio beside "command"' : 'http or sse beside "url"';
    report.mistake([...path, "type"], `${quote(type)} is not allowed: ${allowed}`);
    return false;
  }
  return true;
}

/** Arguments often carry keys, and URLs do: of those an error shows no more than it needs. */
function valueShown(path: Path, value: unknown): string {
  if (isSecretive(path)) return typeof value === "string" ? "this text" : kindOf(value);
  const depth = entryDepth(path);
  if (typeof value === "string" && path[depth] === "args") return "this text";
  if (typeof value === "string" && path[depth] === "url") return quote(urlShown(value));
  return path.length === depth ? kindOf(value) : shown(value);
}

function referenceShown(path: Path, { reference, isName }: ReferenceIssue["expansion"]): string {
  return isName || !(isSecretive(path) || path[entryDepth(path)] === "url")
    ? quote(reference)
    : "a reference in it";
}

function kindOf(value: unknown): string {
  return typeof value === "object" ? shown(value) : `a ${typeof value}`;
}

/** Scheme and host: user, password, path and query may be secrets. */
function urlShown(url: string): string {
  const [, scheme = "", , host = "", rest = ""] =
    /^([a-z][a-z0-9+.-]*:\/\/)?(.*@)?([^/?#]*)(.*)/is.exec(url) ?? [];
  return `${scheme}${url.includes("@") ? "…@" : ""}${host}${rest === "" ? "" : "/…"}`;
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      typeof value === "object" && value !== null && Object.hasOwn(value, part)
        ? (value as Record<PropertyKey, unknown>)[part]
        : undefined,
    raw,
  );
}

/** Whether the value is an object of the file. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
