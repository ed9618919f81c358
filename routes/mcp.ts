/**
 * `/mcp/:serverId`: MCP's Streamable HTTP transport.
 *
 * A request is checked and routed here; what it means for the session is the session's business. What names a
 * session is decided in `sessionIdOf` alone.
 *
 * @module
 */
import type { ClientMessage, Supervisor } from "../actors/supervisor.ts";
import type { Session } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { type Malformed, type Message, parseBatch, parseMessage } from "../protocol/jsonrpc.ts";
import {
  BATCH_VERSION,
  DEFAULT_PROTOCOL_VERSION,
  isKnownVersion,
  KNOWN_VERSIONS,
  modernVersionOf,
  SESSION_HEADER,
  VERSION_HEADER,
} from "../protocol/revisions.ts";
import { BatchReply } from "./batch_reply.ts";
import { BODY_DEFAULTS, BodyReader } from "./body.ts";
import { accepts, isJson } from "./headers.ts";
import { HttpReply, rpcErrorResponse, SSE_HEADERS } from "./http_reply.ts";
import { STREAM_DEFAULTS, type StreamPolicy } from "./outflow.ts";
import { SseStream } from "./sse_stream.ts";

const ALLOWED_METHODS = "GET, POST, DELETE";
/** Messages of one batch. More could be too many for the inbox, and then part of them would be refused. */
const MAX_BATCH = 100;

/** What the route needs. */
export interface McpRouteOptions {
  readonly supervisor: Supervisor;
  readonly clock: Clock;
  /** Whether a request without a session id opens a session by itself. */
  readonly implicitSessions: boolean;
  /** How much may wait for a reader, and how long; the defaults unless given. */
  readonly streams?: StreamPolicy;
  /** The headers that a server's entry hands on, in lower case; none unless given. */
  readonly forwardedHeaders?: (serverId: string) => readonly string[] | undefined;
  /** Reads bodies, within their bounds; the default ones unless given. */
  readonly bodies?: BodyReader;
}

/** The same with the defaults filled in. */
type Options = Required<McpRouteOptions>;

/** One HTTP request to `/mcp/:serverId`, and on whose behalf it comes. */
export interface McpRequest {
  readonly request: Request;
  readonly serverId: string;
  readonly principal: string;
}

/** Answers one. Never throws for anything that a client can cause. */
export type McpRoute = (incoming: McpRequest) => Promise<Response>;

/** Makes the route. */
export function mcpRoute(given: McpRouteOptions): McpRoute {
  const { clock } = given;
  const options: Options = {
    streams: { clock, ...STREAM_DEFAULTS, cuts: 0 },
    bodies: new BodyReader({ clock, ...BODY_DEFAULTS }),
    forwardedHeaders: () => undefined,
    ...given,
  };
  return async (incoming) => {
    const { request, serverId } = incoming;
    if (!options.supervisor.hasServer(serverId)) {
      return rpcErrorResponse({ code: "serverNotFound", detail: JSON.stringify(serverId) }, null);
    }
    switch (request.method) {
      case "POST":
        return await post(incoming, options);
      case "GET":
        return await get(incoming, options);
      case "DELETE":
        return remove(incoming, options);
      default: {
        const response = rpcErrorResponse({ code: "methodNotAllowed", detail: request.method }, null);
        response.headers.set("allow", ALLOWED_METHODS);
        return response;
      }
    }
  };
}

/** The client sends one message, or a batch of them. */
async function post(incoming: McpRequest, options: Options): Promise<Response> {
  const { request, serverId, principal } = incoming;
  const { headers } = request;
  const refused = refusalOfPost(headers);
  if (refused !== undefined) return rpcErrorResponse(refused, null);
  const text = await options.bodies.read(request, serverId);
  if (typeof text !== "string") return rpcErrorResponse(text, null);

  const message = parseMessage(text);
  const handedOn = handedOnFrom(headers, options.forwardedHeaders(serverId));
  const sessionId = sessionIdOf(headers);
  const session = sessionId === undefined
    ? undefined
    : options.supervisor.find(serverId, sessionId, principal);
  if (message.kind === "malformed") {
    return message.problem === "batch" && session?.protocolVersion === BATCH_VERSION
      ? await postBatch(text, { headers, session, handedOn, streams: options.streams })
      : rpcErrorResponse(malformedFailure(message), message.id);
  }

  const reply = new HttpReply(
    options.streams,
    message.kind === "request" ? message.id : null,
    () => request.signal,
  );
  const modern = modernRefusal(headers, message);
  if (modern !== undefined) reply.fail(modern);
  else if (session !== undefined && !isStale(session, message)) {
    const badVersion = versionRefusal(headers, session);
    if (badVersion !== undefined) reply.fail(badVersion);
    else session.post({ tag: "message", message, reply, ...handedOn });
  } else {
    const opening = openingOf(message, { incoming, sessionId, options });
    if ("code" in opening) reply.fail(opening);
    else {
      options.supervisor.open({
        serverId,
        principal,
        opener: { tag: "message", message, reply, ...handedOn },
        ...opening,
      });
    }
  }
  return await reply.response;
}

/** What goes with a message of the client's to its server, beside the message. */
export type HandedOn = Pick<ClientMessage, "forwarded"> | undefined;

/** Those of the client's headers that its server's entry hands on. Any message may revive the session's backend. */
export function handedOnFrom(
  headers: Headers,
  names: readonly string[] | undefined,
): HandedOn {
  if (names === undefined) return undefined;
  const found = names.map((name) => [name, headers.get(name)] as const);
  return {
    forwarded: Object.fromEntries(found.filter((entry): entry is [string, string] => entry[1] !== null)),
  };
}

/** Each message of a batch is posted by itself; the answers go back together. */
async function postBatch(
  text: string,
  { headers, session, handedOn, streams }: {
    headers: Headers;
    session: Session;
    handedOn: HandedOn;
    streams: StreamPolicy;
  },
): Promise<Response> {
  const badVersion = versionRefusal(headers, session);
  if (badVersion !== undefined) return rpcErrorResponse(badVersion, null);
  const messages = parseBatch(text);
  if (messages.length === 0) {
    return rpcErrorResponse({ code: "badMessage", detail: "the batch is empty" }, null);
  }
  if (session.expired || session.state === "ended") {
    return rpcErrorResponse(session.notFound, null);
  }
  if (messages.length > MAX_BATCH) {
    const detail = `the batch has ${messages.length} messages, at most ${MAX_BATCH} are taken`;
    return rpcErrorResponse({ code: "badMessage", detail }, null);
  }
  const batch = new BatchReply(streams, messages.length);
  for (const message of messages) {
    const reply = batch.part(message.kind === "request" || message.kind === "malformed" ? message.id : null);
    if (message.kind === "malformed") reply.fail(malformedFailure(message));
    else session.post({ tag: "message", message, reply, ...handedOn });
  }
  return await batch.response;
}

/** The client opens its standalone stream. */
async function get(incoming: McpRequest, options: Options): Promise<Response> {
  const { request } = incoming;
  if (!accepts(request.headers.get("accept"), "text/event-stream")) {
    return rpcErrorResponse({ code: "notAcceptable", detail: "Accept must include text/event-stream" }, null);
  }
  const found = named(incoming, options);
  if ("code" in found) return rpcErrorResponse(found, null);
  const stream = new SseStream(options.streams);
  const { promise, resolve } = Promise.withResolvers<Response>();
  const lastEventId = request.headers.get("last-event-id") ?? undefined;
  found.post({
    tag: "stream",
    stream,
    ...(lastEventId !== undefined && { lastEventId }),
    reply: {
      accept: () =>
        // The stream that it came back for is over, and it has had all of it: 204 asks it not to come again.
        resolve(
          stream.done
            ? new Response(null, { status: 204 })
            : new Response(stream.body, { headers: SSE_HEADERS }),
        ),
      fail: (failure) => {
        stream.discard();
        resolve(rpcErrorResponse(failure, null));
      },
    },
  });
  return await promise;
}

/** The client ends its session. It is gone at once; its server is given the time to leave in good order. */
function remove(incoming: McpRequest, options: Options): Response {
  const found = named(incoming, options);
  if ("code" in found) return rpcErrorResponse(found, null);
  if (found.expired || found.state === "ended") return rpcErrorResponse(found.notFound, null);
  void found.end("client_delete");
  return new Response(null, { status: 204 });
}

/** What names a session. */
function sessionIdOf(headers: Headers): string | undefined {
  return headers.get(SESSION_HEADER) ?? undefined;
}

/** The session that a GET or DELETE names. */
function named(
  { request, serverId, principal }: McpRequest,
  { supervisor }: Options,
): Session | Failure {
  const modern = modernRefusal(request.headers, undefined);
  if (modern !== undefined) return modern;
  const sessionId = sessionIdOf(request.headers);
  if (sessionId === undefined) return { code: "noSessionHeader" };
  const session = supervisor.find(serverId, sessionId, principal);
  if (session === undefined) return supervisor.notFound(serverId, sessionId, principal, { request: false });
  return versionRefusal(request.headers, session) ?? session;
}

/** A client that sends `initialize` with the id of a session that is gone wants a new one. */
function isStale(session: Session, message: Message): boolean {
  if (message.kind !== "request" || message.method !== "initialize") return false;
  return session.expired || session.state === "ended";
}

/** How a message that belongs to no living session opens one, or why it does not. */
function openingOf(
  message: Message,
  { incoming, sessionId, options }: {
    incoming: McpRequest;
    sessionId: string | undefined;
    options: Options;
  },
): { implicitVersion: string | undefined } | Failure {
  if (message.kind === "request" && message.method === "initialize") return { implicitVersion: undefined };
  const { request, serverId, principal } = incoming;
  if (sessionId !== undefined) {
    return options.supervisor.notFound(serverId, sessionId, principal, {
      request: message.kind === "request",
    });
  }
  if (message.kind !== "request" || !options.implicitSessions) return { code: "noSessionHeader" };
  const version = request.headers.get(VERSION_HEADER) ?? DEFAULT_PROTOCOL_VERSION;
  return isKnownVersion(version)
    ? { implicitVersion: version }
    : { code: "badProtocolVersion", detail: JSON.stringify(version) };
}

function refusalOfPost(headers: Headers): Failure | undefined {
  const accept = headers.get("accept");
  if (!accepts(accept, "application/json") || !accepts(accept, "text/event-stream")) {
    return { code: "notAcceptable", detail: "Accept must include application/json and text/event-stream" };
  }
  // A browser sends other types across origins without asking first; a client that is no browser may.
  if (headers.has("origin") && !isJson(headers.get("content-type"))) return { code: "unsupportedMediaType" };
  return undefined;
}

/** A client of a revision without sessions is told so before anything is opened or counted. */
export function modernRefusal(headers: Headers, message: Message | undefined): Failure | undefined {
  const requested = modernVersionOf(headers.get(VERSION_HEADER), message);
  if (requested === undefined) return undefined;
  return {
    code: "modernRevision",
    detail: JSON.stringify(requested),
    data: { supported: KNOWN_VERSIONS, requested },
  };
}

/** What a text that is no message fails with. */
export function malformedFailure({ problem, detail }: Malformed): Failure {
  const code = ({ json: "badJson", batch: "batch", message: "badMessage" } as const)[problem];
  return { code, detail };
}

/** A version header has to name the session's version, or one that the gateway knows. */
export function versionRefusal(headers: Headers, session: Session | undefined): Failure | undefined {
  const version = headers.get(VERSION_HEADER);
  if (version === null || version === session?.protocolVersion || isKnownVersion(version)) return undefined;
  return { code: "badProtocolVersion", detail: JSON.stringify(version) };
}
