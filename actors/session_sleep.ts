/**
 * Giving a session's backend back while it lives on, and getting another one when its client needs it.
 *
 * A session that wakes up has the supervisor's door asked for room (`onWake`) and is answered with {@link revive} or
 * {@link notRevived}. Until then the message that woke it waits, and the inbox is held.
 *
 * @module
 */
import { CLOSE_PACE, HURRIED_PACE } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import type { Message } from "../protocol/jsonrpc.ts";
import type { Reply } from "./client.ts";
import type { ClientMessage } from "./mail.ts";
import type { SessionCore } from "./session_core.ts";

/** Who waits for a server that no request is for. */
const NOBODY: Pick<Reply, "stream" | "name"> = { stream: () => {}, name: () => {} };

const log = logger("session");

/** Gives the backend back and lives on. What was in flight has failed before, or fails now. */
export function hibernate(core: SessionCore, why: string): void {
  const { account, context, conversation, now } = core;
  core.state = "hibernated";
  core.slumber?.fell(now);
  account.hibernated(why);
  context.slumbers.hibernations++;
  log.info("Session {handle} of server {serverId} hibernates: {why}", { ...core.names, why });
  conversation.lostServer({ code: "backendGone", detail: `${core.serverName} ended` }, now);
  release(core);
  context.onHibernated(core.session);
  core.touch();
  core.alarm.at(core.deadline);
}

function release(core: SessionCore): void {
  if (!core.link.up) return;
  void core.link.release(CLOSE_PACE).then(() => {
    // Also where the session is over meanwhile.
    core.context.onReleased(core.session);
    core.inbox.signal({ tag: "released" });
  });
}

/** Whether a message of the client's is of any use to a server that was started for it. */
export function needsServer(message: Message): boolean {
  switch (message.kind) {
    case "request":
      return true;
    case "notification":
      // They belong to what was in flight with a server that is gone.
      return message.method !== "notifications/cancelled" && message.method !== "notifications/progress";
    case "response":
      return false;
  }
}

/** The client needs the server, and there is none: another one is asked for, and what the client says waits for it. */
export function wake(core: SessionCore, mail: ClientMessage): void {
  core.waking = mail;
  core.inbox.hold();
  // Never two at a time: they may want the same lock or port.
  if (core.link.leaving) core.link.hurry(HURRIED_PACE);
  else core.context.onWake(core.session);
}

/** Nothing is left of the backend that was given back. */
export function onReleased(core: SessionCore): void {
  if (core.waking !== undefined && !core.link.up) core.context.onWake(core.session);
}

/**
 * There is room for a backend.
 *
 * @returns False where none is needed any more.
 */
export function revive(core: SessionCore): boolean {
  const { context, conversation, link, waking } = core;
  if (waking === undefined || core.state !== "hibernated" || link.up) return false;
  const remembered = context.records.remembered(core.key);
  if (remembered === undefined) {
    notRevived(core, { code: "storeFailed" });
    return false;
  }
  const { message, reply, forwarded } = waking;
  if (message.kind === "request") conversation.prepare(message, reply);
  link.revive({
    remembered,
    standing: conversation.standing,
    // Only the answer to a request may come as a stream.
    reply: message.kind === "request" ? reply : NOBODY,
    forwarded,
  });
  core.alarm.at(link.nextAt);
  return true;
}

/**
 * The server agreed again.
 *
 * @returns The message that it was started for, to be sent to it. What waits behind comes in its turn.
 */
export function onRevived(core: SessionCore): ClientMessage {
  const { account, context, now } = core;
  const mail = core.waking!;
  core.waking = undefined;
  core.state = "active";
  core.slumber?.woke(now, core.ttl.effectiveMs);
  account.revived();
  context.slumbers.revivals++;
  context.onActive(core.session);
  log.info("Session {handle} of server {serverId} revived", core.names);
  core.conversation.heard(now);
  core.inbox.release();
  return mail;
}

/** It stays hibernated. What waited for its server fails; the next message tries again. */
export function notRevived(core: SessionCore, failure: Failure): void {
  const { context, conversation, inbox, now, waking } = core;
  if (waking === undefined) return;
  core.waking = undefined;
  // It may have asked something before it failed. What waited for it was in flight until now.
  conversation.lostServer(failure, now);
  conversation.heard(now);
  release(core);
  context.slumbers.failures++;
  context.onHibernated(core.session);
  log.warn("Session {handle} of server {serverId} was not revived: {code} {detail}", {
    ...core.names,
    code: failure.code,
    detail: failure.detail ?? "",
  });
  const waiting = inbox.takeMail();
  inbox.release();
  waking.reply.fail(failure);
  for (const mail of waiting) {
    if (mail.tag === "message") mail.reply.fail(failure);
    else inbox.post(mail);
  }
  core.touch();
  core.alarm.at(core.deadline);
}
