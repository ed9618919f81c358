import { assert, assertEquals } from "@std/assert";
import { LINGER_MS } from "../../backends/attribution.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { settle } from "../fakes/fake_clock.ts";
import type { Listener } from "./pool_harness.ts";
import { Sharing, texts } from "./sharing.ts";

Deno.test("Requests by one id do not meet, and each answer goes where it belongs", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.sendText('{"id":1, "jsonrpc":"2.0","method":"m","params":{"n":1.50,"big":12345678901234567890}}');
  const first = sharing.lastId;
  b.send({ id: 1, method: "m" });
  const second = sharing.lastId;
  assert(first !== second);
  assertEquals(
    sharing.received[0]!.text,
    `{"id":${first}, "jsonrpc":"2.0","method":"m","params":{"n":1.50,"big":12345678901234567890}}`,
  );
  sharing.child.answer(second, { to: "b" });
  sharing.child.answer(first, { to: "a" });
  assertEquals(texts(a.messages), ['{"id":1,"result":{"to":"a"}}']);
  assertEquals(texts(b.messages), ['{"id":1,"result":{"to":"b"}}']);
  // An answer comes once, whatever the server does.
  sharing.child.answer(first, { to: "a" });
  sharing.child.answer(String(second), {});
  assertEquals([a.messages.length, b.messages.length], [1, 1]);
});

Deno.test("Progress goes to the request with the token, under the client's own", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.sendText('{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":1e400}}}');
  b.send({ id: 2, method: "m", params: { _meta: { progressToken: "t" } } });
  const [toA, toB] = sharing.received.map((message) => message.kind === "request" && message.id);
  assertEquals(
    sharing.received.map((message) => message.kind === "request" && message.params?._meta),
    [{ progressToken: toA }, { progressToken: toB }],
  );
  sharing.child.says({ method: "notifications/progress", params: { progressToken: toB, progress: 1 } });
  sharing.child.says({ method: "notifications/progress", params: { progressToken: toA, progress: 2 } });
  sharing.child.says({ method: "notifications/progress", params: { progressToken: "t", progress: 3 } });
  assertEquals(texts(a.messages), [
    '{"method":"notifications/progress","params":{"progressToken":1e400,"progress":2}}',
  ]);
  assertEquals(texts(b.messages), [
    '{"method":"notifications/progress","params":{"progressToken":"t","progress":1}}',
  ]);
  assertEquals((b.messages[0] as { params?: unknown }).params, { progressToken: "t", progress: 1 });
  // Neither after the answer, nor where none was asked for.
  sharing.child.answer(toB as number);
  sharing.child.says({ method: "notifications/progress", params: { progressToken: toB, progress: 4 } });
  a.send({ id: 3, method: "m" });
  sharing.child.says({
    method: "notifications/progress",
    params: { progressToken: sharing.lastId, progress: 5 },
  });
  assertEquals([a.messages.length, b.messages.length], [1, 2]);
});

Deno.test("A client cancels its own requests only, and late answers to those are dropped", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.send({ id: 1, method: "m" });
  const id = sharing.lastId;
  for (const requestId of [id, 1]) b.send({ method: "notifications/cancelled", params: { requestId } });
  assertEquals(sharing.received.length, 1);
  a.sendText('{"method":"notifications/cancelled","jsonrpc":"2.0","params":{"reason":"x", "requestId":1}}');
  assertEquals(
    sharing.received[1]!.text,
    `{"method":"notifications/cancelled","jsonrpc":"2.0","params":{"reason":"x", "requestId":${id}}}`,
  );
  sharing.child.answer(id);
  assertEquals([a.messages, b.messages], [[], []]);
});

Deno.test("A request of the server goes to the one session that it works for", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.send({ id: 1, method: "m" });
  sharing.child.says({
    id: "q",
    method: "sampling/createMessage",
    params: { _meta: { progressToken: "p" } },
  });
  assertEquals([a.messages.length, b.messages.length], [1, 0]);
  // Others cannot answer it, nor report on it.
  b.send({ id: "q", result: { from: "b" } });
  b.send({ method: "notifications/progress", params: { progressToken: "p", progress: 1 } });
  a.send({ method: "notifications/progress", params: { progressToken: "p", progress: 2 } });
  a.send({ id: "q", result: { from: "a" } });
  a.send({ id: "q", result: { from: "a", again: true } });
  assertEquals(texts(sharing.received.slice(1)), [
    '{"method":"notifications/progress","params":{"progressToken":"p","progress":2}}',
    '{"id":"q","result":{"from":"a"}}',
  ]);
});

Deno.test("The server may take back what it asked, and whoever was asked is told", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  a.send({ id: 1, method: "m" });
  sharing.child.says({ id: 5, method: "elicitation/create" });
  sharing.child.says({ id: 5, method: "elicitation/create" });
  b.send({ id: 2, method: "m" });
  sharing.child.says({ method: "notifications/cancelled", params: { requestId: 5 } });
  sharing.child.says({ method: "notifications/cancelled", params: { requestId: 5 } });
  assertEquals([a.messages.length, b.messages.length], [2, 0]);
  a.send({ id: 5, result: {} });
  assertEquals(sharing.received.length, 2);
});

Deno.test("A request of the server that is nobody's is refused, and says why", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  sharing.child.says({ id: 1, method: "roots/list" });
  a.send({ id: 1, method: "m" });
  b.send({ id: 1, method: "m" });
  sharing.child.says({ id: 2, method: "roots/list" });
  sharing.child.says({ id: 3, method: "ping" });
  const why = "The request belongs to no single session of those that share this server";
  assertEquals(texts(sharing.received.filter(({ kind }) => kind === "response")), [
    `{"id":1,"error":{"code":-32000,"message":"${why}: no request is in flight that roots/list could be for"}}`,
    `{"id":2,"error":{"code":-32000,"message":"${why}: requests of several are in flight, and roots/list names none of them"}}`,
    '{"id":3,"result":{}}',
  ]);
  assertEquals([a.messages, b.messages], [[], []]);
});

Deno.test("A cancelled request counts for a while: what is said for it is not taken for another's", async () => {
  await using sharing = new Sharing();
  const [a, b, c] = [await sharing.session(), await sharing.session(), await sharing.session()];
  a.send({ id: 1, method: "m" });
  b.send({ id: 1, method: "m" });
  a.send({ method: "notifications/cancelled", params: { requestId: 1 } });
  const asked = () => {
    sharing.child.says({ id: crypto.randomUUID(), method: "roots/list" });
    return b.messages.length;
  };
  assertEquals(asked(), 0);
  await sharing.clock.advance(LINGER_MS);
  assertEquals(asked(), 1);
  // The same where its session is gone.
  c.send({ id: 1, method: "m" });
  await c.close();
  assertEquals(asked(), 1);
  await sharing.clock.advance(LINGER_MS);
  assertEquals(asked(), 2);
});

Deno.test("An update goes to those that subscribed to the resource, or to one above it", async () => {
  await using sharing = new Sharing();
  const [a, b, c] = [await sharing.session(), await sharing.session(), await sharing.session()];
  const subscribe = (who: Listener, uri: string) => {
    who.send({ id: uri, method: "resources/subscribe", params: { uri } });
    sharing.child.answer(sharing.lastId);
  };
  subscribe(a, "file:///x");
  subscribe(b, "file:///x/y");
  subscribe(c, "file:///x/");
  for (const { messages } of [a, b, c]) messages.length = 0;
  const update = (uri: string) => {
    sharing.child.says({ method: "notifications/resources/updated", params: { uri } });
    return [a, b, c].map(({ messages }) => messages.splice(0).length);
  };
  assertEquals(update("file:///x"), [1, 0, 0]);
  assertEquals(update("file:///x/y"), [1, 1, 1]);
  assertEquals(update("file:///x/z?q#f"), [1, 0, 1]);
  assertEquals(update("file:///xy"), [0, 0, 0]);
  assertEquals(update("file:///"), [0, 0, 0]);
});

Deno.test("The server is subscribed as long as one session is", async () => {
  await using sharing = new Sharing();
  const [a, b, c] = [await sharing.session(), await sharing.session(), await sharing.session()];
  const uri = "r:1";
  const said = () => sharing.received.filter(({ kind }) => kind === "request").length;
  for (const session of [a, b]) {
    session.send({ id: 1, method: "resources/subscribe", params: { uri } });
    sharing.child.answer(sharing.lastId);
  }
  // Not by one that does not hold it, and not by one of two that do.
  c.send({ id: 2, method: "resources/unsubscribe", params: { uri } });
  a.send({ id: 2, method: "resources/unsubscribe", params: { uri } });
  await settle();
  assertEquals(said(), 2);
  assertEquals(texts([c.messages.at(-1)!, a.messages.at(-1)!]), [
    '{"id":2,"result":{}}',
    '{"id":2,"result":{}}',
  ]);
  sharing.child.says({ method: "notifications/resources/updated", params: { uri } });
  assertEquals([a.messages.length, b.messages.length, c.messages.length], [2, 2, 1]);
  b.send({ id: 2, method: "resources/unsubscribe", params: { uri } });
  assertEquals([said(), sharing.child.methods.at(-1)], [3, "resources/unsubscribe"]);
});

Deno.test("Who subscribes while the last other one leaves stays subscribed", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  const uri = "r:1";
  a.send({ id: 1, method: "resources/subscribe", params: { uri } });
  sharing.child.answer(sharing.lastId);
  b.send({ id: 1, method: "resources/subscribe", params: { uri } });
  await a.close();
  assertEquals(sharing.child.methods.filter((method) => method === "resources/unsubscribe"), []);
  // It is refused after all: then nobody holds what the server still has.
  sharing.child.says({ id: sharing.lastId, error: { code: -32602, message: "no" } });
  assertEquals(sharing.child.methods.at(-1), "resources/unsubscribe");
});

Deno.test("Who leaves or cancels before it is answered may have subscribed the server all the same", async () => {
  for (const way of ["leave", "cancel"]) {
    await using sharing = new Sharing();
    const [a, b] = [await sharing.session(), await sharing.session()];
    const params = { uri: "r:1" };
    a.send({ id: 1, method: "resources/subscribe", params });
    b.send({ id: 1, method: "resources/subscribe", params });
    const refused = sharing.lastId;
    if (way === "leave") await a.close();
    else a.send({ method: "notifications/cancelled", params: { requestId: 1 } });
    assert(!sharing.child.methods.includes("resources/unsubscribe"));
    sharing.child.says({ id: refused, error: { code: -32602, message: "no" } });
    assertEquals(sharing.child.methods.at(-1), "resources/unsubscribe", way);
  }
});

Deno.test("A session that ends takes back what it alone had at the server", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  for (const [session, uri] of [[a, "r:1"], [a, "r:2"], [b, "r:2"]] as const) {
    session.send({ id: uri, method: "resources/subscribe", params: { uri } });
    sharing.child.answer(sharing.lastId);
  }
  a.send({ id: 5, method: "m" });
  const id = sharing.lastId;
  sharing.child.says({ id: "q", method: "roots/list" });
  const before = sharing.received.length;
  await a.close();
  assertEquals(texts(sharing.received.slice(before)), [
    `{"method":"notifications/cancelled","params":{"requestId":${id},"reason":"its session is over"}}`,
    `{"id":${sharing.lastId},"method":"resources/unsubscribe","params":{"uri":"r:1"}}`,
    '{"id":"q","error":{"code":-32001,"message":"Session ended before the request was answered"}}',
  ]);
  const heard = a.messages.length;
  sharing.child.answer(id);
  sharing.child.answer(sharing.lastId);
  assertEquals([a.messages.length, a.exits], [heard, [{ cause: "exit", detail: "was closed" }]]);
});

Deno.test("That a list changed is told to those that have asked for it", async () => {
  await using sharing = new Sharing();
  const [a, b, c] = [await sharing.session(), await sharing.session(), await sharing.session()];
  a.send({ id: 1, method: "tools/list" });
  b.send({ id: 1, method: "resources/templates/list" });
  sharing.child.says({ method: "notifications/tools/list_changed" });
  sharing.child.says({ method: "notifications/resources/list_changed" });
  sharing.child.says({ method: "notifications/prompts/list_changed" });
  assertEquals(texts(a.messages), ['{"method":"notifications/tools/list_changed"}']);
  assertEquals(texts(b.messages), ['{"method":"notifications/resources/list_changed"}']);
  assertEquals(c.messages, []);
});

Deno.test("The server logs for the most talkative, and each session gets what it asked for", async () => {
  await using sharing = new Sharing();
  const [a, b, c] = [await sharing.session(), await sharing.session(), await sharing.session()];
  const setLevel = async (who: Listener, level: string) => {
    const before = sharing.received.length;
    who.send({ id: "l", method: "logging/setLevel", params: { level } });
    const asked = sharing.received.slice(before).map((message) =>
      message.kind === "request" && message.params?.level
    );
    if (asked.length > 0) sharing.child.answer(sharing.lastId);
    await settle();
    assertEquals(texts(who.messages.splice(0)), ['{"id":"l","result":{}}']);
    return asked;
  };
  assertEquals(await setLevel(a, "error"), ["error"]);
  assertEquals(await setLevel(b, "debug"), ["debug"]);
  assertEquals(await setLevel(a, "warning"), []);
  const logs = (level: string) => {
    sharing.child.says({ method: "notifications/message", params: { level, data: "x" } });
    return [a, b, c].map(({ messages }) => messages.splice(0).length);
  };
  assertEquals([logs("debug"), logs("warning"), logs("emergency")], [[0, 1, 0], [1, 1, 0], [1, 1, 0]]);
  // The most talkative wants less: the server is told the next.
  assertEquals(await setLevel(b, "error"), ["warning"]);
  assertEquals([logs("info"), logs("warning"), logs("error")], [[0, 0, 0], [1, 0, 0], [1, 1, 0]]);
  await a.close();
  assertEquals((sharing.received.at(-1) as { params?: unknown }).params, { level: "error" });
});

Deno.test("A level that the server refuses is no level", async () => {
  await using sharing = new Sharing();
  const a = await sharing.session();
  for (let n = 1; n <= 2; n++) {
    a.send({ id: n, method: "logging/setLevel", params: { level: "info" } });
    sharing.child.says({ id: sharing.lastId, error: { code: -32601, message: "no" } });
    sharing.child.says({ method: "notifications/message", params: { level: "error", data: "x" } });
    assertEquals(a.messages.length, n);
  }
});

Deno.test("A log message while the server works for one session is that one's, and for several nobody's", async () => {
  await using sharing = new Sharing();
  const [a, b, c] = [await sharing.session(), await sharing.session(), await sharing.session()];
  for (const session of [a, b]) {
    session.send({ id: 1, method: "logging/setLevel", params: { level: "info" } });
  }
  sharing.child.answer(sharing.lastId);
  await settle();
  const logs = () => {
    for (const { messages } of [a, b, c]) messages.length = 0;
    sharing.child.says({ method: "notifications/message", params: { level: "info", data: "x" } });
    return [a, b, c].map(({ messages }) => messages.length);
  };
  assertEquals(logs(), [1, 1, 0]);
  a.send({ id: 2, method: "m" });
  const first = sharing.lastId;
  assertEquals(logs(), [1, 0, 0]);
  b.send({ id: 2, method: "m" });
  assertEquals(logs(), [0, 0, 0]);
  sharing.child.answer(first);
  assertEquals(logs(), [0, 1, 0]);
  sharing.child.answer(sharing.lastId);
  c.send({ id: 2, method: "m" });
  assertEquals(logs(), [0, 0, 0]);
});

Deno.test("Tasks are refused, and not promised", async () => {
  await using sharing = new Sharing();
  sharing.children.autoInitialize = false;
  const a = sharing.listen();
  a.initialize();
  const capabilities = { tools: {}, tasks: { list: {} } };
  sharing.child.answer("sojourn:initialize", { ...INITIALIZE_RESULT, capabilities });
  a.send({ id: 1, method: "tasks/list" });
  a.send({ id: 2, method: "tools/call", params: { name: "x", task: { ttl: 1 } } });
  await settle();
  assertEquals(JSON.parse(a.texts[0]!).result, { ...INITIALIZE_RESULT, capabilities: { tools: {} } });
  assertEquals(texts(a.messages.slice(1)), [
    '{"id":1,"error":{"code":-32601,"message":"Not available on a server that sessions share: tasks/list"}}',
    '{"id":2,"error":{"code":-32601,"message":"Not available on a server that sessions share: tools/call as a task"}}',
  ]);
  assertEquals(sharing.received, []);
});

Deno.test("A message that can be read in two ways does not reach the server", async () => {
  await using sharing = new Sharing();
  const a = await sharing.session();
  a.sendText('{"jsonrpc":"2.0","id":1,"ID":2,"method":"tools/list"}');
  a.sendText('{"jsonrpc":"2.0","Id":3,"method":"notifications/x"}');
  await settle();
  assertEquals(
    JSON.parse(a.texts[0]!).error.message,
    'Message could be read in two ways: "id" is there twice, or in another spelling',
  );
  assertEquals(sharing.received, []);
  // An answer would be waited for.
  a.send({ id: 2, method: "m" });
  sharing.child.says({ id: "q", method: "roots/list" });
  a.sendText('{"jsonrpc":"2.0","id":"q","Result":{},"result":{}}');
  assertEquals(JSON.parse(sharing.received.at(-1)!.text).error.code, -32600);
});

Deno.test("What the child was told of no client is not told on", async () => {
  await using sharing = new Sharing();
  const a = await sharing.session();
  for (const method of ["initialized", "roots/list_changed", "tasks/status"]) {
    a.send({ method: `notifications/${method}` });
  }
  a.send({ id: 1, result: {} });
  a.send({ method: "notifications/progress", params: { progressToken: 1, progress: 1 } });
  a.sendText('{"jsonrpc":"2.0","method":"notifications/custom","params":{"n":1.0}}');
  assertEquals(sharing.received.map(({ text }) => text), [
    '{"jsonrpc":"2.0","method":"notifications/custom","params":{"n":1.0}}',
  ]);
});

Deno.test("A notification that is nobody's goes to the one session that the server works for, or to none", async () => {
  await using sharing = new Sharing();
  const [a, b] = [await sharing.session(), await sharing.session()];
  const says = () => sharing.child.says({ method: "notifications/custom" });
  says();
  a.send({ id: 1, method: "m" });
  says();
  b.send({ id: 1, method: "m" });
  says();
  assertEquals([a.messages.length, b.messages.length], [1, 0]);
});
