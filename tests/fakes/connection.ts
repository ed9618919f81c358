/**
 * A response that is a stream of events, read as it comes.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { settle } from "./fake_clock.ts";

/** See the module's documentation. One connection that carries events, read as they come. */
export class Connection {
  readonly events: { id?: string; retry?: string; data: string }[] = [];
  /** Times to come back after that were said without an event. */
  readonly retries: string[] = [];
  ended = false;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(readonly response: Response) {
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    void this.#read();
  }

  /** The messages that came. */
  get messages(): Record<string, unknown>[] {
    return this.events.filter(({ data }) => data !== "").map(({ data }) => JSON.parse(data));
  }

  /** What came, in words. */
  get words(): unknown[] {
    return this.messages.map(({ params, result }) =>
      (params as { n?: number })?.n ?? (result as { n: number }).n
    );
  }

  get lastId(): string {
    return this.events.findLast(({ id }) => id !== undefined)!.id!;
  }

  /** The id of an event. */
  idOf(n: number): string {
    return this.events.find(({ data }) => data.includes(`"n":${n}`))!.id!;
  }

  async hangUp(): Promise<void> {
    await this.#reader.cancel().catch(() => {});
    await settle();
  }

  async #read(): Promise<void> {
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) break;
      const blocks = (this.#rest + value).split("\n\n");
      this.#rest = blocks.pop()!;
      for (const block of blocks) {
        const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s) as [string, string]);
        const event = Object.fromEntries(fields.filter(([name]) => name !== "" && name !== "event"));
        if ("data" in event) this.events.push(event as { data: string });
        else if ("retry" in event) this.retries.push(event.retry!);
      }
    }
    this.ended = true;
  }
}
