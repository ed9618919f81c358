/**
 * The sessions behind `/bridge`: which one a request goes to, by who asks for which server.
 *
 * The first request of a key opens the session, and those that come meanwhile wait for it. An entry goes when its session
 * is over. A request that finds it over was not sent, and goes to another session; one that was sent is never sent again.
 *
 * @module
 */
import type { BridgeOpening, Session, Supervisor } from "../actors/supervisor.ts";
import type { Failure } from "../errors.ts";
import type { RequestMessage } from "../protocol/jsonrpc.ts";
import { KNOWN_VERSIONS } from "../protocol/revisions.ts";
import type { BridgeReply } from "./bridge_reply.ts";

/** Requests that may wait for one session to be opened. */
const MAX_WAITING = 256;
/** Sessions that one request tries. More than one is over at once only where sessions are let live for no time. */
const MAX_TRIES = 3;
/** What the gateway initializes with: the newest revision. The server answers with the newest that it knows. */
const ASKED_VERSION = KNOWN_VERSIONS[0]!;

/** One request on its way. */
export interface BridgeRequest {
  /** What it shares its session by. */
  readonly key: string;
  readonly serverId: string;
  readonly principal: string;
  readonly openBackend: BridgeOpening["openBackend"];
  readonly message: RequestMessage;
  readonly reply: BridgeReply;
  /** Aborts when the client goes away. */
  readonly signal: () => AbortSignal;
}

/** One session, or its opening. */
interface Entry {
  /** Undefined until it is opened. */
  session: Session | undefined;
  /** What came meanwhile. */
  waiting: BridgeRequest[];
}

/** See the module's documentation. */
export class BridgeSessions {
  readonly #supervisor: Supervisor;
  readonly #entries = new Map<string, Entry>();

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  /** How many sessions are there or being opened. */
  get size(): number {
    return this.#entries.size;
  }

  /** Sends a request to its session, and opens that where there is none. It is answered in its own reply. */
  send(request: BridgeRequest, tries = 1): void {
    const { key, message, reply } = request;
    const entry = this.#living(key);
    if (entry === undefined) return this.#open(request, tries);
    if (entry.session !== undefined) {
      reply.attempt = this.#attempt(request, { entry, tries });
      return entry.session.post({ tag: "message", message, reply });
    }
    if (entry.waiting.length < MAX_WAITING) entry.waiting.push(request);
    else reply.fail({ code: "inboxFull" });
  }

  #living(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry?.session === undefined) return entry;
    if (!entry.session.expired && entry.session.state !== "ended") return entry;
    this.#drop(key, entry);
    return undefined;
  }

  #open(request: BridgeRequest, tries: number): void {
    const { key, serverId, principal, openBackend, message, reply } = request;
    const entry: Entry = { session: undefined, waiting: [] };
    this.#entries.set(key, entry);
    reply.attempt = this.#attempt(request, { entry, tries });
    this.#supervisor.open({
      serverId,
      principal,
      kind: "bridge",
      opener: { tag: "message", message, reply },
      implicitVersion: ASKED_VERSION,
      bridge: {
        openBackend,
        onOpened: (session) => {
          entry.session = session;
          for (const { message, reply, ...more } of entry.waiting.splice(0)) {
            reply.attempt = this.#attempt({ message, reply, ...more }, { entry, tries: 1 });
            session.post({ tag: "message", message, reply });
          }
        },
        onOver: () => this.#drop(key, entry),
      },
    });
  }

  #attempt(
    request: BridgeRequest,
    { entry, tries }: { entry: Entry; tries: number },
  ): BridgeReply["attempt"] {
    const { key } = request;
    return {
      failed: (failure) => {
        if (entry.session === undefined) return this.#refused(key, entry, failure);
        // Only this says that the session was over before the request got there.
        if (failure.code !== "sessionNotFound" || tries === MAX_TRIES) return false;
        this.#drop(key, entry);
        this.send(request, tries + 1);
        return true;
      },
      whenGone: (gone) =>
        request.signal().addEventListener("abort", () => {
          // Others may wait for the same session.
          if (entry.session !== undefined || entry.waiting.length > 0) return;
          this.#drop(key, entry);
          gone();
        }, { once: true }),
    };
  }

  /** No session is opened for the first, and so none for those who wait with it. */
  #refused(key: string, entry: Entry, failure: Failure): false {
    this.#drop(key, entry);
    for (const { reply } of entry.waiting.splice(0)) reply.fail(failure);
    return false;
  }

  /** There may be a newer one by that key. */
  #drop(key: string, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }
}
