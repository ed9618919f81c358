/**
 * Where the backends of one server come from: the contract between whoever opens sessions and the three ways to have
 * backends (`docs/backends.md`): one child for each session, children that are started ahead, children that sessions
 * share.
 *
 * Opening is the contract of {@link OpenBackend}, whatever the way: it never throws, and what goes wrong arrives as
 * `exit`. Beside it a source owns processes that no session owns, and says how many, because they count against the
 * gateway's limits all the same:
 *
 *     processes of a server = sessions that own theirs (`ownsProcess`) + `spare`
 *
 * A process is counted by exactly one of the two at any time: a prewarmed child leaves `spare` in the turn in which a
 * session is opened that it is kept for.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { BackendOwner, ClosePace, OpenBackend } from "./backend.ts";
import type { SpawnGate } from "./spawn_gate.ts";

/** See the module's documentation. */
export interface BackendSource {
  /** Opens a backend for a session. Never throws (the contract of {@link OpenBackend}). */
  readonly open: OpenBackend;
  /** Whether a backend that it opens counts as a process of its session: never where sessions share. */
  readonly ownsProcess: boolean;
  /**
   * Whether opening one more now would start a process that is not there yet. A prewarmed child that is ready does not,
   * nor does a shared one. An answer for this turn: what is opened meanwhile changes it.
   */
  readonly startsProcess: boolean;
  /** Processes that belong to no session, those on their way in and out included: prewarmed ones, shared ones. */
  readonly spare: number;
  /**
   * Whether a process that was opened under this owner's name is one of {@link spare}: whoever looks for processes that
   * belong to nobody has to ask. A prewarmed child bears its session's name from the turn in which that takes it.
   */
  owns(owner: BackendOwner): boolean;
  /** Begins to start processes ahead, where that is its way. Idempotent; does nothing after {@link close}. */
  start(): void;
  /**
   * Gives back one process that no session uses, because somebody else needs its place. It is counted until it is gone.
   *
   * @returns Whether there was one.
   */
  yieldOne(): boolean;
  /**
   * No sessions come here any more but those that have been here: gives back what was started ahead, and starts nothing
   * ahead again. {@link open} goes on as before, for them. Idempotent.
   */
  retire(): void;
  /**
   * Ends everything that no session owns and starts nothing more. Idempotent: all calls resolve when nothing of it is
   * left, and a later one may only make it faster. Never rejects. Sessions close their own backends; those that share a
   * child which is closed here get its `exit`.
   */
  close(pace?: ClosePace): Promise<void>;
}

/** What sources that start processes of their own accord are made of. */
export interface SourceOptions {
  readonly serverId: string;
  /** Opens a child, at once: the source does the waiting for its turn. */
  readonly open: OpenBackend;
  readonly gate: SpawnGate;
  readonly clock: Clock;
  /** How long a server may take to answer the gateway's own `initialize`, in ms. */
  readonly startTimeoutMs: number;
  /**
   * Whether there is room for a process that no session waits for. Asked in the turn in which one would be started; a
   * `false` is asked about again later. True unless given.
   */
  readonly mayStart?: () => boolean;
}

/**
 * A backend of its own for each session, and nothing besides.
 *
 * @param open Usually one that waits for its turn, see `gated.ts`.
 */
export function perSessionSource(open: OpenBackend): BackendSource {
  return {
    open,
    ownsProcess: true,
    startsProcess: true,
    spare: 0,
    owns: () => false,
    start() {},
    yieldOne: () => false,
    retire() {},
    close: () => Promise.resolve(),
  };
}
