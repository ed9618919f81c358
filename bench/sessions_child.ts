/**
 * Measures one way to keep the deadlines of very many sessions, in a process of its own; see `sessions.ts`. Prints one
 * line of JSON. Arguments: the name of the way, and the number of sessions.
 *
 * @module
 */
import { systemClock } from "../clock.ts";
import { turn, type Way, type WayName, WAYS } from "./sessions_ways.ts";

/** What was measured; bytes are for each session, ns for each message. */
export interface Measured {
  /** On the engine's heap, array buffers included. */
  readonly heapBytes: number;
  /** Of the process: also what the runtime keeps beside the heap, and pages of the heap that are free. */
  readonly residentBytes: number;
  /** What a message costs for the deadline alone, once the time is known; and what the clock costs to read. */
  readonly touchNs?: number;
  readonly clockNs?: number;
  /** What a notification costs from the post to the server. */
  readonly messageNs?: number;
  /** From the deadline of all until the last has expired, and the longest stall of the event loop meanwhile. */
  readonly expireMs: number;
  readonly expireStallMs: number;
  /** From then until the last backend was given back, and the longest stall, where that is done later. */
  readonly sweepMs?: number;
  readonly sweepStallMs?: number;
}

const TOUCHES = 1_000_000;
/** How often notifications are sent before it is measured, and then. */
const WARM_UP_ROUNDS = 3;
const ROUNDS = 5;
/** A prime beside which no number of sessions has a divisor: steps that visit all of them, far apart. */
const STRIDE = 7_919;

declare const gc: () => void;

async function measure(way: Way, sessions: number): Promise<Measured> {
  const before = await memory();
  await way.open();
  const after = await memory();
  const touches = way.touch && touchNs(way.touch, sessions);
  const messageNs = way.notify && await notifyNs(() => way.notify!(), sessions);
  await memory();
  const dueInMs = await way.useAll();
  const expired = await watch(() => way.allExpired, dueInMs);
  const swept = way.sweep && await sweep(way);
  return {
    heapBytes: (after.heapBytes - before.heapBytes) / sessions,
    residentBytes: (after.residentBytes - before.residentBytes) / sessions,
    ...touches,
    ...(messageNs !== undefined && { messageNs }),
    expireMs: expired.tookMs,
    expireStallMs: expired.stallMs,
    ...swept,
  };
}

async function sweep(way: Way): Promise<Pick<Measured, "sweepMs" | "sweepStallMs">> {
  way.sweep!();
  const { tookMs, stallMs } = await watch(() => way.allClosed, 0);
  return { sweepMs: tookMs, sweepStallMs: stallMs };
}

function touchNs(touch: NonNullable<Way["touch"]>, sessions: number): { touchNs: number; clockNs: number } {
  let now = systemClock.now();
  const start = now;
  for (let pass = 0; pass < 2; pass++) {
    now = systemClock.now();
    // Instants with a fraction, as those of the clock are.
    for (let done = 0, n = 0, at = start; done < TOUCHES; done++, at += 0.001) {
      touch(n, at);
      n += STRIDE;
      while (n >= sessions) n -= sessions;
    }
  }
  const touchedNs = (systemClock.now() - now) / TOUCHES * 1e6;
  now = systemClock.now();
  for (let done = 0; done < TOUCHES; done++) systemClock.now();
  return { touchNs: touchedNs, clockNs: (systemClock.now() - now) / TOUCHES * 1e6 };
}

async function notifyNs(notify: () => Promise<void>, sessions: number): Promise<number> {
  for (let round = 0; round < WARM_UP_ROUNDS; round++) await notify();
  const start = systemClock.now();
  for (let round = 0; round < ROUNDS; round++) await notify();
  return (systemClock.now() - start) / ROUNDS / sessions * 1e6;
}

/** Takes turns of the event loop until it is done, and finds the longest. */
async function watch(isDone: () => boolean, fromMs: number): Promise<{ tookMs: number; stallMs: number }> {
  const from = systemClock.now() + fromMs;
  let last = systemClock.now();
  let stallMs = 0;
  while (!isDone()) {
    await turn();
    const now = systemClock.now();
    stallMs = Math.max(stallMs, now - last);
    last = now;
  }
  return { tookMs: last - from, stallMs };
}

async function memory(): Promise<{ heapBytes: number; residentBytes: number }> {
  // What finalizers let go is garbage only the next time.
  for (let round = 0; round < 4; round++) {
    gc();
    await turn();
  }
  const { heapUsed, external, rss } = Deno.memoryUsage();
  return { heapBytes: heapUsed + external, residentBytes: rss };
}

const [name, count] = Deno.args;
const sessions = Number(count);
const measured = await measure(WAYS[name as WayName](sessions), sessions);
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(measured)}\n`));
// Whatever still waits for its time.
Deno.exit();
