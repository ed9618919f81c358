import { assert, assertEquals } from "@std/assert";
import { Gathered } from "../gathered.ts";

Deno.test("Pieces of any sizes come out as they went in, and one alone is not copied", () => {
  for (const sizes of [[], [0], [1], [0, 5, 0], [16_384, 1], [1, 16_384], [1, 2, 3, 100_000, 0, 7]]) {
    const gathered = new Gathered();
    const all: number[] = [];
    for (const [no, size] of sizes.entries()) {
      const piece = new Uint8Array(size).fill(no + 1);
      gathered.push(piece);
      all.push(...piece);
    }
    assertEquals(gathered.byteLength, all.length);
    assert(gathered.bytes.every((byte, at) => byte === all[at]) && gathered.bytes.length === all.length);
  }
  const one = new Gathered();
  const piece = new Uint8Array(3);
  one.push(piece);
  assert(one.bytes === piece);
});

Deno.test("What is held is no more than twice what has come, however it came", () => {
  const gathered = new Gathered();
  for (let n = 0; n < 100_000; n++) gathered.push(new Uint8Array(64 * 1024).subarray(n % 7, n % 7 + 1));
  assertEquals(gathered.byteLength, 100_000);
  assert(gathered.bytes.buffer.byteLength <= 200_000);
});
