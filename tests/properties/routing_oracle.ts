/**
 * Which message must be on which stream, from the words of the design ("HTTP surface"): an answer and an error on the
 * reply to its request; progress on that of the request with its token, where that stream was lost and its client may
 * come back for it too; what is related to a task on that of the
 * request that waits for it; anything else on that of the newest request with an open stream, else on the standalone
 * stream, else it is kept, bounded, for the next one.
 *
 * Everything settles after each command, so there is one right place for each message and one right order. What
 * the gateway says of its own (errors to either side when time is up) it may say when it is due; that it is said in
 * time is another property's subject.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { RequestId } from "../../protocol/jsonrpc.ts";
import type { Channel } from "./routing_channel.ts";
import {
  CLIENT_REPLY_TIMEOUT_MS,
  type Command,
  REQUEST_TIMEOUT_MS,
  SSE_AFTER_MS,
  STALL_MS,
} from "./routing_commands.ts";
import { Line } from "./routing_line.ts";
import { type Fields, relatedTask } from "./routing_messages.ts";
import type { Deed, Party } from "./routing_party.ts";
import { type Asked, Talk } from "./routing_talk.ts";
import type { RoutingWorld } from "./routing_world.ts";

/** See the module's documentation. */
export class RoutingOracle {
  readonly #world: RoutingWorld;
  readonly #talks = new Map<Party, Talk>();
  /** The newest request that each token was used for, of all sessions. */
  readonly #owners = new Map<string, Asked>();
  /** Whether time passed since the last {@link check}. */
  #timePassed = false;

  constructor(world: RoutingWorld) {
    this.#world = world;
    this.meet();
  }

  /** Learns of sessions that were opened. */
  meet(): void {
    for (const party of this.#world.parties) {
      if (!this.#talks.has(party)) this.#talks.set(party, new Talk(party));
    }
  }

  /**
   * Whether a server's message would name a parent that the specification does not allow to be ambiguous: two
   * requests that wait for one task, or one whose token was taken over by another that is over.
   */
  isMoot(command: Command): boolean {
    if (!("who" in command)) return false;
    const talk = this.#talks.get(this.#world.party(command.who))!;
    switch (command.do) {
      case "serverAsks":
      case "serverTells":
        return command.task !== undefined && talk.withTask(command.task).length > 1;
      case "serverReports": {
        const newest = talk.withToken(command.token).at(-1);
        return newest !== undefined && this.#owners.get(ownerKey(talk, command.token)) !== newest;
      }
      default:
        return false;
    }
  }

  /** Time has passed. */
  passed(): void {
    const { now } = this.#world;
    this.#timePassed = true;
    for (const talk of this.#talks.values()) {
      for (const { line, at } of talk.asked.values()) if (now - at >= SSE_AFTER_MS) line.start();
    }
  }

  /** Notes what has to come of a deed. */
  note(party: Party, deed: Deed): void {
    const talk = this.#talks.get(party)!;
    switch (deed.did) {
      case "post":
        return this.#onPost(talk, deed.channel);
      case "get":
        return this.#onGet(talk, deed.channel);
      case "trespass":
        return void talk.lines.push(Line.refused(deed.channel, 404));
      case "say":
        for (const text of deed.texts) this.#onSaid(talk, text);
        return;
      case "delete":
      case "exit":
        return this.#onEnd(talk);
    }
  }

  /** Compares, after everything settled. */
  check(): void {
    for (const talk of this.#talks.values()) {
      this.#checkServer(talk);
      if (this.#timePassed) this.#noteStalls(talk);
      for (const line of talk.lines) line.check(`session ${talk.party.no}`);
    }
    this.#timePassed = false;
  }

  /** All sessions are about to end. */
  end(): void {
    for (const talk of this.#talks.values()) this.#onEnd(talk);
  }

  #onPost(talk: Talk, channel: Channel): void {
    if (talk.over) return void talk.lines.push(Line.refused(channel));
    const line = new Line(channel, channel.posted.length);
    talk.lines.push(line);
    for (const text of channel.posted) {
      const { id, method, params }: Fields = JSON.parse(text);
      if (method === undefined) {
        if (this.#forget(talk, id!)) talk.toServer.push(text);
        line.complete();
      } else if (id === undefined) {
        talk.toServer.push(text);
        if (method === "notifications/cancelled") this.#answered(talk, params!.requestId!, undefined);
        line.complete();
      } else if (talk.asked.has(id)) {
        line.complete({ errorFor: id });
      } else {
        talk.toServer.push(text);
        const token: RequestId | undefined = params?._meta?.progressToken;
        const asked: Asked = { id, line, at: this.#world.now, token, task: params?.taskId };
        talk.asked.set(id, asked);
        if (token !== undefined) this.#owners.set(ownerKey(talk, token), asked);
      }
    }
  }

  /** The newer stream replaces the older one, and gets what waits. */
  #onGet(talk: Talk, channel: Channel): void {
    if (talk.over) return void talk.lines.push(Line.refused(channel, 404));
    const line = new Line(channel, 1);
    talk.lines.push(line);
    talk.standalone?.complete();
    talk.standalone = line;
    line.start();
    for (const { text, question } of talk.kept.splice(0)) {
      line.send(text);
      if (question !== undefined) talk.delivered(question, { line, since: this.#world.now });
    }
  }

  #onSaid(talk: Talk, text: string): void {
    const { id, method, params }: Fields = JSON.parse(text);
    if (method === undefined) return this.#answered(talk, id!, text);
    if (method === "notifications/cancelled") {
      const line = talk.questions.get(params!.requestId!)?.line;
      this.#forget(talk, params!.requestId!);
      if (line?.isOpen) line.send(text);
      return;
    }
    if (method === "notifications/progress") {
      const parent = talk.withToken(params!.progressToken!).at(-1)?.line;
      // It waits there for a client that may come back.
      if (parent?.isLost && talk.party.opening.version >= "2025-11-25") return;
      const line = parent?.isOpen ? parent : talk.standalone;
      if (line?.isOpen) line.send(text);
      return;
    }
    if (id !== undefined) {
      if (talk.questions.has(id)) return;
      talk.questions.set(id, { since: this.#world.now, line: undefined, parent: undefined, dropped: false });
    }
    const task = relatedTask(params);
    const related = task === undefined ? undefined : talk.withTask(task)[0];
    const newest = [...talk.asked.values()].findLast(({ line }) => line.isOpen);
    const parent = related?.line.isOpen ? related : newest;
    const line = parent?.line ?? talk.standalone;
    if (!line?.isOpen) return this.#keep(talk, text, id);
    line.send(text);
    if (id !== undefined) talk.delivered(id, { line, parent, since: this.#world.now });
  }

  #keep(talk: Talk, text: string, question: RequestId | undefined): void {
    talk.kept.push({ text, question });
    while (talk.keepsTooMuch) {
      const [dropped] = talk.kept.splice(0, 1);
      if (dropped!.question !== undefined) talk.questions.get(dropped!.question)!.dropped = true;
    }
  }

  /** A request is over: by the server's answer, or by an error where there is none. */
  #answered(talk: Talk, id: RequestId, text: string | undefined): void {
    const asked = talk.asked.get(id);
    if (asked === undefined) return;
    talk.asked.delete(id);
    asked.line.complete(text ?? { errorFor: id });
  }

  /** A question is over; false where there was none. */
  #forget(talk: Talk, id: RequestId): boolean {
    talk.kept = talk.kept.filter(({ question }) => question !== id);
    return talk.questions.delete(id);
  }

  #onEnd(talk: Talk): void {
    talk.over = true;
    for (const id of [...talk.asked.keys()]) this.#answered(talk, id, undefined);
    talk.questions.clear();
    talk.kept = [];
    talk.standalone?.complete();
    talk.standalone = undefined;
  }

  /** What is not read for so long behind its end may be lost. */
  #noteStalls(talk: Talk): void {
    for (const { channel, over } of talk.lines) {
      if (over && channel.stalledMs(this.#world.now) >= STALL_MS) channel.mayBeCut = true;
    }
  }

  #checkServer(talk: Talk): void {
    const name = `the server of session ${talk.party.no}`;
    for (const text of this.#world.news(talk.party)) {
      const from = this.#world.fromClients.get(text);
      if (from === undefined) this.#checkOwn(talk, JSON.parse(text), name);
      else {
        assertEquals(from.no, talk.party.no, `${name} got what was for another: ${text}`);
        assertEquals(text, talk.toServer.shift(), name);
      }
    }
    assertEquals(talk.toServer, [], `${name} did not get`);
    for (const [id, { dropped }] of talk.questions) {
      assert(!dropped, `${name} was not told that its request ${JSON.stringify(id)} is dropped`);
    }
  }

  /** What the gateway may say to a server of its own: that it waits for something no longer. */
  #checkOwn(talk: Talk, { id, method, params, error }: Fields, name: string): void {
    const { now } = this.#world;
    if (method === "notifications/cancelled") {
      const asked = talk.asked.get(params!.requestId!);
      assert(
        asked && now - asked.at >= REQUEST_TIMEOUT_MS,
        `${name} was told to cancel ${params!.requestId!}`,
      );
      return this.#answered(talk, params!.requestId!, undefined);
    }
    assert(error !== undefined && id !== undefined, `${name} got what nobody sent`);
    const question = talk.questions.get(id);
    assert(
      question && (question.dropped || now - question.since >= CLIENT_REPLY_TIMEOUT_MS),
      `the request ${JSON.stringify(id)} of ${name} was given up`,
    );
    this.#forget(talk, id);
  }
}

/** Tokens of different types are different. */
function ownerKey(talk: Talk, token: RequestId): string {
  return `${talk.party.no} ${JSON.stringify(token)}`;
}
