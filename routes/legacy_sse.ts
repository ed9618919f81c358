/**
 * `GET /sse/:serverId` and `POST /messages`: HTTP+SSE, the transport of revision 2024-11-05, which many clients still
 * speak. What a client's connection means for its session is in `legacy_door.ts`.
 *
 * @module
 */
import type { Supervisor } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { parseMessage } from "../protocol/jsonrpc.ts";
import { isKnownVersion, VERSION_HEADER } from "../protocol/revisions.ts";
import { BODY_DEFAULTS, BodyReader } from "./body.ts";
import { accepts, isJson } from "./headers.ts";
import { rpcErrorResponse, SSE_HEADERS } from "./http_reply.ts";
import { LegacyDoor } from "./legacy_door.ts";
import { handedOnFrom, malformedFailure, modernRefusal, versionRefusal } from "./mcp.ts";
import { STREAM_DEFAULTS, type StreamPolicy } from "./outflow.ts";

/** The version of clients that do not say theirs. */
const LEGACY_VERSION = "2024-11-05";
/** Doors through which nobody came yet. */
const MAX_UNUSED = 256;
const MAX_UNUSED_BY_PRINCIPAL = 32;

/** What the routes need. */
export interface LegacyRouteOptions {
  readonly supervisor: Supervisor;
  readonly clock: Clock;
  /** Whether a request that comes before `initialize` opens a session by itself. */
  readonly implicitSessions: boolean;
  readonly streams?: StreamPolicy;
  readonly bodies?: BodyReader;
  /** The headers that a server's entry hands on, in lower case; none unless given. */
  readonly forwardedHeaders?: (serverId: string) => readonly string[] | undefined;
}

/** One request, and on whose behalf it comes. */
interface Incoming {
  readonly request: Request;
  readonly principal: string;
  /** The servers that are any of the principal's business; undefined is all. */
  readonly servers: ReadonlySet<string> | undefined;
}

/** See the module's documentation. */
export class LegacySse {
  readonly #supervisor: Supervisor;
  readonly #implicitSessions: boolean;
  readonly #streams: StreamPolicy;
  readonly #bodies: BodyReader;
  readonly #forwardedHeaders: NonNullable<LegacyRouteOptions["forwardedHeaders"]>;
  /** Doors whose stream is open, by the id in the URL to POST to. */
  readonly #doors = new Map<string, LegacyDoor>();

  constructor(
    { supervisor, clock, implicitSessions, streams, bodies, forwardedHeaders }: LegacyRouteOptions,
  ) {
    this.#supervisor = supervisor;
    this.#implicitSessions = implicitSessions;
    this.#forwardedHeaders = forwardedHeaders ?? (() => undefined);
    this.#streams = streams ?? { clock, ...STREAM_DEFAULTS, cuts: 0 };
    this.#bodies = bodies ?? new BodyReader({ clock, ...BODY_DEFAULTS });
  }

  /** Doors whose stream is open. */
  get size(): number {
    return this.#doors.size;
  }

  /** Answers a request to `/sse/:serverId`. */
  open({ request, principal, servers }: Incoming, serverId: string): Response {
    const { headers, method } = request;
    if (!this.#supervisor.hasServer(serverId) || !isTheirs(servers, serverId)) {
      return refuse({ code: "serverNotFound", detail: JSON.stringify(serverId) });
    }
    if (method !== "GET") return refuseMethod(method, "GET");
    if (!accepts(headers.get("accept"), "text/event-stream")) {
      return refuse({ code: "notAcceptable", detail: "Accept must include text/event-stream" });
    }
    const refused = modernRefusal(headers, undefined) ?? this.#noRoom(principal);
    if (refused !== undefined) return refuse(refused);
    // 122 random bits, and by its form a credential that `redact.ts` knows.
    const id = crypto.randomUUID();
    const door = new LegacyDoor({
      id,
      serverId,
      principal,
      supervisor: this.#supervisor,
      policy: this.#streams,
      onClosed: () => void this.#doors.delete(id),
    });
    this.#doors.set(id, door);
    return new Response(door.body, { headers: SSE_HEADERS });
  }

  /** Answers a request to `/messages`. */
  async post({ request, principal, servers }: Incoming): Promise<Response> {
    const { headers, method, url } = request;
    if (method !== "POST") return refuseMethod(method, "POST");
    // A browser sends other types across origins without asking first; a client that is no browser may.
    if (headers.has("origin") && !isJson(headers.get("content-type"))) {
      return refuse({ code: "unsupportedMediaType" });
    }
    const id = new URL(url).searchParams.get("sessionId");
    if (id === null) return refuse({ code: "badQuery", detail: "sessionId is missing" });
    const door = this.#doors.get(id);
    if (door === undefined || door.principal !== principal || !isTheirs(servers, door.serverId)) {
      return refuse({ code: "sessionNotFound" });
    }
    const text = await this.#bodies.read(request, door.serverId);
    if (typeof text !== "string") return refuse(text);
    const message = parseMessage(text);
    if (message.kind === "malformed") return rpcErrorResponse(malformedFailure(message), message.id);
    const refused = modernRefusal(headers, message) ?? versionRefusal(headers, door.session);
    if (refused !== undefined) {
      return rpcErrorResponse(refused, message.kind === "request" ? message.id : null);
    }
    const version = headers.get(VERSION_HEADER);
    const implicitVersion = version !== null && isKnownVersion(version) ? version : LEGACY_VERSION;
    return await door.post(message, {
      implicitVersion: this.#implicitSessions ? implicitVersion : undefined,
      handedOn: handedOnFrom(headers, this.#forwardedHeaders(door.serverId)),
    });
  }

  /** Ends all streams: the gateway shuts down. */
  close(): void {
    for (const door of this.#doors.values()) door.close();
  }

  #noRoom(principal: string): Failure | undefined {
    if (this.#supervisor.draining) return { code: "shuttingDown" };
    const unused = Array.from(this.#doors.values()).filter((door) => door.unused);
    if (unused.filter((door) => door.principal === principal).length >= MAX_UNUSED_BY_PRINCIPAL) {
      return { code: "tooManyStreams", detail: `${MAX_UNUSED_BY_PRINCIPAL} of yours wait for initialize` };
    }
    if (unused.length >= MAX_UNUSED) {
      return { code: "tooManyStreams", detail: `${MAX_UNUSED} wait for initialize` };
    }
    return undefined;
  }
}

function isTheirs(servers: ReadonlySet<string> | undefined, serverId: string): boolean {
  return servers === undefined || servers.has(serverId);
}

function refuse(failure: Failure): Response {
  return rpcErrorResponse(failure, null);
}

function refuseMethod(method: string, allowed: string): Response {
  const response = refuse({ code: "methodNotAllowed", detail: method });
  response.headers.set("allow", allowed);
  return response;
}
