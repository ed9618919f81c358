/**
 * `ACCESS_TOKENS_FILE`: who may use the gateway, by the hashes of their tokens.
 *
 *     {
 *       "tokens": [
 *         { "principal": "alice", "sha256": "<64 hexadecimal digits>", "servers": ["files"], "expires": "2027-01-31" }
 *       ]
 *     }
 *
 * `servers` and `expires` may be left out. A principal may have several tokens: that is how one is rotated.
 *
 * @module
 */
import { resolve } from "node:path";
import { z } from "zod";
import { ConfigError, oneLine } from "./config_error.ts";
import { type ReadFile, readText } from "./read_text.ts";

/** One token that lets somebody in. */
export interface TokenEntry {
  readonly principal: string;
  /** SHA-256 of the token, 32 bytes. */
  readonly digest: Uint8Array;
  /** The servers it is good for; undefined is all. */
  readonly servers: ReadonlySet<string> | undefined;
  /** Wall time in ms from which it is good for nothing; undefined is never. */
  readonly expiresAtMs: number | undefined;
}

const ENTRY = z.strictObject({
  principal: z.string().regex(
    /^[A-Za-z0-9._@-]{1,64}$/,
    "1 to 64 letters, digits, dots, dashes, underscores or @",
  ),
  sha256: z.string().regex(/^[0-9a-fA-F]{64}$/, "64 hexadecimal digits"),
  servers: z.array(z.string(), "a list of server names").optional(),
  expires: z.string().refine((text) => !Number.isNaN(Date.parse(text)), "a date such as 2027-01-31")
    .optional(),
});
const FILE = z.strictObject({ tokens: z.array(ENTRY, 'a list of {"principal": …, "sha256": …}') });

/**
 * Reads and checks the file.
 *
 * @param path As the operator wrote it: errors call the file so.
 * @throws {ConfigError} If it is missing, unreadable or wrong; the line names the place, never a value.
 */
export function loadTokens(
  path: string,
  { cwd, readFile }: { cwd: string; readFile?: ReadFile },
): TokenEntry[] {
  const name = oneLine(path);
  const text = readText(resolve(cwd, path), { name, readFile });
  if (text === undefined) throw new ConfigError(`${name}: no such file: ACCESS_TOKENS_FILE has to name one`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(`${name}: is not JSON`, { cause });
  }
  const result = FILE.safeParse(json);
  if (!result.success) {
    throw ConfigError.of(result.error.issues.map((issue) => {
      const place = issue.path.map((key) => typeof key === "number" ? `[${key}]` : `.${String(key)}`).join("")
        .slice(1);
      return `${name}: ${place === "" ? "" : `${place}: `}${issue.message}`;
    }));
  }
  return result.data.tokens.map(({ principal, sha256, servers, expires }) => ({
    principal,
    digest: Uint8Array.fromHex(sha256),
    servers: servers === undefined ? undefined : new Set(servers),
    expiresAtMs: expires === undefined ? undefined : Date.parse(expires),
  }));
}
