/**
 * Limits and quarantine with real children: what is refused, what it is told, and that nothing of it is left.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway } from "./gateway.ts";
import { initialize, post, RawSession } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };
const HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };

/** POSTs `initialize` and returns the response. */
async function knock(gateway: Gateway, serverId = "echo", signal?: AbortSignal): Promise<Response> {
  const response = await fetch(gateway.url(serverId), {
    method: "POST",
    headers: HEADERS,
    body: JSON.stringify({ jsonrpc: "2.0", ...initialize() }),
    ...(signal && { signal }),
  });
  await response.clone().text();
  return response;
}

Deno.test("20 openings at once at MAX_SESSIONS 5 open exactly 5; the others are told why and when to come again", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { MAX_SESSIONS: "5", ADMISSION_WAIT_MS: "300", STREAM_SESSION_TTL_MS: "60000" },
  });
  const responses = await Promise.all(Array.from({ length: 20 }, () => knock(gateway)));
  const opened = responses.filter(({ status }) => status === 200);
  const refused = responses.filter(({ status }) => status === 503);
  assertEquals([opened.length, refused.length], [5, 15]);
  assertEquals(gateway.children().length, 5);
  for (const response of refused) {
    assertEquals(response.headers.get("mcp-session-id"), null);
    const seconds = Number(response.headers.get("retry-after"));
    assert(seconds >= 1 && seconds <= 60, `Retry-After: ${seconds}`);
    assertEquals((await response.json()).error, {
      code: -32000,
      message: "No more sessions can be opened now: MAX_SESSIONS is 5",
    });
  }
  // One goes, one may come.
  const [first] = opened;
  const waiting = knock(gateway);
  await fetch(gateway.url("echo"), {
    method: "DELETE",
    headers: { "mcp-session-id": first!.headers.get("mcp-session-id")! },
  });
  assertEquals((await waiting).status, 200);
});

Deno.test("An idle session makes room where its server allows it, one in use does not", async () => {
  const session = { maxSessions: 1, evictable: true };
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), session } },
    env: { ADMISSION_WAIT_MS: "200" },
  });
  const busy = await RawSession.open(gateway, "echo");
  const call = busy.call("slow", { ms: 2_000 });
  await gateway.waitForChildren(1);
  assertEquals((await knock(gateway)).status, 503);
  assertEquals((await call).status, 200);
  assertEquals((await knock(gateway)).status, 200);
  const { status, message } = await busy.request("ping");
  assertEquals(status, 404);
  assertEquals((message!.error!.data as { reason: string }).reason, "evicted");
  await gateway.waitForChildren(1);
});

Deno.test("A client that goes away while it waits is not served behind its back", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { MAX_SESSIONS: "1", ADMISSION_WAIT_MS: "20000", LOG_LEVEL: "debug" },
  });
  const session = await RawSession.open(gateway, "echo");
  const abort = new AbortController();
  const gone = knock(gateway, "echo", abort.signal).catch(() => "gone");
  const next = knock(gateway);
  // Both wait.
  assertEquals(await session.ping(), 200);
  abort.abort();
  assertEquals(await gone, "gone");
  await gateway.waitForLine(/A client went away while it waited/);
  await session.delete();
  assertEquals((await next).status, 200);
  await gateway.waitForChildren(1);
  assertEquals(gateway.linesLike(/ of server echo opened/).length, 2);
});

Deno.test("A server that dies at every start is left alone for a while, and others are served", async () => {
  await using gateway = await Gateway.start({ servers: { ...ECHO, exits: { ...fixture("exits") } } });
  const statuses: number[] = [];
  for (let n = 0; n < 7; n++) statuses.push((await knock(gateway, "exits")).status);
  assertEquals(statuses, [502, 502, 502, 502, 502, 502, 503]);
  await gateway.waitForLine(/Server exits is in quarantine for 1000ms: server "exits" /);
  const response = await knock(gateway, "exits");
  // The pause may be over by now, and this the one who tries.
  assert(response.status === 503 || response.status === 502);
  if (response.status === 503) {
    assertMatch(
      (await response.json()).error.message,
      /^Server keeps failing and is given a pause: server "exits" /,
    );
    assert(Number(response.headers.get("retry-after")) >= 1);
  }
  const session = await RawSession.open(gateway, "echo");
  assertEquals(await session.ping(), 200);
  assertEquals(await session.delete(), 204);
  await assertNoneLeft(gateway);
});

Deno.test("One request too many of a session gets 429 and reaches nobody", async () => {
  const session = { maxInFlightPerSession: 2 };
  await using gateway = await Gateway.start({ servers: { echo: { ...fixture("echo_server"), session } } });
  const client = await RawSession.open(gateway, "echo");
  const slow = [client.call("slow", { ms: 4_000 }), client.call("slow", { ms: 4_000 })];
  // Two connections take their time to be there.
  for (let inFlight = 0; inFlight < 2;) {
    const { sessions } = await (await fetch(`${gateway.origin}/sessions`)).json();
    inFlight = sessions[0].inFlight;
  }
  const { status, message } = await post(gateway.url("echo"), { id: "x", method: "ping" }, {
    sessionId: client.id,
  });
  assertEquals([status, message?.error?.message], [
    429,
    "Too many requests of this session wait for an answer: maxInFlightPerSession is 2",
  ]);
  assertEquals((await Promise.all(slow)).map(({ status }) => status), [200, 200]);
  assertEquals(await client.ping(), 200);
});
