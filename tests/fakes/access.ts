/**
 * Rules of access for tests that are about something else.
 *
 * @module
 */
import type { Clock } from "../../clock.ts";
import { Access } from "../../routes/access.ts";

/** What the gateway does on loopback without any token. */
export function openAccess(clock: Clock): Access {
  return new Access({
    clock,
    tokenRequired: false,
    tokens: [],
    allowedOrigins: [],
    allowedHosts: [],
    onLoopback: true,
  });
}
