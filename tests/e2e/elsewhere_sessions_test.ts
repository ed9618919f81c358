/**
 * What is known to go wrong with the lives of sessions in other gateways and SDKs, and does not here. The README
 * has the table.
 *
 * Each test is named after the issue that it brings about again. That a time is over is shown by another session
 * that ended in it, not by a clock of the test's.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { publicHandle } from "../../actors/session_id.ts";
import { eventually } from "../fakes/eventually.ts";
import { fixture, program } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway, passMs, type ServerEntry } from "./gateway.ts";
import { initialize, messagesOf, type OpenStream, post, RawSession, type Wire } from "./raw_client.ts";

/** So long that nothing comes of it within a test. */
const NEVER_MS = 600_000;
const JSON_HEADERS = {
  "content-type": "application/json",
  accept: "application/json, text/event-stream",
};

const echo = (session = {}): ServerEntry => ({ ...fixture("echo_server"), session });

/** Waits for a session's end and returns why. */
async function endOf(gateway: Gateway, session: RawSession): Promise<string> {
  const line = await gateway.waitForLine(new RegExp(`Session ${publicHandle(session.id)} .* ended: `));
  return /ended: (\w+)/.exec(line)![1]!;
}

/** Opens a session, leaves it alone and waits until it is over: as long as a TTL. */
async function passTtl(gateway: Gateway, serverId = "echo"): Promise<void> {
  assertEquals(await endOf(gateway, await RawSession.open(gateway, serverId)), "idle");
}

/** The pings of the gateway's that came on a stream. */
function pingsOn(stream: OpenStream): Wire[] {
  return stream.messages.filter(({ method }) => method === "ping");
}

Deno.test("python-sdk#3228: requests that are refused leave no session and start no server", async () => {
  const token = { authorization: "Bearer a-token-of-some-length" };
  // Answers nothing but errors, whatever is asked.
  const refusing = 'while read -r line; do echo \'{"jsonrpc":"2.0","id":"init",' +
    '"error":{"code":-32603,"message":"not today"}}\'; done';
  await using gateway = await Gateway.start({
    servers: { echo: echo(), refusing: { ...program("sh", "-c", refusing) } },
    env: {
      ACCESS_TOKEN: "a-token-of-some-length",
      MAX_BODY_BYTES: "10000",
      BODY_TIMEOUT_MS: "300",
      IMPLICIT_SESSIONS: "false",
    },
  });
  const opening = JSON.stringify({ jsonrpc: "2.0", ...initialize() });
  const right = { ...JSON_HEADERS, ...token };
  const slow = new ReadableStream({ start: (body) => body.enqueue(new TextEncoder().encode("{")) });
  const refused: [status: number, init: RequestInit & { headers: Record<string, string> }][] = [
    [400, { headers: right, body: opening.slice(1) }],
    [400, { headers: right, body: "{}" }],
    [400, { headers: right, body: `[${opening}]` }],
    [400, { headers: right, body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' }],
    [400, { headers: right, body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' }],
    [400, { headers: { ...right, "mcp-protocol-version": "2026-07-28" }, body: opening }],
    [401, { headers: JSON_HEADERS, body: opening }],
    [401, { headers: { ...JSON_HEADERS, authorization: "Bearer wrong" }, body: opening }],
    [403, { headers: { ...right, origin: "https://evil.example" }, body: opening }],
    [406, { headers: { ...right, accept: "application/json" }, body: opening }],
    [406, { headers: { ...right, accept: "text/html" }, body: opening }],
    [408, { headers: right, body: slow }],
    [413, { headers: right, body: opening + " ".repeat(20_000) }],
    [415, { headers: { ...right, origin: gateway.origin, "content-type": "text/plain" }, body: opening }],
    [400, { method: "GET", headers: { ...token, accept: "text/event-stream" } }],
    [406, { method: "GET", headers: { ...token, accept: "text/html" } }],
    [400, { method: "DELETE", headers: token }],
    [404, {
      headers: { ...right, "mcp-session-id": crypto.randomUUID() },
      body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
    }],
    [405, { method: "PUT", headers: right, body: opening }],
  ];
  for (const [status, init] of refused) {
    const response = await fetch(gateway.url("echo"), { method: "POST", ...init });
    const text = await response.text();
    assertEquals([response.status, response.headers.get("mcp-session-id")], [status, null], text);
  }
  assertEquals(gateway.children(), []);
  assertEquals(gateway.linesLike(/Session/).filter((line) => !/Sessions of/.test(line)), []);

  // Refused by the server itself: it was started, and is given back.
  const { sessionId, message } = await post(gateway.url("refusing"), initialize(), { headers: token });
  assertEquals([sessionId, message?.error?.message], [null, "not today"]);
  await assertNoneLeft(gateway);
});

Deno.test("python-sdk#2455: a call that takes many idle times is answered, and its session lives", async () => {
  await using gateway = await Gateway.start({ servers: { echo: echo({ idleTtlMs: 800 }) } });
  const session = await RawSession.open(gateway, "echo");
  const state = { answered: false };
  const call = session.call("slow", { ms: 5_000 }).finally(() => state.answered = true);
  await passTtl(gateway);
  await passTtl(gateway);
  assert(!state.answered, "the call was over before two other sessions were");
  const { status, message } = await call;
  assertEquals([status, message?.result], [200, { content: [{ type: "text", text: "done" }] }]);
  assertEquals(await session.ping(), 200);
  assertEquals(await endOf(gateway, session), "idle");
});

Deno.test("toolhive#5117: a session that is used lives, be it by notifications or an answering stream alone", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: echo({ idleTtlMs: 1_500 }) },
    env: { IMPLICIT_TTL_MS: "1000" },
  });
  const notifying = await RawSession.open(gateway, "echo");
  const listening = await RawSession.open(gateway, "echo");
  await using stream = await listening.stream();
  const until = { done: false };
  const statuses = new Set<number>();
  const notes = (async () => {
    for (; !until.done; await passMs(200)) {
      statuses.add(await notifying.notify("notifications/roots/list_changed"));
    }
  })();
  const answers = (async () => {
    for (let answered = 0; !until.done; await passMs(20)) {
      const ping = pingsOn(stream)[answered];
      if (ping === undefined) continue;
      answered++;
      statuses.add(await listening.answer(ping.id!, {}));
    }
  })();
  // Requests without a session do not pile up either.
  for (let n = 0; n < 5; n++) {
    assertEquals((await post(gateway.url("echo"), { id: n, method: "tools/list" })).status, 200);
  }
  await passTtl(gateway);
  await passTtl(gateway);
  until.done = true;
  await Promise.all([notes, answers]);
  assertEquals(statuses, new Set([202]));
  assert(pingsOn(stream).length > 0, "it was asked");
  assertEquals([await notifying.ping(), await listening.ping()], [200, 200]);
  await eventually(() => gateway.linesLike(/ended: implicit/).length === 5, "the end of what has no session");
  await gateway.waitForChildren(2);
});

Deno.test("punkpeye#57: a session lives on when its connection rests for more than 5 s, or is closed", async () => {
  await using gateway = await Gateway.start({ servers: { echo: echo({ idleTtlMs: NEVER_MS }) } });
  const url = new URL(gateway.url("echo"));
  const ask = async (socket: Deno.TcpConn, message: Wire, sessionId?: string) => {
    const body = JSON.stringify({ jsonrpc: "2.0", ...message });
    const named = sessionId === undefined ? "" : `mcp-session-id: ${sessionId}\r\n`;
    const text = `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n${named}` +
      `content-type: application/json\r\naccept: application/json, text/event-stream\r\n` +
      `content-length: ${body.length}\r\n\r\n${body}`;
    await socket.write(new TextEncoder().encode(text));
    const answer = new Uint8Array(4096);
    return new TextDecoder().decode(answer.subarray(0, (await socket.read(answer)) ?? 0));
  };
  const connect = () => Deno.connect({ hostname: url.hostname, port: Number(url.port) });
  const idOf = (answer: string) => /^mcp-session-id: (\S+)/mi.exec(answer)![1]!;

  using kept = await connect();
  const first = idOf(await ask(kept, initialize()));
  const closed = await connect();
  const second = idOf(await ask(closed, initialize()));
  closed.close();
  await passMs(6_000);
  assertMatch(await ask(kept, { id: 1, method: "ping" }, first), /^HTTP\/1.1 200 /);
  using anew = await connect();
  for (const id of [first, second]) {
    assertMatch(await ask(anew, { id: 2, method: "ping" }, id), /^HTTP\/1.1 200 /);
  }
  assertEquals(gateway.linesLike(/ended/), []);
});

Deno.test("go-sdk#979: pings end no session whose client is busy, slow, or knows no ping", async () => {
  await using gateway = await Gateway.start({ servers: { echo: echo({ idleTtlMs: 1_200 }) } });
  const open = () => RawSession.open(gateway, "echo");
  const [busy, slow, ignorant, plain] = [await open(), await open(), await open(), await open()];
  await using busyStream = await busy.stream();
  await using slowStream = await slow.stream();
  await using ignorantStream = await ignorant.stream();
  // It answers no ping as long as it waits for its call, and it need not.
  const state = { answered: false };
  const call = busy.call("slow", { ms: 5_000 }).finally(() => state.answered = true);
  const pings = (async () => {
    const statuses = new Set<number>();
    for (; !state.answered; await passMs(200)) statuses.add(await plain.ping());
    return statuses;
  })();
  const pingOn = async (stream: OpenStream) => {
    const ping = await stream.message(({ method }) => method === "ping", "a ping");
    return ping.id!;
  };
  const late = (async () => {
    const id = await pingOn(slowStream);
    // Two TTLs.
    await passMs(2_400);
    return [await slow.answer(id, {}), await slow.ping()];
  })();
  const id = await pingOn(ignorantStream);
  const error = { code: -32601, message: "Method not found" };
  assertEquals((await post(gateway.url("echo"), { id, error }, { sessionId: ignorant.id })).status, 202);
  assertEquals(await ignorant.ping(), 200);
  assertEquals(await late, [202, 200]);
  assertEquals([state.answered, pingsOn(busyStream)], [false, []], "nobody is asked while a call goes on");
  assertEquals((await call).message?.result, { content: [{ type: "text", text: "done" }] });
  assertEquals(await pings, new Set([200]));
  assertEquals([await busy.ping(), await plain.ping()], [200, 200]);
});

Deno.test("mcphub, session long gone: it is 404 for every method, and no server is started for it", async () => {
  const servers = { echo: echo({ idleTtlMs: 1_000 }), other: echo() };
  const ids: Record<string, string> = { unknown: crypto.randomUUID() };
  {
    await using before = await Gateway.start({ servers });
    ids.restarted = (await RawSession.open(before, "echo")).id;
  }
  // One end is remembered, so of the session that was deleted nothing is known any more.
  await using gateway = await Gateway.start({ servers, env: { TOMBSTONES: "1" } });
  const deleted = await RawSession.open(gateway, "echo");
  assertEquals(await deleted.delete(), 204);
  const elsewhere = await RawSession.open(gateway, "other");
  const expired = await RawSession.open(gateway, "echo");
  assertEquals(await endOf(gateway, expired), "idle");
  Object.assign(ids, { deleted: deleted.id, expired: expired.id, elsewhere: elsewhere.id });
  await gateway.waitForChildren(1);

  const headers = { ...JSON_HEADERS };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  const note = JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" });
  for (const [what, id] of Object.entries(ids)) {
    const requests: RequestInit[] = [
      { method: "POST", body },
      { method: "POST", body: note },
      { method: "GET" },
      { method: "DELETE" },
    ];
    for (const request of requests) {
      const response = await fetch(gateway.url("echo"), {
        ...request,
        headers: { ...headers, "mcp-session-id": id },
      });
      const [message] = messagesOf(await response.text(), response.headers.get("content-type"));
      assertEquals(
        [response.status, message?.error?.code, response.headers.get("mcp-session-id")],
        [404, -32001, null],
        `${request.method} of the session that is ${what}`,
      );
    }
  }
  assertEquals(gateway.children().length, 1);
  assertEquals(gateway.linesLike(/ opened/).length, 3);
  // An `initialize` with the old id is a client that begins anew.
  const { status, sessionId } = await post(gateway.url("echo"), initialize(), { sessionId: deleted.id });
  assertEquals(status, 200);
  assert(sessionId !== null && !Object.values(ids).includes(sessionId));
  assertEquals(await elsewhere.ping(), 200);
});
