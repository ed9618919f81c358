/**
 * What a session does with what its client says.
 *
 * @module
 */
import type { Failure } from "../errors.ts";
import type { Message } from "../protocol/jsonrpc.ts";
import type { ClientMessage, Mail, OpenStream } from "./mail.ts";
import type { SessionCore } from "./session_core.ts";
import { needsServer, wake } from "./session_sleep.ts";
import { isExpired, isPastItsLife, rearmAfter } from "./session_time.ts";

/** The client says something, or opens a stream. */
export function onMail(core: SessionCore, mail: Mail): void {
  const now = core.now;
  if (isExpired(core, now)) return mail.reply.fail(core.notFound);
  if (mail.tag === "stream") onStream(core, mail, now);
  else onMessage(core, mail, now);
}

/** A standalone stream, or the rest of one that broke off. Before streams could be resumed that meant nothing. */
function onStream(core: SessionCore, { stream, reply, lastEventId }: OpenStream, now: number): void {
  const { account, conversation } = core;
  if (isPastItsLife(core, now)) return reply.fail(core.notFound);
  if (lastEventId !== undefined && conversation.resumable) {
    const refused = conversation.resume(lastEventId, stream, now);
    if (refused === undefined) reply.accept();
    else reply.fail(refused);
  } else {
    reply.accept();
    conversation.openStream(stream, now);
  }
  // It came with the id, and that is worth the longer TTL.
  core.touch();
  // Requests of the server that waited for it are in flight now.
  account.inFlight(conversation.inFlight);
}

function onMessage(core: SessionCore, mail: ClientMessage, now: number): void {
  const { account, conversation, lifetime } = core;
  const { message, reply } = mail;
  const { deadline } = core;
  if (message.kind === "response" && lifetime.answered(message.id, now)) {
    conversation.alive();
    if (core.deadline > deadline) account.note("deadline_moved", "the client answered a ping");
    core.touch();
    reply.accept();
    return rearmAfter(core, now);
  }
  account.received(message, conversation.inFlight > 0 ? undefined : now - conversation.lastUsed);
  if (message.kind === "request" && message.method !== "initialize") lifetime.use();
  // A message that is refused is a sign of life all the same.
  conversation.heard(now);
  core.touch();
  const failure = refusalOf(core, message, now);
  if (failure !== undefined) return reply.fail(failure);
  if (core.state === "hibernated" && needsServer(message)) return wake(core, mail);
  forward(core, mail, now);
}

/** Why a message is not sent to the server. */
function refusalOf(core: SessionCore, message: Message, now: number): Failure | undefined {
  const isRequest = message.kind === "request";
  if (isRequest && isPastItsLife(core, now)) return core.notFound;
  if (core.link.busy) return { code: "backendBusy", detail: core.serverName };
  const again = isRequest && message.method === "initialize" && !core.link.isOpener(message);
  return again ? { code: "alreadyInitialized" } : undefined;
}

/** Hands a message of the client's to the server. */
export function forward(core: SessionCore, { message, reply }: ClientMessage, now: number): void {
  const { account, alarm, conversation, context: { limits }, link } = core;
  switch (message.kind) {
    case "request": {
      const { sseAfterMs, requestTimeoutMs } = limits;
      // The handshake has its own.
      const timeoutMs = link.isOpener(message) ? Infinity : requestTimeoutMs;
      const refused = conversation.request(message, reply, { now, timeoutMs });
      if (refused !== undefined) return reply.fail(refused);
      account.inFlight(conversation.inFlight);
      return alarm.at(now + Math.min(sseAfterMs, timeoutMs));
    }
    case "notification":
      conversation.notification(message);
      break;
    case "response":
      conversation.response(message, now);
      break;
  }
  reply.accept();
  rearmAfter(core, now);
}
