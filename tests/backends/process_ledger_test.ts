import { assert, assertEquals } from "@std/assert";
import type { BackendOwner } from "../../backends/backend.ts";
import { MARKER_VARIABLE } from "../../backends/child_env.ts";
import type { IsOwned } from "../../backends/process_ledger.ts";
import { SqliteLedger } from "../../stores/ledger.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { fixture, program } from "../fixtures/mod.ts";
import { Folder } from "../stores/helpers.ts";
import { FORCE_PACE, OpenChild, processes, runs, TEST_PACE } from "./harness.ts";
import { counters, GRACE_MS, Left, Run } from "./ledger_harness.ts";

Deno.test("Without /proc a child of this run that is gone is removed, and one that is there is left", async () => {
  using folder = new Folder();
  await using run = new Run(folder, { procRoot: "/no/such/folder" });
  await using left = await Promise.resolve(new Left("m"));
  const owner = { serverId: "files", session: "s1" };
  run.ledger.started({ pid: left.pid, startTime: undefined, marker: "m", owner });
  run.ledger.started({ pid: 2 ** 22 + 1, startTime: undefined, marker: "n", owner });
  await run.reconcile(() => false);
  assertEquals([run.ledger.size, left.alive, counters(run).entriesRemoved], [1, true, 1]);
});

Deno.test("A backend's child is written down before open() returns, and removed when it was closed", async () => {
  using folder = new Folder();
  await using run = new Run(folder);
  const child = new OpenChild(fixture("echo_server"), { ledger: run.ledger });
  assertEquals(run.ledger.size, 1);
  const reader = new SqliteLedger({ path: folder.file("processes.db"), boot: "boot", startedAt: 0 });
  const [row] = reader.earlier().rows;
  const pid = child.backend.pid!;
  assertEquals([row!.pid, row!.pgrp, row!.startTime], [pid, pid, processes.read(pid)!.startTime]);
  assertEquals([row!.serverId, row!.session], ["fixture", "s1"]);
  const env = JSON.parse(await child.call("env"));
  assertEquals(env[MARKER_VARIABLE], row!.marker);
  await run.reconcile();
  assert(runs(pid));
  await child.backend.close(TEST_PACE);
  assertEquals([run.ledger.size, reader.earlier().rows.length], [0, 0]);
  reader.close();
  assertEquals(counters(run), { orphansEnded: 0, strayEnded: 0, entriesRemoved: 0 });
});

Deno.test("A server that cannot be started is not written down", async () => {
  using folder = new Folder();
  await using run = new Run(folder);
  await using child = new OpenChild(program("/no/such/program"), { ledger: run.ledger });
  await child.exited();
  assertEquals(run.ledger.size, 0);
});

Deno.test("A child that its backend gave up on is ended as soon as that works", async () => {
  await using log = await LogCapture.start();
  using folder = new Folder();
  await using run = new Run(folder);
  run.table.deaf = true;
  const child = new OpenChild(program("sleep", "100000"), { ledger: run.ledger, processes: run.table });
  const pid = child.backend.pid!;
  await child.backend.close(FORCE_PACE);
  assertEquals([run.ledger.size, runs(pid)], [1, true]);
  await run.reconcile();
  assertEquals([run.ledger.size, runs(pid)], [1, true]);
  run.table.deaf = false;
  await run.reconcile();
  assertEquals([run.ledger.size, runs(pid)], [0, false]);
  assertEquals(counters(run), { orphansEnded: 0, strayEnded: 1, entriesRemoved: 0 });
  assert(
    log.lines.includes(`Ended a child without a session: pid ${pid}, server fixture, session s1`),
  );
});

Deno.test("A child whose session is gone is ended, but not before its time, nor one whose session lives", async () => {
  using folder = new Folder();
  await using run = new Run(folder);
  await using kept = new OpenChild(fixture("echo_server"), { ledger: run.ledger });
  await using lost = new OpenChild(fixture("echo_server"), { ledger: run.ledger });
  let owned = 0;
  // Both belong to "s1": they are told apart by when they are asked for.
  const isOwned: IsOwned = () => owned++ % 2 === 0;
  await run.ledger.reconcile(isOwned);
  run.aheadMs += GRACE_MS - 1_000;
  await run.ledger.reconcile(isOwned);
  assert(runs(lost.backend.pid));
  // It has a session after all, and its time begins anew.
  await run.ledger.reconcile();
  run.aheadMs += 2_000;
  await run.ledger.reconcile(isOwned);
  assert(runs(lost.backend.pid));
  run.aheadMs += GRACE_MS;
  await run.ledger.reconcile(isOwned);
  await run.ledger.settled();
  assertEquals([runs(kept.backend.pid), runs(lost.backend.pid)], [true, false]);
  assertEquals([run.ledger.size, counters(run).strayEnded], [1, 1]);
  assertEquals((await lost.exited()).detail, "was ended by SIGTERM");
});

Deno.test("An entry without a process is removed, but not before its time", async () => {
  await using log = await LogCapture.start();
  using folder = new Folder();
  await using run = new Run(folder);
  const owner = { serverId: "files", session: "s1" };
  const entry = run.ledger.started({ pid: 2 ** 22 + 1, startTime: 5, marker: "m", owner });
  await run.ledger.reconcile();
  assertEquals(run.ledger.size, 1);
  await run.reconcile();
  entry.ended();
  assertEquals([run.ledger.size, counters(run).entriesRemoved], [0, 1]);
  assert(log.lines.includes("Removed 1 ledger entries of which no process is left"));
});

Deno.test("A ledger that cannot be written costs nothing, is told of once, and catches up", async () => {
  await using log = await LogCapture.start();
  using folder = new Folder();
  await using run = new Run(folder);
  const written = new OpenChild(program("cat"), { ledger: run.ledger });
  run.rows.broken = true;
  await using late = new OpenChild(program("cat"), { ledger: run.ledger });
  assertEquals(run.ledger.size, 2);
  await written.backend.close(TEST_PACE);
  await run.reconcile();
  assertEquals(run.ledger.size, 1);
  const told = () => log.lines.filter((line) => /process ledger/i.test(line));
  assertEquals(told(), ["The process ledger cannot be written, tried again at each sweep: /there is full"]);
  assert(run.ledger.counters.writesFailed >= 2);
  run.rows.broken = false;
  await run.ledger.reconcile();
  assertEquals(told().length, 2);
  const reader = new SqliteLedger({ path: folder.file("processes.db"), boot: "boot", startedAt: 0 });
  assertEquals(reader.earlier().rows.map(({ pid }) => pid), [late.backend.pid]);
  reader.close();
});

Deno.test("A child that a session takes over is written down under the session's name", async () => {
  using folder = new Folder();
  const first = new Run(folder);
  await using left = await Promise.resolve(new Left("m"));
  const owner: { -readonly [Key in keyof BackendOwner]: BackendOwner[Key] } = {
    serverId: "files",
    session: "prewarmed-1",
  };
  first.ledger.started({ ...left, pid: left.pid, startTime: left.startTime, marker: "m", owner });
  owner.session = "3f9a1c0be27d";
  await first.ledger.reconcile();
  first.die();
  const reader = new SqliteLedger({ path: folder.file("processes.db"), boot: "boot", startedAt: 0 });
  assertEquals(reader.earlier().rows.map(({ session }) => session), ["3f9a1c0be27d"]);
  reader.close();
});

Deno.test("An empty ledger costs no look at the processes, and calls at the same time share one", async () => {
  using folder = new Folder();
  await using run = new Run(folder);
  await run.reconcile();
  assertEquals(run.table.looks, 0);
  await using child = new OpenChild(program("cat"), { ledger: run.ledger });
  await Promise.all(Array.from({ length: 100 }, () => run.ledger.reconcile()));
  assertEquals(run.table.looks, 1);
  assert(runs(child.backend.pid));
});

Deno.test("A close leaves nothing in the file, can be called again, and nothing is done after it", async () => {
  using folder = new Folder();
  const run = new Run(folder);
  const child = new OpenChild(program("cat"), { ledger: run.ledger });
  await child.backend.close(TEST_PACE);
  await run.ledger.close();
  await run.ledger.close();
  await run.ledger.reconcile();
  const reader = new SqliteLedger({ path: folder.file("processes.db"), boot: "boot", startedAt: 0 });
  assertEquals(reader.earlier(), { runs: [], rows: [] });
  reader.close();
});
