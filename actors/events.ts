/**
 * What happens in the gateway, for whoever watches. Nobody who watches can slow it down: listeners are called in the
 * turn of the event and take it or drop it.
 *
 * @module
 */
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import type { EndReason } from "./end_reason.ts";
import type { IntervalCause } from "./pressure.ts";
import type { SessionState } from "./session.ts";

/** Which session an event is about. */
export interface AboutSession {
  readonly session: string;
  readonly serverId: string;
  readonly principal: string;
}

/** An event. `at` is wall time in ms since the Unix epoch; durations are in ms. */
export type GatewayEvent =
  & { readonly at: number }
  & (
    | { readonly type: "opened" } & AboutSession
    | { readonly type: "state"; readonly state: SessionState } & AboutSession
    | { readonly type: "ended"; readonly reason: EndReason; readonly detail: string | undefined }
      & AboutSession
    | {
      readonly type: "sweep";
      readonly asked: number;
      readonly expired: number;
      readonly evicted: number;
      readonly tookMs: number;
      readonly intervalMs: number;
      readonly cause: IntervalCause;
    }
    | {
      readonly type: "pressure";
      readonly memory: number;
      readonly load: number;
      readonly part: string;
      /** How far TTLs are scaled down: 0 not at all, 1 as far as it goes. */
      readonly scale: number;
    }
  );

const log = logger("events");

/** Hands events to listeners. */
export class Events {
  readonly #listeners = new Set<(event: GatewayEvent) => void>();

  /** Whether anybody listens: where nobody does, an event need not be made. */
  get watched(): boolean {
    return this.#listeners.size > 0;
  }

  /** @returns Ends the subscription. Idempotent. */
  subscribe(listener: (event: GatewayEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  publish(event: GatewayEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        reportFault(log, "Listener", error);
      }
    }
  }
}
