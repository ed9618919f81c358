/**
 * What a session does with what its server says, and with the server's end.
 *
 * @module
 */
import type { BackendExit } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import type { Message, Params, RequestMessage, ResponseMessage } from "../protocol/jsonrpc.ts";
import { canResume } from "../protocol/revisions.ts";
import type { Greeting } from "./link.ts";
import { answerForNobody } from "./nobody.ts";
import { forward } from "./session_client.ts";
import type { SessionCore } from "./session_core.ts";
import { fail, finish } from "./session_end.ts";
import { digestOf } from "./session_id.ts";
import { hibernate, notRevived, onRevived } from "./session_sleep.ts";
import { isExpired, rearm, rearmAfter } from "./session_time.ts";

const log = logger("session");

/** The server says something. */
export function onServerMessage(core: SessionCore, message: Message): void {
  const { account, alarm, conversation, context: { limits }, link, now } = core;
  if (isExpired(core, now)) return;
  account.timeline.heardServer();
  core.touch();
  switch (message.kind) {
    case "response":
      if (!onGreeting(core, message) && !link.takesAnswer(message)) onAnswer(core, message, now);
      return rearmAfter(core, now);
    case "request":
      if (core.kind === "bridge") return refuse(core, message);
      conversation.serverAsked(message, now);
      account.inFlight(conversation.inFlight);
      return alarm.at(now + limits.clientReplyTimeoutMs);
    case "notification":
      // Nobody will come for what the bridge would keep.
      if (core.kind === "bridge" && conversation.requestsInFlight === 0) return;
      conversation.serverTold(message, now);
      return rearmAfter(core, now);
  }
}

/** There is no client to ask. A server that does not read would only have the answers pile up. */
function refuse({ link }: SessionCore, message: RequestMessage): void {
  if (!link.busy) link.send(answerForNobody(message));
}

function onAnswer(core: SessionCore, message: ResponseMessage, now: number): void {
  const { deadline } = core;
  core.conversation.serverAnswered(message, now);
  if (now >= deadline && core.deadline > deadline) {
    core.account.note("deadline_moved", "it fell while a request was in flight");
  }
}

/** Makes the session active, or ends it, by the server's answer to `initialize`. Whether that is all to be done. */
function onGreeting(core: SessionCore, answer: ResponseMessage): boolean {
  const greeting = core.link.greet(answer);
  switch (greeting?.kind) {
    case undefined:
      return false;
    case "opened":
      return onOpened(core, greeting);
    case "revived":
      forward(core, onRevived(core), core.now);
      return true;
    case "changed":
      finish(core, "server_changed", `${core.serverName} ${greeting.detail}`);
      return true;
    case "refused": {
      const detail = `${core.serverName} ${greeting.detail}`;
      if (core.waking !== undefined) {
        notRevived(core, { code: "backendStartFailed", detail });
        return true;
      }
      // A client that sent initialize gets the server's own words.
      if (!greeting.own) core.conversation.serverAnswered(answer, core.now);
      finish(core, "backend_start_failed", detail);
      return true;
    }
  }
}

function onOpened(
  core: SessionCore,
  { own, params, result }: Extract<Greeting, { kind: "opened" }>,
): boolean {
  const { account, alarm, context, conversation, inbox } = core;
  const { protocolVersion } = result;
  core.protocolVersion = typeof protocolVersion === "string" ? protocolVersion : undefined;
  account.active();
  const failure = record(core, params, result);
  if (failure !== undefined) {
    finish(core, "store_failed", failure.detail);
    return true;
  }
  core.state = "active";
  if (canResume(core.protocolVersion)) conversation.makeResumable();
  context.onActive(core.session);
  log.info("Session {handle} of server {serverId} opened", core.names);
  if (!own) return false;
  // The gateway's own request, in the client's place, was in flight until now.
  conversation.heard(core.now);
  alarm.at(core.deadline);
  inbox.release();
  return true;
}

/** Writes the session down, before its client is told of it. */
function record(core: SessionCore, params: Params, result: Params): Failure | undefined {
  const { account, kind } = core;
  if (kind !== "streamable") return undefined;
  const { records, serverId, fingerprint, limitsText } = core.context;
  const kept = records.opened({
    digest: digestOf(core.id),
    serverId,
    fingerprint,
    principal: account.principal,
    kind,
    protocolVersion: core.protocolVersion,
    openedAt: account.timeline.openedAt,
    params: JSON.stringify(params),
    result: JSON.stringify(result),
    limits: limitsText,
    ...core.change,
  });
  if ("code" in kept) return kept;
  core.key = kept.key;
  return undefined;
}

/** The server printed what is no message. */
export function onGarbage(core: SessionCore, excerpt: string): void {
  const failed = core.link.onGarbage(excerpt);
  if (failed !== undefined) onFailedStart(core, failed);
}

/** The backend is gone. */
export function onExit(core: SessionCore, exit: BackendExit): void {
  const { conversation, context, now } = core;
  const detail = `${core.serverName} ${exit.detail}`;
  if (core.link.starting) onFailedStart(core, exit.detail);
  else if (isExpired(core, now)) finish(core, core.verdict!.reason);
  // A client that does not read is no failure of a server that others share with it.
  else if (exit.cause === "cut") finish(core, "backend_exit", detail);
  else if (exit.cause === "overlong") fail(core, "protocol_error", detail);
  else if (core.isRevivable) {
    conversation.lostServer({ code: "backendGone", detail }, now);
    context.onServerFailed(core.session, detail);
    hibernate(core, detail);
  } else fail(core, "backend_exit", detail);
}

/** Something may be due. */
export function onTimer(core: SessionCore): void {
  const now = core.now;
  const late = core.link.onTime(now);
  if (late !== undefined) return onFailedStart(core, late);
  rearm(core, now);
}

function onFailedStart(core: SessionCore, what: string): void {
  const detail = `${core.serverName} ${what}`;
  if (core.waking === undefined) return fail(core, "backend_start_failed", detail);
  core.context.onServerFailed(core.session, detail);
  notRevived(core, { code: "backendStartFailed", detail });
}
