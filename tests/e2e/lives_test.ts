/**
 * Nothing in use dies, and everything idle does: real children, a TTL of 3 s, a call of 10 s and steady pings.
 *
 * That something was over in time is shown by what was still going on then, not by a clock of the test's: the call
 * takes more than three TTLs.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { publicHandle } from "../../actors/session_id.ts";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway, passMs } from "./gateway.ts";
import { initialize, type OpenStream, post, RawSession } from "./raw_client.ts";

const TTL_MS = 3_000;
const CALL_MS = 10_000;
const SERVERS = {
  echo: { ...fixture("echo_server"), session: { idleTtlMs: TTL_MS } },
  // Their clients are not asked whether they are there.
  strict: { ...fixture("echo_server"), session: { idleTtlMs: TTL_MS, onOpenStream: "expire" } },
};

/** What the client of a session that is over is told. */
interface Explanation {
  readonly reason: string;
  readonly message: string;
  readonly idleMs: number;
  readonly ttlMs: number;
}

async function explanationOf(session: RawSession): Promise<Explanation> {
  const { status, message } = await session.request("ping");
  assertEquals([status, message?.error?.code, message?.error?.message], [404, -32001, "Session not found"]);
  return message!.error!.data as Explanation;
}

async function endOf(gateway: Gateway, session: RawSession): Promise<string> {
  return await gateway.waitForLine(new RegExp(`Session ${publicHandle(session.id)} of server \\w+ ended`));
}

/** Answers every ping on a stream, as an SDK does, until the stream ends. */
async function answerPings(
  stream: OpenStream,
  session: RawSession,
  until: { done: boolean },
): Promise<number> {
  const answered = new Set<unknown>();
  while (!until.done) {
    for (const { id, method } of stream.messages) {
      if (method !== "ping" || answered.has(id)) continue;
      answered.add(id);
      assertEquals(await session.answer(id!, {}), 202);
    }
    await passMs(50);
  }
  return answered.size;
}

Deno.test("Nothing in use dies and everything idle does", async () => {
  await using gateway = await Gateway.start({ servers: SERVERS, env: { LOG_LEVEL: "debug" } });
  const open = (serverId = "echo") => RawSession.open(gateway, serverId);
  const [calling, pinging, reading, idle] = [await open(), await open(), await open(), await open()];
  const [halfOpen, strict] = [await open(), await open("strict")];
  const until = { done: false };
  await using readers = await reading.stream();
  await using half = await halfOpen.stream();
  await using strictStream = await strict.stream();
  assertEquals(gateway.children().length, 6);

  const call = calling.call("slow", { ms: CALL_MS }).finally(() => until.done = true);
  const pings = (async () => {
    let sent = 0;
    for (; !until.done; sent++) {
      assertEquals(await pinging.ping(), 200);
      await passMs(TTL_MS / 6);
    }
    return sent;
  })();
  const answers = answerPings(readers, reading, until);
  // What is idle is over, its server gone, while the call goes on.
  assertMatch(await endOf(gateway, idle), /ended: idle/);
  assertMatch(await endOf(gateway, strict), /ended: idle/);
  await strictStream.end();
  await gateway.waitForChildren(4);
  assert(!until.done, "the call was over before the idle sessions were");
  const { reason, idleMs, ttlMs } = await explanationOf(idle);
  assertEquals([reason, ttlMs], ["idle", TTL_MS]);
  assert(idleMs >= TTL_MS, `it expired ${TTL_MS - idleMs} ms early`);

  assertEquals((await call).message?.result, { content: [{ type: "text", text: "done" }] });
  assert(await pings >= 6);
  assert(await answers >= 2, "a client that answers was asked at each deadline");
  assertEquals(await pinging.ping(), 200);
  // The one who never answers was asked once, and has gone by now or goes soon.
  assertMatch(await endOf(gateway, halfOpen), /ended: idle/);
  await half.end();
  assertEquals(half.messages.filter(({ method }) => method === "ping").length, 1);
  // Now all of them are idle.
  for (const session of [calling, pinging, reading]) {
    assertMatch(await endOf(gateway, session), /ended: idle/);
    const { reason, idleMs } = await explanationOf(session);
    assert(reason === "idle" && idleMs >= TTL_MS, `${reason} after ${idleMs} ms`);
  }
  await assertNoneLeft(gateway);
});

Deno.test("A session ends at its maximum lifetime, used or not, after the call in flight", async () => {
  const session = { idleTtlMs: TTL_MS, maxLifetimeMs: 2_000 };
  await using gateway = await Gateway.start({ servers: { echo: { ...fixture("echo_server"), session } } });
  const used = await RawSession.open(gateway, "echo");
  const call = used.call("slow", { ms: 3_500 });
  let status = await used.ping();
  while (status === 200) {
    await passMs(50);
    status = await used.ping();
  }
  assertEquals(status, 404);
  assertEquals(gateway.linesLike(/ended/), [], "the call is still in flight");
  assertEquals((await call).status, 200);
  assertMatch(await endOf(gateway, used), /ended: max_lifetime/);
  assertEquals((await explanationOf(used)).reason, "max_lifetime");
  await assertNoneLeft(gateway);
});

Deno.test("A call that times out is answered, cancelled at the server, and leaves its session in use", async () => {
  const session = { requestTimeoutMs: 600 };
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), session } },
    env: { SSE_AFTER_MS: "60000" },
  });
  const client = await RawSession.open(gateway, "echo");
  const { status, message } = await client.call("slow", { ms: 600_000 });
  assertEquals([status, message?.error?.code], [504, -32000]);
  assertMatch(message!.error!.message, /tools\/call took more than 600 ms/);
  // With progress it takes far longer than one time-out.
  const { messages } = await client.request("tools/call", {
    name: "progress",
    arguments: { n: 12, everyMs: 150 },
    _meta: { progressToken: "p" },
  });
  assertEquals(messages.at(-1)?.result, { content: [{ type: "text", text: "done" }] });
  assertEquals(messages.length, 13);
});

Deno.test("The end of a session is explained to its own client and to nobody else", async () => {
  await using gateway = await Gateway.start({
    servers: SERVERS,
    files: {
      "tokens.json": JSON.stringify({
        tokens: [
          { principal: "ann", sha256: await sha256("ann-has-a-long-token") },
          { principal: "bob", sha256: await sha256("bob-has-a-long-token") },
        ],
      }),
    },
    env: { ACCESS_TOKENS_FILE: "tokens.json" },
  });
  const as = (name: string) => ({ headers: { authorization: `Bearer ${name}-has-a-long-token` } });
  const { sessionId } = await post(gateway.url("echo"), initialize(), as("ann"));
  await gateway.waitForLine(/ended: idle/);
  const ping = { id: 1, method: "ping" };
  const own = await post(gateway.url("echo"), ping, { sessionId: sessionId!, ...as("ann") });
  assertEquals((own.message?.error?.data as Explanation).reason, "idle");
  for (const [serverId, name] of [["echo", "bob"], ["strict", "ann"]] as const) {
    const { status, message } = await post(gateway.url(serverId), ping, {
      sessionId: sessionId!,
      ...as(name),
    });
    assertEquals([status, message?.error], [404, { code: -32001, message: "Session not found" }]);
  }
});

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}
