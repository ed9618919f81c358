/**
 * Every route of the gateway.
 *
 * @module
 */
import { Hono } from "hono";
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
    log.error("{method} {path} failed: {error}", {
      method: c.req.method,
      path: c.req.path,
      error: error.stack ?? error.message,
    });
    return c.req.path.startsWith("/mcp/")
      ? rpcErrorResponse({ code: "internal" }, null)
      : problem({ code: "internal" });
  });
  return (request) => app.fetch(request);
}
