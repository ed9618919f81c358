/**
 * How many sessions there may be, and who is next where there are too many.
 *
 * An opening that meets a limit waits, bounded in number and time. Room goes to the principals in turn, whoever has
 * waited for how long: one that asks for five hundred sessions delays one that asks for a single one by its turn, not by
 * five hundred. Of one principal's openings the oldest that can be served goes first, so a server at its limit holds up
 * no opening at another.
 *
 * This only counts and orders. Making room, opening and refusing are the supervisor's.
 *
 * @module
 */

/** Openings that may wait. */
const MAX_WAITING = 1_000;

/** How many there may be of what; Infinity where nothing is limited. */
export interface AdmissionLimits {
  readonly maxSessions: number;
  readonly maxSessionsPerPrincipal: number;
  readonly maxProcesses: number;
  /** How many sessions each principal may open in a minute; any number unless given. */
  readonly opensPerMinute?: number;
  /** What holds for one principal in place of that. Asked each time. */
  readonly of?: (principal: string) => PrincipalLimits;
}

/** What one principal has of its own; undefined is what all have. */
export interface PrincipalLimits {
  readonly maxSessions?: number | undefined;
  readonly opensPerMinute?: number | undefined;
}

/** Whose session it is to be, or is. */
export interface Claim {
  readonly principal: string;
  readonly serverId: string;
  /** How many sessions that server may have; Infinity for any number. */
  readonly maxServerSessions: number;
  /** Whether its backend counts as a process of its own. */
  readonly ownsProcess: boolean;
  /** Whether opening it now would start a process. Asked each time. */
  readonly startsProcess: boolean;
  /** Whether it is there already, and only wants a backend again. */
  readonly isRevival?: boolean;
}

/** A limit that stands in the way, and where. */
export interface Obstacle {
  /** As it is configured. */
  readonly limit: "MAX_SESSIONS" | "MAX_SESSIONS_PER_PRINCIPAL" | "maxSessions" | "MAX_PROCESSES";
  readonly max: number;
  /** The server or principal that it is the limit of; empty where it is everybody's. */
  readonly scope: string;
  /** Whether a session counts against it. */
  readonly concerns: (session: { readonly principal: string; readonly serverId: string }) => boolean;
}

/** One that waits. */
export interface Waiting<Opening> {
  readonly opening: Opening;
  readonly claim: Claim;
  /** In ms of the clock. */
  readonly until: number;
}

/** See the module's documentation. */
export class Admission<Opening> {
  readonly #limits: AdmissionLimits;
  /** Processes that belong to no session. */
  readonly #spareProcesses: () => number;
  #sessions = 0;
  #processes = 0;
  readonly #byPrincipal = new Tally();
  readonly #byServer = new Tally();
  /** Those that wait, by principal; the principal whose turn it is comes first. */
  readonly #queues = new Map<string, Waiting<Opening>[]>();
  #waiting = 0;

  constructor(limits: AdmissionLimits, spareProcesses: () => number = () => 0) {
    this.#limits = limits;
    this.#spareProcesses = spareProcesses;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** What counts against the limits now. */
  get counts(): { readonly sessions: number; readonly processes: number } {
    return { sessions: this.#sessions, processes: this.#processes + this.#spareProcesses() };
  }

  /** The limit that an opening meets; undefined where none is met. */
  obstacle(claim: Claim): Obstacle | undefined {
    const { principal, serverId, maxServerSessions } = claim;
    if (claim.isRevival) return this.#processObstacle(claim);
    const { maxSessions, of } = this.#limits;
    const maxSessionsPerPrincipal = of?.(principal).maxSessions ?? this.#limits.maxSessionsPerPrincipal;
    if (this.#byServer.get(serverId) >= maxServerSessions) {
      return {
        limit: "maxSessions",
        max: maxServerSessions,
        scope: serverId,
        concerns: (session) => session.serverId === serverId,
      };
    }
    if (this.#byPrincipal.get(principal) >= maxSessionsPerPrincipal) {
      return {
        limit: "MAX_SESSIONS_PER_PRINCIPAL",
        max: maxSessionsPerPrincipal,
        scope: principal,
        concerns: (session) => session.principal === principal,
      };
    }
    if (this.#sessions >= maxSessions) {
      return {
        limit: "MAX_SESSIONS",
        max: maxSessions,
        scope: "",
        concerns: () => true,
      };
    }
    return this.#processObstacle(claim);
  }

  #processObstacle({ startsProcess }: Claim): Obstacle | undefined {
    const { maxProcesses } = this.#limits;
    return startsProcess && this.counts.processes >= maxProcesses
      ? { limit: "MAX_PROCESSES", max: maxProcesses, scope: "", concerns: () => true }
      : undefined;
  }

  /** A session was opened, or got a backend again. */
  opened({ principal, serverId, ownsProcess, isRevival }: Claim): void {
    if (!isRevival) this.restored({ principal, serverId, count: 1 });
    if (ownsProcess) this.#processes++;
  }

  /** There are so many more sessions, without backends. */
  restored({ principal, serverId, count }: Pick<Claim, "principal" | "serverId"> & { count: number }): void {
    this.#sessions += count;
    this.#byPrincipal.add(principal, count);
    this.#byServer.add(serverId, count);
  }

  /** A session is over; its process may still be on its way out. */
  over({ principal, serverId }: Pick<Claim, "principal" | "serverId">): void {
    this.#sessions--;
    this.#byPrincipal.add(principal, -1);
    this.#byServer.add(serverId, -1);
  }

  /** All that a session held, or a backend that it gave back, is gone. */
  closed({ ownsProcess }: Pick<Claim, "ownsProcess">): void {
    if (ownsProcess) this.#processes--;
  }

  /** Lets an opening wait until an instant. False where too many wait already. */
  wait(opening: Opening, claim: Claim, until: number): boolean {
    if (this.#waiting >= MAX_WAITING) return false;
    this.#waiting++;
    const queue = this.#queues.get(claim.principal);
    const waiting = { opening, claim, until };
    if (queue === undefined) this.#queues.set(claim.principal, [waiting]);
    else queue.push(waiting);
    return true;
  }

  /** Takes the opening whose turn it is out of the queue; undefined where none can be served. */
  next(): Waiting<Opening> | undefined {
    for (const [principal, queue] of this.#queues) {
      const at = queue.findIndex(({ claim }) => this.obstacle(claim) === undefined);
      if (at < 0) continue;
      const [waiting] = queue.splice(at, 1);
      this.#waiting--;
      // The others come first now.
      this.#queues.delete(principal);
      if (queue.length > 0) this.#queues.set(principal, queue);
      return waiting;
    }
    return undefined;
  }

  /** Takes out those that have waited long enough. */
  expired(now: number): Waiting<Opening>[] {
    return this.#take(({ until }) => until <= now);
  }

  /** Takes out those that are of some kind. */
  takeWhere(isMeant: (opening: Opening) => boolean): Waiting<Opening>[] {
    return this.#take(({ opening }) => isMeant(opening));
  }

  /** Takes everybody out. */
  all(): Waiting<Opening>[] {
    return this.#take(() => true);
  }

  /** Takes one out, whose client is gone. False where it does not wait (any more). */
  leave(opening: Opening): boolean {
    return this.#take((waiting) => waiting.opening === opening).length > 0;
  }

  /** When the first of them has waited long enough, in ms of the clock; Infinity where nobody waits. */
  get nextAt(): number {
    let next = Infinity;
    for (const [{ until }] of this.#queues.values() as Iterable<[Waiting<Opening>]>) {
      next = Math.min(next, until);
    }
    return next;
  }

  #take(isMeant: (waiting: Waiting<Opening>) => boolean): Waiting<Opening>[] {
    const taken: Waiting<Opening>[] = [];
    for (const [principal, queue] of this.#queues) {
      const left = queue.filter((waiting) => !isMeant(waiting));
      if (left.length === queue.length) continue;
      taken.push(...queue.filter(isMeant));
      if (left.length === 0) this.#queues.delete(principal);
      else this.#queues.set(principal, left);
    }
    this.#waiting -= taken.length;
    return taken;
  }
}

/** Counts by name, and forgets names whose count is 0. */
class Tally {
  readonly #counts = new Map<string, number>();

  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  add(name: string, difference: number): void {
    const count = this.get(name) + difference;
    if (count === 0) this.#counts.delete(name);
    else this.#counts.set(name, count);
  }
}
