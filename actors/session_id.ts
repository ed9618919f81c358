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

/** SHA-256 of an id, as 64 hexadecimal digits: what may be written down of it. */
export function digestOf(sessionId: string): string {
  return createHash("sha256").update(sessionId).digest("hex");
}

/** The public name of a session: always the same for an id, and no way back to it. 12 hexadecimal digits. */
export function publicHandle(sessionId: string): string {
  return handleOf(digestOf(sessionId));
}

/** The same from the digest of its id. */
export function handleOf(digest: string): string {
  return digest.slice(0, 12);
}
