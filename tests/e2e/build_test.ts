/**
 * What the gateway is shipped as: one JavaScript file, one binary.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { SdkServer, SdkSseServer } from "../fixtures/remote_servers.ts";
import { Gateway, PROJECT } from "./gateway.ts";
import { RawSession } from "./raw_client.ts";

/** Runs Deno in the project's folder and returns what it printed, without colours. */
async function deno(args: string[], env: Record<string, string> = {}): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: PROJECT,
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  if (!success) throw new Error(`deno ${args.join(" ")} failed:\n${text}`);
  return text;
}

/** A folder that is removed at the end of the test. */
function tempFolder(): { readonly path: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "sojourn-build-" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

Deno.test("The bundle is a gateway by itself", async () => {
  using folder = tempFolder();
  const file = join(folder.path, "sojourn.js");
  await deno(["bundle", "--platform", "deno", "--output", file, "main.ts"]);
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["sojourn.js"]);

  const { version } = JSON.parse(Deno.readTextFileSync(join(PROJECT, "deno.json")));
  assertEquals((await deno(["run", "-A", file, "--version"])).trim(), `sojourn ${version}`);

  await using far = new SdkServer();
  await using old = await SdkSseServer.start();
  await using gateway = await Gateway.start({
    servers: {
      echo: { ...fixture("echo_server") },
      // What is loaded only for remote servers has to be in the file too.
      far: { url: far.url },
      old: { type: "sse", url: old.url },
    },
    program: [Deno.execPath(), "run", "-A", file],
  });
  const health = await fetch(`${gateway.origin}/health`);
  assertEquals([health.status, await health.json()], [200, { status: "ok" }]);
  const session = await RawSession.open(gateway, "echo");
  assertEquals(await session.text("echo", { message: "from the bundle" }), "from the bundle");
  assertEquals(await session.delete(), 204);
  for (const serverId of ["far", "old"]) {
    const remote = await RawSession.open(gateway, serverId);
    assertEquals(await remote.text("echo", { message: "from afar" }), "from afar");
    assertEquals(await remote.delete(), 204);
  }
  await gateway.waitForChildren(0);
  assertEquals(await gateway.stop(), 0);
});

Deno.test("The binary holds the gateway and nothing beside it", async () => {
  using folder = tempFolder();
  // The base of real binaries is another program, which cannot be had everywhere. With this one in its place
  // all is built as it would be, but what comes out does not start.
  const base = Deno.realPathSync(Deno.execPath());
  const printed = await deno(["compile", "-A", "--output", join(folder.path, "sojourn"), "main.ts"], {
    DENORT_BIN: base,
  });
  const embedded = topLevelOf(printed);
  assertArrayIncludes(embedded, [
    "main.ts",
    "announce.ts",
    "actors",
    "backends",
    "config",
    "protocol",
    "routes",
  ]);
  for (const name of ["tests", "bench", "tools", "docs", "workspace", ".env", "mcp-servers.json"]) {
    assert(!embedded.includes(name), `${name} is embedded:\n${printed}`);
  }
  assert(Deno.statSync(join(folder.path, "sojourn")).size > Deno.statSync(base).size);
});

/** The names at the root of the tree that `deno compile` prints. */
function topLevelOf(printed: string): string[] {
  return printed.split("\n").flatMap((line) => /^[├└][─┬]+ ([^\s/]+)/.exec(line)?.[1] ?? []);
}
