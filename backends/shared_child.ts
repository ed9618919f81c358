/**
 * A child that sessions share: which message is whose.
 *
 * The clients' requests go out under ids and tokens of the child's (`shared_calls.ts`). The child's own ids and tokens stay as they are, since only one session ever sees each; what a client sends
 * under one counts only if the child sent it to that client's session.
 *
 * | what the child sends | who gets it |
 * | --- | --- |
 * | an answer, progress | the session whose request it names; nobody where that was cancelled or is over |
 * | `ping` | the gateway, which answers |
 * | any other request | the session on whose requests alone the child works (`attribution.ts`), else it is refused |
 * | the child takes back a request | the session that got it |
 * | `notifications/resources/updated` | the sessions that subscribed to that resource |
 * | `notifications/…/list_changed` | the sessions that have asked for that list: who has none has none that is stale |
 * | `notifications/message` | while it works: the one session it works for; else all; of these only who asked for the level |
 * | any other notification | the session on whose requests alone the child works, else nobody |
 *
 * A log message may tell what is in a request. So while the child works for several sessions it goes to none of them.
 *
 * @module
 */
import type { Cancel } from "../clock.ts";
import { rpcErrorText } from "../errors.ts";
import { logger } from "../log.ts";
import {
  asObject,
  encodeNotification,
  encodeRequest,
  encodeResult,
  type Message,
  type NotificationMessage,
  type Params,
  progressTokenOf,
  type RequestId,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/jsonrpc.ts";
import type { BackendExit, BackendOwner, ClosePace } from "./backend.ts";
import { type ChildSink, InitializedChild } from "./initialized_child.ts";
import { findMembers, replace } from "./members.ts";
import { type CallOutcome, SharedCalls } from "./shared_calls.ts";
import type { Outgoing, SharedSession } from "./shared_session.ts";
import { SharedWishes } from "./shared_wishes.ts";
import type { SourceOptions } from "./source.ts";
import type { Ticket } from "./spawn_gate.ts";

/** Requests of the child that may wait for clients; each further one is refused. */
const MAX_QUESTIONS = 1_000;

/** A request of the child at a client. */
interface Question {
  readonly session: SharedSession;
  /** Under which the child wants to hear of progress. */
  readonly token: RequestId | undefined;
}

/** How to make a {@link SharedChild}. */
export interface SharedChildOptions extends SourceOptions {
  /** Its name in the log. */
  readonly owner: BackendOwner;
  /** How long it may be without sessions, in ms. */
  readonly idleMs: number;
  /** It was. */
  readonly idle: () => void;
  /** It ended by itself, or did not start. Its sessions know. */
  readonly over: (startedAt: number) => void;
}

const log = logger("backend");

/** See the module's documentation. */
export class SharedChild implements ChildSink {
  /** What its sessions want to hear beside their answers. */
  readonly wishes: SharedWishes;
  readonly #options: SharedChildOptions;
  readonly #ticket: Ticket;
  /** Undefined until its turn to start. */
  #child: InitializedChild | undefined;
  readonly #sessions = new Set<SharedSession>();
  readonly #calls: SharedCalls<SharedSession>;
  readonly #questions = new Map<RequestId, Question>();
  /** Its answer to `initialize` as sessions get it, under whatever id; undefined until it is ready. */
  #greeting: string | undefined;
  /** Set while it is without sessions. */
  #cancelIdle: Cancel | undefined;
  #over = false;

  /** Starts it as soon as its turn has come: a session waits for it. */
  constructor(options: SharedChildOptions) {
    const { gate, open, clock, owner, startTimeoutMs } = options;
    this.#options = options;
    this.#calls = new SharedCalls(clock);
    this.wishes = new SharedWishes({
      ask: (outgoing, ended) => this.ask(outgoing, ended),
      askItself: (method, params) => this.#askItself(method, params),
    });
    this.#ticket = gate.enter("session", (ticket) => {
      this.#child = new InitializedChild({ open, clock, owner, ticket, startTimeoutMs, sink: this });
    });
  }

  /** What it is called where processes have sessions' names. */
  get name(): string {
    return this.#options.owner.session;
  }

  /** How many sessions it has. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Whether it has answered `initialize`. */
  get isReady(): boolean {
    return this.#greeting !== undefined;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get queuedBytes(): number {
    return this.#child?.queuedBytes ?? 0;
  }

  /** How much it remembers for its sessions; 0 where it has none. */
  get held(): number {
    return this.#sessions.size + this.#calls.size + this.#questions.size + this.wishes.size;
  }

  /** A session is opened on it. */
  join(session: SharedSession): void {
    this.#sessions.add(session);
    this.#cancelIdle?.();
    this.#cancelIdle = undefined;
  }

  /** A session is over: what it has at the child is taken back. */
  leave(session: SharedSession): void {
    if (this.#over || !this.#sessions.delete(session)) return;
    for (const { id } of this.#calls.left(session)) {
      const params = { requestId: id, reason: "its session is over" };
      this.#send(encodeNotification("notifications/cancelled", params));
    }
    this.wishes.leave(session);
    for (const [id, question] of this.#questions) {
      if (question.session !== session) continue;
      this.#questions.delete(id);
      this.#send(rpcErrorText({ code: "sessionEnded" }, id));
    }
    if (this.#sessions.size > 0) return;
    const { clock, idleMs, idle } = this.#options;
    // It need not start any more.
    if (this.#child === undefined) return idle();
    this.#cancelIdle = clock.after(idleMs, idle);
  }

  /** Its answer to `initialize`, under a client's id. */
  greeting(id: RequestId): string {
    const text = this.#greeting!;
    return replace(text, [{ spans: findMembers(text).at("id"), by: JSON.stringify(id) }]);
  }

  /** A client asks. */
  ask({ session, message, members }: Outgoing<RequestMessage>, ended?: (outcome: CallOutcome) => void): void {
    this.wishes.listed(session, message.method);
    this.#send(this.#calls.add(session, message, { members, ended }));
  }

  /** A client takes back its request. */
  cancel({ session, message, members }: Outgoing<NotificationMessage>): void {
    const call = this.#calls.cancelled(session, message.params?.requestId);
    if (call === undefined) return;
    this.#send(replace(message.text, [{ spans: members.at("params.requestId"), by: String(call.id) }]));
    call.ended?.("cancelled");
  }

  /** A client tells how far it is with what the child asked of it. */
  progress({ session, message }: Outgoing<NotificationMessage>): void {
    const token = message.params?.progressToken;
    for (const question of this.#questions.values()) {
      if (question.session !== session || question.token === undefined || question.token !== token) continue;
      return this.#send(message.text);
    }
  }

  /**
   * A client answers what the child asked of it.
   *
   * @param text What the child gets instead, where the answer itself cannot be sent.
   */
  answer(session: SharedSession, message: ResponseMessage, text: string = message.text): void {
    if (message.id === null || this.#questions.get(message.id)?.session !== session) return;
    this.#questions.delete(message.id);
    this.#send(text);
  }

  /** A client tells something that concerns no request. */
  tell(text: string): void {
    this.#send(text);
  }

  /** Ends it, and the backends of its sessions. Idempotent. */
  async close(pace?: ClosePace): Promise<void> {
    this.#end({ cause: "exit", detail: "was closed" });
    await this.#child?.close(pace);
  }

  ready(): void {
    this.#greeting = greetingOf(this.#child!.answer!);
    for (const session of [...this.#sessions]) session.begin();
  }

  message(message: Message): void {
    switch (message.kind) {
      case "response":
        return this.#onAnswer(message);
      case "request":
        return this.#onQuestion(message);
      case "notification":
        return this.#onNotification(message);
    }
  }

  garbage(excerpt: string): void {
    log.debug("Server {serverId}: a shared process printed what is no message: {excerpt}", {
      serverId: this.#options.serverId,
      excerpt,
    });
  }

  over(exit: BackendExit): void {
    if (this.#over) return;
    log.warn("Server {serverId}: a process shared by {sessions} session(s) {detail}", {
      serverId: this.#options.serverId,
      sessions: this.#sessions.size,
      detail: exit.detail,
    });
    this.#end(exit);
    this.#options.over(this.#child!.startedAt);
  }

  #onAnswer(message: ResponseMessage): void {
    const answered = this.#calls.answered(message);
    if (answered === undefined) return;
    const { call } = answered;
    call.ended?.(message.result === undefined ? "refused" : "granted");
    call.session.deliver(answered.message);
  }

  #onQuestion(message: RequestMessage): void {
    const { id, method, params } = message;
    if (method === "ping") return this.#send(encodeResult(id, {}));
    // An error under this id would answer the first as well.
    if (this.#questions.has(id)) return this.#drop(method);
    const { whose } = this.#calls;
    if (whose.kind !== "one" || this.#questions.size >= MAX_QUESTIONS) {
      const detail = whose.kind === "nobody"
        ? `no request is in flight that ${method} could be for`
        : whose.kind === "unclear"
        ? `requests of several are in flight, and ${method} names none of them`
        : `${MAX_QUESTIONS} wait for an answer already`;
      return this.#send(rpcErrorText({ code: "noSession", detail }, id));
    }
    this.#questions.set(id, { session: whose.session, token: progressTokenOf(params) });
    whose.session.deliver(message);
  }

  #onNotification(message: NotificationMessage): void {
    const { method, params } = message;
    switch (method) {
      case "notifications/progress": {
        const progress = this.#calls.progress(message);
        return progress === undefined ? this.#drop(method) : progress.session.deliver(progress.message);
      }
      case "notifications/cancelled": {
        const id = params?.requestId as RequestId;
        const question = this.#questions.get(id);
        if (question === undefined || !this.#questions.delete(id)) return this.#drop(method);
        return question.session.deliver(message);
      }
      case "notifications/resources/updated": {
        if (typeof params?.uri !== "string") return this.#drop(method);
        return this.#deliver(message, this.wishes.holders(params.uri));
      }
      case "notifications/message":
        return this.#onLog(message);
    }
    const readers = this.wishes.readersOf(method);
    if (readers !== undefined) return this.#deliver(message, readers);
    const { whose } = this.#calls;
    if (whose.kind === "one") whose.session.deliver(message);
    else this.#drop(method);
  }

  #onLog(message: NotificationMessage): void {
    const { whose } = this.#calls;
    if (whose.kind === "unclear") return this.#drop(message.method);
    const readers = this.wishes.whoWants(message.params?.level);
    this.#deliver(
      message,
      whose.kind === "one" ? readers.filter((session) => session === whose.session) : readers,
    );
  }

  #deliver(message: Message, sessions: Iterable<SharedSession>): void {
    // One that is cut off leaves the sets that are walked here.
    for (const session of [...sessions]) session.deliver(message);
  }

  #drop(method: string): void {
    log.debug("Server {serverId}: dropped {method} of a shared process, it belongs to no session", {
      serverId: this.#options.serverId,
      method,
    });
  }

  /** Asks in nobody's name: the answer goes nowhere. */
  #askItself(method: string, params: Params): void {
    this.#send(encodeRequest(this.#calls.nextId(), method, params));
  }

  #send(text: string): void {
    this.#child?.send(text);
  }

  #end(exit: BackendExit): void {
    if (this.#over) return;
    this.#over = true;
    this.#ticket.leave();
    this.#cancelIdle?.();
    const sessions = [...this.#sessions];
    this.#sessions.clear();
    for (const session of sessions) session.exit(exit);
  }
}

/** What sessions are told of the server: its own words, without the tasks that they could not have. */
function greetingOf({ result, text }: ResponseMessage): string {
  const capabilities = asObject(result?.capabilities);
  if (capabilities?.tasks === undefined) return text;
  const { tasks: _tasks, ...others } = capabilities;
  return encodeResult(0, { ...result, capabilities: others });
}
