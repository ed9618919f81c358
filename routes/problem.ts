/**
 * Errors outside `/mcp`: RFC 9457 `application/problem+json`.
 *
 * @module
 */
import { STATUS_TEXT, type StatusCode } from "@std/http/status";
import { entryOf, type Failure, messageOf } from "../errors.ts";

/**
 * A failure as a problem document.
 *
 * @param members More of it, for programs (section 3.2).
 */
export function problem(failure: Failure, members: Readonly<Record<string, unknown>> = {}): Response {
  const { status, retryAfterS } = { ...entryOf(failure), ...failure };
  const body = {
    type: "about:blank",
    title: STATUS_TEXT[status as StatusCode],
    status,
    detail: messageOf(failure),
    ...members,
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/problem+json",
      ...(retryAfterS !== undefined && { "retry-after": String(retryAfterS) }),
    },
  });
}
