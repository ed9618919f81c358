/**
 * From the settings to who may use the gateway, and again whenever the file of tokens changes.
 *
 * @module
 */
import { basename, dirname, resolve } from "node:path";
import type { Cancel, Clock } from "./clock.ts";
import { loadTokens } from "./config/mod.ts";
import { isLoopback, type Settings } from "./config/types.ts";
import { logger } from "./log.ts";
import { Access, digestOf, type Token } from "./routes/access.ts";

/** The principal of `ACCESS_TOKEN`. */
const DEFAULT_PRINCIPAL = "default";
/** The principal of `ADMIN_TOKEN`. */
const ADMIN_PRINCIPAL = "admin";

const log = logger("access");

/** The rules that the settings ask for. */
export function accessOf(settings: Settings, { clock, tokens }: { clock: Clock; tokens: Token[] }): Access {
  const { accessToken, accessTokensFile, allowedOrigins, allowedHosts, host } = settings;
  return new Access({
    clock,
    tokenRequired: accessToken !== undefined || accessTokensFile !== undefined,
    tokens,
    allowedOrigins,
    allowedHosts,
    onLoopback: isLoopback(host),
  });
}

/**
 * Every token that is good now: those of the environment and those of the file.
 *
 * @throws {ConfigError} If the file is missing or wrong.
 */
export function tokensOf({ accessToken, accessTokensFile, adminToken }: Settings): Token[] {
  const tokens: Token[] = accessTokensFile === undefined
    ? []
    : loadTokens(accessTokensFile, { cwd: Deno.cwd() });
  const add = (token: string | undefined, principal: string, isAdmin: boolean) => {
    if (token === undefined) return;
    tokens.push({ principal, digest: digestOf(token), servers: undefined, expiresAtMs: undefined, isAdmin });
  };
  add(accessToken, DEFAULT_PRINCIPAL, false);
  add(adminToken, ADMIN_PRINCIPAL, true);
  return tokens;
}

/**
 * Reads the file of tokens again whenever it changes. A file that is wrong or gone changes nothing and is logged.
 *
 * @returns Stops watching.
 */
export function watchTokens(settings: Settings, onTokens: (tokens: Token[]) => void): Cancel {
  const { accessTokensFile } = settings;
  if (accessTokensFile === undefined) return () => {};
  const file = resolve(accessTokensFile);
  // The folder, not the file: editors and secret managers replace a file rather than write to it.
  const watcher = Deno.watchFs(dirname(file), { recursive: false });
  const reload = () => {
    try {
      const tokens = tokensOf(settings);
      onTokens(tokens);
      log.info("Tokens read again from {file}: {count} in force", {
        file: accessTokensFile,
        count: tokens.length,
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn("Tokens stay as they were: {reason}", { reason });
    }
  };
  void (async () => {
    for await (const { kind, paths } of watcher) {
      if (kind === "access" || !paths.some((path) => basename(path) === basename(file))) continue;
      reload();
    }
  })();
  return () => watcher.close();
}
