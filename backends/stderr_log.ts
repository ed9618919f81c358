/**
 * What a server prints on stderr, line by line in the gateway's log: bounded in rate, in length and in memory,
 * because a server in trouble can print without end.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { stripVTControlCharacters } from "node:util";
import type { Cancel, Clock } from "../clock.ts";
import { logger } from "../log.ts";
import type { BackendOwner } from "./backend.ts";

/** Lines that may come at once, and how many more per second: a stack trace passes, a loop does not. */
const BURST_LINES = 50;
const LINES_PER_S = 20;
/** How long to count the lines that are left out before saying so. */
const REPORT_AFTER_MS = 5_000;
/** Characters of a line that are shown. */
const MAX_LINE_CHARS = 1_000;
/** Bytes of a line that are kept: enough for that many characters of any script. */
const MAX_LINE_BYTES = 4 * MAX_LINE_CHARS;

const LF = 10;
const NOTHING = Buffer.alloc(0);
const log = logger("backend");

/** The log of one backend's stderr. */
export class StderrLog {
  readonly #owner: BackendOwner;
  readonly #clock: Clock;
  /** The beginning of a line whose end has not come; what does not fit is dropped. */
  #held: Buffer = NOTHING;
  #heldBytes = 0;
  /** A bucket of lines that may be logged, filled up to {@link #filledAtMs}. */
  #allowance = BURST_LINES;
  #filledAtMs: number;
  #leftOut = 0;
  /** Set while there are lines left out to report. */
  #cancelReport: Cancel | undefined;

  constructor(owner: BackendOwner, clock: Clock) {
    this.#owner = owner;
    this.#clock = clock;
    this.#filledAtMs = clock.now();
  }

  /** Takes the next bytes. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    // Most servers say nothing.
    if (this.#held === NOTHING) this.#held = Buffer.allocUnsafeSlow(MAX_LINE_BYTES);
    for (let start = 0; start < bytes.byteLength;) {
      const end = bytes.indexOf(LF, start);
      const stop = end < 0 ? bytes.byteLength : end;
      this.#heldBytes += bytes.copy(this.#held, this.#heldBytes, start, stop);
      if (end >= 0) this.#endLine();
      start = stop + 1;
    }
  }

  /** Logs what is left and sets no timer any more. Idempotent. */
  end(): void {
    this.#endLine();
    this.#report();
  }

  #endLine(): void {
    const bytes = this.#heldBytes;
    this.#heldBytes = 0;
    if (bytes === 0) return;
    if (!this.#allowed()) {
      this.#leftOut++;
      this.#cancelReport ??= this.#clock.after(REPORT_AFTER_MS, () => this.#report());
      return;
    }
    this.#report();
    const line = readable(this.#held.toString("utf8", 0, bytes));
    if (line !== "") {
      log.info("Session {handle}: server {serverId} on stderr: {line}", { ...this.#names, line });
    }
  }

  /** As it is called now: a prewarmed child gets its session later. */
  get #names(): { readonly handle: string; readonly serverId: string } {
    return { handle: this.#owner.session, serverId: this.#owner.serverId };
  }

  #allowed(): boolean {
    const now = this.#clock.now();
    const earned = (now - this.#filledAtMs) / 1_000 * LINES_PER_S;
    this.#allowance = Math.min(BURST_LINES, this.#allowance + earned);
    this.#filledAtMs = now;
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }

  #report(): void {
    this.#cancelReport?.();
    this.#cancelReport = undefined;
    if (this.#leftOut === 0) return;
    log.warn(
      "Session {handle}: server {serverId} on stderr: {count} line(s) left out, over {rate} a second",
      {
        ...this.#names,
        count: this.#leftOut,
        rate: LINES_PER_S,
      },
    );
    this.#leftOut = 0;
  }
}

/** Without colours and other control characters: they would act on the terminal of whoever reads the log. */
function readable(line: string): string {
  const text = stripVTControlCharacters(line).replace(/\p{Cc}+/gu, " ").trimEnd();
  return text.length <= MAX_LINE_CHARS ? text : text.slice(0, MAX_LINE_CHARS - 1).toWellFormed() + "…";
}
