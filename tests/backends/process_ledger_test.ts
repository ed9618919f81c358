import { assert, assertEquals } from "@std/assert";
import { spawn } from "node:child_process";
import type { BackendOwner } from "../../backends/backend.ts";
import { MARKER_VARIABLE } from "../../backends/child_env.ts";
import { type IsOwned, ProcessLedger } from "../../backends/process_ledger.ts";
import { ProcessTable } from "../../backends/process_table.ts";
import type { Snapshot } from "../../backends/snapshot.ts";
import { type Clock, systemClock } from "../../clock.ts";
import { SqliteLedger } from "../../stores/ledger.ts";
import type { ProcessInfo, ProcessRows, RunRow } from "../../stores/process_rows.ts";
import { StoreError } from "../../stores/store_error.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { fixture, program } from "../fixtures/mod.ts";
import { Folder } from "../stores/helpers.ts";
import { FORCE_PACE, OpenChild, processes, readPids, runs, tempFile, TEST_PACE } from "./harness.ts";

const FAST = { termAfterMs: 0, killAfterMs: 200 };
const GRACE_MS = 15_000;

/** A machine on which signals can be switched off, and looks are counted. */
class SwitchedTable extends ProcessTable {
  deaf = false;
  looks = 0;

  override signal(...args: Parameters<ProcessTable["signal"]>): void {
    if (!this.deaf) super.signal(...args);
  }

  override signalGroup(...args: Parameters<ProcessTable["signalGroup"]>): void {
    if (!this.deaf) super.signalGroup(...args);
  }

  override snapshot(): Promise<Snapshot> {
    this.looks++;
    return super.snapshot();
  }
}

/** Rows that can be switched to fail. */
class SwitchedRows implements ProcessRows {
  broken = false;
  readonly run: RunRow;
  readonly #rows: ProcessRows;

  constructor(rows: ProcessRows) {
    this.#rows = rows;
    this.run = rows.run;
  }

  #do<Result>(work: (rows: ProcessRows) => Result): Result {
    if (this.broken) throw new StoreError("full", "/there", "is full");
    return work(this.#rows);
  }

  earlier = () => this.#do((rows) => rows.earlier());
  add = (process: ProcessInfo) => this.#do((rows) => rows.add(process));
  remove = (ids: readonly number[]) => this.#do((rows) => rows.remove(ids));
  rename = (sessions: ReadonlyMap<number, string>) => this.#do((rows) => rows.rename(sessions));
  forget = (runIds: readonly number[]) => this.#do((rows) => rows.forget(runIds));
  close = () => this.#rows.close();
}

/** One life of a gateway, as far as its ledger goes. */
class Run implements AsyncDisposable {
  readonly table: SwitchedTable;
  readonly rows: SwitchedRows;
  readonly ledger: ProcessLedger;
  /** How far its clock is ahead, in ms. */
  aheadMs = 0;

  constructor(folder: Folder, { boot = "boot", procRoot = "/proc" } = {}) {
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + this.aheadMs };
    this.table = new SwitchedTable({ clock: systemClock, procRoot });
    const path = folder.file("processes.db");
    this.rows = new SwitchedRows(new SqliteLedger({ path, boot, startedAt: 0 }));
    this.ledger = new ProcessLedger({ rows: this.rows, processes: this.table, clock });
  }

  /** Looks twice, with the time between that lost children get. */
  async reconcile(isOwned?: IsOwned): Promise<void> {
    await this.ledger.reconcile(isOwned);
    this.aheadMs += GRACE_MS;
    await this.ledger.reconcile(isOwned);
    await this.ledger.settled(FAST);
  }

  /** As if it had been killed: what it wrote stays. */
  die(): void {
    this.rows.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ledger.close(FAST);
  }
}

/** A process with a marker, in a group and a session of its own. */
class Left implements AsyncDisposable {
  readonly pid: number;
  readonly startTime: number;
  readonly #exited: Promise<void>;

  constructor(readonly marker: string, script = "exec sleep 100000") {
    const env = { PATH: Deno.env.get("PATH")!, [MARKER_VARIABLE]: marker };
    const child = spawn("sh", ["-c", script], { env, detached: true, stdio: "ignore" });
    this.#exited = new Promise((resolve) => void child.once("exit", () => resolve()));
    this.pid = child.pid!;
    this.startTime = processes.read(this.pid)!.startTime;
  }

  get alive(): boolean {
    return runs(this.pid);
  }

  get info(): ProcessInfo {
    const { pid, startTime, marker } = this;
    return { pid, pgrp: pid, startTime, marker, serverId: "files", session: "s1", startedAt: 0 };
  }

  async exited(): Promise<void> {
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) Deno.kill(-this.pid, "SIGKILL");
    await this.#exited;
  }
}

/** Until a process shows its environment: right after its start it still shows this one's. */
async function started(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 100));
}

const counters = ({ ledger }: Run) => {
  const { orphansEnded, strayEnded, entriesRemoved } = ledger.counters;
  return { orphansEnded, strayEnded, entriesRemoved };
};

// [what is written down of it, the next boot, whether it is ended].
const WRITTEN: [string, (left: ProcessInfo) => Partial<ProcessInfo>, string, boolean][] = [
  ["its pid and start time", () => ({ marker: "other/1" }), "boot", true],
  [
    "a pid and a start time just before",
    (left) => ({ startTime: left.startTime! - 1, marker: "other/1" }),
    "boot",
    false,
  ],
  [
    "a pid and a start time just after",
    (left) => ({ startTime: left.startTime! + 1, marker: "other/1" }),
    "boot",
    false,
  ],
  ["a pid and no start time", () => ({ startTime: undefined, marker: "other/1" }), "boot", false],
  ["its pid and start time of another boot", () => ({ marker: "other/1" }), "reboot", false],
  ["another pid", () => ({ pid: 2 ** 22 + 1, pgrp: 2 ** 22 + 1, marker: "other/1" }), "boot", false],
  [
    "its pid and marker, and a wrong start time",
    (left) => ({ startTime: left.startTime! + 1 }),
    "boot",
    true,
  ],
  ["its marker alone", () => ({ pid: 2 ** 22 + 1, startTime: undefined }), "boot", true],
];
for (const [what, written, boot, ended] of WRITTEN) {
  Deno.test(`A process of which ${what} is written down is ${ended ? "ended" : "left alone"}`, async () => {
    await using log = await LogCapture.start();
    using folder = new Folder();
    const first = new Run(folder);
    await using left = await Promise.resolve(new Left("mine/1"));
    await started();
    const info = { ...left.info, ...written(left.info) };
    first.rows.add(info);
    first.die();
    await using second = new Run(folder, { boot });
    await second.reconcile();
    assertEquals(left.alive, !ended);
    assertEquals(counters(second), {
      orphansEnded: ended ? 1 : 0,
      strayEnded: 0,
      entriesRemoved: ended ? 0 : 1,
    });
    assertEquals(second.rows.earlier(), { runs: [], rows: [] });
    assertEquals(
      log.lines.filter((line) => /Ended an orphan|Removed/.test(line)),
      ended
        ? [`Ended an orphan of an earlier run: pid ${info.pid}, server files, session s1`]
        : ["Removed 1 ledger entries of an earlier run, of which no process is left"],
    );
  });
}

Deno.test("What an orphan started is ended with it, in whatever group, also where the orphan itself is gone", async () => {
  for (const stays of [true, false]) {
    using folder = new Folder();
    using file = tempFile();
    const script =
      `setsid sleep 100000 & (trap '' TERM; exec sleep 100000) & echo "{\\"moved\\":$!}" > ${file.path}` +
      (stays ? "; wait" : "");
    const first = new Run(folder);
    await using left = await Promise.resolve(new Left(first.ledger.newMarker(), script));
    await readPids(file.path);
    await started();
    first.rows.add(left.info);
    first.die();
    const marked = async () =>
      (await processes.snapshot()).descendants({
        root: { pid: left.pid, startTime: undefined },
        marker: left.marker,
        noted: [],
      });
    assertEquals((await marked()).length, stays ? 3 : 2);
    await using second = new Run(folder);
    await second.reconcile();
    assertEquals((await marked()).length, 0);
    assertEquals(counters(second).orphansEnded, 1);
  }
});

Deno.test("A child that was started and never written down is known by the name of its run", async () => {
  await using log = await LogCapture.start();
  using folder = new Folder();
  const first = new Run(folder);
  await using left = await Promise.resolve(new Left(first.ledger.newMarker()));
  await using elsewhere = await Promise.resolve(new Left(`${crypto.randomUUID()}/1`));
  await using nobody = await Promise.resolve(new Left("/1"));
  await started();
  first.die();
  await using second = new Run(folder);
  await second.reconcile();
  assertEquals([left.alive, elsewhere.alive, nobody.alive], [false, true, true]);
  assert(
    log.lines.includes(
      `Ended an orphan of an earlier run: pid ${left.pid}, server unknown, session unknown`,
    ),
  );
  assertEquals(second.rows.earlier().runs, []);
});

Deno.test("Two hundred orphans are ended, those that go by themselves are not counted as ended", async () => {
  using folder = new Folder();
  const first = new Run(folder);
  const left = Array.from(
    { length: 200 },
    (_, n) => new Left(first.ledger.newMarker(), n % 2 === 0 ? "exec sleep 100000" : "exec sleep 0.2"),
  );
  for (const { info } of left) first.rows.add(info);
  first.die();
  await using second = new Run(folder);
  await second.ledger.reconcile();
  await second.ledger.settled();
  assertEquals(left.filter(({ alive }) => alive), []);
  assertEquals(counters(second), { orphansEnded: 100, strayEnded: 0, entriesRemoved: 100 });
  await Promise.all(left.map((one) => one.exited()));
});

Deno.test("An orphan that outlives SIGKILL is told of once, kept, and ended when it can be", async () => {
  await using log = await LogCapture.start();
  using folder = new Folder();
  const first = new Run(folder);
  await using left = await Promise.resolve(new Left(first.ledger.newMarker()));
  first.rows.add(left.info);
  first.die();
  await using second = new Run(folder);
  second.table.deaf = true;
  for (let round = 0; round < 2; round++) {
    await second.ledger.reconcile();
    await second.ledger.settled(FAST);
  }
  assertEquals(log.records.filter(({ level }) => level === "error").length, 1);
  assertEquals(second.rows.earlier().rows.length, 1);
  assertEquals(counters(second).orphansEnded, 0);
  second.table.deaf = false;
  await second.reconcile();
  await second.reconcile();
  assertEquals([left.alive, counters(second).orphansEnded], [false, 1]);
  assertEquals(second.rows.earlier(), { runs: [], rows: [] });
});

Deno.test("Without /proc nothing is ended for its pid, and the log says once what to look at", async () => {
  await using log = await LogCapture.start();
  using folder = new Folder();
  const first = new Run(folder);
  await using left = await Promise.resolve(new Left(first.ledger.newMarker()));
  first.rows.add({ ...left.info, startTime: undefined });
  first.rows.add({ ...left.info, pid: 2 ** 22 + 1, startTime: undefined, marker: "gone/1" });
  first.die();
  await using second = new Run(folder, { procRoot: "/no/such/folder" });
  await second.reconcile();
  await second.reconcile();
  assert(left.alive);
  const told = log.lines.filter((line) => line.includes("cannot be told from other"));
  assertEquals(told.length, 1);
  assert(told[0]!.endsWith(`look yourself at the process groups ${left.pid}`));
  assertEquals(counters(second), { orphansEnded: 0, strayEnded: 0, entriesRemoved: 1 });
  assertEquals(second.rows.earlier(), { runs: [], rows: [] });
});

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
