/**
 * The clients' requests at a child that sessions share: under which id and token each went out, and whose it is.
 *
 * An id is used once in the child's life. Where a request asks for progress its token on the wire is the same number.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import {
  type NotificationMessage,
  progressTokenOf,
  type RequestId,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/jsonrpc.ts";
import { type Attribution, Attributions } from "./attribution.ts";
import { findMembers, type Members, type Patch, replace } from "./members.ts";

/** How a request ended, for whoever has to know. */
export type CallOutcome = "granted" | "refused" | "cancelled";

/** A client's request at the child. */
export interface Call<Session> {
  /** At the child. */
  readonly id: number;
  readonly session: Session;
  readonly clientId: RequestId;
  /** The token that the client chose, as it is and as JSON; undefined where it asked for no progress. */
  readonly token: { readonly value: RequestId; readonly text: string } | undefined;
  readonly ended: ((outcome: CallOutcome) => void) | undefined;
}

/** See the module's documentation. */
export class SharedCalls<Session> {
  readonly #clock: Clock;
  readonly #byId = new Map<number, Call<Session>>();
  readonly #bySession = new Map<Session, Map<RequestId, Call<Session>>>();
  readonly #work = new Attributions<Session>();
  #lastId = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many are at the child. */
  get size(): number {
    return this.#byId.size;
  }

  /** Whose a message is that says nothing of it. */
  get whose(): Attribution<Session> {
    return this.#work.at(this.#clock.now());
  }

  /** An id for a request of the gateway's own. */
  nextId(): number {
    return ++this.#lastId;
  }

  /** Adds a request. @returns Its text for the child. */
  add(
    session: Session,
    { id: clientId, params, text }: RequestMessage,
    { members, ended }: { readonly members: Members; readonly ended: Call<Session>["ended"] },
  ): string {
    const id = this.nextId();
    const value = progressTokenOf(params);
    const [span] = members.at("params._meta.progressToken");
    const patches: Patch[] = [{ spans: members.at("id"), by: String(id) }];
    let token: Call<Session>["token"];
    if (value !== undefined && span !== undefined) {
      // A number may stand for one that JavaScript does not have; a string would keep the whole text in memory.
      const own = typeof value === "string" ? JSON.stringify(value) : text.slice(span.start, span.end);
      token = { value, text: own };
      patches.push({ spans: [span], by: String(id) });
    }
    const call: Call<Session> = { id, session, clientId, token, ended };
    this.#byId.set(id, call);
    const own = this.#bySession.get(session);
    if (own === undefined) this.#bySession.set(session, new Map([[clientId, call]]));
    else own.set(clientId, call);
    this.#work.began(session);
    return replace(text, patches);
  }

  /** The child answered. @returns The request, and the answer as its client knows it; undefined where it is over. */
  answered(
    message: ResponseMessage,
  ): { readonly call: Call<Session>; readonly message: ResponseMessage } | undefined {
    const call = this.#byId.get(message.id as number);
    if (call === undefined) return undefined;
    this.#forget(call);
    this.#work.ended(call.session, this.#clock.now());
    const { clientId: id } = call;
    const text = replace(message.text, [{
      spans: findMembers(message.text).at("id"),
      by: JSON.stringify(id),
    }]);
    return { call, message: { ...message, id, text } };
  }

  /** The child reported progress. @returns Whose it is, as its client knows it; undefined where nobody waits for it. */
  progress(
    message: NotificationMessage,
  ): { readonly session: Session; readonly message: NotificationMessage } | undefined {
    const call = this.#byId.get(message.params?.progressToken as number);
    if (call?.token === undefined) return undefined;
    const { value, text: by } = call.token;
    const text = replace(message.text, [{ spans: findMembers(message.text).at("params.progressToken"), by }]);
    return {
      session: call.session,
      message: { ...message, params: { ...message.params, progressToken: value }, text },
    };
  }

  /** A client takes back a request. @returns It; undefined where it is not at the child. */
  cancelled(session: Session, clientId: unknown): Call<Session> | undefined {
    const call = this.#bySession.get(session)?.get(clientId as RequestId);
    if (call === undefined) return undefined;
    this.#forget(call);
    this.#work.cancelled(session, this.#clock.now());
    return call;
  }

  /** A session is over. @returns What it had at the child. */
  left(session: Session): Call<Session>[] {
    const calls = [...this.#bySession.get(session)?.values() ?? []];
    for (const call of calls) this.#forget(call);
    this.#work.left(session, this.#clock.now());
    return calls;
  }

  #forget(call: Call<Session>): void {
    this.#byId.delete(call.id);
    const own = this.#bySession.get(call.session);
    // A client that uses an id again while it is in flight has only the newer request by it.
    if (own?.get(call.clientId) === call) own.delete(call.clientId);
    if (own?.size === 0) this.#bySession.delete(call.session);
  }
}
