/**
 * Sessions that hibernate, and gateways that are stopped or killed and started again, under random schedules.
 *
 * To repeat a run: see `session_lives_test.ts`.
 *
 * @module
 */
import * as fc from "fast-check";
import { join } from "node:path";
import { MemoryStore } from "../../stores/memory.ts";
import { SqliteStore } from "../../stores/sqlite.ts";
import { DurableStore } from "../fakes/durable_store.ts";
import { type Command, schedule, type Setting, setting } from "./slumber_commands.ts";
import { type Hold, World } from "./slumber_world.ts";

/** How many schedules run over a store in memory, and how many over a file. */
const RUNS = Number(Deno.env.get("FC_RUNS") ?? 5_000);
const FILE_RUNS = Math.ceil(RUNS / 100);

const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

function hold(
  numRuns: number,
  live: (setting: Setting, commands: Command[]) => Promise<void>,
): Promise<void> {
  return fc.assert(fc.asyncProperty(setting, schedule(80), live), {
    numRuns,
    seed: SEED,
    endOnFailure: Deno.env.has("FC_QUICK"),
    ...(PATH !== undefined && { path: PATH }),
  });
}

async function live(
  world: World,
  commands: readonly Command[],
  { recovers }: Setting,
): Promise<void> {
  for (const command of commands) await world.step(command);
  if (recovers) await world.recover();
  await world.finish();
}

Deno.test(`Sessions survive hibernation and restarts (${RUNS} schedules, seed ${SEED})`, () =>
  hold(RUNS, async (setting, commands) => {
    const kept = new MemoryStore({ tombstones: 10_000 });
    await live(new World(setting, () => new DurableStore(kept, setting)), commands, setting);
  }));

Deno.test(`Sessions survive restarts in a file (${FILE_RUNS} schedules, seed ${SEED})`, async () => {
  const folder = await Deno.makeTempDir();
  let files = 0;
  try {
    await hold(FILE_RUNS, async (setting, commands) => {
      const path = join(folder, `${++files}.sqlite`);
      await live(new World(setting, () => new FileHold({ path, tombstones: 10_000 })), commands, setting);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** A file is written to in each call: a kill between two leaves what a close leaves. */
class FileHold extends SqliteStore implements Hold {
  cut(): void {
    this.close();
  }
}
