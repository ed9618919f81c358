/**
 * HTTP+SSE, the transport of revision 2024-11-05: `GET /sse/:serverId` and `POST /messages`.
 *
 * @module
 */
import { assert, assertEquals, assertExists, assertMatch } from "@std/assert";
import type { Session } from "../../actors/supervisor.ts";
import { INITIALIZE_MS } from "../../routes/legacy_door.ts";
import { STREAM_DEFAULTS } from "../../routes/outflow.ts";
import { AppHarness, type AppHarnessOptions, INITIALIZE, ORIGIN } from "../fakes/app_harness.ts";
import { Connection } from "../fakes/connection.ts";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import { settle } from "../fakes/fake_clock.ts";
import { PRINCIPAL, SERVER } from "../fakes/harness.ts";

type Headers = Readonly<Record<string, string>>;

/** A client of revision 2024-11-05, and what it talks to. */
class Client {
  readonly app: AppHarness;
  stream!: Connection;
  endpoint!: string;

  constructor(options: AppHarnessOptions = {}) {
    this.app = new AppHarness({ autoInitialize: false, ...options });
  }

  get #backends(): readonly FakeBackend[] {
    return this.app.harness.backends;
  }

  get backend(): FakeBackend {
    return this.app.harness.backend;
  }

  get session(): Session {
    const [session] = this.app.harness.supervisor.sessions;
    assertExists(session, "there is no session");
    return session;
  }

  get sessions(): number {
    return this.app.harness.supervisor.size;
  }

  async get(headers: Headers = {}): Promise<Response> {
    return await this.app.fetch(
      new Request(`${ORIGIN}/sse/${SERVER}`, { headers: { accept: "text/event-stream", ...headers } }),
    );
  }

  /** Opens the stream. */
  async connect(headers: Headers = {}): Promise<void> {
    const response = await this.get(headers);
    assertEquals(response.status, 200);
    this.stream = new Connection(response);
    await settle();
    this.endpoint = this.stream.events[0]!.data;
  }

  /** POSTs what may be no message. */
  async send(
    body: unknown,
    { headers = {}, endpoint = this.endpoint }: { headers?: Headers; endpoint?: string } = {},
  ): Promise<Response> {
    let response: Response | undefined;
    void this.app.fetch(
      new Request(new URL(endpoint, ORIGIN), {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    ).then((it) => response = it);
    for (let turn = 0; turn < 20 && response === undefined; turn++) await settle();
    assertExists(response, "the POST was not answered");
    return response;
  }

  /** Opens the stream and the session. */
  async open(): Promise<void> {
    await this.connect();
    assertEquals((await this.send(INITIALIZE)).status, 202);
    await this.agree();
    assertEquals(this.messages.at(-1)!.id, "init");
  }

  async agree(version = "2024-11-05"): Promise<void> {
    const { backend } = this;
    const opener = backend.received.find((message) => message.kind === "request");
    assert(opener?.kind === "request");
    const serverInfo = { name: "fake", version: "1" };
    backend.answer(opener.id, { protocolVersion: version, capabilities: {}, serverInfo });
    await settle();
  }

  async call(id: number): Promise<void> {
    const params = { name: "x", _meta: { progressToken: id } };
    const response = await this.send({ jsonrpc: "2.0", id, method: "tools/call", params });
    assertEquals([response.status, await response.text()], [202, ""]);
  }

  /** Messages that came, the endpoint aside. */
  get messages(): Record<string, unknown>[] {
    return this.stream.events.slice(1).map(({ data }) => JSON.parse(data));
  }

  async says(message: Record<string, unknown>): Promise<void> {
    this.backend.says(message);
    await settle();
  }

  async pass(ms: number): Promise<void> {
    await this.app.harness.clock.advance(ms);
  }

  /** Ends everything, and fails if something is left. */
  async stop(): Promise<void> {
    await this.app.stop();
    assertEquals(this.app.legacy?.size ?? 0, 0, "doors that are left");
    assertEquals(this.#backends.every(({ closed }) => closed), true);
  }
}

Deno.test("The stream begins with the URL to POST to, on which no id of anything is repeated", async () => {
  const [client, other] = [new Client(), new Client()];
  for (const each of [client, other]) await each.connect();
  assertMatch(client.endpoint, /^\/messages\?sessionId=[0-9a-f-]{36}$/);
  assert(client.endpoint !== other.endpoint);
  assertEquals([client.sessions, client.app.harness.backends.length], [0, 0]);
  for (const each of [client, other]) await each.stop();
});

Deno.test("A session opens with initialize, and all that is said to its client comes on the one stream, in order", async () => {
  const client = new Client();
  await client.open();
  assertEquals(client.session.kind, "sse");
  assertEquals((await client.send({ jsonrpc: "2.0", method: "notifications/initialized" })).status, 202);
  await client.call(1);
  await client.call(2);
  await client.says({ method: "notifications/progress", params: { progressToken: 1, progress: 1 } });
  await client.says({ method: "notifications/tools/list_changed" });
  await client.says({ id: "ask", method: "roots/list" });
  await client.says({ id: 2, result: {} });
  assertEquals((await client.send({ jsonrpc: "2.0", id: "ask", result: { roots: [] } })).status, 202);
  await client.says({ id: 1, error: { code: -1, message: "no" } });
  // With nothing in flight it is the standalone stream.
  await client.says({ method: "notifications/message", params: { level: "info", data: "x" } });
  assertEquals(
    client.messages.slice(1).map(({ id, method }) => method ?? id),
    [
      "notifications/progress",
      "notifications/tools/list_changed",
      "roots/list",
      2,
      1,
      "notifications/message",
    ],
  );
  assertEquals(
    client.backend.received.map((message) => message.kind === "response" ? message.id : message.method),
    [
      "initialize",
      "notifications/initialized",
      "tools/call",
      "tools/call",
      "ask",
    ],
  );
  assertEquals(client.stream.events.every(({ id, retry }) => id === undefined && retry === undefined), true);
  await client.stop();
});

for (const version of ["2024-10-07", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]) {
  Deno.test(`A client that agrees on ${version} is served without ids, whether it sends the version's header or not`, async () => {
    const client = new Client({ streams: { maxMs: 10_000 }, limits: { sseAfterMs: 0 } });
    await client.connect();
    await client.send(INITIALIZE);
    await client.agree(version);
    const headers = { "mcp-protocol-version": version };
    assertEquals((await client.send({ jsonrpc: "2.0", id: 1, method: "ping" }, { headers })).status, 202);
    await client.call(2);
    await client.pass(20_000);
    await client.says({ id: 2, result: {} });
    assertEquals(client.messages.map(({ id }) => id), ["init", 2]);
    assertEquals([client.stream.ended, client.stream.events.some(({ id }) => id !== undefined)], [
      false,
      false,
    ]);
    await client.stop();
  });
}

Deno.test("A client whose library reconnects, and does not initialize again, gets an implicit session", async () => {
  const client = new Client();
  await client.connect();
  const pending = client.send({ jsonrpc: "2.0", id: 7, method: "tools/list" });
  while (client.app.harness.backends.length === 0) await settle();
  await client.agree();
  assertEquals((await pending).status, 202);
  await client.says({ id: 7, result: {} });
  assertEquals(client.messages.map(({ id }) => id), [7]);
  // It does not end as one does whose client never came back: it holds the stream.
  await client.pass(60_000);
  assertEquals([client.session.state, client.stream.ended], ["active", false]);
  await client.stop();
});

Deno.test("Without implicit sessions a session begins with initialize, and the client may try again", async () => {
  const client = new Client({ implicitSessions: false });
  await client.connect();
  for (
    const message of [{ id: 1, method: "tools/list" }, { method: "notifications/initialized" }, {
      id: 1,
      result: {},
    }]
  ) {
    const response = await client.send({ jsonrpc: "2.0", ...message });
    assertEquals([response.status, (await response.json()).error.message], [
      400,
      "A session begins with initialize",
    ]);
  }
  await client.send(INITIALIZE);
  await client.agree();
  assertEquals(client.messages.map(({ id }) => id), ["init"]);
  await client.stop();
});

Deno.test("A second initialize is refused, and so is what comes while the session is being opened", async () => {
  const client = new Client({ admission: { maxSessions: 0 }, admissionWaitMs: 2_000 });
  await client.connect();
  const first = client.app.fetch(
    new Request(new URL(client.endpoint, ORIGIN), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(INITIALIZE),
    }),
  );
  for (let turn = 0; turn < 10; turn++) await settle();
  const second = await client.send({ jsonrpc: "2.0", id: 2, method: "ping" });
  assertEquals(second.status, 503);
  assertMatch((await second.json()).error.message, /it is being opened/);
  await client.pass(2_000);
  const refused = await first;
  assertEquals([refused.status, (await refused.json()).id], [503, "init"]);
  assertEquals([client.sessions, client.stream.ended], [0, false]);
  await client.stop();

  const open = new Client();
  await open.open();
  const again = await open.send({ ...INITIALIZE, id: "again" });
  assertEquals([again.status, (await again.json()).id], [400, "again"]);
  assertEquals(open.backend.methods, ["initialize"]);
  await open.stop();
});

Deno.test("A server's refusal of initialize comes on the stream, and ends it", async () => {
  const client = new Client();
  await client.connect();
  await client.send(INITIALIZE);
  await client.says({ id: "init", error: { code: -32602, message: "no" } });
  await settle();
  assertEquals(client.messages.map(({ id, error }) => [id, (error as { message: string }).message]), [[
    "init",
    "no",
  ]]);
  assertEquals([client.stream.ended, client.sessions, client.app.legacy!.size], [true, 0, 0]);
  await client.stop();
});

Deno.test("The end of the stream ends an idle session at once, with nothing left of it", async () => {
  const client = new Client();
  await client.open();
  const { session } = client;
  await client.stream.hangUp();
  await settle();
  assertEquals([session.endReason, client.sessions, client.backend.closed], ["client_gone", 0, true]);
  assertEquals(client.app.legacy!.size, 0);
  const late = await client.send({ jsonrpc: "2.0", id: 9, method: "ping" });
  assertEquals([late.status, (await late.json()).error.code], [404, -32001]);
  await client.stop();
});

Deno.test("A request in flight goes on when its client hangs up, and the session ends with it", async () => {
  const client = new Client();
  await client.open();
  await client.call(1);
  await client.call(2);
  const { session } = client;
  await client.stream.hangUp();
  assertEquals([session.state, session.inFlight, client.backend.closed], ["active", 2, false]);
  assertEquals(client.backend.methods.includes("notifications/cancelled"), false);
  await client.says({ id: 1, result: {} });
  assertEquals(session.state, "active");
  await client.says({ id: 2, result: {} });
  await settle();
  assertEquals([session.endReason, client.sessions], ["client_gone", 0]);
  await client.stop();
});

Deno.test("A request that is never answered keeps the session of a client that is gone up to its time-out", async () => {
  const client = new Client({ limits: { requestTimeoutMs: 120_000, idleTtlMs: 0 } });
  await client.open();
  await client.call(1);
  await client.stream.hangUp();
  await client.pass(119_999);
  assertEquals(client.sessions, 1);
  await client.pass(1);
  assertEquals([client.sessions, client.app.harness.clock.pending], [0, 0]);
  await client.stop();
});

Deno.test("A question to a client that is gone keeps nothing", async () => {
  const client = new Client();
  await client.open();
  await client.says({ id: "ask", method: "roots/list" });
  assertEquals(client.session.inFlight, 1);
  await client.stream.hangUp();
  await settle();
  assertEquals(client.sessions, 0);
  await client.stop();
});

Deno.test("A client that hangs up while it waits for a session leaves nothing, and its POST is answered", async () => {
  const client = new Client({ admission: { maxSessions: 0 }, admissionWaitMs: 60_000 });
  await client.connect();
  const pending = client.send(INITIALIZE);
  for (let turn = 0; turn < 5; turn++) await settle();
  await client.stream.hangUp();
  assertEquals((await pending).status, 404);
  await settle();
  await client.pass(60_000);
  assertEquals([client.sessions, client.app.harness.backends.length, client.app.legacy!.size], [0, 0, 0]);
  await client.stop();
});

Deno.test("The end of the session ends the stream; what was in flight is told why", async () => {
  const client = new Client();
  await client.open();
  await client.call(1);
  void client.session.end("admin");
  await settle();
  assertEquals(client.messages.at(-1)!.id, 1);
  assertEquals((client.messages.at(-1)!.error as { code: number }).code, -32001);
  assertEquals([client.stream.ended, client.app.legacy!.size], [true, 0]);
  await client.stop();
});

Deno.test("A session that expires ends its stream; one whose client answers pings does not expire", async () => {
  const client = new Client({ limits: { idleTtlMs: 100_000, onOpenStream: "ping" } });
  await client.open();
  await client.pass(100_000);
  const ping = client.messages.at(-1)!;
  assertEquals(ping.method, "ping");
  assertEquals((await client.send({ jsonrpc: "2.0", id: ping.id, result: {} })).status, 202);
  await client.pass(99_999);
  assertEquals(client.stream.ended, false);
  await client.pass(1 + 10_000);
  assertEquals([client.stream.ended, client.session.expired, client.app.legacy!.size], [true, true, 0]);
  await client.stop();
});

Deno.test("A door through which nobody comes is closed after a while, and costs no session", async () => {
  const client = new Client();
  await client.connect();
  await client.pass(INITIALIZE_MS - 1);
  assertEquals(client.stream.ended, false);
  await client.pass(1);
  assertEquals([client.stream.ended, client.app.legacy!.size, client.sessions], [true, 0, 0]);
  assertEquals(client.app.harness.clock.pending, 0);
  await client.stop();
});

Deno.test("Doors through which nobody came are bounded, for each principal and in all; others are not", async () => {
  const client = new Client();
  await client.open();
  const streams: Connection[] = [];
  for (let n = 0; n < 32; n++) streams.push(new Connection(await client.get()));
  const refused = await client.get();
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "5"]);
  await streams[0]!.hangUp();
  const again = await client.get();
  assertEquals(again.status, 200);
  await again.body!.cancel();
  await client.stop();
});

Deno.test("A frozen reader stops its server, and is cut: then the session ends", async () => {
  const client = new Client();
  const response = await client.get();
  const reader = response.body!.getReader();
  const first = new TextDecoder().decode((await reader.read()).value);
  client.endpoint = /data: (\S+)/.exec(first)![1]!;
  assertEquals((await client.send(INITIALIZE)).status, 202);
  await client.agree();
  const text = "x".repeat(STREAM_DEFAULTS.maxBufferBytes);
  await client.says({ method: "notifications/message", params: { text } });
  assertEquals(client.backend.paused, true);
  const { session } = client;
  await client.pass(STREAM_DEFAULTS.stallMs);
  await settle();
  assertEquals([session.endReason, client.app.legacy!.size], ["client_gone", 0]);
  await client.stop();
});

Deno.test("A shutdown ends doors, used and unused, and opens no more", async () => {
  const client = new Client();
  await client.open();
  const unused = new Connection(await client.get());
  await client.stop();
  await settle();
  assertEquals([client.stream.ended, unused.ended], [true, true]);
  assertEquals((await client.get()).status, 503);
});

Deno.test("Another principal's door does not exist, and neither does one of a server that is none of one's business", async () => {
  const identities = new Map([
    ["alice", { principal: "alice", servers: undefined, isAdmin: false }],
    ["bob", { principal: "bob", servers: undefined, isAdmin: false }],
    ["al", { principal: "alice", servers: new Set<string>(), isAdmin: false }],
  ]);
  const access: NonNullable<AppHarnessOptions["access"]> = () => ({
    denialOfPlace: () => undefined,
    denialOfPage: () => undefined,
    identify: (headers: globalThis.Headers) => identities.get(headers.get("authorization") ?? "")!,
  } as unknown as ReturnType<NonNullable<AppHarnessOptions["access"]>>);
  const client = new Client({ access });
  const alice = { authorization: "alice" };
  await client.connect(alice);
  const unknown = await client.send(INITIALIZE, {
    headers: alice,
    endpoint: "/messages?sessionId=00000000-0000-4000-8000-000000000000",
  });
  const text = await unknown.text();
  assertEquals(unknown.status, 404);
  for (const authorization of ["bob", "al"]) {
    const response = await client.send(INITIALIZE, { headers: { authorization } });
    assertEquals([response.status, await response.text()], [404, text]);
  }
  assertEquals((await client.get({ authorization: "al" })).status, 404);
  assertEquals((await client.send(INITIALIZE, { headers: alice })).status, 202);
  assertEquals([...client.app.harness.supervisor.sessions].map(({ principal }) => principal), ["alice"]);
  await client.stop();
});

Deno.test("LEGACY_SSE=false: there are no such pages", async () => {
  const client = new Client({ legacySse: false });
  assertEquals((await client.get()).status, 404);
  const posted = await client.send(INITIALIZE, { endpoint: "/messages?sessionId=x" });
  assertEquals([posted.status, posted.headers.get("content-type")], [404, "application/problem+json"]);
  assertMatch(await posted.text(), /No such page/);
  await client.stop();
});

const MIB = 1024 * 1024;
const PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
/** What is wrong, the request, its status, and what its body says. */
const HOSTILE: [
  string,
  { method?: string; path?: string; headers?: Headers; body?: string },
  number,
  RegExp,
][] = [
  ["a POST for the stream", { path: `/sse/${SERVER}`, body: PING }, 405, /"code":-32000/],
  ["a DELETE of the stream", { path: `/sse/${SERVER}`, method: "DELETE" }, 405, /not allowed/],
  ["a HEAD of the stream", { path: `/sse/${SERVER}`, method: "HEAD" }, 405, /^$/],
  ["a GET of the messages", { method: "GET" }, 405, /not allowed/],
  ["a PUT of a message", { method: "PUT", body: PING }, 405, /not allowed/],
  ["a server that is not there", { path: "/sse/none", method: "GET" }, 404, /No such server/],
  [
    "a server named like a member of objects",
    { path: "/sse/__proto__", method: "GET" },
    404,
    /No such server/,
  ],
  ["no server", { path: "/sse", method: "GET" }, 404, /No such page/],
  ["a path below", { path: `/sse/${SERVER}/x`, method: "GET" }, 404, /No such page/],
  [
    "no Accept of events",
    { path: `/sse/${SERVER}`, method: "GET", headers: { accept: "application/json" } },
    406,
    /Accept/,
  ],
  [
    "a modern client",
    { path: `/sse/${SERVER}`, method: "GET", headers: { "mcp-protocol-version": "2026-07-28" } },
    400,
    /-32022/,
  ],
  ["no session", { path: "/messages", body: PING }, 400, /sessionId is missing/],
  ["an empty session", { path: "/messages?sessionId=", body: PING }, 404, /Session not found/],
  [
    "an unknown session",
    { path: "/messages?sessionId=00000000-0000-4000-8000-000000000000", body: PING },
    404,
    /Session not found/,
  ],
  [
    "a long session",
    { path: `/messages?sessionId=${"9".repeat(10_000)}`, body: PING },
    404,
    /Session not found/,
  ],
  [
    "a session named like a member of objects",
    { path: "/messages?sessionId=__proto__", body: PING },
    404,
    /Session not found/,
  ],
  ["no body", { body: "" }, 400, /-32700/],
  ["no JSON", { body: "{" }, 400, /-32700/],
  ["a batch", { body: `[${PING}]` }, 400, /Batches belong to sessions of revision 2025-03-26 only/],
  ["no message", { body: '{"jsonrpc":"2.0","id":5}' }, 400, /"id":5,"error":\{"code":-32600/],
  ["deep JSON", { body: "[".repeat(200_000) }, 400, /-3[26]/],
  ["a large body", { body: `"${"x".repeat(4 * MIB)}"` }, 413, /at most/],
  [
    "a foreign content type of a page",
    { body: PING, headers: { "content-type": "text/plain", origin: ORIGIN } },
    415,
    /application\/json/,
  ],
  [
    "a version that nobody knows",
    { body: PING, headers: { "mcp-protocol-version": "1999-01-01" } },
    400,
    /not supported/,
  ],
  ["a modern message", { body: '{"jsonrpc":"2.0","id":1,"method":"server/discover"}' }, 400, /-32022/],
];
for (const [what, { method, path, headers, body }, status, says] of HOSTILE) {
  Deno.test(`HTTP+SSE, ${what}: ${status}, and the session goes on`, async () => {
    const client = new Client();
    await client.open();
    const before = client.backend.received.length;
    const response = await client.app.fetch(
      new Request(new URL(path ?? client.endpoint, ORIGIN), {
        method: method ?? "POST",
        headers: { "content-type": "application/json", ...headers },
        ...(body !== undefined && { body }),
      }),
    );
    assertEquals(response.status, status);
    assertMatch(await response.text(), says);
    assertEquals([client.backend.received.length, client.app.legacy!.size, client.sessions], [before, 1, 1]);
    await client.call(1);
    await client.says({ id: 1, result: {} });
    assertEquals(client.messages.at(-1)!.id, 1);
    await client.stop();
  });
}

Deno.test("A door of a session is found by its own URL only, not by the id that the session has at /mcp", async () => {
  const client = new Client();
  await client.open();
  const [, doorId] = client.endpoint.split("=");
  const { supervisor } = client.app.harness;
  assertEquals(supervisor.find(SERVER, doorId!, PRINCIPAL), undefined);
  const response = await client.send(PING, { endpoint: `/messages?sessionId=${client.session.id}` });
  assertEquals(response.status, 404);
  await client.stop();
});
