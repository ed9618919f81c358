/**
 * The contract of a backend: one live connection to an MCP server.
 *
 * A backend carries messages and nothing else. It does not know which of them answer which: requests in flight
 * belong to the session, because they decide whether it is idle. What the backend owns is its child process (or
 * remote session), everything that process started, its stderr and its exit.
 *
 * The edge cases are the contract:
 *
 * - Opening never throws. A start that fails (no such command, no permission) arrives as `exit`, in a later turn.
 * - `exit` is reported exactly once, whether the backend was closed or ended by itself, and no `message` or
 *   `garbage` follows it.
 * - After `exit`, and from `close()` on, `send()` does nothing and answers false.
 * - `close()` is idempotent: all calls resolve together, when no process of this backend is left, and a later
 *   call may only make it faster (the shorter of two paces holds). It never rejects.
 * - `pause()` keeps further messages from coming; those of what was read already may still come. It keeps nothing
 *   else: a paused backend takes messages, reports its exit in time and can be closed. Both are idempotent.
 * - A backend of which `exit` was reported still wants `close()`: that is what ends what the process left behind.
 *
 * @module
 */
import type { Message } from "../protocol/jsonrpc.ts";

/** How patient a close is, in ms from the call to `close()`. */
export interface ClosePace {
  /** From closing its stdin until SIGTERM goes to its process group. */
  readonly termAfterMs: number;
  /** From closing its stdin until SIGKILL does. */
  readonly killAfterMs: number;
}

/** The pace of an ordinary close: 2 s to leave by itself, 5 s more to obey SIGTERM. */
export const CLOSE_PACE: ClosePace = { termAfterMs: 2_000, killAfterMs: 7_000 };

/** The pace of a shutdown, which promises that all is closed within 4 s. */
export const SHUTDOWN_PACE: ClosePace = { termAfterMs: 1_000, killAfterMs: 3_000 };

/** The pace of a shutdown that was asked for twice. */
export const HURRIED_PACE: ClosePace = { termAfterMs: 0, killAfterMs: 500 };

/** Why a backend is gone, for people: completes the sentence "server "x" …". */
export interface BackendExit {
  /**
   * `spawn`: it never ran. `exit`: its process ended. `overlong`: it sent a message over the bound. `cut`: its client did
   * not read, and others share its process, which runs on.
   */
  readonly cause: "spawn" | "exit" | "overlong" | "cut";
  /** Such as `could not be started: no such command "foo"` or `exited with code 1`; no secret in it. */
  readonly detail: string;
}

/** What a backend reports to the session that owns it. Called one at a time, never from inside `send`. */
export interface BackendEvents {
  /** The server sent a message. */
  message(message: Message): void;
  /** The server printed something that is no JSON-RPC message; `excerpt` is at most 200 characters of it. */
  garbage(excerpt: string): void;
  /** The backend is gone. */
  exit(exit: BackendExit): void;
}

/** One live connection to an MCP server. */
export interface Backend {
  /** The process id, for display; undefined where there is no process or it never started. */
  readonly pid: number | undefined;
  /** Bytes accepted by `send` that the server has not read yet. */
  readonly queuedBytes: number;
  /**
   * Sends one message, in order.
   *
   * @param text One message as one line, without its line break.
   * @returns False when the backend is closing or gone and the message was not taken.
   */
  send(text: string): boolean;
  /** Stops reading from the server, which then waits as soon as the pipe between is full. */
  pause(): void;
  /** Goes on reading. */
  resume(): void;
  /** Ends the process and all that it started. See the contract above. */
  close(pace?: ClosePace): Promise<void>;
}

/** Who a backend works for: names in its log lines and in its processes' environment. */
export interface BackendOwner {
  readonly serverId: string;
  /**
   * The session's public handle (never its id: that is a credential). Read when it is used: a prewarmed child has a name
   * of its own until a session takes it.
   */
  readonly session: string;
  /** Headers of its client that its server's entry hands on, in lower case. Values are secrets. */
  readonly forwarded?: Readonly<Record<string, string>>;
}

/** Opens backends of one server. */
export type OpenBackend = (owner: BackendOwner, events: BackendEvents) => Backend;
