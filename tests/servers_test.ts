import { assert, assertEquals } from "@std/assert";
import { ProcessTable } from "../backends/process_table.ts";
import { loadConfig, type ServerConfig } from "../config/mod.ts";
import {
  effectiveLimits,
  type LimitOrigin,
  type LimitOrigins,
  type LimitsConfig,
  maxBodyBytesOf,
  shortestTtlMs,
  supervisedServers,
} from "../servers.ts";
import { FakeClock } from "./fakes/fake_clock.ts";

const STDIO = { type: "stdio", command: "true", args: [], env: {}, cwd: "/" } as const;

type Session = ServerConfig["session"];
type Variables = Record<string, string>;

const NOTHING_SET: Session = {
  idleTtlMs: undefined,
  hibernateAfterMs: undefined,
  handshakeTtlMs: undefined,
  maxLifetimeMs: undefined,
  onOpenStream: undefined,
  evictable: undefined,
  requestTimeoutMs: undefined,
  maxBodyBytes: undefined,
  maxSessions: undefined,
  maxInFlightPerSession: undefined,
  cleanup: undefined,
};

function configOf(env: Variables = {}, args: string[] = []): LimitsConfig {
  const config = loadConfig({ args, env, cwd: "/nowhere" });
  assert(config.kind === "run");
  return config;
}

function serve(servers: Partial<ServerConfig>[], env?: Variables) {
  const clock = new FakeClock();
  const configs = servers.map((server, n) => ({
    id: `s${n}`,
    transport: STDIO,
    disabled: false,
    backend: "perSession" as const,
    stateful: false,
    session: NOTHING_SET,
    ...server,
  }));
  const { settings, origins } = configOf(env);
  return supervisedServers({ settings, origins, servers: configs }, {
    clock,
    processes: new ProcessTable({ clock }),
  });
}

// [the server's own, the environment, the TTL in force].
const TTLS: [Partial<Session>, Variables, number][] = [
  [{}, {}, 300_000],
  [{}, { STREAM_SESSION_TTL_MS: "5000" }, 5_000],
  [{ idleTtlMs: 7_000 }, { STREAM_SESSION_TTL_MS: "5000" }, 7_000],
  [{ idleTtlMs: 0 }, { STREAM_SESSION_TTL_MS: "5000" }, 0],
  [{ cleanup: false }, {}, 0],
  [{ cleanup: false, idleTtlMs: 7_000 }, {}, 0],
  [{ idleTtlMs: 7_000 }, { DISABLE_STREAM_CLEANUP: "true" }, 0],
  [{}, { STREAM_SESSION_TTL_MS: "0" }, 0],
];
for (const [session, env, ttlMs] of TTLS) {
  Deno.test(`TTL of a server with ${JSON.stringify(session)} under ${JSON.stringify(env)} is ${ttlMs} ms`, () => {
    const [server] = serve([{ session: { ...NOTHING_SET, ...session } }], env);
    assertEquals(server?.limits.idleTtlMs, ttlMs);
  });
}

/** One limit: how each source sets it, and to what. A limit without a variable has no other source than the file. */
interface Sources {
  readonly limit: Exclude<keyof LimitOrigins, "cleanup">;
  readonly variable: string | undefined;
  readonly fallback: unknown;
  readonly file: Partial<Session>;
  /** What it is where cleanup is off; undefined where that does not matter to it. */
  readonly off: unknown;
}

const SOURCES: readonly Sources[] = [
  {
    limit: "idleTtlMs",
    variable: "STREAM_SESSION_TTL_MS",
    fallback: 300_000,
    file: { idleTtlMs: 7 },
    off: 0,
  },
  {
    limit: "handshakeTtlMs",
    variable: "HANDSHAKE_TTL_MS",
    fallback: 0,
    file: { handshakeTtlMs: 7 },
    off: 0,
  },
  { limit: "maxLifetimeMs", variable: "MAX_LIFETIME_MS", fallback: 0, file: { maxLifetimeMs: 7 }, off: 0 },
  {
    limit: "requestTimeoutMs",
    variable: "REQUEST_TIMEOUT_MS",
    fallback: 3_600_000,
    file: { requestTimeoutMs: 7 },
    off: undefined,
  },
  {
    limit: "onOpenStream",
    variable: "ON_OPEN_STREAM",
    fallback: "ping",
    file: { onOpenStream: "expire" },
    off: undefined,
  },
  { limit: "evictable", variable: undefined, fallback: false, file: { evictable: true }, off: false },
];

/** The ways to turn cleanup off or to leave it on, and which source decides. */
const SWITCHES: [own: Partial<Session>, env: Variables, args: string[], on: boolean, origin: LimitOrigin][] =
  [
    [{}, {}, [], true, "default"],
    [{}, { DISABLE_STREAM_CLEANUP: "false" }, [], true, "env"],
    [{}, {}, ["--disable-stream-cleanup=false"], true, "flag"],
    [{ cleanup: true }, {}, [], true, "file"],
    [{ cleanup: false }, {}, [], false, "file"],
    [{ cleanup: false }, { DISABLE_STREAM_CLEANUP: "true" }, [], false, "file"],
    [{}, { DISABLE_STREAM_CLEANUP: "true" }, [], false, "env"],
    [{}, {}, ["--disable-stream-cleanup"], false, "flag"],
    // What the gateway turned off, an entry does not turn on.
    [{ cleanup: true }, { DISABLE_STREAM_CLEANUP: "true" }, [], false, "env"],
  ];

/** Every choice of sources that set a value. */
const GIVEN = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => ({
  inFile: (bits & 1) > 0,
  inEnv: (bits & 2) > 0,
  inFlag: (bits & 4) > 0,
}));

for (const { limit, variable, fallback, file, off } of SOURCES) {
  const text = (number: string) => limit === "onOpenStream" ? "expire" : number;
  const valueOf = (number: string) => limit === "onOpenStream" ? "expire" : Number(number);
  const flag = `--${variable?.toLowerCase().replaceAll("_", "-")}=${text("8")}`;
  for (const { inFile, inEnv, inFlag } of GIVEN) {
    if (variable === undefined && (inEnv || inFlag)) continue;
    const given = [inFile && "file", inFlag && "flag", inEnv && "env"].filter(Boolean).join(", ") ||
      "nothing";
    Deno.test(`Value and origin of ${limit}, set by ${given}, under every switch`, () => {
      const [value, origin] = inFile
        ? [Object.values(file)[0], "file"]
        : inFlag
        ? [valueOf("8"), "flag"]
        : inEnv
        ? [valueOf("9"), "env"]
        : [fallback, "default"];
      for (const [own, env, args, on, switchOrigin] of SWITCHES) {
        const config = configOf(
          inEnv ? { ...env, [variable!]: text("9") } : env,
          inFlag ? [...args, flag] : args,
        );
        const session = { ...NOTHING_SET, ...own, ...(inFile ? file : {}) };
        const { limits, cleanup, origins } = effectiveLimits(config, session);
        const isOff = !on && off !== undefined;
        const what = JSON.stringify({ own, env, args });
        assertEquals(
          [limits[limit], origins[limit]],
          isOff ? [off, switchOrigin] : [value, origin],
          what,
        );
        assertEquals([cleanup, origins.cleanup], [on, switchOrigin], what);
      }
    });
  }
}

Deno.test("Each server to serve carries the origins of its limits", () => {
  const session = { ...NOTHING_SET, maxLifetimeMs: 5 };
  const [own, general] = serve([{ session }, {}], { HANDSHAKE_TTL_MS: "9" });
  const origins = {
    idleTtlMs: "default",
    handshakeTtlMs: "env",
    maxLifetimeMs: "file",
    onOpenStream: "default",
    evictable: "default",
    requestTimeoutMs: "default",
    cleanup: "default",
  } as const;
  assertEquals(own?.origins, origins);
  assertEquals(general?.origins, { ...origins, maxLifetimeMs: "default" });
});

Deno.test("Cleanup that is off leaves the TTL of implicit sessions as it is set", () => {
  const [server] = serve([{ session: { ...NOTHING_SET, cleanup: false } }], { IMPLICIT_TTL_MS: "9" });
  assertEquals(server?.limits.implicitTtlMs, 9);
});

Deno.test("A server's request time-out comes before the gateway's", () => {
  const [own, general] = serve([{ session: { ...NOTHING_SET, requestTimeoutMs: 5 } }, {}], {
    REQUEST_TIMEOUT_MS: "9",
  });
  assertEquals([own?.limits.requestTimeoutMs, general?.limits.requestTimeoutMs], [5, 9]);
});

Deno.test("A server's own bound of bodies comes before the gateway's, which also holds for servers unknown", () => {
  const env = { MAX_BODY_BYTES: "9" };
  const servers = serve([{ session: { ...NOTHING_SET, maxBodyBytes: 5 } }, {}], env);
  const server = (serverId: string) => servers.find(({ id }) => id === serverId);
  const maxBytes = maxBodyBytesOf(configOf(env).settings, { server });
  assertEquals(["s0", "s1", "__proto__"].map(maxBytes), [5, 9, 9]);
});

Deno.test("Disabled servers are not served; remote ones are, and own no process", () => {
  const remote = {
    type: "http",
    url: "https://example.com/mcp",
    headers: {},
    forwardHeaders: [],
    connectTimeoutMs: 1_000,
    readTimeoutMs: 1_000,
    caCerts: undefined,
  } as const;
  const servers = serve([{ disabled: true }, { transport: remote }, {}]);
  assertEquals(servers.map(({ id }) => id), ["s1", "s2"]);
  assert(typeof servers[1]?.backend === "object" && "open" in servers[1].backend);
  const far = servers[0]?.backend;
  assert(typeof far === "object" && "open" in far);
  assertEquals([far.ownsProcess, far.startsProcess, far.spare], [false, false, 0]);
});

/** The same of all limits that the servers have. */
function shortestOf(servers: ReturnType<typeof serve>): number | undefined {
  return shortestTtlMs(servers.flatMap(({ limits, bridgeLimits = limits }) => [limits, bridgeLimits]));
}

// [what the servers set, the shortest time after which a session may be found expired].
const SHORTEST: [Partial<Session>[], number | undefined][] = [
  [[], undefined],
  [[{}], 300_000],
  [[{ idleTtlMs: 9_000 }, { idleTtlMs: 6_000 }], 6_000],
  [[{ handshakeTtlMs: 5_000 }], 5_000],
  [[{ idleTtlMs: 0, handshakeTtlMs: 5_000 }], 5_000],
  [[{ maxLifetimeMs: 4_000 }], 4_000],
  [[{ idleTtlMs: 0, maxLifetimeMs: 4_000_000 }], 4_000_000],
  [[{ idleTtlMs: 0 }], undefined],
  [[{ cleanup: false, handshakeTtlMs: 1, maxLifetimeMs: 1, evictable: true }], undefined],
  // Somebody has to look whether memory runs out.
  [[{ idleTtlMs: 0, evictable: true }], 300_000],
];
for (const [sessions, ttlMs] of SHORTEST) {
  Deno.test(`Servers with ${JSON.stringify(sessions)} are swept as a TTL of ${ttlMs} ms wants it`, () => {
    const env = { DISABLE_BRIDGE_CLEANUP: "true" };
    const servers = serve(sessions.map((session) => ({ session: { ...NOTHING_SET, ...session } })), env);
    assertEquals(shortestOf(servers), ttlMs);
  });
}

Deno.test("Sessions of the bridge are swept as their own TTL wants it", () => {
  const own = { ...NOTHING_SET, idleTtlMs: 9_000_000 };
  const env = { BRIDGE_SESSION_TTL_MS: "5000", STREAM_SESSION_TTL_MS: "0" };
  assertEquals(shortestOf(serve([{}], env)), 5_000);
  assertEquals(shortestOf(serve([{ session: own }], env)), 9_000_000);
  assertEquals(shortestOf(serve([{}], { ...env, DISABLE_BRIDGE_CLEANUP: "true" })), undefined);
  assertEquals(shortestOf(serve([{}], { ...env, BRIDGE_SESSION_TTL_MS: "0" })), undefined);
  // The switch of the one kind leaves the other alone.
  assertEquals(shortestOf(serve([{}], { DISABLE_STREAM_CLEANUP: "true" })), 300_000);
});

Deno.test("Sessions of the bridge have limits and origins of their own", () => {
  const env = { BRIDGE_SESSION_TTL_MS: "5000", STREAM_SESSION_TTL_MS: "7000", HANDSHAKE_TTL_MS: "11" };
  const [general, own, never] = serve([
    {},
    { session: { ...NOTHING_SET, idleTtlMs: 3_000 } },
    { session: { ...NOTHING_SET, cleanup: false } },
  ], env);
  assertEquals([general?.limits.idleTtlMs, general?.bridgeLimits?.idleTtlMs], [7_000, 5_000]);
  assertEquals([general?.origins.idleTtlMs, general?.bridgeOrigins?.idleTtlMs], ["env", "env"]);
  assertEquals([own?.bridgeLimits?.idleTtlMs, own?.bridgeOrigins?.idleTtlMs], [3_000, "file"]);
  assertEquals([never?.bridgeLimits?.idleTtlMs, never?.bridgeOrigins?.cleanup], [0, "file"]);
  const [off] = serve([{}], { DISABLE_BRIDGE_CLEANUP: "true" });
  assertEquals([off?.limits.idleTtlMs, off?.bridgeLimits?.idleTtlMs], [300_000, 0]);
  assertEquals(off?.bridgeOrigins?.idleTtlMs, "env");
});
