/**
 * The Inspector's command line, a client that many servers are tried with first, against the real servers of the
 * committed `mcp-servers.json`.
 *
 * @module
 */
import { assertArrayIncludes, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { FIRST_START_MS, Gateway } from "./gateway.ts";

const INSPECTOR = "npm:@modelcontextprotocol/inspector@2.12.0";
/** Versions that are known to install: of what it wants "at least" there may be a newer one that does not. */
const LOCK = new URL("inspector.lock", import.meta.url).pathname;

/** What it prints of a result. */
interface Printed {
  readonly tools?: readonly { name: string }[];
  readonly resources?: readonly { uri: string }[];
  readonly prompts?: readonly { name: string }[];
  readonly content?: readonly { text: string }[];
}

/** Runs it once, with a method and the arguments of that. */
async function inspect(gateway: Gateway, serverId: string, ...method: string[]): Promise<Printed> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-config", `--lock=${LOCK}`, "--frozen", INSPECTOR],
      ...["--cli", gateway.url(serverId), "--transport", "http", "--method", ...method],
    ],
    cwd: gateway.folder,
    env: { MCP_STORAGE_DIR: join(gateway.folder, "inspector"), NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const late = setTimeout(() => child.kill("SIGKILL"), FIRST_START_MS);
  const { code, stdout, stderr } = await child.output().finally(() => clearTimeout(late));
  assertEquals(code, 0, `${method.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("The Inspector lists and calls on the filesystem server", async () => {
  // It leaves its sessions open, with a question of the server that nobody will answer: nothing to wait for.
  await using gateway = await Gateway.start({ servers: "committed", env: { DRAIN_MS: "0" } });
  const ask = (...method: string[]) => inspect(gateway, "filesystem", ...method);
  const { tools } = await ask("tools/list");
  assertArrayIncludes(tools!.map(({ name }) => name), ["read_text_file", "write_file"]);

  const write = ["--tool-name", "write_file", "--tool-arg", "path=note.txt", "content=hi"];
  assertMatch((await ask("tools/call", ...write)).content![0]!.text, /Successfully wrote/);
  assertEquals(await Deno.readTextFile(join(gateway.folder, "workspace/note.txt")), "hi");
  const read = ["--tool-name", "read_text_file", "--tool-arg", "path=note.txt"];
  assertEquals((await ask("tools/call", ...read)).content![0]!.text, "hi");

  // It has neither.
  assertEquals((await ask("resources/list")).resources, []);
  assertEquals((await ask("prompts/list")).prompts, []);
});

Deno.test("The Inspector lists and calls on the everything server", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  const ask = (...method: string[]) => inspect(gateway, "everything", ...method);
  const { tools } = await ask("tools/list");
  assertArrayIncludes(tools!.map(({ name }) => name), ["echo", "get-sum"]);
  const echo = ["--tool-name", "echo", "--tool-arg", "message=Grüße ✓"];
  assertEquals((await ask("tools/call", ...echo)).content![0]!.text, "Echo: Grüße ✓");
  const sum = ["--tool-name", "get-sum", "--tool-arg", "a=2", "b=3"];
  assertMatch((await ask("tools/call", ...sum)).content![0]!.text, /\b5\b/);
  const { resources } = await ask("resources/list");
  assertArrayIncludes(resources!.map(({ uri }) => uri), ["demo://resource/static/document/architecture.md"]);
  const { prompts } = await ask("prompts/list");
  assertArrayIncludes(prompts!.map(({ name }) => name), ["simple-prompt", "args-prompt"]);
});
