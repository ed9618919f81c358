/**
 * Reads the body of a request.
 *
 * @module
 */
import type { Failure } from "../errors.ts";

/** The body as text, or why it cannot be had. */
export async function readBody(request: Request): Promise<string | Failure> {
  try {
    return await request.text();
  } catch {
    // The client hung up: nobody reads this.
    return { code: "badRequest", detail: "the body ended early" };
  }
}
