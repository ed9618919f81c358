/**
 * Runs the official conformance suite directly on the fixture server over HTTP, and through the gateway to the same
 * server behind each of its doors: as a child process on stdio, and elsewhere over HTTP and over HTTP+SSE. Whatever
 * passes directly has to pass through the gateway: `deno task conformance`.
 *
 * What does not pass in both places is in {@link KNOWN} with its reason, exactly as it comes out, and in
 * `docs/conformance.md`; anything else fails the run, also an entry that no longer holds.
 *
 * @module
 */
import { join } from "node:path";
import { Gateway, PROJECT } from "../tests/e2e/gateway.ts";

/** One run of the suite, in one of its versions. */
export interface Suite {
  readonly name: string;
  /** The doors that it is run through; all unless given. */
  readonly doors?: readonly Door[];
  readonly version: string;
  readonly args: readonly string[];
  /** How many scenarios it runs: a suite that ran fewer has shown nothing. */
  readonly scenarios: number;
}

/** How the gateway reaches the fixture server. */
export const DOORS = ["stdio", "http", "sse"] as const;
export type Door = typeof DOORS[number];

/** Statuses of a check from good to bad; of a check that ran several times the worst counts. */
const STATUSES = ["SUCCESS", "INFO", "SKIPPED", "WARNING", "FAILURE"] as const;
/** How a check came out; `-` where it did not run. */
export type Status = typeof STATUSES[number] | "-";

/** Statuses by scenario and check. */
export type Results = ReadonlyMap<string, ReadonlyMap<string, Status>>;

/** A check that does not pass in both places, and why. */
export interface Known {
  readonly door: Door;
  readonly suite: string;
  readonly scenario: string;
  readonly check: string;
  readonly direct: Status;
  readonly gateway: Status;
  readonly reason: string;
}

/** What the two runs of a suite show. */
export interface Comparison {
  readonly rows: readonly Row[];
  /** What has to be explained or mended, in sentences. */
  readonly problems: readonly string[];
}

/** The checks of one scenario that passed. */
interface Row {
  readonly scenario: string;
  readonly direct: number;
  readonly gateway: number;
}

const REQUIRED: Suite = {
  name: "2025-11-25",
  version: "0.2.0-alpha.12",
  args: ["--requirements", "2025-11-25"],
  scenarios: 33,
};
const LIFECYCLE: Suite = {
  name: "lifecycle",
  version: "0.2.0-alpha.12",
  args: ["--scenario", "server-session-lifecycle", "--spec-version", "2025-11-25"],
  scenarios: 1,
};
/** What differs by door is in the other two, so time is spent on one door only. */
const OLDER: Suite = {
  name: "0.1.16",
  doors: ["stdio"],
  version: "0.1.16",
  args: ["--suite", "all"],
  scenarios: 32,
};

/** All that is run. */
export const SUITES: readonly Suite[] = [REQUIRED, LIFECYCLE, OLDER];

const OLD_HEADER =
  "The suite sends this request with `mcp-protocol-version: 2025-03-26`. The SDK goes by that, the gateway by its session.";

/** The only checks that may come out otherwise than passed in both places: door, suite, scenario, check, the outcomes, why. */
export const KNOWN: readonly Known[] = ([
  ["stdio", OLDER, "server-sse-polling", "server-sse-priming-event", "WARNING", "SUCCESS", OLD_HEADER],
  ["stdio", OLDER, "server-sse-polling", "server-sse-retry-field", "WARNING", "SUCCESS", OLD_HEADER],
] as const).map(([door, suite, scenario, check, direct, gateway, reason]) => ({
  door,
  suite: suite.name,
  scenario,
  check,
  direct,
  gateway,
  reason,
}));

/** The suite does not always end its sessions. Each is a process, and 33 at a time are too much for a small machine. */
const IDLE_TTL_MS = 5_000;
/** Every answer is a stream from its start, as the server's own are: for plain JSON one check only leaves a note. */
const SSE_AFTER_MS = 0;
/** The fixture over HTTP closes the stream of a call that takes 1.5 s. On stdio it cannot, the gateway can; once is due. */
const STREAM_MAX_MS = 1_000;
/** The first start downloads. */
const START_MS = 120_000;
/** The versions of what the suites are made of, so that they are the same everywhere. */
const LOCK = new URL("conformance.lock", import.meta.url).pathname;
/** A run takes about 8 s, and on the first one the suite is downloaded. */
const SUITE_MS = 300_000;
/** How long the fixture may take to end. */
const EXIT_MS = 5_000;

/** The fixture server over HTTP, and the gateway before it with all its doors. Disposing ends all. */
export class Targets implements AsyncDisposable {
  private constructor(
    /** Where the fixture listens. */
    readonly direct: string,
    readonly stack: AsyncDisposableStack,
    /** Where the gateway serves it, by door. */
    readonly through: (door: Door) => string,
  ) {}

  static async start(): Promise<Targets> {
    await using stack = new AsyncDisposableStack();
    const [direct, sse] = await Promise.all([
      startFixture(stack, "conformance_http.ts"),
      startFixture(stack, "conformance_sse.ts"),
    ]);
    const session = { idleTtlMs: IDLE_TTL_MS };
    const servers: Record<Door, Record<string, unknown>> = {
      stdio: { command: "deno", args: fixtureArgs("conformance_server.ts"), session },
      http: { url: direct, session },
      sse: { type: "sse", url: sse, session },
    };
    const gateway = stack.use(
      await Gateway.start({
        servers,
        env: { SSE_AFTER_MS: String(SSE_AFTER_MS), STREAM_MAX_MS: String(STREAM_MAX_MS) },
      }),
    );
    return new Targets(direct, stack.move(), (door) => gateway.url(door));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stack.disposeAsync();
  }
}

/** Starts a fixture that listens and returns where. */
async function startFixture(stack: AsyncDisposableStack, file: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: fixtureArgs(file),
    stdin: "null",
    stdout: "piped",
  }).spawn();
  stack.defer(async () => {
    const late = setTimeout(() => child.kill("SIGKILL"), EXIT_MS);
    try {
      child.kill("SIGTERM");
    } catch {
      // It ended by itself.
    }
    await child.status;
    clearTimeout(late);
  });
  const late = setTimeout(() => child.kill("SIGKILL"), START_MS);
  let text = "";
  try {
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const url = /listens on (\S+)\n/.exec(text)?.[1];
      if (url !== undefined) return url;
    }
  } finally {
    clearTimeout(late);
  }
  throw new Error(`The fixture server ended before it listened, and printed: ${text}`);
}

function fixtureArgs(file: string): string[] {
  return ["run", "-A", "--frozen", join(PROJECT, "tests/fixtures", file)];
}

/**
 * Runs a suite and reads what it wrote of each check.
 *
 * @param signal Ends it before its time.
 * @throws {Error} Where it took too long or ran other than all of its scenarios.
 */
export async function runSuite(
  { name, version, args, scenarios }: Suite,
  url: string,
  signal?: AbortSignal,
): Promise<Results> {
  signal?.throwIfAborted();
  const folder = await Deno.makeTempDir({ prefix: "sojourn-conformance-" });
  try {
    const suite = `npm:@modelcontextprotocol/conformance@${version}`;
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-config",
        `--lock=${LOCK}`,
        "--frozen",
        suite,
        "server",
        "--url",
        url,
        ...args,
        "-o",
        "results",
      ],
      cwd: folder,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const end = () => child.kill("SIGKILL");
    const late = setTimeout(end, SUITE_MS);
    signal?.addEventListener("abort", end);
    const { stdout, stderr } = await child.output();
    clearTimeout(late);
    signal?.removeEventListener("abort", end);
    const results = await readResults(join(folder, "results"));
    if (results.size === scenarios) return results;
    const printed = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
    throw new Error(
      `Suite ${name} ran ${results.size} of ${scenarios} scenarios against ${url}:\n${printed}`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Reads `server-SCENARIO-TIMESTAMP/checks.json`, for each scenario. */
async function readResults(folder: string): Promise<Results> {
  const results = new Map<string, Map<string, Status>>();
  const folders = await Array.fromAsync(Deno.readDir(folder)).catch(() => []);
  for (const { name } of folders.toSorted((a, b) => a.name < b.name ? -1 : 1)) {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(name)?.[1];
    if (scenario === undefined) continue;
    const checks: { id: string; status: typeof STATUSES[number] }[] = JSON.parse(
      await Deno.readTextFile(join(folder, name, "checks.json")),
    );
    const statuses = new Map<string, Status>();
    for (const { id, status } of checks) {
      const before = statuses.get(id) ?? "-";
      if (before === "-" || STATUSES.indexOf(status) > STATUSES.indexOf(before)) statuses.set(id, status);
    }
    results.set(scenario, statuses);
  }
  return results;
}

/** Sets the two runs of a suite beside each other. */
export function compare(
  suite: Suite,
  { direct, gateway, door = "stdio", known = KNOWN }: {
    direct: Results;
    gateway: Results;
    door?: Door;
    known?: readonly Known[];
  },
): Comparison {
  const problems: string[] = [];
  const expected = known.filter((entry) => entry.suite === suite.name && entry.door === door);
  const met = new Set<Known>();
  const rows: Row[] = [];
  for (const scenario of new Set([...direct.keys(), ...gateway.keys()])) {
    const left = direct.get(scenario) ?? new Map<string, Status>();
    const right = gateway.get(scenario) ?? new Map<string, Status>();
    rows.push({ scenario, direct: passedOf(left), gateway: passedOf(right) });
    for (const check of new Set([...left.keys(), ...right.keys()])) {
      const [before, behind] = [left.get(check) ?? "-", right.get(check) ?? "-"];
      const entry = expected.find((entry) => entry.scenario === scenario && entry.check === check);
      if (entry) met.add(entry);
      const isKnown = entry?.direct === before && entry.gateway === behind;
      if (isKnown || (entry === undefined && isFine(before, behind))) continue;
      const outcome =
        `${door}, ${suite.name} ${scenario}: ${check} is ${before} directly, ${behind} through the gateway`;
      problems.push(entry ? `${outcome}, not ${entry.direct} and ${entry.gateway} as KNOWN says` : outcome);
    }
  }
  for (const { scenario, check } of expected.filter((entry) => !met.has(entry))) {
    problems.push(`${door}, ${suite.name} ${scenario}: ${check}, which KNOWN names, did not run`);
  }
  return { rows, problems };
}

/** Nothing is lost, and nothing is wrong. Notes (`INFO`) come and go with how many messages there were. */
function isFine(direct: Status, gateway: Status): boolean {
  const isBad = [direct, gateway].some((status) => status === "WARNING" || status === "FAILURE");
  return !isBad && (direct !== "SUCCESS" || gateway === "SUCCESS");
}

function passedOf(statuses: ReadonlyMap<string, Status>): number {
  return statuses.values().filter((status) => status === "SUCCESS").toArray().length;
}

/** The lines of a table: scenario, checks passed directly, checks passed through the gateway. */
function table(title: string, rows: readonly Row[]): string[] {
  const total = rows.reduce(
    (sum, row) => ({ ...sum, direct: sum.direct + row.direct, gateway: sum.gateway + row.gateway }),
    { scenario: "total", direct: 0, gateway: 0 },
  );
  const line = (cells: readonly [string, string, string]) =>
    cells[0].padEnd(36) + cells[1].padStart(8) + cells[2].padStart(9);
  return [
    line([title, "direct", "gateway"]),
    ...[...rows, total].map((row) => line([row.scenario, String(row.direct), String(row.gateway)])),
  ];
}

/** {@link KNOWN} as the rows of the table in `docs/conformance.md`. */
export function knownRows(): string[] {
  return KNOWN.map(({ door, suite, scenario, check, direct, gateway, reason }) =>
    `| ${door} | ${suite} | ${scenario} | \`${check}\` | ${direct} | ${gateway} | ${reason} |`
  );
}

async function main(): Promise<number> {
  const print = (lines: readonly string[]) =>
    void Deno.stdout.writeSync(new TextEncoder().encode(lines.join("\n") + "\n"));
  const problems: string[] = [];
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort(new Error(`Stopped by ${signal}`)));
  }
  await using targets = await Targets.start();
  for (const suite of SUITES) {
    const direct = await runSuite(suite, targets.direct, stop.signal);
    for (const door of suite.doors ?? DOORS) {
      const gateway = await runSuite(suite, targets.through(door), stop.signal);
      const comparison = compare(suite, { direct, gateway, door });
      print([...table(`${door}, ${suite.version} ${suite.args.join(" ")}`, comparison.rows), ""]);
      problems.push(...comparison.problems);
    }
  }
  print(KNOWN.map(({ door, suite, check, reason }) => `known, ${door}, ${suite}: ${check}: ${reason}`));
  print(problems.length === 0 ? ["The gateway loses nothing else."] : problems);
  return problems.length === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
