/**
 * `POST /bridge`: one request to one server, and its result, without a session that the client would have to know of.
 *
 * Behind it are sessions of kind `bridge` (`bridge_sessions.ts`). `docs/bridge.md` describes the route.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { BridgeOpening, Supervisor } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { parseMessage, progressTokenOf, type RequestMessage } from "../protocol/jsonrpc.ts";
import { memberText, withMember } from "../protocol/members.ts";
import type { Identity } from "./access.ts";
import { BODY_DEFAULTS, BodyReader } from "./body.ts";
import { type BridgeAsk, type NamedCommand, readAsk } from "./bridge_body.ts";
import { BridgeReply } from "./bridge_reply.ts";
import { BridgeSessions } from "./bridge_sessions.ts";
import { accepts, isJson, names } from "./headers.ts";
import { STREAM_DEFAULTS, type StreamPolicy } from "./outflow.ts";
import { problem } from "./problem.ts";
import { shown } from "./redact.ts";

/** What the refusal of a command says of the way to allow it. */
const HOW_TO_LIST = "list it in BRIDGE_COMMANDS, such as " +
  `BRIDGE_COMMANDS='{"NAME": {"command": "node", "args": ["/srv/server.js"]}}', ` +
  "or add the server to the servers file and name it by serverId (docs/bridge.md)";

/** Which commands may be run. */
export interface BridgeCommands {
  /**
   * Looks for the entry that allows a command.
   *
   * @param servers What whoever asks may use; undefined is all.
   */
  find(
    wish: NamedCommand,
    servers: ReadonlySet<string> | undefined,
  ):
    | {
      readonly state: "listed";
      readonly serverId: string;
      readonly openBackend: NonNullable<BridgeOpening["openBackend"]>;
    }
    | { readonly state: "refused"; readonly why: string };
}

/** What the route needs. */
export interface BridgeRouteOptions {
  readonly supervisor: Supervisor;
  readonly clock: Clock;
  /** None may be run unless given. */
  readonly commands?: BridgeCommands | undefined;
  readonly streams?: StreamPolicy;
  readonly bodies?: BodyReader;
  /** The sessions behind it; its own unless given. */
  readonly bridgeSessions?: BridgeSessions;
}

/** Answers one request. Never throws for anything that a client can cause. */
export type BridgeRoute = (request: Request, identity: Identity) => Promise<Response>;

/** Which server a request goes to, and by what it shares a session with others. */
type Target = Pick<Parameters<BridgeSessions["send"]>[0], "key" | "serverId" | "openBackend">;

/** Makes the route. */
export function bridgeRoute({ supervisor, clock, commands, ...options }: BridgeRouteOptions): BridgeRoute {
  const {
    streams: policy = { clock, ...STREAM_DEFAULTS, cuts: 0 },
    bodies = new BodyReader({ clock, ...BODY_DEFAULTS }),
    bridgeSessions: sessions = new BridgeSessions(supervisor),
  } = options;
  /** Each request has an id of the gateway's own, in whichever session. */
  let lastId = 0;

  return async (request, identity) => {
    if (request.method !== "POST") {
      const response = problem({ code: "methodNotAllowed", detail: request.method });
      response.headers.set("allow", "POST");
      return response;
    }
    const refused = refusalOf(request.headers);
    if (refused !== undefined) return problem(refused);
    // Whose body it is says the body: until it is read the gateway's own bound holds.
    const text = await bodies.read(request, "");
    if (typeof text !== "string") return problem(text);
    const ask = readAsk(text);
    if ("code" in ask) return problem(ask);
    const target = targetOf(ask.server, identity, { supervisor, commands });
    if ("code" in target) return problem(target);
    const tooLong = bodies.refusalOf(text, target.serverId);
    if (tooLong !== undefined) return problem(tooLong);

    const streams = names(request.headers.get("accept"), "text/event-stream");
    const token = progressTokenOf(ask.params);
    const reply = new BridgeReply({
      policy,
      streams,
      progressToken: token === undefined ? undefined : JSON.stringify(token),
    });
    const message = messageOf(ask, { id: ++lastId, wantsProgress: streams || token !== undefined });
    sessions.send({
      ...target,
      principal: identity.principal,
      message,
      reply,
      signal: () => request.signal,
    });
    return await reply.response;
  };
}

function refusalOf(headers: Headers): Failure | undefined {
  const accept = headers.get("accept");
  if (!accepts(accept, "application/json") && !accepts(accept, "text/event-stream")) {
    return { code: "notAcceptable", detail: "Accept must include application/json or text/event-stream" };
  }
  // A page of a foreign site can send other types without being asked first. What is run here is worth the care.
  return isJson(headers.get("content-type")) ? undefined : { code: "unsupportedMediaType" };
}

function targetOf(
  server: BridgeAsk["server"],
  { principal, servers }: Identity,
  { supervisor, commands }: Pick<BridgeRouteOptions, "supervisor" | "commands">,
): Target | Failure {
  if ("serverId" in server) {
    const { serverId } = server;
    // A server that is none of this principal's business does not exist for it.
    const isThere = supervisor.hasServer(serverId) && (servers?.has(serverId) ?? true);
    if (!isThere) return { code: "serverNotFound", detail: shown(serverId) };
    return { key: keyOf(principal, serverId), serverId, openBackend: undefined };
  }
  const found = commands?.find(server, servers) ?? { state: "refused", why: "no command is listed" };
  if (found.state === "refused") {
    return { code: "commandForbidden", detail: `${found.why}; ${HOW_TO_LIST}` };
  }
  const { serverId, openBackend } = found;
  const env = Object.entries(server.env).sort(([a], [b]) => a < b ? -1 : 1);
  return { key: keyOf(principal, serverId, server.args, env), serverId, openBackend };
}

/** By a hash: arguments may be long, and variables secret. */
function keyOf(...parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}

/** The request as the server gets it. Progress is asked for under its id: two clients may have the same token. */
function messageOf(
  { method, paramsText }: BridgeAsk,
  { id, wantsProgress }: { id: number; wantsProgress: boolean },
): RequestMessage {
  const params = wantsProgress ? withProgressToken(paramsText ?? "{}", String(id)) : paramsText;
  const rest = params === undefined ? "" : `,"params":${params}`;
  const text = `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)}${rest}}`;
  const message = parseMessage(text);
  if (message.kind !== "request") throw new Error(`The bridge made what is no request: ${message.kind}`);
  return message;
}

function withProgressToken(params: string, token: string): string {
  const meta = memberText(params, "_meta") ?? "{}";
  // What is no object is for the server to refuse.
  return meta.startsWith("{")
    ? withMember(params, "_meta", withMember(meta, "progressToken", token))
    : params;
}
