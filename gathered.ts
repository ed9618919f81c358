/**
 * Bytes that come in pieces, gathered in a buffer that doubles.
 *
 * To keep the pieces would be less work and cost far more: a piece of one byte, as the runtime reads it off a
 * connection, lies in a buffer of 64 KiB of its own, so whoever sends a body in small pieces would decide on the memory
 * that it takes.
 *
 * @module
 */
import { Buffer } from "node:buffer";

const FIRST_BYTES = 16 * 1024;

/** See the module's documentation. */
export class Gathered {
  /** The only piece so far, where it lies; most bodies have one. */
  #piece: Uint8Array | undefined;
  /** Once there are several, the first {@link byteLength} of it. */
  #buffer: Buffer | undefined;
  #length = 0;

  /** How much has come. */
  get byteLength(): number {
    return this.#length;
  }

  /** Takes a piece, which its owner changes no more. */
  push(piece: Uint8Array): void {
    if (this.#length === 0) this.#piece = piece;
    else {
      const held = this.#room(piece.byteLength);
      held.set(piece, this.#length);
    }
    this.#length += piece.byteLength;
  }

  /** All that has come; not to be used once more has. */
  get bytes(): Uint8Array {
    return this.#buffer?.subarray(0, this.#length) ?? this.#piece ?? new Uint8Array(0);
  }

  /** The buffer, with room for so many bytes more. */
  #room(more: number): Buffer {
    const wanted = this.#length + more;
    const old = this.#buffer;
    if (old !== undefined && old.byteLength >= wanted) return old;
    const buffer = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, wanted, 2 * (old?.byteLength ?? 0)));
    buffer.set(this.bytes);
    this.#piece = undefined;
    return this.#buffer = buffer;
  }
}
