/**
 * A session of ours at a server elsewhere: forgotten, opened again, its streams lost and taken up.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { encodeNotification } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { FakeClock } from "../fakes/fake_clock.ts";
import {
  answer,
  event,
  events,
  idOf,
  RESULT,
  scripted,
  SdkServer,
  type Seen,
} from "../fixtures/remote_servers.ts";
import { CLIENT, OpenRemote, remote } from "./remote_harness.ts";

/** Resolves when somebody waits so long, and nothing else goes on: a request under way has a time-out of its own. */
async function waits(clock: FakeClock, ms: number): Promise<void> {
  await eventually(() => clock.pending === 1 && clock.nextAt - clock.now() === ms, `a wait of ${ms} ms`);
}

const sessionsOf = (seen: readonly Seen[]) => seen.map(({ headers }) => headers.get("mcp-session-id"));

Deno.test("A forgotten session is opened again with the client's own words, and the call sent once more", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  const [before] = server.sessions.keys();
  await server.forget();
  assertEquals(await far.call("echo", { message: "again" }), "again");
  const [after, ...more] = server.sessions.keys();
  assert(before !== after && more.length === 0);
  const of = (rpc: string) => server.seen.filter((seen) => seen.rpc === rpc);
  assertEquals(of("initialize").map(({ body }) => body).length, 2);
  assertEquals(of("initialize")[1]?.body, of("initialize")[0]?.body);
  assertEquals(of("notifications/initialized").length, 2);
  assertEquals(sessionsOf(of("tools/call")), [before!, before!, after!]);
  assertEquals(sessionsOf(of("initialize")), [null, null]);
  // Its client is told of no second answer.
  assertEquals(far.messages.filter(({ kind }) => kind === "response").length, 3);
  // The standalone stream goes on in the new one.
  await eventually(
    () => server.seen.some((seen) => seen.method === "GET" && sessionsOf([seen])[0] === after),
    "the standalone stream",
  );
});

Deno.test("What the client had asked the server to go on doing is asked for again", async () => {
  let isForgotten = false;
  await using server = scripted((_request, seen) => {
    const isOld = seen.headers.get("mcp-session-id") === "up-1";
    if (seen.rpc === "initialize") {
      return answer(seen, RESULT, { "mcp-session-id": isForgotten ? "up-2" : "up-1" });
    }
    if (seen.method === "POST" && isForgotten && isOld) return new Response(null, { status: 404 });
    return seen.rpc?.startsWith("notifications/")
      ? undefined
      : seen.method === "POST"
      ? answer(seen, {})
      : undefined;
  });
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  for (const uri of ["a:1", "a:2"]) await far.request("resources/subscribe", { uri });
  await far.request("resources/unsubscribe", { uri: "a:1" });
  for (const level of ["info", "debug"]) await far.request("logging/setLevel", { level });
  const before = server.seen.length;
  isForgotten = true;
  assertEquals((await far.request("ping")).result, {});
  const params = server.seen.slice(before).flatMap(({ rpc, body }) =>
    rpc === "resources/subscribe" || rpc === "logging/setLevel" ? [JSON.parse(body).params] : []
  );
  assertEquals(params, [{ uri: "a:2" }, { level: "debug" }]);
  // None of the answers is the client's.
  assertEquals(far.messages.length, 1 + 2 + 1 + 2 + 1);
});

Deno.test("Many calls that meet a forgotten session open it again once", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  await server.forget();
  const texts = Array.from({ length: 20 }, (_, n) => String(n));
  assertEquals(await Promise.all(texts.map((message) => far.call("echo", { message }))), texts);
  assertEquals([server.count("initialize"), server.sessions.size], [2, 1]);
});

Deno.test("A notification that meets a forgotten session is sent once more too", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  await server.forget();
  far.send(encodeNotification("notifications/roots/list_changed"));
  await far.request("ping");
  assertEquals(server.count("notifications/roots/list_changed"), 2);
});

Deno.test("A session that is forgotten again at once is an error, and no loop", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  server.before = (_request, seen) =>
    seen.rpc === "tools/call" ? new Response(null, { status: 404 }) : undefined;
  assertStringIncludes(await far.call("echo", { message: "x" }), "answered with HTTP 404");
  assertEquals([server.count("tools/call"), server.count("initialize"), far.exits.length], [2, 2, 0]);
});

Deno.test("A server without sessions is not asked to open one again", async () => {
  await using server = scripted((_request, seen) => {
    if (seen.rpc === "initialize") return answer(seen, RESULT);
    return seen.rpc === "tools/call" ? new Response(null, { status: 404 }) : undefined;
  });
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  assertStringIncludes(await far.call("x"), "answered with HTTP 404");
  assertEquals([server.count("initialize"), server.count("tools/call"), server.count("DELETE")], [1, 1, 0]);
});

Deno.test("A request that may have been taken is never sent again, also where the session is gone by then", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  const call = far.ask("tools/call", { name: "hang", arguments: {} });
  await eventually(() => server.count("tools/call") === 1, "the call");
  await server.forget();
  assertStringIncludes((await far.answer(call)).error!.message, "before it answered");
  assertEquals(server.count("tools/call"), 1);
});

// [what is not as it was, how the backend ends].
const CHANGES: [Record<string, unknown>, string][] = [
  [{ capabilities: { tools: {}, prompts: {} } }, "has other capabilities"],
  [{ serverInfo: { name: "else", version: "1" } }, "has another name"],
  [{ protocolVersion: "2025-06-18" }, "speaks another protocol version"],
];
for (const [change, detail] of CHANGES) {
  Deno.test(`A server that ${detail} when asked again ends the backend`, async () => {
    let isForgotten = false;
    await using server = scripted((_request, seen) => {
      if (seen.rpc === "initialize" && isForgotten) {
        return answer(seen, { ...RESULT, ...change }, { "mcp-session-id": "up-2" });
      }
      return isForgotten && seen.headers.get("mcp-session-id") === "up-1"
        ? new Response(null, { status: 404 })
        : undefined;
    });
    const far = new OpenRemote(remote(server.url));
    await far.initialize();
    await eventually(() => server.count("GET") === 1, "the handshake");
    isForgotten = true;
    far.ask("tools/call", { name: "a" });
    assertEquals(await far.exited(), { cause: "exit", detail: `forgot its session, and ${detail}` });
    await far.backend.close();
    assertEquals(far.messages.length, 1);
    assertEquals(server.count("tools/call"), 1);
    // Neither of the two sessions stays.
    assertEquals(sessionsOf(server.seen.filter(({ method }) => method === "DELETE")).toSorted(), [
      "up-1",
      "up-2",
    ]);
  });
}

Deno.test("Where only the order of keys or the version of the server is another, nobody could tell", async () => {
  let round = 0;
  await using server = scripted((_request, seen) => {
    if (seen.rpc === "initialize") {
      const capabilities = round === 0 ? { a: { x: 1, y: 2 }, b: {} } : { b: {}, a: { y: 2, x: 1 } };
      const serverInfo = { name: "s", version: String(round) };
      return answer(seen, { ...RESULT, capabilities, serverInfo }, { "mcp-session-id": `up-${round}` });
    }
    if (seen.method !== "POST") return undefined;
    if (seen.headers.get("mcp-session-id") !== `up-${round}`) return new Response(null, { status: 404 });
    return seen.rpc === "ping" ? answer(seen, {}) : undefined;
  });
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await eventually(() => server.count("GET") === 1, "the handshake");
  round = 1;
  assertEquals((await far.request("ping")).result, {});
});

Deno.test("Where a session cannot be opened again the call gets an error, and the next one tries once more", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  await server.forget();
  server.before = (_request, seen) =>
    seen.rpc === "initialize" ? new Response(null, { status: 503 }) : undefined;
  assertStringIncludes(
    await far.call("echo", { message: "x" }),
    "forgot its session, and when asked to open it again it answered with HTTP 503",
  );
  server.before = () => undefined;
  assertEquals(await far.call("echo", { message: "back" }), "back");
  assertEquals(far.exits, []);
});

Deno.test("A close while a session is opened again leaves neither", async () => {
  await using server = new SdkServer();
  const far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  await server.forget();
  far.ask("tools/call", { name: "echo", arguments: { message: "x" } });
  await eventually(() => server.count("initialize") === 2, "the second handshake");
  await far.backend.close();
  assertEquals([server.sessions.size, far.exits.length], [0, 1]);
});

Deno.test("The session's id and version go with every request, and are told nobody", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await far.call("echo", { message: "x" });
  const [id] = server.sessions.keys();
  await eventually(() => server.count("GET") === 1, "the standalone stream");
  const later = server.seen.filter(({ rpc }) => rpc !== "initialize");
  assertEquals(new Set(sessionsOf(later)), new Set([id!]));
  assertEquals(
    new Set(later.map(({ headers }) => headers.get("mcp-protocol-version"))),
    new Set(["2025-11-25"]),
  );
  assert(!JSON.stringify(far.messages).includes(id!));
});

Deno.test("Headers of the entry and of the client go with every request, the end of the session too", async () => {
  const server = new SdkServer();
  {
    const entry = remote(server.url, { headers: { "X-Key": "k1" }, forwardHeaders: ["x-user"] });
    await using far = new OpenRemote(entry, { owner: { forwarded: { "x-user": "ada" } } });
    await far.initialize();
    await far.call("echo", { message: "x" });
    await eventually(() => server.count("GET") === 1, "the standalone stream");
  }
  const came = server.seen.map((
    { method, headers },
  ) => [method, headers.get("x-key"), headers.get("x-user")]);
  assertEquals(came.map(([, key, user]) => [key, user]), came.map(() => ["k1", "ada"]));
  assertEquals(new Set(came.map(([method]) => method)), new Set(["POST", "GET", "DELETE"]));
  await server[Symbol.asyncDispose]();
});

Deno.test("A stream of a request that breaks off is taken up where it was, by the server's own wait", async () => {
  const clock = new FakeClock();
  let id: unknown;
  await using server = scripted((_request, seen) => {
    if (seen.rpc === "tools/call") {
      id = idOf(seen);
      return events(
        ["id: e1\nretry: 3000\ndata: \n\n", event({ jsonrpc: "2.0", method: "a" }, "e2")],
        "break",
      );
    }
    if (seen.method !== "GET" || seen.headers.get("last-event-id") === null) return undefined;
    const after = seen.headers.get("last-event-id");
    if (after === "e2") return events([event({ jsonrpc: "2.0", method: "b" }, "e3")]);
    return events([event({ jsonrpc: "2.0", id, result: { after } }, "e4")]);
  });
  await using far = new OpenRemote(remote(server.url), { clock });
  await far.initialize();
  const call = far.ask("tools/call");
  const resumed = () => server.seen.filter(({ headers }) => headers.has("last-event-id")).length;
  await eventually(() => far.messages.length === 2, "the first part");
  await waits(clock, 3_000);
  await clock.advance(2_999);
  assertEquals(resumed(), 0);
  await clock.advance(1);
  await eventually(() => far.messages.length === 3, "the second part");
  await waits(clock, 3_000);
  await clock.advance(3_000);
  assertEquals((await far.answer(call)).result, { after: "e3" });
  assertEquals([resumed(), server.count("tools/call")], [2, 1]);
});

Deno.test("A stream that cannot be taken up is given up after five attempts, each after a longer wait", async () => {
  const clock = new FakeClock();
  await using server = scripted((_request, seen) => {
    if (seen.rpc === "tools/call") return events(["id: e1\ndata: \n\n"], "break");
    return seen.headers.has("last-event-id") ? new Response(null, { status: 503 }) : undefined;
  });
  await using far = new OpenRemote(remote(server.url), { clock });
  await far.initialize();
  const call = far.ask("tools/call");
  const resumed = () => server.seen.filter(({ headers }) => headers.has("last-event-id")).length;
  for (const [attempt, waitMs] of [500, 1_000, 2_000, 4_000, 8_000].entries()) {
    await waits(clock, waitMs);
    await clock.advance(waitMs - 1);
    assertEquals(resumed(), attempt);
    await clock.advance(1);
    await eventually(() => resumed() === attempt + 1, "the attempt");
  }
  assertStringIncludes((await far.answer(call)).error!.message, "answered with HTTP 503");
});

Deno.test("A standalone stream that ends at once is come back for ever more slowly, from where it was", async () => {
  const clock = new FakeClock();
  await using server = scripted((_request, seen) =>
    seen.method === "GET"
      ? events([event({ jsonrpc: "2.0", method: "n" }, `e${server.count("GET")}`)])
      : undefined
  );
  await using far = new OpenRemote(remote(server.url), { clock });
  await far.initialize();
  for (const [index, waitMs] of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000].entries()) {
    await waits(clock, waitMs);
    assertEquals(far.messages.length, index + 2);
    assertEquals(server.count("GET"), index + 1);
    await clock.advance(waitMs - 1);
    assertEquals(server.count("GET"), index + 1);
    await clock.advance(1);
  }
  const gets = server.seen.filter(({ method }) => method === "GET");
  assertEquals(gets.slice(0, 3).map(({ headers }) => headers.get("last-event-id")), [null, "e1", "e2"]);
});

for (const status of [405, 404, 401, 200]) {
  Deno.test(`A server that answers ${status} to the standalone stream is not asked again`, async () => {
    const clock = new FakeClock();
    await using server = scripted((_request, seen) =>
      seen.method === "GET" ? new Response(status === 200 ? "x" : null, { status }) : undefined
    );
    await using far = new OpenRemote(remote(server.url), { clock });
    await far.initialize();
    await eventually(() => server.count("GET") === 1, "the attempt");
    await clock.advance(3_600_000);
    assertEquals([server.count("GET"), far.exits.length], [1, 0]);
  });
}

for (const json of [false, true]) {
  Deno.test(`A paused backend stops reading ${json ? "a body" : "a stream"}, takes messages, and is closed`, async () => {
    const chunk = "x".repeat(64 * 1024);
    let pulled = 0;
    const endless = () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            pulled += chunk.length;
            const text = json ? chunk : event({ jsonrpc: "2.0", method: "n", params: { chunk } });
            controller.enqueue(new TextEncoder().encode(text));
          },
        }, { highWaterMark: 0 }),
        { headers: { "content-type": json ? "application/json" : "text/event-stream" } },
      );
    await using server = scripted((_request, seen) => {
      if (seen.rpc === "ping") return answer(seen, {});
      return seen.rpc === "tools/call" ? endless() : undefined;
    });
    await using far = new OpenRemote(remote(server.url), { maxMessageBytes: 1e9 });
    await far.initialize();
    far.backend.pause();
    far.backend.pause();
    far.ask("tools/call");
    let last = -1;
    // What the sockets hold is some megabytes, and then it stands still.
    while (pulled !== last || pulled === 0) {
      last = pulled;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const held = far.messages.length;
    assert(pulled < 16 * 1024 * 1024, `${pulled} bytes were read of a server that should wait`);
    assert(held <= 2, `${held} messages came`);
    far.send(encodeNotification("notifications/roots/list_changed"));
    await eventually(() => server.count("notifications/roots/list_changed") === 1, "the message");
    await eventually(() => far.backend.queuedBytes === 0, "it to be taken");
    far.backend.resume();
    await eventually(() => pulled > last + 1024 * 1024, "it to go on");
    far.backend.pause();
  });
}

Deno.test("What the server has not taken is counted, and let go of at the end", async () => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  await using server = scripted((_request, seen) =>
    seen.rpc?.startsWith("notifications/n") ? promise : undefined
  );
  const far = new OpenRemote(remote(server.url));
  await far.initialize();
  const text = encodeNotification("notifications/n", { text: "ü".repeat(100_000) });
  for (let n = 0; n < 10; n++) far.send(text);
  await eventually(() => server.count("notifications/n") === 1, "the first");
  assertEquals(far.backend.queuedBytes, 10 * new TextEncoder().encode(text).length);
  await far.backend.close();
  assertEquals(far.backend.queuedBytes, 0);
  resolve(undefined);
});

Deno.test("100 backends leave no connection, no timer and no descriptor", async () => {
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  await using server = new SdkServer();
  const round = async (count: number) => {
    const all = Array.from({ length: count }, () => new OpenRemote(remote(server.url)));
    await Promise.all(all.map((far) => far.initialize(CLIENT)));
    await Promise.all(all.map((far) => far.call("echo", { message: "x" })));
    await Promise.all(all.map((far) => far.backend.close()));
  };
  await round(10);
  await eventually(() => server.sessions.size === 0, "the sessions to end");
  const before = descriptors();
  for (let n = 0; n < 4; n++) await round(25);
  assertEquals(server.sessions.size, 0);
  await eventually(() => descriptors() <= before, "the descriptors to be closed");
});
