/**
 * What the control group of this process lets it use of the memory, and how much of that is in use.
 *
 * A group is a folder with a file for each number. Its limit holds for everything below it too, and its usage counts
 * everything below it: so the group to look at is the one with the lowest limit among ours and those above it.
 *
 * Usage is less the file cache that was not used lately (`inactive_file`): the kernel gives that back before it ends
 * anybody, and a server that reads many files would otherwise look like a full machine.
 *
 * | | version 1 | version 2 |
 * | --- | --- | --- |
 * | our group, in `/proc/self/cgroup` | `4:memory:/path` | `0::/path` |
 * | mounted at | `memory/` | the root; `unified/` where both are in use |
 * | no limit | a number close to 2^63 | `max` |
 *
 * Where both are in use, memory belongs to the version whose line names it.
 *
 * @module
 */

/** Memory in use, and how much may be, in bytes. */
export interface CgroupMemory {
  readonly usedBytes: number;
  readonly limitBytes: number;
}

/** Where to look. */
export interface CgroupOptions {
  /** Where the proc file system is mounted. */
  readonly procRoot: string;
  /** Where control groups are mounted, usually `/sys/fs/cgroup`. */
  readonly cgroupRoot: string;
  /** Bytes; a limit that is not below is none. */
  readonly physicalBytes: number;
}

/** How the numbers are called. */
interface Names {
  readonly limit: string;
  readonly usage: string;
  /** In `memory.stat`: of the group and all below it. */
  readonly inactiveFile: string;
}

const V1: Names = {
  limit: "memory.limit_in_bytes",
  usage: "memory.usage_in_bytes",
  inactiveFile: "total_inactive_file",
};
const V2: Names = { limit: "memory.max", usage: "memory.current", inactiveFile: "inactive_file" };

/**
 * Reads the group with the lowest limit.
 *
 * @returns Undefined where no limit below the physical memory is set, or none that can be read. Never rejects.
 */
export async function readCgroup(options: CgroupOptions): Promise<CgroupMemory | undefined> {
  const group = await findGroup(options);
  if (group === undefined) return undefined;
  const { names } = group;
  const folders = await foldersOf(group.mount, group.path);
  const limited = await Promise.all(folders.map(async (folder) => ({
    folder,
    limitBytes: await readBytes(`${folder}/${names.limit}`) ?? Infinity,
  })));
  // The sort is stable: of equal limits the outer one comes first, which is the one that is reached first.
  const lowestFirst = limited
    .filter(({ limitBytes }) => limitBytes > 0 && limitBytes < options.physicalBytes)
    .sort((a, b) => a.limitBytes - b.limitBytes);
  for (const { folder, limitBytes } of lowestFirst) {
    const [usage, stat] = await Promise.all([
      readBytes(`${folder}/${names.usage}`),
      readText(`${folder}/memory.stat`),
    ]);
    if (usage === undefined) continue;
    const inactive = stat?.match(new RegExp(`^${names.inactiveFile} (\\d+)$`, "m"))?.[1] ?? 0;
    return { usedBytes: Math.max(0, usage - Number(inactive)), limitBytes };
  }
  return undefined;
}

/** Which group accounts for the memory of this process. */
async function findGroup(
  { procRoot, cgroupRoot }: CgroupOptions,
): Promise<{ readonly names: Names; readonly mount: string; readonly path: string } | undefined> {
  // A path may hold colons.
  const lines = (await readText(`${procRoot}/self/cgroup`))?.matchAll(/^(\d+):([^:\n]*):(.*)$/gm) ?? [];
  let unified: string | undefined;
  for (const [, hierarchy, controllers = "", path = "/"] of lines) {
    if (controllers.split(",").includes("memory")) return { names: V1, mount: `${cgroupRoot}/memory`, path };
    if (hierarchy === "0") unified = path;
  }
  if (unified === undefined) return undefined;
  const isMount = await readText(`${cgroupRoot}/cgroup.controllers`) !== undefined;
  return { names: V2, mount: isMount ? cgroupRoot : `${cgroupRoot}/unified`, path: unified };
}

/**
 * The folders of a group and of all above it, the outermost first.
 *
 * In a container the path may be one of the host, while the mount begins at the container's group: then the mount's
 * root is all there is to see. A part of such a path that happens to exist is somebody else's.
 */
async function foldersOf(mount: string, path: string): Promise<string[]> {
  const names = path.split("/").filter((name) => name !== "");
  if (names.includes("..") || !await isFolder([mount, ...names].join("/"))) return [mount];
  return [mount, ...names.map((_, at) => [mount, ...names.slice(0, at + 1)].join("/"))];
}

/** A file with one number; undefined where it holds anything else, such as `max`. */
async function readBytes(path: string): Promise<number | undefined> {
  const text = await readText(path);
  return text !== undefined && /^\d+\n?$/.test(text) ? Number(text) : undefined;
}

/** Off this thread: the kernel may have to add up the counts of many cores. */
async function readText(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return undefined;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch {
    return false;
  }
}
