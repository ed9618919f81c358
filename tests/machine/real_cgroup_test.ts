import { assert, assertEquals } from "@std/assert";
import { readCgroup } from "../../machine/cgroup.ts";
import { HungryChild, MIB } from "./hungry_child.ts";
import { ProcTree } from "./proc_tree.ts";

const CGROUP_ROOT = "/sys/fs/cgroup";
const LIMIT_BYTES = 1024 * MIB;

/** The two versions as the kernel may have them: where groups are made, and how a process learns of its own. */
const VERSIONS = [
  { name: "v1", mount: `${CGROUP_ROOT}/memory`, limitFile: "memory.limit_in_bytes", line: "4:memory:" },
  { name: "v2", mount: CGROUP_ROOT, limitFile: "memory.max", line: "0::" },
];

/** A group of the real kernel, and below it one without a limit. */
class RealGroup implements Disposable {
  readonly path = `/sojourn-test-${Deno.pid}`;
  readonly folder: string;
  readonly inner: string;

  /** @throws {Error} Where this machine does not let us. */
  constructor({ mount, limitFile }: typeof VERSIONS[number]) {
    this.folder = mount + this.path;
    this.inner = `${this.folder}/inner`;
    Deno.mkdirSync(this.folder);
    try {
      // Truncating and creating is for files that are none of the kernel's.
      Deno.writeTextFileSync(`${this.folder}/${limitFile}`, `${LIMIT_BYTES}`, { create: false });
      Deno.mkdirSync(this.inner);
    } catch (error) {
      Deno.removeSync(this.folder);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.inner);
    Deno.removeSync(this.folder);
  }
}

for (const version of VERSIONS) {
  Deno.test({
    name: `A real group of ${version.name}: what a process in it holds is read, against the limit above it`,
    ignore: !canMakeGroups(version),
    async fn() {
      using group = new RealGroup(version);
      using tree = new ProcTree({ "proc/self/cgroup": `${version.line}${group.path}/inner\n` });
      const read = () =>
        readCgroup({
          procRoot: tree.procRoot,
          cgroupRoot: CGROUP_ROOT,
          physicalBytes: Deno.systemMemoryInfo().total,
        });
      const before = await read();
      assertEquals(before?.limitBytes, LIMIT_BYTES);

      const join = `echo $$ > "$0/cgroup.procs" && exec "$@"`;
      await using _child = await HungryChild.start(128, ["sh", "-c", join, group.inner]);
      const during = await read();
      assertEquals(during?.limitBytes, LIMIT_BYTES);
      const grownBytes = during!.usedBytes - before!.usedBytes;
      assert(grownBytes > 100 * MIB && grownBytes < 512 * MIB, `${grownBytes}`);
    },
  });
}

function canMakeGroups(version: typeof VERSIONS[number]): boolean {
  if (Deno.build.os !== "linux" || Deno.systemMemoryInfo().total <= LIMIT_BYTES) return false;
  try {
    new RealGroup(version)[Symbol.dispose]();
    return true;
  } catch {
    return false;
  }
}
