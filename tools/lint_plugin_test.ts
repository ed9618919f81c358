import { assertEquals } from "@std/assert";
import plugin from "./lint_plugin.ts";

const ROOT = new URL("..", import.meta.url).pathname;

/** How often the plugin complains about a source, under the name of a file of this project. */
function complaints(file: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, ROOT + file, source).map(({ id }) => id.replace("sojourn/", ""));
}

// [file, import, whether it is allowed].
const IMPORTS: [string, string, boolean][] = [
  ["clock.ts", "./errors.ts", true],
  ["clock.ts", "./config/types.ts", false],
  ["events.ts", "./protocol/jsonrpc.ts", true],
  ["events.ts", "./actors/session.ts", false],
  ["stores/sqlite.ts", "../events.ts", true],
  ["stores/sqlite.ts", "./store.ts", true],
  ["actors/session.ts", `${ROOT}routes/mcp.ts`, false],
  ["actors/session.ts", `file://${ROOT}routes/mcp.ts`, false],
  ["actors/session.ts", `file://${ROOT}actors/inbox.ts`, true],
  ["actors/session.ts", "../config/mod.ts", false],
  ["actors/session.ts", "../main.ts", false],
  ["routes/mcp.ts", "../stores/store.ts", false],
  ["std/http/mod.ts", "../../tools/lint_plugin.ts", false],
  ["tools/lint_plugin_test.ts", "../actors/session.ts", true],
  ["errors.ts", "./protocol/jsonrpc.ts", true],
  ["errors.ts", "@std/http/status", true],
  ["protocol/sse.ts", "../clock.ts", true],
  ["protocol/sse.ts", "../actors/session.ts", false],
  ["log.ts", "./config/types.ts", false],
  ["config/mod.ts", "./settings.ts", true],
  ["config/mod.ts", "../log.ts", true],
  ["config/mod.ts", "../deno.json", true],
  ["config/mod.ts", "../backends/backend.ts", false],
  ["backends/stdio.ts", "./backend.ts", true],
  ["backends/stdio.ts", "../config/types.ts", true],
  ["backends/stdio.ts", "../config/mod.ts", false],
  ["backends/stdio.ts", "../actors/session.ts", false],
  ["stores/sqlite.ts", "../backends/backend.ts", false],
  ["backends/process_ledger.ts", "../stores/process_rows.ts", true],
  ["backends/process_ledger.ts", "../stores/ledger.ts", false],
  ["machine/memory.ts", "./cgroup.ts", true],
  ["machine/memory.ts", "../log.ts", true],
  ["machine/memory.ts", "../backends/process_table.ts", true],
  ["machine/rss.ts", "../backends/snapshot.ts", true],
  ["machine/rss.ts", "../backends/stdio.ts", false],
  ["machine/memory.ts", "../config/types.ts", false],
  ["machine/lag.ts", "../actors/pressure.ts", false],
  ["backends/process_table.ts", "../machine/rss.ts", false],
  ["actors/sweeper.ts", "../machine/memory.ts", false],
  ["routes/health.ts", "../machine/lag.ts", false],
  ["main.ts", "./machine/memory.ts", true],
  ["actors/session.ts", "./inbox.ts", true],
  ["actors/session.ts", "../backends/backend.ts", true],
  ["actors/session.ts", "../backends/stdio.ts", false],
  ["actors/session.ts", "../stores/store.ts", true],
  ["actors/session.ts", "../stores/sqlite.ts", false],
  ["actors/session.ts", "../routes/mcp.ts", false],
  ["routes/mcp.ts", "../actors/supervisor.ts", true],
  ["routes/mcp.ts", "../actors/client.ts", true],
  ["routes/mcp.ts", "../actors/session.ts", false],
  ["routes/mcp.ts", "../backends/backend.ts", false],
  ["routes/dashboard/page.ts", "../mcp.ts", true],
  ["routes/dashboard/page.ts", "../../actors/session.ts", false],
  ["main.ts", "./routes/app.ts", true],
  ["main.ts", "./tests/fakes/fake_clock.ts", false],
  ["actors/session.ts", "../tests/fakes/fake_clock.ts", false],
  ["routes/mcp.ts", "../bench/load.ts", false],
  ["tests/actors/session_test.ts", "../../actors/session.ts", true],
  ["bench/echo.ts", "../tests/fakes/eventually.ts", true],
];
for (const [file, specifier, allowed] of IMPORTS) {
  Deno.test(`${file} ${allowed ? "may" : "may not"} import ${specifier}, in whatever form`, () => {
    const forms = [
      `import { a } from "${specifier}";`,
      `import type { A } from "${specifier}";`,
      `import "${specifier}";`,
      `export { a } from "${specifier}";`,
      `export * from "${specifier}";`,
      `await import("${specifier}");`,
      `await import(\`${specifier}\`);`,
      `type T = import("${specifier}").T;`,
    ];
    for (const form of forms) {
      const found = complaints(file, form).filter((id) => id === "import-direction");
      assertEquals(found, allowed ? [] : ["import-direction"], form);
    }
  });
}

const READS_TIME = [
  "Date.now();",
  'Date["now"]();',
  "globalThis.Date.now();",
  "const now = Date.now;",
  "new Date();",
  "new globalThis.Date();",
  "performance.now();",
  "globalThis.performance.now();",
  "setTimeout(f, 1);",
  "setInterval(f, 1);",
  "const wait = setTimeout;",
  "f(setTimeout);",
  "const o = { setTimeout };",
  "globalThis.setTimeout(f, 1);",
  'globalThis["setTimeout"](f, 1);',
  "AbortSignal.timeout(5);",
  'Deno.cron("a", "* * * * *", f);',
  'import { setTimeout as wait } from "node:timers/promises";',
  'import timers from "node:timers";',
  'export * from "node:timers";',
  'export { setTimeout } from "node:timers";',
  'await import("node:timers/promises");',
  "Date();",
  "Date?.now();",
  "Date[`now`]();",
  "(Date as unknown as D).now();",
  "(globalThis?.Date)!.now();",
  "const { now } = Date;",
  "const { now: read } = globalThis.performance;",
  "const { setTimeout: wait } = globalThis;",
  "const { timeout } = AbortSignal;",
];
for (const source of READS_TIME) {
  Deno.test(`Outside clock.ts ${source} is refused`, () => {
    const found = complaints("actors/session.ts", source);
    assertEquals(found.length > 0 && found.every((id) => id === "clock-only"), true, found.join());
    for (const file of ["clock.ts", "tests/a_test.ts", "bench/a.ts", "tools/a.ts", "std/assert/mod.ts"]) {
      assertEquals(complaints(file, source), [], file);
    }
  });
}

const READS_NO_TIME = [
  "clock.now();",
  "this.clock.now();",
  "clock.after(5, f);",
  "new Date(wallTime);",
  "record.setTimeout;",
  "obj.Date.now();",
  "this.performance.now();",
  "const { now } = clock;",
  "const { setTimeout: wait } = clock;",
  "Date.UTC(2026);",
  "AbortSignal.any([]);",
  "type T = typeof Date.now;",
  "const o = { setTimeout: 1 };",
  "class A { setTimeout() {} }",
  "interface A { setTimeout: number }",
  "clearTimeout(t);",
  "const t: ReturnType<typeof setTimeout> = arm();",
  "setImmediate(f);",
  "queueMicrotask(f);",
  'const text = "Date.now()";',
];
for (const source of READS_NO_TIME) {
  Deno.test(`${source} reads no time`, () => assertEquals(complaints("actors/session.ts", source), []));
}
