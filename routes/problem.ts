/**
 * Errors outside `/mcp`: RFC 9457 `application/problem+json`.
 *
 * @module
 */
import { STATUS_TEXT, type StatusCode } from "@std/http/status";
import { entryOf, type Failure, messageOf } from "../errors.ts";

/** A failure as a problem document. */
export function problem(failure: Failure): Response {
  const { status } = entryOf(failure);
  const body = {
    type: "about:blank",
    title: STATUS_TEXT[status as StatusCode],
    status,
    detail: messageOf(failure),
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/problem+json" },
  });
}
