/**
 * Reads `ACCESS_TOKENS_FILE` again when it changes.
 *
 * @module
 */
import type { Cancel } from "../clock.ts";
import { logger } from "../log.ts";
import { type FileWatch, watchFile } from "./file_watch.ts";

const log = logger("access");

/** How to watch. */
export interface TokensWatch extends Omit<FileWatch, "read"> {
  /** Reads the file and puts the tokens in force; returns how many there are, throws if the file is wrong. */
  readonly reload: () => number;
}

/**
 * Reloads when the file has changed, see {@link watchFile}. A file that is wrong or gone changes nothing and is logged.
 *
 * @param path As the operator wrote it: the log calls the file so. Undefined watches nothing.
 * @returns Stops watching; idempotent.
 */
export function watchTokensFile(path: string | undefined, { reload, ...watch }: TokensWatch): Cancel {
  const read = (again: boolean) => {
    try {
      const count = reload();
      if (again) log.info("Tokens read again from {file}: {count} in force", { file: path, count });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn("Tokens stay as they were: {reason}", { reason });
    }
  };
  return watchFile(path, { ...watch, read });
}
