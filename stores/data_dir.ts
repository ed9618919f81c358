/**
 * The folder in which the gateway keeps what has to outlive it, for one gateway at a time.
 *
 * That it is one at a time is a lock of the kernel's (`flock`) on a file that is held open: it is gone in the instant
 * in which the process is, whatever ended it, and nothing has to be cleaned up before the next start. The file holds
 * the pid of whoever has the lock, for people; it decides nothing, and the file is never removed, because a lock on a
 * removed file keeps nobody out.
 *
 * Servers do not inherit the lock: the runtime opens every file so that it is closed in a program that is started.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { StoreError } from "./store_error.ts";

/** Who holds the folder. */
const LOCK_FILE = "gateway.lock";

/** Only its owner: session ids are credentials. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/** See the module's documentation. Disposed, or when the process ends, the folder is free again. */
export class DataDir implements Disposable {
  /** Absolute. */
  readonly path: string;
  readonly #lock: Deno.FsFile;

  /**
   * Makes the folder where there is none, with mode 0700, and takes it. One that is there keeps its mode.
   *
   * @param path Absolute, or from the working directory.
   * @throws {StoreError} Where another gateway has it (`inUse`), or it cannot be made or written.
   */
  constructor(path: string) {
    this.path = resolve(path);
    makeFolder(this.path);
    this.#lock = takeLock(join(this.path, LOCK_FILE), this.path);
  }

  /** Where a file of the folder is. */
  file(name: string): string {
    return join(this.path, name);
  }

  /** Lets another gateway have it. Idempotent. */
  [Symbol.dispose](): void {
    try {
      this.#lock.close();
    } catch {
      // It is closed.
    }
  }
}

function makeFolder(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: FOLDER_MODE });
  } catch (error) {
    throw StoreError.of(error, path);
  }
}

function takeLock(path: string, folder: string): Deno.FsFile {
  let file: Deno.FsFile | undefined;
  try {
    file = Deno.openSync(path, { read: true, write: true, create: true, mode: FILE_MODE });
    if (!file.tryLockSync(true)) {
      const holder = readHolder(file);
      throw new StoreError(
        "inUse",
        folder,
        `is in use by another gateway${
          holder === undefined ? "" : ` (pid ${holder})`
        }: stop that one, or give ` +
          "this one a folder of its own with DATA_DIR",
      );
    }
    file.truncateSync(0);
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
    return file;
  } catch (error) {
    file?.close();
    throw StoreError.of(error, path);
  }
}

/** The pid in the file; undefined where it holds none, as right after a start. */
function readHolder(file: Deno.FsFile): number | undefined {
  const bytes = new Uint8Array(32);
  const length = file.readSync(bytes) ?? 0;
  const text = new TextDecoder().decode(bytes.subarray(0, length));
  return /^[1-9]\d*\n$/.test(text) ? Number(text) : undefined;
}
