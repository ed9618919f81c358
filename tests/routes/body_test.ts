import { assertEquals } from "@std/assert";
import type { Failure } from "../../errors.ts";
import { BodyReader } from "../../routes/body.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";

const TIMEOUT_MS = 30_000;
const MAX_BYTES = 10;

function start() {
  const clock = new FakeClock();
  const maxBytes = (serverId: string) => serverId === "roomy" ? 2 * MAX_BYTES : MAX_BYTES;
  const reader = new BodyReader({ clock, timeoutMs: TIMEOUT_MS, maxBytes });
  return { clock, reader };
}

/** A request as the HTTP server hands it over: with a length, or without. */
function requestOf(body: BodyInit | null, length?: number): Request {
  const headers: HeadersInit = length === undefined ? {} : { "content-length": String(length) };
  return new Request("http://localhost/mcp/s", { method: "POST", headers, body });
}

/** A body in chunks, and what was asked of it. */
function streamOf(chunks: readonly Uint8Array<ArrayBuffer>[], { ends = true } = {}) {
  const state = { pulls: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const chunk = chunks[state.pulls++];
      if (chunk !== undefined) controller.enqueue(chunk);
      else if (ends) controller.close();
      else return new Promise(() => {});
      return undefined;
    },
    cancel: () => void (state.cancelled = true),
  }, { highWaterMark: 0 });
  return { state, body };
}

for (const size of [0, 1, MAX_BYTES - 1, MAX_BYTES]) {
  Deno.test(`A body of ${size} bytes is taken where ${MAX_BYTES} are allowed, with a length and without`, async () => {
    const { reader } = start();
    const text = "x".repeat(size);
    assertEquals(await reader.read(requestOf(text, size), "s"), text);
    assertEquals(await reader.read(requestOf(streamOf([new TextEncoder().encode(text)]).body), "s"), text);
  });
}

Deno.test("A request without a body has an empty one", async () => {
  const { reader } = start();
  assertEquals(await reader.read(requestOf(null), "s"), "");
  assertEquals(await reader.read(requestOf(null, 0), "s"), "");
});

Deno.test("A length over the bound is refused before anything is read", async () => {
  const { clock, reader } = start();
  const { state, body } = streamOf([new Uint8Array(MAX_BYTES + 1)]);
  assertEquals(await reader.read(requestOf(body, MAX_BYTES + 1), "s"), {
    code: "bodyTooLarge",
    detail: "at most 10 bytes are taken",
  });
  assertEquals([state.pulls, clock.pending], [0, 0]);
});

Deno.test("A body without a length is refused as soon as more than the bound has come", async () => {
  const { reader } = start();
  const { state, body } = streamOf(Array.from({ length: 100 }, () => new Uint8Array(4)));
  assertEquals(await reader.read(requestOf(body), "s"), {
    code: "bodyTooLarge",
    detail: "at most 10 bytes are taken",
  });
  assertEquals([state.pulls, state.cancelled], [3, true]);
});

Deno.test("Each server has its own bound", async () => {
  const { reader } = start();
  const text = "x".repeat(2 * MAX_BYTES);
  assertEquals(await reader.read(requestOf(text, text.length), "roomy"), text);
  assertEquals(await reader.read(requestOf(streamOf([new TextEncoder().encode(text)]).body), "roomy"), text);
});

for (const length of [MAX_BYTES, undefined]) {
  Deno.test(`A body that does not come is given up in time, ${length ? "with" : "without"} a length`, async () => {
    const { clock, reader } = start();
    const { body } = streamOf([new Uint8Array(4)], { ends: false });
    let result: unknown;
    void reader.read(requestOf(body, length), "s").then((value) => result = value);
    await clock.advance(TIMEOUT_MS - 1);
    assertEquals(result, undefined);
    await clock.advance(1);
    assertEquals(result, { code: "bodyTimeout", detail: "it took more than 30000 ms" });
    assertEquals(clock.pending, 0);
  });
}

Deno.test("Bodies share one timer, and each has its full time", async () => {
  const { clock, reader } = start();
  const results: unknown[] = [];
  const slow = () =>
    reader.read(requestOf(streamOf([], { ends: false }).body), "s").then((value) => results.push(value));
  void slow();
  await clock.advance(10_000);
  assertEquals(await reader.read(requestOf("quick", 5), "s"), "quick");
  void slow();
  assertEquals(clock.pending, 1);
  await clock.advance(20_000);
  assertEquals([results.length, clock.pending], [1, 1]);
  await clock.advance(9_999);
  assertEquals(results.length, 1);
  await clock.advance(1);
  assertEquals([results.length, clock.pending], [2, 0]);
});

Deno.test("A timer that finds nothing to do is not set again", async () => {
  const { clock, reader } = start();
  await reader.read(requestOf("x", 1), "s");
  await clock.advance(TIMEOUT_MS);
  assertEquals(clock.pending, 0);
  await reader.read(requestOf("x", 1), "s");
  assertEquals(clock.pending, 1);
  reader.close();
  assertEquals(clock.pending, 0);
});

Deno.test("A body that breaks off is no fault of ours", async () => {
  const { reader } = start();
  for (const length of [5, undefined]) {
    const body = new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) });
    assertEquals(await reader.read(requestOf(body, length), "s"), {
      code: "badRequest",
      detail: "the body ended early",
    });
  }
  await settle();
});

// What is sent, and as what it is taken; undefined where it is refused.
const TEXTS: [what: string, bytes: number[], text: string | undefined][] = [
  ["plain text", [0x68, 0x69], "hi"],
  ["characters of two to four bytes", [0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80], "é€😀"],
  ["a byte order mark, which is dropped", [0xef, 0xbb, 0xbf, 0x68, 0x69], "hi"],
  ["a replacement character that is meant", [0xef, 0xbf, 0xbd], "\uFFFD"],
  ["a byte that is nowhere in UTF-8", [0x68, 0xff], undefined],
  ["a lone continuation byte", [0x80], undefined],
  ["a character that is cut off", [0xe2, 0x82], undefined],
  ["an overlong slash", [0xc0, 0xaf], undefined],
  ["half a surrogate pair", [0xed, 0xa0, 0x80], undefined],
  ["Latin-1", [0x63, 0x61, 0x66, 0xe9], undefined],
];
for (const [what, bytes, text] of TEXTS) {
  Deno.test(`A body with ${what} is ${text === undefined ? "refused" : "taken"}`, async () => {
    const { reader } = start();
    const expected: string | Failure = text ?? { code: "badJson", detail: "it is not valid UTF-8" };
    assertEquals(await reader.read(requestOf(new Uint8Array(bytes), bytes.length), "s"), expected);
    // Also where a character spans chunks.
    const { body } = streamOf(bytes.map((byte) => new Uint8Array([byte])));
    assertEquals(await reader.read(requestOf(body), "s"), expected);
  });
}
