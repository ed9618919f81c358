import { assert, assertEquals } from "@std/assert";
import type { ProcessInfo } from "../../stores/process_rows.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { Folder } from "../stores/helpers.ts";
import { processes, readPids, tempFile } from "./harness.ts";
import { counters, FAST, Left, Run, started } from "./ledger_harness.ts";

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
  const { orphansEnded, entriesRemoved } = counters(second);
  assertEquals(orphansEnded + entriesRemoved, 200);
  // On a busy machine some that would have gone get a signal before.
  assert(orphansEnded >= 100 && entriesRemoved > 0);
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
