/**
 * One HTTP exchange from the client's side: what came of it, message by message.
 *
 * @module
 */
import { assert } from "@std/assert";

/** Sizes of the pieces that a body is cut into before it is read: events and characters end up in several. */
const PIECES = [1, 3, 7, 2, 64, 5, 4_096, 11];

/** Where one request of a client is answered. */
export class Channel {
  readonly posted: readonly string[];
  /** Undefined until there is a response. */
  status: number | undefined;
  kind: "empty" | "json" | "stream" | undefined;
  /** The texts of the messages that came, in order. */
  readonly seen: string[] = [];
  /** Whether the body came to its end. */
  ended = false;
  /** Whether the client hung up. */
  gone = false;
  /** Whether the client does not read for now. */
  stopped = false;
  /** Whether the gateway may have cut it, because it was not read for too long. */
  mayBeCut = false;
  /** Whether events with nothing in them are allowed at the start (since revision 2025-11-25). */
  readonly #mayPrime: boolean;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** When the client stopped to read, in ms of the clock; undefined once it did read again. */
  #stoppedAt: number | undefined;
  #goOn = Promise.withResolvers<void>();
  #failed: unknown;

  /**
   * @param no Its number, by which failures name it.
   * @param posted The texts of the messages that the client sent with it.
   */
  constructor(
    readonly no: number,
    response: Promise<Response>,
    { mayPrime, posted }: { mayPrime: boolean; posted: readonly string[] },
  ) {
    this.posted = posted;
    this.#mayPrime = mayPrime;
    this.#take(response).catch((error) => {
      this.#failed = error;
    });
  }

  /** The client hangs up. Before there is a response, the gateway learns that when it sends one. */
  hangUp(): void {
    this.gone = true;
    this.goOn();
    this.#reader?.cancel().catch(() => {});
  }

  /** The client reads no more for now. */
  stop(now: number): void {
    this.stopped = !this.gone;
    this.#stoppedAt ??= now;
  }

  goOn(): void {
    this.stopped = false;
    this.#goOn.resolve();
    this.#goOn = Promise.withResolvers();
  }

  /** For how long the client has not read, in ms; 0 while it reads. */
  stalledMs(now: number): number {
    return this.stopped ? now - this.#stoppedAt! : 0;
  }

  /** Throws what went wrong while it was read. */
  check(): void {
    if (this.#failed !== undefined) throw this.#failed;
  }

  async #take(pending: Promise<Response>): Promise<void> {
    const response = await pending;
    this.status = response.status;
    if (this.gone) {
      await response.body?.cancel();
      return;
    }
    const type = response.headers.get("content-type");
    this.kind = response.body === null ? "empty" : type === "text/event-stream" ? "stream" : "json";
    if (this.kind === "stream") await this.#readStream(response.body!);
    else if (this.kind === "json") this.#readJson(await response.text());
    this.ended = !this.gone;
  }

  /** An array is a batch; its elements are encoded again, as all that is sent here comes from the same encoder. */
  #readJson(text: string): void {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) this.seen.push(...value.map((element) => JSON.stringify(element)));
    else this.seen.push(text);
  }

  async #readStream(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = this.#reader = body.getReader();
    const decoder = new TextDecoder("utf-8", { fatal: true });
    const lines: string[] = [];
    let rest = "";
    for (;;) {
      while (this.stopped) await this.#goOn.promise;
      this.#stoppedAt = undefined;
      const { done, value } = await reader.read();
      if (done || this.gone) break;
      for (const piece of pieces(value)) {
        rest += decoder.decode(piece, { stream: true });
        for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
          const line = rest.slice(0, end);
          rest = rest.slice(end + 1);
          if (line === "") this.#onEvent(lines.splice(0));
          else lines.push(line);
        }
      }
    }
    // A stream that was left or cut may end anywhere; one that ended by itself ends behind an event.
    if (!this.gone && !this.mayBeCut) {
      assert(rest === "" && lines.length === 0, `#${this.no} ends in the middle of an event`);
    }
  }

  #onEvent(lines: readonly string[]): void {
    if (lines.every((line) => line.startsWith(":"))) return;
    const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
    assert(data.length === 1, `#${this.no} got an event without one line of data: ${lines}`);
    if (data[0] !== "") this.seen.push(data[0]!);
    else assert(this.#mayPrime && this.seen.length === 0, `#${this.no} got an empty event`);
  }
}

/** Small pieces of what was read; large ones once it is long, for the sake of time. */
function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  const factor = bytes.length > 4_096 ? 1_000 : 1;
  for (let at = 0, turn = bytes.length; at < bytes.length; turn++) {
    const end = at + PIECES[turn % PIECES.length]! * factor;
    yield bytes.subarray(at, end);
    at = end;
  }
}
