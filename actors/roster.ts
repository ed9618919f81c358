/**
 * The servers: where the backends of each come from, and what its sessions share.
 *
 * What sessions of a server share is their context. New sessions get the one with the server's limits; a session that
 * was opened with other limits keeps those, in a context of its own that it shares with others like it.
 *
 * The servers can be replaced while sessions are open. One that was removed, or whose backends come from elsewhere now,
 * is **drained** where it has sessions: it gets no new ones, those that it has go on as they were opened, and when the
 * last of them is gone its source is closed. Until then its processes count.
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
  /** The client's headers that are handed on to it, in lower case; none unless given. */
  readonly forwardHeaders?: readonly string[];
  /** The longest body of a request to it, in bytes; as for all servers unless given. */
  readonly maxBodyBytes?: number;
}

/** What contexts of servers differ in. */
type OfServer =
  | "serverId"
  | "limits"
  | "limitsText"
  | "fingerprint"
  | "openBackend"
  | "refusal"
  | "startsProcess"
  | "gaps";

/** What the sessions of all servers share, and who is told of them. */
export interface CommonContext extends Omit<SessionContext, OfServer | "onOver" | "onServerFailed"> {
  /** Its server, as a session was opened with it, may be one that is drained. */
  readonly onServerFailed: (session: Session, detail: string, served: Served) => void;
  readonly onOver: (session: Session, served: Served) => void;
}

/** See the module's documentation. */
export class Roster {
  readonly #common: CommonContext;
  /** Those that are configured, by id. */
  #served: ReadonlyMap<string, Served> = new Map();
  /** Those that are no longer and still hold something. */
  readonly #drained = new Set<Served>();
  #started = false;

  constructor(servers: Iterable<SupervisedServer>, common: CommonContext) {
    this.#common = common;
    this.replace(servers);
  }

  /** The servers that are configured. */
  get servers(): Iterable<SupervisedServer> {
    return this.#served.values().map(({ server }) => server);
  }

  /** A server that is configured. */
  get(serverId: string): Served | undefined {
    return this.#served.get(serverId);
  }

  /** A server that is configured, else one of that id that is drained: its sessions may still be asked for. */
  known(serverId: string): Served | undefined {
    return this.#served.get(serverId) ?? this.#drained.values().find(({ server }) => server.id === serverId);
  }

  /**
   * The servers are these now. One that comes with the same `backend` as before keeps what it has started, and its new
   * sessions get what else has changed; others are drained.
   *
   * @returns The ids of those that are served no longer as they were: new ones of the same id owe nothing to them.
   */
  replace(servers: Iterable<SupervisedServer>): readonly string[] {
    const before = this.#served;
    const now = new Map<string, Served>();
    const fresh: Served[] = [];
    for (const server of servers) {
      const known = before.get(server.id);
      if (known?.server.backend === server.backend) {
        known.update(server);
        now.set(server.id, known);
        continue;
      }
      const served = new Served(server, this.#common, {
        before: this.known(server.id),
        onUnused: (served) => this.#onUnused(served),
      });
      now.set(server.id, served);
      fresh.push(served);
    }
    this.#served = now;
    const gone = Array.from(before.values()).filter((served) => now.get(served.server.id) !== served);
    for (const served of gone) this.#drain(served);
    if (this.#started) { for (const { source } of fresh) if (!("code" in source)) source.start(); }
    return gone.map(({ server }) => server.id);
  }

  /** Every set of limits that some session may have. */
  *limits(): Iterable<SessionLimits> {
    for (const served of this.#all()) yield* served.limits();
  }

  /** Begins to start processes ahead, where servers want that. */
  start(): void {
    this.#started = true;
    for (const { source } of this.#served.values()) if (!("code" in source)) source.start();
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

  #drain(served: Served): void {
    const { source } = served;
    if ("code" in source) return;
    this.#drained.add(served);
    served.drain();
    source.retire();
    if (served.sessions === 0) this.#onUnused(served);
  }

  /** A drained one has no sessions any more. Its processes count until they are gone. */
  #onUnused(served: Served): void {
    if ("code" in served.source) return;
    void served.source.close().finally(() => this.#drained.delete(served));
  }

  #all(): Served[] {
    return [...this.#served.values(), ...this.#drained];
  }

  #sources(): BackendSource[] {
    return this.#all().flatMap(({ source }) => "code" in source ? [] : [source]);
  }
}

/** How to make a {@link Served}. */
export interface ServedOptions {
  /** What it replaces: how long sessions lay idle is known from there. */
  readonly before: Served | undefined;
  /** Called when it is drained and the last of its sessions is gone. */
  readonly onUnused: (served: Served) => void;
}

/** One server, from when its backends come from {@link Served.source} until they come from elsewhere. */
export class Served {
  /** Where its backends come from, or why there are none. */
  readonly source: BackendSource | Failure;
  /** How long its sessions lay idle. */
  readonly gaps: IdleGaps;
  /** The same for those of kind `bridge`, whose clients come back in another rhythm. */
  readonly #bridgeGaps: IdleGaps;
  readonly #common: CommonContext;
  readonly #onUnused: (served: Served) => void;
  /** All contexts by the value of their limits. Who has one keeps it; the rest may go. */
  readonly #contexts = new Map<string, WeakRef<SessionContext>>();
  #server: SupervisedServer;
  #context: SessionContext;
  /** Sessions that hold something and may ask {@link source} for a backend. */
  #sessions = 0;
  #drained = false;

  constructor(server: SupervisedServer, common: CommonContext, { before, onUnused }: ServedOptions) {
    const { backend, limits } = server;
    this.#server = server;
    this.source = typeof backend === "function" ? perSessionSource(backend) : backend;
    this.gaps = before?.gaps ?? new IdleGaps();
    this.#bridgeGaps = before === undefined ? new IdleGaps() : before.#bridgeGaps;
    this.#common = common;
    this.#onUnused = onUnused;
    this.#context = this.contextWith(limits);
  }

  /** As it is configured. */
  get server(): SupervisedServer {
    return this.#server;
  }

  /** What new sessions get. */
  get context(): SessionContext {
    return this.#context;
  }

  /** How many sessions there are that still hold something. */
  get sessions(): number {
    return this.#sessions;
  }

  /** Whether it is configured no longer and only finishes what it has. */
  get drained(): boolean {
    return this.#drained;
  }

  /** A session of this server was made. Its end is noted by itself. */
  opened(): void {
    this.#sessions++;
  }

  /** It is configured like this now, with the same `backend`. Sessions keep what they were opened with. */
  update(server: SupervisedServer): void {
    this.#server = server;
    this.#context = this.contextWith(server.limits);
  }

  /** It is configured no longer. */
  drain(): void {
    this.#drained = true;
  }

  /** The context of sessions with these limits: the same one for equal limits, so that it costs a session nothing. */
  contextWith(limits: SessionLimits): SessionContext {
    const key = keyOf(limits);
    const known = this.#contexts.get(key)?.deref();
    if (known !== undefined) return known;
    for (const [key, context] of this.#contexts) {
      if (context.deref() === undefined) this.#contexts.delete(key);
    }
    const context = this.#contextOf(limits);
    this.#contexts.set(key, new WeakRef(context));
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

  /** Every set of limits that some session of it may have. */
  *limits(): Iterable<SessionLimits> {
    const { bridgeLimits } = this.#server;
    if (bridgeLimits !== undefined && !this.#drained) yield bridgeLimits;
    for (const context of this.#contexts.values()) {
      const limits = context.deref()?.limits;
      if (limits !== undefined) yield limits;
    }
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
      refusal: "code" in source ? source : undefined,
      onServerFailed: (session, detail) => this.#common.onServerFailed(session, detail, this),
      onOver: (session) => this.#common.onOver(session, this),
      onEnded: (session) => {
        this.#sessions--;
        this.#common.onEnded(session);
        if (this.#drained && this.#sessions === 0) this.#onUnused(this);
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
