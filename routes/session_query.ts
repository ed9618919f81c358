/**
 * What the monitoring API may be asked. Every mistake is answered with the parameter, its value and what is allowed;
 * parameters that are not known are mistakes too.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { SESSION_KINDS, type SessionKind } from "../actors/supervisor.ts";
import { MAX_MS } from "../config/types.ts";
import type { Failure } from "../errors.ts";
import type { Identity } from "./access.ts";
import { shown } from "./redact.ts";

/** Sessions on a page. */
export const MAX_LIMIT = 500;
const DEFAULT_LIMIT = 100;
/** Mistakes that are told at once. */
const MAX_TOLD = 5;

const STATES = ["starting", "active", "expired", "ended"] as const;
const SORTS = ["openedAt", "idleMs", "deadline", "endedAt"] as const;
const ORDERS = ["asc", "desc"] as const;

export type Sort = typeof SORTS[number];
export type Order = typeof ORDERS[number];

/** Which sessions are meant. Without a state it is those that have not ended. */
export interface Filter {
  readonly serverId?: string | undefined;
  readonly state?: typeof STATES[number] | undefined;
  readonly kind?: SessionKind | undefined;
  readonly minIdleMs?: number | undefined;
}

const whole = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d{1,15}$/, { error, abort: true }).transform(Number)
    .refine((value) => value >= min && value <= max, { error });
};
const oneOf = <const Values extends readonly [string, ...string[]]>(values: Values) =>
  z.enum(values, { error: `must be one of ${values.join(", ")}` });
const flag = oneOf(["true", "false"]).transform((value) => value === "true");

const FILTERS = {
  serverId: z.string().optional(),
  state: oneOf(STATES).optional(),
  kind: oneOf(SESSION_KINDS).optional(),
  minIdleMs: whole(0, MAX_MS).optional(),
};

/** `GET /sessions`. */
export const LIST = z.strictObject({
  ...FILTERS,
  sort: oneOf(SORTS).optional(),
  order: oneOf(ORDERS).optional(),
  limit: whole(1, MAX_LIMIT).default(DEFAULT_LIMIT),
  cursor: z.string().optional(),
});

/** `DELETE /sessions`. */
export const BULK = z.strictObject({
  ...FILTERS,
  state: oneOf(["starting", "active", "expired"]).optional(),
  all: flag.default(false),
  force: flag.default(false),
  dryRun: flag.default(false),
});

/** `GET /servers/:id/ttl-advice`. */
export const ADVICE = z.strictObject({ ttlMs: whole(1, MAX_MS).optional() });

/** Body of `POST /sessions/:id/extend`. */
const EXTENSION = z.strictObject({
  ms: z.number({ error: `must be a whole number from 1 to ${MAX_MS}` })
    .refine((ms) => Number.isInteger(ms) && ms >= 1 && ms <= MAX_MS, {
      error: `must be a whole number from 1 to ${MAX_MS}`,
    }),
});

/** Reads the query of a URL. */
export function parseQuery<Schema extends z.ZodObject>(
  schema: Schema,
  url: string,
): z.output<Schema> | Failure {
  const { searchParams } = new URL(url);
  const given: Record<string, string> = Object.fromEntries(searchParams);
  const names = Object.keys(given);
  const twice = names.find((name) => searchParams.getAll(name).length > 1);
  if (twice !== undefined) return badQuery(`${shown(twice)} is given more than once`);
  const unknown = names.find((name) => !Object.hasOwn(schema.shape, name));
  if (unknown !== undefined) {
    const known = Object.keys(schema.shape);
    const allowed = known.length === 0 ? "none is taken" : `allowed are ${known.join(", ")}`;
    return badQuery(`unknown parameter ${shown(unknown)}; ${allowed}`);
  }
  const { success, data, error } = schema.safeParse(given);
  return success ? data : badQuery(mistakesOf(error, given));
}

/** What is wrong with the query of a URL that takes none. */
export function refusalOfQuery(url: string): Failure | undefined {
  const query = parseQuery(z.strictObject({}), url);
  return "code" in query ? query as Failure : undefined;
}

/** Reads the body of an extension: by how many ms. */
export function parseExtension(text: string): { readonly ms: number } | Failure {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    return { code: "badJson" };
  }
  const { success, data, error } = EXTENSION.safeParse(given);
  return success ? data : { code: "badBody", detail: mistakesOf(error, given) };
}

export function badQuery(detail: string): Failure {
  return { code: "badQuery", detail };
}

function mistakesOf({ issues }: z.ZodError, given: unknown): string {
  return issues.slice(0, MAX_TOLD).map((issue) => {
    const [name] = issue.path;
    if (issue.code === "unrecognized_keys") {
      return `unknown ${issue.keys.slice(0, MAX_TOLD).map(shown).join(", ")}`;
    }
    if (name === undefined) return `it must be an object such as {"ms": 600000}, got ${shown(given)}`;
    const value = (given as Record<PropertyKey, unknown>)[name];
    return `${String(name)} ${issue.message}, got ${value === undefined ? "none" : shown(value)}`;
  }).join("; ");
}

/** What is to be listed, and in which order. */
export interface Listing {
  readonly filter: Filter;
  readonly sort: Sort;
  readonly order: Order;
}

/** What a listing begins with where nothing is said, and which orders make no sense. */
export function listingOf({ sort: asked, order, ...filter }: z.output<typeof LIST>): Listing | Failure {
  const ended = filter.state === "ended";
  const sort = asked ?? (ended ? "endedAt" : "openedAt");
  if (sort === "endedAt" && !ended) return badQuery("sort=endedAt needs state=ended");
  if (sort === "deadline" && ended) return badQuery("sort=deadline is not for state=ended");
  return { filter, sort, order: order ?? (sort === "endedAt" ? "desc" : "asc") };
}

/** Where a page begins: behind this. */
export interface Cursor {
  /** Infinity for never. */
  readonly key: number;
  /** The handle, among those of the same key. */
  readonly id: string;
  /** The listing that the gateway keeps, for orders that change while they are read. */
  readonly kept: string | undefined;
}

const CURSOR = z.tuple([z.number().nullable(), z.string(), z.string(), z.string().nullable()]);

/** A cursor as the client gets it. */
export function writeCursor({ key, id, kept }: Cursor, listing: Listing, identity: Identity): string {
  const parts = [Number.isFinite(key) ? key : null, id, fingerprint(listing, identity), kept ?? null];
  return btoa(JSON.stringify(parts)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Reads one that belongs to this listing of this client's. */
export function readCursor(text: string, listing: Listing, identity: Identity): Cursor | Failure {
  let parts: z.output<typeof CURSOR>;
  try {
    parts = CURSOR.parse(JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/"))));
  } catch {
    return badQuery("cursor must be the nextCursor of a page");
  }
  const [key, id, print, kept] = parts;
  if (print !== fingerprint(listing, identity)) {
    return badQuery(
      "cursor belongs to another listing: filters, sort, order and token have to stay the same",
    );
  }
  return { key: key ?? Infinity, id, kept: kept ?? undefined };
}

function fingerprint({ filter, sort, order }: Listing, { principal, isAdmin }: Identity): string {
  const { serverId, state, kind, minIdleMs } = filter;
  const what = JSON.stringify([serverId, state, kind, minIdleMs, sort, order, principal, isAdmin]);
  return createHash("sha256").update(what).digest("base64url").slice(0, 12);
}
