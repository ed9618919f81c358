import { assert, assertEquals } from "@std/assert";
import { StderrLog } from "../../backends/stderr_log.ts";
import { FakeClock } from "../fakes/fake_clock.ts";
import { eventually } from "../fakes/eventually.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { fixture } from "../fixtures/mod.ts";
import { OpenChild } from "./harness.ts";

const encoder = new TextEncoder();
const START = "Session s1: server fixture on stderr: ";

async function start() {
  const capture = await LogCapture.start();
  const clock = new FakeClock();
  const stderr = new StderrLog({ serverId: "fixture", session: "s1" }, clock);
  return {
    clock,
    stderr,
    capture,
    print: (text: string) => stderr.push(encoder.encode(text)),
    /** The texts so far, without what they all begin with. */
    lines: () => capture.lines.map((line) => line.slice(START.length)),
    [Symbol.asyncDispose]: async () => {
      stderr.end();
      assertEquals(clock.pending, 0);
      await capture[Symbol.asyncDispose]();
    },
  };
}

Deno.test("Each line of stderr goes to the log with server and session", async () => {
  await using log = await start();
  log.print("one\ntw");
  log.print("o\r\n\nthree");
  log.stderr.end();
  assertEquals(log.capture.lines, ["one", "two", "three"].map((line) => START + line));
  assertEquals(log.capture.records[0]?.level, "info");
  const { serverId, handle } = log.capture.records[0]!.properties;
  assertEquals([serverId, handle], ["fixture", "s1"]);
});

Deno.test("A line is cut at 1,000 characters, and holds no control characters", async () => {
  await using log = await start();
  log.print("x".repeat(1_000) + "\n" + "y".repeat(1_001) + "\n");
  log.print("\x1b[31mred\x1b[0m\tand \x07{braces} é\n");
  assertEquals(log.lines(), ["x".repeat(1_000), "y".repeat(999) + "…", "red and  {braces} é"]);
});

Deno.test("A line without end is cut, not kept", async () => {
  await using log = await start();
  for (let i = 0; i < 100; i++) log.print("€".repeat(10_000));
  log.print("\nnext\n");
  assertEquals(log.lines(), ["€".repeat(999) + "…", "next"]);
});

Deno.test("Over 50 lines at once are left out and counted", async () => {
  await using log = await start();
  log.print("line\n".repeat(80));
  assertEquals(log.lines().length, 50);
  await log.clock.advance(5_000);
  assertEquals(log.lines().slice(50), ["30 line(s) left out, over 20 a second"]);
  assertEquals(log.clock.pending, 0);
});

Deno.test("20 lines a second pass, and what was left out is told before the next line", async () => {
  await using log = await start();
  log.print("line\n".repeat(51));
  await log.clock.advance(49);
  log.print("too early\n");
  await log.clock.advance(1);
  log.print("in time\n");
  assertEquals(log.lines().slice(50), ["2 line(s) left out, over 20 a second", "in time"]);
  await log.clock.advance(60_000);
  log.print("line\n".repeat(51));
  assertEquals(log.lines().length, 52 + 50);
});

Deno.test("At the end what was left out is told at once", async () => {
  await using log = await start();
  log.print("line\n".repeat(51));
  log.stderr.end();
  log.stderr.end();
  assertEquals(log.lines().slice(50), ["1 line(s) left out, over 20 a second"]);
});

Deno.test("What a child prints right before it ends is in the log when close() resolves", async () => {
  await using capture = await LogCapture.start();
  const child = new OpenChild(fixture("exits"));
  await child.exited();
  await child.backend.close();
  assertEquals(capture.lines, [START + "Cannot start: the fixture is made to fail"]);
});

Deno.test("A child that prints without end is neither believed nor waited for", async () => {
  await using capture = await LogCapture.start();
  const child = new OpenChild(fixture("echo_server"));
  await child.call("stderr", { lines: 2_000 });
  await eventually(() => capture.lines.length >= 50, "the lines");
  await child.backend.close();
  const shown = capture.lines.filter((line) => line.startsWith(START + "line "));
  assert(shown.length >= 50 && shown.length < 200);
  assertEquals(capture.lines.at(-1)?.endsWith("left out, over 20 a second"), true);
});
