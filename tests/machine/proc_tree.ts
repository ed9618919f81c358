/**
 * Folders that look like `/proc` and `/sys/fs/cgroup`.
 *
 * @module
 */
import { dirname } from "node:path";

/** Physical memory of the machine that a {@link ProcTree} shows: 8 GiB. */
export const PHYSICAL_BYTES = 8 * 2 ** 30;

/** A tree in a folder of its own, which is removed at the end of the test. */
export class ProcTree implements Disposable {
  readonly #root = Deno.makeTempDirSync();
  readonly procRoot = `${this.#root}/proc`;
  readonly cgroupRoot = `${this.#root}/cgroup`;

  /** @param files Content by path; paths begin with `proc/` or `cgroup/`. */
  constructor(files: Readonly<Record<string, string>> = {}) {
    this.write({ "proc/meminfo": `MemTotal:       ${PHYSICAL_BYTES / 1024} kB\nMemFree: 1 kB\n`, ...files });
  }

  write(files: Readonly<Record<string, string>>): void {
    for (const [path, content] of Object.entries(files)) {
      Deno.mkdirSync(dirname(`${this.#root}/${path}`), { recursive: true });
      Deno.writeTextFileSync(`${this.#root}/${path}`, content);
    }
  }

  remove(path: string): void {
    Deno.removeSync(`${this.#root}/${path}`, { recursive: true });
  }

  /** A process, leader of its own group and session. */
  process(pid: number, { ppid, rssPages, marker, pgrp = pid }: {
    ppid: number;
    rssPages: number;
    marker?: string;
    pgrp?: number;
  }): void {
    const upToStartTime = `${pid} (a) S ${ppid} ${pgrp} ${pgrp} ${"0 ".repeat(15)}100`;
    this.write({
      [`proc/${pid}/stat`]: `${upToStartTime} 0 ${rssPages} 0\n`,
      [`proc/${pid}/environ`]: marker === undefined ? "A=1\0" : `A=1\0SOJOURN_BACKEND=${marker}\0`,
    });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#root, { recursive: true });
  }
}

/** The files of a group of version 1, in a folder. */
export function groupV1(
  folder: string,
  limit: number | string,
  usage: number | string,
  inactiveFile: number | string = 0,
): Record<string, string> {
  return {
    [`${folder}/memory.limit_in_bytes`]: `${limit}\n`,
    [`${folder}/memory.usage_in_bytes`]: `${usage}\n`,
    [`${folder}/memory.stat`]:
      `cache 99\ninactive_file 77\ntotal_cache 99\ntotal_inactive_file ${inactiveFile}\ntotal_active_file 55\n`,
  };
}

/** The files of a group of version 2, in a folder. */
export function groupV2(
  folder: string,
  limit: number | string,
  usage: number | string,
  inactiveFile: number | string = 0,
): Record<string, string> {
  return {
    [`${folder}/memory.max`]: `${limit}\n`,
    [`${folder}/memory.current`]: `${usage}\n`,
    [`${folder}/memory.stat`]: `anon 99\nfile 99\ninactive_file ${inactiveFile}\nactive_file 55\n`,
  };
}
