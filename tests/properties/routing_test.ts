/**
 * Every message arrives at most once, at its own session, on the right stream, in order: under random schedules of
 * what the clients and servers of several sessions may do.
 *
 * Every run has another seed, which is part of the tests' names. To repeat one:
 * `FC_SEED=… deno test -A tests/properties`, with `FC_PATH=…` (from the failure's text) for the one schedule.
 * `FC_RUNS=…` sets the number of schedules.
 *
 * @module
 */
import * as fc from "fast-check";
import { type Command, command, opening, STALL_MS } from "./routing_commands.ts";
import { checkLedger } from "./routing_ledger.ts";
import { RoutingOracle } from "./routing_oracle.ts";
import { RoutingWorld } from "./routing_world.ts";

/** How many schedules each property runs. */
const RUNS = Number(Deno.env.get("FC_RUNS") ?? 8_000);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

/** Runs a property; the error of a failure names the seed, the path and the shrunk schedule. */
function hold<Schedule extends unknown[]>(property: fc.IAsyncProperty<Schedule>): Promise<void> {
  return fc.assert(property, {
    numRuns: RUNS,
    seed: SEED,
    ...(PATH !== undefined && { path: PATH }),
  });
}

const openings = fc.array(opening, { minLength: 2, maxLength: 4 });

Deno.test(`Every message goes where the design says (${RUNS} schedules, seed ${SEED})`, () =>
  hold(
    fc.asyncProperty(
      openings,
      fc.array(command, { maxLength: 70, size: "max" }),
      async (openings, schedule) => {
        const world = new RoutingWorld();
        await telling(world, async () => {
          await world.open(openings);
          const oracle = new RoutingOracle(world);
          for (const command of schedule) {
            if (oracle.isMoot(command)) continue;
            if (command.do === "open") {
              if (!world.hasRoom) continue;
              await world.open([command]);
              oracle.meet();
            } else if (command.do === "advance") {
              await world.advance(command.ms);
              oracle.passed();
            } else {
              const party = world.party(command.who);
              oracle.note(party, world.perform(party, command));
            }
            await world.arrive();
            oracle.check();
          }
          oracle.end();
          await world.finish();
          oracle.check();
          checkLedger(world, new Set());
        });
      },
    ),
  ));

Deno.test(`Messages that cross are neither lost, doubled nor misled (${RUNS} schedules, seed ${SEED})`, () =>
  hold(
    fc.asyncProperty(
      openings,
      fc.array(fc.array(command, { maxLength: 8, size: "max" }), { maxLength: 10, size: "max" }),
      async (openings, bursts) => {
        const world = new RoutingWorld();
        await telling(world, async () => {
          await world.open(openings);
          for (const burst of bursts) await crossing(world, burst);
          const steady = new Set(world.parties.filter(({ deleted, backend }) => !deleted && !backend.gone));
          // What is kept comes out.
          for (const party of steady) world.perform(party, { do: "openStream", who: party.no });
          await world.arrive();
          await world.finish();
          checkLedger(world, steady);
        });
      },
    ),
  ));

/** All of a burst happens in one turn; then time passes. */
async function crossing(world: RoutingWorld, burst: readonly Command[]): Promise<void> {
  let ms = 0;
  for (const command of burst) {
    if (command.do === "advance") ms += command.ms;
    else if (command.do !== "open") world.perform(world.party(command.who), command);
  }
  await world.arrive();
  for (const command of burst) if (command.do === "open" && world.hasRoom) await world.open([command]);
  await world.advance(ms);
  await world.arrive();
  for (const { channels } of world.parties) {
    for (const channel of channels) {
      // What is not read for so long may be lost.
      if (channel.stalledMs(world.now) >= STALL_MS) channel.mayBeCut = true;
    }
  }
}

/** Adds to a failure what happened until then. */
async function telling(world: RoutingWorld, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    const story = world.story.map((line) => `  ${line}`).join("\n");
    throw new Error(`${what}\n\nWhat happened:\n${story}\n`, { cause: error });
  }
}
