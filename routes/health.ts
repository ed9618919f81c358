/**
 * `GET /health`: that the process serves. It needs no token, ever, and says nothing that needs one.
 *
 * `GET /ready`: whether it opens sessions now, and which servers do not for a while. Not ready is 503, also while
 * sessions cannot be written down: those that are open go on then, and none is opened.
 *
 * @module
 */
import { STATUS_CODE } from "@std/http/status";
import type { Supervisor } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Identity } from "./access.ts";

/** Answers a liveness probe. */
export function health(): Response {
  return Response.json({ status: "ok" });
}

/**
 * Answers a readiness probe: `{"status": "ready", "quarantined": [{"serverId", "retryAfterMs"}]}`. One server in
 * quarantine is no reason to send nobody to the others; where all of them are, or the gateway shuts down, it is 503. What keeps the store from writing is in the log; here
 * anybody reads it.
 */
export function ready(
  { supervisor, clock }: { readonly supervisor: Supervisor; readonly clock: Clock },
  { servers: allowed }: Pick<Identity, "servers">,
): Response {
  const isVisible = (serverId: string) => allowed === undefined || allowed.has(serverId);
  const served = Array.from(supervisor.servers).filter(({ id }) => isVisible(id)).length;
  const quarantined = supervisor.door.quarantined.filter(({ serverId }) => isVisible(serverId))
    .map(({ serverId, until }) => ({ serverId, retryAfterMs: Math.max(0, Math.ceil(until - clock.now())) }));
  // Once its pause is over somebody has to come and try, or it would never end.
  const closed = quarantined.filter(({ retryAfterMs }) => retryAfterMs > 0).length;
  const allFail = served > 0 && closed === served;
  const status = supervisor.draining
    ? "shutting down"
    : supervisor.storeTrouble !== undefined
    ? "store failed"
    : allFail
    ? "quarantined"
    : "ready";
  return Response.json({ status, quarantined }, {
    status: status === "ready" ? STATUS_CODE.OK : STATUS_CODE.ServiceUnavailable,
  });
}
