/**
 * Storms every door of the gateway, each with a gateway of its own, and looks at what is left.
 *
 * Before the memory is looked at for the first time a tenth of the requests has passed, so that what is remembered on
 * purpose, and the engine's code, are there. Doors are stormed one after the other; that they come to rest is waited
 * for together.
 *
 * @module
 */
import * as fc from "fast-check";
import type { Mutated } from "../../tests/routes/mutants.ts";
import { SoakGateway, type State } from "../soak/gateway.ts";
import { ADMIN, Cast, TOKENS_FILE } from "./cast.ts";
import { type Attack, type Door, DOORS, type Servers } from "./doors.ts";
import { type Outcome, send } from "./wire.ts";

/** Requests at once. */
const AT_ONCE = 16;
/** After so many requests the sessions that mutants ended are opened again, and the bystander is asked. */
const ROUND = 100;
/** Before the first look at the memory so large a part, and at least so many. */
const WARM_UP_SHARE = 0.1;
const MIN_WARM_UP = 200;
/** How long what is left may take to go, in ms; several times the longest TTL. */
const QUIET_MS = 40_000;
const LOOK_MS = 250;
const LOOKS = 6;
const MAX_COMPLAINTS = 10;
/** What memory may grow by besides a tenth, in KiB: of collections and the allocator, as for the soak. */
const RSS_SLACK_KIB = 24 * 1024;
const HEAP_SLACK_KIB = 3 * 1024;

/** How a gateway is set that is stormed. */
export const SETTINGS = {
  ACCESS_TOKENS_FILE: "tokens.json",
  ADMIN_TOKEN: ADMIN,
  STREAM_SESSION_TTL_MS: "3000",
  BRIDGE_SESSION_TTL_MS: "3000",
  IMPLICIT_TTL_MS: "3000",
  REQUEST_TIMEOUT_MS: "3000",
  BODY_TIMEOUT_MS: "500",
  MAX_SESSIONS: "4000",
  MAX_PROCESSES: "4000",
  // They are stormed as they are, not as fast as one may.
  OPENS_PER_MINUTE: "0",
  AUTH_FAILURES_PER_MINUTE: "0",
};

/** What a storm came to. */
export interface Verdict {
  readonly door: string;
  readonly requests: number;
  /** Answers by status; 0 where the connection was ended without one, as the runtime does with some. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Statuses of 500, and lines of the log that tell of a fault. */
  readonly faults: number;
  /** Whether the gateway ended by itself, or hung up on nobody and said nothing. */
  readonly crashed: boolean;
  readonly hung: number;
  /** Answers that told what is somebody else's. */
  readonly foreign: number;
  readonly before: State;
  readonly after: State;
  /** Sessions left at servers elsewhere, and files that a command made. */
  readonly elsewhere: number;
  readonly complaints: readonly string[];
  readonly ok: boolean;
}

/** What to storm with. */
export interface StormOptions {
  /** For each door. */
  readonly requests: number;
  readonly seed: number;
  /** Only doors whose name has this in it. */
  readonly only?: string;
  readonly onNews?: (text: string) => void;
}

/** Storms. Needs Linux. Whatever it started is ended, also where it fails. */
export async function storm(
  { requests, seed, only = "", onNews = () => {} }: StormOptions,
): Promise<Verdict[]> {
  const sieges: Siege[] = [];
  try {
    for (const door of DOORS.filter(({ name }) => name.includes(only))) {
      sieges.push(await Siege.begin(door, { requests, seed }));
    }
    const warmUp = Math.min(requests, Math.max(MIN_WARM_UP, Math.ceil(requests * WARM_UP_SHARE)));
    for (const siege of sieges) await siege.storm(warmUp);
    await Promise.all(sieges.map((siege) => siege.rest()));
    for (const siege of sieges) {
      await siege.storm(requests);
      onNews(`${siege.door.name}: ${requests} requests sent`);
    }
    await Promise.all(sieges.map((siege) => siege.rest()));
    const verdicts: Verdict[] = [];
    for (const siege of sieges) verdicts.push(await siege.verdict());
    return verdicts;
  } finally {
    for (const siege of sieges) await siege[Symbol.asyncDispose]();
  }
}

class Siege implements AsyncDisposable {
  readonly door: Door;
  readonly #servers: Servers;
  readonly #gateway: SoakGateway;
  readonly #folder: string;
  readonly #attacks: Attack[];
  readonly #statuses = new Map<number, number>();
  readonly #complaints: string[] = [];
  /** At rest: at the start, after the warm-up, at the end. */
  readonly #looks: State[] = [];
  #sent = 0;
  #hung = 0;
  #foreign = 0;
  /** Whether the administrator may have ended the bystander's session. */
  #adminEnded = false;

  static async begin(door: Door, { requests, seed }: { requests: number; seed: number }): Promise<Siege> {
    const servers = await door.servers();
    try {
      const gateway = await SoakGateway.start({
        settings: { ...SETTINGS, ...door.settings },
        servers: servers.file,
        files: { "tokens.json": TOKENS_FILE },
        adminToken: ADMIN,
      });
      const folder = Deno.makeTempDirSync({ prefix: "sojourn-hostile-" });
      const siege = new Siege(door, { servers, gateway, folder, requests, seed });
      siege.#looks.push(await restOf(gateway));
      return siege;
    } catch (error) {
      await servers[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(
    door: Door,
    { servers, gateway, folder, requests, seed }: {
      servers: Servers;
      gateway: SoakGateway;
      folder: string;
      requests: number;
      seed: number;
    },
  ) {
    this.door = door;
    this.#servers = servers;
    this.#gateway = gateway;
    this.#folder = folder;
    this.#attacks = fc.sample(door.attacks(folder), { numRuns: requests, seed });
  }

  /** Sends its requests up to this one; those that were sent are not sent again. */
  async storm(upTo: number): Promise<void> {
    await using cast = new Cast(this.#gateway.port, this.door.way);
    while (this.#sent < upTo) {
      await cast.assemble();
      await this.#ask(cast);
      const round = this.#attacks.slice(this.#sent, Math.min(upTo, this.#sent + ROUND));
      this.#sent += round.length;
      const next = round.values();
      const client = async () => {
        for (const attack of next) await this.#attack(attack(cast), cast);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, client));
    }
    await cast.assemble();
    await this.#ask(cast);
  }

  /** Waits until nothing is left, or what is left does not go. */
  async rest(): Promise<void> {
    const [start] = this.#looks;
    const giveUpAt = performance.now() + QUIET_MS;
    for (;;) {
      const state = await this.#gateway.look({ gc: true });
      const { sessions, processes, zombies, timers, handles } = state;
      const isQuiet = sessions + processes + zombies + this.#servers.sessions() === 0 &&
        timers <= start!.timers && handles <= start!.handles;
      if (isQuiet || performance.now() > giveUpAt) {
        this.#looks.push(state);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async verdict(): Promise<Verdict> {
    const [start, before, after] = this.#looks as [State, State, State];
    const crashed = this.#gateway.ended;
    if (after.handles > start.handles) this.#complain(this.#gateway.handleNames.join(", "));
    const exitCode = await this.#gateway.stop();
    const internal = this.#statuses.get(500) ?? 0;
    const faults = Math.max(internal, this.#gateway.faults.length);
    this.#gateway.faults.forEach((line) => this.#complain(line));
    const touched = Array.from(Deno.readDirSync(this.#folder), ({ name }) => name);
    const elsewhere = this.#servers.sessions() + touched.length;
    const isBack = after.sessions + after.processes + after.zombies === 0 && after.timers <= start.timers &&
      after.handles <= start.handles;
    const isSmall = after.rssKiB <= before.rssKiB * 1.1 + RSS_SLACK_KIB &&
      after.heapKiB <= before.heapKiB * 1.1 + HEAP_SLACK_KIB;
    return {
      door: this.door.name,
      requests: this.#sent,
      statuses: Object.fromEntries([...this.#statuses].sort(([a], [b]) => a - b)),
      ...{ faults, crashed: crashed || exitCode !== 0, hung: this.#hung, foreign: this.#foreign },
      before: { ...before, timers: start.timers, handles: start.handles },
      after,
      elsewhere,
      complaints: this.#complaints,
      ok: isBack && isSmall && !crashed && exitCode === 0 &&
        faults + this.#hung + this.#foreign + elsewhere + this.#complaints.length === 0,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway[Symbol.asyncDispose]();
    await this.#servers[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }

  async #ask(cast: Cast): Promise<void> {
    if (this.#adminEnded) cast.forgetBystander();
    this.#adminEnded = false;
    try {
      await cast.check();
    } catch (error) {
      this.#complain(String(error));
      cast.forgetBystander();
    }
  }

  async #attack(mutated: Mutated, cast: Cast): Promise<void> {
    const sent = textOf(mutated);
    // Ids change while it is on its way: what it could have known is what was there before.
    const { secrets, foreign } = cast;
    const outcome = await send(this.#gateway.port, mutated);
    this.#statuses.set(outcome.status, (this.#statuses.get(outcome.status) ?? 0) + 1);
    if (outcome.hung) {
      this.#hung++;
      this.#complain(`no answer to ${sent.slice(0, 500)}`);
    }
    if (outcome.status === 500) this.#complain(`${outcome.text.slice(0, 500)} to ${sent.slice(0, 500)}`);
    const isAdmins = sent.includes(ADMIN);
    if (isAdmins && mutated.method.toUpperCase() === "DELETE" && outcome.status < 300) {
      this.#adminEnded = true;
    }
    this.#lookFor(isAdmins ? [] : foreign, { sent: "", outcome });
    this.#lookFor(secrets, { sent, outcome });
  }

  #lookFor(secrets: readonly string[], { sent, outcome }: { sent: string; outcome: Outcome }): void {
    for (const secret of secrets) {
      if (!outcome.text.includes(secret) || sent.includes(secret)) continue;
      this.#foreign++;
      this.#complain(`an answer tells ${secret}: ${outcome.text.slice(0, 500)}`);
    }
  }

  #complain(text: string): void {
    if (this.#complaints.length < MAX_COMPLAINTS) this.#complaints.push(text);
  }
}

/** Before anybody came, with all that the sweeper and what else is regular may have set at a time. */
async function restOf(gateway: SoakGateway): Promise<State> {
  const looks: State[] = [];
  for (let n = 0; n < LOOKS; n++) {
    looks.push(await gateway.look({ gc: n === 0 }));
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS / 2));
  }
  const most = (name: "timers" | "handles") => Math.max(...looks.map((look) => look[name]));
  return { ...looks[0]!, timers: most("timers"), handles: most("handles") };
}

function textOf({ url, method, headers, body }: Mutated): string {
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`);
  return [`${method} ${url}`, ...lines, "", new TextDecoder().decode(body)].join("\n");
}
