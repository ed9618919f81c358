import { assert, assertEquals, assertExists, assertStringIncludes } from "@std/assert";
import { createApp } from "../../routes/app.ts";
import { Harness, type HarnessOptions, LIMITS, SERVER } from "../fakes/harness.ts";
import { openAccess } from "../fakes/access.ts";
import { settle } from "../fakes/fake_clock.ts";

const URL_OF_SERVER = `http://localhost/mcp/${SERVER}`;
const INITIALIZE = {
  jsonrpc: "2.0",
  id: "init",
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
};

/** The application over a supervisor with fake backends. */
function start(options?: HarnessOptions & { implicitSessions?: boolean }) {
  const harness = new Harness(options);
  const app = createApp({
    access: openAccess(harness.clock),
    supervisor: harness.supervisor,
    clock: harness.clock,
    implicitSessions: options?.implicitSessions ?? true,
  });
  const send = async (method: string, init: RequestInit & { path?: string } = {}) =>
    await app(new Request(init.path ? `http://localhost${init.path}` : URL_OF_SERVER, { method, ...init }));
  const post = (body: unknown, headers: Record<string, string> = {}) =>
    send("POST", {
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers,
      },
    });
  const open = async () => {
    const response = await post(INITIALIZE);
    await response.body?.cancel();
    const id = response.headers.get("mcp-session-id");
    assertExists(id);
    return { "mcp-session-id": id };
  };
  /** Ends every session, so that no test leaves a stream behind. */
  const stop = async () => {
    const done = harness.supervisor.shutDown(0);
    await harness.clock.advance(1);
    await done;
  };
  return { harness, send, post, open, stop };
}

async function errorOf(
  response: Response,
): Promise<{ status: number; code: number; message: string; id: unknown }> {
  const { id, error } = await response.json();
  return { status: response.status, code: error.code, message: error.message, id };
}

Deno.test("initialize is answered as JSON, with the session's id in the header", async () => {
  const { post, stop } = start();
  const response = await post(INITIALIZE);
  assertEquals(response.status, 200);
  assertEquals(response.headers.get("content-type"), "application/json");
  assert(/^[\x21-\x7e]{20,}$/.test(response.headers.get("mcp-session-id") ?? ""));
  assertEquals((await response.json()).id, "init");
  await stop();
});

Deno.test("The server's answer goes out as the text that it is", async () => {
  const { harness, post, open, stop } = start();
  const session = await open();
  const pending = post('{"jsonrpc":"2.0",\r\n "id":1,\n "method":"tools/list"}', session);
  await settle();
  const text = '{"jsonrpc":"2.0","id":1,"result":{"big":12345678901234567890,"a":1.0}}';
  const { parseMessage } = await import("../../protocol/jsonrpc.ts");
  const message = parseMessage(text);
  assert(message.kind === "response");
  harness.backend.events.message(message);
  assertEquals(await (await pending).text(), text);
  const received = harness.backend.received.at(-1)!;
  assert(!received.text.includes("\n") && !received.text.includes("\r"));
  await stop();
});

for (
  const [what, body] of [
    ["A notification", { jsonrpc: "2.0", method: "notifications/initialized" }],
    ["A response", { jsonrpc: "2.0", id: 3, result: {} }],
  ] as const
) {
  Deno.test(`${what} is accepted with 202 and no body`, async () => {
    const { post, open, stop } = start();
    const response = await post(body, await open());
    assertEquals([response.status, await response.text()], [202, ""]);
    await stop();
  });

  Deno.test(`${what} without a session header is a 400 and opens nothing`, async () => {
    const { harness, post, stop } = start();
    assertEquals((await errorOf(await post(body))).status, 400);
    assertEquals(harness.backends.length, 0);
    await stop();
  });
}

Deno.test("Progress turns the reply into a stream that ends with the answer", async () => {
  const { harness, post, open, stop } = start();
  const session = await open();
  const pending = post(
    { jsonrpc: "2.0", id: 1, method: "tools/call", params: { _meta: { progressToken: "t" } } },
    session,
  );
  await settle();
  harness.backend.says({ method: "notifications/progress", params: { progressToken: "t", progress: 1 } });
  const response = await pending;
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  harness.backend.answer(1, { ok: true });
  const events = (await response.text()).trim().split("\n\n");
  assertEquals(events.length, 2);
  assertStringIncludes(events[0]!, "notifications/progress");
  assertEquals(events[1], 'event: message\ndata: {"jsonrpc":"2.0","id":1,"result":{"ok":true}}');
  await stop();
});

Deno.test("An answer slower than SSE_AFTER_MS comes on a stream, kept alive by comments", async () => {
  const { harness, post, open, stop } = start();
  const session = await open();
  const pending = post({ jsonrpc: "2.0", id: 1, method: "tools/call" }, session);
  await harness.clock.advance(LIMITS.sseAfterMs);
  const response = await pending;
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const first = reader.read();
  await harness.clock.advance(15_000);
  assertEquals((await first).value, ": keep-alive\n\n");
  harness.backend.answer(1);
  assertStringIncludes((await reader.read()).value ?? "", '"id":1');
  assertEquals((await reader.read()).done, true);
  await stop();
});

Deno.test("GET streams what the server says by itself, and a client that hangs up frees it", async () => {
  const { harness, send, open, stop } = start();
  const session = await open();
  const response = await send("GET", { headers: { ...session, accept: "text/event-stream" } });
  assertEquals([response.status, response.headers.get("content-type")], [200, "text/event-stream"]);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  harness.backend.says({ method: "notifications/tools/list_changed" });
  assertStringIncludes((await reader.read()).value ?? "", "list_changed");
  await reader.cancel();
  harness.backend.says({ method: "notifications/n" });
  await settle();
  const again = await send("GET", { headers: { ...session, accept: "text/event-stream" } });
  const second = again.body!.pipeThrough(new TextDecoderStream()).getReader();
  assertStringIncludes((await second.read()).value ?? "", "notifications/n");
  await second.cancel();
  await stop();
});

Deno.test("DELETE ends the session with 204; from then on everything on it is 404", async () => {
  const { harness, send, post, open, stop } = start();
  const session = await open();
  assertEquals((await send("DELETE", { headers: session })).status, 204);
  await settle();
  assertEquals(harness.backend.closes.length, 1);
  assertEquals(harness.supervisor.size, 0);
  const ping = { jsonrpc: "2.0", id: 4, method: "ping" };
  assertEquals(await errorOf(await post(ping, session)), {
    status: 404,
    code: -32001,
    message: "Session not found",
    id: 4,
  });
  assertEquals((await errorOf(await send("DELETE", { headers: session }))).status, 404);
  const get = await send("GET", { headers: { ...session, accept: "text/event-stream" } });
  assertEquals((await errorOf(get)).status, 404);
  await stop();
});

Deno.test("A client is told why its own session is over, and of an unknown one nothing", async () => {
  const { harness, send, post, open, stop } = start();
  const [expired, ended] = [await open(), await open()];
  await send("DELETE", { headers: ended });
  await harness.clock.advance(LIMITS.idleTtlMs);
  const ping = { jsonrpc: "2.0", id: 4, method: "ping" };
  const errorOf = async (headers: Readonly<Record<string, string>>) => {
    const response = await post(ping, headers);
    assertEquals(response.status, 404);
    return (await response.json()).error;
  };
  const unknown = { code: -32001, message: "Session not found" };
  assertEquals(await errorOf({ "mcp-session-id": crypto.randomUUID() }), unknown);
  assertEquals(await errorOf(expired), {
    ...unknown,
    data: {
      reason: "idle",
      message: "The session is over: it was idle for longer than its TTL",
      idleMs: LIMITS.idleTtlMs,
      ttlMs: LIMITS.idleTtlMs,
    },
  });
  assertEquals(await errorOf(ended), {
    ...unknown,
    data: {
      reason: "client_delete",
      message: "The session is over: its client sent DELETE",
      idleMs: 0,
      ttlMs: LIMITS.idleTtlMs,
    },
  });
  await stop();
});

Deno.test("initialize with the id of a session that is gone opens a new one", async () => {
  const { harness, post, open, stop } = start();
  const session = await open();
  await harness.clock.advance(LIMITS.idleTtlMs);
  for (const stale of [session, { "mcp-session-id": "never-seen" }]) {
    const response = await post(INITIALIZE, stale);
    assertEquals(response.status, 200);
    await response.body?.cancel();
    assert(response.headers.get("mcp-session-id") !== stale["mcp-session-id"]);
  }
  await stop();
});

Deno.test("A request without a session header opens an implicit session and names it", async () => {
  const { harness, post, stop } = start();
  const pending = post({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} });
  await settle();
  harness.backend.answer(1, { tools: [] });
  const response = await pending;
  assertEquals(response.status, 200);
  assertExists(response.headers.get("mcp-session-id"));
  assertEquals((await response.json()).result, { tools: [] });
  const [initialize] = harness.backend.received;
  assert(initialize?.kind === "request" && initialize.params?.protocolVersion === "2025-03-26");
  await stop();
});

Deno.test("An implicit session initializes with the version of the header", async () => {
  const { harness, post, stop } = start();
  const pending = post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-protocol-version": "2025-11-25" });
  await settle();
  harness.backend.answer(1);
  await (await pending).body?.cancel();
  const [initialize] = harness.backend.received;
  assert(initialize?.kind === "request" && initialize.params?.protocolVersion === "2025-11-25");
  await stop();
});

Deno.test("With IMPLICIT_SESSIONS=false a request without a session header is a 400", async () => {
  const { harness, post, stop } = start({ implicitSessions: false });
  const error = await errorOf(await post({ jsonrpc: "2.0", id: 1, method: "ping" }));
  assertEquals([error.status, error.code], [400, -32000]);
  assertEquals(harness.backends.length, 0);
  await stop();
});

// Refusals: [what, request, status, JSON-RPC code, part of the message].
const REFUSALS: [
  string,
  { method?: string; path?: string; body?: string; headers?: Record<string, string> },
  number,
  number,
  string,
][] = [
  ["an unknown server", { path: "/mcp/nope", body: "{}" }, 404, -32000, '"nope"'],
  ["a method that MCP has not", { method: "PUT", body: "{}" }, 405, -32000, "PUT"],
  ["a body that is no JSON", { body: "{" }, 400, -32700, "JSON"],
  ["an empty body", { body: "" }, 400, -32700, "JSON"],
  ["JSON that is no message", { body: '{"jsonrpc":"1.0","id":1,"method":"ping"}' }, 400, -32600, "jsonrpc"],
  ["a batch", { body: "[]" }, 400, -32600, "Batches"],
  [
    "an Accept header without event streams",
    { headers: { accept: "application/json" }, body: "{}" },
    406,
    -32000,
    "Accept",
  ],
  [
    "an Accept header without JSON",
    { headers: { accept: "text/event-stream" }, body: "{}" },
    406,
    -32000,
    "Accept",
  ],
  [
    "a browser's form",
    { headers: { origin: "http://localhost", "content-type": "text/plain" }, body: "{}" },
    415,
    -32000,
    "Content-Type",
  ],
  [
    "GET without a session",
    { method: "GET", headers: { accept: "text/event-stream" } },
    400,
    -32000,
    "mcp-session-id",
  ],
  [
    "GET without Accept for it",
    { method: "GET", headers: { accept: "text/html" } },
    406,
    -32000,
    "text/event-stream",
  ],
  ["DELETE without a session", { method: "DELETE" }, 400, -32000, "mcp-session-id"],
  [
    "an unknown version on an implicit session",
    { headers: { "mcp-protocol-version": "1999-01-01" }, body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' },
    400,
    -32000,
    "1999-01-01",
  ],
];
for (const [what, { method = "POST", path, body, headers }, status, code, text] of REFUSALS) {
  Deno.test(`${what} is refused with ${status} and opens nothing`, async () => {
    const { harness, send, stop } = start();
    const response = await send(method, {
      ...(path && { path }),
      ...(body !== undefined && { body }),
      headers: {
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...headers,
      },
    });
    const error = await errorOf(response);
    assertEquals([error.status, error.code], [status, code]);
    assertStringIncludes(error.message, text);
    if (status === 405) assertEquals(response.headers.get("allow"), "GET, POST, DELETE");
    assertEquals(harness.backends.length, 0);
    await stop();
  });
}

Deno.test("A body that is not marked as JSON is taken where no browser sent it", async () => {
  const { post, open, stop } = start();
  const response = await post({ jsonrpc: "2.0", method: "notifications/x" }, {
    ...await open(),
    "content-type": "text/plain;charset=UTF-8",
  });
  assertEquals(response.status, 202);
  await stop();
});

Deno.test("A session's own protocol version and all known ones are accepted, others are not", async () => {
  const { post, open, stop } = start();
  const session = await open();
  for (
    const [version, status] of [["2025-06-18", 202], ["2025-11-25", 202], ["2024-11-05", 202], [
      "2031-01-01",
      400,
    ]] as const
  ) {
    const response = await post({ jsonrpc: "2.0", method: "notifications/x" }, {
      ...session,
      "mcp-protocol-version": version,
    });
    await response.body?.cancel();
    assertEquals(response.status, status, version);
  }
  await stop();
});

Deno.test("Health answers without asking for anything", async () => {
  const { send, stop } = start();
  const response = await send("GET", { path: "/health" });
  assertEquals([response.status, await response.json()], [200, { status: "ok" }]);
  await stop();
});

Deno.test("An unknown page is a problem document", async () => {
  const { send, stop } = start();
  const response = await send("GET", { path: "/nope" });
  assertEquals([response.status, response.headers.get("content-type")], [404, "application/problem+json"]);
  assertStringIncludes((await response.json()).detail, "/nope");
  await stop();
});

/** A session whose server negotiated revision 2025-03-26. */
async function openBatching({ harness, post }: ReturnType<typeof start>): Promise<Record<string, string>> {
  const pending = post(INITIALIZE);
  await settle();
  harness.backend.answer("init", { protocolVersion: "2025-03-26", capabilities: {} });
  const response = await pending;
  await response.body?.cancel();
  return { "mcp-session-id": response.headers.get("mcp-session-id") ?? "" };
}

Deno.test("A batch is answered with an array, once all of it is answered", async () => {
  const gateway = start({ autoInitialize: false });
  const session = await openBatching(gateway);
  const pending = gateway.post([
    { jsonrpc: "2.0", id: 1, method: "a" },
    { jsonrpc: "2.0", method: "notifications/n" },
    { jsonrpc: "2.0", id: 2, method: "b" },
    { jsonrpc: "2.0", id: 1, method: "c" },
    7,
  ], session);
  await settle();
  gateway.harness.backend.answer(2, { of: 2 });
  gateway.harness.backend.answer(1, { of: 1 });
  const answers = await (await pending).json();
  assertEquals(answers.map(({ id, result, error }: Record<string, unknown>) => [id, result ?? error]), [
    [null, { code: -32600, message: "Body is not a JSON-RPC message: a message is a JSON object" }],
    [1, { code: -32600, message: "A request with this id is in flight already: 1" }],
    [2, { of: 2 }],
    [1, { of: 1 }],
  ]);
  assertEquals(gateway.harness.backend.methods, ["initialize", "a", "notifications/n", "b"]);
  await gateway.stop();
});

Deno.test("A batch that takes long is answered on a stream, message by message", async () => {
  const gateway = start({ autoInitialize: false });
  const session = await openBatching(gateway);
  const pending = gateway.post([1, 2].map((id) => ({ jsonrpc: "2.0", id, method: "a" })), session);
  await settle();
  gateway.harness.backend.answer(1);
  await gateway.harness.clock.advance(LIMITS.sseAfterMs);
  const response = await pending;
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  gateway.harness.backend.answer(2);
  const events = (await response.text()).trim().split("\n\n");
  assertEquals(events.map((event) => JSON.parse(event.split("data: ")[1]!).id), [1, 2]);
  await gateway.stop();
});

Deno.test("A batch without a request is accepted, an empty one is refused", async () => {
  const gateway = start({ autoInitialize: false });
  const session = await openBatching(gateway);
  const told = await gateway.post([{ jsonrpc: "2.0", method: "notifications/n" }], session);
  assertEquals([told.status, await told.text()], [202, ""]);
  assertEquals((await errorOf(await gateway.post([], session))).status, 400);
  await gateway.stop();
});

Deno.test("A batch in a session of another revision is refused, and nothing of it is sent", async () => {
  const { harness, post, open, stop } = start();
  const error = await errorOf(await post([{ jsonrpc: "2.0", id: 1, method: "a" }], await open()));
  assertEquals([error.status, error.code], [400, -32600]);
  assertEquals(harness.backend.methods, ["initialize"]);
  await stop();
});

for (
  const [what, headers, body] of [
    ["the version header", { "mcp-protocol-version": "2026-07-28" }, {
      jsonrpc: "2.0",
      id: 1,
      method: "tools/list",
    }],
    ["_meta", {}, {
      jsonrpc: "2.0",
      id: 1,
      method: "tools/list",
      params: { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } },
    }],
    ["server/discover", {}, { jsonrpc: "2.0", id: 1, method: "server/discover" }],
  ] as const
) {
  Deno.test(`A modern client, known by ${what}, is told what is supported, and nothing is opened`, async () => {
    const { harness, post, stop } = start();
    const response = await post(body, headers);
    assertEquals(response.status, 400);
    const { id, error } = await response.json();
    assertEquals([id, error.code], [1, -32022]);
    assertEquals(error.data.requested, "2026-07-28");
    assert(error.data.supported.includes("2025-11-25"));
    assertEquals(harness.backends.length, 0);
    await stop();
  });
}
