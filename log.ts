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
import { inspect } from "node:util";

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

/** What is kept for a reader of stdout that is behind, in bytes; lines beyond it are lost. */
const MAX_BEHIND_BYTES = 1024 * 1024;

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
  const head = JSON.stringify({ time, level: levelOf(record), category, message: render(record) });
  const properties = Object.entries(record.properties).flatMap(([name, value]) => {
    const json = toJson(value);
    return json === undefined ? [] : [`${JSON.stringify(name)}:${json}`];
  });
  // JSON leaves the control characters above 0x7e as they are.
  return `${escapeControls(`${head.slice(0, -1)},"properties":{${properties}}}`)}\n`;
}

function levelOf(record: LogRecord): string {
  return record.level === "warning" ? "warn" : record.level;
}

/** The message with its properties filled in: strings as they are, everything else as JSON. */
function render(record: LogRecord): string {
  return record.message.map((part) => typeof part === "string" ? part : toJson(part) ?? String(part)).join(
    "",
  );
}

/** A value as JSON, if it has any. A circle and the like are described: no line is lost for them. */
function toJson(value: unknown): string | undefined {
  const plain = (_key: string, inner: unknown) =>
    typeof inner === "bigint" || inner instanceof Error ? String(inner) : inner;
  try {
    return JSON.stringify(value, plain);
  } catch {
    return JSON.stringify(inspect(value));
  }
}

/** What a server prints must not forge a line of the log or steer a terminal. */
function escapeControls(text: string): string {
  // Controls but the tab, separators, and what reorders text or hides it.
  return text.replace(/(?!\t)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => {
    if (char === "\n") return "\\n";
    if (char === "\r") return "\\r";
    // By code units, as JSON wants it.
    return char.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
  });
}

/**
 * Writes lines to stdout at once. Where stdout does not block and its reader is behind, what it did not take goes
 * first the next time, so that a line is written whole or not at all.
 */
function stdoutSink(line: (record: LogRecord) => string): Sink & Disposable {
  const encoder = new TextEncoder();
  const behind: Uint8Array[] = [];
  let behindBytes = 0;
  const drain = () => {
    try {
      for (let first = behind[0]; first !== undefined; first = behind[0]) {
        const sent = Deno.stdout.writeSync(first);
        behindBytes -= sent;
        if (sent < first.length) behind[0] = first.subarray(sent);
        else behind.shift();
      }
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return;
      behind.length = behindBytes = 0;
      throw error;
    }
  };
  const sink = (record: LogRecord) => {
    const bytes = encoder.encode(line(record));
    behind.push(bytes);
    behindBytes += bytes.length;
    drain();
    // The first may be written in part: it stays, whatever its size.
    if (behindBytes <= MAX_BEHIND_BYTES || behind.length === 1) return;
    behind.pop();
    behindBytes -= bytes.length;
    throw new Error("its reader is behind, lines are lost");
  };
  const dispose = () => {
    drain();
    if (behindBytes > 0) throw new Error("its reader is behind, the last lines are lost");
  };
  return Object.assign(sink, { [Symbol.dispose]: dispose });
}

/**
 * Writes lines to the rotated file. After a failure the file is opened anew with the next line: a rotation that
 * fails half-way (its folder was removed) leaves the sink of the package with a closed file for good.
 */
function fileSink(
  dir: string,
  { line, maxFileBytes }: { line: (record: LogRecord) => string; maxFileBytes: number },
): Sink & Disposable {
  const open = () => {
    mkdirSync(dir, { recursive: true });
    return getRotatingFileSink(join(dir, FILE_NAME), {
      formatter: line,
      maxSize: maxFileBytes,
      maxFiles: MAX_FILES,
      // Unbuffered, so that `tail -f` shows a line when it is written.
      bufferSize: 0,
    });
  };
  let file: (Sink & Disposable) | undefined;
  const close = () => {
    const closing = file;
    file = undefined;
    closing?.[Symbol.dispose]();
  };
  const sink = (record: LogRecord) => {
    file ??= open();
    try {
      file(record);
    } catch (error) {
      try {
        close();
      } catch {
        // Closed already: the failure above is the one to tell.
      }
      throw error;
    }
  };
  try {
    file = open();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`LOG_DIR: cannot write to ${JSON.stringify(dir)}: ${reason}`, { cause: error });
  }
  return Object.assign(sink, { [Symbol.dispose]: close });
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
