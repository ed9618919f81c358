/**
 * Breaks each invariant on purpose, and shows that the tests notice: `deno task mutants`. With words as arguments only
 * the mutants whose names contain one of them.
 *
 * Works on copies of the project, one mutant at a time in each. The tests of the actors and the properties run with a
 * fixed seed, so a run says the same every time. A mutant that survives, or that a test which should have noticed did
 * not notice, fails the run; so does a mutant whose text is not there exactly once, and a project whose tests fail
 * without any mutant.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { type Edit, INVARIANTS, type Mutant, MUTANTS, type Suite } from "./mutants_table.ts";

const PROJECT = new URL("..", import.meta.url).pathname;
/** What is copied of the project. */
const PARTS = ["deno.json", "deno.lock", "std", "tests", "tools"];
const NOT_COPIED = new Set([".git", "dist", "node_modules", "e2e", "routes"]);
/** Runs side by side. */
const JOBS = 2;
/** A mutant that keeps the tests busy for longer was noticed, in ms. */
const TIME_OUT_MS = 90_000;
const ENVIRONMENT = { FC_SEED: "20251125", FC_RUNS: "2500", FC_QUICK: "1", NO_COLOR: "1" };

/** The files of each suite. */
const SUITES: Readonly<Record<Suite, readonly string[]>> = {
  units: ["tests/actors", "tests/routes/bridge_test.ts"],
  properties: ["tests/properties/found_schedules_test.ts", "tests/properties/session_lives_test.ts"],
};

/** Schedules of streams that are resumed take longer than others. */
const RESUMING = "tests/properties/resume_test.ts";
const RESUMING_RUNS = "800";
/** Properties that are tried only where theirs is broken: they say little of anything else. */
const APART: Partial<Record<Mutant["breaks"], readonly string[]>> = {
  resumed: [RESUMING],
  slumber: ["tests/properties/slumber_test.ts"],
  restart: ["tests/properties/slumber_test.ts"],
};

/** What a suite said: the first test that failed; undefined where all passed. */
type Finding = string | undefined;

/** A mutant and what became of it. */
interface Outcome {
  readonly mutant: Mutant;
  readonly found: Readonly<Record<Suite, Finding>>;
  readonly tookMs: number;
}

/**
 * Changes a text.
 *
 * @throws {Error} The text to replace is not there exactly once.
 */
export function mutate(source: string, { file, from, to }: Edit): string {
  const times = source.split(from).length - 1;
  if (times !== 1) throw new Error(`Cannot mutate ${file}: ${JSON.stringify(from)} occurs ${times} times`);
  return source.replace(from, () => to);
}

/** Runs a suite in a copy of the project. */
async function runSuite(folder: string, files: readonly string[]): Promise<Finding> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", "--fail-fast", "--reporter=tap", ...files],
    cwd: folder,
    env: files.includes(RESUMING) ? { ...ENVIRONMENT, FC_RUNS: RESUMING_RUNS } : ENVIRONMENT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // A group of its own, so that all of it can be ended.
    detached: true,
  }).spawn();
  let isTimeOut = false;
  const timer = setTimeout(() => {
    isTimeOut = true;
    Deno.kill(-child.pid, "SIGKILL");
  }, TIME_OUT_MS);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  if (isTimeOut) return "(time-out)";
  if (code === 0) return undefined;
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const failed = /^not ok \d+ - (.*)$/m.exec(text)?.[1];
  // What throws outside of any test stops the file that ran: the tests notice, too. What does not even load proves nothing.
  const uncaught = failed === undefined && text.includes("uncaught error")
    ? "(an uncaught error)"
    : undefined;
  const finding = failed ?? uncaught;
  if (finding === undefined) throw new Error(`The tests did not run in ${folder}:\n${text.slice(-2_000)}`);
  return finding.replace(/ \(\d+ schedules, seed -?\d+\)/, "");
}

/** Runs the tests there are for what a mutant breaks. */
async function runAll(folder: string, breaks?: Mutant["breaks"]): Promise<Record<Suite, Finding>> {
  const properties = (breaks && APART[breaks]) ?? SUITES.properties;
  return { units: await runSuite(folder, SUITES.units), properties: await runSuite(folder, properties) };
}

/** Puts a mutant into a copy, runs the tests, and takes it out again. */
async function tryOut(folder: string, mutant: Mutant): Promise<Outcome> {
  const start = performance.now();
  const originals = new Map<string, string>();
  for (const edit of mutant.edits) {
    const path = join(folder, edit.file);
    const source = await Deno.readTextFile(path);
    if (!originals.has(path)) originals.set(path, source);
    await Deno.writeTextFile(path, mutate(source, edit));
  }
  try {
    return { mutant, found: await runAll(folder, mutant.breaks), tookMs: performance.now() - start };
  } finally {
    for (const [path, source] of originals) await Deno.writeTextFile(path, source);
  }
}

/** Copies what the tests need: every folder and file of the sources, without what is not tested here. */
async function copyProject(to: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(PROJECT)) {
    const isPart = PARTS.includes(name) || name.endsWith(".ts") || (isDirectory && !name.startsWith("."));
    if (isPart && !NOT_COPIED.has(name)) await copy(join(PROJECT, name), join(to, name));
  }
  for (const folder of ["routes", "tests/routes"]) await copy(join(PROJECT, folder), join(to, folder));
}

async function copy(from: string, to: string): Promise<void> {
  if (!(await Deno.stat(from)).isDirectory) {
    await Deno.mkdir(dirname(to), { recursive: true });
    return await Deno.copyFile(from, to);
  }
  for await (const { name } of Deno.readDir(from)) {
    if (!NOT_COPIED.has(name)) await copy(join(from, name), join(to, name));
  }
}

/** The suites that should have noticed a mutant and did not. */
export function missedBy({ mutant, found }: Pick<Outcome, "mutant" | "found">): Suite[] {
  return mutant.by.filter((suite) => found[suite] === undefined);
}

function lineOf({ mutant, found, tookMs }: Outcome): string {
  const cells = [
    mutant.name,
    INVARIANTS[mutant.breaks],
    found.units ?? "–",
    found.properties ?? "–",
    `${(tookMs / 1000).toFixed(1)} s`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Tries the mutants whose names contain one of the words. Whether all were noticed. */
async function main(words: readonly string[]): Promise<boolean> {
  const chosen = MUTANTS.filter(({ name }) =>
    words.length === 0 || words.some((word) => name.includes(word))
  );
  const start = performance.now();
  const root = await Deno.makeTempDir({ prefix: "sojourn-mutants-" });
  try {
    const folders = Array.from({ length: JOBS }, (_, job) => join(root, String(job)));
    await Promise.all(folders.map((folder) => copyProject(folder)));
    const sound: Record<string, Finding> = await runAll(folders[0]!);
    for (const file of new Set(Object.values(APART).flat())) {
      sound[file] = await runSuite(folders[0]!, [file]);
    }
    for (const [suite, failed] of Object.entries(sound)) {
      if (failed !== undefined) throw new Error(`Without any mutant the ${suite} fail: ${failed}`);
    }
    say("| mutant | invariant | caught by (actors) | caught by (properties) | time |");
    say("| --- | --- | --- | --- | --- |");
    const queue = [...chosen];
    const missed: string[] = [];
    await Promise.all(folders.map(async (folder) => {
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
        const outcome = await tryOut(folder, mutant);
        say(lineOf(outcome));
        for (const suite of missedBy(outcome)) missed.push(`${mutant.name}: not noticed by the ${suite}`);
      }
    }));
    const seconds = Math.round((performance.now() - start) / 1000);
    say(`\n${chosen.length} mutants, ${missed.length} misses, ${seconds} s`);
    for (const miss of missed) say(miss);
    return missed.length === 0;
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args) ? 0 : 1);
