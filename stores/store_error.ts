/**
 * What can be wrong with the data folder and the files in it, told so that somebody can put it right.
 *
 * @module
 */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";

/** What is wrong, for programs. */
export type StoreProblem =
  /** Another gateway uses the folder. */
  | "inUse"
  /** Something else stands where a folder or a file should be. */
  | "misplaced"
  /** No permission, or a read-only file system. */
  | "notWritable"
  /** No space is left. */
  | "full"
  /** The file is there and cannot be read as what it should be. */
  | "damaged"
  /** It is a database, and somebody else's. */
  | "foreign"
  /** It was written by a later version. */
  | "newer"
  /** Another program holds the file. */
  | "busy"
  /** What was to be put down is there already. */
  | "duplicate"
  /** It was closed before. */
  | "closed"
  /** Anything else that the system refused. */
  | "io";

/** The data folder, or a file in it, cannot be used. Its message names the path, what is wrong and what to do. */
export class StoreError extends Error {
  override readonly name = "StoreError";

  constructor(
    readonly problem: StoreProblem,
    /** Absolute; the name of what is in no file. */
    readonly path: string,
    /** Completes a sentence that begins with the path. */
    detail: string,
    options?: ErrorOptions,
  ) {
    super(`${path} ${detail}`, options);
  }

  /** Something was asked of what had been closed. */
  static closed(path: string): StoreError {
    return new StoreError(
      "closed",
      path,
      "was closed before: nothing is read from it or written to it any more",
    );
  }

  /**
   * What became of something that was tried with a file or a folder. A {@link StoreError} stays what it is.
   *
   * @param holds What a database holds, for the advice to do without it.
   */
  static of(error: unknown, path: string, holds = "its content"): StoreError {
    if (error instanceof StoreError) return error;
    const reason = error instanceof Error ? error.message : String(error);
    const found = problemOf(error, reason);
    const problem = found === "io" && isFull(path) ? "full" : found;
    return new StoreError(problem, path, detailOf(problem, { reason, holds }), { cause: error });
  }
}

/** What SQLite needs beside a database to open it, in bytes. */
const LEAST_BYTES = 64 * 1024;

/** By the code of an error of the system. */
const SYSTEM: Readonly<Record<string, StoreProblem>> = {
  EACCES: "notWritable",
  EPERM: "notWritable",
  EROFS: "notWritable",
  ENOSPC: "full",
  EDQUOT: "full",
  EFBIG: "full",
  ENOTDIR: "misplaced",
  EEXIST: "misplaced",
  EISDIR: "misplaced",
};

/**
 * By the message of an error of SQLite: Deno 2.9.6 gives all of them the one code `ERR_SQLITE_ERROR` and no `errcode`.
 * The texts are those of `sqlite3_errstr`, which have not changed in many years.
 */
const SQLITE: readonly (readonly [RegExp, StoreProblem])[] = [
  [/file is not a database|malformed/, "damaged"],
  [/disk is full/, "full"],
  [/readonly database|unable to open/, "notWritable"],
  [/is locked/, "busy"],
  [/UNIQUE constraint failed/, "duplicate"],
];

function problemOf(error: unknown, reason: string): StoreProblem {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return SYSTEM[code] ?? SQLITE.find(([text]) => text.test(reason))?.[1] ?? "io";
}

/** SQLite calls it an I/O error where there is no room for the file that it shares memory through. */
function isFull(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize < LEAST_BYTES;
  } catch {
    return false;
  }
}

function detailOf(problem: StoreProblem, { reason, holds }: { reason: string; holds: string }): string {
  switch (problem) {
    case "notWritable":
      return `cannot be written (${reason}): let the user who runs the gateway write there, or set DATA_DIR to ` +
        "another folder";
    case "full":
      return `cannot be written, no space is left (${reason}): make some, or set DATA_DIR to another folder`;
    case "damaged":
      return `is damaged (${reason}) and was left as it is: put a copy back in its place, or move it away, with ` +
        `the files beside it that end in -wal and -shm, to start without ${holds}`;
    case "misplaced":
      return `cannot be made (${reason}): move away what is there, or set DATA_DIR to another folder`;
    case "busy":
      return `is held by another program (${reason}): end that one, or let it finish`;
    case "duplicate":
      return `holds that already (${reason}), and was left as it is`;
    default:
      return `cannot be used (${reason}): see that its disk is in order, or set DATA_DIR to another folder`;
  }
}
