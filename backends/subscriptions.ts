/**
 * Which sessions of a shared server hold which resources: the server knows one client only, so it is subscribed as soon
 * as one session is and unsubscribed when the last lets go.
 *
 * A session holds a resource from the moment it asks to, not from the answer: otherwise the last other holder could let
 * go in between and take the subscription with it.
 *
 * @module
 */

import type { CallOutcome } from "./shared_calls.ts";

/** The longest URI of which the resources above it are looked for: that takes the square of its length. */
const MAX_URI_CHARS = 2_048;

/** One session's hold on a resource. */
export interface Hold {
  /** Requests to subscribe that are not answered. */
  pending: number;
  /** Whether one was granted. */
  granted: boolean;
}

interface Resource<Session> {
  readonly holds: Map<Session, Hold>;
  /**
   * Whether the server may be subscribed: it granted a request since the resource was first held, or one was given up
   * before its answer.
   */
  mayBeOn: boolean;
}

/** See the module's documentation. */
export class Subscriptions<Session> {
  readonly #byUri = new Map<string, Resource<Session>>();
  readonly #bySession = new Map<Session, Set<string>>();

  /** How many resources are held. */
  get size(): number {
    return this.#byUri.size;
  }

  /** How many a session holds. */
  countOf(session: Session): number {
    return this.#bySession.get(session)?.size ?? 0;
  }

  /** A session asks to subscribe. {@link settle} has to follow. */
  hold(uri: string, session: Session): Hold {
    let resource = this.#byUri.get(uri);
    if (resource === undefined) this.#byUri.set(uri, resource = { holds: new Map(), mayBeOn: false });
    let hold = resource.holds.get(session);
    if (hold === undefined) resource.holds.set(session, hold = { pending: 0, granted: false });
    hold.pending++;
    const own = this.#bySession.get(session);
    if (own === undefined) this.#bySession.set(session, new Set([uri]));
    else own.add(uri);
    return hold;
  }

  /**
   * A request to subscribe came to an end.
   *
   * @returns Whether the server has to be told that nobody holds the resource any more.
   */
  settle(
    uri: string,
    session: Session,
    end: { readonly hold: Hold; readonly outcome: CallOutcome },
  ): boolean {
    const { hold, outcome } = end;
    const resource = this.#byUri.get(uri);
    // It may have let go meanwhile.
    if (resource?.holds.get(session) !== hold) return false;
    hold.pending--;
    if (outcome === "granted") hold.granted = true;
    if (outcome !== "refused") resource.mayBeOn = true;
    if (hold.granted || hold.pending > 0) return false;
    return this.#drop(uri, session) === "last" && resource.mayBeOn;
  }

  /**
   * A session lets go of a resource.
   *
   * @returns Whether others hold it, or the session was the last, or nobody did.
   */
  drop(uri: string, session: Session): "others" | "last" | "nobody" {
    const resource = this.#byUri.get(uri);
    if (resource === undefined) return "nobody";
    if (!resource.holds.has(session)) return "others";
    return this.#drop(uri, session);
  }

  /** A session is gone. @returns The resources that nobody holds any more. */
  leave(session: Session): string[] {
    const uris = [...this.#bySession.get(session) ?? []];
    return uris.filter((uri) => this.#drop(uri, session) === "last");
  }

  /**
   * Who is told of an update: those that hold the resource, or one that it lies below (MCP lets a server report a part
   * of what was subscribed to).
   */
  holders(uri: string): Set<Session> {
    const holders = new Set<Session>(this.#byUri.get(uri)?.holds.keys());
    if (uri.length > MAX_URI_CHARS) return holders;
    for (const { index } of uri.matchAll(/[/?#]/g)) {
      for (const above of [uri.slice(0, index), uri.slice(0, index + 1)]) {
        for (const session of this.#byUri.get(above)?.holds.keys() ?? []) holders.add(session);
      }
    }
    return holders;
  }

  #drop(uri: string, session: Session): "others" | "last" {
    const resource = this.#byUri.get(uri)!;
    const { holds } = resource;
    if (holds.get(session)!.pending > 0) resource.mayBeOn = true;
    holds.delete(session);
    const own = this.#bySession.get(session)!;
    own.delete(uri);
    if (own.size === 0) this.#bySession.delete(session);
    if (holds.size > 0) return "others";
    this.#byUri.delete(uri);
    return "last";
  }
}
