/**
 * The contract of a backend over HTTP+SSE.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { encodeNotification } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { event, events, HttpHost, RESULT, SdkSseServer } from "../fixtures/remote_servers.ts";
import { OpenRemote, remote } from "./remote_harness.ts";

const sse = (url: string, given = {}) => remote(url, { type: "sse", ...given });

Deno.test("Over HTTP+SSE messages go both ways, large ones too, and what is said unasked comes", async () => {
  await using server = await SdkSseServer.start();
  await using far = new OpenRemote(sse(server.url));
  assertEquals((await far.initialize()).result?.serverInfo, server.identity);
  assertEquals(await far.call("echo", { message: "grüße €😀\u2028" }), "grüße €😀\u2028");
  const bytes = 3 * 1024 * 1024;
  assertEquals((await far.call("big", { bytes })).length, bytes);
  assertEquals(await far.call("tell", { count: 2 }), "told");
  await far.call("unasked");
  assertEquals(far.messages.filter(({ kind }) => kind === "notification").length, 3);
  assertEquals(far.backend.queuedBytes, 0);
});

Deno.test("Over HTTP+SSE a close ends the stream, and the session with it", async () => {
  await using server = await SdkSseServer.start();
  const far = new OpenRemote(sse(server.url));
  await far.initialize();
  far.ask("tools/call", { name: "hang", arguments: {} });
  await eventually(() => far.backend.queuedBytes === 0, "the call to be taken");
  const closed = far.backend.close();
  assertEquals(far.send(encodeNotification("n")), false);
  await closed;
  assertEquals(far.exits, [{ cause: "exit", detail: "was closed" }]);
  await eventually(() => server.sessions.size === 0, "the server to see it");
  assertEquals(server.seen.filter(({ method }) => method === "DELETE").length, 0);
});

Deno.test("Over HTTP+SSE a backend may be closed at any point of its start", async () => {
  await using server = await SdkSseServer.start();
  for (let turns = 0; turns < 12; turns++) {
    const far = new OpenRemote(sse(server.url));
    far.ask("initialize", {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "c", version: "1" },
    });
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setTimeout(resolve));
    await far.backend.close();
    assertEquals(far.exits.length, 1);
  }
  await eventually(() => server.sessions.size === 0, "the server to see it");
});

Deno.test("A stream that ends fails what is in flight; the session is opened again and goes on", async () => {
  await using server = await SdkSseServer.start();
  await using far = new OpenRemote(sse(server.url));
  await far.initialize();
  const call = far.ask("tools/call", { name: "hang", arguments: {} });
  await eventually(() => far.backend.queuedBytes === 0, "the call to be taken");
  await server.forget();
  assertEquals((await far.answer(call)).error, {
    code: -32000,
    message: "Remote server did not answer the request: ended its event stream",
  });
  assertEquals(await far.call("echo", { message: "again" }), "again");
  assertEquals([far.exits.length, server.sessions.size], [0, 1]);
});

Deno.test("A stream that ends while nothing is in flight is opened again by itself", async () => {
  await using server = await SdkSseServer.start();
  await using far = new OpenRemote(sse(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  await server.forget();
  await eventually(() => server.sessions.size === 1, "the session to be opened again");
  assertEquals(far.exits, []);
  assertEquals(await far.call("echo", { message: "again" }), "again");
});

Deno.test("Over HTTP+SSE too a server that is another one by now ends the backend", async () => {
  await using server = await SdkSseServer.start();
  await using far = new OpenRemote(sse(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  server.identity = { name: "other", version: "1" };
  await server.forget();
  assertEquals((await far.exited()).detail, "forgot its session, and has another name");
});

// [what the server does, the detail of the exit].
const STARTS: [string, () => Response, string][] = [
  ["ends its stream at once", () => events([]), "ended its event stream"],
  [
    "names an endpoint elsewhere",
    () => events(["event: endpoint\ndata: https://evil.example/m\n\n"], "stay"),
    "named no endpoint at its own origin",
  ],
  ["names no endpoint", () => events([": hello\n\n"], "stay"), "sent nothing for 300 ms"],
  ["answers with no stream", () => Response.json({}), "answered with no event stream"],
  ["answers 500", () => new Response("no", { status: 500 }), "answered with HTTP 500"],
  ["answers 204", () => new Response(null, { status: 204 }), "answered with no event stream"],
  [
    "redirects elsewhere",
    () => new Response(null, { status: 307, headers: { location: "https://evil.example/" } }),
    "redirects to another origin (https://evil.example), which is not followed",
  ],
];
for (const [what, respond, detail] of STARTS) {
  Deno.test(`Over HTTP+SSE a server that ${what} did not start`, async () => {
    await using server = new HttpHost(respond);
    const far = new OpenRemote(sse(server.url, { readTimeoutMs: 300 }));
    far.ask("initialize");
    assertEquals(await far.exited(), { cause: "spawn", detail });
    await far.backend.close();
    assertEquals([far.order, server.count("GET")], [["exit"], 1]);
  });
}

Deno.test("Over HTTP+SSE nobody at the address did not start either", async () => {
  const far = new OpenRemote(sse("http://127.0.0.1:4/sse"));
  far.ask("initialize");
  assertEquals(await far.exited(), { cause: "spawn", detail: "could not be reached: connection refused" });
  await far.backend.close();
});

Deno.test("Over HTTP+SSE a refused message is answered with an error, and the stream goes on", async () => {
  const { promise: opened, resolve: open } = Promise.withResolvers<
    ReadableStreamDefaultController<Uint8Array>
  >();
  await using server = new HttpHost(async (request, seen) => {
    if (request.method === "GET") {
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(new TextEncoder().encode("event: endpoint\ndata: /m?sessionId=1\n\n"));
          open(controller);
        },
      });
      return new Response(body, { headers: { "content-type": "text/event-stream" } });
    }
    if (seen.rpc !== "initialize") return new Response("secret", { status: seen.rpc === "a" ? 503 : 400 });
    const text = event({ jsonrpc: "2.0", id: JSON.parse(seen.body).id, result: RESULT });
    (await opened).enqueue(new TextEncoder().encode(text));
    return new Response(null, { status: 202 });
  });
  await using far = new OpenRemote(sse(server.url));
  await far.request("initialize");
  const { error } = await far.request("a");
  assertStringIncludes(error!.message, "answered with HTTP 503");
  assert(!error!.message.includes("secret"));
  assertStringIncludes((await far.request("b")).error!.message, "answered with HTTP 400");
  assertEquals(far.exits, []);
});
