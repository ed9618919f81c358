/**
 * Why sessions end. Every end has exactly one of these reasons.
 *
 * @module
 */
import type { Failure } from "../errors.ts";

/** The reasons, and what they mean to whoever asks. */
export const END_REASONS = {
  client_delete: "its client sent DELETE",
  client_gone: "its client closed the connection that it cannot come back to",
  idle: "it was idle for longer than its TTL",
  implicit: "it was opened implicitly and its id never came back",
  max_lifetime: "it reached its maximum lifetime",
  evicted: "it was idle and its resources were needed",
  backend_exit: "its server ended",
  backend_start_failed: "its server did not start",
  admin: "an administrator ended it",
  shutdown: "the gateway shut down",
  protocol_error: "its server broke the protocol",
  server_changed: "its server is not the one any more that it was opened with",
  stateful: "its server keeps state of its own and was restarted",
  store_failed: "it could not be written down",
} as const;

export type EndReason = keyof typeof END_REASONS;

/** Who brought an end about. */
export type EndedBy = "client" | "administrator" | "gateway" | "server" | "time" | "memory pressure";

/** Who brings about an end of each kind. */
export const ENDED_BY: Readonly<Record<EndReason, EndedBy>> = {
  client_delete: "client",
  client_gone: "client",
  idle: "time",
  implicit: "time",
  max_lifetime: "time",
  evicted: "memory pressure",
  backend_exit: "server",
  backend_start_failed: "server",
  admin: "administrator",
  shutdown: "gateway",
  protocol_error: "server",
  server_changed: "server",
  stateful: "gateway",
  store_failed: "gateway",
};

/**
 * What a request that was in flight at the end is answered.
 *
 * @param detail What happened, where more is known than the reason; it names the server.
 */
export function failureOf(reason: EndReason, detail: string | undefined): Failure {
  switch (reason) {
    case "backend_start_failed":
      return { code: "backendStartFailed", detail };
    case "backend_exit":
    case "protocol_error":
      return { code: "backendGone", detail };
    case "store_failed":
      // The detail names files of the gateway's.
      return { code: "storeFailed" };
    case "shutdown":
    case "stateful":
      return { code: "shuttingDown" };
    default:
      return { code: "sessionEnded", detail: END_REASONS[reason] };
  }
}
