/**
 * What the sessions that share a child want to hear of it beside what answers them: updates of resources, log messages,
 * changes of lists.
 *
 * The child knows one client. It is asked where a session's wish changes what that one client wants, and the session is
 * answered in its place where it does not.
 *
 * @module
 */
import { rpcErrorText } from "../errors.ts";
import type { Params, RequestMessage } from "../protocol/jsonrpc.ts";
import { LEVELS, LogLevels } from "./log_levels.ts";
import type { CallOutcome } from "./shared_calls.ts";
import type { Outgoing, SharedSession } from "./shared_session.ts";
import { Subscriptions } from "./subscriptions.ts";

/** Resources that one session may hold. */
const MAX_SUBSCRIPTIONS = 1_000;

/** Which list a request or a notification is about. */
const LISTS: ReadonlyMap<string, string> = new Map([
  ["tools/list", "tools"],
  ["prompts/list", "prompts"],
  ["resources/list", "resources"],
  ["resources/templates/list", "resources"],
  ["notifications/tools/list_changed", "tools"],
  ["notifications/prompts/list_changed", "prompts"],
  ["notifications/resources/list_changed", "resources"],
]);

/** How the child is asked. */
export interface WishesPort {
  /** In a session's name. */
  readonly ask: (outgoing: Outgoing<RequestMessage>, ended?: (outcome: CallOutcome) => void) => void;
  /** In nobody's: the answer goes nowhere. */
  readonly askItself: (method: string, params: Params) => void;
}

/** See the module's documentation. */
export class SharedWishes {
  readonly #port: WishesPort;
  readonly #subscriptions = new Subscriptions<SharedSession>();
  readonly #levels = new LogLevels<SharedSession>();
  /** Which lists each session has asked for. */
  readonly #lists = new Map<SharedSession, Set<string>>();
  /** The level that the child was last told. */
  #level: string | undefined;

  constructor(port: WishesPort) {
    this.#port = port;
  }

  /** How many wishes there are; of each session that asked for lists, one. */
  get size(): number {
    return this.#subscriptions.size + this.#levels.size + this.#lists.size;
  }

  /** A session is over. */
  leave(session: SharedSession): void {
    for (const uri of this.#subscriptions.leave(session)) this.#unsubscribe(uri);
    this.#lists.delete(session);
    this.#levels.set(session, undefined);
    this.#tellLevel();
  }

  /** A session asks for something that may be a list. */
  listed(session: SharedSession, method: string): void {
    const list = LISTS.get(method);
    if (list === undefined) return;
    const own = this.#lists.get(session);
    if (own === undefined) this.#lists.set(session, new Set([list]));
    else own.add(list);
  }

  subscribe(outgoing: Outgoing<RequestMessage>): void {
    const { session, message } = outgoing;
    const uri = message.params?.uri;
    if (typeof uri !== "string") return this.#port.ask(outgoing);
    if (this.#subscriptions.countOf(session) >= MAX_SUBSCRIPTIONS) {
      const detail = `more than ${MAX_SUBSCRIPTIONS} subscriptions of one session`;
      return session.answer(rpcErrorText({ code: "notShared", detail }, message.id));
    }
    const hold = this.#subscriptions.hold(uri, session);
    this.#port.ask(outgoing, (outcome) => {
      if (this.#subscriptions.settle(uri, session, { hold, outcome })) this.#unsubscribe(uri);
    });
  }

  unsubscribe(outgoing: Outgoing<RequestMessage>): void {
    const { session, message } = outgoing;
    const uri = message.params?.uri;
    const left = typeof uri === "string" ? this.#subscriptions.drop(uri, session) : "nobody";
    if (left === "others") session.done(message.id);
    else this.#port.ask(outgoing);
  }

  setLevel(outgoing: Outgoing<RequestMessage>): void {
    const { session, message } = outgoing;
    const level = message.params?.level;
    if (typeof level !== "string" || !LEVELS.includes(level)) return this.#port.ask(outgoing);
    const before = this.#levels.get(session);
    this.#levels.set(session, level);
    if (this.#levels.mostTalkative !== level || level === this.#level) {
      this.#tellLevel();
      return session.done(message.id);
    }
    this.#level = level;
    this.#port.ask(outgoing, (outcome) => {
      if (outcome !== "refused" || this.#levels.get(session) !== level) return;
      this.#levels.set(session, before);
      // What it took is asked anew by whoever comes next.
      this.#level = undefined;
    });
  }

  /** Who is told that a resource changed. */
  holders(uri: string): Iterable<SharedSession> {
    return this.#subscriptions.holders(uri);
  }

  /** Who asked for log messages of a level. */
  whoWants(level: unknown): SharedSession[] {
    return this.#levels.whoWants(level);
  }

  /** Who is told that a list changed; undefined where the notification is about something else. */
  readersOf(method: string): SharedSession[] | undefined {
    const list = LISTS.get(method);
    if (list === undefined) return undefined;
    return Array.from(this.#lists).filter(([, lists]) => lists.has(list)).map(([session]) => session);
  }

  /** Tells the child the level that its sessions want, where that changed and is any. */
  #tellLevel(): void {
    const level = this.#levels.mostTalkative;
    if (level === undefined || level === this.#level) return;
    this.#level = level;
    this.#port.askItself("logging/setLevel", { level });
  }

  #unsubscribe(uri: string): void {
    this.#port.askItself("resources/unsubscribe", { uri });
  }
}
