/**
 * The SDK's client of HTTP+SSE against real servers, through the real gateway.
 *
 * @module
 */
// The package's pattern of paths leads to its types only without the ".js".
// @ts-types="@modelcontextprotocol/sdk/client"
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
// @ts-types="@modelcontextprotocol/sdk/client/sse"
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
// @ts-types="@modelcontextprotocol/sdk/types"
import { type CallToolResult, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { FIRST_START_MS, Gateway } from "./gateway.ts";

const TOKEN = "a-token-that-nobody-guesses";
const ECHO = { echo: { ...fixture("echo_server") } };

function legacyUrl(gateway: Gateway, serverId: string): URL {
  return new URL(gateway.url(serverId).replace("/mcp/", "/sse/"));
}

/** Connects the SDK's client. */
async function connect(
  gateway: Gateway,
  serverId: string,
  { token, prepare }: { token?: string; prepare?: (client: Client) => void } = {},
): Promise<Client> {
  const client = new Client({ name: "e2e", version: "1" }, { capabilities: { roots: {} } });
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///kept" }] }));
  prepare?.(client);
  const headers = token === undefined ? undefined : { authorization: `Bearer ${token}` };
  const transport = new SSEClientTransport(
    legacyUrl(gateway, serverId),
    headers && { requestInit: { headers } },
  );
  // With exactOptionalPropertyTypes the SDK's class does not fit its own interface.
  try {
    await client.connect(transport as Parameters<Client["connect"]>[0], { timeout: FIRST_START_MS });
  } catch (error) {
    // It would try again by itself.
    await client.close();
    throw error;
  }
  return client;
}

async function text(client: Client, name: string, args: Record<string, unknown> = {}): Promise<string> {
  const { content } = await client.callTool({ name, arguments: args }) as CallToolResult;
  return content.map((part) => part.type === "text" ? part.text : `[${part.type}]`).join("\n");
}

Deno.test("The SDK's client of HTTP+SSE works with the filesystem server, and leaves nothing behind", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  const client = await connect(gateway, "filesystem");
  assertEquals(client.getServerVersion()?.name, "secure-filesystem-server");
  assert((await client.listTools()).tools.length > 5);
  await text(client, "write_file", { path: "note.txt", content: "Grüße ✓\n" });
  assertEquals(Deno.readTextFileSync(join(gateway.folder, "workspace", "note.txt")), "Grüße ✓\n");
  const paths = Array.from({ length: 20 }, (_, index) => `${index}.txt`);
  await Promise.all(paths.map((path) => text(client, "write_file", { path, content: path })));
  assertEquals(await Promise.all(paths.map((path) => text(client, "read_text_file", { path }))), paths);
  assertEquals(gateway.children().length, 1);
  await client.close();
  await gateway.waitForLine(/ended: client_gone/);
  await gateway.waitForChildren(0);
});

Deno.test("Progress, questions of the server and large answers reach the SDK's client of HTTP+SSE", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const client = await connect(gateway, "echo");
  const seen: number[] = [];
  await client.callTool({ name: "progress", arguments: { n: 30, everyMs: 10 } }, undefined, {
    onprogress: ({ progress }) => seen.push(progress),
  });
  assertEquals(seen, Array.from({ length: 30 }, (_, index) => index + 1));
  assertEquals(JSON.parse(await text(client, "ask")), { roots: [{ uri: "file:///kept" }] });
  assertEquals((await text(client, "big", { bytes: 8_000_000 })).length, 8_000_000);
  await assertRejects(
    () => client.request({ method: "no/such" }, ListRootsRequestSchema as never),
    Error,
    "No method",
  );
  await client.close();
  await gateway.waitForChildren(0);
});

Deno.test("A call in flight ends before the session of a client that is gone does", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const client = await connect(gateway, "echo");
  const pending = text(client, "slow", { ms: 1_500 }).catch((error) => error);
  // Asked after the call, and answered at once: the call is on its way.
  assertEquals(await text(client, "echo", { message: "there" }), "there");
  await client.close();
  await pending;
  assertEquals(gateway.children().length, 1);
  await gateway.waitForLine(/ended: client_gone/);
  await gateway.waitForChildren(0);
});

Deno.test("The SDK's client of HTTP+SSE needs the token, and nothing of it or of its URL is in the log", async () => {
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { ACCESS_TOKEN: TOKEN, LOG_LEVEL: "debug" },
  });
  for (const headers of [{}, { authorization: "Bearer wrong" }]) {
    const response = await fetch(legacyUrl(gateway, "echo"), { headers });
    assertEquals([response.status, response.headers.has("www-authenticate")], [401, true]);
    await response.body?.cancel();
  }
  const authorization = `Bearer ${TOKEN}`;
  const stream = await fetch(legacyUrl(gateway, "echo"), {
    headers: { accept: "text/event-stream", authorization },
  });
  const reader = stream.body!.getReader();
  const { value } = await reader.read();
  const endpoint = /data: (\S+)/.exec(new TextDecoder().decode(value))![1]!;
  const url = new URL(endpoint, gateway.url("echo"));
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" });
  const denied = await fetch(url, { method: "POST", body, headers: { "content-type": "application/json" } });
  assertEquals(denied.status, 401);
  await denied.body?.cancel();
  const foreign = await fetch(url, {
    method: "POST",
    body,
    headers: { authorization, origin: "http://evil.example" },
  });
  assertEquals(foreign.status, 403);
  await foreign.body?.cancel();
  const client = await connect(gateway, "echo", { token: TOKEN });
  assertEquals(await text(client, "echo", { message: "hi" }), "hi");
  await client.close();
  await reader.cancel();
  await gateway.waitForLine(/ended: client_gone/);
  await gateway.waitForChildren(0);
  const log = gateway.output;
  assertStringIncludes(log, "opened");
  for (const secret of [TOKEN, url.searchParams.get("sessionId")!]) assert(!log.includes(secret));
});

Deno.test("A gateway that stops ends the streams of HTTP+SSE, with a call in flight and without any session", async () => {
  const gateway = await Gateway.start({ servers: ECHO, env: { DRAIN_MS: "200" } });
  {
    await using _ = gateway;
    const client = await connect(gateway, "echo");
    const pending = text(client, "slow", { ms: 60_000 }).catch((error) => String(error));
    assertEquals(await text(client, "echo", { message: "there" }), "there");
    const unused = await fetch(legacyUrl(gateway, "echo"), { headers: { accept: "text/event-stream" } });
    const rest = unused.text();
    await gateway.stop();
    assertMatch(await pending, /shutting down/);
    assertMatch(await rest, /^event: endpoint\ndata: \/messages\?sessionId=\S+\n\n$/);
    await client.close();
  }
});

Deno.test("LEGACY_SSE=false turns HTTP+SSE off", async () => {
  await using gateway = await Gateway.start({ servers: ECHO, env: { LEGACY_SSE: "false" } });
  const response = await fetch(legacyUrl(gateway, "echo"));
  assertEquals(response.status, 404);
  await response.body?.cancel();
});
