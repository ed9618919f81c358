/**
 * The whole gateway before servers elsewhere, with the SDK's client and without.
 *
 * @module
 */
// The package's pattern of paths leads to its types only without the ".js".
// @ts-types="@modelcontextprotocol/sdk/client"
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
// @ts-types="@modelcontextprotocol/sdk/client/streamableHttp"
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
// @ts-types="@modelcontextprotocol/sdk/types"
import {
  type CallToolResult,
  CreateMessageRequestSchema,
  LoggingMessageNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { eventually } from "../fakes/eventually.ts";
import { makeCertificates } from "../fixtures/certificates.ts";
import { answer, RESULT, scripted, SdkServer, SdkSseServer } from "../fixtures/remote_servers.ts";
import { Gateway, passMs } from "./gateway.ts";
import { initialize, post } from "./raw_client.ts";

/** A connected client. Disposing it ends its session and closes it. */
class Connected implements AsyncDisposable {
  readonly told: unknown[] = [];
  readonly client: Client;
  readonly #transport: StreamableHTTPClientTransport;

  constructor(url: string, headers: Record<string, string> = {}) {
    this.client = new Client({ name: "e2e", version: "1" }, { capabilities: { sampling: {} } });
    this.client.setNotificationHandler(
      LoggingMessageNotificationSchema,
      ({ params }) => void this.told.push(params.data),
    );
    this.client.setRequestHandler(CreateMessageRequestSchema, () => ({
      role: "assistant",
      model: "m",
      content: { type: "text", text: "42" },
    }));
    this.#transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  }

  static async to(url: string, headers?: Record<string, string>): Promise<Connected> {
    const connected = new Connected(url, headers);
    // With exactOptionalPropertyTypes the SDK's class does not fit its own interface.
    await connected.client.connect(connected.#transport as Parameters<Client["connect"]>[0]);
    return connected;
  }

  get sessionId(): string | undefined {
    return this.#transport.sessionId;
  }

  async call(name: string, args: Record<string, unknown> = {}): Promise<string> {
    const { content } = await this.client.callTool({ name, arguments: args }) as CallToolResult;
    return content.map((part) => part.type === "text" ? part.text : part.type).join();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport.terminateSession();
    await this.client.close();
  }
}

const OPENER = initialize();

Deno.test("The SDK's client works with remote servers of both kinds as with its own", async () => {
  await using http = new SdkServer();
  await using sse = await SdkSseServer.start();
  await using gateway = await Gateway.start({
    servers: { http: { url: http.url }, sse: { type: "sse", url: sse.url } },
  });
  for (const [serverId, sessions] of [["http", http.sessions], ["sse", sse.sessions]] as const) {
    {
      await using far = await Connected.to(gateway.url(serverId));
      assertEquals(far.client.getServerVersion()?.name, "far");
      assertEquals((await far.client.listTools()).tools.length, 6);
      assertEquals(await far.call("echo", { message: "grüße" }), "grüße");
      assertEquals(await far.call("tell", { count: 3 }), "told");
      assertEquals(far.told, [0, 1, 2]);
      assertStringIncludes(await far.call("ask"), "42");
      await far.call("unasked");
      await eventually(() => far.told.includes("unasked"), "what was said unasked");
      assertEquals(sessions.size, 1);
      // The server's id is its own, and the client's another.
      assert(![...sessions.keys()].includes(far.sessionId!));
    }
    await eventually(() => sessions.size === 0, "the server's session to end with the client's");
  }
  // They are no processes.
  assertEquals(gateway.children(), []);
});

Deno.test("The bridge asks remote servers of both kinds too, and hands on no header", async () => {
  await using http = new SdkServer();
  await using sse = await SdkSseServer.start();
  await using gateway = await Gateway.start({
    servers: {
      http: { url: http.url, forwardHeaders: ["x-user"] },
      sse: { type: "sse", url: sse.url, forwardHeaders: ["x-user"] },
    },
  });
  for (const serverId of ["http", "sse"]) {
    const response = await fetch(`${gateway.origin}/bridge`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-user": "ada" },
      body: JSON.stringify({
        serverId,
        method: "tools/call",
        params: { name: "echo", arguments: { message: "over" } },
      }),
    });
    assertEquals([response.status, await response.json()], [200, {
      content: [{ type: "text", text: "over" }],
    }]);
  }
  assertEquals(http.seen.some(({ headers }) => headers.has("x-user")), false);
  assertEquals(sse.seen.some(({ headers }) => "x-user" in headers), false);
});

Deno.test("Many clients of a remote server have a session each, whatever MAX_PROCESSES is", async () => {
  await using server = new SdkServer();
  await using gateway = await Gateway.start({
    servers: { far: { url: server.url } },
    env: { MAX_PROCESSES: "1", SPAWN_CONCURRENCY: "1" },
  });
  const clients = await Promise.all(Array.from({ length: 12 }, () => Connected.to(gateway.url("far"))));
  const texts = clients.map((_, n) => `mine ${n}`);
  assertEquals(
    await Promise.all(clients.map((client, n) => client.call("echo", { message: texts[n] }))),
    texts,
  );
  assertEquals(server.sessions.size, 12);
  await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
  await eventually(() => server.sessions.size === 0, "all sessions to end");
});

Deno.test("A session goes on where its remote server was started again; its client notices nothing", async () => {
  await using server = new SdkServer();
  await using gateway = await Gateway.start({ servers: { far: { url: server.url } } });
  await using far = await Connected.to(gateway.url("far"));
  await far.call("echo", { message: "x" });
  const id = far.sessionId;
  await server.forget();
  assertEquals(await far.call("echo", { message: "again" }), "again");
  assertEquals(far.sessionId, id);
});

Deno.test("Sessions that expire, and a shutdown, end those at the server", async () => {
  await using server = new SdkServer();
  await using gateway = await Gateway.start({
    servers: {
      brief: { url: server.url, session: { idleTtlMs: 300, onOpenStream: "expire" } },
      far: { url: server.url },
    },
  });
  await post(gateway.url("brief"), OPENER);
  assertEquals(server.sessions.size, 1);
  await eventually(() => server.sessions.size === 0, "the session to expire");
  await post(gateway.url("far"), OPENER);
  assertEquals(server.sessions.size, 1);
  assertEquals(await gateway.stop(), 0);
  assertEquals([server.sessions.size, server.count("DELETE")], [0, 2]);
});

Deno.test("A session that hibernates ends that at the server; the request that wakes it brings its own headers", async () => {
  await using server = new SdkServer();
  await using gateway = await Gateway.start({
    servers: { far: { url: server.url, forwardHeaders: ["x-user"], session: { hibernateAfterMs: 300 } } },
  });
  const user = (name: string) => ({ headers: { "x-user": name } });
  const { sessionId } = await post(gateway.url("far"), OPENER, user("first"));
  const within = { sessionId: sessionId! };
  await post(gateway.url("far"), { method: "notifications/initialized" }, { ...within, ...user("other") });
  await eventually(() => server.count("DELETE") === 1, "the session to hibernate");
  assertEquals(server.sessions.size, 0);
  const { status, message } = await post(
    gateway.url("far"),
    { id: 7, method: "tools/call", params: { name: "echo", arguments: { message: "woken" } } },
    { ...within, ...user("second") },
  );
  assertEquals([status, message?.result?.content], [200, [{ type: "text", text: "woken" }]]);
  const users = server.seen.map(({ headers }) => headers.get("x-user"));
  // Those of whoever opens a session at the server hold for all of it.
  assertEquals(users.slice(0, users.indexOf("second")).every((name) => name === "first"), true);
  assertEquals(users.slice(users.indexOf("second")).every((name) => name === "second"), true);
  assertEquals(server.count("initialize"), 2);
});

Deno.test("A shutdown is over in time where a remote server answers nothing any more", async () => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  await using server = scripted((request) => request.method === "DELETE" ? promise : undefined);
  await using gateway = await Gateway.start({ servers: { far: { url: server.url } } });
  await post(gateway.url("far"), OPENER);
  assertEquals(await gateway.stop(), 0);
  assertEquals(server.count("DELETE"), 1);
  resolve(undefined);
});

Deno.test("Only the headers that an entry lists reach the server, and no secret reaches the log", async () => {
  const [own, theirs, other] = ["own", "theirs", "other"].map((name) => `${name}-${crypto.randomUUID()}`);
  await using server = new SdkServer();
  await using gateway = await Gateway.start({
    servers: {
      lists: {
        url: `${server.url}?key=${own}`,
        headers: { "x-key": "${KEY}" },
        forwardHeaders: ["Authorization", "x-user"],
      },
      silent: { url: server.url },
    },
    env: { KEY: own!, LOG_LEVEL: "debug" },
  });
  const headers = {
    authorization: `Bearer ${theirs}`,
    "x-other": other!,
    cookie: `c=${other}`,
    "x-user": "ada",
  };
  const came = () => server.seen.map(({ headers }) => Object.fromEntries(headers));
  {
    await using far = await Connected.to(gateway.url("lists"), headers);
    await far.call("echo", { message: "x" });
  }
  await eventually(() => server.count("DELETE") === 1, "the end of the session");
  for (const { authorization, "x-user": user, "x-key": key, ...rest } of came()) {
    assertEquals([authorization, user, key], [`Bearer ${theirs}`, "ada", own]);
    assert(!JSON.stringify(rest).includes(other!), JSON.stringify(rest));
  }
  const upstreamIds = server.seen.flatMap(({ headers }) => headers.get("mcp-session-id") ?? []);
  server.seen.length = 0;
  {
    await using far = await Connected.to(gateway.url("silent"), headers);
    await far.call("echo", { message: "x" });
    assert(!JSON.stringify(came()).includes(theirs!));
    assertEquals(came().some((headers) => "x-user" in headers || "authorization" in headers), false);
  }
  assertEquals(await gateway.stop(), 0);
  for (const secret of [own!, theirs!, other!, ...upstreamIds]) assert(!gateway.output.includes(secret));
});

Deno.test("A gateway with tokens of its own warns where it would hand them on", async () => {
  await using gateway = await Gateway.start({
    servers: {
      far: { url: "http://127.0.0.1:4", forwardHeaders: ["authorization"] },
      fine: { url: "http://127.0.0.1:4", forwardHeaders: ["x-user"] },
    },
    env: { ACCESS_TOKEN: "a-token-of-enough-length" },
  });
  const warnings = gateway.linesLike(/gets the client's authorization header/);
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, "Server far gets");
});

Deno.test("A client learns why a remote server did not start, and one that keeps failing is given a pause", async () => {
  await using refusing = scripted(() => new Response("s3cret", { status: 503 }));
  await using gateway = await Gateway.start({
    servers: { gone: { url: "http://127.0.0.1:4/s3cret?key=s3cret" }, refusing: { url: refusing.url } },
  });
  const gone = await post(gateway.url("gone"), OPENER);
  assertEquals(gone.status, 502);
  assertEquals(
    gone.message!.error!.message,
    'Server did not start: server "gone" could not be reached: connection refused',
  );
  const refused = await post(gateway.url("refusing"), { id: 1, method: "tools/list" });
  assertEquals(refused.status, 502);
  assertEquals(
    refused.message!.error!.message,
    'Server did not start: server "refusing" answered with HTTP 503',
  );
  let last = gone;
  for (let n = 0; n < 12 && last.status === 502; n++) {
    // Failures of one server at one time count once: its sessions fall together.
    await passMs(260);
    last = await post(gateway.url("gone"), OPENER);
  }
  assertEquals(last.status, 503);
  assertStringIncludes(last.message!.error!.message, "connection refused");
  assert(!gateway.output.includes("s3cret"), gateway.output);
});

Deno.test("A client whose token a remote server refuses is told, and the server is not put in quarantine for it", async () => {
  await using server = scripted((request, seen) => {
    if (request.headers.get("authorization") !== "Bearer good") return new Response(null, { status: 401 });
    return seen.rpc === "initialize" ? answer(seen, RESULT) : undefined;
  });
  await using gateway = await Gateway.start({
    servers: { far: { url: server.url, forwardHeaders: ["authorization"] } },
  });
  for (let n = 0; n < 12; n++) {
    const { status, message } = await post(gateway.url("far"), OPENER, {
      headers: { authorization: "Bearer bad" },
    });
    assertEquals(status, 200);
    assertMatch(message!.error!.message, /answered with HTTP 401$/);
  }
  const { status, message } = await post(gateway.url("far"), OPENER, {
    headers: { authorization: "Bearer good" },
  });
  assertEquals([status, message!.result], [200, RESULT]);
});

Deno.test("A remote server that speaks only a later revision says so to the client", async () => {
  await using server = scripted((_request, seen) =>
    seen.method !== "POST" ? undefined : Response.json({
      jsonrpc: "2.0",
      id: JSON.parse(seen.body).id,
      error: { code: -32022, message: "Unsupported protocol version", data: { supported: ["2026-07-28"] } },
    }, { status: 400 })
  );
  await using gateway = await Gateway.start({ servers: { far: { url: server.url } } });
  const { message } = await post(gateway.url("far"), OPENER);
  assertEquals([message!.error!.code, message!.error!.data], [-32000, undefined]);
  assertMatch(
    message!.error!.message,
    /^Remote server speaks only a revision of MCP without sessions \(2026-07-28/,
  );
  const implicit = await post(gateway.url("far"), { id: 1, method: "tools/list" });
  assertEquals(implicit.status, 502);
  assertStringIncludes(implicit.message!.error!.message, "speaks only a revision of MCP without sessions");
});

Deno.test("A certificate of an authority of one's own is trusted with caFile, beside the servers file", async () => {
  const { ca, cert, key } = await makeCertificates();
  await using server = new SdkServer({ cert, key });
  await using gateway = await Gateway.start({
    servers: { far: { url: server.url, caFile: "ca.pem" }, strict: { url: server.url } },
    files: { "ca.pem": ca },
  });
  {
    await using far = await Connected.to(gateway.url("far"));
    assertEquals(await far.call("echo", { message: "safe" }), "safe");
  }
  const { status, message } = await post(gateway.url("strict"), OPENER);
  assertEquals(status, 502);
  assertStringIncludes(message!.error!.message, "its certificate is of an unknown authority");
});

Deno.test("A client that does not read stops its remote server", async () => {
  let sent = 0;
  const chunk = "x".repeat(64 * 1024);
  await using server = scripted((_request, seen) => {
    if (seen.rpc !== "tools/call") return undefined;
    const text = `data: ${JSON.stringify({ jsonrpc: "2.0", method: "n", params: { chunk } })}\n\n`;
    const body = new ReadableStream({
      pull(controller) {
        sent += chunk.length;
        controller.enqueue(new TextEncoder().encode(text));
      },
    }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  });
  await using gateway = await Gateway.start({
    servers: { far: { url: server.url } },
    env: { MAX_STREAM_BUFFER_BYTES: "1048576", STREAM_STALL_MS: "60000" },
  });
  const opened = await post(gateway.url("far"), OPENER);
  const left = new AbortController();
  const response = await fetch(gateway.url("far"), {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-session-id": opened.sessionId!,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "a" } }),
    signal: left.signal,
  });
  let last = -1;
  while (sent !== last) {
    last = sent;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  assert(sent < 48 * 1024 * 1024, `${sent} bytes were sent to a client that does not read`);
  await response.body?.cancel();
  left.abort();
});
