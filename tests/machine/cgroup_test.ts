import { assertEquals } from "@std/assert";
import { type CgroupMemory, readCgroup } from "../../machine/cgroup.ts";
import { groupV1, groupV2, PHYSICAL_BYTES, ProcTree } from "./proc_tree.ts";

/** What version 1 says where no limit is set. */
const NO_LIMIT_V1 = "9223372036854771712";
const MOUNT_V2 = { "cgroup/cgroup.controllers": "cpu memory\n" };

interface Case {
  readonly name: string;
  /** `/proc/self/cgroup`. */
  readonly groups: string;
  readonly files: Readonly<Record<string, string>>;
  readonly expected: CgroupMemory | undefined;
}

const CASES: readonly Case[] = [
  {
    name: "v2: usage less inactive file, against the limit",
    groups: "0::/app\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/app", 1000, 600, 150) },
    expected: { usedBytes: 450, limitBytes: 1000 },
  },
  {
    name: "v2: without a limit there is no reading",
    groups: "0::/app\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/app", "max", 600) },
    expected: undefined,
  },
  {
    name: "v2: the lowest limit on the way up counts, with the usage of its own group",
    groups: "0::/a/b/c\n",
    files: {
      ...MOUNT_V2,
      ...groupV2("cgroup/a", 3000, 2900),
      ...groupV2("cgroup/a/b", 2000, 1900, 100),
      ...groupV2("cgroup/a/b/c", "max", 5),
    },
    expected: { usedBytes: 1800, limitBytes: 2000 },
  },
  {
    name: "v2: of equal limits the outer one counts, which others use too",
    groups: "0::/a/b\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 2000, 900), ...groupV2("cgroup/a/b", 2000, 600) },
    expected: { usedBytes: 900, limitBytes: 2000 },
  },
  {
    name: "v2: limits beside the way up do not count",
    groups: "0::/a/b\n",
    files: {
      ...MOUNT_V2,
      ...groupV2("cgroup/a/b", 2000, 600),
      ...groupV2("cgroup/a/b/below", 10, 5),
      ...groupV2("cgroup/a/sibling", 10, 5),
    },
    expected: { usedBytes: 600, limitBytes: 2000 },
  },
  {
    name: "v2: a group without the memory controller is accounted for by the one above",
    groups: "0::/a/b\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 2000, 600), "cgroup/a/b/cgroup.procs": "1\n" },
    expected: { usedBytes: 600, limitBytes: 2000 },
  },
  {
    name: "v2: the root group of the machine has no such files",
    groups: "0::/\n",
    files: MOUNT_V2,
    expected: undefined,
  },
  {
    name: "v2: in a namespace the group is the mount's root",
    groups: "0::/\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup", 1000, 600, 1) },
    expected: { usedBytes: 599, limitBytes: 1000 },
  },
  {
    name: "v2: a path of the host that the mount does not show stands for the mount's root",
    groups: "0::/system.slice/docker-1.scope\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup", 1000, 600), ...groupV2("cgroup/system.slice", 10, 5) },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v2: a path out of the namespace stands for the mount's root",
    groups: "0::/../a\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup", 1000, 600), ...groupV2("a", 10, 5) },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v2: a limit below physical memory counts",
    groups: "0::/a\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", PHYSICAL_BYTES - 1, 600) },
    expected: { usedBytes: 600, limitBytes: PHYSICAL_BYTES - 1 },
  },
  {
    name: "v2: a limit of all physical memory is none",
    groups: "0::/a\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", PHYSICAL_BYTES, 600) },
    expected: undefined,
  },
  {
    name: "v2: a limit of 0 is none",
    groups: "0::/a\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 0, 600) },
    expected: undefined,
  },
  {
    name: "v2: names may hold colons and spaces",
    groups: "0::/a:b/c d\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a:b/c d", 1000, 600) },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v2: more inactive file than usage, as two reads may show it, is no use at all",
    groups: "0::/a\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 1000, 600, 700) },
    expected: { usedBytes: 0, limitBytes: 1000 },
  },
  {
    name: "v2: without a usable memory.stat all usage counts",
    groups: "0::/a\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 1000, 600, "many") },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v2: a limit that is no number is none",
    groups: "0::/a/b\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 1000, 600), ...groupV2("cgroup/a/b", "10 MB", 5) },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v2: without its usage a limit says nothing, and the next lowest counts",
    groups: "0::/a/b\n",
    files: { ...MOUNT_V2, ...groupV2("cgroup/a", 1000, 600), ...groupV2("cgroup/a/b", 500, "") },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v1: usage less total inactive file, against the limit",
    groups: "5:cpu,cpuacct:/app\n4:memory:/app\n0::/\n",
    files: groupV1("cgroup/memory/app", 1000, 600, 150),
    expected: { usedBytes: 450, limitBytes: 1000 },
  },
  {
    name: "v1: the controller may share its hierarchy",
    groups: "4:hugetlb,memory:/app\n",
    files: groupV1("cgroup/memory/app", 1000, 600),
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "v1: its number for no limit is none",
    groups: "4:memory:/app\n",
    files: {
      ...groupV1("cgroup/memory", NO_LIMIT_V1, 600),
      ...groupV1("cgroup/memory/app", NO_LIMIT_V1, 600),
    },
    expected: undefined,
  },
  {
    name: "v1: the lowest limit on the way up counts",
    groups: "4:memory:/a/b\n",
    files: {
      ...groupV1("cgroup/memory", NO_LIMIT_V1, 9000),
      ...groupV1("cgroup/memory/a", 1000, 600, 10),
      ...groupV1("cgroup/memory/a/b", 2000, 500),
    },
    expected: { usedBytes: 590, limitBytes: 1000 },
  },
  {
    name: "v1: a path of the host that the mount does not show stands for the mount's root",
    groups: "4:memory:/docker/1234\n",
    files: groupV1("cgroup/memory", 1000, 600),
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "Both versions: memory belongs to version 1 where that names it",
    groups: "4:memory:/app\n1:name=systemd:/x\n0::/app\n",
    files: {
      ...groupV1("cgroup/memory/app", 1000, 600),
      ...groupV2("cgroup/unified/app", 10, 5),
      "cgroup/unified/cgroup.controllers": "\n",
    },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "Both versions: else to version 2, mounted beside the others",
    groups: "1:name=systemd:/app\n0::/app\n",
    files: { ...groupV2("cgroup/unified/app", 1000, 600), "cgroup/unified/cgroup.controllers": "memory\n" },
    expected: { usedBytes: 600, limitBytes: 1000 },
  },
  {
    name: "No hierarchy with memory at all",
    groups: "5:cpu,cpuacct:/app\n",
    files: groupV1("cgroup/memory/app", 1000, 600),
    expected: undefined,
  },
  {
    name: "A membership that is garbage",
    groups: "\0\nmemory\n::::\n4:memory\n",
    files: { ...groupV1("cgroup/memory", 1000, 600), ...groupV2("cgroup", 1000, 600) },
    expected: undefined,
  },
];

for (const { name, groups, files, expected } of CASES) {
  Deno.test(name, async () => {
    using tree = new ProcTree({ "proc/self/cgroup": groups, ...files });
    assertEquals(await readCgroup({ ...rootsOf(tree), physicalBytes: PHYSICAL_BYTES }), expected);
  });
}

Deno.test("Without /proc and without control groups there is no reading", async () => {
  const nowhere = { procRoot: "/no/such/folder", cgroupRoot: "/no/such/folder" };
  assertEquals(await readCgroup({ ...nowhere, physicalBytes: PHYSICAL_BYTES }), undefined);
  using tree = new ProcTree({ "proc/self/cgroup": "0::/a\n" });
  assertEquals(await readCgroup({ ...rootsOf(tree), physicalBytes: PHYSICAL_BYTES }), undefined);
});

function rootsOf({ procRoot, cgroupRoot }: ProcTree): { procRoot: string; cgroupRoot: string } {
  return { procRoot, cgroupRoot };
}
