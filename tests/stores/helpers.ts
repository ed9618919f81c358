/**
 * Folders for the tests of what is kept.
 *
 * @module
 */
import { assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { StoreError, type StoreProblem } from "../../stores/store_error.ts";

/** A folder that is removed at the end. */
export class Folder implements Disposable {
  readonly path = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "sojourn-store-" }));

  file(name: string): string {
    return join(this.path, name);
  }

  /** Every file with its content, to see that none changes. */
  content(): Record<string, string> {
    const files = Array.from(Deno.readDirSync(this.path), ({ name }) => name).sort();
    return Object.fromEntries(files.map((name) => [name, Deno.readFileSync(this.file(name)).toHex()]));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Asserts that something is refused in one line with a path and words. */
export function assertRefused(
  what: () => unknown,
  { problem, path, words }: { problem: StoreProblem; path: string; words: readonly string[] },
): StoreError {
  const error = assertThrows(what, StoreError);
  const told = `${error.problem} ${error.path}: ${error.message}`;
  for (const word of [`${problem} ${path}: ${path} `, ...words]) assertStringIncludes(told, word);
  if (error.message.includes("\n")) throw new Error(`More than one line: ${error.message}`);
  return error;
}

/** Whether this process may mount file systems. */
export const MAY_MOUNT = mayMount();

/**
 * A file system of its own, gone at the end. For tests that are ignored unless {@link MAY_MOUNT}.
 *
 * @param options Of tmpfs, such as `size=64k`.
 */
export function mountTmpfs(path: string, options: string): Disposable & { remount(mode: "ro" | "rw"): void } {
  Deno.mkdirSync(path, { recursive: true });
  if (!succeeds("mount", "-t", "tmpfs", "-o", options, "tmpfs", path)) {
    throw new Error(`Cannot mount ${path}`);
  }
  return {
    remount(mode) {
      if (!succeeds("mount", "-o", `remount,${mode}`, path)) throw new Error(`Cannot remount ${path}`);
    },
    [Symbol.dispose]: () => void succeeds("umount", "-l", path),
  };
}

function mayMount(): boolean {
  if (Deno.uid() !== 0) return false;
  using folder = new Folder();
  const path = folder.file("mounted");
  Deno.mkdirSync(path);
  return succeeds("mount", "-t", "tmpfs", "tmpfs", path) && succeeds("umount", path);
}

function succeeds(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
