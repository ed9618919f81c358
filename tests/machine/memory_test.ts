import { assert, assertEquals } from "@std/assert";
import { ProcessTable } from "../../backends/process_table.ts";
import { systemClock } from "../../clock.ts";
import { MemoryProbe } from "../../machine/memory.ts";
import { processes } from "../backends/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { HungryChild, MIB } from "./hungry_child.ts";
import { groupV1, groupV2, PHYSICAL_BYTES, ProcTree } from "./proc_tree.ts";

const PAGE_BYTES = 4096;
const DEFAULT_LIMIT_BYTES = Math.floor(0.8 * PHYSICAL_BYTES);

/** A group with a limit of 1000 pages. */
const GROUP = {
  "proc/self/cgroup": "0::/app\n",
  "cgroup/cgroup.controllers": "memory\n",
};
const groupUsing = (pages: number) => ({
  ...GROUP,
  ...groupV2("cgroup/app", 1000 * PAGE_BYTES, (pages + 7) * PAGE_BYTES, 7 * PAGE_BYTES),
});

/** A tree in which the gateway and its children have 100 pages. */
function treeWithProcesses(files: Readonly<Record<string, string>> = {}): ProcTree {
  const tree = new ProcTree(files);
  tree.process(Deno.pid, { ppid: 1, rssPages: 40 });
  tree.process(100_001, { ppid: Deno.pid, rssPages: 30, marker: "mine" });
  tree.process(100_002, { ppid: 100_001, rssPages: 20, marker: "mine" });
  tree.process(100_003, { ppid: 1, rssPages: 10, marker: "mine" });
  tree.process(100_004, { ppid: 1, rssPages: 999 });
  tree.process(100_005, { ppid: 1, rssPages: 999, marker: "of another gateway" });
  return tree;
}

function probeOf({ procRoot, cgroupRoot }: ProcTree, memoryLimitBytes?: number): MemoryProbe {
  const table = new ProcessTable({ clock: systemClock, procRoot });
  return new MemoryProbe({ memoryLimitBytes, processes: table, procRoot, cgroupRoot });
}

Deno.test("Without a group's limit the gateway and its children count against 80% of physical memory", async () => {
  using tree = treeWithProcesses();
  assertEquals(await probeOf(tree).read(), {
    usedBytes: 100 * PAGE_BYTES,
    limitBytes: DEFAULT_LIMIT_BYTES,
    source: "rss",
  });
});

Deno.test("Without a group's limit they count against MEMORY_LIMIT_BYTES where it is set", async () => {
  using tree = treeWithProcesses({ ...GROUP, ...groupV2("cgroup/app", "max", 5) });
  assertEquals(await probeOf(tree, 150 * PAGE_BYTES).read(), {
    usedBytes: 100 * PAGE_BYTES,
    limitBytes: 150 * PAGE_BYTES,
    source: "rss",
  });
});

Deno.test("Pages are counted in the size that the kernel told", async () => {
  const auxv = new Uint8Array(BigUint64Array.from([6n, 65_536n, 0n, 0n]).buffer);
  using tree = treeWithProcesses();
  Deno.mkdirSync(`${tree.procRoot}/self`);
  Deno.writeFileSync(`${tree.procRoot}/self/auxv`, auxv);
  assertEquals((await probeOf(tree).read()).usedBytes, 100 * 65_536);
});

Deno.test("A group's limit below physical memory counts, and processes do not", async () => {
  using tree = treeWithProcesses(groupUsing(600));
  assertEquals(await probeOf(tree).read(), {
    usedBytes: 600 * PAGE_BYTES,
    limitBytes: 1000 * PAGE_BYTES,
    source: "cgroup",
  });
});

Deno.test("A group's limit of all physical memory does not count", async () => {
  using tree = treeWithProcesses({
    "proc/self/cgroup": "4:memory:/app\n",
    ...groupV1("cgroup/memory/app", PHYSICAL_BYTES, 5),
  });
  assertEquals((await probeOf(tree).read()).source, "rss");
});

// [pages of 1000 that the group uses, MEMORY_LIMIT_BYTES in pages, what counts]. The processes use 100 pages.
const BOTH: [number, number, "cgroup" | "rss"][] = [
  [499, 200, "rss"],
  [500, 200, "cgroup"],
  [501, 200, "cgroup"],
  [1, 100_000, "cgroup"],
  [0, 100_000, "rss"],
];
for (const [groupPages, limitPages, source] of BOTH) {
  Deno.test(`Group ${groupPages} of 1000 pages, processes 100 of ${limitPages}: ${source} counts`, async () => {
    using tree = treeWithProcesses(groupUsing(groupPages));
    const [usedPages, ofPages] = source === "cgroup" ? [groupPages, 1000] : [100, limitPages];
    assertEquals(await probeOf(tree, limitPages * PAGE_BYTES).read(), {
      usedBytes: usedPages * PAGE_BYTES,
      limitBytes: ofPages * PAGE_BYTES,
      source,
    });
  });
}

Deno.test("Each reading is a new one: limits and files come and go", async () => {
  using tree = treeWithProcesses(groupUsing(600));
  const probe = probeOf(tree);
  assertEquals((await probe.read()).usedBytes, 600 * PAGE_BYTES);
  tree.write(groupUsing(700));
  assertEquals((await probe.read()).usedBytes, 700 * PAGE_BYTES);
  tree.write({ "cgroup/app/memory.current": "a lot\n" });
  assertEquals((await probe.read()).source, "rss");
  tree.write(groupUsing(700));
  assertEquals((await probe.read()).source, "cgroup");
  tree.remove("cgroup");
  assertEquals((await probe.read()).source, "rss");
  tree.process(100_001, { ppid: Deno.pid, rssPages: 130 });
  assertEquals((await probe.read()).usedBytes, 200 * PAGE_BYTES);
});

for (const meminfo of ["", "MemTotal: a lot kB\n", "MemTotal:       0 kB\n"]) {
  Deno.test(`With ${JSON.stringify(meminfo)} as meminfo the runtime knows the physical memory`, async () => {
    using tree = treeWithProcesses({ "proc/meminfo": meminfo });
    assertEquals((await probeOf(tree).read()).limitBytes, Math.floor(0.8 * Deno.systemMemoryInfo().total));
  });
}

Deno.test("Without /proc the gateway's own memory counts, and the log says so once", async () => {
  await using log = await LogCapture.start();
  using tree = new ProcTree();
  tree.remove("proc");
  const probe = probeOf(tree);
  for (let reading = 0; reading < 3; reading++) {
    const { usedBytes, limitBytes, source } = await probe.read();
    assert(usedBytes > MIB && usedBytes < limitBytes, `${usedBytes}`);
    assertEquals(limitBytes, Math.floor(0.8 * Deno.systemMemoryInfo().total));
    assertEquals(source, "rss");
  }
  assertEquals(log.lines.length, 1);
  assert(log.lines[0]!.includes(tree.procRoot), log.lines[0]);
});

Deno.test({
  name: "On this machine a child's memory is in the sum",
  ignore: !processes.available,
  async fn() {
    using tree = new ProcTree();
    const { cgroupRoot } = tree;
    const probe = new MemoryProbe({ memoryLimitBytes: undefined, processes, cgroupRoot });
    await using _child = await HungryChild.start(256);
    const { usedBytes, limitBytes, source } = await probe.read();
    assertEquals(source, "rss");
    assert(usedBytes > 256 * MIB && usedBytes < limitBytes, `${usedBytes} of ${limitBytes}`);
  },
});
