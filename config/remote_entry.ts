/**
 * What an entry of the servers file may say of a server elsewhere, beside its `url`.
 *
 * @module
 */
import { resolve } from "node:path";
import { z } from "zod";
import { ConfigError, quote } from "./config_error.ts";
import type { Path } from "./jsonc.ts";
import { type ReadFile, readText } from "./read_text.ts";
import type { Report } from "./report.ts";
import { isWithin } from "./settings_table.ts";
import type { RemoteServer } from "./types.ts";

/** How long a server may take to be connected to, and to send something that is due, in ms, unless an entry says. */
const CONNECT_TIMEOUT_MS = 10_000;
const READ_TIMEOUT_MS = 60_000;
/** The longest of both: more is a slip of the hand. */
const MAX_CONNECT_TIMEOUT_MS = 120_000;
const MAX_READ_TIMEOUT_MS = 3_600_000;
/** Headers of the client that an entry may hand on. */
const MAX_FORWARDED = 32;

/** A name in a header, RFC 9110 section 5.6.2. */
export const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Headers that belong to one connection, to the framing of a message or to the gateway's own session with the server.
 * RFC 9110 section 7.6.1 has the first of them.
 */
const OURS = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
  ...["host", "content-length", "content-encoding", "expect", "last-event-id"],
]);
/** What a client says of its message or its browser: another one is sent, or none is due. */
const NEVER_HANDED_ON = new Set([
  ...["cookie", "set-cookie", "proxy-authorization", "proxy-authenticate"],
  ...["accept", "accept-encoding", "content-type", "origin", "referer"],
]);

/** Whether an entry may set this header. */
export function maySet(name: string): boolean {
  const lower = name.toLowerCase();
  return !OURS.has(lower) && !lower.startsWith("mcp-");
}

/** Whether a client's header may be handed on. */
function mayHandOn(name: string): boolean {
  return HEADER_NAME.test(name) && maySet(name) && !NEVER_HANDED_ON.has(name.toLowerCase()) &&
    !/^(?:sec|proxy)-/i.test(name);
}

/** The keys of an entry that mean something only beside `url`, without the texts that need variables. */
export function remoteSchema() {
  const name = "a header's name that may be handed on: not one of the connection's, of cookies, or mcp-…";
  return {
    forwardHeaders: z.array(z.string({ error: "a header's name" }).refine(mayHandOn, name), {
      error: `a list of headers' names, such as ["authorization"]`,
    }).max(MAX_FORWARDED, `at most ${MAX_FORWARDED} names`)
      .refine((names) => new Set(names.map((name) => name.toLowerCase())).size === names.length, {
        error: "each header once, upper and lower case being the same",
      }).optional(),
    connectTimeoutMs: timeout(MAX_CONNECT_TIMEOUT_MS).optional(),
    readTimeoutMs: timeout(MAX_READ_TIMEOUT_MS).optional(),
  };
}

function timeout(max: number) {
  const error = `whole milliseconds from 1 to ${max}`;
  return z.number({ error }).refine((value) => isWithin(value, 1, max), error);
}

/** What {@link readRemote} takes from an entry whose shape was checked. */
export interface RemoteEntry {
  readonly type: RemoteServer["type"];
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly forwardHeaders?: readonly string[] | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly readTimeoutMs?: number | undefined;
  readonly caFile?: string | undefined;
}

/**
 * Fills in the defaults and reads the certificates. What is wrong with those goes to the report.
 *
 * @param options.folder Where a relative path starts, absolute.
 * @param options.disabled Then no file is read: it need not be there.
 */
export function readRemote(
  path: Path,
  { caFile, forwardHeaders = [], connectTimeoutMs, readTimeoutMs, ...entry }: RemoteEntry,
  { report, folder, disabled, readFile }: {
    readonly report: Report;
    readonly folder: string;
    readonly disabled: boolean;
    readonly readFile?: ReadFile | undefined;
  },
): RemoteServer {
  const given = forwardHeaders.map((name) => name.toLowerCase());
  const own = new Set(Object.keys(entry.headers).map((name) => name.toLowerCase()));
  given.forEach((name, index) => {
    if (!own.has(name)) return;
    report.mistake(
      [...path, "forwardHeaders", index],
      `${quote(name)} is not allowed: "headers" sets it already`,
    );
  });
  if (caFile !== undefined && URL.parse(entry.url)?.protocol === "http:") {
    report.warning([...path, "caFile"], "has no effect: the URL is not https");
  }
  return {
    ...entry,
    forwardHeaders: given,
    connectTimeoutMs: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    readTimeoutMs: readTimeoutMs ?? READ_TIMEOUT_MS,
    caCerts: caFile === undefined || disabled
      ? undefined
      : readCertificates([...path, "caFile"], caFile, { report, folder, readFile }),
  };
}

function readCertificates(
  path: Path,
  file: string,
  { report, folder, readFile }: {
    readonly report: Report;
    readonly folder: string;
    readonly readFile: ReadFile | undefined;
  },
): string | undefined {
  const wrong = (why: string) =>
    report.mistake(path, `${quote(file)} is not allowed: a file with certificates in PEM form; ${why}`);
  let pem: string | undefined;
  try {
    pem = readText(resolve(folder, file), { name: "the file", readFile });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    wrong(error.message);
    return undefined;
  }
  if (pem === undefined) wrong("there is no such file");
  else if (!areCertificates(pem)) wrong("it holds none that can be read");
  else return pem;
  return undefined;
}

/** Asked of the runtime, which is what has to read them in the end. It takes a file without any for granted. */
function areCertificates(pem: string): boolean {
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) return false;
  try {
    Deno.createHttpClient({ caCerts: [pem] }).close();
    return true;
  } catch {
    return false;
  }
}
