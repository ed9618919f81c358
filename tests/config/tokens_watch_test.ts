import { assertEquals } from "@std/assert";
import { ConfigError } from "../../config/config_error.ts";
import { watchTokensFile } from "../../config/tokens_watch.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { LogCapture } from "../fakes/log_capture.ts";

const FILE = "tokens.json";

/** A watched file whose state a test sets. */
async function watch(file: string | undefined = FILE) {
  const clock = new FakeClock();
  const world = { state: "1", reloads: 0, looks: 0, mistake: undefined as string | undefined };
  const stop = watchTokensFile(file, {
    clock,
    reload: () => {
      world.reloads++;
      if (world.mistake !== undefined) throw new ConfigError(world.mistake);
      return 2;
    },
    stateOf: () => {
      world.looks++;
      return Promise.resolve(world.state);
    },
  });
  await settle();
  return { clock, world, stop };
}

Deno.test("A file that stays as it is is read once more after the start, in silence, and never again", async () => {
  await using log = await LogCapture.start();
  const { clock, world, stop } = await watch();
  await clock.advance(3_600_000);
  assertEquals([world.reloads, log.lines], [1, []]);
  stop();
});

Deno.test("A changed file is read once it stays as it is", async () => {
  await using log = await LogCapture.start();
  const { clock, world, stop } = await watch();
  for (const state of ["2", "3", "4"]) {
    world.state = state;
    await clock.advance(1_000);
  }
  assertEquals(world.reloads, 1);
  await clock.advance(1_000);
  assertEquals(world.reloads, 2);
  await clock.advance(10_000);
  assertEquals(world.reloads, 2);
  assertEquals(log.lines, ["Tokens read again from tokens.json: 2 in force"]);
  stop();
});

Deno.test("A file that is gone between two looks and there again is not missed", async () => {
  await using log = await LogCapture.start();
  const { clock, world, stop } = await watch();
  world.state = "gone";
  await clock.advance(1_000);
  world.state = "1";
  await clock.advance(10_000);
  assertEquals([world.reloads, log.lines], [1, []]);
  stop();
});

Deno.test("A file that is wrong is told once, and read when it changes again", async () => {
  await using log = await LogCapture.start();
  const { clock, world, stop } = await watch();
  world.state = "2";
  world.mistake = "tokens.json:1:1: expected a value";
  await clock.advance(60_000);
  assertEquals(world.reloads, 2);
  world.state = "3";
  world.mistake = undefined;
  await clock.advance(60_000);
  assertEquals(log.lines, [
    "Tokens stay as they were: tokens.json:1:1: expected a value",
    "Tokens read again from tokens.json: 2 in force",
  ]);
  stop();
});

Deno.test("A file that turns bad between the start and the first look is told", async () => {
  await using log = await LogCapture.start();
  const clock = new FakeClock();
  const stop = watchTokensFile(FILE, {
    clock,
    reload: () => {
      throw new ConfigError("tokens.json: no such file");
    },
    stateOf: () => Promise.resolve("gone"),
  });
  await clock.advance(60_000);
  assertEquals(log.lines, ["Tokens stay as they were: tokens.json: no such file"]);
  stop();
});

Deno.test("After the stop nothing is looked at and no timer is left, also when it comes during a look", async () => {
  const { clock, world, stop } = await watch();
  stop();
  stop();
  assertEquals(clock.pending, 0);
  await clock.advance(10_000);
  assertEquals(world.looks, 1);

  const slow = Promise.withResolvers<string>();
  let reloads = 0;
  const stopSlow = watchTokensFile(FILE, {
    clock,
    reload: () => ++reloads,
    stateOf: () => slow.promise,
  });
  stopSlow();
  slow.resolve("1");
  await settle();
  assertEquals([reloads, clock.pending], [0, 0]);
});

Deno.test("Without a file nothing is watched", async () => {
  const clock = new FakeClock();
  watchTokensFile(undefined, { clock, reload: () => 0 })();
  await settle();
  assertEquals(clock.pending, 0);
});

Deno.test("A real file is told apart when written to, replaced, linked elsewhere, removed; a pipe is read once", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/tokens.json`;
  const clock = new FakeClock();
  let reloads = 0;
  let looked = Promise.withResolvers<void>();
  /** The clock as it is, and a sign after each look: the file system takes real time. */
  const stop = watchTokensFile(file, {
    clock: {
      now: () => clock.now(),
      wallTime: () => clock.wallTime(),
      after: (ms, fn) => {
        looked.resolve();
        return clock.after(ms, fn);
      },
      set: (ms, timer) => clock.set(ms, timer),
      clear: (timer) => clock.clear(timer),
    },
    reload: () => ++reloads,
  });
  const look = async () => {
    looked = Promise.withResolvers();
    const { promise } = looked;
    await clock.advance(1_000);
    await promise;
  };
  try {
    await looked.promise;
    const changes: [string, () => void][] = [
      ["made", () => Deno.writeTextFileSync(file, "a")],
      ["written to", () => Deno.writeTextFileSync(file, "ab")],
      ["replaced", () => {
        Deno.writeTextFileSync(`${file}.new`, "ba");
        Deno.renameSync(`${file}.new`, file);
      }],
      ["linked", () => {
        for (const version of ["v1", "v2"]) {
          Deno.mkdirSync(`${folder}/${version}`);
          Deno.writeTextFileSync(`${folder}/${version}/tokens.json`, version);
        }
        Deno.symlinkSync("v1", `${folder}/data`);
        Deno.removeSync(file);
        Deno.symlinkSync("data/tokens.json", file);
      }],
      ["linked elsewhere in its middle, as Kubernetes does", () => {
        Deno.symlinkSync("v2", `${folder}/data.new`);
        Deno.renameSync(`${folder}/data.new`, `${folder}/data`);
      }],
      ["removed", () => Deno.removeSync(file)],
    ];
    for (const [what, change] of changes) {
      const before = reloads;
      change();
      await look();
      await look();
      assertEquals(reloads, before + 1, what);
      await look();
      assertEquals(reloads, before + 1, `${what}, and nothing else`);
    }
    const before = reloads;
    const { success } = await new Deno.Command("mkfifo", { args: [file] }).output();
    assertEquals(success, true);
    await look();
    await look();
    assertEquals(reloads, before, "a pipe would block or be empty");
  } finally {
    stop();
    await Deno.remove(folder, { recursive: true });
  }
});
