import { assert, assertEquals } from "@std/assert";
import { ProcessTable } from "../../backends/process_table.ts";
import { parseStat, type ProcessEntry, Snapshot } from "../../backends/snapshot.ts";
import { systemClock } from "../../clock.ts";
import { processes } from "./harness.ts";

/** A line as the kernel writes it; 24 fields are enough. */
function statLine(
  pid: number,
  comm: string,
  state: string,
  [ppid, pgrp, session, startTime, rssPages = 0]: number[],
): string {
  return `${pid} (${comm}) ${state} ${ppid} ${pgrp} ${session} ${
    "0 ".repeat(15)
  }${startTime} 0 ${rssPages} 0\n`;
}

for (const comm of ["cat", "a b", "a) S 1 (b", ")", "", "(((", "a\nb"]) {
  Deno.test(`A program named ${JSON.stringify(comm)} does not confuse the fields`, () => {
    assertEquals(parseStat(statLine(42, comm, "S", [1, 2, 3, 4, 5]), 4096), {
      pid: 42,
      ppid: 1,
      pgrp: 2,
      session: 3,
      startTime: 4,
      dead: false,
      rssBytes: 20_480,
    });
  });
}

Deno.test("A zombie counts as dead, half a line as no process", () => {
  assertEquals(parseStat(statLine(42, "cat", "Z", [1, 2, 3, 4]), 4096)?.dead, true);
  assertEquals(parseStat("42 (cat) S 1", 4096), undefined);
  assertEquals(parseStat("", 4096), undefined);
});

Deno.test("A line without an RSS, or with a senseless one, counts as none", () => {
  const upToStartTime = `42 (cat) S 1 2 3 ${"0 ".repeat(15)}4`;
  for (const rest of ["", " 0", " 0 ", " 0 -1 0", " 0 many 0"]) {
    assertEquals(parseStat(upToStartTime + rest, 4096)?.rssBytes, 0, rest);
  }
});

/** Leads a group and a session of its own, unless told otherwise. */
function entry(pid: number, ppid: number, more: Partial<ProcessEntry> = {}): ProcessEntry {
  return {
    pid,
    ppid,
    pgrp: pid,
    session: more.pgrp ?? pid,
    startTime: 100,
    dead: false,
    rssBytes: 0,
    ...more,
  };
}

/** Who is found for a child with pid 10 that started at 100. */
function found(entries: ProcessEntry[], { markers = {}, noted = [], startTime = 100 }: {
  markers?: Record<number, string>;
  noted?: { pid: number; startTime: number }[];
  startTime?: number | undefined;
} = {}): number[] {
  const known = Object.entries(markers).map(([pid, marker]) => [Number(pid), { marker }] as const);
  const family = { root: { pid: 10, startTime }, marker: "mine", noted };
  return new Snapshot(entries, new Map(known)).descendants(family).map(({ pid }) => pid).sort((a, b) =>
    a - b
  );
}

Deno.test("Descendants are children's children, whatever group they are in", () => {
  assertEquals(found([entry(10, 1), entry(11, 10), entry(12, 11), entry(20, 1), entry(21, 20)]), [
    10,
    11,
    12,
  ]);
});

Deno.test("Members of the group and of the session are found without their parents", () => {
  const entries = [entry(11, 1, { pgrp: 10 }), entry(12, 1, { session: 10 }), entry(13, 12), entry(20, 1)];
  assertEquals(found(entries), [11, 12, 13]);
});

Deno.test("The marker finds who moved away, and its children", () => {
  const markers = { 11: "mine", 20: "another" };
  assertEquals(found([entry(11, 1), entry(12, 11), entry(20, 1)], { markers }), [11, 12]);
});

Deno.test("A pid that is used again is nobody's: not the child's, not its group's, not a noted one's", () => {
  const reused = [entry(10, 1, { startTime: 500 }), entry(11, 10), entry(12, 1, { pgrp: 10 })];
  assertEquals(found(reused, { noted: [{ pid: 11, startTime: 99 }] }), []);
  assertEquals(found(reused, { noted: [{ pid: 11, startTime: 100 }] }), [11]);
});

Deno.test("Who is older than the child does not descend from it by its group", () => {
  assertEquals(found([entry(11, 1, { pgrp: 10, startTime: 99 })]), []);
});

Deno.test("The family of a pid is who descends from it, and who carries the marker that it carries", () => {
  const markers = new Map(
    [[10, "mine"], [11, "mine"], [30, "mine"], [40, "another"]].map(([pid, marker]) =>
      [pid as number, { marker: marker as string }] as const
    ),
  );
  const entries = [entry(10, 1), entry(11, 10), entry(12, 1, { pgrp: 10 }), entry(30, 1), entry(31, 30)];
  const snapshot = new Snapshot([...entries, entry(40, 1), entry(50, 1)], markers);
  const family = (pid: number) => snapshot.family(pid).map(({ pid }) => pid).sort((a, b) => a - b);
  assertEquals(family(10), [10, 11, 12, 30, 31]);
  assertEquals(family(31), [31]);
  assertEquals(family(50), [50]);
  assertEquals(family(99), []);
});

Deno.test("Children are told of a process too that is not in the picture", () => {
  const snapshot = new Snapshot([entry(10, 5), entry(11, 10), entry(12, 5)], new Map());
  assertEquals(snapshot.children(5).map(({ pid }) => pid), [10, 12]);
  assertEquals(snapshot.children(12), []);
});

Deno.test("A thousand who want a snapshot at the same time share one scan", async () => {
  const snapshots = await Promise.all(Array.from({ length: 1_000 }, () => processes.snapshot()));
  assertEquals(new Set(snapshots).size, 1);
});

Deno.test("A snapshot that is asked for during a scan is taken after it", async () => {
  const table = new ProcessTable({ clock: systemClock });
  const first = table.snapshot();
  // Longer than requests are gathered, shorter than a scan with its pauses can be sure to be over.
  await new Promise((resolve) => setTimeout(resolve, 6));
  const child = new Deno.Command("sleep", { args: ["100000"], env: { SOJOURN_BACKEND: "mine" } }).spawn();
  const second = table.snapshot();
  const family = { root: { pid: child.pid, startTime: undefined }, marker: "mine", noted: [] };
  await first;
  assertEquals((await second).descendants(family).map(({ pid }) => pid), [child.pid]);
  child.kill("SIGKILL");
  await child.status;
});

Deno.test("A signal reaches a process only under its start time", async () => {
  const child = new Deno.Command("sleep", { args: ["100000"] }).spawn();
  const { startTime } = processes.read(child.pid)!;
  assert(processes.alive({ pid: child.pid, startTime }));
  assertEquals(processes.alive({ pid: child.pid, startTime: startTime - 1 }), false);
  processes.signal({ pid: child.pid, startTime: startTime + 1 }, "SIGKILL");
  assert(processes.alive({ pid: child.pid, startTime }));
  processes.signal({ pid: child.pid, startTime }, "SIGTERM");
  assertEquals((await child.status).signal, "SIGTERM");
  assertEquals(processes.alive({ pid: child.pid, startTime }), false);
  processes.signal({ pid: child.pid, startTime }, "SIGTERM");
  assertEquals(processes.groupExists(child.pid), false);
});

Deno.test("A folder of processes is read as it is: names that are none, files that cannot be read", async () => {
  const procRoot = Deno.makeTempDirSync();
  const add = (pid: number, stat: string, environ?: string) => {
    Deno.mkdirSync(`${procRoot}/${pid}`);
    Deno.writeTextFileSync(`${procRoot}/${pid}/stat`, stat);
    if (environ !== undefined) Deno.writeTextFileSync(`${procRoot}/${pid}/environ`, environ);
  };
  add(Deno.pid, statLine(Deno.pid, "self", "R", [1, 1, 1, 1]));
  add(100_001, statLine(100_001, "a", "S", [1, 1, 1, 1]), "A=1\0SOJOURN_BACKEND=mine\0B=2\0");
  add(100_002, statLine(100_002, "b", "S", [100_001, 1, 1, 1]));
  add(100_003, statLine(100_003, "zombie", "Z", [100_001, 1, 1, 1]));
  add(100_004, "nonsense", "SOJOURN_BACKEND=mine");
  Deno.mkdirSync(`${procRoot}/sys`);
  Deno.mkdirSync(`${procRoot}/100005`);
  const snapshot = await new ProcessTable({ clock: systemClock, procRoot }).snapshot();
  const family = { root: { pid: 1, startTime: undefined }, marker: "mine", noted: [] };
  assertEquals(snapshot.descendants(family).map(({ pid }) => pid), [100_001, 100_002]);
  assertEquals(snapshot.size, 2);
  Deno.removeSync(procRoot, { recursive: true });
});

Deno.test("Without /proc there is an empty snapshot", async () => {
  const table = new ProcessTable({ clock: systemClock, procRoot: "/no/such/folder" });
  assertEquals(table.available, false);
  assertEquals((await table.snapshot()).size, 0);
});
