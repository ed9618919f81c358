/**
 * The size of a page of memory, in which `/proc` counts.
 *
 * @module
 */

/** What nearly all machines have; some on ARM have 16 or 64 KiB. */
const USUAL_BYTES = 4096;
/** Keys of the auxiliary vector, a list of pairs of machine words (getauxval(3)). */
const AT_NULL = 0n;
const AT_PAGESZ = 6n;

/**
 * Reads the size of a page from what the kernel handed to this process when it started.
 *
 * @param procRoot Where the proc file system is mounted.
 * @returns Bytes; 4096 where it cannot be read.
 */
export function readPageBytes(procRoot: string): number {
  let words: BigUint64Array;
  try {
    // As a copy, from its beginning: the words have to be aligned.
    const bytes = Deno.readFileSync(`${procRoot}/self/auxv`).slice();
    words = new BigUint64Array(bytes.buffer, 0, Math.floor(bytes.length / BigUint64Array.BYTES_PER_ELEMENT));
  } catch {
    return USUAL_BYTES;
  }
  for (let at = 0; at + 1 < words.length && words[at] !== AT_NULL; at += 2) {
    if (words[at] === AT_PAGESZ && isPowerOf2(words[at + 1]!)) return Number(words[at + 1]);
  }
  return USUAL_BYTES;
}

function isPowerOf2(value: bigint): boolean {
  return value > 0n && (value & (value - 1n)) === 0n;
}
