/**
 * Ending many sessions at once. One that is in use goes only where that is asked for, which is judged in the turn in
 * which it would end.
 *
 * @module
 */
import type { EndReason, Session } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import { type Identity, maySee } from "./access.ts";
import { matches } from "./session_pages.ts";
import type { Filter } from "./session_query.ts";
import { inSlices, turn } from "./turns.ts";

/** Handles that are listed in the answer. */
const MAX_LISTED = 1_000;
/** Sessions that are ended in one go: each gives back a process. */
const ENDED_AT_ONCE = 50;

/** What is to be ended. */
export interface BulkRequest {
  readonly clock: Clock;
  /** Not a live view: whoever is ended may open another session, and that one is not meant. */
  readonly sessions: readonly Session[];
  readonly filter: Filter;
  readonly identity: Identity;
  /** Whether those in use go too. */
  readonly force: boolean;
  /** Whether only to tell. */
  readonly dryRun: boolean;
  readonly reason: EndReason;
  readonly detail: string | undefined;
}

/** What was ended, or would have been. */
export interface BulkResult {
  readonly dryRun: boolean;
  readonly reason: EndReason;
  /** Sessions that the filter fits. */
  readonly matched: number;
  /** Those of them that were in use and stay. */
  readonly inUse: number;
  readonly ended: number;
  /** The handles of those that ended, the first thousand. */
  readonly sessions: readonly string[];
  readonly truncated: boolean;
}

/** Ends them. What has expired before keeps its reason. */
export async function endAll(
  { clock, sessions, filter, identity, force, dryRun, reason, detail }: BulkRequest,
): Promise<BulkResult> {
  const listed: string[] = [];
  let [matched, inUse, ended] = [0, 0, 0];
  let asked: Session[] = [];
  const note = (session: Session) => {
    ended++;
    if (listed.length < MAX_LISTED) listed.push(session.handle);
  };
  const look = async () => {
    // Ends are handled before this goes on.
    await turn();
    for (const session of asked) {
      if (session.state === "ended") note(session);
      else inUse++;
    }
    asked = [];
  };
  await inSlices(sessions, (session) => {
    if (!maySee(identity, session) || !matches(session, filter)) return;
    matched++;
    if (!force && session.inFlight > 0) return void inUse++;
    if (dryRun) return note(session);
    if (force) void session.end(reason, detail === undefined ? {} : { detail });
    else session.endIfIdle(reason, { detail });
    asked.push(session);
  }, { clock, ...(!dryRun && { slice: ENDED_AT_ONCE }) });
  await look();
  return { dryRun, reason, matched, inUse, ended, sessions: listed, truncated: ended > listed.length };
}
