/**
 * Faults of the gateway's own: the log gets everything, the client an id to look it up by.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import type { Failure } from "./errors.ts";

/**
 * Logs a fault, with its stack.
 *
 * @param where What was being done, as the log line begins.
 * @returns What the client is told: no more than an id.
 */
export function reportFault(log: Logger, where: string, error: unknown): Failure {
  const id = crypto.randomUUID().slice(0, 8);
  const stack = error instanceof Error ? error.stack ?? error.message : String(error);
  log.error("{where}: internal fault {id}: {stack}", { where, id, stack });
  return { code: "internal", detail: `fault ${id}` };
}
