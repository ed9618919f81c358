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
  return new Response(JSON.stringify({ ...problemOf(failure), ...members }), {
    status,
    headers: {
      "content-type": "application/problem+json",
      ...(retryAfterS !== undefined && { "retry-after": String(retryAfterS) }),
    },
  });
}

/** The members that every problem document has. */
export function problemOf(failure: Failure): Readonly<Record<string, unknown>> {
  const { status } = entryOf(failure);
  return {
    type: "about:blank",
    title: STATUS_TEXT[status as StatusCode],
    status,
    detail: messageOf(failure),
  };
}
