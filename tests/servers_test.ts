import { assert, assertEquals } from "@std/assert";
import { ProcessTable } from "../backends/process_table.ts";
import { loadConfig, type ServerConfig, type Settings } from "../config/mod.ts";
import { intervalFor, maxBodyBytesOf, supervisedServers, sweepIntervalMs } from "../servers.ts";
import { FakeClock } from "./fakes/fake_clock.ts";

const STDIO = { type: "stdio", command: "true", args: [], env: {}, cwd: "/" } as const;
const NOTHING_SET = {
  idleTtlMs: undefined,
  requestTimeoutMs: undefined,
  maxBodyBytes: undefined,
  cleanup: true,
};

function settings(env: Record<string, string> = {}): Settings {
  const config = loadConfig({ args: [], env, cwd: "/nowhere" });
  assert(config.kind === "run");
  return config.settings;
}

function serve(servers: Partial<ServerConfig>[], env?: Record<string, string>) {
  const clock = new FakeClock();
  const configs = servers.map((server, n) => ({
    id: `s${n}`,
    transport: STDIO,
    disabled: false,
    session: NOTHING_SET,
    ...server,
  }));
  return supervisedServers({ settings: settings(env), servers: configs }, {
    clock,
    processes: new ProcessTable({ clock }),
  });
}

// [the server's own, the environment, the TTL in force].
const TTLS: [Partial<ServerConfig["session"]>, Record<string, string>, number][] = [
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

Deno.test("A server's request time-out comes before the gateway's", () => {
  const [own, general] = serve([{ session: { ...NOTHING_SET, requestTimeoutMs: 5 } }, {}], {
    REQUEST_TIMEOUT_MS: "9",
  });
  assertEquals([own?.limits.requestTimeoutMs, general?.limits.requestTimeoutMs], [5, 9]);
});

Deno.test("A server's own bound of bodies comes before the gateway's, which also holds for servers unknown", () => {
  const own = { id: "own", transport: STDIO, disabled: false, session: { ...NOTHING_SET, maxBodyBytes: 5 } };
  const maxBytes = maxBodyBytesOf({
    settings: settings({ MAX_BODY_BYTES: "9" }),
    servers: [own, { ...own, id: "general", session: NOTHING_SET }],
  });
  assertEquals(["own", "general", "__proto__"].map(maxBytes), [5, 9, 9]);
});

Deno.test("Disabled servers are not served; remote ones are, with the reason why they cannot be opened", () => {
  const remote = { type: "http", url: "https://example.com/mcp", headers: {} } as const;
  const servers = serve([{ disabled: true }, { transport: remote }, {}]);
  assertEquals(servers.map(({ id }) => id), ["s1", "s2"]);
  assertEquals(typeof servers[1]?.backend, "function");
  const refusal = servers[0]?.backend;
  assert(typeof refusal === "object" && refusal.code === "serverNotServed");
});

Deno.test("The sweep interval is a third of the shortest TTL that is in force, and there is none without", () => {
  const ttl = (idleTtlMs: number) => ({ session: { ...NOTHING_SET, idleTtlMs } });
  assertEquals(sweepIntervalMs(serve([ttl(300_000)])), 100_000);
  assertEquals(sweepIntervalMs(serve([ttl(0), ttl(900_000), ttl(3_000)])), 1_000);
  assertEquals(sweepIntervalMs(serve([ttl(0)])), undefined);
  assertEquals(sweepIntervalMs([]), undefined);
});

for (
  const [ttlMs, intervalMs] of [[1, 1], [2, 1], [3, 1], [4, 1], [6, 2], [299_999, 99_999], [
    300_000,
    100_000,
  ]] as const
) {
  Deno.test(`A TTL of ${ttlMs} ms is swept for every ${intervalMs} ms`, () =>
    assertEquals(intervalFor(ttlMs), intervalMs));
}
