/**
 * Every route of the gateway, and what a request has to pass before it gets to one.
 *
 * @module
 */
import { Hono } from "hono";
import { cors } from "hono/cors";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { Access, Denial } from "./access.ts";
import { bridgeRoute, type BridgeRouteOptions } from "./bridge.ts";
import { health, ready } from "./health.ts";
import { rpcErrorResponse } from "./http_reply.ts";
import type { LegacySse } from "./legacy_sse.ts";
import type { ConnectionInfo } from "./peer.ts";
import { mcpRoute, type McpRouteOptions } from "./mcp.ts";
import { problem } from "./problem.ts";
import { withoutIds } from "./redact.ts";
import { addSessionRoutes, type Env, type SessionRouteOptions } from "./sessions.ts";

/** What the application needs. */
export interface AppOptions extends McpRouteOptions, SessionRouteOptions, BridgeRouteOptions {
  readonly access: Access;
  /** HTTP+SSE for older clients; undefined where that is turned off. */
  readonly legacy?: LegacySse | undefined;
}

/** Probes come by any name and without a token. */
const HEALTH = "/health";
/** How long a browser may rely on the answer to a preflight, in s. */
const PREFLIGHT_MAX_AGE_S = 600;

const log = logger("http");

/** Makes the application: a function from request to response, as `Deno.serve` wants it. */
export function createApp(
  { access, ...options }: AppOptions,
): (request: Request, connection?: ConnectionInfo) => Response | Promise<Response> {
  // Applications of their own: whatever a router makes of a URL, what needs a token cannot be reached without one.
  const open = openRoutes();
  const app = routes(options);
  // Only browsers send an Origin; everybody else is spared the middleware.
  const openForBrowsers = forBrowsers(open);
  const appForBrowsers = forBrowsers(app);

  return (request, connection) => {
    const { host, path } = placeOf(request.url);
    const { headers } = request;
    const origin = headers.get("origin");
    const denial = access.denialOfPlace(host, origin) ??
      (origin === null ? access.denialOfPage(headers, isMcp(path) || path === "/bridge") : undefined);
    if (path === HEALTH) {
      return (origin === null || denial !== undefined ? open : openForBrowsers).fetch(request);
    }
    if (denial !== undefined) return deny(denial, path);
    const browser = origin !== null;
    if (browser && request.method === "OPTIONS") return appForBrowsers.fetch(request);
    const identity = access.identify(headers, connection);
    // CORS headers go with a 401 too, or the page could not read it.
    if ("failure" in identity) {
      return browser ? withCors(deny(identity, path), origin) : deny(identity, path);
    }
    return (browser ? appForBrowsers : app).fetch(request, identity);
  };
}

/** Answers browsers' preflights, and lets their pages read the answers. Origins that are not allowed stay out. */
function forBrowsers(app: Hono<Env>): Hono<Env> {
  const browsers = new Hono<Env>();
  browsers.use(cors({
    origin: (origin) => origin,
    allowMethods: ["GET", "POST", "DELETE"],
    allowHeaders: [
      "accept",
      "authorization",
      "content-type",
      "last-event-id",
      "mcp-protocol-version",
      "mcp-session-id",
    ],
    exposeHeaders: ["mcp-session-id", "mcp-protocol-version", "retry-after", "www-authenticate"],
    maxAge: PREFLIGHT_MAX_AGE_S,
  }));
  // Handed on, not mounted: mounting would lose what the application says to a page that it does not know.
  browsers.all("*", (c) => app.fetch(c.req.raw, c.env));
  return browsers;
}

/** What anybody may ask. */
function openRoutes(): Hono<Env> {
  const app = new Hono<Env>();
  app.get(HEALTH, () => health());
  app.all(HEALTH, (c) => {
    const response = problem({ code: "methodNotAllowed", detail: c.req.method });
    response.headers.set("allow", "GET, HEAD");
    return response;
  });
  return app;
}

function routes(options: Omit<AppOptions, "access">): Hono<Env> {
  // The usual router tries this one first and falls back in silence; a route that it cannot take shall fail the start.
  const app = new Hono<Env>({ router: new RegExpRouter() });
  const mcp = mcpRoute(options);
  app.all("/mcp/:serverId", (c) => {
    const serverId = c.req.param("serverId");
    const { principal, servers } = c.env;
    // A server that is none of this principal's business does not exist for it.
    if (servers !== undefined && !servers.has(serverId)) {
      return rpcErrorResponse({ code: "serverNotFound", detail: JSON.stringify(serverId) }, null);
    }
    return mcp({ request: c.req.raw, serverId, principal });
  });
  const { legacy } = options;
  if (legacy !== undefined) {
    app.all("/sse/:serverId", (c) => legacy.open({ request: c.req.raw, ...c.env }, c.req.param("serverId")));
    app.all("/messages", (c) => legacy.post({ request: c.req.raw, ...c.env }));
  }
  const bridge = bridgeRoute(options);
  app.all("/bridge", (c) => bridge(c.req.raw, c.env));
  app.get("/ready", (c) => ready(options, c.env));
  addSessionRoutes(app, options);
  // Somebody may have put a session's id where its handle belongs.
  app.notFound((c) => problem({ code: "notFound", detail: withoutIds(c.req.path) }));
  app.onError((error, c) => {
    const failure = reportFault(log, `${c.req.method} ${withoutIds(c.req.path)}`, error);
    return isMcp(c.req.path) ? rpcErrorResponse(failure, null) : problem(failure);
  });
  return app;
}

function deny({ failure, challenge }: Denial, path: string): Response {
  const response = isMcp(path) ? rpcErrorResponse(failure, null) : problem(failure);
  if (challenge !== undefined) response.headers.set("www-authenticate", challenge);
  return response;
}

function withCors(response: Response, origin: string): Response {
  response.headers.set("access-control-allow-origin", origin);
  response.headers.set("access-control-expose-headers", "retry-after, www-authenticate");
  response.headers.append("vary", "Origin");
  return response;
}

function isMcp(path: string): boolean {
  return path.startsWith("/mcp/") || path.startsWith("/sse/") || path === "/messages";
}

/** Host (with its port) and path of an absolute URL, without its query: half the cost of parsing it. */
function placeOf(url: string): { host: string; path: string } {
  const hostAt = url.indexOf("//") + 2;
  const pathAt = url.indexOf("/", hostAt);
  if (pathAt < 0) return { host: url.slice(hostAt), path: "/" };
  const queryAt = url.indexOf("?", pathAt);
  return {
    host: url.slice(hostAt, pathAt),
    path: url.slice(pathAt, queryAt < 0 ? undefined : queryAt),
  };
}
