import { assert, assertEquals } from "@std/assert";
import { HttpReply } from "../../routes/http_reply.ts";
import { Outflow, type StreamPolicy } from "../../routes/outflow.ts";
import { KEEP_ALIVE_MS, SseStream } from "../../routes/sse_stream.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";

const MAX_BYTES = 100_000;
const STALL_MS = 30_000;
/** An event of 10,000 bytes. */
const TEXT = "x".repeat(10_000 - "event: message\ndata: \n\n".length);

function start() {
  const clock = new FakeClock();
  const policy: StreamPolicy = { clock, maxBufferBytes: MAX_BYTES, stallMs: STALL_MS, maxMs: 0, cuts: 0 };
  const seen: string[] = [];
  const watch = {
    full: () => void seen.push("full"),
    room: () => void seen.push("room"),
    cut: ({ bytes, stalledMs }: { bytes: number; stalledMs: number }) =>
      void seen.push(`cut ${bytes} after ${stalledMs}`),
  };
  const stream = new SseStream(policy);
  stream.watch(watch);
  const send = (count: number) => {
    for (let n = 0; n < count; n++) stream.send(TEXT);
  };
  return { clock, policy, seen, watch, stream, send, reader: stream.body.getReader() };
}

/** What is left in a body, as text. */
async function rest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += decoder.decode(value, { stream: true });
  }
}

Deno.test("A stream whose reader keeps up holds nothing and is never full", async () => {
  const { clock, policy, seen, stream, reader } = start();
  for (let n = 0; n < 50; n++) {
    const read = reader.read();
    await settle();
    stream.send(String(n));
    assertEquals(new TextDecoder().decode((await read).value), `event: message\ndata: ${n}\n\n`);
  }
  const end = reader.read();
  stream.close();
  assertEquals((await end).done, true);
  assertEquals([seen, policy.cuts, clock.pending], [[], 0, 0]);
});

Deno.test("A stream is full over its bound, and has room at half of it", async () => {
  const { seen, stream, send, reader } = start();
  send(10);
  assertEquals(seen, []);
  send(1);
  assertEquals(seen, ["full"]);
  send(1);
  assertEquals(seen, ["full"]);
  // 120,000 bytes wait: the first read takes up to 65,536 of them.
  let bytes = 0;
  while (bytes < 70_000) {
    assertEquals(seen, ["full"]);
    bytes += (await reader.read()).value!.byteLength;
  }
  assertEquals(seen, ["full", "room"]);
  stream.close();
  assertEquals(bytes + (await rest(reader)).length, 120_000);
});

Deno.test("What waits is given out in pieces, whole and in order, also characters that span them", async () => {
  const { stream, reader } = start();
  const texts = ["a", "é€😀".repeat(20_000), "b".repeat(70_000), "", "c"];
  for (const text of texts) stream.send(text);
  stream.close();
  assertEquals(await rest(reader), texts.map((text) => `event: message\ndata: ${text}\n\n`).join(""));
});

Deno.test("A full stream of which nothing is read is cut in time, and counted", async () => {
  const { clock, policy, seen, stream, send } = start();
  send(11);
  await clock.advance(STALL_MS - 1);
  assert(stream.open);
  await clock.advance(1);
  assert(!stream.open);
  assertEquals(seen, ["full", "room", "cut 110000 after 30000"]);
  assertEquals([policy.cuts, clock.pending], [1, 0]);
  send(20);
  stream.close();
  assertEquals(seen.length, 3);
});

Deno.test("A cut stream ends where it is", async () => {
  const { clock, send, reader } = start();
  send(11);
  await clock.advance(STALL_MS);
  assertEquals((await reader.read()).done, true);
});

Deno.test("Each read gives a full stream its full time again", async () => {
  const { clock, policy, stream, send, reader } = start();
  send(30);
  for (let reads = 0; reads < 3; reads++) {
    await clock.advance(STALL_MS - 1);
    await reader.read();
  }
  assert(stream.open);
  await clock.advance(STALL_MS);
  assertEquals([stream.open, policy.cuts], [false, 1]);
});

Deno.test("The time counts from when something began to wait, not from when the stream got full", async () => {
  const { clock, policy, send } = start();
  send(1);
  await clock.advance(STALL_MS - 1_000);
  send(10);
  await clock.advance(999);
  assertEquals(policy.cuts, 0);
  await clock.advance(1);
  assertEquals(policy.cuts, 1);
});

Deno.test("A frozen stream under its bound is not cut", async () => {
  const { clock, policy, stream, send } = start();
  send(10);
  await clock.advance(100 * STALL_MS);
  assertEquals([stream.open, policy.cuts], [true, 0]);
  stream.discard();
  assertEquals(clock.pending, 0);
});

Deno.test("A stream that has ended is cut under its bound too, so that nothing is left of a session", async () => {
  const { clock, policy, seen, stream, send } = start();
  send(1);
  stream.close();
  await clock.advance(STALL_MS);
  assertEquals([seen, policy.cuts, clock.pending], [["cut 10000 after 30000"], 1, 0]);
});

Deno.test("One message larger than the bound passes where nothing else waits", async () => {
  const { seen, stream, reader } = start();
  const text = "y".repeat(10 * MAX_BYTES);
  stream.send(text);
  assertEquals(seen, ["full"]);
  stream.close();
  assertEquals(await rest(reader), `event: message\ndata: ${text}\n\n`);
  assertEquals(seen, ["full", "room"]);
});

Deno.test("A client that hangs up leaves nothing behind, whatever waited for it", async () => {
  for (const count of [0, 1, 20]) {
    const { clock, policy, seen, stream, send, reader } = start();
    send(count);
    await reader.cancel();
    assertEquals([stream.open, clock.pending, policy.cuts], [false, 0, 0]);
    assertEquals(seen, count === 20 ? ["full", "room"] : []);
  }
});

Deno.test("A silent stream is kept alive, one with something to read is not", async () => {
  const { clock, stream, reader } = start();
  const read = reader.read();
  await clock.advance(KEEP_ALIVE_MS);
  assertEquals(new TextDecoder().decode((await read).value), ": keep-alive\n\n");
  stream.send("a");
  await clock.advance(10 * KEEP_ALIVE_MS);
  stream.close();
  assertEquals(await rest(reader), "event: message\ndata: a\n\n");
});

Deno.test("A JSON answer over the bound goes out in pieces with its length, and is cut like a stream", async () => {
  const { clock, policy, seen, watch } = start();
  const small = new HttpReply(policy, 1);
  small.watch(watch);
  small.answer("x".repeat(MAX_BYTES));
  assertEquals((await (await small.response).text()).length, MAX_BYTES);
  const large = () => {
    const reply = new HttpReply(policy, 1);
    reply.watch(watch);
    reply.answer("é".repeat(MAX_BYTES));
    return reply.response;
  };
  const response = await large();
  assertEquals(response.headers.get("content-length"), String(2 * MAX_BYTES));
  assertEquals(response.headers.get("content-type"), "application/json");
  assertEquals(await response.text(), "é".repeat(MAX_BYTES));
  assertEquals(seen, ["full", "room"]);
  const unread = await large();
  await clock.advance(STALL_MS);
  assertEquals(seen.slice(2), ["full", "room", "cut 200000 after 30000"]);
  assertEquals(await unread.text(), "");
});

Deno.test("A reply that becomes a stream is watched from its start", async () => {
  const { policy, seen, watch } = start();
  const reply = new HttpReply(policy, 1);
  reply.watch(watch);
  for (let n = 0; n < 11; n++) reply.send(TEXT);
  assertEquals(seen, ["full"]);
  await (await reply.response).body!.cancel();
  assertEquals([seen, reply.open], [["full", "room"], false]);
});

Deno.test("An outflow tells its end to whoever made it", async () => {
  const { policy } = start();
  let gone = 0;
  const outflow = new Outflow(policy, () => gone++);
  await outflow.body.cancel();
  assertEquals([gone, outflow.open, outflow.waitingBytes], [1, false, 0]);
});

Deno.test("A reader that hangs up in the moment in which it is given something is no fault", async () => {
  const { policy } = start();
  const outflow = new Outflow(policy);
  const given: number[] = [];
  // Chunks are handed over within the write, as they are to the HTTP server, which learns only then who is gone.
  const piped = outflow.body.pipeTo(
    new WritableStream({
      write(chunk: Uint8Array) {
        given.push(chunk.byteLength);
        outflow.discard();
      },
    }),
  );
  await settle();
  outflow.write("to nobody");
  assertEquals([given, outflow.open, outflow.waitingBytes], [[9], false, 0]);
  outflow.write("more");
  outflow.cut();
  piped.catch(() => {});
  await settle();
  assertEquals(given, [9]);
});
