/**
 * Bytes in, lines out: the framing of MCP on stdio.
 *
 * Messages are split by line feeds; chunks end anywhere, also inside a character. A line that came in one chunk
 * is decoded where it lies, and one that spans chunks is gathered in a buffer that doubles, so a huge line costs
 * time in proportion to its length.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** The longest line that is taken, in bytes. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** Of a line that is no UTF-8, at most this many bytes are shown. */
const EXCERPT_BYTES = 200;

const LF = 10;
const CR = 13;
const NOTHING = Buffer.alloc(0);
const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

/** Who gets the lines. Called while a chunk is taken in, in the order of the bytes. */
export interface LineSink {
  /** A line, without its line break and never empty. */
  line(text: string): void;
  /** A line that is no UTF-8, the readable part of its beginning. */
  invalid(excerpt: string): void;
  /** A line over the bound. Nothing is called after it. */
  overlong(): void;
}

/** Splits the output of one process. */
export class JsonLines {
  readonly #sink: LineSink;
  readonly #maxLineBytes: number;
  /** The first {@link #heldBytes} of it are the beginning of a line whose end has not come. */
  #held: Buffer = NOTHING;
  #heldBytes = 0;
  /** Set by an overlong line and by {@link end}: what comes now is no longer split. */
  #done = false;

  /** @param maxLineBytes Bytes of a line without its line feed; one more is overlong. */
  constructor(sink: LineSink, maxLineBytes: number = MAX_LINE_BYTES) {
    this.#sink = sink;
    this.#maxLineBytes = maxLineBytes;
  }

  /** Takes the next bytes. They may be changed by the caller afterwards. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let start = 0;
    while (!this.#done && start < bytes.byteLength) {
      const end = bytes.indexOf(LF, start);
      const stop = end < 0 ? bytes.byteLength : end;
      if (this.#heldBytes + stop - start > this.#maxLineBytes) return this.#overlong();
      if (end < 0) return this.#hold(bytes, start, stop);
      if (this.#heldBytes === 0) {
        this.#emit(bytes, start, stop);
      } else {
        this.#hold(bytes, start, stop);
        this.#emitHeld();
      }
      start = end + 1;
    }
  }

  /** No more bytes follow: a last line without a line feed counts as a line. */
  end(): void {
    if (!this.#done && this.#heldBytes > 0) this.#emitHeld();
    this.#done = true;
  }

  #hold(bytes: Buffer, start: number, stop: number): void {
    const needed = this.#heldBytes + stop - start;
    if (needed > this.#held.byteLength) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(2 * needed, this.#maxLineBytes)));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#heldBytes, start, stop);
    this.#heldBytes = needed;
  }

  #emitHeld(): void {
    const [held, heldBytes] = [this.#held, this.#heldBytes];
    this.#drop();
    this.#emit(held, 0, heldBytes);
  }

  #emit(bytes: Buffer, start: number, stop: number): void {
    if (stop > start && bytes[stop - 1] === CR) stop--;
    if (stop === start) return;
    const text = bytes.toString("utf8", start, stop);
    // This decoder is several times faster than a strict one. It marks what it cannot read by U+FFFD, which may
    // also be meant: only then the strict one is asked.
    if (text.includes("\uFFFD") && !isUtf8(bytes.subarray(start, stop))) {
      this.#sink.invalid(bytes.toString("utf8", start, Math.min(stop, start + EXCERPT_BYTES)));
    } else {
      this.#sink.line(text);
    }
  }

  #overlong(): void {
    this.#done = true;
    this.#drop();
    this.#sink.overlong();
  }

  #drop(): void {
    this.#held = NOTHING;
    this.#heldBytes = 0;
  }
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    strictUtf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
