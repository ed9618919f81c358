/**
 * Sessions that share servers: no message crosses, none is lost and none comes twice, under random schedules of requests,
 * progress, cancellations, subscriptions, questions, closes and deaths.
 *
 * Every run has another seed, which is part of the tests' names. To repeat one:
 * `FC_SEED=… deno test -A tests/properties/shared_test.ts`, with `FC_PATH=…` (from the failure's text) for the one
 * schedule. `FC_RUNS=…` sets the number of schedules.
 *
 * @module
 */
import * as fc from "fast-check";
import { settle } from "../fakes/fake_clock.ts";
import { type Command, commands } from "./sharing_commands.ts";
import { SharingWorld } from "./sharing_world.ts";

/** How many schedules each property runs. */
const RUNS = Number(Deno.env.get("FC_RUNS") ?? 1_500);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

function hold<Schedule>(
  schedule: fc.Arbitrary<Schedule>,
  { runs = RUNS, shrinks = true, run }: {
    readonly runs?: number;
    /** Whether a schedule that fails is shortened; that of a very long one takes hours. */
    readonly shrinks?: boolean;
    readonly run: (schedule: Schedule) => Promise<void>;
  },
): Promise<void> {
  return fc.assert(fc.asyncProperty(schedule, run), {
    numRuns: runs,
    seed: SEED,
    endOnFailure: !shrinks,
    ...(PATH !== undefined && { path: PATH }),
  });
}

Deno.test(`No message crosses sessions, none is lost or doubled (${RUNS} schedules, seed ${SEED})`, () =>
  hold(fc.array(commands({ deaths: 8 }), { maxLength: 120, size: "max" }), {
    run: async (schedule) => {
      const world = new SharingWorld();
      for (const command of schedule) {
        await step(world, command);
        world.check({ inOrder: true });
      }
      await world.finish();
    },
  }));

Deno.test(`Nor where much happens in one turn (${RUNS} schedules, seed ${SEED})`, () =>
  hold(
    fc.array(fc.array(commands({ deaths: 8 }), { maxLength: 15, size: "max" }), {
      maxLength: 12,
      size: "max",
    }),
    {
      run: async (bursts) => {
        const world = new SharingWorld({ children: 3 });
        for (const burst of bursts) {
          let ms = 0;
          for (const command of burst) {
            if (command.do === "advance") ms += command.ms;
            else world.perform(command);
          }
          await settle();
          world.check({ inOrder: false });
          await world.clock.advance(ms);
        }
        await world.finish();
      },
    },
  ));

Deno.test(`Two hundred sessions on two children (seed ${SEED})`, () =>
  hold(fc.array(commands({ deaths: 0 }), { minLength: 6_000, maxLength: 6_000, size: "max" }), {
    runs: 2,
    shrinks: false,
    run: async (schedule) => {
      const world = new SharingWorld({ maxSessions: 200 });
      for (let n = 0; n < 200; n++) world.perform({ do: "open" });
      await settle();
      for (const [n, command] of schedule.entries()) {
        await step(world, command);
        // Each look is at all that ever happened.
        if (n % 50 === 0) world.check({ inOrder: true });
      }
      await world.finish();
    },
  }));

async function step(world: SharingWorld, command: Command): Promise<void> {
  if (command.do === "advance") return await world.clock.advance(command.ms);
  world.perform(command);
  await settle();
}
