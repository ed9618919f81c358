/**
 * Every route of the gateway.
 *
 * @module
 */
import { Hono } from "hono";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import { rpcErrorResponse } from "./http_reply.ts";
import { health } from "./health.ts";
import { mcpRoute, type McpRouteOptions } from "./mcp.ts";
import { problem } from "./problem.ts";

/** Who requests come from as long as nobody has to say. */
const ANYONE = "anyone";

const log = logger("http");

/** Makes the application: a function from request to response, as `Deno.serve` wants it. */
export function createApp(options: McpRouteOptions): (request: Request) => Response | Promise<Response> {
  const app = new Hono();
  const mcp = mcpRoute(options);
  app.all(
    "/mcp/:serverId",
    (c) => mcp({ request: c.req.raw, serverId: c.req.param("serverId"), principal: ANYONE }),
  );
  app.get("/health", () => health());
  app.notFound((c) => problem({ code: "notFound", detail: c.req.path }));
  app.onError((error, c) => {
    const failure = reportFault(log, `${c.req.method} ${c.req.path}`, error);
    return c.req.path.startsWith("/mcp/") ? rpcErrorResponse(failure, null) : problem(failure);
  });
  return (request) => app.fetch(request);
}
