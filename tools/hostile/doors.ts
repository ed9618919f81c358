/**
 * The doors that are stormed: which servers stand behind each, and what valid requests of it look like.
 *
 * @module
 */
import * as fc from "fast-check";
import { bodyOf, type BridgeMutant, bridgeMutants, COMMANDS, TINY } from "../../tests/e2e/bridge_mutants.ts";
import { fixture } from "../../tests/fixtures/mod.ts";
import { SdkServer, SdkSseServer } from "../../tests/fixtures/remote_servers.ts";
import { changes, mutant } from "../../tests/routes/mutant_arbitraries.ts";
import { change, type Mutant, mutate, type Mutated, type Name } from "../../tests/routes/mutants.ts";
import { MARKER } from "../soak/machine.ts";
import { ADMIN, type Cast, type Way } from "./cast.ts";

/** The bystander comes back after a while. */
const session = { idleTtlMs: 60_000 };

/** The servers behind a door: `fake`, `other`, and the bystander's own, `quiet`. */
export interface Servers extends AsyncDisposable {
  readonly file: (marker: string) => Record<string, unknown>;
  /** Sessions that are open at servers elsewhere. */
  readonly sessions: () => number;
}

/** One request: made when it is sent, as it names sessions. */
export type Attack = (cast: Cast) => Mutated;

/** See the module's documentation. */
export interface Door {
  readonly name: string;
  readonly way: Way;
  readonly settings?: Readonly<Record<string, string>>;
  readonly servers: () => Promise<Servers>;
  /** Attacks at random. Some would write to the folder, if somebody ran what they say. */
  readonly attacks: (folder: string) => fc.Arbitrary<Attack>;
}

const tiny = { ...TINY };

function local(): Promise<Servers> {
  return Promise.resolve({
    file: (marker: string) => {
      const env = { [MARKER]: marker };
      const { command, args } = fixture("echo_server");
      return {
        mcpServers: {
          fake: { ...tiny, env },
          other: { ...tiny, env },
          quiet: { command, args, env, session },
        },
      };
    },
    sessions: () => 0,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

async function remoteHttp(): Promise<Servers> {
  const server = await Promise.resolve(new SdkServer());
  const entry = { url: server.url };
  return {
    file: () => ({ mcpServers: { fake: entry, other: entry, quiet: { ...entry, session } } }),
    sessions: () => server.sessions.size,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function remoteSse(): Promise<Servers> {
  const server = await SdkSseServer.start();
  const entry = { type: "sse", url: server.url };
  return {
    file: () => ({ mcpServers: { fake: entry, other: entry, quiet: { ...entry, session } } }),
    sessions: () => server.sessions.size,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const streamable = (): fc.Arbitrary<Attack> =>
  mutant.map((mutant: Mutant): Attack => (cast) => mutate(mutant, cast));

/** Headers of a client, by its token. */
function headers(token: string, more: Record<string, string> = {}): Headers {
  return new Headers({
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    authorization: `Bearer ${token}`,
    ...more,
  });
}

const RPC = [
  {
    jsonrpc: "2.0",
    id: 0,
    method: "initialize",
    params: { protocolVersion: "2024-11-05", capabilities: {}, clientInfo: { name: "t", version: "1" } },
  },
  { jsonrpc: "2.0", id: 1, method: "tools/list" },
  {
    jsonrpc: "2.0",
    id: "c",
    method: "tools/call",
    params: { name: "tool", arguments: { a: [1, { b: null }] } },
  },
  { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "c" } },
  { jsonrpc: "2.0", id: "q", result: { roots: [] } },
  [{ jsonrpc: "2.0", id: 1, method: "ping" }],
];

/** `/sse/:serverId` and `/messages`. */
function legacy(): fc.Arbitrary<Attack> {
  return fc.record({
    streams: fc.constantFrom(true, false, false, false),
    name: fc.constantFrom<Name>("june", "bob", "nobody"),
    body: fc.constantFrom(...RPC),
    changes,
  }).map(({ streams, name, body, changes }): Attack => (cast) =>
    change(
      {
        method: streams ? "GET" : "POST",
        target: streams ? "/sse/fake" : cast.endpointOf(name),
        body: streams ? undefined : body,
        headersFor: () => headers(cast.tokenOf(name === "bob" ? "bob" : "ann")),
      },
      changes,
      cast,
    )
  );
}

/** `/bridge`: half with a changed body, half with anything changed. */
function bridge(folder: string): fc.Arbitrary<Attack> {
  const bodies = bridgeMutants(`${folder}/touched`);
  return fc.oneof(
    bodies.map((mutant: BridgeMutant): Attack => (cast) => {
      const body = new TextEncoder().encode(bodyOf(mutant));
      const accept = mutant.streams ? "text/event-stream" : "application/json";
      return {
        url: "http://localhost/bridge",
        method: "POST",
        headers: headers(cast.tokenOf("ann"), { accept }),
        body,
        delivery: "whole",
      };
    }),
    fc.record({ body: bodies, changes }).map(({ body: { template }, changes }): Attack => (cast) =>
      change(
        {
          method: "POST",
          target: "/bridge",
          body: { serverId: "fake", method: "ping", ...template },
          headersFor: () => headers(cast.tokenOf("ann")),
        },
        changes,
        cast,
      )
    ),
  );
}

const QUERIES = [
  ...[
    "",
    "?limit=1",
    "?limit=500&sort=idleMs&order=desc",
    "?state=ended&sort=endedAt",
    "?limit=0",
    "?limit=1e9",
  ],
  ...[
    "?cursor=WzE3OTU0Mzg1MzY4MTAsImI4Yjk5YjNhNDNiMSIsInFDQ1RFRnVRTXBIbSIsbnVsbF0",
    "?cursor=%00",
    "?cursor=",
  ],
  ...["?serverId=fake", "?serverId=__proto__", "?state=x", "?x=y", "?limit=1&limit=2", "?minIdleMs=-1"],
  ...["?minIdleMs=99999999999999999999", `?serverId=${"x".repeat(5_000)}`, "?%ff=%fe", "?&&==&"],
];

/** The monitoring API and what else there is. The administrator ends what mutants open, and reads; the rest is ann's. */
function monitoring(): fc.Arbitrary<Attack> {
  const query = fc.constantFrom(...QUERIES);
  const name = fc.constantFrom<Name>("june", "march", "bob", "gone", "nobody");
  const route = fc.oneof(
    query.map((query) => ({ method: "GET", path: () => `/sessions${query}`, body: undefined })),
    query.map((query) => ({ method: "GET", path: () => `/sessions/events${query}`, body: undefined })),
    query.map((query) => ({
      method: "DELETE",
      path: () => `/sessions${query}&dryRun=true`,
      body: undefined,
    })),
    fc.tuple(name, fc.constantFrom("GET", "DELETE")).map(([name, method]) => ({
      method,
      path: (cast: Cast) => `/sessions/${cast.handleOf(name)}`,
      body: undefined,
    })),
    name.map((name) => ({
      method: "POST",
      path: (cast: Cast) => `/sessions/${cast.handleOf(name)}/extend`,
      body: { ms: 1000 },
    })),
    name.map((name) => ({
      method: "GET",
      path: (cast: Cast) => `/sessions/${cast.idOf(name)}`,
      body: undefined,
    })),
    query.map((query) => ({
      method: "GET",
      path: () => `/servers/fake/ttl-advice${query}`,
      body: undefined,
    })),
    fc.constantFrom(
      ...[
        "/servers/reload",
        "/health",
        "/ready",
        "/metrics",
        "/",
        "/favicon.ico",
        "/.env",
        "/mcp-servers.json",
      ],
    ).map((path) => ({
      method: path === "/servers/reload" ? "POST" : "GET",
      path: () => path,
      body: undefined,
    })),
  );
  return fc.record({ route, isAdmin: fc.constantFrom(true, false, false), changes }).map(
    ({ route: { method, path, body }, isAdmin, changes }): Attack => (cast) =>
      change(
        {
          method,
          target: path(cast),
          body,
          headersFor: () => headers(isAdmin ? ADMIN : cast.tokenOf("ann")),
        },
        changes,
        cast,
      ),
  );
}

/** Every door. */
export const DOORS: readonly Door[] = [
  { name: "/mcp, stdio", way: "mcp", servers: local, attacks: streamable },
  { name: "/mcp, remote http", way: "mcp", servers: remoteHttp, attacks: streamable },
  { name: "/mcp, remote sse", way: "mcp", servers: remoteSse, attacks: streamable },
  {
    name: "/bridge",
    way: "bridge",
    servers: async () => {
      const { file, ...rest } = await local();
      const withTiny = (marker: string) => {
        const { mcpServers } = file(marker) as { mcpServers: Record<string, unknown> };
        return { mcpServers: { ...mcpServers, tiny: mcpServers.fake } };
      };
      return { ...rest, file: withTiny };
    },
    settings: { BRIDGE_COMMANDS: JSON.stringify(COMMANDS) },
    attacks: bridge,
  },
  { name: "/sse, /messages", way: "sse", servers: local, attacks: legacy },
  { name: "monitoring", way: "mcp", servers: local, attacks: monitoring },
];
