/**
 * Reads a file again when it changes.
 *
 * The file is looked at once a second rather than watched: a secret that is mounted is a link whose target changes
 * elsewhere, and network file systems tell nobody. A look is one `stat`.
 *
 * @module
 */
import { resolve } from "node:path";
import type { Cancel, Clock } from "../clock.ts";

/** How often the file is looked at, in ms. */
const LOOK_MS = 1_000;
/** What is no regular file, such as a pipe, gives its content once. It is never read again. */
const READ_ONCE = "read once";
const GONE = "gone";

/** How to watch. */
export interface FileWatch {
  readonly clock: Clock;
  /**
   * Reads the file again. Must not throw.
   *
   * @param again False at the first look, which reads in any case: the file may have changed since the start read it.
   */
  readonly read: (again: boolean) => void;
  /** What changes when the file does. A test puts another in its place. */
  readonly stateOf?: (path: string) => Promise<string>;
}

/**
 * Has a file read when it has changed and then stayed as it is for one look, so that none is read half written.
 *
 * @param path Undefined watches nothing.
 * @returns Stops watching; idempotent.
 */
export function watchFile(
  path: string | undefined,
  { clock, read, stateOf = stateOfFile }: FileWatch,
): Cancel {
  if (path === undefined) return () => {};
  const file = resolve(path);
  /** As what is in force was read; undefined until the first look. */
  let inForce: string | undefined;
  /** At the last look. */
  let seen: string | undefined;
  let stopped = false;
  let cancel: Cancel = () => {};
  const look = async () => {
    const state = await stateOf(file);
    if (stopped) return;
    const again = inForce !== undefined;
    if (!again || (state !== inForce && state === seen)) {
      if (state !== READ_ONCE) read(again);
      inForce = state;
    }
    seen = state;
    cancel = clock.after(LOOK_MS, look);
  };
  void look();
  return () => {
    stopped = true;
    cancel();
  };
}

/** Follows links. The change time also tells of a file that was replaced by one of the same size and age. */
async function stateOfFile(path: string): Promise<string> {
  try {
    const { isFile, dev, ino, size, mtime, ctime } = await Deno.stat(path);
    return isFile ? [dev, ino, size, mtime?.getTime(), ctime?.getTime()].join() : READ_ONCE;
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? GONE : "cannot be looked at";
  }
}
