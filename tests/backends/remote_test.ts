/**
 * The contract of a backend, held by servers elsewhere.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { encodeNotification } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { SdkServer } from "../fixtures/remote_servers.ts";
import { OpenRemote, remote } from "./remote_harness.ts";

for (const json of [false, true]) {
  const how = json ? "plain JSON" : "a stream";

  Deno.test(`A message goes to the server and its answer comes back in ${how}`, async () => {
    await using server = new SdkServer();
    server.json = json;
    await using far = new OpenRemote(remote(server.url));
    const { result } = await far.initialize();
    assertEquals(result?.serverInfo, server.identity);
    assertEquals(await far.call("echo", { message: "grüße €😀\u2028" }), "grüße €😀\u2028");
    await eventually(() => far.backend.queuedBytes === 0, "the queue to empty");
    assertEquals(far.backend.pid, undefined);
  });

  Deno.test(`A message of 3 MiB passes both ways with ${how}`, async () => {
    await using server = new SdkServer();
    server.json = json;
    await using far = new OpenRemote(remote(server.url));
    await far.initialize();
    const bytes = 3 * 1024 * 1024;
    assertEquals((await far.call("big", { bytes })).length, bytes);
    const message = "é".repeat(bytes / 2);
    assert(await far.call("echo", { message }) === message);
  });
}

Deno.test("What the server says unasked comes on its own stream, what it says meanwhile on the request's", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  await eventually(() => server.count("GET") === 1, "the standalone stream");
  await far.call("tell", { count: 3 });
  await far.call("unasked");
  const told = () =>
    far.messages.flatMap((message) => message.kind === "notification" ? [message.params?.data] : []);
  await eventually(() => told().length === 4, "all that was told");
  assertEquals(told(), [0, 1, 2, "unasked"]);
});

Deno.test("The server asks, and the answer reaches it", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  const call = far.ask("tools/call", { name: "ask", arguments: {} });
  const question = await eventually(
    () => far.messages.find((message) => message.kind === "request"),
    "the question",
  );
  assert(question.kind === "request");
  const content = { type: "text", text: "42" };
  far.send(
    JSON.stringify({
      jsonrpc: "2.0",
      id: question.id,
      result: { role: "assistant", model: "m", content },
    }),
  );
  const { result } = await far.answer(call);
  assertEquals(result?.content, [{ type: "text", text: JSON.stringify(content) }]);
});

Deno.test("Messages that want no answer keep their order", async () => {
  await using server = new SdkServer();
  await using far = new OpenRemote(remote(server.url));
  await far.initialize();
  for (let n = 0; n < 50; n++) far.send(encodeNotification(`notifications/n${n}`));
  await far.request("ping");
  const sent = server.seen.flatMap(({ rpc }) => rpc?.startsWith("notifications/n") ? [rpc] : []);
  assertEquals(sent, Array.from({ length: 50 }, (_, n) => `notifications/n${n}`));
});

Deno.test("A close ends the session at the server; nothing is sent after it, and the exit comes once", async () => {
  await using server = new SdkServer();
  const far = new OpenRemote(remote(server.url));
  await far.initialize();
  far.ask("tools/call", { name: "hang", arguments: {} });
  await eventually(() => server.count("tools/call") === 1, "the call");
  const closed = far.backend.close();
  assertEquals(far.send(encodeNotification("n")), false);
  await Promise.all([closed, far.backend.close()]);
  assertEquals([server.sessions.size, server.count("DELETE")], [0, 1]);
  assertEquals(far.exits, [{ cause: "exit", detail: "was closed" }]);
  assertEquals(far.order.filter((kind) => kind === "exit").length, 1);
  assertEquals(far.backend.queuedBytes, 0);
  await far.backend.close();
});

Deno.test("A backend that is closed right after it was opened has sent nothing, or ended what it opened", async () => {
  await using server = new SdkServer();
  for (let turns = 0; turns < 12; turns++) {
    const far = new OpenRemote(remote(server.url));
    far.ask("initialize", {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "c", version: "1" },
    });
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setTimeout(resolve));
    await far.backend.close();
    assertEquals([far.exits.length, server.sessions.size], [1, 0]);
  }
});

Deno.test("A backend that was sent nothing closes, and reports its exit", async () => {
  const far = new OpenRemote(remote("http://127.0.0.1:9/mcp"));
  await far.backend.close();
  assertEquals(far.exits, [{ cause: "exit", detail: "was closed" }]);
});
