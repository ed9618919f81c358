/**
 * One run of a gateway: its clock, its supervisor, its servers. It ends by a shutdown, or is killed.
 *
 * @module
 */
import { NO_PRESSURE, TtlScale } from "../../actors/pressure.ts";
import { type SupervisedServer, Supervisor } from "../../actors/supervisor.ts";
import { Sweeper } from "../../actors/sweeper.ts";
import type { BackendEvents, BackendOwner } from "../../backends/backend.ts";
import type { SessionStore } from "../../stores/store.ts";
import { FakeBackend, INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { FakeClock } from "../fakes/fake_clock.ts";
import { type Manner, SERVERS, type Setting } from "./slumber_commands.ts";

export const MIN_TTL_MS = 3_000;

/** What a server answers that is not the one it was. */
const ANOTHER = { ...INITIALIZE_RESULT, serverInfo: { name: "another", version: "1" } };

/** A clock that begins anew at a wall time of its own. */
class RunClock extends FakeClock {
  readonly #ahead: number;

  constructor(wall: number | undefined) {
    super();
    this.#ahead = wall === undefined ? 0 : wall - super.wallTime();
  }

  override wallTime(): number {
    return super.wallTime() + this.#ahead;
  }
}

/** A server that takes `initialize` in the manner of its world. */
export class Server extends FakeBackend {
  /** What it said that it is; undefined until it has answered `initialize`. */
  greeted: "one" | "another" | undefined;
  /** How much of what it received was looked at. */
  seen = 0;
  /** Set once it was checked in which order it was told what. */
  checked: "all" | undefined;
  /** Whether its gateway was killed, and it went with it. */
  dead = false;

  constructor(
    owner: BackendOwner,
    events: BackendEvents,
    readonly server: number,
    readonly run: Run,
    private readonly manner: Manner,
  ) {
    super(owner, events, { autoInitialize: false });
    if (manner === "dies") queueMicrotask(() => this.dead || this.exit());
  }

  override send(text: string): boolean {
    if (this.dead || !super.send(text)) return false;
    const message = this.received.at(-1)!;
    if (message.kind !== "request") return true;
    if (message.method === "initialize" && this.manner !== "waits") queueMicrotask(() => this.greet());
    // What the gateway asks in the client's place is answered at once.
    if (String(message.id).startsWith("sojourn:replay:")) queueMicrotask(() => this.answer(message.id));
    return true;
  }

  /** Answers `initialize`. */
  greet(): void {
    const opener = this.received[0];
    if (this.dead || this.gone || this.greeted !== undefined || opener?.kind !== "request") return;
    const { id } = opener;
    if (this.manner === "refuses") return this.says({ id, error: { code: -32602, message: "refused" } });
    this.greeted = this.manner === "differs" ? "another" : "one";
    this.answer(id, this.manner === "differs" ? ANOTHER : INITIALIZE_RESULT);
  }
}

/** See the module's documentation. */
export class Run {
  readonly clock: RunClock;
  readonly supervisor: Supervisor;
  readonly sweeper: Sweeper;
  /** Every backend, oldest first. */
  readonly servers: Server[] = [];
  /** What went wrong where it could not be thrown. */
  readonly faults: string[] = [];
  /** Whether all sessions of the run before are taken up. */
  restored = false;
  #configured: SupervisedServer[];
  readonly #manners: readonly Manner[];
  /** Resolves with the shutdown, once one was asked for. */
  drained: Promise<void> | undefined;

  /** @param options.wall The wall time at which it starts. */
  constructor(
    readonly no: number,
    readonly store: SessionStore,
    { setting, wall, manners, memory }: {
      readonly setting: Setting;
      readonly wall: number | undefined;
      readonly manners: readonly Manner[];
      readonly memory: () => number;
    },
  ) {
    const clock = this.clock = new RunClock(wall);
    this.#configured = Array.from(SERVERS.keys(), (server) => this.#serverOf(server, manners));
    this.#manners = manners;
    const scale = new TtlScale({ minTtlMs: MIN_TTL_MS });
    const { maxProcesses, maxSessions, waitMs } = setting;
    const supervisor = this.supervisor = new Supervisor({
      clock,
      scale,
      store,
      random: () => 0,
      limits: { maxSessions, maxSessionsPerPrincipal: Infinity, maxProcesses },
      admissionWaitMs: waitMs,
      onWant: () => this.sweeper.wake(),
      servers: this.#configured,
    });
    this.sweeper = new Sweeper({
      clock,
      scale,
      shortestTtlMs: SERVERS[1]!.idleTtlMs,
      sessions: () => supervisor.sessions,
      pressure: { read: () => Promise.resolve({ ...NO_PRESSURE, memory: memory() }) },
    });
    const { done } = supervisor.restore();
    void done.then(() => this.restored = true);
    this.sweeper.start();
  }

  #serverOf(server: number, manners: readonly Manner[]): SupervisedServer {
    return {
      id: serverId(server),
      limits: SERVERS[server]!,
      fingerprint: "",
      backend: (owner, events) => {
        const { session } = owner;
        const other = this.servers.find(({ owner, closed }) => owner.session === session && !closed);
        // Whoever opens it would take an error for a fault of the gateway's.
        if (other !== undefined) this.faults.push(`session ${session} has two backends at a time`);
        const backend = new Server(owner, events, server, this, manners[server]!);
        this.servers.push(backend);
        return backend;
      },
    };
  }

  /** A server is taken out of the file, or comes back in another version. Sessions keep the one that they know. */
  replace(server: number, { isGone }: { isGone: boolean }): void {
    // Those that are not taken up yet end with the server that they know.
    if (!this.restored) return;
    const others = this.#configured.filter(({ id }) => id !== serverId(server));
    this.#configured = isGone ? others : [...others, this.#serverOf(server, this.#manners)];
    void this.supervisor.replaceServers(this.#configured);
  }

  /** The newest backend of a session. */
  serverOf(handle: string | undefined): Server | undefined {
    return this.servers.findLast(({ owner }) => owner.session === handle);
  }

  /** Begins to shut down. */
  stop({ drainMs, hurry }: { drainMs: number; hurry: boolean }): void {
    this.sweeper.stop();
    this.drained ??= this.supervisor.shutDown(drainMs);
    if (hurry) this.supervisor.hurry();
  }
}

export function serverId(server: number): string {
  return `server${server}`;
}
