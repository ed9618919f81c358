import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseMessage } from "../../protocol/jsonrpc.ts";
import { BRIDGE_TTL, BridgeHarness, COMMAND, eventsOf, requestsOf, SMALL } from "../fakes/bridge_harness.ts";
import { SERVER } from "../fakes/harness.ts";
import { MemoryStore } from "../../stores/memory.ts";

const LIST = { serverId: SERVER, method: "tools/list" };
const CALL = { serverId: SERVER, method: "tools/call", params: { name: "echo" } };
const SSE = { accept: "text/event-stream" };

async function problemOf(response: Response): Promise<{ status: number; detail: string }> {
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  const { status, detail, type, title } = await response.json();
  assertEquals([status, type, typeof title], [response.status, "about:blank", "string"]);
  return { status, detail };
}

Deno.test("The result of a request is plain JSON, and its client never sees a session", async () => {
  await using bridge = new BridgeHarness();
  const pending = bridge.post(CALL);
  const backend = await bridge.backend(1);
  const [request] = await bridge.requests(backend, 1);
  assertEquals([request?.method, request?.params], ["tools/call", { name: "echo" }]);
  backend.answer(request!.id, { content: [] });
  const response = await pending;
  assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
  assertEquals(response.headers.get("mcp-session-id"), null);
  assertEquals(await response.text(), '{"content":[]}');
});

Deno.test("Parameters and results are taken over as they are written", async () => {
  await using bridge = new BridgeHarness();
  const pending = bridge.post(`{"params": {"b": 1.0, "a": 9007199254740993,\n "b2": [1e2]}, "method": "x",
    "serverId": "${SERVER}"}`);
  const backend = await bridge.backend(1);
  const [request] = await bridge.requests(backend, 1);
  assertStringIncludes(request!.text, '"params":{"b": 1.0, "a": 9007199254740993,  "b2": [1e2]}');
  const answer = parseMessage(
    `{"jsonrpc":"2.0","id":${request!.id},"result":{"z":12345678901234567890,"a":1.0}}`,
  );
  assert(answer.kind === "response");
  backend.events.message(answer);
  assertEquals(await (await pending).text(), '{"z":12345678901234567890,"a":1.0}');
});

Deno.test("Requests of one principal to one server share a session, each under an id of its own", async () => {
  await using bridge = new BridgeHarness();
  const pending = [bridge.post(LIST), bridge.post(LIST), bridge.post(CALL)];
  const backend = await bridge.backend(1);
  const requests = await bridge.requests(backend, 3);
  pending.push(bridge.post(LIST));
  requests.push((await bridge.requests(backend, 4))[3]!);
  assertEquals(new Set(requests.map(({ id }) => id)).size, 4);
  assertEquals([bridge.harness.supervisor.size, bridge.sessions.size], [1, 1]);
  // Answered out of order, each gets its own.
  for (const { id } of requests.toReversed()) backend.answer(id, { of: id });
  const answers = await Promise.all((await Promise.all(pending)).map((response) => response.json()));
  assertEquals(answers.map(({ of }) => of), requests.map(({ id }) => id));
});

Deno.test("Another principal, server, argument or variable is another session; the order of variables is none", async () => {
  await using bridge = new BridgeHarness();
  const command = { serverPath: COMMAND, method: "ping" };
  const wishes: [body: unknown, as: "ann" | "bob", backends: number][] = [
    [LIST, "ann", 1],
    [LIST, "bob", 2],
    [{ ...LIST, serverId: SMALL }, "ann", 3],
    [{ ...command, args: ["a"] }, "ann", 4],
    [{ ...command, args: ["a", "b"] }, "ann", 5],
    [{ ...command, args: ["ab"] }, "ann", 6],
    [{ ...command, args: ["a"], env: { A: "1", B: "2" } }, "ann", 7],
    [{ ...command, args: ["a"], env: { B: "2", A: "1" } }, "ann", 7],
    [{ ...command, args: ["a"], env: { A: "2", B: "1" } }, "ann", 8],
    [{ ...command, args: ["a"] }, "bob", 9],
    [{ ...command, args: ["a"], env: {} }, "ann", 9],
  ];
  const pending: Promise<Response>[] = [];
  let sent = 0;
  for (const [body, as, backends] of wishes) {
    pending.push(bridge.post(body, { as }));
    sent++;
    await bridge.until(() =>
      bridge.harness.backends.reduce((sum, backend) => sum + requestsOf(backend).length, 0) === sent
    );
    assertEquals(bridge.harness.backends.length, backends, JSON.stringify(body));
  }
  assertEquals(bridge.run.length, 6, "each was run as it was named");
  for (const backend of bridge.harness.backends) {
    for (const { id } of requestsOf(backend)) backend.answer(id);
  }
  for (const response of await Promise.all(pending)) assertEquals(await response.text(), "{}");
});

Deno.test("A session of the bridge lives by its own TTL, not by that of implicit ones", async () => {
  await using bridge = new BridgeHarness();
  const pending = bridge.post(LIST);
  const backend = await bridge.backend(1);
  backend.answer((await bridge.requests(backend, 1))[0]!.id);
  await (await pending).text();
  const [session] = [...bridge.harness.supervisor.sessions];
  assertEquals([session?.kind, session?.ttl.source], ["bridge", "idleTtlMs"]);
  await bridge.harness.clock.advance(BRIDGE_TTL - 1);
  assertEquals(session?.state, "active");
  await bridge.harness.clock.advance(1);
  assertEquals(session?.state, "expired");
  await session?.end("idle");
  await bridge.idle();
  assertEquals(bridge.sessions.size, 0, "the entry goes with its session");
});

Deno.test("A session of the bridge is not written down and does not hibernate: nobody could come back to it", async () => {
  const store = new MemoryStore({ tombstones: 10 });
  await using bridge = new BridgeHarness({ store, limits: { hibernateAfterMs: 1_000 } });
  const pending = bridge.post(LIST);
  const backend = await bridge.backend(1);
  backend.answer((await bridge.requests(backend, 1))[0]!.id);
  await (await pending).text();
  await bridge.harness.clock.advance(BRIDGE_TTL - 1);
  const [session] = [...bridge.harness.supervisor.sessions];
  assertEquals([session?.state, backend.closes.length], ["active", 0]);
  assertEquals([store.counts(), store.page(0, 10)], [[], []]);
});

for (const end of ["expired", "swept", "ended by an administrator", "its server died"]) {
  Deno.test(`A session that is over, ${end}, is replaced: the request is sent once`, async () => {
    await using bridge = new BridgeHarness();
    const first = bridge.post(LIST);
    const backend = await bridge.backend(1);
    backend.answer((await bridge.requests(backend, 1))[0]!.id);
    await (await first).text();
    const [session] = [...bridge.harness.supervisor.sessions];
    if (end === "expired" || end === "swept") await bridge.harness.clock.advance(BRIDGE_TTL);
    if (end === "swept") await session!.end("idle");
    if (end.startsWith("ended")) await session!.end("admin");
    if (end.startsWith("its")) backend.exit();
    const second = bridge.post(CALL);
    const next = await bridge.backend(2);
    const requests = await bridge.requests(next, 1);
    assertEquals(requestsOf(backend).length, 1);
    next.answer(requests[0]!.id, { ok: true });
    assertEquals(await (await second).text(), '{"ok":true}');
    assertEquals(bridge.sessions.size, 1);
  });
}

Deno.test("A session that ends in the turn in which a request gets there is replaced too", async () => {
  await using bridge = new BridgeHarness();
  const first = bridge.post(LIST);
  const backend = await bridge.backend(1);
  backend.answer((await bridge.requests(backend, 1))[0]!.id);
  await (await first).text();
  const [session] = [...bridge.harness.supervisor.sessions];
  // The end is ahead of the requests in the inbox, and nobody has seen it yet.
  const post = session!.post.bind(session);
  let raced = 0;
  session!.post = (mail) => {
    raced++;
    void session!.end("admin");
    post(mail);
  };
  const pending = [bridge.post(CALL), bridge.post(CALL), bridge.post(CALL)];
  const next = await bridge.backend(2);
  const requests = await bridge.requests(next, 3);
  assert(raced >= 1);
  assertEquals(requestsOf(backend).length, 1, "nothing more was sent to the old one");
  for (const { id } of requests) next.answer(id);
  for (const response of await Promise.all(pending)) assertEquals(await response.text(), "{}");
});

Deno.test("A request that was sent is not sent again: its server's end is 502, and the next opens another", async () => {
  for (const end of ["exit", "admin"] as const) {
    await using bridge = new BridgeHarness();
    const pending = [bridge.post(CALL), bridge.post(LIST)];
    const backend = await bridge.backend(1);
    await bridge.requests(backend, 2);
    if (end === "exit") backend.exit();
    else void [...bridge.harness.supervisor.sessions][0]!.end("admin");
    for (const response of await Promise.all(pending)) {
      const { status, detail } = await problemOf(response);
      assertEquals(status, 502);
      assertStringIncludes(detail, "Server ended before the request was answered: ");
    }
    await bridge.idle();
    assertEquals([bridge.harness.backends.length, bridge.sessions.size], [1, 0]);
  }
});

Deno.test("A server that does not start is 502 for all who waited for it, and is not tried again for them", async () => {
  await using bridge = new BridgeHarness({ autoInitialize: false });
  const pending = [bridge.post(CALL), bridge.post(LIST), bridge.post(LIST)];
  const backend = await bridge.backend(1);
  await bridge.idle();
  backend.exit({ cause: "spawn", detail: "could not be started" });
  for (const response of await Promise.all(pending)) {
    assertEquals(
      (await problemOf(response)).detail,
      `Server did not start: server "${SERVER}" could not be started`,
    );
  }
  await bridge.idle();
  assertEquals([bridge.harness.backends.length, bridge.sessions.size], [1, 0]);
});

Deno.test("Where no more sessions may be, all who waited get 503 and nothing is left of the opening", async () => {
  await using bridge = new BridgeHarness({ admission: { maxSessions: 1 }, admissionWaitMs: 1_000 });
  const first = bridge.post(LIST);
  const backend = await bridge.backend(1);
  await bridge.requests(backend, 1);
  const refused = [bridge.post(LIST, { as: "bob" }), bridge.post(LIST, { as: "bob" })];
  await bridge.idle();
  assertEquals(bridge.sessions.size, 2);
  await bridge.harness.clock.advance(1_000);
  for (const response of await Promise.all(refused)) {
    assert(Number(response.headers.get("retry-after")) >= 1);
    assertEquals((await problemOf(response)).status, 503);
  }
  assertEquals(bridge.sessions.size, 1);
  backend.answer(requestsOf(backend)[0]!.id);
  await (await first).text();
});

Deno.test("A client that goes away while it waits for a session leaves the queue, unless others wait with it", async () => {
  for (const others of [false, true]) {
    await using bridge = new BridgeHarness({ admission: { maxSessions: 1 }, admissionWaitMs: 1_000 });
    const first = bridge.post(LIST);
    const backend = await bridge.backend(1);
    const [request] = await bridge.requests(backend, 1);
    const leaving = new AbortController();
    void bridge.post(CALL, { as: "bob", signal: leaving.signal }).catch(() => {});
    await bridge.idle();
    const other = others ? bridge.post(LIST, { as: "bob" }) : undefined;
    await bridge.idle();
    assertEquals(bridge.harness.supervisor.door.counts.waiting, 1);
    leaving.abort();
    await bridge.idle();
    assertEquals(bridge.harness.supervisor.door.counts.waiting, others ? 1 : 0);
    assertEquals(bridge.sessions.size, others ? 2 : 1);
    backend.answer(request!.id);
    await (await first).text();
    if (other === undefined) continue;
    await bridge.harness.clock.advance(1_000);
    assertEquals((await problemOf(await other)).status, 503);
  }
});

Deno.test("Of those who wait for one session, so many may and no more", async () => {
  await using bridge = new BridgeHarness({ admission: { maxSessions: 1 }, admissionWaitMs: 1_000 });
  const first = bridge.post(LIST);
  const backend = await bridge.backend(1);
  await bridge.requests(backend, 1);
  const waiting = Array.from({ length: 258 }, () => bridge.post(LIST, { as: "bob" }));
  const last = await problemOf(await Promise.race(waiting));
  assertEquals(last, { status: 503, detail: "Too many messages wait for this session" });
  await bridge.harness.clock.advance(1_000);
  const statuses = (await Promise.all(waiting)).map(({ status }) => status);
  assertEquals(new Set(statuses), new Set([503]));
  backend.answer(requestsOf(backend)[0]!.id);
  await (await first).text();
});

Deno.test("A server's error is 422 with its code and data; a tool's is a result", async () => {
  await using bridge = new BridgeHarness();
  const pending = [bridge.post(CALL), bridge.post(CALL)];
  const backend = await bridge.backend(1);
  const [first, second] = await bridge.requests(backend, 2);
  backend.says({ id: first!.id, error: { code: -32602, message: "No tool", data: { n: 1 } } });
  backend.answer(second!.id, { isError: true, content: [] });
  const [failed, tool] = await Promise.all(pending);
  assertEquals([failed!.status, failed!.headers.get("content-type")], [422, "application/json"]);
  assertEquals(await failed!.json(), { error: { code: -32602, message: "No tool", data: { n: 1 } } });
  assertEquals([tool!.status, await tool!.json()], [200, { isError: true, content: [] }]);
});

Deno.test("A server that takes too long is told so, and its client gets 504", async () => {
  await using bridge = new BridgeHarness({ limits: { requestTimeoutMs: 5_000 } });
  const pending = bridge.post(CALL);
  const backend = await bridge.backend(1);
  await bridge.requests(backend, 1);
  await bridge.harness.clock.advance(5_000);
  assertEquals((await problemOf(await pending)).status, 504);
  assertEquals(backend.methods.at(-1), "notifications/cancelled");
});

Deno.test("A stream has the progress, what else the server says, and the result", async () => {
  await using bridge = new BridgeHarness();
  const pending = bridge.post(CALL, { headers: SSE });
  const backend = await bridge.backend(1);
  const [request] = await bridge.requests(backend, 1);
  // Nobody has to know of tokens to see progress.
  assertEquals(request!.params, { name: "echo", _meta: { progressToken: request!.id } });
  backend.says({ method: "notifications/progress", params: { progressToken: request!.id, progress: 1 } });
  const response = await pending;
  assertEquals([response.status, response.headers.get("content-type")], [200, "text/event-stream"]);
  backend.says({ method: "notifications/message", params: { level: "info", data: "x" } });
  backend.answer(request!.id, { ok: 1 });
  assertEquals(await eventsOf(response), [
    {
      event: "notification",
      data: {
        jsonrpc: "2.0",
        method: "notifications/progress",
        params: { progressToken: request!.id, progress: 1 },
      },
    },
    {
      event: "notification",
      data: { jsonrpc: "2.0", method: "notifications/message", params: { level: "info", data: "x" } },
    },
    { event: "result", data: { ok: 1 } },
  ]);
});

Deno.test("Two clients with one token each get their own progress, under that token", async () => {
  await using bridge = new BridgeHarness();
  const body = { ...CALL, params: { ...CALL.params, _meta: { other: 1.5, progressToken: "t" } } };
  const pending = [bridge.post(body, { headers: SSE }), bridge.post(body, { headers: SSE })];
  const backend = await bridge.backend(1);
  const requests = await bridge.requests(backend, 2);
  for (const { id, params } of requests) {
    assertEquals(params, { name: "echo", _meta: { other: 1.5, progressToken: id } });
    backend.says({ method: "notifications/progress", params: { progressToken: id, progress: id } });
  }
  for (const { id } of requests) backend.answer(id);
  const streams = await Promise.all((await Promise.all(pending)).map(eventsOf));
  assertEquals(
    streams.map((events) => events.map(({ data }) => (data as { params?: unknown }).params)),
    requests.map(({ id }) => [{ progressToken: "t", progress: id }, undefined]),
  );
});

Deno.test("Without a stream progress goes nowhere, and is asked for only where the client asks", async () => {
  await using bridge = new BridgeHarness();
  const asking = { ...CALL, params: { _meta: { progressToken: 7 } } };
  const pending = [bridge.post(CALL), bridge.post(asking, { headers: { accept: "*/*" } })];
  const backend = await bridge.backend(1);
  const [plain, asked] = await bridge.requests(backend, 2);
  assertEquals([plain!.params, asked!.params], [{ name: "echo" }, { _meta: { progressToken: asked!.id } }]);
  backend.says({ method: "notifications/progress", params: { progressToken: asked!.id, progress: 1 } });
  for (const { id } of [plain!, asked!]) backend.answer(id, { of: id });
  for (const response of await Promise.all(pending)) {
    assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
    await response.text();
  }
});

Deno.test("A stream begins when the answer takes long, and its errors are events; before that they have their status", async () => {
  await using bridge = new BridgeHarness();
  const pending = [1, 2, 3].map(() => bridge.post(CALL, { headers: SSE }));
  const backend = await bridge.backend(1);
  const [early, late, gone] = await bridge.requests(backend, 3);
  backend.says({ id: early!.id, error: { code: -1, message: "early" } });
  const first = await pending[0]!;
  assertEquals([first.status, await first.json()], [422, { error: { code: -1, message: "early" } }]);
  await bridge.harness.clock.advance(1_000);
  const [second, third] = [await pending[1]!, await pending[2]!];
  assertEquals([second.status, third.status], [200, 200]);
  await bridge.harness.clock.advance(15_000);
  backend.says({ id: late!.id, error: { code: -2, message: "late" } });
  assertEquals(await eventsOf(second), [{ event: "error", data: { error: { code: -2, message: "late" } } }]);
  assert(gone !== undefined);
  backend.exit();
  const [{ event, data }] = await eventsOf(third) as [{ event: string; data: { status: number } }];
  assertEquals([event, data.status], ["error", 502]);
});

Deno.test("A stream begins while its server is still starting, where that takes long", async () => {
  await using bridge = new BridgeHarness({ autoInitialize: false });
  const pending = bridge.post(CALL, { headers: SSE });
  const backend = await bridge.backend(1);
  await bridge.harness.clock.advance(1_000);
  const response = await pending;
  assertEquals(response.status, 200);
  backend.exit({ cause: "exit", detail: "exited with code 1" });
  assertEquals((await eventsOf(response)).map(({ event }) => event), ["error"]);
});

Deno.test("What the server asks is answered at once, since nobody is there to ask", async () => {
  await using bridge = new BridgeHarness();
  const pending = bridge.post(CALL, { headers: SSE });
  const backend = await bridge.backend(1);
  const [request] = await bridge.requests(backend, 1);
  const answers = () => backend.received.flatMap((message) => message.kind === "response" ? [message] : []);
  for (const method of ["roots/list", "sampling/createMessage", "elicitation/create", "ping"]) {
    backend.says({ id: method, method });
  }
  await bridge.idle();
  assertEquals(answers().map(({ id, error, result }) => [id, error?.code ?? result]), [
    ["roots/list", -32601],
    ["sampling/createMessage", -32601],
    ["elicitation/create", -32601],
    ["ping", {}],
  ]);
  backend.answer(request!.id);
  assertEquals((await eventsOf(await pending)).map(({ event }) => event), ["result"]);
  // Nothing in flight: the same, and nothing is kept.
  backend.says({ id: "again", method: "roots/list" });
  for (let n = 0; n < 10; n++) {
    backend.says({ method: "notifications/message", params: { level: "info", data: n } });
  }
  await bridge.idle();
  assertEquals(answers().length, 5);
  const [session] = [...bridge.harness.supervisor.sessions];
  assertEquals([session!.held, session!.inFlight], [0, 0]);
});

Deno.test("A server that asks and does not read gets no answers piled up", async () => {
  await using bridge = new BridgeHarness();
  const pending = bridge.post(CALL);
  const backend = await bridge.backend(1);
  const [request] = await bridge.requests(backend, 1);
  backend.queuedBytes = 100 * 1024 * 1024;
  const before = backend.received.length;
  for (let id = 0; id < 100; id++) backend.says({ id, method: "roots/list" });
  await bridge.idle();
  assertEquals(backend.received.length, before);
  backend.answer(request!.id);
  await (await pending).text();
});

Deno.test("A client that hangs up cancels nothing", async () => {
  for (const headers of [{}, SSE]) {
    await using bridge = new BridgeHarness();
    const leaving = new AbortController();
    const pending = bridge.post(CALL, { headers, signal: leaving.signal });
    const backend = await bridge.backend(1);
    const [request] = await bridge.requests(backend, 1);
    if ("accept" in headers) {
      backend.says({ method: "notifications/progress", params: { progressToken: request!.id, progress: 1 } });
      await (await pending).body!.cancel();
    }
    leaving.abort();
    await bridge.idle();
    backend.says({ method: "notifications/progress", params: { progressToken: request!.id, progress: 2 } });
    backend.answer(request!.id);
    await bridge.idle();
    const [session] = [...bridge.harness.supervisor.sessions];
    assertEquals([session!.state, session!.inFlight, session!.held], ["active", 0, 0]);
    assert(!backend.methods.includes("notifications/cancelled"));
    if (!("accept" in headers)) await (await pending).text();
  }
});

Deno.test("A result that is larger than what may wait goes out bit by bit", async () => {
  await using bridge = new BridgeHarness({ maxBufferBytes: 64 * 1024 });
  for (const [n, headers] of [{}, SSE].entries()) {
    const pending = bridge.post(CALL, { headers });
    const backend = await bridge.backend(1);
    const requests = await bridge.requests(backend, n + 1);
    backend.answer(requests[n]!.id, { text: "x".repeat(1_000_000) });
    assert((await (await pending).text()).includes("x".repeat(1_000_000)));
  }
});

Deno.test("While the gateway shuts down requests get 503", async () => {
  await using bridge = new BridgeHarness();
  const first = bridge.post(CALL);
  const backend = await bridge.backend(1);
  const [request] = await bridge.requests(backend, 1);
  void bridge.harness.supervisor.shutDown(60_000);
  await bridge.idle();
  for (const body of [LIST, { ...LIST, serverId: SMALL }]) {
    assertEquals((await problemOf(await bridge.post(body))).detail, "Gateway is shutting down");
  }
  backend.answer(request!.id, { done: true });
  assertEquals(await (await first).json(), { done: true });
  await bridge.harness.clock.advance(1_000);
});

Deno.test("A principal has the servers and commands on its list only", async () => {
  await using bridge = new BridgeHarness();
  const command = { serverPath: COMMAND, args: ["a"], method: "ping" };
  for (const [body, as] of [[LIST, "cat"], [{ ...LIST, serverId: SMALL }, "dan"]] as const) {
    const theirs = await problemOf(await bridge.post(body, { as }));
    const none = await problemOf(await bridge.post({ ...LIST, serverId: "none" }, { as }));
    assertEquals(theirs.status, 404);
    assertEquals(theirs.detail.replace(body.serverId, "none"), none.detail);
  }
  for (const as of ["cat", "dan"] as const) {
    assertEquals((await problemOf(await bridge.post(command, { as }))).status, 403);
  }
  assertEquals([bridge.harness.backends.length, bridge.run], [0, []]);
});

Deno.test("A command that is not listed is 403, and the refusal says how to list it", async () => {
  await using bridge = new BridgeHarness();
  const { status, detail } = await problemOf(
    await bridge.post({ serverPath: "/bin/sh", args: ["-c", "id"], method: "ping" }),
  );
  assertEquals(status, 403);
  assertStringIncludes(
    detail,
    'This command may not be run: "/bin/sh" is not listed; list it in BRIDGE_COMMANDS',
  );
  assertStringIncludes(detail, "serverId");
  assertEquals(bridge.harness.backends.length, 0);
});

Deno.test("A command is no server on /mcp, nor by serverId", async () => {
  await using bridge = new BridgeHarness();
  const id = `bridge:${COMMAND}`;
  assertEquals((await problemOf(await bridge.post({ ...LIST, serverId: id }))).status, 404);
  for (const path of [`/mcp/${id}`, `/mcp/${encodeURIComponent(id)}`]) {
    const response = await bridge.fetch(
      new Request(`http://localhost${path}`, {
        method: "POST",
        headers: { authorization: "Bearer ann", "content-type": "application/json", accept: "*/*" },
        body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
      }),
    );
    assertEquals([response.status, (await response.json()).error.message.split(":")[0]], [
      404,
      "No such server",
    ]);
  }
  assertEquals(bridge.harness.backends.length, 0);
});

// [what is wrong, the body, status, what the detail says].
const BODIES: [string, unknown, number, string][] = [
  ["no JSON", "{", 400, "Body is not JSON"],
  ["nothing", "", 400, "Body is not JSON"],
  ["an array", [], 400, "Body is wrong: it must be an object"],
  ["null", "null", 400, "Body is wrong: it must be an object"],
  ["a text", '"x"', 400, "Body is wrong: it must be an object"],
  ["no server", { method: "ping" }, 400, "it needs serverId"],
  ["two servers", { ...LIST, serverPath: COMMAND }, 400, "serverPath goes with no serverId"],
  ["arguments for a server", { ...LIST, args: [] }, 400, "args and env go with serverPath only"],
  ["variables for a server", { ...LIST, env: {} }, 400, "args and env go with serverPath only"],
  ["no method", { serverId: SERVER }, 400, "method must be a text of 1 to 200 characters, got none"],
  ["an empty method", { ...LIST, method: "" }, 400, "method must be a text of 1 to 200 characters, got"],
  ["a number as method", { ...LIST, method: 1 }, 400, "method must be a text of 1 to 200 characters, got 1"],
  [
    "a long method",
    { ...LIST, method: "x".repeat(201) },
    400,
    "method must be a text of 1 to 200 characters",
  ],
  ["a handshake", { ...LIST, method: "initialize" }, 400, "the gateway initializes by itself"],
  [
    "a notification",
    { ...LIST, method: "notifications/initialized" },
    400,
    "method must be one of a request",
  ],
  ["a list of params", { ...LIST, params: [] }, 400, "params must be an object"],
  ["null for params", { ...LIST, params: null }, 400, "params must be an object"],
  ["an unknown key", { ...LIST, arg: 1 }, 400, 'unknown "arg"'],
  ["a prototype", `{"serverId":"${SERVER}","method":"x","__proto__":{"a":1}}`, 400, 'unknown "__proto__"'],
  ["a text for args", { serverPath: COMMAND, args: "x", method: "x" }, 400, "args must be a list of texts"],
  [
    "a number in args",
    { serverPath: COMMAND, args: ["a", 1], method: "x" },
    400,
    "args[1] must be a text without",
  ],
  [
    "a NUL in args",
    { serverPath: COMMAND, args: ["\0"], method: "x" },
    400,
    "args[0] must be a text without a NUL",
  ],
  ["a NUL in the path", { serverPath: "a\0", method: "x" }, 400, "serverPath must be a text of 1 to 4096"],
  [
    "201 args",
    { serverPath: COMMAND, args: Array(201).fill(""), method: "x" },
    400,
    "args may have 200 items",
  ],
  ["a list as env", { serverPath: COMMAND, env: [], method: "x" }, 400, "env must be an object of texts"],
  ["a number in env", { serverPath: COMMAND, env: { A: 1 }, method: "x" }, 400, 'env["A"] must be a text'],
  ["a name in env", { serverPath: COMMAND, env: { "A=B": "" }, method: "x" }, 400, "env must have names of"],
  [
    "a prototype as env",
    `{"serverPath":"x","method":"x","env":{"__proto__":"a"}}`,
    400,
    "no variable __proto__",
  ],
  [
    "a long env",
    { serverPath: COMMAND, env: { A: "x".repeat(65_537) }, method: "x" },
    400,
    "env may have 65536",
  ],
  ["an unknown server", { ...LIST, serverId: "none" }, 404, 'No such server: "none"'],
  ["a member of objects", { ...LIST, serverId: "__proto__" }, 404, 'No such server: "__proto__"'],
  [
    "too long for its server",
    { serverId: SMALL, method: "x", params: { x: "y".repeat(200) } },
    413,
    "at most 200",
  ],
];
for (const [what, body, status, says] of BODIES) {
  Deno.test(`A body with ${what} is ${status}, opens nothing, and the answer says why`, async () => {
    await using bridge = new BridgeHarness();
    const problem = await problemOf(await bridge.post(body));
    assertEquals(problem.status, status);
    assertStringIncludes(problem.detail, says);
    assertEquals([bridge.harness.backends.length, bridge.sessions.size], [0, 0]);
  });
}

Deno.test("What may be a secret is not shown back", async () => {
  await using bridge = new BridgeHarness();
  const body = { serverPath: COMMAND, args: ["hunter2", 1], env: { KEY: ["hunter2"] }, method: "x" };
  const { detail } = await problemOf(await bridge.post(body));
  assert(!detail.includes("hunter2"), detail);
});

// [headers instead of the usual ones, status].
const HEADERS: [Record<string, string>, number][] = [
  [{ "content-type": "text/plain" }, 415],
  [{ "content-type": "application/x-www-form-urlencoded" }, 415],
  [{ "content-type": "" }, 415],
  [{ "content-type": "text/plain;application/json" }, 415],
  [{ accept: "text/html" }, 406],
  [{ accept: "text/html", "content-type": "text/plain" }, 406],
  [{ origin: "https://evil.example" }, 403],
  [{ origin: "null" }, 403],
  [{ origin: "https://evil.example", "content-type": "text/plain" }, 403],
  [{ origin: "https://ok.example", "content-type": "text/plain" }, 415],
  [{ authorization: "Bearer nobody" }, 401],
  [{ authorization: "" }, 401],
];
for (const [headers, status] of HEADERS) {
  Deno.test(`${JSON.stringify(headers)} on /bridge is ${status}, and opens nothing`, async () => {
    await using bridge = new BridgeHarness();
    const response = await bridge.post(LIST, { headers });
    assertEquals((await problemOf(response)).status, status);
    assertEquals(bridge.harness.backends.length, 0);
  });
}

Deno.test("Methods but POST are 405 and say so; a page of an allowed origin may ask first", async () => {
  await using bridge = new BridgeHarness();
  const send = (method: string, headers: Record<string, string> = {}) =>
    bridge.fetch(
      new Request("http://localhost/bridge", {
        method,
        headers: { authorization: "Bearer ann", ...headers },
      }),
    );
  for (const method of ["GET", "PUT", "DELETE", "PATCH", "constructor"]) {
    const response = await send(method);
    assertEquals([response.headers.get("allow"), (await problemOf(response)).status], ["POST", 405]);
  }
  const preflight = await send("OPTIONS", {
    origin: "https://ok.example",
    "access-control-request-method": "POST",
  });
  assertEquals([preflight.status, preflight.headers.get("access-control-allow-origin")], [
    204,
    "https://ok.example",
  ]);
  assertEquals((await send("OPTIONS", { origin: "https://evil.example" })).status, 403);
});

Deno.test("Of a thousand sessions that come and go no entry is left", async () => {
  await using bridge = new BridgeHarness();
  const { backends, supervisor } = bridge.harness;
  for (let round = 0; round < 20; round++) {
    const pending = Array.from(
      { length: 50 },
      (_, n) => bridge.post({ serverPath: COMMAND, args: [String(n)], method: "ping" }),
    );
    const newer = () => backends.slice(round * 50).filter((backend) => requestsOf(backend).length > 0);
    await bridge.until(() => newer().length === 50);
    assertEquals(bridge.sessions.size, 50);
    // A third is cut off in the middle of a request.
    for (const [n, backend] of newer().entries()) {
      if (n % 3 !== 0) backend.answer(requestsOf(backend)[0]!.id);
    }
    await bridge.idle();
    for (const session of supervisor.sessions) void session.end(round % 2 === 0 ? "admin" : "evicted");
    const statuses = await Promise.all((await Promise.all(pending)).map(async (response) => {
      await response.text();
      return response.status;
    }));
    assertEquals(statuses.filter((status) => status === 502).length, 17);
    await bridge.idle();
    assertEquals([bridge.sessions.size, supervisor.size], [0, 0]);
  }
});
