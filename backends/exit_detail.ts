/**
 * Why a child is gone, in words: completes the sentence "server "x" …".
 *
 * @module
 */
import { statSync } from "node:fs";

/**
 * Why a child could not be started. Names the command or the folder and nothing else: arguments and environment
 * may hold secrets.
 *
 * @param error What the runtime says, with Node's `code`.
 */
export function startFailure(error: unknown, command: string, cwd: string): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  return `could not be started: ${reasonOf(code, command, cwd)}`;
}

/** How a child ended. */
export function exitDetail(code: number | null, signal: string | null): string {
  return signal !== null ? `was ended by ${signal}` : `exited with code ${code}`;
}

/** Where a bound on a line was crossed. */
export function overlongDetail(maxLineBytes: number): string {
  const mib = maxLineBytes / 1024 / 1024;
  return `sent a line longer than ${Number.isInteger(mib) ? `${mib} MiB` : `${maxLineBytes} bytes`}`;
}

function reasonOf(code: string, command: string, cwd: string): string {
  // The system says "no such file" for a missing folder and a missing interpreter as well.
  if (code === "ENOENT" && !exists(cwd)) return `no such folder "${cwd}"`;
  if (code === "ENOENT" && command.startsWith("/") && exists(command)) {
    return `the interpreter that "${command}" names in its first line is missing`;
  }
  if (code === "ENOENT") return `no such command "${command}"`;
  if (code === "ENOTDIR") return `not a folder: "${cwd}"`;
  if (code === "EACCES" || code === "EPERM") return `permission denied: "${command}"`;
  if (code === "EMFILE" || code === "ENFILE") return "the gateway has no file descriptors left";
  if (code === "EAGAIN" || code === "ENOMEM") return "the system has no processes or memory left";
  return `${code}: "${command}"`;
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
