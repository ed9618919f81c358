/**
 * The end of a session, and leaving it to the next run of the gateway. Either way all that it holds is given back.
 *
 * @module
 */
import type { ClosePace } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import { END_REASONS, type EndReason, failureOf } from "./end_reason.ts";
import type { Mail } from "./mail.ts";
import type { SessionCore } from "./session_core.ts";
import { expireIfDue } from "./session_time.ts";

/** Reasons that the next run of the gateway would find by itself. */
const FOUND_AGAIN: ReadonlySet<EndReason> = new Set(["idle", "implicit", "max_lifetime"]);

const log = logger("session");

/** Its server failed it. */
export function fail(core: SessionCore, reason: EndReason, detail: string): void {
  core.serverFailed = true;
  finish(core, reason, detail);
}

/** Ends it. The reason of an expiry stays. */
export function finish(core: SessionCore, reason: EndReason, detail?: string): void {
  const { account, context } = core;
  const failure = failureOf(reason, detail);
  const wasStarting = core.state === "starting";
  if (core.state === "expired") account.note("swept");
  const verdict = core.judge(reason, detail);
  core.state = "ended";
  account.ended(verdict);
  context.records.ended(core, core.tombstone(), { later: FOUND_AGAIN.has(verdict.reason) });
  log.info("Session {handle} of server {serverId} ended: {reason} ({why})", {
    ...core.names,
    reason: verdict.reason,
    why: detail ?? END_REASONS[verdict.reason],
  });
  // Mail is unread where the session never started, and then it fails for the same reason.
  giveBack(core, { failure, unread: wasStarting ? failure : core.notFound });
}

/** The gateway goes, and its next run takes the session up again, if there can be one for it. */
export function suspend(core: SessionCore, pace: ClosePace): void {
  const { conversation, context: { records, limits } } = core;
  expireIfDue(core, core.now);
  if (core.state === "expired") return finish(core, core.verdict!.reason);
  if (!records.durable || core.key === 0 || core.state === "starting") return finish(core, "shutdown");
  if (limits.stateful) return finish(core, "stateful");
  hasten(core, pace);
  const failure: Failure = { code: "shuttingDown" };
  // What is in flight keeps it in use until now: its deadline counts from here.
  if (core.inFlight > 0) conversation.heard(core.now);
  const streams = conversation.suspend(failure);
  records.suspended(core, streams);
  log.debug("Session {handle} of server {serverId} is left to the next run", core.names);
  core.suspended = true;
  core.state = "hibernated";
  giveBack(core, { failure, unread: failure });
}

/** What was left to the next run is not to be there. */
export function endSuspended(core: SessionCore, reason: EndReason, detail: string | undefined): void {
  if (reason === "shutdown" || core.verdict !== undefined) return;
  core.judge(reason, detail);
  core.context.records.ended(core, core.tombstone(), { later: false });
}

/** The fastest pace that was asked for wins. */
export function hasten(core: SessionCore, pace: ClosePace): void {
  if (pace.killAfterMs < core.pace.killAfterMs) core.pace = pace;
}

/** Gives back everything; each step is taken even where one before it failed. */
function giveBack(
  core: SessionCore,
  { failure, unread }: { readonly failure: Failure; readonly unread: Failure },
): void {
  const { alarm, context, conversation, inbox, session, waking } = core;
  const backendClosed = core.link.close(core.pace);
  core.waking = undefined;
  const steps = [
    () => context.onOver(session),
    () => alarm.off(),
    () => conversation.close(failure),
    () => waking?.reply.fail(unread),
    () => inbox.close().forEach(({ reply }) => reply.fail(unread)),
  ];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      onFault(core, error, undefined);
    }
  }
  void Promise.resolve(backendClosed).catch((error) => onFault(core, error, undefined)).then(() => {
    core.isClosed = true;
    core.whenClosed?.resolve();
    context.onEnded(session);
  });
}

/** A fault of the gateway's own: it costs the message that met it, not the session and not the gateway. */
export function onFault({ account }: SessionCore, error: unknown, mail: Mail | undefined): void {
  const failure = reportFault(log, `Session ${account.handle}`, error);
  mail?.reply.fail(failure);
}
