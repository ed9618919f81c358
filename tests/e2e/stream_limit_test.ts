/**
 * The SDK's own client finishes its calls over responses that the gateway keeps ending (`STREAM_MAX_MS`).
 *
 * @module
 */
// The package's pattern of paths leads to its types only without the ".js".
// @ts-types="@modelcontextprotocol/sdk/client"
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
// @ts-types="@modelcontextprotocol/sdk/client/streamableHttp"
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
// @ts-types="@modelcontextprotocol/sdk/types"
import { ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { assert, assertEquals } from "@std/assert";
import { fixture } from "../fixtures/mod.ts";
import { Gateway } from "./gateway.ts";

const REPORTS = 60;
const EVERY_MS = 80;
const MAX_MS = 400;

Deno.test("A call of the SDK's client ends well over many responses, its progress complete and in order", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server") } },
    env: { STREAM_MAX_MS: String(MAX_MS), SSE_AFTER_MS: "100" },
  });
  let resumed = 0;
  const transport = new StreamableHTTPClientTransport(new URL(gateway.url("echo")), {
    fetch: async (input, init) => {
      const isResumption = new Headers(init?.headers).has("last-event-id");
      const response = await fetch(input, init);
      if (isResumption && response.status === 200) resumed++;
      return response;
    },
  });
  const client = new Client({ name: "e2e", version: "1" }, { capabilities: { roots: {} } });
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///kept" }] }));
  const errors: unknown[] = [];
  client.onerror = (error) => errors.push(error);
  // With exactOptionalPropertyTypes the SDK's class does not fit its own interface.
  await client.connect(transport as Parameters<Client["connect"]>[0]);

  const seen: number[] = [];
  const slow = client.callTool(
    { name: "progress", arguments: { n: REPORTS, everyMs: EVERY_MS } },
    undefined,
    { onprogress: ({ progress }) => seen.push(progress) },
  );
  const silent = client.callTool({ name: "slow", arguments: { ms: 3_000 } });
  // What the server asks in between reaches the client too, wherever its streams are.
  const asked = client.callTool({ name: "ask", arguments: {} });
  assertEquals((await asked).content, [{
    type: "text",
    text: JSON.stringify({ roots: [{ uri: "file:///kept" }] }),
  }]);
  assertEquals((await silent).content, [{ type: "text", text: "done" }]);
  assertEquals((await slow).content, [{ type: "text", text: "done" }]);
  assertEquals(seen, Array.from({ length: REPORTS }, (_, index) => index + 1));
  assert(resumed >= 3, `${resumed} responses were resumed`);
  assertEquals(errors, []);
  await transport.terminateSession();
  await client.close();
});
