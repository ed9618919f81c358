/**
 * `ACCESS_TOKENS_FILE`: who may use the gateway, by the hashes of their tokens.
 *
 *     {
 *       "tokens": [
 *         { "principal": "alice", "sha256": "<64 hexadecimal digits>", "servers": ["files"], "expires": "2027-01-31",
 *           "maxSessions": 20, "opensPerMinute": 60 }
 *       ]
 *     }
 *
 * All but `principal` and `sha256` may be left out. A principal may have several tokens: that is how one is rotated. Its
 * limits are its own and not its tokens', so each of them has to say the same.
 *
 * @module
 */
import { resolve } from "node:path";
import { z } from "zod";
import { ConfigError, oneLine } from "./config_error.ts";
import { parseJsonc, type Path } from "./jsonc.ts";
import { type ReadFile, readText } from "./read_text.ts";
import { Report, throwFirst } from "./report.ts";
import { MAX_COUNT } from "./settings_table.ts";

/** One token that lets somebody in. */
export interface TokenEntry {
  readonly principal: string;
  /** SHA-256 of the token, 32 bytes. */
  readonly digest: Uint8Array;
  /** The servers it is good for; undefined is all. */
  readonly servers: ReadonlySet<string> | undefined;
  /** Wall time in ms from which it is good for nothing; undefined is never. */
  readonly expiresAtMs: number | undefined;
  /** What the principal has of its own, in place of the settings; 0 is any number. */
  readonly maxSessions?: number;
  readonly opensPerMinute?: number;
}

/** Has the token of its own that is `ADMIN_TOKEN`; one of this name here would share its sessions and no more. */
const RESERVED = "admin";

const EXPIRES =
  "a date such as 2027-01-31 (its start in UTC), or a time with its zone such as 2027-01-31T18:00:00Z";

const A_LIMIT = `a whole number from 0 to ${MAX_COUNT}; 0 is any number`;
const LIMIT = z.int(A_LIMIT).min(0, A_LIMIT).max(MAX_COUNT, A_LIMIT);
const LIMITS = ["maxSessions", "opensPerMinute"] as const;

const ENTRY = z.strictObject({
  principal: z.string("a name").regex(
    /^[A-Za-z0-9._@-]{1,64}$/,
    "1 to 64 letters, digits, dots, dashes, underscores or @",
  ).refine((name) => name !== RESERVED, `another name: "${RESERVED}" is whoever has ADMIN_TOKEN`),
  sha256: z.string("64 hexadecimal digits").regex(/^[0-9a-fA-F]{64}$/, "64 hexadecimal digits"),
  servers: z.array(z.string("a server's name"), "a list of server names").optional(),
  // Not all that Date.parse takes: to it "1" is a day in 2001, and 31 February one in March.
  expires: z.union([z.iso.date(), z.iso.datetime({ offset: true })], EXPIRES).optional(),
  maxSessions: LIMIT.optional(),
  opensPerMinute: LIMIT.optional(),
}, { error: notAnObject });
const FILE = z.strictObject(
  { tokens: z.array(ENTRY, 'a list of {"principal": …, "sha256": …}') },
  { error: notAnObject },
);

/**
 * Reads and checks the file.
 *
 * @param path As the operator wrote it: errors call the file so.
 * @throws {ConfigError} If it is missing, unreadable or wrong; the line names the place, never a value, which may be
 * a token where its hash should be.
 */
export function loadTokens(
  path: string,
  { cwd, readFile }: { cwd: string; readFile?: ReadFile },
): TokenEntry[] {
  const name = oneLine(path);
  const text = readText(resolve(cwd, path), { name, readFile });
  if (text === undefined) throw new ConfigError(`${name}: no such file: ACCESS_TOKENS_FILE has to name one`);
  const parsed = parseJsonc(text);
  if (parsed.kind === "mistakes") {
    throwFirst(name, text, parsed.mistakes);
    return [];
  }
  const report = new Report(name, text, parsed.offsetOf);
  const result = FILE.safeParse(parsed.value);
  for (const issue of result.error?.issues ?? []) {
    const path = issue.path as Path;
    if (issue.code !== "unrecognized_keys") report.mistake(path, issue.message);
    else for (const key of issue.keys) report.mistake([...path, key], "is not known here", "key");
  }
  const tokens = result.data?.tokens ?? [];
  const owners = new Map<string, string>();
  for (const [index, { sha256, principal }] of tokens.entries()) {
    const hash = sha256.toLowerCase();
    const owner = owners.get(hash);
    if (owner !== undefined && owner !== principal) {
      report.mistake(["tokens", index, "sha256"], "belongs to another principal too: one for each token");
    }
    owners.set(hash, principal);
    const first = tokens.find((token) => token.principal === principal)!;
    for (const name of LIMITS) {
      if (tokens[index]![name] === first[name]) continue;
      report.mistake(["tokens", index, name], "differs from that of another token of this principal");
    }
  }
  report.settle();
  return tokens.map(({ principal, sha256, servers, expires, maxSessions, opensPerMinute }) => ({
    principal,
    digest: Uint8Array.fromHex(sha256),
    servers: servers === undefined ? undefined : new Set(servers),
    expiresAtMs: expires === undefined ? undefined : Date.parse(expires),
    ...(maxSessions !== undefined && { maxSessions }),
    ...(opensPerMinute !== undefined && { opensPerMinute }),
  }));
}

function notAnObject(issue: { readonly code?: string | undefined }): string | undefined {
  return issue.code === "invalid_type" ? "an object" : undefined;
}
