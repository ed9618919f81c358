/**
 * A response that is a stream of events, as its client reads it: whole events count, and it may stop reading at any byte.
 *
 * @module
 */

/** One message, and the id of its event. */
export interface Received {
  readonly id: string | undefined;
  readonly text: string;
}

/** See the module's documentation. */
export class Wire {
  /** Messages that came whole. */
  readonly received: Received[] = [];
  /** Ids of events without a message. */
  readonly primed: string[] = [];
  /** Undefined until there is a response. */
  status: number | undefined;
  /** Whether the server ended it. */
  ended = false;
  #rest = "";
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #decoder = new TextDecoder();
  /** Resolved when it reads on; undefined while it does. */
  #thaw: PromiseWithResolvers<void> | undefined;
  #hungUp = false;

  constructor(response: Promise<Response>) {
    void this.#read(response);
  }

  /** Stops reading. What is on its way may still come, in part. */
  freeze(): void {
    this.#thaw ??= Promise.withResolvers();
  }

  get frozen(): boolean {
    return this.#thaw !== undefined;
  }

  /** Hangs up, wherever it is in an event. */
  hangUp(): void {
    this.#hungUp = true;
    this.#reader?.cancel().catch(() => {});
    this.#thaw?.resolve();
  }

  async #read(pending: Promise<Response>): Promise<void> {
    const { status, body } = await pending;
    this.status = status;
    if (status !== 200) {
      await body?.cancel();
      return;
    }
    const reader = this.#reader = body!.getReader();
    for (;;) {
      await this.#thaw?.promise;
      const { done, value } = await reader.read();
      if (this.#hungUp) return;
      if (done) break;
      const blocks = (this.#rest + this.#decoder.decode(value, { stream: true })).split("\n\n");
      this.#rest = blocks.pop()!;
      for (const block of blocks) this.#take(block);
    }
    this.ended = true;
  }

  #take(block: string): void {
    let id: string | undefined;
    let data: string | undefined;
    for (const line of block.split("\n")) {
      if (line.startsWith("id: ")) id = line.slice(4);
      else if (line.startsWith("data: ")) data = line.slice(6);
    }
    if (data) this.received.push({ id, text: data });
    else if (id !== undefined) this.primed.push(id);
  }
}
