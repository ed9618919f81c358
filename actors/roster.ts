/**
 * The servers: where the backends of each come from, and what its sessions share.
 *
 * What sessions of a server share is their context. New sessions get the one with the server's limits; a session that
 * was opened with other limits keeps those, in a context of its own that it shares with others like it.
 *
 * It works inside the supervisor's loop.
 *
 * @module
 */
import type { ClosePace, OpenBackend } from "../backends/backend.ts";
import { type BackendSource, perSessionSource } from "../backends/source.ts";
import type { Failure } from "../errors.ts";
import type { BridgeOpening } from "./door.ts";
import { IdleGaps } from "./idle_gaps.ts";
import type { Session } from "./session.ts";
import type { SessionContext, SessionLimits } from "./session_options.ts";

/** A server as the supervisor knows it. */
export interface SupervisedServer {
  readonly id: string;
  readonly limits: SessionLimits;
  /** Where each limit comes from, such as `default` or `file`. For display. */
  readonly origins?: Readonly<Record<string, string>>;
  /** Where its backends come from; a function opens one of its own for each session; or why none can be opened. */
  readonly backend: OpenBackend | BackendSource | Failure;
  /** How many sessions it may have; any number unless given. */
  readonly maxSessions?: number;
  /** Changes with what it starts or reaches: sessions that an earlier run left want the server that they know. */
  readonly fingerprint?: string;
  /** What holds for its sessions of kind `bridge`; the same unless given. */
  readonly bridgeLimits?: SessionLimits;
  /** Where those come from. */
  readonly bridgeOrigins?: Readonly<Record<string, string>>;
  /** Whether it is a command that only requests to the bridge name: to all others it does not exist. */
  readonly bridgeOnly?: true;
}

/** What the sessions of all servers share. */
export type CommonContext = Omit<
  SessionContext,
  "serverId" | "limits" | "limitsText" | "fingerprint" | "openBackend" | "startsProcess" | "gaps"
>;

/** See the module's documentation. */
export class Roster {
  /** Those that are configured, by id. */
  readonly #served: ReadonlyMap<string, Served>;

  constructor(servers: Iterable<SupervisedServer>, common: CommonContext) {
    this.#served = new Map(Array.from(servers, (server) => [server.id, new Served(server, common)]));
  }

  /** The servers that are configured. */
  get servers(): Iterable<SupervisedServer> {
    return this.#served.values().map(({ server }) => server);
  }

  /** A server that is configured. */
  get(serverId: string): Served | undefined {
    return this.#served.get(serverId);
  }

  /** Begins to start processes ahead, where servers want that. */
  start(): void {
    for (const source of this.#sources()) source.start();
  }

  /** Processes that belong to no session. */
  get spare(): number {
    return this.#sources().reduce((sum, { spare }) => sum + spare, 0);
  }

  /** Has one of them given back. False where there is none that could be. */
  yieldOne(): boolean {
    return this.#sources().some((source) => source.yieldOne());
  }

  /** Ends everything that no session owns, see {@link BackendSource.close}. */
  async close(pace: ClosePace): Promise<void> {
    await Promise.all(this.#sources().map((source) => source.close(pace)));
  }

  #sources(): BackendSource[] {
    return Array.from(this.#served.values()).flatMap(({ source }) => "code" in source ? [] : [source]);
  }
}

/** One server, in one version of its configuration. */
export class Served {
  readonly server: SupervisedServer;
  /** Where its backends come from, or why there are none. */
  readonly source: BackendSource | Failure;
  /** How long its sessions lay idle. */
  readonly gaps = new IdleGaps();
  /** The same for those of kind `bridge`, whose clients come back in another rhythm. */
  readonly #bridgeGaps = new IdleGaps();
  /** What new sessions get. */
  readonly context: SessionContext;
  readonly #common: CommonContext;
  /** All contexts by the value of their limits. */
  readonly #contexts = new Map<string, SessionContext>();
  /** Sessions that hold something and may ask {@link source} for a backend. */
  #sessions = 0;

  constructor(server: SupervisedServer, common: CommonContext) {
    const { backend, limits } = server;
    this.server = server;
    this.source = typeof backend === "function" ? perSessionSource(backend) : backend;
    this.#common = common;
    this.context = this.contextWith(limits);
  }

  /** How many sessions there are that still hold something. */
  get sessions(): number {
    return this.#sessions;
  }

  /** A session of this server was made. Its end is noted by itself. */
  opened(): void {
    this.#sessions++;
  }

  /** The context of sessions with these limits: the same one for equal limits, so that it costs a session nothing. */
  contextWith(limits: SessionLimits): SessionContext {
    const key = keyOf(limits);
    let context = this.#contexts.get(key);
    if (context === undefined) this.#contexts.set(key, context = this.#contextOf(limits));
    return context;
  }

  /** The context of one session of kind `bridge`. */
  bridged({ openBackend, onOver }: BridgeOpening): SessionContext {
    const { limits, bridgeLimits = limits } = this.server;
    const context = this.contextWith(bridgeLimits);
    return {
      ...context,
      gaps: this.#bridgeGaps,
      openBackend: openBackend ?? context.openBackend,
      onOver: (session) => {
        context.onOver(session);
        onOver();
      },
    };
  }

  #contextOf(limits: SessionLimits): SessionContext {
    const { source, gaps, server: { id, fingerprint = "" } } = this;
    return {
      ...this.#common,
      serverId: id,
      limits,
      limitsText: JSON.stringify(limits),
      fingerprint,
      startsProcess: () => !("code" in source) && source.startsProcess,
      gaps,
      openBackend: "code" in source ? cannotOpen : source.open,
      onEnded: (session: Session) => {
        this.#sessions--;
        this.#common.onEnded(session);
      },
    };
  }
}

/** Equal for equal limits, whatever the order of their keys. */
function keyOf(limits: SessionLimits): string {
  return Object.entries(limits).map(([name, value]) => `${name}=${value}`).sort().join();
}

/** In the place of a server that no session is opened for. */
const cannotOpen: OpenBackend = () => {
  throw new Error("This server cannot be served");
};
