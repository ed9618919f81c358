/**
 * From the settings to who may use the gateway.
 *
 * @module
 */
import type { Clock } from "./clock.ts";
import { loadTokens } from "./config/mod.ts";
import { isLoopback, type Settings } from "./config/types.ts";
import { Access, digestOf, type Token } from "./routes/access.ts";

/** The principal of `ACCESS_TOKEN`. */
const DEFAULT_PRINCIPAL = "default";
/** The principal of `ADMIN_TOKEN`. */
const ADMIN_PRINCIPAL = "admin";

/** The rules that the settings ask for. */
export function accessOf(settings: Settings, { clock, tokens }: { clock: Clock; tokens: Token[] }): Access {
  const { accessToken, accessTokensFile, allowedOrigins, allowedHosts, host, authFailuresPerMinute } =
    settings;
  return new Access({
    clock,
    tokenRequired: accessToken !== undefined || accessTokensFile !== undefined,
    tokens,
    allowedOrigins,
    allowedHosts,
    onLoopback: isLoopback(host),
    authFailuresPerMinute,
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
