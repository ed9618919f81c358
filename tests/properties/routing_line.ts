/**
 * What has to come on one HTTP response, and the comparison with what its client saw.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { RequestId } from "../../protocol/jsonrpc.ts";
import type { Channel } from "./routing_channel.ts";
import type { Fields } from "./routing_messages.ts";

/** A message of the server, word for word, or an error of the gateway's own for a request. */
export type Expected = string | { readonly errorFor: RequestId };

/** The response to a POST of one or more messages, or to a GET. */
export class Line {
  readonly channel: Channel;
  readonly #messages: Expected[] = [];
  /** Messages of the POST that are not complete; 1 for a GET that is not replaced. */
  #left: number;
  /** Whether it is a stream of events; otherwise the answers come together as JSON. */
  #streams = false;
  /** Whether the gateway knows that the client hung up. It learns that when there is a stream. */
  #knownGone = false;
  /** Set where it must not get through: the status, or undefined for any error. */
  #refused: { readonly status: number | undefined } | undefined;

  constructor(channel: Channel, parts: number) {
    this.channel = channel;
    this.#left = parts;
  }

  /** The response to what must not get through. */
  static refused(channel: Channel, status?: number): Line {
    const line = new Line(channel, 0);
    line.#refused = { status };
    return line;
  }

  get over(): boolean {
    return this.#left === 0;
  }

  /** Whether something may be sent on it, as far as the gateway can know. */
  get isOpen(): boolean {
    return !this.over && !this.#knownGone;
  }

  /** Whether its client hung up on a stream that is not over. */
  get isLost(): boolean {
    return !this.over && this.#knownGone;
  }

  /** It becomes a stream, beginning with the answers that are there. */
  start(): void {
    if (!this.over) this.#streams = true;
  }

  send(text: string): void {
    this.start();
    this.#messages.push(text);
  }

  /** One of its messages is complete, with this answer. */
  complete(answer?: Expected): void {
    if (answer !== undefined) this.#messages.push(answer);
    if (this.#left > 0) this.#left--;
  }

  /** Compares. Everything has settled. */
  check(session: string): void {
    const { channel } = this;
    const { seen, ended, status, kind } = channel;
    const name = `#${channel.no} of ${session}`;
    assert(
      seen.length <= this.#messages.length || this.#refused,
      `${name} got ${seen[this.#messages.length]}`,
    );
    if (!this.#refused) seen.forEach((text, at) => this.#compare(text, this.#messages[at]!, name));
    this.#knownGone = channel.gone && this.#streams;
    if (channel.gone) return;
    if (this.#refused) {
      assert(status !== undefined && status >= 400 && kind === "json", `${name} was not refused: ${status}`);
      assertEquals(status, this.#refused.status ?? status, name);
    } else if (!this.#streams && !this.over) {
      assertEquals(status, undefined, `${name} has a response before its time`);
    } else {
      const expected = this.#streams ? "stream" : this.#messages.length > 0 ? "json" : "empty";
      assertEquals(kind, expected, name);
      if (kind === "empty") assertEquals(status, 202, name);
      if (channel.stopped || channel.mayBeCut) return;
      assertEquals(seen.length, this.#messages.length, `${name} did not get ${this.#messages[seen.length]}`);
      assertEquals(ended, this.over, `whether ${name} ended`);
    }
  }

  #compare(text: string, expected: Expected, name: string): void {
    if (typeof expected === "string") return assertEquals(text, expected, name);
    const { id, error }: Fields = JSON.parse(text);
    assertEquals(id, expected.errorFor, `${name}: the id of an error`);
    assert(error !== undefined && error.data?.serial === undefined, `${name} got ${text} for an error`);
  }
}
