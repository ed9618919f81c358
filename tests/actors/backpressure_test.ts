import { assertEquals } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { Harness, openStream, request } from "../fakes/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";

const NOTICE = { method: "notifications/message", params: { level: "info", data: "x" } };

Deno.test("A session pauses its backend while a stream is full, and what is said meanwhile comes later", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  stream.watcher!.full();
  await settle();
  assertEquals(backend.paused, true);
  backend.says(NOTICE);
  await settle();
  assertEquals(stream.sent.length, 0);
  stream.watcher!.room();
  await settle();
  assertEquals([backend.paused, stream.sent.length], [false, 1]);
});

Deno.test("The backend goes on when the last full stream of its session has room", async () => {
  const harness = new Harness();
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  const reply = new FakeReply();
  session.post({ tag: "message", message: request("tools/call", { id: 5 }), reply });
  await settle();
  stream.watcher!.full();
  reply.watcher!.full();
  stream.watcher!.room();
  await settle();
  assertEquals(backend.paused, true);
  reply.watcher!.room();
  await settle();
  assertEquals(backend.paused, false);
});

Deno.test("Every reply and every stream is watched before anything is sent on it", async () => {
  const harness = new Harness({ autoInitialize: false });
  const opening = harness.opening(request("initialize", { id: "init" }));
  await settle();
  assertEquals(opening.watcher === undefined, false);
});

Deno.test("One session's full stream does not pause another's backend", async () => {
  const harness = new Harness();
  const one = await harness.open();
  const other = await harness.open();
  const { stream } = await openStream(one.session);
  stream.watcher!.full();
  await settle();
  assertEquals([one.backend.paused, other.backend.paused], [true, false]);
});

Deno.test("A cut stream is told once in the log, by the session's handle, also after the session's end", async () => {
  await using log = await LogCapture.start();
  const harness = new Harness();
  const { session } = await harness.open();
  const { stream } = await openStream(session);
  const line =
    `Session ${session.handle}: cut a stream, nothing was read for 30000 ms and 5000000 bytes waited`;
  stream.watcher!.cut({ bytes: 5_000_000, stalledMs: 30_000.4 });
  assertEquals(log.lines.filter((each) => each === line).length, 1);
  await session.end("client_delete");
  stream.watcher!.cut({ bytes: 5_000_000, stalledMs: 30_000 });
  assertEquals(log.lines.filter((each) => each === line).length, 2);
  assertEquals(log.lines.some((each) => each.includes(session.id)), false);
});

Deno.test("A paused session takes messages, expires at its deadline and gives its backend back", async () => {
  const harness = new Harness({ limits: { stateful: true } });
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  stream.watcher!.full();
  await settle();
  const reply = new FakeReply();
  session.post({ tag: "message", message: request("ping", { id: 9 }), reply });
  await settle();
  assertEquals(backend.methods.at(-1), "ping");
  backend.exit();
  await settle();
  assertEquals([session.state, session.endReason, reply.failed], ["ended", "backend_exit", "backendGone"]);

  const second = await harness.open();
  const opened = await openStream(second.session);
  opened.stream.watcher!.full();
  await harness.clock.advance(harness.limits.idleTtlMs);
  assertEquals([second.session.state, opened.stream.open], ["expired", false]);
  await second.session.end(second.session.verdict!.reason);
  assertEquals(second.backend.closed, true);
  // The stream was still to be read; it tells its room to nobody.
  opened.stream.watcher!.room();
  await settle();
  assertEquals(harness.supervisor.size, 0);
});

Deno.test("A request behind a client that does not read still times out", async () => {
  const harness = new Harness({ limits: { requestTimeoutMs: 5_000 } });
  const { session, backend } = await harness.open();
  const { stream } = await openStream(session);
  const reply = new FakeReply();
  session.post({ tag: "message", message: request("tools/call", { id: 5 }), reply });
  stream.watcher!.full();
  await settle();
  backend.answer(5);
  await harness.clock.advance(5_000);
  assertEquals(reply.failed, "requestTimeout");
});
