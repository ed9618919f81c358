/**
 * The SDK's own client against the real servers of the committed `mcp-servers.json`.
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
  type ClientCapabilities,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import {
  assert,
  assertArrayIncludes,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { committedServers, FIRST_START_MS, Gateway, PROJECT } from "./gateway.ts";

/** A connected client. Disposing it ends its session and closes it. */
class Connected implements AsyncDisposable {
  readonly client: Client;
  readonly #transport: StreamableHTTPClientTransport;

  private constructor(client: Client, transport: StreamableHTTPClientTransport) {
    this.client = client;
    this.#transport = transport;
  }

  /** @param prepare Registers handlers before the client connects. */
  static async to(
    gateway: Gateway,
    serverId: string,
    { capabilities = {}, prepare }: {
      capabilities?: ClientCapabilities;
      prepare?: (client: Client) => void;
    } = {},
  ): Promise<Connected> {
    const client = new Client({ name: "e2e", version: "1" }, { capabilities });
    prepare?.(client);
    const transport = new StreamableHTTPClientTransport(new URL(gateway.url(serverId)));
    // With exactOptionalPropertyTypes the SDK's class does not fit its own interface.
    await client.connect(transport as Parameters<Client["connect"]>[0], { timeout: FIRST_START_MS });
    return new Connected(client, transport);
  }

  /** Calls a tool and returns the text of its answer. */
  async text(name: string, args: Record<string, unknown> = {}): Promise<string> {
    return textOf(await this.client.callTool({ name, arguments: args }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport.terminateSession();
    await this.client.close();
  }
}

function textOf(result: Awaited<ReturnType<Client["callTool"]>>): string {
  const { content } = result as CallToolResult;
  return content.map((part) => part.type === "text" ? part.text : `[${part.type}]`).join("\n");
}

Deno.test("The SDK's client works with the filesystem server, and no further than its folder", async () => {
  await using gateway = await Gateway.start({ servers: "committed", files: { "secret.txt": "not yours" } });
  {
    await using files = await Connected.to(gateway, "filesystem");
    assertEquals(files.client.getServerVersion()?.name, "secure-filesystem-server");
    const { tools } = await files.client.listTools();
    assertArrayIncludes(tools.map(({ name }) => name), ["read_text_file", "write_file", "list_directory"]);

    await files.text("write_file", { path: "note.txt", content: "Grüße ✓\n" });
    assertEquals(Deno.readTextFileSync(join(gateway.folder, "workspace", "note.txt")), "Grüße ✓\n");
    assertEquals(await files.text("read_text_file", { path: "note.txt" }), "Grüße ✓\n");
    assertStringIncludes(await files.text("list_directory", { path: "." }), "[FILE] note.txt");

    const paths = Array.from({ length: 20 }, (_, index) => `${index}.txt`);
    await Promise.all(paths.map((path) => files.text("write_file", { path, content: path })));
    const read = await Promise.all(paths.map((path) => files.text("read_text_file", { path })));
    assertEquals(read, paths);

    // The server's own rule.
    for (const path of ["../secret.txt", join(gateway.folder, "secret.txt"), "/etc/hostname"]) {
      const refused = await files.client.callTool({ name: "read_text_file", arguments: { path } });
      assert(refused.isError);
      assertMatch(textOf(refused), /Access denied/);
    }
    assertEquals(gateway.children().length, 1);
  }
  await gateway.waitForChildren(0);
});

Deno.test("Deno holds the filesystem server to its folder where its own rule does not", async () => {
  const { filesystem } = committedServers();
  const args = filesystem!.args as string[];
  assertArrayIncludes(args, ["--no-prompt", "--allow-read=workspace", "--allow-write=workspace"]);
  await using gateway = await Gateway.start({
    servers: {
      filesystem: filesystem!,
      // The same, but it may read everywhere.
      reader: {
        ...filesystem,
        args: args.map((arg) => arg.replace("--allow-read=workspace", "--allow-read")),
      },
    },
    files: {
      "outside/secret.txt": "secret",
      "workspace/.gitkeep": "",
      "servers.lock": Deno.readTextFileSync(join(PROJECT, "servers.lock")),
    },
  });
  const outside = join(gateway.folder, "outside");
  const path = join(outside, "secret.txt");
  // A client's roots replace the folder that this server allows.
  const options = {
    capabilities: { roots: {} },
    prepare: (client: Client) =>
      client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: `file://${outside}` }] })),
  };
  await using files = await Connected.to(gateway, "filesystem", options);
  await gateway.waitForLine(/server filesystem on stderr: .*inaccessible: file:.*outside/);
  const refused = await files.client.callTool({ name: "read_text_file", arguments: { path } });
  assert(refused.isError);

  await using reader = await Connected.to(gateway, "reader", options);
  await gateway.waitForLine(/server reader on stderr: Updated allowed directories/);
  assertEquals(await reader.text("read_text_file", { path }), "secret");
  const write = await reader.client.callTool({ name: "write_file", arguments: { path, content: "y" } });
  assert(write.isError);
  assertMatch(textOf(write), /Requires write access/);
  assertEquals(Deno.readTextFileSync(path), "secret");
});

Deno.test("The SDK's client lists, calls, reads and prompts on the everything server", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  {
    await using all = await Connected.to(gateway, "everything");
    const { client } = all;
    assertMatch(client.getInstructions() ?? "", /Everything Server/);
    await client.ping();
    const { tools } = await client.listTools();
    assertArrayIncludes(tools.map(({ name }) => name), ["echo", "get-sum", "trigger-long-running-operation"]);
    assertEquals(await all.text("echo", { message: "hi ✓ \u2028 \n" }), "Echo: hi ✓ \u2028 \n");
    assertStringIncludes(await all.text("get-sum", { a: 2, b: 3 }), "5");
    assertStringIncludes(await all.text("get-tiny-image"), "[image]");
    const weather = await client.callTool({
      name: "get-structured-content",
      arguments: { location: "Chicago" },
    });
    assertEquals(typeof (weather.structuredContent as { temperature: unknown }).temperature, "number");

    const { resources } = await client.listResources();
    const { contents } = await client.readResource({ uri: resources[0]!.uri });
    assert("text" in contents[0]! && contents[0].text.length > 100);
    const { resourceTemplates } = await client.listResourceTemplates();
    assertEquals(resourceTemplates.length, 2);
    const blob = await client.readResource({ uri: "demo://resource/dynamic/blob/1" });
    assert("blob" in blob.contents[0]!);

    const { prompts } = await client.listPrompts();
    assertArrayIncludes(prompts.map(({ name }) => name), ["simple-prompt", "args-prompt"]);
    const prompt = await client.getPrompt({ name: "args-prompt", arguments: { city: "Oslo" } });
    assertStringIncludes(JSON.stringify(prompt.messages), "Oslo");
    const completion = await client.complete({
      ref: { type: "ref/prompt", name: "completable-prompt" },
      argument: { name: "department", value: "E" },
    });
    assertArrayIncludes(completion.completion.values, ["Engineering"]);

    const unknown = await client.callTool({ name: "no-such-tool", arguments: {} });
    assert(unknown.isError);
    assertEquals(gateway.children().length, 1);
  }
  await gateway.waitForChildren(0);
  // What the committed lock file says of the servers is complete: running them adds nothing.
  const lock = Deno.readTextFileSync(join(gateway.folder, "servers.lock"));
  assertEquals(lock, Deno.readTextFileSync(join(PROJECT, "servers.lock")));
});

Deno.test("The SDK's client gets the progress of a long call, in order and before its answer", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  await using all = await Connected.to(gateway, "everything");
  const events: string[] = [];
  const call = all.client.callTool(
    { name: "trigger-long-running-operation", arguments: { duration: 0.5, steps: 5 } },
    undefined,
    { onprogress: ({ progress, total }) => events.push(`${progress}/${total}`) },
  ).then((result) => {
    events.push("answer");
    return result;
  });
  assertEquals(await all.text("echo", { message: "meanwhile" }), "Echo: meanwhile");
  assertMatch(textOf(await call), /completed/);
  assertEquals(events, ["1/5", "2/5", "3/5", "4/5", "5/5", "answer"]);
});

Deno.test("The SDK's client answers requests for sampling, elicitation and roots", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  const asked: string[] = [];
  await using all = await Connected.to(gateway, "everything", {
    capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } },
    prepare: (client) => {
      client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
        asked.push(JSON.stringify(params.messages));
        return { model: "none", role: "assistant", content: { type: "text", text: "sampled answer" } };
      });
      client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
        asked.push(params.message);
        return { action: "decline" };
      });
      client.setRequestHandler(ListRootsRequestSchema, () => {
        asked.push("roots");
        return { roots: [{ uri: "file:///some/root", name: "root" }] };
      });
    },
  });
  const sampled = await all.text("trigger-sampling-request", { prompt: "what is it?", maxTokens: 10 });
  assertStringIncludes(sampled, "sampled answer");
  assert(asked.some((message) => message.includes("what is it?")));

  assertMatch(await all.text("trigger-elicitation-request"), /declined/i);

  assertStringIncludes(await all.text("get-roots-list"), "file:///some/root");
  assertArrayIncludes(asked, ["roots"]);

  // Several at once: each answer finds its way back.
  const several = await Promise.all(
    ["a", "b", "c"].map((prompt) => all.text("trigger-sampling-request", { prompt })),
  );
  for (const text of several) assertStringIncludes(text, "sampled answer");
});

Deno.test("The SDK's client gets log messages and updates that belong to no request", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  const logged: string[] = [];
  const updated: string[] = [];
  await using all = await Connected.to(gateway, "everything", {
    prepare: (client) => {
      client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
        logged.push(params.level);
      });
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
        updated.push(params.uri);
      });
    },
  });
  const uri = "demo://resource/dynamic/text/1";
  await all.client.setLoggingLevel("debug");
  await all.client.subscribeResource({ uri });
  await all.text("toggle-simulated-logging");
  await all.text("toggle-subscriber-updates");
  await eventually(() => logged.length > 0, "a log message");
  await eventually(() => updated.includes(uri), "an update");
});

Deno.test("The SDK's client cancels a call and its session goes on", async () => {
  await using gateway = await Gateway.start({ servers: { echo: { ...fixture("echo_server") } } });
  await using echo = await Connected.to(gateway, "echo");
  const abort = new AbortController();
  let progressed = 0;
  const call = echo.client.callTool(
    { name: "progress", arguments: { n: 1_000, everyMs: 20 } },
    undefined,
    { signal: abort.signal, onprogress: () => progressed++ },
  );
  await eventually(() => progressed > 0, "progress");
  abort.abort("changed my mind");
  await assertRejects(() => call, Error, "changed my mind");
  assertEquals(await echo.text("echo", { message: "still here" }), "still here");
  assertEquals(gateway.children().length, 1);
});

Deno.test("Two clients on each server never see each other's messages", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  await using ada = await talkative(gateway, "ada");
  await using bob = await talkative(gateway, "bob");
  await using adasFiles = await Connected.to(gateway, "filesystem");
  await using bobsFiles = await Connected.to(gateway, "filesystem");
  assertEquals(gateway.children().length, 4);

  await Promise.all([ada, bob].map(async ({ all, name, seen }) => {
    for (let round = 0; round < 5; round++) {
      const progress: number[] = [];
      const [echo, sampled] = await Promise.all([
        all.text("echo", { message: name }),
        all.text("trigger-sampling-request", { prompt: `${name} asks` }),
        all.client.callTool(
          { name: "trigger-long-running-operation", arguments: { duration: 0.05, steps: 2 } },
          undefined,
          { onprogress: (update) => progress.push(update.progress) },
        ),
      ]);
      assertEquals(echo, `Echo: ${name}`);
      assertStringIncludes(sampled, `${name} answers`);
      assertEquals(progress, [1, 2]);
    }
    for (const text of seen) assertStringIncludes(text, name);
    assertEquals(seen.length, 5);
  }));
  const files = [[adasFiles, "ada"], [bobsFiles, "bob"]] as const;
  await Promise.all(files.map(async ([client, name]) => {
    const path = `${name}.txt`;
    await client.text("write_file", { path, content: name });
    for (let round = 0; round < 10; round++) {
      assertEquals(await client.text("read_text_file", { path }), name);
    }
  }));
});

/** A client of the everything server that answers with its own name. */
async function talkative(gateway: Gateway, name: string) {
  const seen: string[] = [];
  const all = await Connected.to(gateway, "everything", {
    capabilities: { sampling: {} },
    prepare: (client) =>
      client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
        seen.push(JSON.stringify(params.messages));
        return { model: "none", role: "assistant", content: { type: "text", text: `${name} answers` } };
      }),
  });
  return { all, name, seen, [Symbol.asyncDispose]: () => all[Symbol.asyncDispose]() };
}
