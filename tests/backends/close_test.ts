import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { HURRIED_PACE } from "../../backends/backend.ts";
import { ProcessTable } from "../../backends/process_table.ts";
import { systemClock } from "../../clock.ts";
import { eventually } from "../fakes/eventually.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { fixture, program } from "../fixtures/mod.ts";
import { FORCE_PACE, OpenChild, readPids, runs, tempFile, TEST_PACE } from "./harness.ts";

Deno.test("A child that ignores SIGTERM and the end of its stdin is killed with its grandchildren", async () => {
  const child = new OpenChild(fixture("stubborn"));
  const { result } = await child.request("initialize");
  const { own, grouped, detached } = (result?.serverInfo as { pids: Record<string, number> }).pids;
  assertEquals(own, child.backend.pid);
  for (const pid of [own, grouped, detached]) assert(runs(pid));
  const startMs = performance.now();
  await child.backend.close({ termAfterMs: 100, killAfterMs: 600 });
  assert(performance.now() - startMs >= 590);
  assertEquals([own, grouped, detached].filter(runs), []);
  assertEquals(child.exits, [{ cause: "exit", detail: "was ended by SIGKILL" }]);
});

Deno.test("A child that obeys SIGTERM is not killed", async () => {
  const script =
    'trap \'exit 7\' TERM; echo \'{"jsonrpc":"2.0","method":"up"}\'; while :; do sleep 0.05; done';
  const child = new OpenChild(program("sh", "-c", script));
  await eventually(() => child.messages.length === 1, "the trap");
  await child.backend.close({ termAfterMs: 50, killAfterMs: 10_000 });
  assertEquals(child.exits, [{ cause: "exit", detail: "exited with code 7" }]);
});

Deno.test("What a well-behaved child leaves in a session of its own is ended too", async () => {
  using file = tempFile();
  const child = new OpenChild(fixture("daemonizer", { env: { PIDS_FILE: file.path } }));
  await child.request("initialize");
  const closed = child.backend.close(TEST_PACE);
  const { daemon } = await readPids(file.path);
  assertEquals((await child.exited()).detail, "exited with code 0");
  assert(runs(daemon));
  await Promise.all([closed, child.backend.close(FORCE_PACE)]);
  assertEquals(runs(daemon), false);
});

Deno.test("After a crash close() ends the group, and whoever moved away by the marker", async () => {
  using file = tempFile();
  const child = new OpenChild(fixture("stubborn", { env: { PIDS_FILE: file.path } }));
  const { grouped, detached } = await readPids(file.path);
  Deno.kill(child.backend.pid!, "SIGKILL");
  await child.exited();
  assert(runs(grouped) && runs(detached));
  await child.backend.close(FORCE_PACE);
  assertEquals([grouped, detached].filter(runs), []);
});

Deno.test("A detached grandchild without the marker is found as a child's child", async () => {
  using file = tempFile();
  const script = `setsid env -i sleep 100000 & echo "{\\"pid\\":$!}" > ${file.path}; cat`;
  const child = new OpenChild(program("sh", "-c", script));
  const { pid } = await readPids(file.path);
  await child.backend.close(FORCE_PACE);
  assertEquals(runs(pid), false);
});

Deno.test("A later, faster close hurries the one under way, a slower one does not slow it", async () => {
  const child = new OpenChild(fixture("stubborn"));
  await child.request("initialize");
  const startMs = performance.now();
  const first = child.backend.close({ termAfterMs: 60_000, killAfterMs: 90_000 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await Promise.all([first, child.backend.close(HURRIED_PACE), child.backend.close()]);
  assert(performance.now() - startMs < 20_000);
  assertEquals(runs(child.backend.pid), false);
});

Deno.test("Closing again after the end resolves at once", async () => {
  const child = new OpenChild(program("cat"));
  await child.backend.close(TEST_PACE);
  await child.backend.close();
  assertEquals(child.exits.length, 1);
});

Deno.test("A child that does not read is closed, with what was queued for it", async () => {
  const child = new OpenChild(program("sleep", "100000"));
  child.backend.send("x".repeat(1_000_000));
  await child.backend.close({ termAfterMs: 50, killAfterMs: 20_000 });
  assertEquals(child.exits[0]?.detail, "was ended by SIGTERM");
});

Deno.test("A stopped child is ended", async () => {
  const child = new OpenChild(program("cat"));
  Deno.kill(child.backend.pid!, "SIGSTOP");
  await child.backend.close(FORCE_PACE);
  assertEquals(child.exits[0]?.detail, "was ended by SIGKILL");
});

Deno.test("Without /proc the process group is ended, and the log says once what is missing", async () => {
  await using log = await LogCapture.start();
  const processes = new ProcessTable({ clock: systemClock, procRoot: "/no/such/folder" });
  for (let round = 0; round < 2; round++) {
    using file = tempFile();
    const child = new OpenChild(fixture("stubborn", { env: { PIDS_FILE: file.path } }), { processes });
    const { grouped, detached } = await readPids(file.path);
    await child.backend.close(FORCE_PACE);
    assertEquals([child.backend.pid, grouped].filter(runs), []);
    Deno.kill(detached!, "SIGKILL");
  }
  const warnings = log.records.filter((record) => record.level === "warning");
  assertEquals(warnings.length, 1);
  assertStringIncludes(log.lines.join("\n"), "only its process group can be ended");
});

Deno.test("Without /proc a group that outlives its leader is ended", async () => {
  const processes = new ProcessTable({ clock: systemClock, procRoot: "/no/such/folder" });
  using file = tempFile();
  const script = `sleep 100000 & echo "{\\"pid\\":$!}" > ${file.path}`;
  const child = new OpenChild(program("sh", "-c", script), { processes });
  const { pid } = await readPids(file.path);
  await child.backend.close(FORCE_PACE);
  assertEquals(runs(pid), false);
});

/** A machine on which no signal has an effect, as on a process that hangs in the kernel. */
class DeafTable extends ProcessTable {
  override signal(): void {}
  override signalGroup(): void {}
}

Deno.test("close() gives up on what outlives SIGKILL, and names it in the log", async () => {
  await using log = await LogCapture.start();
  const child = new OpenChild(program("sleep", "100000"), {
    processes: new DeafTable({ clock: systemClock }),
  });
  const pid = child.backend.pid!;
  await child.backend.close({ termAfterMs: 0, killAfterMs: 50 });
  assertEquals(child.exits, [{ cause: "exit", detail: "could not be ended" }]);
  assertStringIncludes(log.lines.join("\n"), `outlives SIGKILL, processes ${pid} are left behind`);
  Deno.kill(pid, "SIGKILL");
  await eventually(() => !runs(pid), "the process to go");
});
