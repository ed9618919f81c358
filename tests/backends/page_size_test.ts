import { assert, assertEquals } from "@std/assert";
import { readPageBytes } from "../../backends/page_size.ts";
import { processes } from "./harness.ts";

/** What is read from an auxiliary vector of these words. */
function read(words: readonly bigint[], bytes = words.length * 8): number {
  const procRoot = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${procRoot}/self`);
    const vector = new Uint8Array(BigUint64Array.from(words).buffer).slice(0, bytes);
    Deno.writeFileSync(`${procRoot}/self/auxv`, vector);
    return readPageBytes(procRoot);
  } finally {
    Deno.removeSync(procRoot, { recursive: true });
  }
}

Deno.test("The size of a page stands behind its key, wherever that comes", () => {
  assertEquals(read([33n, 6n, 16n, 1n, 6n, 65_536n, 0n, 0n]), 65_536);
  assertEquals(read([6n, 16_384n, 0n, 0n]), 16_384);
});

Deno.test("Without a size that makes sense a page has 4 KiB", () => {
  assertEquals(readPageBytes("/no/such/folder"), 4096);
  assertEquals(read([]), 4096);
  assertEquals(read([33n, 6n, 0n, 0n, 6n, 65_536n]), 4096, "behind the end");
  assertEquals(read([6n, 0n]), 4096);
  assertEquals(read([6n, 5000n]), 4096);
  assertEquals(read([6n, 65_536n], 13), 4096, "cut off");
});

Deno.test({
  name: "The table and the runtime agree about the memory of this process",
  ignore: !processes.available,
  fn() {
    const ratio = processes.read(Deno.pid)!.rssBytes / Deno.memoryUsage().rss;
    assert(ratio > 0.7 && ratio < 1.4, `${ratio}`);
  },
});
