/**
 * The invariants of the design, under random schedules of messages, answers, disconnects, deadlines, pings, sweeps,
 * memory pressure, evictions, ends and shutdowns, at servers with differing limits.
 *
 * Every run has another seed, which is part of the tests' names. To repeat one:
 * `FC_SEED=… deno test -A tests/properties`, with `FC_PATH=…` (from the failure's text) for the one schedule.
 * `FC_RUNS=…` sets the number of schedules, `FC_QUICK=1` stops at a failure without making it small.
 *
 * @module
 */
import * as fc from "fast-check";
import { type Command, schedule } from "./commands.ts";
import { Oracle } from "./oracle.ts";
import { World } from "./world.ts";

/** How many schedules each property runs. */
const RUNS = Number(Deno.env.get("FC_RUNS") ?? 10_000);

const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

/** Runs a property; the error of a failure names the seed, the path and the shrunk schedule. */
function hold(property: fc.IAsyncProperty<[Command[]]> | fc.IAsyncProperty<[Command[][]]>): Promise<void> {
  return fc.assert(property as fc.IAsyncProperty<[unknown]>, {
    numRuns: RUNS,
    seed: SEED,
    endOnFailure: Deno.env.has("FC_QUICK"),
    ...(PATH !== undefined && { path: PATH }),
  });
}

Deno.test(`Sessions live exactly as long as the design says (${RUNS} schedules, seed ${SEED})`, () =>
  hold(fc.asyncProperty(schedule(100), async (commands) => {
    const world = new World();
    const oracle = new Oracle(world);
    for (const command of commands) await step(world, oracle, command);
    await advance(world, oracle, 0);
    await step(world, oracle, { do: "shutDown", drainMs: 0, hurry: true });
    await world.finish();
    oracle.finish();
  })));

Deno.test(`Messages that cross do no harm, in any order (${RUNS} schedules, seed ${SEED})`, () =>
  hold(
    fc.asyncProperty(fc.array(schedule(8), { maxLength: 12, size: "max" }), async (bursts) => {
      const world = new World();
      for (const burst of bursts) {
        // All of a burst happens in one turn.
        for (const command of burst) world.perform(command);
        await world.look();
        const ms = burst.reduce((sum, command) => sum + (command.do === "advance" ? command.ms : 0), 0);
        await world.harness.clock.advance(ms);
        world.late = false;
        await world.look();
      }
      await world.finish();
    }),
  ));

/** Carries out one command, and looks what came of it. */
async function step(world: World, oracle: Oracle, command: Command): Promise<void> {
  if (oracle.isMoot(command)) return;
  oracle.perform(command);
  oracle.pass();
  await world.look();
  oracle.check();
  if (command.do === "advance") await advance(world, oracle, command.ms);
}

/** Moves time on, and looks at each instant at which a timer is due. */
async function advance(world: World, oracle: Oracle, ms: number): Promise<void> {
  const { clock } = world.harness;
  const until = clock.now() + ms;
  do {
    const next = Math.max(clock.now(), Math.min(clock.nextAt, until));
    await clock.advance(next - clock.now());
    world.late = false;
    oracle.pass();
    await world.look();
    oracle.check();
  } while (clock.now() < until);
}
