/**
 * The monitoring API: `/sessions` and `/servers/:id/ttl-advice`. `docs/sessions-api.md` describes it.
 *
 * Administrators see and do everything here. Others see their own sessions, and may end them; whatever else there is
 * does not exist for them.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import type { EndReason, Session, Supervisor, Tombstone, TtlScale } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { type Identity, maySee } from "./access.ts";
import { BODY_DEFAULTS, BodyReader } from "./body.ts";
import { endAll } from "./bulk_end.ts";
import { EventFeed } from "./event_feed.ts";
import { accepts, isJson } from "./headers.ts";
import { SSE_HEADERS } from "./http_reply.ts";
import { problem } from "./problem.ts";
import { shown } from "./redact.ts";
import { type Reload, reloadServers } from "./reload.ts";
import { SessionPages } from "./session_pages.ts";
import {
  ADVICE,
  badQuery,
  BULK,
  type Filter,
  LIST,
  listingOf,
  parseExtension,
  parseQuery,
  refusalOfQuery,
} from "./session_query.ts";
import { gatewaySummary, type SweepStatus, Tally } from "./session_summary.ts";
import {
  endView,
  iso,
  isoOfInstant,
  limitsFor,
  type SessionDetail,
  sessionDetail,
  tombstoneDetail,
  type ViewContext,
} from "./session_view.ts";
import { ttlAdvice } from "./ttl_advice.ts";
import { OneAtATime, turn } from "./turns.ts";

/** The longest body of an extension, in bytes. It takes 20. */
const MAX_BODY_BYTES = 4096;
const HANDLE = /^[0-9a-f]{12}$/;

/** What the monitoring API needs. */
export interface SessionRouteOptions {
  readonly supervisor: Supervisor;
  readonly clock: Clock;
  /** Undefined where nothing is swept. */
  readonly sweep?: SweepStatus | undefined;
  /** How far memory pressure shortens TTLs; the one that the supervisor was given. */
  readonly scale?: TtlScale;
  /** The memory of a backend and all that it started, in bytes; undefined where that cannot be told. */
  readonly rssOf?: (pid: number) => Promise<number | undefined>;
  /** Reads the servers file again; there is nothing to read unless given. */
  readonly reload?: Reload;
  /** Who watches; to be closed before the HTTP server is, which would wait for open streams. */
  readonly feed?: EventFeed;
  /** Reads bodies; one with the default bounds unless given. */
  readonly bodies?: BodyReader;
}

/** What routes know of a request besides itself. */
export interface Env {
  readonly Bindings: Identity;
}

type Answer = Response | Failure;
type Handler = (context: Context<Env>, identity: Identity) => Answer | Promise<Answer>;

/** Adds the routes to an application. */
export function addSessionRoutes(app: Hono<Env>, options: SessionRouteOptions): void {
  const monitor = new Monitor(options);
  const all: Handlers = { GET: monitor.list, DELETE: monitor.endMany };
  const events: Handlers = { GET: monitor.watch };
  const one: Handlers = { GET: monitor.show, DELETE: monitor.end };
  app.all("/sessions", (c) => handle(c, all));
  // No path of its own: beside one with a parameter the router would fall back to a slower one, for all routes.
  app.all("/sessions/:id", (c) => handle(c, c.req.param("id") === "events" ? events : one));
  app.all("/sessions/:id/extend", (c) => handle(c, { POST: monitor.extend }));
  // As above: "reload" is no path of its own.
  const { reload } = options;
  if (reload !== undefined) {
    const reloading: Handlers = {
      POST: (c, identity) => refusalOfQuery(c.req.url) ?? reloadServers(reload, identity),
    };
    app.all("/servers/:id", (c) => c.req.param("id") === "reload" ? handle(c, reloading) : c.notFound());
  }
  app.all("/servers/:id/ttl-advice", (c) => handle(c, { GET: monitor.advise }));
}

type Handlers = Readonly<Record<string, Handler>>;

async function handle(c: Context<Env>, handlers: Handlers): Promise<Response> {
  const { method } = c.req;
  const name = method === "HEAD" ? "GET" : method;
  // A client may call its method what every object has.
  if (Object.hasOwn(handlers, name)) {
    const answer = await handlers[name]!(c, c.env);
    return answer instanceof Response ? answer : problem(answer);
  }
  const allow = Object.keys(handlers).flatMap((method) => method === "GET" ? ["GET", "HEAD"] : [method]);
  const response = problem({ code: "methodNotAllowed", detail: method });
  response.headers.set("allow", allow.join(", "));
  return response;
}

class Monitor {
  readonly #options: SessionRouteOptions;
  readonly #supervisor: Supervisor;
  readonly #clock: Clock;
  readonly #context: ViewContext;
  readonly #pages: SessionPages;
  readonly #feed: EventFeed;
  readonly #bodies: BodyReader;
  /** Whatever looks at every session. */
  readonly #scans = new OneAtATime();

  constructor(options: SessionRouteOptions) {
    const { supervisor, clock, feed, bodies } = options;
    this.#options = options;
    this.#supervisor = supervisor;
    this.#clock = clock;
    this.#context = {
      clock,
      server: ({ serverId, kind }) => limitsFor(supervisor.server(serverId), kind),
    };
    this.#pages = new SessionPages({ supervisor, clock });
    this.#feed = feed ?? new EventFeed({ supervisor, clock });
    this.#bodies = bodies ?? new BodyReader({ clock, ...BODY_DEFAULTS });
  }

  readonly list: Handler = async (c, identity) => {
    const query = parseQuery(LIST, c.req.url);
    if ("code" in query) return query;
    const { limit, cursor, ...asked } = query;
    const listing = listingOf({ ...asked, limit });
    if ("code" in listing) return listing;
    const refused = this.#refusalOf(listing.filter, identity);
    if (refused !== undefined) return refused;
    const tally = new Tally();
    const page = await this.#scans.run(() =>
      this.#pages.page({ listing, limit, cursor, identity, onVisible: (session) => tally.add(session) })
    );
    if ("code" in page) return page;
    const { supervisor, sweep, scale } = this.#options;
    const clock = this.#clock;
    return json({
      asOf: iso(clock.wallTime()),
      total: page.total,
      sessions: page.sessions,
      nextCursor: page.nextCursor ?? null,
      summary: {
        counts: tally.view,
        ...(identity.isAdmin && gatewaySummary({ supervisor, clock, sweep, scale })),
      },
    });
  };

  readonly show: Handler = async (c, identity) => {
    const refused = refusalOfQuery(c.req.url);
    if (refused !== undefined) return refused;
    const found = this.#find(c, identity);
    if ("code" in found) return found;
    return json(await this.#detail(found));
  };

  /** Idempotent: a session that is over stays over for its reason. */
  readonly end: Handler = async (c, identity) => {
    const refused = refusalOfQuery(c.req.url);
    if (refused !== undefined) return refused;
    const found = this.#find(c, identity);
    if ("code" in found) return found;
    if (isSession(found)) {
      const { reason, detail } = endOf(identity);
      void found.end(reason, detail === undefined ? {} : { detail });
      // The end is handled before this goes on.
      await turn();
    }
    return json(await this.#detail(found));
  };

  readonly extend: Handler = async (c, identity) => {
    if (!identity.isAdmin) return { code: "adminOnly" };
    const refused = refusalOfQuery(c.req.url);
    if (refused !== undefined) return refused;
    const { headers } = c.req.raw;
    // As on /mcp: a browser sends other types across origins without asking first.
    if (headers.has("origin") && !isJson(headers.get("content-type"))) {
      return { code: "unsupportedMediaType" };
    }
    const text = await this.#bodies.readWithin(c.req.raw, MAX_BODY_BYTES);
    if (typeof text !== "string") return text;
    const body = parseExtension(text);
    if ("code" in body) return body;
    const found = this.#find(c, identity);
    if ("code" in found) return found;
    if (!isSession(found) || !found.extend(body.ms, identity.principal)) {
      const end = endView(found.verdict!, this.#context.server(found));
      return problem({ code: "sessionOver", detail: end.message }, { end });
    }
    return json({
      id: found.handle,
      inFlight: found.inFlight,
      deadline: isoOfInstant(found.deadline, this.#clock),
      endOfLife: isoOfInstant(found.endOfLife, this.#clock),
    });
  };

  readonly endMany: Handler = async (c, identity) => {
    const query = parseQuery(BULK, c.req.url);
    if ("code" in query) return query;
    const { all, force, dryRun, ...filter } = query;
    const filters = Object.values(filter).filter((value) => value !== undefined).length;
    if (filters === 0 && !all) {
      return badQuery("it needs a filter (serverId, state, kind, minIdleMs), or all=true");
    }
    if (filters > 0 && all) return badQuery("all=true goes with no filter");
    const refused = this.#refusalOf(filter, identity);
    if (refused !== undefined) return refused;
    return json(
      await this.#scans.run(() => {
        const sessions = [...this.#supervisor.sessions];
        return endAll({
          clock: this.#clock,
          sessions,
          filter,
          identity,
          force,
          dryRun,
          ...endOf(identity),
        });
      }),
    );
  };

  readonly watch: Handler = (c, identity) => {
    const refused = refusalOfQuery(c.req.url);
    if (refused !== undefined) return refused;
    if (!accepts(c.req.header("accept") ?? null, "text/event-stream")) {
      return { code: "notAcceptable", detail: "Accept must include text/event-stream" };
    }
    // Nobody would read or end a stream that answers HEAD.
    if (c.req.method === "HEAD") return new Response(null, { headers: SSE_HEADERS });
    const stream = this.#feed.open(identity);
    return "code" in stream ? stream : new Response(stream.body, { headers: SSE_HEADERS });
  };

  readonly advise: Handler = async (c, identity) => {
    if (!identity.isAdmin) return { code: "adminOnly" };
    const query = parseQuery(ADVICE, c.req.url);
    if ("code" in query) return query;
    const serverId = c.req.param("id")!;
    if (!this.#supervisor.hasServer(serverId)) return { code: "serverNotFound", detail: shown(serverId) };
    return json(await this.#scans.run(() => ttlAdvice(serverId, query.ttlMs, this.#options)));
  };

  /** What a handle names. Neither an id of a session nor anything else that was given is looked up or repeated. */
  #find(c: Context<Env>, identity: Identity): Session | Tombstone | Failure {
    const handle = c.req.param("id") ?? "";
    if (!HANDLE.test(handle)) return { code: "sessionUnknown" };
    const found = this.#supervisor.byHandle(handle) ?? this.#supervisor.tombstones.get(handle);
    return found === undefined || !maySee(identity, found) ? { code: "sessionUnknown" } : found;
  }

  async #detail(found: Session | Tombstone): Promise<SessionDetail> {
    if (!isSession(found)) return tombstoneDetail(found, this.#context);
    const { pid } = found;
    const rssBytes = pid === undefined || found.state === "ended" ? undefined : await this.#rssOf(pid);
    // It may have ended meanwhile.
    return found.state === "ended"
      ? tombstoneDetail(found.tombstone(), this.#context)
      : sessionDetail(found, { ...this.#context, rssBytes });
  }

  async #rssOf(pid: number): Promise<number | undefined> {
    try {
      return await this.#options.rssOf?.(pid);
    } catch {
      // Not worth the rest of the answer.
      return undefined;
    }
  }

  /** A server that is none of a client's business is no server to it. */
  #refusalOf({ serverId }: Filter, { servers }: Identity): Failure | undefined {
    if (serverId === undefined) return undefined;
    const isAllowed = (id: string) => servers?.has(id) ?? true;
    if (this.#supervisor.server(serverId) !== undefined && isAllowed(serverId)) return undefined;
    const allowed = Array.from(this.#supervisor.servers, ({ id }) => id).filter(isAllowed);
    return badQuery(`serverId must be one of ${allowed.join(", ")}, got ${shown(serverId)}`);
  }
}

function isSession(found: Session | Tombstone): found is Session {
  return "account" in found;
}

/** With which reason somebody's wish ends a session. */
function endOf({ isAdmin }: Identity): { readonly reason: EndReason; readonly detail: string | undefined } {
  return isAdmin
    ? { reason: "admin", detail: undefined }
    : { reason: "client_delete", detail: "its owner ended it at /sessions" };
}

/** What is shown holds for an instant, and for one who may see it. */
function json(value: unknown): Response {
  return Response.json(value, { headers: { "cache-control": "no-store" } });
}
