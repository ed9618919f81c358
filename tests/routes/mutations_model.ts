/**
 * What must come of a request to the application, reckoned from the documentation and not by its code.
 *
 * @module
 */
import { isKnownVersion } from "../../protocol/revisions.ts";
import { SERVER } from "../fakes/harness.ts";
import { BUSY_ID, type Principal, PRINCIPALS, QUESTION_ID } from "./mutants.ts";
import { type MutationWorld, OTHER, type Party } from "./mutations_world.ts";

/** A request in flight in a session beside those of a batch. */
const MAX_IN_FLIGHT = 64;
const MAX_BATCH = 100;
const MAX_BYTES = 4 * 1024 * 1024;
const HOSTS = ["localhost", "localhost.", "localhost:3000", "127.0.0.1:3000", "127.9.9.9", "[::1]"];
const MODERN_KEY = "io.modelcontextprotocol/protocolVersion";

/** A JSON-RPC id. */
export type Id = string | number;

/** One answer of a batch. */
export interface Part {
  readonly id: Id | null;
  /** The error's code; undefined where the server answers. */
  readonly code: number | undefined;
}

/** What comes of one message in a session. */
interface Step {
  /** Whether the server gets it. */
  readonly reaches: boolean;
  /** What is answered: nothing to what asks nothing. */
  readonly part: Part | undefined;
  /** The HTTP status, where it is the only message. */
  readonly status: number;
}

/** What must come of a request. */
export type Fate =
  /** Refused, with a JSON-RPC error. */
  | { readonly kind: "refused"; readonly status: number; readonly code: number; readonly id: Id | null }
  /** Refused where nobody speaks JSON-RPC. */
  | { readonly kind: "problem"; readonly status: number }
  | { readonly kind: "healthy" | "preflight" }
  /** A message for a session. */
  | { readonly kind: "posted"; readonly party: Party; readonly text: string; readonly step: Step }
  | {
    readonly kind: "batch";
    readonly party: Party;
    readonly whole: string;
    /** The messages that reach the server. */
    readonly values: readonly unknown[];
    readonly parts: readonly Part[];
  }
  | {
    readonly kind: "opened";
    readonly serverId: string;
    readonly principal: Principal;
    readonly text: string;
    readonly id: Id;
    readonly implicit: boolean;
  }
  | { readonly kind: "stream" | "deleted"; readonly party: Party };

/** What the model looks at. */
export interface Sent {
  readonly request: Request;
  readonly body: Uint8Array | undefined;
  /** Whether the client hangs up before its end. */
  readonly broken: boolean;
}

/** What must come of a request. Notes in the world what it ends there: the request in flight, the question. */
export function fateOf(sent: Sent, world: MutationWorld): Fate {
  const { request: { headers, method, url } } = sent;
  const { host, pathname } = new URL(url);
  const origin = headers.get("origin");
  const atHome = HOSTS.includes(host) && (origin === null || isOriginOf(origin, host));
  const isMcp = pathname.startsWith("/mcp/");
  const refuse = (status: number, code = -32000, id: Id | null = null): Fate =>
    isMcp ? { kind: "refused", status, code, id } : { kind: "problem", status };
  const isPreflight = atHome && origin !== null && method === "OPTIONS";
  if (pathname === "/health") {
    if (isPreflight) return { kind: "preflight" };
    return method === "GET" || method === "HEAD" ? { kind: "healthy" } : { kind: "problem", status: 405 };
  }
  if (!atHome) return refuse(403);
  if (isPreflight) return { kind: "preflight" };
  const principal = principalOf(headers.get("authorization"), world);
  if (principal === undefined) return refuse(401);
  const serverId = serverOf(pathname);
  if (serverId === undefined) return { kind: "problem", status: 404 };
  const known = serverId === OTHER || serverId === SERVER && principal !== "carol";
  const refuseRpc = (status: number, code = -32000, id: Id | null = null): Fate => ({
    ...{ kind: "refused", status, code, id },
  });
  if (!known) return refuseRpc(404);

  const sessionId = headers.get("mcp-session-id");
  const party = world.parties.find((party) =>
    party.id === sessionId && party.principal === principal && party.serverId === serverId
  );
  const version = headers.get("mcp-protocol-version");
  const isVersionFine = version === null || isKnownVersion(version);
  if (method === "GET" || method === "DELETE") {
    if (method === "GET" && !takes(headers.get("accept"), "text", "event-stream")) return refuseRpc(406);
    if (isModern(version)) return refuseRpc(400, -32022);
    if (sessionId === null) return refuseRpc(400);
    if (party === undefined) return refuseRpc(404, -32001);
    if (!isVersionFine) return refuseRpc(400);
    return { kind: method === "GET" ? "stream" : "deleted", party };
  }
  if (method !== "POST") return refuseRpc(405);

  const accept = headers.get("accept");
  if (!takes(accept, "application", "json") || !takes(accept, "text", "event-stream")) return refuseRpc(406);
  if (origin !== null && mediaType(headers.get("content-type") ?? "") !== "application/json") {
    return refuseRpc(415);
  }
  if (Number(headers.get("content-length")) > MAX_BYTES) return refuseRpc(413);
  if (sent.broken) return refuseRpc(400);
  const read = readBody(sent.body);
  if (read === undefined) return refuseRpc(400, -32700);
  const { value, text } = read;
  if (Array.isArray(value)) {
    return party?.version !== "2025-03-26"
      ? refuseRpc(400, -32600)
      : isVersionFine && value.length > 0 && value.length <= MAX_BATCH
      ? batchOf(value, party, text)
      : refuseRpc(400, isVersionFine ? -32600 : -32000);
  }
  const message = messageOf(value);
  if (message.kind === "none") return refuseRpc(400, -32600, message.id);
  const id = message.kind === "request" ? message.id : null;
  const meta = message.kind === "response"
    ? undefined
    : objectOf(objectOf(message.params)?._meta)?.[MODERN_KEY];
  const discovers = message.kind !== "response" && message.method === "server/discover";
  if (isModern(version) || typeof meta === "string" || discovers) return refuseRpc(400, -32022, id);
  if (party !== undefined) {
    if (!isVersionFine) return refuseRpc(400, -32000, id);
    const step = stepOf(message, party, new Set(party.busy === undefined ? [] : [BUSY_ID]));
    return step.part?.code !== undefined && step.status >= 400
      ? refuseRpc(step.status, step.part.code, id)
      : { kind: "posted", party, text, step };
  }
  if (message.kind === "request" && message.method === "initialize") {
    return { kind: "opened", serverId, principal, text, id: message.id, implicit: false };
  }
  if (sessionId !== null) return refuseRpc(404, -32001, id);
  if (message.kind !== "request" || !isVersionFine) return refuseRpc(400, -32000, id);
  return { kind: "opened", serverId, principal, text, id: message.id, implicit: true };
}

/** Message after message, as if each had come by itself; the server answers when it has them all. */
function batchOf(values: readonly unknown[], party: Party, whole: string): Fate {
  const inFlight = new Set<unknown>(party.busy === undefined ? [] : [BUSY_ID]);
  const parts: Part[] = [];
  const reaching: unknown[] = [];
  for (const value of values) {
    const message = messageOf(value);
    if (message.kind === "none") {
      parts.push({ id: message.id, code: -32600 });
      continue;
    }
    const step = stepOf(message, party, inFlight);
    if (step.part !== undefined) parts.push(step.part);
    if (step.reaches) reaching.push(value);
    if (message.kind === "notification" && message.method === "notifications/cancelled") {
      // What it takes back is of this batch, or the request that was in flight before.
      const at = parts.findIndex(({ id, code }) =>
        code === undefined && id === objectOf(message.params)?.requestId
      );
      if (at >= 0) parts[at] = { ...parts[at]!, code: -32800 };
    }
  }
  return { kind: "batch", party, whole, values: reaching, parts };
}

/** What comes of a message in a session. */
function stepOf(message: Exclude<Read, { kind: "none" }>, party: Party, inFlight: Set<unknown>): Step {
  switch (message.kind) {
    case "request": {
      const { id } = message;
      if (message.method === "initialize" || inFlight.has(id)) {
        return { reaches: false, part: { id, code: -32600 }, status: 400 };
      }
      if (inFlight.size >= MAX_IN_FLIGHT) return { reaches: false, part: { id, code: -32000 }, status: 429 };
      inFlight.add(id);
      return { reaches: true, part: { id, code: undefined }, status: 200 };
    }
    case "notification":
      if (message.method === "notifications/cancelled") {
        const requestId = objectOf(message.params)?.requestId;
        inFlight.delete(requestId);
        if (requestId === BUSY_ID) party.cancelled ||= party.busy !== undefined;
      }
      return { reaches: true, part: undefined, status: 202 };
    case "response": {
      const answers = party.asked && message.id === QUESTION_ID;
      if (answers) party.asked = false;
      return { reaches: answers, part: undefined, status: 202 };
    }
  }
}

type Read =
  | { readonly kind: "request"; readonly id: Id; readonly method: string; readonly params: unknown }
  | { readonly kind: "notification"; readonly method: string; readonly params: unknown }
  | { readonly kind: "response"; readonly id: unknown }
  | { readonly kind: "none"; readonly id: Id | null };

/** Which message of JSON-RPC a value is. */
function messageOf(value: unknown): Read {
  const message = objectOf(value);
  if (message === undefined) return { kind: "none", id: null };
  const { jsonrpc, id, method, params, result, error } = message;
  const has = (name: string) => Object.hasOwn(message, name);
  const isAnswer = has("result") || has("error");
  const asks = has("method") || !isAnswer;
  const none: Read = { kind: "none", id: asks && isId(id) ? id : null };
  if (jsonrpc !== "2.0") return none;
  if (has("method")) {
    if (typeof method !== "string" || isAnswer) return none;
    if (has("params") && objectOf(params) === undefined) return none;
    if (!has("id")) return { kind: "notification", method, params };
    return isId(id) ? { kind: "request", id, method, params } : none;
  }
  if (has("result") && !has("error") && objectOf(result) !== undefined && isId(id)) {
    return { kind: "response", id };
  }
  const { code, message: words } = objectOf(error) ?? {};
  const isError = !has("result") && Number.isInteger(code) && typeof words === "string";
  return isError && (!has("id") || id === null || isId(id)) ? { kind: "response", id } : none;
}

function isId(value: unknown): value is Id {
  return typeof value === "string" || Number.isSafeInteger(value);
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

/** The body as JSON, and as the one line that a server gets. */
function readBody(body: Uint8Array | undefined): { value: unknown; text: string } | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body).trim();
    return { value: JSON.parse(text), text: text.replaceAll("\r", " ").replaceAll("\n", " ") };
  } catch {
    return undefined;
  }
}

function isModern(version: string | null): boolean {
  return version !== null && /^\d{4}-\d{2}-\d{2}$/.test(version) && version >= "2026-07-28";
}

function isOriginOf(origin: string, host: string): boolean {
  return ["http", "https", "ws", "wss"].some((scheme) => origin.toLowerCase() === `${scheme}://${host}`);
}

function principalOf(header: string | null, world: MutationWorld): Principal | undefined {
  const [scheme = "", ...rest] = (header ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer") return undefined;
  const token = rest.join(" ").replace(/^ +/, "");
  // Eve has a token that nobody gave her.
  return PRINCIPALS.slice(0, 3).find((principal) => world.tokenOf(principal) === token);
}

/** The server that a path names, escaped or not; undefined where it names none. */
function serverOf(pathname: string): string | undefined {
  const parts = pathname.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return parts.length === 3 && parts[0] === "" && parts[1] === "mcp" && parts[2] !== ""
    ? parts[2]
    : undefined;
}

function mediaType(range: string): string {
  return range.split(";")[0]!.trim().toLowerCase();
}

function takes(accept: string | null, group: string, type: string): boolean {
  const ranges = accept?.split(",").map(mediaType) ?? ["*/*"];
  return [`${group}/${type}`, `${group}/*`, "*/*"].some((range) => ranges.includes(range));
}
