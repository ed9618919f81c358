/**
 * What is due in a session, and when.
 *
 * ## Where a session expires
 *
 * In {@link expireIfDue}, and nowhere else: nothing in flight, and the deadline has come (`lifetime.ts` reckons it). It is
 * asked before each message, before any end, when the timer fires, and by the sweeper. There is one timer, re-armed
 * lazily: a touch only writes a timestamp, and a timer that fires early looks again.
 *
 * @module
 */
import { logger } from "../log.ts";
import type { ExpiryReason } from "./lifetime.ts";
import type { SessionCore } from "./session_core.ts";
import { hibernate } from "./session_sleep.ts";

const log = logger("session");

/** Does what is due and arms the timer for what comes next. */
export function rearm(core: SessionCore, now: number): void {
  let next = core.conversation.onTime(now);
  expireIfDue(core, now);
  if (core.state === "expired" || core.state === "ended") return;
  if (core.link.starting) next = Math.min(next, core.link.nextAt);
  else if (core.inFlight === 0) {
    if (now >= core.hibernateAt) return hibernate(core, `it was idle for ${Math.floor(core.idleMs)} ms`);
    next = Math.min(next, core.deadline, core.hibernateAt);
  }
  core.alarm.at(next);
}

/** With less in flight, an unanswered question or the deadline may be due earlier. */
export function rearmAfter(core: SessionCore, now: number): void {
  if (core.conversation.asking || core.conversation.inFlight === 0) rearm(core, now);
}

/** Judged now, so that the answer is right even where the timer is late. */
export function isExpired(core: SessionCore, now: number): boolean {
  expireIfDue(core, now);
  return core.state === "expired";
}

/** The one place where a session expires. */
export function expireIfDue(core: SessionCore, now: number): void {
  const { conversation, lifetime } = core;
  if (!core.isAlive || core.waking !== undefined) return;
  if (conversation.requestsInFlight > 0 || now < core.deadline) return;
  // Its timer may be late: a server's request whose time is up keeps nothing.
  if (conversation.asking) conversation.onTime(now);
  if (conversation.inFlight > 0 || asksClient(core, now)) return;
  expire(core, lifetime.reasonAt(conversation.lastUsed));
}

/** At the deadline a client that holds a stream open is asked whether it is there. Whether it was, just now. */
function asksClient(core: SessionCore, now: number): boolean {
  const { account, alarm, conversation, lifetime } = core;
  if (!conversation.reachable) return false;
  const id = lifetime.ask(conversation.lastUsed, now);
  if (id === undefined) return false;
  account.note("pinged", "the deadline came while the client held a stream open");
  conversation.ping(id);
  alarm.at(core.deadline);
  return true;
}

/** Past its maximum lifetime a session finishes what is in flight and begins nothing. */
export function isPastItsLife(core: SessionCore, now: number): boolean {
  return core.isAlive && now >= core.lifetime.endOfLife;
}

/** It is over, for this reason. What it holds waits for the sweeper. */
export function expire(core: SessionCore, reason: ExpiryReason): void {
  log.debug("Session {handle} expired", core.names);
  const verdict = core.judge(reason, undefined);
  core.state = "expired";
  core.account.expired(verdict);
  core.alarm.off();
  core.conversation.close(core.notFound);
  // The next run knows nothing of how scarce memory is now: it would take up again what is over.
  const { effectiveMs, configuredMs } = verdict.ttl;
  if (core.key !== 0 && (reason === "evicted" || effectiveMs < configuredMs)) {
    core.context.records.ended(core, core.tombstone(), { later: false });
  }
  // Nobody will come for it, and sweeps follow the longer TTL.
  if (reason === "implicit") core.inbox.signal({ tag: "end", reason, detail: undefined });
}
