import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { LogOptions } from "../log.ts";

const LOG = new URL("../log.ts", import.meta.url).href;
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

/** Runs lines of code in a process that has `log.ts` at hand and log lines on its stdout. */
async function evaluate(
  options: Partial<LogOptions>,
  code: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const settings = { level: "info", format: "text", dir: undefined, ...options };
  const script = `
    import { closeLogging, configureLogging, logger } from ${JSON.stringify(LOG)};
    await configureLogging(${JSON.stringify(settings)});
    const log = logger("test");
    ${code}
    await closeLogging();`;
  const output = await new Deno.Command(Deno.execPath(), { args: ["eval", script] }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: decode(output.stdout), stderr: decode(output.stderr) };
}

/** Takes 10 bytes of the first line, then as little as a full pipe until `reads` is set. */
const FULL_PIPE = `
  let reads = false;
  let calls = 0;
  const write = Deno.stdout.writeSync.bind(Deno.stdout);
  Deno.stdout.writeSync = (bytes) => {
    if (reads) return write(bytes);
    if (calls++ === 0) return write(bytes.subarray(0, 10));
    throw new Deno.errors.WouldBlock("full");
  };`;

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

Deno.test("Logging starts with stdout closed", async () => {
  const { code, stderr } = await run({}, { lines: 5, wrap: ">&-" });
  assertEquals(code, 0);
  assertStringIncludes(stderr, "came to its end");
});

Deno.test("A gateway.log that is a folder is an error that names LOG_DIR", async () => {
  await inTempDir(async (dir) => {
    await Deno.mkdir(join(dir, "gateway.log"));
    const { code, stderr } = await run({ dir });
    assertEquals(code, 3);
    assertStringIncludes(stderr, `LOG_DIR: cannot write to ${JSON.stringify(dir)}: `);
  });
});

Deno.test("A folder that is removed is told once and made anew at the next rotation", async () => {
  await inTempDir(async (parent) => {
    const dir = join(parent, "logs");
    const { code, stderr } = await evaluate(
      { dir, maxFileBytes: 500 },
      `log.info("before");
       Deno.removeSync(${JSON.stringify(dir)}, { recursive: true });
       for (let i = 0; i < 30; i++) log.info("line {i}", { i });`,
    );
    assertEquals(code, 0);
    assertEquals(stderr.match(/cannot write the log to gateway\.log/g)?.length, 1);
    assertStringIncludes(await Deno.readTextFile(join(dir, "gateway.log")), "line 29");
  });
});

Deno.test("A stdout that is full for a while loses no line and tears none", async () => {
  const { stdout, stderr } = await evaluate(
    {},
    `${FULL_PIPE}
     for (let i = 0; i < 50; i++) log.info("line {i}", { i });
     reads = true;
     log.info("line 50");`,
  );
  assertEquals(
    stdout.trimEnd().split("\n").map((line) => line.slice(32)),
    [...Array(51).keys()].map((i) => `line ${i}`),
  );
  assertEquals(stderr, "");
});

Deno.test("A stdout that stays full costs the lines beyond a bound, and is told once", async () => {
  const { code, stdout, stderr } = await evaluate(
    {},
    `${FULL_PIPE}
     for (let i = 0; i < 50; i++) log.info("{i} {text}", { i, text: "x".repeat(100_000) });
     reads = true;
     log.info("last");`,
  );
  const lines = stdout.trimEnd().split("\n");
  assertEquals(code, 0);
  assertStringIncludes(lines.at(-1) ?? "", "[INFO] last");
  for (const line of lines.slice(0, -1)) assertMatch(line, /^\d{4}-[^ ]*Z \[INFO\] \d+ x{100000}$/);
  assert(stdout.length < 1_100_000, `${stdout.length}`);
  assertEquals(stderr.match(/lines are lost/g)?.length, 1);
});

Deno.test("A value that JSON cannot hold costs no line, in either format", async () => {
  const code = `
    const circle = {};
    circle.self = circle;
    log.info("{circle} {big} {error} {none}", { circle, big: 5n, error: new Error("boom"), none: undefined });
    log.info("next \\u009b");`;
  const text = (await evaluate({}, code)).stdout.trimEnd().split("\n");
  assertEquals(text.length, 2);
  assertMatch(text[0] ?? "", /Circular.* "5" "Error: boom" undefined$/);
  assertStringIncludes(text[1] ?? "", "next \\u009b");

  const { stdout } = await evaluate({ format: "json" }, code);
  const [first, second] = stdout.trimEnd().split("\n");
  assertMatch(JSON.parse(first ?? "").properties.circle, /Circular/);
  assertFalse("none" in JSON.parse(first ?? "").properties);
  assertFalse(second?.includes("\u009b"));
  assertStringIncludes(JSON.parse(second ?? "").message, "\u009b");
});

Deno.test("Logging may be configured again after it was closed", async () => {
  await inTempDir(async (dir) => {
    const again = JSON.stringify({ level: "info", format: "json", dir });
    const { stdout } = await evaluate(
      {},
      `await closeLogging();
       log.info("nowhere");
       await configureLogging(${again});
       log.info("somewhere");`,
    );
    assertEquals(JSON.parse(stdout).message, "somewhere");
    assertEquals(await Deno.readTextFile(join(dir, "gateway.log")), stdout);
  });
});
