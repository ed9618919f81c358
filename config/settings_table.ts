/**
 * Every setting of the gateway, once. Reading, `--help`, `.env.example` and the README's table come from
 * here: a new setting is one entry below and one field of `Settings`.
 *
 * @module
 */
import { isIP } from "node:net";
import { z } from "zod";
import { LOG_FORMATS, LOG_LEVELS, MAX_MS, ON_OPEN_STREAM, SESSION_STORES, type Settings } from "./types.ts";

/** The settings that have a variable and a flag of their own. */
export type TableSettings = Omit<Settings, "mcpConfigNamed">;

/** One setting: what it is called, what it may be and what it does. */
export interface Setting<Value> {
  /** In the environment and in `.env`; the flag is the same in lower case with dashes. */
  readonly variable: string;
  /** Reads the text; the error message of a refusal says what is allowed. */
  readonly schema: z.ZodType<Value, string>;
  /** What `--help` shows in the value's place. */
  readonly placeholder: string;
  /** As one would write it; undefined where the setting is off unless given. */
  readonly fallback: string | undefined;
  /** One line, without a full stop. */
  readonly help: string;
  readonly unit?: "ms";
  /** Takes no value on the command line: the bare flag means true. */
  readonly isSwitch?: true;
  /** Never shown in an error. */
  readonly secret?: true;
}

/** In ms. Node's `fetch` gives up on a response that is silent for longer. */
const MAX_SSE_AFTER_MS = 300_000;
/** Of whatever is counted; more is a slip of the hand. */
export const MAX_COUNT = 1_000_000;
/** In ms. Clients give up on an `initialize` that takes longer. */
const MAX_ADMISSION_WAIT_MS = 60_000;
/** In ms. A shutdown that takes longer than an hour is a shutdown that failed. */
const MAX_DRAIN_MS = 60 * 60 * 1000;

/** In bytes. With less, every other message would stop its server. */
const MIN_STREAM_BUFFER_BYTES = 64 * 1024;
/** In bytes. A text that is much longer than this is more than the runtime can hold. */
export const MAX_BYTES = 256 * 1024 * 1024;

/** In bytes, 64 MiB: with less the gateway itself would be over its limit. */
const MIN_MEMORY_LIMIT_BYTES = 64 * 1024 * 1024;
/** In bytes, 1 PiB: more than any machine has, and still exact as a number. */
const MAX_MEMORY_LIMIT_BYTES = 2 ** 50;
/** A process that is closed costs timers and a look at the process table. */
const MAX_SWEEP_CLOSE_CONCURRENCY = 1_000;
/** Each is a few hundred bytes. */
const MAX_TOMBSTONES = 1_000_000;

/** In the order in which `--help` lists them. */
export const SETTINGS: { readonly [Key in keyof TableSettings]: Setting<TableSettings[Key]> } = {
  host: {
    ...checked("HOST", "a host name or an IP address, without port or brackets", isHost),
    variable: "HOST",
    fallback: "127.0.0.1",
    help: "Address to listen on; 0.0.0.0 or :: is every network of this machine",
  },
  port: {
    ...whole("N", "a whole number", 0, 65_535),
    variable: "PORT",
    fallback: "3000",
    help: "Port to listen on; 0 picks a free one and prints it",
  },
  logLevel: {
    ...choice("LEVEL", LOG_LEVELS),
    variable: "LOG_LEVEL",
    fallback: "info",
    help: `The least that is logged: ${LOG_LEVELS.join(", ")}`,
  },
  logFormat: {
    ...choice("FORMAT", LOG_FORMATS),
    variable: "LOG_FORMAT",
    fallback: "text",
    help: "text for people, json for machines (one object a line)",
  },
  logDir: {
    ...checked("DIR", "the path of a folder", isPath),
    variable: "LOG_DIR",
    fallback: undefined,
    help: "Folder that also gets gateway.log, rotated; unset writes no file",
  },
  dataDir: {
    ...checked("DIR", "the path of a folder", isPath),
    variable: "DATA_DIR",
    fallback: ".sojourn",
    help: "Folder of what outlives the gateway; made if missing, and for one gateway at a time",
  },
  sessionStore: {
    ...choice("STORE", SESSION_STORES),
    variable: "SESSION_STORE",
    fallback: "sqlite",
    help: "Where sessions are written down: sqlite is a file in DATA_DIR, memory is gone with the gateway",
  },
  streamSessionTtlMs: {
    ...milliseconds(0),
    variable: "STREAM_SESSION_TTL_MS",
    fallback: "300000",
    help: "Idle time after which a session expires; 0 is never",
  },
  bridgeSessionTtlMs: {
    ...milliseconds(0),
    variable: "BRIDGE_SESSION_TTL_MS",
    fallback: "300000",
    help: "The same for sessions of /bridge",
  },
  handshakeTtlMs: {
    ...milliseconds(0),
    variable: "HANDSHAKE_TTL_MS",
    fallback: "0",
    help: "Idle time after which a session expires that was only initialized; 0 is the usual one",
  },
  maxLifetimeMs: {
    ...milliseconds(0),
    variable: "MAX_LIFETIME_MS",
    fallback: "0",
    help: "Age from which on a session takes no new requests; 0 is never",
  },
  onOpenStream: {
    ...choice("WHAT", ON_OPEN_STREAM),
    variable: "ON_OPEN_STREAM",
    fallback: "ping",
    help: "At the deadline of a session whose client holds its stream open: ask it, or let it expire",
  },
  minTtlMs: {
    ...milliseconds(1),
    variable: "MIN_TTL_MS",
    fallback: "30000",
    help: "The shortest TTL that memory pressure may cause",
  },
  memoryLimitBytes: {
    ...digits("BYTES", {
      allowed: `whole bytes from ${MIN_MEMORY_LIMIT_BYTES} (64 MiB) to ${MAX_MEMORY_LIMIT_BYTES} (1 PiB)`,
      min: MIN_MEMORY_LIMIT_BYTES,
      max: MAX_MEMORY_LIMIT_BYTES,
    }),
    variable: "MEMORY_LIMIT_BYTES",
    fallback: undefined,
    help: "What memory pressure is measured against; unset is 80% of the physical memory",
  },
  sweepCloseConcurrency: {
    ...whole("N", "a whole number", 1, MAX_SWEEP_CLOSE_CONCURRENCY),
    variable: "SWEEP_CLOSE_CONCURRENCY",
    fallback: "32",
    help: "Servers that a sweep closes at a time",
  },
  maxSessions: {
    ...whole("N", "a whole number", 1, MAX_COUNT),
    variable: "MAX_SESSIONS",
    fallback: "1000",
    help: "Sessions that may be open at a time",
  },
  maxSessionsPerPrincipal: {
    ...whole("N", "a whole number", 0, MAX_COUNT),
    variable: "MAX_SESSIONS_PER_PRINCIPAL",
    fallback: "0",
    help: "The same for each principal; 0 is no limit of its own",
  },
  maxProcesses: {
    ...whole("N", "a whole number", 1, MAX_COUNT),
    variable: "MAX_PROCESSES",
    fallback: undefined,
    help: "Servers that may run at a time; unset is 70% of the memory limit in steps of 100 MB",
  },
  spawnConcurrency: {
    ...whole("N", "a whole number", 1, 1_000),
    variable: "SPAWN_CONCURRENCY",
    fallback: undefined,
    help: "Servers that start at a time; unset is two for each core",
  },
  admissionWaitMs: {
    ...milliseconds(0, MAX_ADMISSION_WAIT_MS),
    variable: "ADMISSION_WAIT_MS",
    fallback: "2000",
    help: "How long an opening waits for room where one of these limits is met; 0 refuses at once",
  },
  opensPerMinute: {
    ...whole("N", "a whole number", 0, MAX_COUNT),
    variable: "OPENS_PER_MINUTE",
    fallback: "3000",
    help: "Sessions that each principal may open in a minute, and as many at once; 0 is any number",
  },
  tombstones: {
    ...whole("N", "a whole number", 0, MAX_TOMBSTONES),
    variable: "TOMBSTONES",
    fallback: "10000",
    help: "Ended sessions that are remembered, to explain their end",
  },
  bridgeCommands: {
    ...checked("JSON", "JSON, or @ and the path of a file with it", (text) => text.trim() !== ""),
    variable: "BRIDGE_COMMANDS",
    fallback: undefined,
    help: "Commands that a request to /bridge may have run, as JSON or @FILE; unset is none",
  },
  disableBridgeCleanup: {
    ...truth(),
    variable: "DISABLE_BRIDGE_CLEANUP",
    fallback: "false",
    help: "Sessions of /bridge never expire",
  },
  disableStreamCleanup: {
    ...truth(),
    variable: "DISABLE_STREAM_CLEANUP",
    fallback: "false",
    help: "Sessions of /mcp never expire",
  },
  implicitSessions: {
    ...truth(),
    variable: "IMPLICIT_SESSIONS",
    fallback: "true",
    help: "A request without a session id opens a session; false answers it with 400",
  },
  legacySse: {
    ...truth(),
    variable: "LEGACY_SSE",
    fallback: "true",
    help: "Serve HTTP+SSE to clients of revision 2024-11-05, at /sse/:serverId",
  },
  mcpConfig: {
    ...checked("FILE", "the path of a file", isPath),
    variable: "MCP_CONFIG",
    fallback: "mcp-servers.json",
    help: "The servers file; may be missing unless it is named",
  },
  requestTimeoutMs: {
    ...milliseconds(1),
    variable: "REQUEST_TIMEOUT_MS",
    fallback: "3600000",
    help: "How long a server may take for one request",
  },
  startTimeoutMs: {
    ...milliseconds(1),
    variable: "START_TIMEOUT_MS",
    fallback: "60000",
    help: "How long a server may take to start and answer initialize",
  },
  clientReplyTimeoutMs: {
    ...milliseconds(1),
    variable: "CLIENT_REPLY_TIMEOUT_MS",
    fallback: "60000",
    help: "How long a client may take to answer a request of a server",
  },
  sseAfterMs: {
    ...milliseconds(0, MAX_SSE_AFTER_MS),
    variable: "SSE_AFTER_MS",
    fallback: "1000",
    help: "How long an answer is awaited before its response becomes an event stream",
  },
  implicitTtlMs: {
    ...milliseconds(0),
    variable: "IMPLICIT_TTL_MS",
    fallback: "30000",
    help: "When an implicit session ends whose id never came back; 0 is never",
  },
  drainMs: {
    ...milliseconds(0, MAX_DRAIN_MS),
    variable: "DRAIN_MS",
    fallback: "5000",
    help: "How long a shutdown waits for requests in flight",
  },
  maxStreamBufferBytes: {
    ...bytes(MIN_STREAM_BUFFER_BYTES),
    variable: "MAX_STREAM_BUFFER_BYTES",
    fallback: "4194304",
    help: "What may wait for a client that does not read, in bytes for each stream",
  },
  streamStallMs: {
    ...milliseconds(1),
    variable: "STREAM_STALL_MS",
    fallback: "30000",
    help: "How long a client with more than that waiting may read nothing before its stream is cut",
  },
  streamMaxMs: {
    ...milliseconds(0),
    variable: "STREAM_MAX_MS",
    fallback: "0",
    help: "After how long a response that its client can resume is ended, to be resumed; 0 is never",
  },
  maxBodyBytes: {
    ...bytes(1),
    variable: "MAX_BODY_BYTES",
    fallback: "4194304",
    help: "The longest body of a request, in bytes",
  },
  bodyTimeoutMs: {
    ...milliseconds(1),
    variable: "BODY_TIMEOUT_MS",
    fallback: "30000",
    help: "How long the body of a request may take to come",
  },
  accessToken: {
    ...checked("TOKEN", "visible ASCII characters", isToken),
    variable: "ACCESS_TOKEN",
    fallback: undefined,
    help: "Bearer token that every request but /health has to carry",
    secret: true,
  },
  accessTokensFile: {
    ...checked("FILE", "the path of a file", isPath),
    variable: "ACCESS_TOKENS_FILE",
    fallback: undefined,
    help: "JSON file with the tokens of many principals; read again when it changes",
  },
  authFailuresPerMinute: {
    ...whole("N", "a whole number", 0, MAX_COUNT),
    variable: "AUTH_FAILURES_PER_MINUTE",
    fallback: "60",
    help: "Wrong tokens from one address in a minute, beyond which they get 429; 0 is any number",
  },
  adminToken: {
    ...checked("TOKEN", "visible ASCII characters", isToken),
    variable: "ADMIN_TOKEN",
    fallback: undefined,
    help: "Bearer token of whoever administers",
    secret: true,
  },
  allowUnauthenticated: {
    ...truth(),
    variable: "ALLOW_UNAUTHENTICATED",
    fallback: "false",
    help: "Serve networks (a HOST that is not loopback) without any token",
  },
  allowedOrigins: {
    ...list("ORIGINS", "origins such as https://app.example, separated by commas, or *", isOrigin),
    variable: "ALLOWED_ORIGINS",
    fallback: "",
    help: "Origins besides its own from which browsers may use the gateway",
  },
  allowedHosts: {
    ...list("HOSTS", "host names, with or without a port, separated by commas", isHostHeader),
    variable: "ALLOWED_HOSTS",
    fallback: "",
    help: "Values of the Host header to serve; on loopback only loopback names unless set",
  },
};

/** The row of one setting, as documentation shows it. */
export interface SettingRow {
  readonly variable: string;
  readonly flag: string;
  /** With the value's placeholder, as `--help` shows it. */
  readonly usage: string;
  /** Empty where there is none. */
  readonly default: string;
  readonly unit: "ms" | undefined;
  readonly help: string;
}

/** All settings as documentation shows them, in order. */
export function settingsTable(): SettingRow[] {
  return Object.values(SETTINGS).map(({ variable, placeholder, fallback, unit, help, isSwitch }) => ({
    variable,
    flag: flagOf(variable),
    usage: `${flagOf(variable)}${isSwitch ? `[=${placeholder}]` : ` ${placeholder}`}`,
    default: fallback ?? "",
    unit,
    help,
  }));
}

/** The flag of a variable: `LOG_DIR` is `--log-dir`. */
export function flagOf(variable: string): string {
  return `--${variable.toLowerCase().replaceAll("_", "-")}`;
}

/** Whether the whole number is from `min` to `max`, both included. Shared with the servers file. */
export function isWithin(value: number, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= min && value <= max;
}

/** What is allowed where milliseconds are. Shared with the servers file. */
export function allowedMs(min: number, max = MAX_MS): string {
  return `whole milliseconds from ${min} to ${max}`;
}

/** What is allowed where bytes are. Shared with the servers file. */
export function allowedBytes(min: number): string {
  return `whole bytes from ${min} to ${MAX_BYTES}`;
}

function whole(placeholder: string, what: string, min: number, max: number) {
  return digits(placeholder, { allowed: `${what} from ${min} to ${max}`, min, max });
}

function digits(placeholder: string, { allowed, min, max }: { allowed: string; min: number; max: number }) {
  const isAllowed = (text: string) => /^(?:0|[1-9]\d*)$/.test(text) && isWithin(Number(text), min, max);
  return { placeholder, schema: z.string().refine(isAllowed, allowed).transform(Number) };
}

function milliseconds(min: number, max = MAX_MS) {
  return { ...whole("MS", "whole milliseconds", min, max), unit: "ms" as const };
}

function bytes(min: number) {
  return whole("BYTES", "whole bytes", min, MAX_BYTES);
}

function truth() {
  const schema = z.string().toLowerCase()
    .pipe(z.enum(["true", "1", "false", "0"], { error: "true, false, 1 or 0" }))
    .transform((text) => text === "true" || text === "1");
  return { placeholder: "BOOL", schema, isSwitch: true as const };
}

function choice<const Choice extends string>(placeholder: string, choices: readonly Choice[]) {
  const schema = z.string().toLowerCase().pipe(z.enum(choices, { error: `one of ${choices.join(", ")}` }));
  return { placeholder, schema };
}

function checked(placeholder: string, allowed: string, isAllowed: (text: string) => boolean) {
  return { placeholder, schema: z.string().refine(isAllowed, allowed) };
}

function list(placeholder: string, allowed: string, isAllowed: (item: string) => boolean) {
  const items = (text: string) => text.split(",").map((item) => item.trim().toLowerCase()).filter(Boolean);
  const schema = z.string().refine((text) => items(text).every(isAllowed), allowed).transform(items);
  return { placeholder, schema };
}

function isToken(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

/** As a browser sends it: scheme and host, maybe a port, nothing behind. No pattern: that would match nothing. */
function isOrigin(text: string): boolean {
  if (text === "*" || text === "null") return true;
  if (text.includes("*") || !URL.canParse(text)) return false;
  const { origin } = new URL(text);
  // Extensions and desktop apps have schemes of their own, of which a URL does not tell the origin.
  return origin === "null" ? /^[a-z][a-z\d+.-]*:\/\/[^/@?#\s]+$/.test(text) : origin === text;
}

/** A star would be taken for a name and serve nobody. */
function isHostHeader(text: string): boolean {
  return /^[^/@?#\s*]+$/.test(text) && URL.canParse(`http://${text}`);
}

function isPath(text: string): boolean {
  return text.trim() !== "" && !text.includes("\0");
}

function isHost(text: string): boolean {
  if (isIP(text) !== 0) return true;
  const labels = text.replace(/\.$/, "").split(".");
  const isName = text.length <= 253 &&
    labels.every((label) => /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$/.test(label));
  // A last label of digits only is an IP address gone wrong, such as 300.1.1.1.
  return isName && !/^\d+$/.test(labels.at(-1)!);
}
