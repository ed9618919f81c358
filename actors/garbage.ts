/**
 * Lines of a server that are no messages: logged, but not for ever.
 *
 * @module
 */
import { logger } from "../log.ts";

/** Lines that are logged, per session. */
const MAX_LOGGED = 20;

const log = logger("session");

/** Counts them for one session. */
export class Garbage {
  #lines = 0;

  /** Logs one, unless there were too many. `excerpt` is a part of it. */
  note(excerpt: string, { handle, serverId }: { readonly handle: string; readonly serverId: string }): void {
    if (++this.#lines > MAX_LOGGED) return;
    log.warn("Session {handle}: server {serverId} wrote a line that is no JSON-RPC message: {excerpt}", {
      handle,
      serverId,
      excerpt,
    });
    if (this.#lines < MAX_LOGGED) return;
    log.warn("Session {handle}: further lines that are no JSON-RPC messages are not logged", { handle });
  }
}
