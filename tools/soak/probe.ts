/**
 * What a soak has to know of the gateway and nobody outside can see: how many timers are set, and what the memory is
 * once the garbage is gone.
 *
 * The gateway has no doors for tests. This module is loaded before its main module (`deno run --preload`) and looks at
 * the one class through which every timer of the gateway goes (the lint plugin holds that), without changing what it
 * does. On each line of stdin it prints one to stdout, {@link PROBE_PREFIX} and a {@link Reading} as JSON; on the line `gc` it
 * collects the garbage first, for which the gateway runs with `--v8-flags=--expose-gc`.
 *
 * When stdin ends, whoever ran the soak is gone, and the gateway is told to go as well.
 *
 * @module
 */
import { TimerQueue } from "../../timers.ts";
import { PROBE_PREFIX, type Reading } from "./machine.ts";

/** Collections in a row: what finalizers let go is garbage only the next time. */
const COLLECTIONS = 4;

/** V8's own, given back to the system as far as it can be with the flavor `last-resort`. */
declare const gc: (options: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;

const queues = new Set<TimerQueue>();
const { set } = TimerQueue.prototype;
let listening = false;
TimerQueue.prototype.set = function (delayMs, timer) {
  queues.add(this);
  // Not before: the main module is loaded once nothing of this one is pending.
  if (!listening) void listen();
  return set.call(this, delayMs, timer);
};

async function listen(): Promise<void> {
  listening = true;
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === "gc") await collect();
      const timers = Array.from(queues, (queue) => queue.size).reduce((sum, size) => sum + size, 0);
      const { heapUsed, external } = Deno.memoryUsage();
      print({ timers, heapKiB: Math.round((heapUsed + external) / 1024) });
    }
  }
  Deno.kill(Deno.pid, "SIGTERM");
}

async function collect(): Promise<void> {
  for (let round = 0; round < COLLECTIONS; round++) {
    gc({ type: "major", execution: "sync", flavor: "last-resort" });
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function print(reading: Reading): void {
  const bytes = new TextEncoder().encode(`${PROBE_PREFIX}${JSON.stringify(reading)}\n`);
  for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
}
