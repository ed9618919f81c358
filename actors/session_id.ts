/**
 * The two names of a session: its id is a credential that only its client has, its handle is public.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** A new id: 122 random bits, all of it visible ASCII as the specification wants it. */
export function newSessionId(): string {
  return crypto.randomUUID();
}

/** The public name of a session: always the same for an id, and no way back to it. 12 hexadecimal digits. */
export function publicHandle(sessionId: string): string {
  return createHash("sha256").update(sessionId).digest("hex").slice(0, 12);
}
