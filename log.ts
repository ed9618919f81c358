/**
 * Logging: one line a record on stdout, and the same in a rotated file where a folder is named.
 *
 * Modules take a logger by category (`logger("session")`) and log templates with properties; LogTape renders and
 * filters. Until {@link configureLogging} was called nothing is written, which is what tests want.
 *
 * @module
 */
import { getRotatingFileSink } from "@logtape/file";
import { configure, getLogger, type Logger, type LogRecord, reset, type Sink } from "@logtape/logtape";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

/** The levels of `LOG_LEVEL`, most talkative first. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = typeof LOG_LEVELS[number];

/** The formats of `LOG_FORMAT`. */
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = typeof LOG_FORMATS[number];

/** The file in `LOG_DIR`, and when it is rotated. */
const FILE_NAME = "gateway.log";
const MAX_FILE_BYTES = 10 * 1024 * 1024;
const MAX_FILES = 5;

/** How to log. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Folder that also gets `gateway.log`; it is created. Undefined writes no file. */
  readonly dir: string | undefined;
  /** Bytes after which the file is rotated. */
  readonly maxFileBytes?: number;
}

/** The logger of a part of the gateway. */
export function logger(...category: string[]): Logger {
  return getLogger(["sojourn", ...category]);
}

/**
 * Starts to write log lines; called again, it replaces the configuration before.
 *
 * A write that fails later (disk full, reader gone) is reported once on stderr and never stops the gateway.
 *
 * @throws {Error} If the folder cannot be made or written; the message names `LOG_DIR`, the path and the reason.
 */
export async function configureLogging(
  { level, format, dir, maxFileBytes = MAX_FILE_BYTES }: LogOptions,
): Promise<void> {
  const line = format === "json" ? jsonLine : textLine;
  const sinks: Record<string, Sink> = { stdout: safely("stdout", stdoutSink(line)) };
  if (dir !== undefined) sinks.file = safely(FILE_NAME, fileSink(dir, { line, maxFileBytes }));
  await configure({
    reset: true,
    sinks,
    loggers: [
      { category: "sojourn", sinks: Object.keys(sinks), lowestLevel: level === "warn" ? "warning" : level },
      // LogTape's own remarks would otherwise go to the console.
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
}

/** Lets go of the file and writes no more. Logging may be configured again afterwards. */
export async function closeLogging(): Promise<void> {
  await reset();
}

/** `2026-11-23T08:00:00.000Z [INFO] message`. */
function textLine(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString();
  return `${time} [${levelOf(record).toUpperCase()}] ${escapeControls(render(record))}\n`;
}

/** One JSON object: `time`, `level`, `category`, `message`, `properties`. */
function jsonLine(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString();
  const category = record.category.slice(1).join(".");
  const { properties } = record;
  return `${
    JSON.stringify({ time, level: levelOf(record), category, message: render(record), properties })
  }\n`;
}

function levelOf(record: LogRecord): string {
  return record.level === "warning" ? "warn" : record.level;
}

/** The message with its properties filled in: strings as they are, everything else as JSON. */
function render(record: LogRecord): string {
  return record.message.map((part) => typeof part === "string" ? part : JSON.stringify(part) ?? String(part))
    .join("");
}

/** What a server prints must not forge a line of the log or steer a terminal. */
function escapeControls(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]/g, (char) => {
    const hex = char.charCodeAt(0).toString(16);
    return char === "\n" ? "\\n" : char === "\r" ? "\\r" : `\\u${hex.padStart(4, "0")}`;
  });
}

function stdoutSink(line: (record: LogRecord) => string): Sink {
  const encoder = new TextEncoder();
  return (record) => {
    const bytes = encoder.encode(line(record));
    for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
  };
}

function fileSink(
  dir: string,
  { line, maxFileBytes }: { line: (record: LogRecord) => string; maxFileBytes: number },
): Sink & Disposable {
  try {
    mkdirSync(dir, { recursive: true });
    // Unbuffered, so that `tail -f` shows a line when it is written.
    return getRotatingFileSink(join(dir, FILE_NAME), {
      formatter: line,
      maxSize: maxFileBytes,
      maxFiles: MAX_FILES,
      bufferSize: 0,
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`LOG_DIR: cannot write to ${JSON.stringify(dir)}: ${reason}`, { cause: error });
  }
}

/** A sink that never throws: the first failure is told on stderr, and it goes on trying. */
function safely(name: string, sink: Sink & Partial<Disposable>): Sink & Disposable {
  let told = false;
  const attempt = (write: () => void) => {
    try {
      write();
    } catch (error) {
      if (told) return;
      told = true;
      const reason = error instanceof Error ? error.message : String(error);
      try {
        Deno.stderr.writeSync(
          new TextEncoder().encode(`sojourn: cannot write the log to ${name}: ${reason}\n`),
        );
      } catch {
        // Nobody is left to tell.
      }
    }
  };
  return Object.assign((record: LogRecord) => attempt(() => sink(record)), {
    [Symbol.dispose]: () => attempt(() => sink[Symbol.dispose]?.()),
  });
}
