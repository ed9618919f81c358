/**
 * Who may use the gateway: the Host and Origin that a request came by, and the token that it carries.
 *
 * Host and Origin are checked against DNS rebinding: a page of a foreign site that resolves to this machine comes with
 * that site's name in both. Tokens are compared by their SHA-256 in constant time, so an answer's timing tells nothing
 * about how much of a guess was right.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
import type { Clock } from "../clock.ts";
import { isLoopback } from "../config/types.ts";
import type { PrincipalLimits } from "../actors/supervisor.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import { Rate } from "../rate.ts";
import { type ConnectionInfo, peerOf } from "./peer.ts";

/** A token that lets somebody in; see `config/tokens_file.ts`. */
export interface Token {
  readonly principal: string;
  readonly digest: Uint8Array;
  readonly servers: ReadonlySet<string> | undefined;
  readonly expiresAtMs: number | undefined;
  readonly isAdmin?: boolean;
  /** What its principal has of its own; 0 is any number. */
  readonly maxSessions?: number;
  readonly opensPerMinute?: number;
}

/** On whose behalf a request comes. */
export interface Identity {
  readonly principal: string;
  /** The servers it may use; undefined is all. */
  readonly servers: ReadonlySet<string> | undefined;
  readonly isAdmin: boolean;
}

/** Whether a session, or a server by itself, is any business of somebody's. To others it does not exist. */
export function maySee(
  { principal, servers, isAdmin }: Identity,
  session: { readonly principal: string; readonly serverId: string },
): boolean {
  return isAdmin || (session.principal === principal && (servers?.has(session.serverId) ?? true));
}

/** Why a request is refused. */
export interface Denial {
  readonly failure: Failure;
  /** For `WWW-Authenticate`, where a token would help (RFC 6750, section 3). */
  readonly challenge?: string;
}

/** What is let in. Origins and hosts are in lower case. */
export interface AccessRules {
  readonly clock: Clock;
  /** Whether everybody has to show a token. */
  readonly tokenRequired: boolean;
  readonly tokens: readonly Token[];
  readonly allowedOrigins: readonly string[];
  readonly allowedHosts: readonly string[];
  /** Whether the gateway listens on loopback only. */
  readonly onLoopback: boolean;
  /** Wrong tokens from one address in a minute, from which on they get 429; any number unless given. */
  readonly authFailuresPerMinute?: number;
}

/** Who comes without a token where none is required. Everything is open then, as the start says. */
const ANYONE: Identity = { principal: "anyone", servers: undefined, isAdmin: true };
const NO_LIMITS: PrincipalLimits = {};
/** Host headers that were let in, kept so that a usual one costs a look-up. */
const MAX_KNOWN_HOSTS = 64;

/** Compared where no token could be the right one, so that the answer takes as long as where one could. */
const DECOYS: readonly Token[] = [{
  principal: "",
  digest: crypto.getRandomValues(new Uint8Array(32)),
  servers: new Set(),
  expiresAtMs: 0,
}];

const log = logger("access");

/** See the module's documentation. */
export class Access {
  readonly #rules: AccessRules;
  /** By the start of their digests, so that a thousand cost as much as one. */
  #tokens: ReadonlyMap<number, readonly Token[]>;
  /** What principals have of their own. */
  #limits: ReadonlyMap<string, PrincipalLimits> = new Map();
  readonly #knownHosts = new Set<string>();
  /** Wrong tokens by the address that they came from, and what was logged of them. */
  readonly #failures: Rate;
  readonly #told: Rate;

  constructor(rules: AccessRules) {
    const { clock, tokens } = rules;
    this.#rules = rules;
    this.#failures = new Rate({ clock });
    this.#told = new Rate({ clock });
    this.#tokens = new Map();
    this.replaceTokens(tokens);
  }

  /** Replaces the tokens, and with them the limits of principals. Sessions belong to principals, so they outlive a change of token. */
  replaceTokens(tokens: readonly Token[]): void {
    this.#tokens = Map.groupBy(tokens, ({ digest }) => startOf(digest));
    this.#limits = new Map(
      tokens.flatMap(({ principal, maxSessions, opensPerMinute }) =>
        maxSessions === undefined && opensPerMinute === undefined
          ? []
          : [[principal, { maxSessions: maxSessions === 0 ? Infinity : maxSessions, opensPerMinute }]]
      ),
    );
  }

  /** What a principal has of its own, now. */
  limitsOf(principal: string): PrincipalLimits {
    return this.#limits.get(principal) ?? NO_LIMITS;
  }

  /**
   * Why a request's Host or Origin is refused; undefined where both are allowed.
   *
   * @param host Name and port that the request was sent to, as its Host header says.
   * @param origin Where the page comes from that sent it; null where it was no browser.
   */
  denialOfPlace(host: string, origin: string | null): Denial | undefined {
    if (!this.#isHostAllowed(host)) {
      return { failure: { code: "hostForbidden", detail: JSON.stringify(host) } };
    }
    if (origin === null || this.isOriginAllowed(origin, host)) return undefined;
    return { failure: { code: "originForbidden", detail: JSON.stringify(origin) } };
  }

  /**
   * Why a request without an Origin is refused; undefined where it is not.
   *
   * A page of any site can have its browser fetch an image, a frame or a script from here. Such a request names no origin,
   * and its answer cannot be read, but a stream would be opened. Browsers say in `Sec-Fetch-Site` where it comes from
   * (to loopback addresses and over TLS); nobody else sends that. Whoever only follows a link is let through.
   *
   * @param isDoor Whether it goes where no link leads: to where MCP is spoken.
   */
  denialOfPage(headers: Headers, isDoor: boolean): Denial | undefined {
    const site = headers.get("sec-fetch-site");
    if (site === null || site === "same-origin" || site === "none") return undefined;
    if (
      !isDoor && headers.get("sec-fetch-mode") === "navigate" && headers.get("sec-fetch-dest") === "document"
    ) {
      return undefined;
    }
    return { failure: { code: "originForbidden", detail: "a page of another site" } };
  }

  /** Whether pages of an origin may use the gateway, which they reached by this Host. */
  isOriginAllowed(origin: string, host: string): boolean {
    const { allowedOrigins } = this.#rules;
    const name = origin.toLowerCase();
    if (allowedOrigins.includes(name) || (allowedOrigins.includes("*") && name !== "null")) return true;
    if (!URL.canParse(name)) return false;
    // The scheme is not compared: a proxy that takes TLS off changes it. What is more than an origin is none.
    const url = new URL(name);
    return url.origin === name && url.host === host.toLowerCase();
  }

  /**
   * Who a request comes from, by the token that it carries.
   *
   * Wrong tokens are counted by the address that they come from. Too many get 429, but only after the token was
   * compared: others may sit behind the same address, and theirs is right. So nobody can shut them out, and a guess
   * gains nothing from its answer (`docs/security.md`).
   *
   * @param connection Looked at only where the token is wrong; nothing is counted where it is not given.
   */
  identify(headers: Headers, connection?: ConnectionInfo): Identity | Denial {
    if (!this.#rules.tokenRequired && this.#tokens.size === 0) return ANYONE;
    const header = headers.get("authorization") ?? "";
    const given = /^Bearer +(\S+) *$/i.exec(header)?.[1];
    const token = given === undefined ? undefined : this.#find(given);
    if (token !== undefined) {
      return { principal: token.principal, servers: token.servers, isAdmin: token.isAdmin === true };
    }
    // A token that nobody asked for is nobody's mistake; it only is not the administrator's.
    if (!this.#rules.tokenRequired) return { ...ANYONE, isAdmin: false };
    const tooMany = given === undefined || connection === undefined
      ? undefined
      : this.#tooManyFrom(peerOf(connection));
    if (tooMany !== undefined) return tooMany;
    return {
      failure: { code: "unauthorized" },
      // Another scheme, or none, is no wrong token: RFC 6750 wants no error for what was not sent.
      challenge: /^Bearer +\S/i.test(header)
        ? 'Bearer realm="sojourn", error="invalid_token"'
        : 'Bearer realm="sojourn"',
    };
  }

  /** Another wrong token came from there. */
  #tooManyFrom(peer: string): Denial | undefined {
    const perMinute = this.#rules.authFailuresPerMinute ?? 0;
    const waitMs = this.#failures.take(peer, perMinute);
    if (waitMs === 0) return undefined;
    if (this.#told.take(peer, 1) === 0) {
      log.warn("More than {perMinute} wrong tokens a minute from {peer}: they get 429", { perMinute, peer });
    }
    return { failure: { code: "wrongTokensTooOften", retryAfterS: Math.ceil(waitMs / 1000) } };
  }

  #find(given: string): Token | undefined {
    const digest = digestOf(given);
    const now = this.#rules.clock.wallTime();
    let found: Token | undefined;
    // Right or wrong, it is one comparison; and the start of a digest tells nothing of its token.
    for (const token of this.#tokens.get(startOf(digest)) ?? DECOYS) {
      const right = timingSafeEqual(token.digest, digest);
      if (right && (token.expiresAtMs === undefined || now < token.expiresAtMs)) found = token;
    }
    return found;
  }

  #isHostAllowed(host: string): boolean {
    if (this.#knownHosts.has(host)) return true;
    const { allowedHosts, onLoopback } = this.#rules;
    const name = host.toLowerCase().replace(/:\d+$/, "");
    const allowed = allowedHosts.length === 0
      ? !onLoopback || isLoopback(name)
      : allowedHosts.includes(host.toLowerCase()) || allowedHosts.includes(name) ||
        (onLoopback && isLoopback(name));
    if (allowed && this.#knownHosts.size < MAX_KNOWN_HOSTS) this.#knownHosts.add(host);
    return allowed;
  }
}

/** The first 32 bits. */
function startOf(digest: Uint8Array): number {
  return digest[0]! << 24 | digest[1]! << 16 | digest[2]! << 8 | digest[3]!;
}

/** SHA-256 of a token. */
export function digestOf(token: string): Uint8Array {
  return createHash("sha256").update(Buffer.from(token)).digest();
}
