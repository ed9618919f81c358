/**
 * What every session store asks of what it is given, so that all of them take and refuse the same.
 *
 * @module
 */
import type { NewSession, SessionChange } from "./store.ts";

/** Whether a text is a digest as the contract has it. Another one was never put down, so nothing is found by it. */
export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** @throws {TypeError} */
export function checkSession({ digest, openedAt, lastUsed }: NewSession): void {
  if (!isDigest(digest)) throw new TypeError("A digest has to be 64 hexadecimal digits in lower case");
  checkInstant("openedAt", openedAt);
  checkInstant("lastUsed", lastUsed);
}

/** @throws {TypeError} */
export function checkChanges(changes: readonly SessionChange[]): void {
  for (const { lastUsed } of changes) checkInstant("lastUsed", lastUsed);
}

/** Of something that is asked for, at most so many; negative ones and NaN are none. */
export function countOf(limit: number): number {
  return limit >= 1 ? Math.trunc(Math.min(limit, Number.MAX_SAFE_INTEGER)) : 0;
}

function checkInstant(name: string, value: number): void {
  if (!Number.isFinite(value)) throw new TypeError(`${name} has to be finite: current value is ${value}`);
}
