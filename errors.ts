/**
 * Every error that a client of the gateway can get: its HTTP status, its JSON-RPC code and what it says.
 *
 * No other place decides on a status or a code. On `/mcp` an error is a JSON-RPC error object, elsewhere it is
 * `application/problem+json` (RFC 9457); both are made from this table.
 *
 * @module
 */
import { STATUS_CODE } from "@std/http/status";
import { encodeError, type RequestId } from "./protocol/jsonrpc.ts";

/** One row of {@link ERRORS}. */
export interface ErrorEntry {
  readonly status: number;
  /** JSON-RPC code. −32001 is "session not found"; −32000 is everything else that is not JSON-RPC's own. */
  readonly rpcCode: number;
  /** What is wrong; a detail may follow after a colon. */
  readonly message: string;
  /** Seconds for `Retry-After`, where trying again helps. */
  readonly retryAfterS?: number;
}

/** The table. */
export const ERRORS = {
  badJson: { status: STATUS_CODE.BadRequest, rpcCode: -32700, message: "Body is not JSON" },
  badMessage: { status: STATUS_CODE.BadRequest, rpcCode: -32600, message: "Body is not a JSON-RPC message" },
  badQuery: { status: STATUS_CODE.BadRequest, rpcCode: -32000, message: "Query is wrong" },
  badBody: { status: STATUS_CODE.BadRequest, rpcCode: -32000, message: "Body is wrong" },
  batch: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32600,
    message: "Batches belong to sessions of revision 2025-03-26 only",
  },
  // The code is the modern revision's own; a client that knows it falls back to `initialize`.
  modernRevision: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32022,
    message: "Unsupported protocol version",
  },
  duplicateId: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32600,
    message: "A request with this id is in flight already",
  },
  alreadyInitialized: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32600,
    message: "This session is initialized already",
  },
  badRequest: { status: STATUS_CODE.BadRequest, rpcCode: -32000, message: "Bad request" },
  noSessionHeader: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32000,
    message: "Header mcp-session-id is missing",
  },
  // On the door of a legacy client.
  notInitialized: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32000,
    message: "A session begins with initialize",
  },
  eventUnknown: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32000,
    message: "Header last-event-id names no event of this session",
  },
  eventsGone: {
    status: STATUS_CODE.Gone,
    rpcCode: -32000,
    message: "Some of the events that followed are not kept any more",
  },
  badProtocolVersion: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32000,
    message: "Header mcp-protocol-version names a version that is not supported",
  },
  unauthorized: { status: STATUS_CODE.Unauthorized, rpcCode: -32000, message: "A valid token is required" },
  originForbidden: { status: STATUS_CODE.Forbidden, rpcCode: -32000, message: "Origin is not allowed" },
  hostForbidden: { status: STATUS_CODE.Forbidden, rpcCode: -32000, message: "Host is not allowed" },
  adminOnly: {
    status: STATUS_CODE.Forbidden,
    rpcCode: -32000,
    message: "Only an administrator may do this",
  },
  commandForbidden: {
    status: STATUS_CODE.Forbidden,
    rpcCode: -32000,
    message: "This command may not be run",
  },
  // On `/sessions`, where sessions are named by their handles.
  sessionUnknown: { status: STATUS_CODE.NotFound, rpcCode: -32000, message: "No such session" },
  sessionNotFound: { status: STATUS_CODE.NotFound, rpcCode: -32001, message: "Session not found" },
  sessionEnded: {
    status: STATUS_CODE.NotFound,
    rpcCode: -32001,
    message: "Session ended before the request was answered",
  },
  serverNotFound: { status: STATUS_CODE.NotFound, rpcCode: -32000, message: "No such server" },
  notFound: { status: STATUS_CODE.NotFound, rpcCode: -32000, message: "No such page" },
  methodNotAllowed: {
    status: STATUS_CODE.MethodNotAllowed,
    rpcCode: -32000,
    message: "Method is not allowed here",
  },
  sessionOver: { status: STATUS_CODE.Conflict, rpcCode: -32000, message: "Session is over" },
  listingOver: {
    status: STATUS_CODE.Gone,
    rpcCode: -32000,
    message: "This listing is no longer kept; begin it again without cursor",
  },
  notAcceptable: { status: STATUS_CODE.NotAcceptable, rpcCode: -32000, message: "Not acceptable" },
  bodyTimeout: {
    status: STATUS_CODE.RequestTimeout,
    rpcCode: -32000,
    message: "Body did not come in time",
  },
  bodyTooLarge: { status: STATUS_CODE.ContentTooLarge, rpcCode: -32000, message: "Body is too large" },
  unsupportedMediaType: {
    status: STATUS_CODE.UnsupportedMediaType,
    rpcCode: -32000,
    message: "Content-Type must be application/json",
  },
  // To whoever has it read again. The detail names the place.
  serversFileWrong: {
    status: STATUS_CODE.UnprocessableEntity,
    rpcCode: -32000,
    message: "Servers file is wrong, and nothing was changed",
  },
  // Always with the id under which the log has the rest: see fault.ts.
  internal: { status: STATUS_CODE.InternalServerError, rpcCode: -32603, message: "Internal error" },
  serverNotServed: {
    status: STATUS_CODE.NotImplemented,
    rpcCode: -32000,
    message: "Server cannot be served",
  },
  backendStartFailed: { status: STATUS_CODE.BadGateway, rpcCode: -32000, message: "Server did not start" },
  backendGone: {
    status: STATUS_CODE.BadGateway,
    rpcCode: -32000,
    message: "Server ended before the request was answered",
  },
  // On a stream that is resumed after its request is gone; the status is for completeness.
  interrupted: {
    status: STATUS_CODE.BadGateway,
    rpcCode: -32000,
    message: "Request was interrupted by a restart; it may or may not have been carried out",
  },
  // Of a server elsewhere, for one request. Over HTTP it goes to the client as an answer of the server's.
  upstreamFailed: {
    status: STATUS_CODE.BadGateway,
    rpcCode: -32000,
    message: "Remote server did not answer the request",
  },
  // Its own code (-32022) would have the client fall back to `initialize`, which is what it sent.
  upstreamModern: {
    status: STATUS_CODE.BadGateway,
    rpcCode: -32000,
    message: "Remote server speaks only a revision of MCP without sessions (2026-07-28 or later)",
  },
  backendBusy: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "Server does not read what is sent to it",
    retryAfterS: 1,
  },
  inboxFull: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "Too many messages wait for this session",
    retryAfterS: 1,
  },
  tooManyInFlight: {
    status: STATUS_CODE.TooManyRequests,
    rpcCode: -32000,
    message: "Too many requests of this session wait for an answer",
    retryAfterS: 1,
  },
  openedTooOften: {
    status: STATUS_CODE.TooManyRequests,
    rpcCode: -32000,
    message: "Too many sessions were opened",
    retryAfterS: 1,
  },
  wrongTokensTooOften: {
    status: STATUS_CODE.TooManyRequests,
    rpcCode: -32000,
    message: "Too many wrong tokens came from this address",
    retryAfterS: 1,
  },
  tooManyStreams: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "Too many streams of events are open",
    retryAfterS: 5,
  },
  limitReached: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "No more sessions can be opened now",
    retryAfterS: 30,
  },
  serverQuarantined: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "Server keeps failing and is given a pause",
    retryAfterS: 1,
  },
  shuttingDown: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "Gateway is shutting down",
    retryAfterS: 5,
  },
  storeFailed: {
    status: STATUS_CODE.ServiceUnavailable,
    rpcCode: -32000,
    message: "Sessions cannot be written down at present",
    retryAfterS: 10,
  },
  requestTimeout: {
    status: STATUS_CODE.GatewayTimeout,
    rpcCode: -32000,
    message: "Server did not answer in time",
  },
  // Goes to the server, in the client's place; the status is for completeness.
  clientSilent: {
    status: STATUS_CODE.GatewayTimeout,
    rpcCode: -32000,
    message: "Client did not answer",
  },
  // To a server whose child was started ahead, or is shared, and was told that its client has no capabilities.
  noClient: { status: STATUS_CODE.NotImplemented, rpcCode: -32601, message: "No client is there to do this" },
  // To a shared server that asks without saying whom.
  noSession: {
    status: STATUS_CODE.Conflict,
    rpcCode: -32000,
    message: "The request belongs to no single session of those that share this server",
  },
  // To the client of a shared server.
  notShared: {
    status: STATUS_CODE.NotImplemented,
    rpcCode: -32601,
    message: "Not available on a server that sessions share",
  },
  doubtfulMessage: {
    status: STATUS_CODE.BadRequest,
    rpcCode: -32600,
    message: "Message could be read in two ways",
  },
  // On `/bridge`, where the body is the server's own error: the gateway delivered all that there was.
  serverError: {
    status: STATUS_CODE.UnprocessableEntity,
    rpcCode: -32000,
    message: "Server answered with an error",
  },
  // The client asked for it, so as HTTP goes nothing failed. The code is the Language Server Protocol's.
  requestCancelled: { status: STATUS_CODE.OK, rpcCode: -32800, message: "Request was cancelled" },
} as const satisfies Record<string, ErrorEntry>;

/** The name of a row. */
export type ErrorCode = keyof typeof ERRORS;

/** One error on its way to a client. */
export interface Failure {
  readonly code: ErrorCode;
  /** What exactly was wrong; shown to the client, so it holds no secret and no stack. */
  readonly detail?: string | undefined;
  /** What a program may want to know of it: `data` of the JSON-RPC error. */
  readonly data?: unknown;
  /** Seconds for `Retry-After`, where more is known than the row says. */
  readonly retryAfterS?: number;
}

/** The table's row for a failure, by its general type. */
export function entryOf(failure: Failure): ErrorEntry {
  return ERRORS[failure.code];
}

/** What a failure says: the row's message and its detail. */
export function messageOf(failure: Failure): string {
  const { message } = ERRORS[failure.code];
  return failure.detail === undefined ? message : `${message}: ${failure.detail}`;
}

/** A failure as a JSON-RPC error object. `id` is null where the request's own could not be read. */
export function rpcErrorText(failure: Failure, id: RequestId | null): string {
  return encodeError(id, {
    code: ERRORS[failure.code].rpcCode,
    message: messageOf(failure),
    data: failure.data,
  });
}
