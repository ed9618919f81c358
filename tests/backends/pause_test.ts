import { assert, assertEquals } from "@std/assert";
import { eventually } from "../fakes/eventually.ts";
import { program } from "../fixtures/mod.ts";
import { FORCE_PACE, OpenChild, runs } from "./harness.ts";

const LINE = '{"jsonrpc":"2.0","method":"notifications/x"}';
const MIB = 1024 * 1024;
const passMs = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A child that says the line so often and then exits with 4. */
function chatty(count: number) {
  return program("sh", "-c", `yes '${LINE}' | head -n ${count}; exit 4`);
}

/** Waits until the child is through with what it can do, which is to fill the pipe. */
async function standstill(child: OpenChild): Promise<number> {
  for (let before = -1; before !== child.messages.length;) {
    before = child.messages.length;
    await passMs(150);
  }
  return child.messages.length;
}

Deno.test("A paused child waits once the pipe is full, and everything comes when it goes on", async () => {
  const count = 100_000;
  await using child = new OpenChild(chatty(count));
  child.backend.pause();
  child.backend.pause();
  const early = await standstill(child);
  assert(early * LINE.length < MIB, `${early} messages came`);
  assert(runs(child.backend.pid));
  child.backend.resume();
  assertEquals((await child.exited()).detail, "exited with code 4");
  assertEquals(child.messages.length, count);
});

Deno.test("Between a pause and its effect no more than one chunk's messages come", async () => {
  await using child = new OpenChild(program("sh", "-c", `yes '${LINE}'`));
  await eventually(() => child.messages.length > 10_000, "a flood");
  child.backend.pause();
  const before = child.messages.length;
  await passMs(300);
  assert((child.messages.length - before) * LINE.length <= 128 * 1024);
});

Deno.test("The exit of a paused child is reported, after its last words", async () => {
  await using child = new OpenChild(chatty(100));
  child.backend.pause();
  assertEquals((await child.exited()).detail, "exited with code 4");
  assertEquals([child.messages.length, child.order.at(-1)], [100, "exit"]);
});

Deno.test("A grandchild that floods the pipe of a paused child does not hold up its exit, nor fill the memory", async () => {
  await using child = new OpenChild(program("sh", "-c", `yes '${LINE}' & sleep 0.3; exit 3`));
  await eventually(() => child.messages.length > 0, "a message");
  child.backend.pause();
  const before = child.messages.length;
  const startMs = performance.now();
  assertEquals((await child.exited()).detail, "exited with code 3");
  assert(performance.now() - startMs < 5_000);
  assert((child.messages.length - before) * LINE.length < 2 * MIB);
});

Deno.test("A paused child can be closed, also when it hangs in a write", async () => {
  await using child = new OpenChild(program("sh", "-c", `yes '${LINE}'`));
  child.backend.pause();
  await standstill(child);
  await child.backend.close(FORCE_PACE);
  assertEquals([child.exits.length, runs(child.backend.pid)], [1, false]);
  child.backend.resume();
  child.backend.pause();
});

Deno.test("A paused child is still written to", async () => {
  await using child = new OpenChild(program("sh", "-c", 'read line; exit "$line"'));
  child.backend.pause();
  assert(child.backend.send("7"));
  assertEquals((await child.exited()).detail, "exited with code 7");
});

Deno.test("Pausing what never started does nothing", async () => {
  await using child = new OpenChild(program("/no/such/program"));
  child.backend.pause();
  child.backend.resume();
  assertEquals((await child.exited()).cause, "spawn");
});
