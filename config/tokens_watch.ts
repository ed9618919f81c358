/**
 * Reads `ACCESS_TOKENS_FILE` again when it changes.
 *
 * The file is looked at once a second rather than watched: a secret that is mounted is a link whose target changes
 * elsewhere, and network file systems tell nobody. A look is one `stat`.
 *
 * @module
 */
import { resolve } from "node:path";
import type { Cancel, Clock } from "../clock.ts";
import { logger } from "../log.ts";

/** How often the file is looked at, in ms. */
const LOOK_MS = 1_000;
/** What is no regular file, such as a pipe, gives its content once. It is never read again. */
const READ_ONCE = "read once";
const GONE = "gone";

const log = logger("access");

/** How to watch. */
export interface TokensWatch {
  readonly clock: Clock;
  /** Reads the file and puts the tokens in force; returns how many there are, throws if the file is wrong. */
  readonly reload: () => number;
  /** What changes when the file does. A test puts another in its place. */
  readonly stateOf?: (path: string) => Promise<string>;
}

/**
 * Reloads when the file has changed and then stayed as it is for one look, so that none is read half written. A file
 * that is wrong or gone changes nothing and is logged.
 *
 * @param path As the operator wrote it: the log calls the file so. Undefined watches nothing.
 * @returns Stops watching; idempotent.
 */
export function watchTokensFile(
  path: string | undefined,
  { clock, reload, stateOf = stateOfFile }: TokensWatch,
): Cancel {
  if (path === undefined) return () => {};
  const file = resolve(path);
  /** As the tokens in force were read; undefined until the first look. */
  let inForce: string | undefined;
  /** At the last look. */
  let seen: string | undefined;
  let stopped = false;
  let cancel: Cancel = () => {};
  const look = async () => {
    const state = await stateOf(file);
    if (stopped) return;
    // The first look reads at once, and says nothing: the file may have changed since the start read it.
    if (inForce === undefined) {
      if (state !== READ_ONCE) read(path, reload, "quiet");
      inForce = state;
    } else if (state !== inForce && state === seen) {
      if (state !== READ_ONCE) read(path, reload, "told");
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

function read(file: string, reload: () => number, success: "quiet" | "told"): void {
  try {
    const count = reload();
    if (success === "told") {
      log.info("Tokens read again from {file}: {count} in force", { file, count });
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.warn("Tokens stay as they were: {reason}", { reason });
  }
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
