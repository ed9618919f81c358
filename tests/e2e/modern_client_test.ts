/**
 * A client of revision 2026-07-28, which knows no sessions, finds out that the gateway serves those before it, and
 * works with them: the SDK's second version, in `auto` mode.
 *
 * @module
 */
import {
  Client,
  type ClientCapabilities,
  StreamableHTTPClientTransport,
  UnsupportedProtocolVersionError,
  type VersionNegotiationMode,
} from "@modelcontextprotocol/client";
import { assert, assertArrayIncludes, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { FIRST_START_MS, Gateway } from "./gateway.ts";

/** What it sent and got, one entry for each HTTP request: the message's method and the response's status. */
type Exchanges = { sent: string; status: number }[];

/** A client that is not connected, and all that it will send. */
function modernClient(
  gateway: Gateway,
  serverId: string,
  { mode = "auto", capabilities = {} }: { mode?: VersionNegotiationMode; capabilities?: ClientCapabilities } =
    {},
) {
  const exchanges: Exchanges = [];
  const client = new Client({ name: "e2e", version: "1" }, { capabilities, versionNegotiation: { mode } });
  const transport = new StreamableHTTPClientTransport(new URL(gateway.url(serverId)), {
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      const sent = typeof init?.body === "string" ? JSON.parse(init.body).method : init?.method ?? "GET";
      exchanges.push({ sent, status: response.status });
      return response;
    },
  });
  const connect = () => client.connect(transport, { timeout: FIRST_START_MS });
  return {
    ...{ client, transport, exchanges, connect },
    async [Symbol.asyncDispose]() {
      if (transport.sessionId !== undefined) await transport.terminateSession();
      await client.close();
    },
  };
}

Deno.test("A modern client falls back to a session and works with it", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  {
    const asked: string[] = [];
    await using modern = modernClient(gateway, "everything", {
      capabilities: { sampling: {} },
    });
    const { client, exchanges } = modern;
    client.setRequestHandler("sampling/createMessage", ({ params }) => {
      asked.push(JSON.stringify(params.messages));
      return { model: "none", role: "assistant", content: { type: "text", text: "sampled answer" } };
    });
    await modern.connect();
    assertEquals(exchanges.slice(0, 3), [
      { sent: "server/discover", status: 400 },
      { sent: "initialize", status: 200 },
      { sent: "notifications/initialized", status: 202 },
    ]);
    assertEquals(client.getProtocolEra(), "legacy");
    assertEquals(client.getNegotiatedProtocolVersion(), "2025-11-25");
    assert(modern.transport.sessionId !== undefined);

    const { tools } = await client.listTools();
    assertArrayIncludes(tools.map(({ name }) => name), ["echo", "trigger-sampling-request"]);
    const echo = await client.callTool({ name: "echo", arguments: { message: "hi ✓" } });
    assertEquals(echo.content, [{ type: "text", text: "Echo: hi ✓" }]);

    const progress: number[] = [];
    await client.callTool(
      { name: "trigger-long-running-operation", arguments: { duration: 0.2, steps: 2 } },
      { onprogress: (update) => progress.push(update.progress) },
    );
    assertEquals(progress, [1, 2]);

    const sampled = await client.callTool({
      name: "trigger-sampling-request",
      arguments: { prompt: "what is it?" },
    });
    assertStringIncludes(JSON.stringify(sampled.content), "sampled answer");
    assertStringIncludes(asked.join(), "what is it?");

    const { resources } = await client.listResources();
    const { contents } = await client.readResource({ uri: resources[0]!.uri });
    assertEquals(contents.length, 1);
    const { prompts } = await client.listPrompts();
    assertArrayIncludes(prompts.map(({ name }) => name), ["simple-prompt"]);
    // The question of the beginning opened nothing.
    assertEquals(gateway.children().length, 1);
  }
  await gateway.waitForChildren(0);
});

Deno.test("A modern client that insists on its revision is told which ones there are, and opens nothing", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  await using modern = modernClient(gateway, "everything", { mode: { pin: "2026-07-28" } });
  const error = await assertRejects(() => modern.connect(), UnsupportedProtocolVersionError);
  assertEquals(error.requested, "2026-07-28");
  assertArrayIncludes([...error.supported], ["2025-03-26", "2025-06-18", "2025-11-25"]);
  assertEquals(modern.exchanges, [{ sent: "server/discover", status: 400 }]);
  assertEquals(modern.transport.sessionId, undefined);
  assertEquals(gateway.children(), []);
});
