/**
 * The monitoring API of the real gateway with real servers.
 *
 * @module
 */
import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import { createHash } from "node:crypto";
import { publicHandle } from "../../actors/session_id.ts";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway } from "./gateway.ts";
import { initialize, OpenStream, post, RawSession } from "./raw_client.ts";

const TTL_MS = 2_000;
const SERVERS = {
  echo: { ...fixture("echo_server") },
  short: { ...fixture("echo_server"), session: { idleTtlMs: TTL_MS } },
};

/** Everything that was answered, to be searched for ids. */
const said: string[] = [];

interface Answered {
  readonly status: number;
  // deno-lint-ignore no-explicit-any
  readonly body: any;
}

async function ask(
  gateway: Gateway,
  path: string,
  { method = "GET", token, body }: { method?: string; token?: string; body?: string } = {},
): Promise<Answered> {
  const response = await fetch(gateway.origin + path, {
    method,
    headers: { ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    ...(body !== undefined && { body }),
  });
  const text = await response.text();
  said.push(text);
  return { status: response.status, body: JSON.parse(text) };
}

function assertNowhere(gateway: Gateway, ids: readonly string[]): void {
  for (const id of ids) {
    assertFalse(said.some((text) => text.includes(id)), "an id was shown");
    assertFalse(gateway.output.includes(id), "an id was logged");
  }
}

Deno.test("Sessions of real servers are listed, extended, ended and explained", async () => {
  await using gateway = await Gateway.start({ servers: SERVERS, env: { LOG_LEVEL: "debug" } });
  await gateway.waitForLine(/GET \/sessions is open: whoever can reach 127\.0\.0\.1/);
  await using events = await OpenStream.open(`${gateway.origin}/sessions/events`, {});
  const session = await RawSession.open(gateway, "echo");
  const pid = Number(await session.text("pid"));
  const idle = await RawSession.open(gateway, "short");
  const [handle, idleHandle] = [publicHandle(session.id), publicHandle(idle.id)];

  const list = (await ask(gateway, "/sessions")).body;
  // The idle one may have expired by now, on a slow machine.
  assert(list.sessions.some(({ id }: { id: string }) => id === handle));
  assertEquals(list.summary.limits.maxSessions, 1_000);
  const call = session.call("slow", { ms: 1_500 });
  await eventually(
    () => events.text.includes(idleHandle),
    "the events of the second session",
  );
  const { body } = await ask(gateway, `/sessions/${handle}`);
  assertEquals([body.backend.pid, body.state, body.serverId], [pid, "active", "echo"]);
  assert(body.backend.rssBytes > 1_000_000, `${body.backend.rssBytes} bytes are no server`);
  assert((await call).status === 200);

  const extended = await ask(gateway, `/sessions/${handle}/extend`, {
    method: "POST",
    body: '{"ms": 900000}',
  });
  assertEquals(extended.status, 200);
  assert(Date.parse(extended.body.deadline) > Date.parse(list.asOf) + 800_000);

  const deleted = await ask(gateway, `/sessions/${handle}`, { method: "DELETE" });
  assertEquals([deleted.status, deleted.body.state, deleted.body.end.reason], [200, "ended", "admin"]);
  const gone = await session.request("ping");
  assertEquals([gone.status, gone.message?.error?.data], [404, {
    reason: "admin",
    message: "The session is over: an administrator ended it",
    idleMs: deleted.body.end.idleMs,
    ttlMs: 300_000,
  }]);

  await gateway.waitForLine(new RegExp(`Session ${idleHandle} of server short ended: idle`));
  const { end, timeline } = (await ask(gateway, `/sessions/${idleHandle}`)).body;
  assertEquals([end.reason, end.by, end.ttl.effectiveMs, end.ttl.why], [
    "idle",
    "time",
    TTL_MS,
    `idleTtlMs is ${TTL_MS} (file)`,
  ]);
  assert(end.idleMs >= TTL_MS);
  assertEquals(timeline.map(({ event }: { event: string }) => event), [
    "opened",
    "active",
    "expired",
    "swept",
    "ended",
  ]);

  await eventually(() => events.text.includes("event: sweep"), "an event of the sweep");
  const ended = (await ask(gateway, "/sessions?state=ended")).body.sessions;
  assertEquals(ended.map(({ id }: { id: string }) => id).toSorted(), [handle, idleHandle].toSorted());
  said.push(events.text);
  assertMatch(events.text, new RegExp(`event: ended\nid: \\d+\ndata: .*"id":"${handle}".*"reason":"admin"`));
  assertMatch(
    events.text,
    new RegExp(`event: state\nid: \\d+\ndata: .*"id":"${idleHandle}".*"state":"expired"`),
  );
  const advice = (await ask(gateway, "/servers/short/ttl-advice?ttlMs=1000")).body;
  assertEquals([advice.configuredTtlMs, advice.advice.wouldExpire, advice.window.final], [TTL_MS, 1, 1]);

  assertNowhere(gateway, [session.id, idle.id]);
  // The stream is still open: it must not hold up the shutdown.
  await assertNoneLeft(gateway);
  await events.end();
});

Deno.test("Administrators see all sessions and end many; others see and end their own", async () => {
  const tokens = { ann: "ann-has-a-long-token", bob: "bob-has-a-long-token", admin: "root-has-a-long-token" };
  const digest = (token: string) => createHash("sha256").update(token).digest("hex");
  await using gateway = await Gateway.start({
    servers: SERVERS,
    files: {
      "tokens.json": JSON.stringify({
        tokens: [
          { principal: "ann", sha256: digest(tokens.ann) },
          { principal: "bob", sha256: digest(tokens.bob) },
        ],
      }),
    },
    env: { ACCESS_TOKENS_FILE: "tokens.json", ADMIN_TOKEN: tokens.admin },
  });
  await gateway.waitForLine(/GET \/sessions needs ADMIN_TOKEN for all sessions; holders of other tokens/);
  const open = async (who: keyof typeof tokens) => {
    const headers = { authorization: `Bearer ${tokens[who]}` };
    return (await post(gateway.url("echo"), initialize(), { headers })).sessionId!;
  };
  const [anns, bobs, bobsToo] = [await open("ann"), await open("bob"), await open("bob")];
  const list = async (who: keyof typeof tokens, query = "") => {
    const { body } = await ask(gateway, `/sessions${query}`, { token: tokens[who] });
    return body.sessions.map(({ id }: { id: string }) => id).toSorted();
  };
  const handles = (...ids: string[]) => ids.map(publicHandle).toSorted();
  assertEquals(await list("admin"), handles(anns, bobs, bobsToo));
  assertEquals(await list("ann"), handles(anns));
  assertEquals(await list("bob"), handles(bobs, bobsToo));
  assertEquals((await ask(gateway, "/sessions")).status, 401);
  const asBob = { token: tokens.bob, method: "DELETE" };
  assertEquals((await ask(gateway, `/sessions/${publicHandle(anns)}`, asBob)).status, 404);
  const own = await ask(gateway, `/sessions/${publicHandle(bobs)}`, asBob);
  assertEquals([own.status, own.body.endReason], [200, "client_delete"]);
  const path = "/sessions?serverId=echo";
  const dry = await ask(gateway, `${path}&dryRun=true`, { token: tokens.admin, method: "DELETE" });
  assertEquals([dry.body.ended, (await list("admin")).length], [2, 2]);
  const all = await ask(gateway, path, { token: tokens.admin, method: "DELETE" });
  assertEquals([all.body.sessions.toSorted(), all.body.reason], [handles(anns, bobsToo), "admin"]);
  assertEquals(await list("admin"), []);
  assertEquals(await list("ann", "?state=ended"), handles(anns));
  assertNowhere(gateway, [anns, bobs, bobsToo]);
  await assertNoneLeft(gateway);
});

Deno.test("The start says who may see and end sessions", async () => {
  const token = "a-token-of-some-length";
  for (
    const [env, line] of [
      [{ ACCESS_TOKEN: token }, /sessions shows holders of tokens their own sessions; nobody administers/],
      [
        { ADMIN_TOKEN: token },
        /sessions needs ADMIN_TOKEN for all sessions; those without a token see their own/,
      ],
      [
        { HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true" },
        /\[WARN\] GET \/sessions is open: whoever can reach 0\.0\.0\.0 may see and end every session/,
      ],
    ] as const
  ) {
    await using gateway = await Gateway.start({ servers: SERVERS, env });
    await gateway.waitForLine(line);
  }
});
