/**
 * `GET /health`: that the process serves. It needs no token, ever, and says nothing that needs one.
 *
 * @module
 */

/** Answers a liveness probe. */
export function health(): Response {
  return Response.json({ status: "ok" });
}
