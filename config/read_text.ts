import { ConfigError } from "./config_error.ts";

/** Reads a file's bytes, and throws as `Deno.readFileSync` does. A test puts another in its place. */
export type ReadFile = (path: string) => Uint8Array;

/** What the operating system's refusals are called in an error line. */
const REASONS: Readonly<Record<string, string>> = {
  IsADirectory: "it is a folder",
  NotADirectory: "a part of its path is no folder",
  NotCapable: "permission denied",
  PermissionDenied: "permission denied",
  FilesystemLoop: "its links go round in a circle",
};

/**
 * Reads a configuration file as UTF-8, with or without a byte order mark.
 *
 * @param path Absolute.
 * @param options.name What the error calls the file: as the operator wrote it.
 * @returns The text, or undefined where there is no such file.
 * @throws {ConfigError} If there is one that cannot be read, or that is not UTF-8.
 */
export function readText(
  path: string,
  { name, readFile = Deno.readFileSync }: { name: string; readFile?: ReadFile | undefined },
): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = readFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    const reason = cause instanceof Error ? REASONS[cause.name] ?? cause.name : "unknown reason";
    throw new ConfigError(`${name}: cannot be read: ${reason}`, { cause });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ConfigError(`${name}: cannot be read: it is not UTF-8 text`, { cause });
  }
}
