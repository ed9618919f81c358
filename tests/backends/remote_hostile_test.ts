/**
 * Servers elsewhere that are not there, refuse, lie, break off or send too much.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { encodeNotification } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { FakeClock } from "../fakes/fake_clock.ts";
import { makeCertificates } from "../fixtures/certificates.ts";
import {
  answer,
  event,
  events,
  HttpHost,
  idOf,
  RESULT,
  scripted,
  SdkServer,
  type Seen,
} from "../fixtures/remote_servers.ts";
import { OpenRemote, remote } from "./remote_harness.ts";

const SECRET = "s3cret-in-the-body";

/** The exit of a backend whose first message is `initialize`. */
async function exitOf(far: OpenRemote) {
  far.ask("initialize");
  const exit = await far.exited();
  await far.backend.close();
  assertEquals(far.order, ["exit"]);
  assertEquals([far.backend.queuedBytes, far.send(encodeNotification("n"))], [0, false]);
  return exit;
}

/** The error of a call of tool `a`, of which the script says what comes of it. */
async function errorOf(server: HttpHost, given = {}, options = {}): Promise<string> {
  await using far = new OpenRemote(remote(server.url, given), options);
  await far.initialize();
  const { error } = await far.request("tools/call", { name: "a" });
  assertEquals(error!.code, -32000);
  const { message } = error!;
  assert(!message.includes(SECRET), message);
  // The session is none the worse for it.
  assertEquals((await far.request("ping")).result, {});
  assertEquals(far.exits, []);
  return message.replace("Remote server did not answer the request: ", "");
}

/** A server that pings well and answers a call by the script. */
function calls(script: (seen: Seen, request: Request) => Response | Promise<Response>): HttpHost {
  return scripted((request, seen) => {
    if (seen.rpc === "ping") return answer(seen, {});
    return seen.rpc === "tools/call" ? script(seen, request) : undefined;
  });
}

const UNREACHABLE: [string, string, string][] = [
  ["nobody listens", "http://127.0.0.1:4/mcp?key=s3cret", "connection refused"],
  ["its name is unknown", "http://no-such-host.invalid/mcp", "its name is not found"],
  [
    "its port is one that fetch never uses",
    "http://127.0.0.1:1/mcp",
    "its port is one that fetch never uses",
  ],
];
for (const [what, url, why] of UNREACHABLE) {
  Deno.test(`A start fails where ${what}`, async () => {
    const exit = await exitOf(new OpenRemote(remote(url)));
    assertEquals(exit, { cause: "spawn", detail: `could not be reached: ${why}` });
  });
}

Deno.test("A start fails where a connection does not come about in time", async () => {
  // Of a socket that listens and accepts nobody the system takes as many as its queue has room for.
  using full = new FullQueue();
  await full.fill();
  const far = new OpenRemote(remote(`http://127.0.0.1:${full.port}/mcp`, { connectTimeoutMs: 300 }));
  assertEquals(await exitOf(far), {
    cause: "spawn",
    detail: "could not be reached: no connection within 300 ms",
  });
});

Deno.test("A start that only takes long is left to whoever waits for it", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using server = scripted(async (_request, seen) => {
    if (seen.rpc === "initialize") await promise;
    return undefined;
  });
  const far = new OpenRemote(remote(server.url, { connectTimeoutMs: 20, readTimeoutMs: 20 }));
  const id = far.ask("initialize");
  await eventually(() => server.count("initialize") === 1, "the request");
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(far.order, []);
  resolve();
  assertEquals((await far.answer(id)).result, RESULT);
  await far.backend.close();
});

Deno.test("A certificate of an unknown authority is refused, and taken with caFile", async () => {
  const { ca, cert, key } = await makeCertificates();
  await using server = new SdkServer({ cert, key });
  assertEquals(await exitOf(new OpenRemote(remote(server.url))), {
    cause: "spawn",
    detail: "could not be reached: its certificate is of an unknown authority (see caFile)",
  });
  await using far = new OpenRemote(remote(server.url, { caCerts: ca }));
  await far.initialize();
  assertEquals(await far.call("echo", { message: "safe" }), "safe");
});

Deno.test("A certificate for another name is refused", async () => {
  const { ca, cert, key } = await makeCertificates();
  await using server = new SdkServer({ cert, key });
  const far = new OpenRemote(remote(`https://127.0.0.2:${server.port}/mcp`, { caCerts: ca }));
  const { detail } = await exitOf(far);
  assertStringIncludes(detail, "could not be reached: ");
});

Deno.test("A server without TLS is no server for https", async () => {
  await using server = new SdkServer();
  const { detail } = await exitOf(new OpenRemote(remote(server.url.replace("http", "https"))));
  assertEquals(detail, "could not be reached: it does not speak TLS as expected");
});

// [what the server answers initialize with, the detail of the exit].
const STARTS: [string, (seen: Seen) => Response, string][] = [
  ["HTTP 500", () => new Response(SECRET, { status: 500 }), "answered with HTTP 500"],
  ["HTTP 404", () => new Response(SECRET, { status: 404 }), "answered with HTTP 404"],
  ["HTTP 405", () => new Response(null, { status: 405 }), "answered with HTTP 405"],
  [
    "a code",
    () =>
      Response.json({ jsonrpc: "2.0", id: null, error: { code: -32000, message: SECRET } }, { status: 405 }),
    "answered with HTTP 405 and code -32000",
  ],
  [
    "HTML",
    () => new Response("<p>", { headers: { "content-type": "text/html; charset=utf-8" } }),
    "answered a request with text/html (HTTP 200)",
  ],
  [
    "nothing",
    () => new Response(null, { status: 202 }),
    "answered a request with nothing to read (HTTP 202)",
  ],
  [
    "another answer",
    () => Response.json({ jsonrpc: "2.0", id: 77, result: {} }),
    "answered a request with what is no answer to it",
  ],
  ["an empty stream", () => events([]), "ended the stream of a request before it answered"],
  [
    "a bad session id",
    (seen) => answer(seen, RESULT, { "mcp-session-id": "a b" }),
    "named its session by what is no session id",
  ],
  [
    "a redirect elsewhere",
    () => new Response(null, { status: 307, headers: { location: "https://evil.example/x?y" } }),
    "redirects to another origin (https://evil.example), which is not followed",
  ],
  [
    "a redirect to nowhere",
    () => new Response(null, { status: 308, headers: { location: "http://[" } }),
    "redirects elsewhere, which is not followed",
  ],
  [
    "a redirect that drops the body",
    () => new Response(null, { status: 302, headers: { location: "/other" } }),
    "answered with HTTP 302, a redirect that does not keep the request",
  ],
];
for (const [what, respond, detail] of STARTS) {
  Deno.test(`A start fails where initialize is answered with ${what}`, async () => {
    await using server = scripted((_request, seen) => seen.rpc === "initialize" ? respond(seen) : undefined);
    const far = new OpenRemote(remote(server.url));
    far.ask("initialize");
    assertEquals(await far.exited(), { cause: "spawn", detail });
    await far.backend.close();
    assertEquals(server.count("initialize"), 1);
  });
}

for (const status of [400, 401, 403, 422]) {
  Deno.test(`HTTP ${status} to initialize is the client's to know: an error answer, and no failed server`, async () => {
    await using server = scripted(() =>
      new Response(SECRET, { status, headers: { "www-authenticate": SECRET } })
    );
    await using far = new OpenRemote(remote(server.url));
    const { error } = await far.request("initialize");
    assertEquals(error, {
      code: -32000,
      message: `Remote server did not answer the request: answered with HTTP ${status}`,
    });
    assertEquals(far.exits, []);
  });
}

for (const code of [-32700, -32600, -32602, -32000]) {
  Deno.test(`HTTP 400 with ${code} to initialize finds fault with that message, not with the server`, async () => {
    await using server = scripted(() =>
      Response.json({ jsonrpc: "2.0", id: null, error: { code, message: SECRET } }, { status: 400 })
    );
    await using far = new OpenRemote(remote(server.url));
    const { error } = await far.request("initialize");
    assertEquals(error, {
      code: -32000,
      message: `Remote server did not answer the request: answered with HTTP 400 and code ${code}`,
    });
    assertEquals(far.exits, []);
  });
}

Deno.test("A server without sessions of this revision says so in its own error", async () => {
  await using server = scripted((_request, seen) =>
    Response.json({
      jsonrpc: "2.0",
      id: idOf(seen),
      error: { code: -32022, message: "Unsupported", data: { supported: ["2026-07-28"] } },
    }, { status: 400 })
  );
  await using far = new OpenRemote(remote(server.url));
  const { error } = await far.request("initialize");
  assertEquals([error?.code, error?.message.split(" (")[0]], [
    -32000,
    "Remote server speaks only a revision of MCP without sessions",
  ]);
});

Deno.test("A server's own error under the request's id is handed on as it came, whatever the status", async () => {
  const text = (seen: Seen) => `{"jsonrpc":"2.0","error":{"message":"no","code":-32602},"id":${idOf(seen)}}`;
  await using server = calls((seen) => new Response(text(seen), { status: 400 }));
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  const { text: came, id } = await far.request("tools/call", { name: "a" });
  assertEquals(came, `{"jsonrpc":"2.0","error":{"message":"no","code":-32602},"id":${id}}`);
});

// [what becomes of a call, the error that it gets].
const FAILURES: [string, (seen: Seen) => Response, string][] = [
  ["is refused", () => new Response(SECRET, { status: 403 }), "answered with HTTP 403"],
  ["meets a fault", () => new Response(SECRET.repeat(100_000), { status: 500 }), "answered with HTTP 500"],
  [
    "is answered with garbage",
    () => new Response(`{"a":${SECRET}`, { headers: { "content-type": "application/json" } }),
    "answered a request with what is no answer to it",
  ],
  [
    "is answered with half of it",
    () => events(["data: {", '"jsonrpc":'], "break"),
    "broke the connection before it answered",
  ],
  [
    "loses its stream",
    () => events([event({ jsonrpc: "2.0", method: "n" })], "break"),
    "broke the connection before it answered",
  ],
  [
    "has its stream ended",
    () => events([event({ jsonrpc: "2.0", method: "n" })]),
    "ended the stream of a request before it answered",
  ],
  [
    "is sent elsewhere",
    () => new Response(null, { status: 307, headers: { location: "//evil.example" } }),
    "redirects to another origin (http://evil.example), which is not followed",
  ],
  [
    "is answered with a picture",
    () => new Response("x", { headers: { "content-type": "image/png" } }),
    "answered a request with image/png (HTTP 200)",
  ],
  [
    "is told by another answer",
    (seen) => answer({ ...seen, body: '{"id":99}' }, {}),
    "answered a request with what is no answer to it",
  ],
];
for (const [what, respond, message] of FAILURES) {
  Deno.test(`A request that ${what} gets an error, and the session goes on`, async () => {
    await using server = calls(respond);
    assertEquals(await errorOf(server), message);
    assertEquals(server.count("tools/call"), 1);
  });
}

Deno.test("A body of JSON that stops coming is given up", async () => {
  await using server = calls(() =>
    new Response(events(['{"jsonrpc"'], "stay").body, { headers: { "content-type": "application/json" } })
  );
  assertEquals(await errorOf(server, { readTimeoutMs: 100 }), "sent nothing for 100 ms");
});

Deno.test("An answer that is due at once and does not come costs its message, and what follows is sent", async () => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  await using server = scripted((_request, seen) => {
    if (seen.rpc === "notifications/slow") return promise;
    return seen.rpc === "ping" ? answer(seen, {}) : undefined;
  });
  await using far = new OpenRemote(remote(server.url, { readTimeoutMs: 100 }));
  await far.initialize();
  far.send(encodeNotification("notifications/slow", { text: "x".repeat(1_000) }));
  assert(far.backend.queuedBytes > 1_000);
  assertEquals((await far.request("ping")).result, {});
  assertEquals(far.backend.queuedBytes, 0);
  resolve(undefined);
});

Deno.test("A redirect within the origin is followed, with the headers; one elsewhere never sees them", async () => {
  await using evil = new HttpHost(() => new Response(null, { status: 204 }));
  await using server = scripted((request, seen) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/mcp") return new Response(null, { status: 307, headers: { location: "/v2" } });
    if (seen.rpc === "tools/call") {
      return new Response(null, { status: 308, headers: { location: `${evil.origin}/` } });
    }
    return seen.rpc === "ping" ? answer(seen, {}) : undefined;
  });
  const given = { headers: { authorization: `Bearer ${SECRET}` } };
  assertEquals(
    await errorOf(server, given),
    `redirects to another origin (${evil.origin}), which is not followed`,
  );
  assertEquals(evil.seen.length, 0);
  const initialize = server.seen.filter(({ rpc }) => rpc === "initialize");
  assertEquals(
    initialize.map(({ headers }) => headers.get("authorization")),
    Array(2).fill(`Bearer ${SECRET}`),
  );
});

Deno.test("A redirect that goes round in a circle comes to an end", async () => {
  await using server = calls(() => new Response(null, { status: 307, headers: { location: "/mcp" } }));
  assertStringIncludes(await errorOf(server), "answered with HTTP 307");
  assert(server.count("tools/call") < 10);
});

for (
  const [what, respond] of [
    ["an event", () => events(["data: ", ...Array(20).fill("x".repeat(1_000))], "stay")],
    ["an event of one line whole", () => events([`data: "${"x".repeat(12_000)}"\n\n`], "stay")],
    [
      "a body",
      () => new Response(`"${"x".repeat(12_000)}"`, { headers: { "content-type": "application/json" } }),
    ],
  ] as const
) {
  Deno.test(`A message over the bound ends the backend at once: ${what}`, async () => {
    await using server = calls(respond);
    const far = new OpenRemote(remote(server.url), { maxMessageBytes: 10 * 1024 });
    await far.initialize();
    far.ask("tools/call", { name: "a" });
    assertEquals(await far.exited(), { cause: "overlong", detail: "sent a message longer than 10240 bytes" });
    assertEquals(far.send(encodeNotification("n")), false);
    await far.backend.close();
    // Its session is ended all the same.
    assertEquals([far.order.at(-1), server.count("DELETE")], ["exit", 1]);
  });
}

Deno.test("A body that unpacks to very much costs no more than the bound, as an answer and as an error", async () => {
  // 512 MiB of blanks, packed into half a megabyte.
  const packed = await packedBlanks(512);
  const bomb = (status: number) =>
    new Response(packed, {
      status,
      headers: { "content-type": "application/json", "content-encoding": "gzip" },
    });
  await using server = calls((seen) => bomb(JSON.parse(seen.body).params.name === "a" ? 500 : 200));
  await using far = new OpenRemote(remote(server.url), { maxMessageBytes: 1024 * 1024 });
  await far.initialize();
  const before = Deno.memoryUsage().rss;
  const { error } = await far.request("tools/call", { name: "a" });
  assertStringIncludes(error!.message, "answered with HTTP 500");
  far.ask("tools/call", { name: "b" });
  assertEquals((await far.exited()).cause, "overlong");
  const grownMiB = (Deno.memoryUsage().rss - before) / 1024 / 1024;
  assert(grownMiB < 200, `grew by ${grownMiB} MiB`);
});

Deno.test("What is no message is garbage, and what follows it is not touched", async () => {
  await using server = calls((seen) =>
    events([
      "data: hello\n\n",
      "data: []\n\n",
      "event: other\ndata: not for us\n\n",
      ": a comment\n\n",
      `data: [{"jsonrpc":"2.0","method":"a"},7]\n\n`,
      `data: ${"0".repeat(300)}\n\n`,
      `data: {"jsonrpc":"2.0",\ndata: "id":${idOf(seen)},"result":{"n":1.0}}\n\n`,
    ])
  );
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  const { id, text } = await far.request("tools/call");
  assertEquals(far.garbages, ["hello", "[]", "0".repeat(200)]);
  assertEquals(far.order, ["message", "garbage", "garbage", "message", "garbage", "message"]);
  // Numbers keep their digits.
  assertEquals(text, `{"jsonrpc":"2.0", "id":${id},"result":{"n":1.0}}`);
});

Deno.test("What is sent arrives as it was written: digits, order of keys, blanks", async () => {
  await using server = scripted((_request, seen) => seen.rpc === "m" ? answer(seen, {}) : undefined);
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  const text =
    '{ "params":{"z":1.0,"a":1e2,"big":123456789012345678901},"method":"m","id":5,"jsonrpc":"2.0" }';
  far.send(text);
  await far.answer(5);
  assertEquals(server.seen.find(({ rpc }) => rpc === "m")?.body, text);
});

Deno.test("A server may answer over and over and keep the stream: nobody waits, and it is let go of in time", async () => {
  const clock = new FakeClock();
  const { promise: left, resolve: leave } = Promise.withResolvers<void>();
  const keep = (seen: Seen, headers: Record<string, string> = {}) => {
    const one = event({ jsonrpc: "2.0", id: idOf(seen), result: seen.rpc === "initialize" ? RESULT : {} });
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => [one, one].forEach((text) => controller.enqueue(new TextEncoder().encode(text))),
      cancel: () => seen.rpc === "tools/call" ? leave() : undefined,
    });
    return new Response(body, { headers: { "content-type": "text/event-stream", ...headers } });
  };
  await using server = scripted((_request, seen) => {
    if (seen.rpc === "initialize") return keep(seen, { "mcp-session-id": "up-1" });
    return seen.rpc === "tools/call" ? keep(seen) : undefined;
  });
  await using far = new OpenRemote(remote(server.url), { clock });
  await far.initialize();
  await far.request("tools/call");
  await clock.advance(5_000);
  await left;
  assertEquals(far.exits, []);
});

Deno.test("A call that was cancelled is let go of where its server does not, and nothing is told of it", async () => {
  await using server = calls(() => events([], "stay"));
  await using far = new OpenRemote(remote(server.url, { readTimeoutMs: 100 }));
  await far.initialize();
  const id = far.ask("tools/call");
  await eventually(() => server.count("tools/call") === 1, "the call");
  far.send(encodeNotification("notifications/cancelled", { requestId: id }));
  await eventually(() => server.count("notifications/cancelled") === 1, "its end");
  await new Promise((resolve) => setTimeout(resolve, 250));
  assertEquals(far.messages.filter(({ kind }) => kind === "response").length, 1);
  assertEquals((await far.request("ping")).result, {});
});

Deno.test("A close is over in time where the server does not answer the end of its session", async () => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  await using server = scripted((request) => request.method === "DELETE" ? promise : undefined);
  const far = new OpenRemote(remote(server.url));
  await far.initialize();
  const closed = far.backend.close();
  await eventually(() => server.count("DELETE") === 1, "the end of the session");
  // A later call may only make it faster.
  await Promise.all([closed, far.backend.close({ termAfterMs: 0, killAfterMs: 50 })]);
  assertEquals(far.exits, [{ cause: "exit", detail: "was closed" }]);
  resolve(undefined);
});

Deno.test("A server that is gone at the end of its session does not hold up the close", async () => {
  const server = new SdkServer();
  const far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  await server[Symbol.asyncDispose]();
  await far.backend.close();
  assertEquals(far.exits, [{ cause: "exit", detail: "was closed" }]);
});

/** A socket that takes no more connections. */
class FullQueue implements Disposable {
  readonly #listener = Deno.listen(
    { hostname: "127.0.0.1", port: 0, tcpBacklog: 1 } as Deno.TcpListenOptions,
  );
  readonly #connections: Deno.Conn[] = [];

  get port(): number {
    return this.#listener.addr.port;
  }

  async fill(): Promise<void> {
    for (;;) {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), 200);
      try {
        this.#connections.push(
          await Deno.connect({ hostname: "127.0.0.1", port: this.port, signal: late.signal }),
        );
      } catch {
        return;
      } finally {
        clearTimeout(timer);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection.close();
    this.#listener.close();
  }
}

/** So many MiB of blanks, gzipped. */
async function packedBlanks(mib: number): Promise<Uint8Array<ArrayBuffer>> {
  const blanks = new Uint8Array(1024 * 1024).fill(32);
  let left = mib;
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (left-- > 0) controller.enqueue(blanks);
      else controller.close();
    },
  });
  return new Uint8Array(await new Response(source.pipeThrough(new CompressionStream("gzip"))).arrayBuffer());
}
