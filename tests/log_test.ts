import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { LogOptions } from "../log.ts";

const SCRIPT = new URL("fixtures/log_lines.ts", import.meta.url).pathname;

/** Runs a process that logs; `wrap` puts a shell line around it. */
async function run(
  options: Partial<LogOptions>,
  { lines = 0, wrap = "" }: { lines?: number; wrap?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const output = await new Deno.Command("sh", {
    args: [
      "-c",
      `"$@" ${wrap}`,
      "sh",
      Deno.execPath(),
      "run",
      "-A",
      SCRIPT,
      JSON.stringify(options),
      `${lines}`,
    ],
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: decode(output.stdout), stderr: decode(output.stderr) };
}

async function inTempDir(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("A text line has time, level and message, and nothing in it can forge another or steer a terminal", async () => {
  const { stdout } = await run({});
  const [first, ...rest] = stdout.trimEnd().split("\n");
  assertMatch(first ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[INFO\] /);
  assertStringIncludes(first ?? "", 'an info line of text\\nwith \\u001b[31mcontrols with {"n":1}');
  assertEquals(rest.map((line) => line.slice(25)), ["[WARN] a warning", "[ERROR] an error"]);
});

for (const [level, count] of [["debug", 4], ["info", 3], ["warn", 2], ["error", 1]] as const) {
  Deno.test(`At level ${level} ${count} of four lines are written`, async () => {
    const { stdout } = await run({ level });
    assertEquals(stdout.trimEnd().split("\n").length, count);
  });
}

Deno.test("A json line is one object with the message rendered and its properties apart", async () => {
  const { stdout } = await run({ format: "json" });
  const records = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(records.map((record) => record.level), ["info", "warn", "error"]);
  assertEquals(records[0].category, "test.part");
  assertEquals(records[0].properties, { who: "text\nwith \x1b[31mcontrols", what: { n: 1 } });
  assertStringIncludes(records[0].message, "an info line of text\nwith");
});

Deno.test("LOG_DIR is made and gets the same lines as stdout", async () => {
  await inTempDir(async (dir) => {
    const { stdout } = await run({ dir: join(dir, "a", "b") }, { lines: 3 });
    assertEquals(await Deno.readTextFile(join(dir, "a", "b", "gateway.log")), stdout);
  });
});

Deno.test("The file is rotated when it is full, and five of them are kept", async () => {
  await inTempDir(async (dir) => {
    await run({ dir, maxFileBytes: 1_000 }, { lines: 500 });
    const names = [...Deno.readDirSync(dir)].map((entry) => entry.name).sort();
    assert(names.includes("gateway.log") && names.includes("gateway.log.1"), names.join());
    assert(names.length <= 6, names.join());
    assertStringIncludes(await Deno.readTextFile(join(dir, "gateway.log")), "line 499");
    for (const name of names) assert((await Deno.stat(join(dir, name))).size <= 1_100, name);
  });
});

Deno.test("A folder that cannot be written is an error that names it", async () => {
  await inTempDir(async (dir) => {
    const file = join(dir, "file");
    await Deno.writeTextFile(file, "");
    const { code, stderr } = await run({ dir: join(file, "logs") });
    assertEquals(code, 3);
    assertStringIncludes(stderr, `LOG_DIR: cannot write to ${JSON.stringify(join(file, "logs"))}: `);
  });
});

Deno.test("A full disk is told once, and the process and its other log go on", async () => {
  await inTempDir(async (dir) => {
    await Deno.symlink("/dev/full", join(dir, "gateway.log"));
    const { code, stdout, stderr } = await run({ dir }, { lines: 50 });
    assertEquals(code, 0);
    assertStringIncludes(stdout, "line 49");
    assertEquals(stderr.match(/cannot write the log to gateway\.log/g)?.length, 1);
    assertStringIncludes(stderr, "came to its end");
  });
});

Deno.test("A reader of stdout that went away stops nothing", async () => {
  const { stderr } = await run({}, { lines: 5_000, wrap: "| true" });
  assertStringIncludes(stderr, "came to its end");
});
