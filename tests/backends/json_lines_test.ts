import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { JsonLines } from "../../backends/json_lines.ts";

const encoder = new TextEncoder();

/** What came out of it, in order. */
function split(chunks: Iterable<Uint8Array>, maxLineBytes?: number): string[] {
  const out: string[] = [];
  const lines = new JsonLines({
    line: (text) => out.push(text),
    invalid: (excerpt) => out.push(`invalid: ${excerpt}`),
    overlong: () => out.push("overlong"),
  }, maxLineBytes);
  for (const chunk of chunks) {
    // A copy that is wiped afterwards: nothing may depend on the caller's buffer.
    const copy = chunk.slice();
    lines.push(copy);
    copy.fill(0x3f);
  }
  lines.end();
  return out;
}

function splitText(text: string, maxLineBytes?: number): string[] {
  return split([encoder.encode(text)], maxLineBytes);
}

/** Cuts bytes at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...sorted].map((from, i) => bytes.subarray(from, sorted[i] ?? bytes.length));
}

Deno.test("Lines come out the same however the bytes are cut", () => {
  const message = fc.string({ unit: "binary", maxLength: 40 }).map((text) => JSON.stringify(text));
  const lineBreak = fc.constantFrom("\n", "\r\n", "\n\n", "\r\n\n");
  fc.assert(
    fc.property(fc.array(fc.tuple(message, lineBreak)), fc.array(fc.nat(2_000)), (messages, places) => {
      const bytes = encoder.encode(messages.map(([text, end]) => text + end).join(""));
      // A lone surrogate becomes U+FFFD when it is encoded, as it does on the way here.
      const expected = messages.map(([text]) => text.toWellFormed());
      assertEquals(split(cut(bytes, places)), expected);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("Any bytes come out the same however they are cut, garbage and bounds included", () => {
  const bytes = fc.uint8Array({ maxLength: 60 }).map((raw) => raw.map((byte) => byte % 5 === 0 ? 10 : byte));
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(60)), fc.integer({ min: 1, max: 12 }), (raw, places, max) => {
      assertEquals(split(cut(raw, places), max), split([raw], max));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("A character may be cut anywhere", () => {
  const bytes = encoder.encode("é€😀\n");
  assertEquals(split([...bytes].map((byte) => Uint8Array.of(byte))), ["é€😀"]);
});

Deno.test("Empty lines are skipped, a carriage return before the line feed too", () => {
  assertEquals(splitText("\n\r\n a \r\n\n\nb\r\r\nc\n"), [" a ", "b\r", "c"]);
});

Deno.test("A last line needs no line feed", () => {
  assertEquals(splitText("a\nb"), ["a", "b"]);
});

Deno.test("A line that is no UTF-8 is told apart, the lines around it are not touched", () => {
  const bytes = Uint8Array.of(0x61, 10, 0xff, 0x62, 10, 0x63, 10);
  assertEquals(split([bytes]), ["a", "invalid: \uFFFDb", "c"]);
});

Deno.test("U+FFFD that was sent as such is no mistake", () => {
  assertEquals(splitText("a\uFFFDb\n"), ["a\uFFFDb"]);
});

for (
  const [bytes, expected] of [[9, "line"], [10, "line"], [11, "overlong"], [25, "overlong"]] as const
) {
  Deno.test(`A line of ${bytes} bytes under a bound of 10: ${expected}`, () => {
    const line = "x".repeat(bytes);
    const out = expected === "line" ? ["first", line, "last"] : ["first", "overlong"];
    assertEquals(splitText(`first\n${line}\nlast\n`, 10), out);
    assertEquals(split([..."first\n", ...line, ..."\nlast\n"].map((c) => encoder.encode(c)), 10), out);
  });
}

Deno.test("A line over the bound is told before its end has come, and once", () => {
  assertEquals(splitText("x".repeat(11), 10), ["overlong"]);
});

Deno.test("A huge line in small chunks costs time in proportion to its length", () => {
  const chunk = new Uint8Array(64 * 1024).fill(0x61);
  const tookMs = (chunks: number) => {
    const startMs = performance.now();
    const out = split([...Array(chunks).fill(chunk), Uint8Array.of(10)]);
    assertEquals(out[0]?.length, chunks * chunk.length);
    return performance.now() - startMs;
  };
  tookMs(64);
  // 4 MiB against 48 MiB: quadratic would be 144 times as long, seconds. Generous, because machines are busy.
  const [short, long] = [Math.max(tookMs(64), 10), tookMs(768)];
  assert(long < 70 * short, `${short} ms and ${long} ms`);
});
