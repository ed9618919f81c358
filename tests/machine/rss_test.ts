import { assert, assertEquals } from "@std/assert";
import { type ProcessEntry, Snapshot } from "../../backends/snapshot.ts";
import { rssOf, rssOfChildren } from "../../machine/rss.ts";
import { processes } from "../backends/harness.ts";
import { HungryChild, MIB } from "./hungry_child.ts";

/** The parent of those that are counted. */
const GATEWAY = 5;

/** A picture of processes, each given as [pid, parent, MiB, marker]. */
function picture(...lines: [pid: number, ppid: number, mib: number, marker?: string][]): Snapshot {
  const entries = lines.map(([pid, ppid, mib]): ProcessEntry => ({
    pid,
    ppid,
    pgrp: pid,
    session: pid,
    startTime: 100,
    dead: false,
    rssBytes: mib * MIB,
  }));
  const markers = lines.map(([pid, , , marker]) => [pid, { marker }] as const);
  return new Snapshot(entries, new Map(markers));
}

const SNAPSHOT = picture(
  [GATEWAY, 1, 1000],
  // A server with a child of its own, and with one that moved away and has a child itself.
  [10, GATEWAY, 1, "ten"],
  [11, 10, 2, "ten"],
  [12, 1, 4, "ten"],
  [13, 12, 8],
  // Another one, without a marker.
  [20, GATEWAY, 16],
  [21, 20, 32],
  // Somebody else's, of another gateway too.
  [30, 1, 64],
  [40, 6, 128, "forty"],
  [41, 1, 256, "forty"],
);

Deno.test("A family's memory is that of the child, its descendants and who carries its marker", () => {
  assertEquals(rssOf(SNAPSHOT, 10), 15 * MIB);
  assertEquals(rssOf(SNAPSHOT, 20), 48 * MIB);
  assertEquals(rssOf(SNAPSHOT, 13), 8 * MIB);
});

Deno.test("A process that is gone has no memory", () => {
  assertEquals(rssOf(SNAPSHOT, 99), 0);
  assertEquals(rssOf(picture(), 10), 0);
});

Deno.test("The memory of all children is that of their families, and of nobody else", () => {
  assertEquals(rssOfChildren(SNAPSHOT, GATEWAY), 63 * MIB);
  assertEquals(rssOfChildren(SNAPSHOT, 99), 0);
});

Deno.test("Who belongs to two families is counted once", () => {
  const snapshot = picture([10, GATEWAY, 1, "shared"], [11, 10, 2, "shared"], [20, GATEWAY, 4, "shared"]);
  assertEquals(rssOfChildren(snapshot, GATEWAY), 7 * MIB);
});

Deno.test({
  name: "What a real child holds is seen, and is gone when it is",
  ignore: !processes.available,
  async fn() {
    let pid: number;
    {
      await using child = await HungryChild.start(64);
      pid = child.pid;
      const snapshot = await processes.snapshot();
      assert(rssOf(snapshot, pid) > 64 * MIB, `${rssOf(snapshot, pid)}`);
      assert(rssOfChildren(snapshot, Deno.pid) >= rssOf(snapshot, pid));
    }
    assertEquals(rssOf(await processes.snapshot(), pid), 0);
  },
});
