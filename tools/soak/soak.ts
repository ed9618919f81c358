/**
 * A soak from its start to its verdict.
 *
 * @module
 */
import { SoakGateway, type State } from "./gateway.ts";
import { live, type Outcome } from "./life.ts";
import { type Life, lives, MID_REQUEST } from "./plan.ts";
import { type Finding, judge } from "./verdict.ts";

/** How to soak. */
export interface SoakOptions {
  /** Lives in all. */
  readonly lives: number;
  /** Lives that begin together; the next ones begin when nine in ten of them have left. */
  readonly batch: number;
  readonly seed: number;
  /** When to give up, in ms. */
  readonly withinMs: number;
  /** Gives up, too. */
  readonly signal?: AbortSignal;
  /** Called every few seconds. */
  readonly onSample?: (sample: Sample) => void;
}

/** How things are at one moment. */
export interface Sample extends State {
  readonly atS: number;
  readonly lives: number;
  readonly refused: number;
}

/** What came of a soak. */
export interface SoakResult {
  readonly findings: readonly Finding[];
  readonly ok: boolean;
  readonly lives: number;
  /** Lives that ended without a DELETE, in the middle of a request, and by RST. */
  readonly abandoned: number;
  readonly midRequest: number;
  readonly byReset: number;
  /** How often each answer came; and clients that were refused, which are no lives. */
  readonly answers: Readonly<Record<string, number>>;
  readonly ends: Readonly<Record<string, number>>;
  /** What the gateway said of faults, what clients saw that they never should, and what is left that should not be. */
  readonly complaints: readonly string[];
  readonly tookS: number;
}

/** Lives after which the memory is looked at for the first time: a tenth of the usual soak, more of a short one. */
const BASELINE_LIVES = 3_000;
const BASELINE_SHARE = 0.3;
/** How much of a batch may still be under way when the next one begins. */
const UNDER_WAY_SHARE = 0.1;
/** Connections that clients keep beyond their life's work, at most. */
const MAX_LINGERING = 150;
const SAMPLE_MS = 3_000;
/** How long everything may take to be gone once the last client is, and how often to look, in ms. */
const QUIET_MS = 60_000;
const LOOK_MS = 70;
/** Looks at a gateway at rest. */
const LOOKS = 5;
/** Complaints of one kind that are kept. */
const MAX_COMPLAINTS = 10;

/** Soaks. Fails where the gateway dies or it gives up; whatever it started is ended then, too. */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  await using gateway = await SoakGateway.start();
  const run = new Run(gateway, options);
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`The soak is not through after ${options.withinMs} ms`)),
    options.withinMs,
  );
  const { signal } = options;
  signal?.addEventListener("abort", () => reject(signal.reason));
  const result = run.run();
  // Where it gives up nobody waits for what becomes of it.
  result.catch(() => {});
  // That the gateway died is learned from the run itself.
  const sampling = run.sample().catch(() => {});
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
    run.stop();
    await sampling;
  }
}

class Run {
  readonly #gateway: SoakGateway;
  readonly #options: SoakOptions;
  readonly #plan: Generator<Life, never>;
  readonly #startedAt = performance.now();
  readonly #underWay = new Set<Promise<void>>();
  /** Connections that clients keep beyond their life's work. */
  readonly #lingering = new Set<Promise<void>>();
  readonly #answers = new Map<string, number>();
  readonly #ends = new Map<string, number>();
  readonly #complaints: string[] = [];
  #stopped = false;
  /** Ends the pause between two samples. */
  #wake: () => void = () => {};
  #lives = 0;
  #abandoned = 0;
  #midRequest = 0;
  #byReset = 0;
  #broken = 0;

  constructor(gateway: SoakGateway, options: SoakOptions) {
    this.#gateway = gateway;
    this.#options = options;
    this.#plan = lives(options.seed);
  }

  async run(): Promise<SoakResult> {
    const { lives } = this.#options;
    // What is opened once and kept, such as what the runtime needs for children, is there after the first ones.
    await this.#spend(Math.min(this.#options.batch, 20));
    const start = await this.#quiet();
    const handles = this.#gateway.handleNames;
    const baselineLives = Math.min(BASELINE_LIVES, Math.ceil(lives * BASELINE_SHARE));
    await this.#spend(baselineLives);
    const baseline = await this.#quiet(start);
    await this.#spend(lives);
    const end = await this.#quiet(start);
    this.stop();
    if (end.processes > 0) this.#complaints.push(...this.#gateway.processNames);
    if (end.handles !== start.handles) this.#complaints.push(...changes(handles, this.#gateway.handleNames));
    this.#complaints.push(...this.#gateway.faults);
    const exitCode = await this.#gateway.stop();
    const isWarm = baselineLives === BASELINE_LIVES;
    const openedShare = (this.#ends.get("opened") ?? 0) / this.#lives;
    const findings = judge({
      ...{ start, baseline, end, isWarm, exitCode, openedShare },
      ...{ faults: this.#gateway.faults.length, broken: this.#broken },
    });
    return {
      findings,
      ok: findings.every(({ ok }) => ok),
      lives: this.#lives,
      abandoned: this.#abandoned,
      midRequest: this.#midRequest,
      byReset: this.#byReset,
      answers: sorted(this.#answers),
      ends: sorted(this.#ends),
      complaints: this.#complaints,
      tookS: this.#seconds(),
    };
  }

  /** Tells how things are, again and again until it is stopped. */
  async sample(): Promise<void> {
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, SAMPLE_MS);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
      if (this.#stopped) return;
      const state = await this.#gateway.look();
      const refused = this.#ends.get("refused") ?? 0;
      this.#options.onSample?.({ ...state, atS: this.#seconds(), lives: this.#lives, refused });
    }
  }

  /** Begins nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#wake();
  }

  /** Lives until there were so many in all. */
  async #spend(until: number): Promise<void> {
    while (this.#lives < until && !this.#stopped) {
      const left = until - this.#lives - this.#underWay.size;
      const count = Math.min(this.#options.batch, left);
      for (let n = 0; n < count; n++) track(this.#underWay, this.#live());
      // Those that are refused are not lives, so the last ones are waited for.
      const few = count < left ? Math.floor(this.#options.batch * UNDER_WAY_SHARE) : 0;
      while (this.#underWay.size > few) await Promise.race(this.#underWay);
      while (this.#lingering.size > MAX_LINGERING) await Promise.race(this.#lingering);
    }
  }

  async #live(): Promise<void> {
    const life = this.#plan.next().value;
    const outcome = await live(life, this.#gateway.port);
    this.#count(life, outcome);
    if (outcome.lingering !== undefined) track(this.#lingering, outcome.lingering);
  }

  #count({ leaving }: Life, { end, answers }: Outcome): void {
    increment(this.#ends, end);
    if (end === "broken") {
      this.#broken++;
      if (this.#complaints.length < MAX_COMPLAINTS) this.#complaints.push(answers.at(-1)!);
    } else {
      for (const answer of answers) increment(this.#answers, answer);
    }
    if (end === "refused") return;
    this.#lives++;
    const deleted = leaving === "delete" && end === "opened";
    if (!deleted) this.#abandoned++;
    if (end === "gaveUp" || (end === "opened" && MID_REQUEST.includes(leaving))) this.#midRequest++;
    if (end === "opened" && (leaving === "reset" || leaving === "resetIdle")) this.#byReset++;
  }

  /** Waits until nothing is left, or what is left does not go, and looks then, without the garbage. */
  async #quiet(wanted?: Pick<State, "timers" | "handles">): Promise<State> {
    const giveUpAt = performance.now() + QUIET_MS;
    await Promise.all([...this.#underWay, ...this.#lingering]);
    for (;;) {
      const state = { ...await this.#gateway.look({ gc: true }), ...await this.#atRest() };
      const { sessions, processes, zombies, timers, handles } = state;
      const isQuiet = sessions + processes + zombies === 0 &&
        (wanted === undefined || (timers === wanted.timers && handles === wanted.handles));
      if (isQuiet || this.#stopped || performance.now() > giveUpAt) return state;
    }
  }

  /** What most of several looks find: at times the sweeper is at work, with a timer or a handle more or less. */
  async #atRest(): Promise<Pick<State, "timers" | "handles">> {
    const looks: State[] = [];
    for (let n = 0; n < LOOKS; n++) {
      looks.push(await this.#gateway.look());
      await pass(LOOK_MS);
    }
    return {
      timers: mostFrequent(looks.map(({ timers }) => timers)),
      handles: mostFrequent(looks.map(({ handles }) => handles)),
    };
  }

  #seconds(): number {
    return Math.round((performance.now() - this.#startedAt) / 1000);
  }
}

/** What is there and was not, and what was there and is not. */
function changes(before: readonly string[], after: readonly string[]): string[] {
  return [
    ...after.filter((name) => !before.includes(name)).map((name) => `more: ${name}`),
    ...before.filter((name) => !after.includes(name)).map((name) => `gone: ${name}`),
  ];
}

function mostFrequent(values: readonly number[]): number {
  const count = (value: number) => values.filter((other) => other === value).length;
  return values.reduce((best, value) => count(value) > count(best) ? value : best);
}

function track(all: Set<Promise<void>>, one: Promise<void>): void {
  all.add(one);
  void one.finally(() => all.delete(one));
}

function increment(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function sorted(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries(Array.from(counts).sort(([a], [b]) => a < b ? -1 : 1));
}

function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
