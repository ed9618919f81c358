/**
 * How much memory processes hold, from a picture of all of them.
 *
 * The resident set of a process counts the pages that it shares with others in full: the code of the runtime and its
 * libraries, and what a fork has not written to yet. So a sum over processes of the same program is too high, by some
 * tens of MB for each Node or Deno. It is the number that is cheap to have; exact ones (`smaps_rollup`) take the
 * kernel milliseconds a process and hold it up meanwhile.
 *
 * @module
 */
import type { ProcessEntry, Snapshot } from "../backends/snapshot.ts";

/**
 * The memory of one child and of everything that runs on its behalf: see {@link Snapshot.family}.
 *
 * @param pid Of the child that it began with.
 * @returns Bytes; 0 where no such process is in the picture.
 */
export function rssOf(snapshot: Snapshot, pid: number): number {
  return sum(snapshot.family(pid));
}

/**
 * The memory of all children of a process and of everything that runs on their behalf, the process itself left out.
 * What a child left behind counts only as long as the child lives; after that it is being ended anyway.
 *
 * @param pid Of the parent, usually the gateway.
 * @returns Bytes.
 */
export function rssOfChildren(snapshot: Snapshot, pid: number): number {
  // A set: a marker may lead from one child to another.
  return sum(new Set(snapshot.children(pid).flatMap((child) => snapshot.family(child.pid))));
}

function sum(entries: Iterable<ProcessEntry>): number {
  let bytes = 0;
  for (const { rssBytes } of entries) bytes += rssBytes;
  return bytes;
}
