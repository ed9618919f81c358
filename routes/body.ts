/**
 * Reads the body of a request, within its bounds of size and time.
 *
 * Nearly every body is small and has a `Content-Length`: it is read in one go, for about what `request.text()`
 * costs. A length over the bound is refused before anything is read, and a body without a length as soon as more
 * than the bound has come.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Cancel, Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { Gathered } from "../gathered.ts";

/** How to make a {@link BodyReader}. */
export interface BodyOptions {
  readonly clock: Clock;
  /** How long a body may take from its headers to its end, in ms. */
  readonly timeoutMs: number;
  /** The longest body for a server, in bytes. */
  readonly maxBytes: (serverId: string) => number;
}

/** The bounds where nobody sets others. */
export const BODY_DEFAULTS = { timeoutMs: 30_000, maxBytes: () => 4 * 1024 * 1024 } as const;

/** A body that has not come to its end. */
interface Pending {
  readonly dueAt: number;
  readonly settle: (failure: Failure) => void;
}

/** By the standard it drops a byte order mark. It is several times faster than one that is strict. */
const utf8 = new TextDecoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

/** See the module's documentation. One serves all requests. */
export class BodyReader {
  readonly #options: BodyOptions;
  /** In the order in which they are due: all have the same time. */
  readonly #pending = new Set<Pending>();
  /** One timer for all, for the oldest at the time it was set: one for each costs a tenth of an echo. */
  #cancelTimer: Cancel | undefined;

  constructor(options: BodyOptions) {
    this.#options = options;
  }

  /**
   * The body of a request to a server as text, or why it cannot be had. Never rejects.
   *
   * @param serverId Whose bound holds.
   */
  read(request: Request, serverId: string): Promise<string | Failure> {
    return this.readWithin(request, this.#options.maxBytes(serverId));
  }

  /** Why a body that was read within another bound is too long for a server. */
  refusalOf(text: string, serverId: string): Failure | undefined {
    const maxBytes = this.#options.maxBytes(serverId);
    // No text has more bytes than three for each of its units.
    if (text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes) return undefined;
    return tooLarge(maxBytes);
  }

  /** The same for what goes to no server. */
  readWithin(request: Request, maxBytes: number): Promise<string | Failure> {
    const { clock, timeoutMs } = this.#options;
    const length = request.headers.get("content-length");
    if (Number(length) > maxBytes) return Promise.resolve(tooLarge(maxBytes));
    return new Promise((resolve) => {
      const pending: Pending = { dueAt: clock.now() + timeoutMs, settle: resolve };
      this.#pending.add(pending);
      this.#cancelTimer ??= clock.after(timeoutMs, this.#onTime);
      const settle = (result: Uint8Array | Failure) => {
        this.#pending.delete(pending);
        resolve("code" in result ? result : textOf(result));
      };
      // What fails is that the client hung up, and then nobody reads this; or that the time was up before.
      const hungUp = () => settle({ code: "badRequest", detail: "the body ended early" });
      // The HTTP server sees to it that no more comes than the header says.
      if (length !== null) request.bytes().then(settle, hungUp);
      else this.#gather(request, maxBytes, pending).then(settle, hungUp);
    });
  }

  /** Stops the timer; bodies that still come are not timed any more. For tests and for the end. */
  close(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /** Reads a body of unknown length, chunk by chunk. */
  async #gather(
    { body }: Request,
    maxBytes: number,
    pending: Pending,
  ): Promise<Uint8Array | Failure> {
    if (body === null) return new Uint8Array(0);
    const gathered = new Gathered();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return gathered.bytes;
      // Of what comes now nothing is kept; the HTTP server takes it off the connection.
      const over = gathered.byteLength + value.byteLength > maxBytes;
      if (over || !this.#pending.has(pending)) {
        reader.cancel().catch(() => {});
        return tooLarge(maxBytes);
      }
      gathered.push(value);
    }
  }

  readonly #onTime = (): void => {
    this.#cancelTimer = undefined;
    const { clock, timeoutMs } = this.#options;
    const now = clock.now();
    for (const pending of this.#pending) {
      if (pending.dueAt > now) {
        this.#cancelTimer = clock.after(pending.dueAt - now, this.#onTime);
        return;
      }
      this.#pending.delete(pending);
      pending.settle({ code: "bodyTimeout", detail: `it took more than ${timeoutMs} ms` });
    }
  };
}

function tooLarge(maxBytes: number): Failure {
  return { code: "bodyTooLarge", detail: `at most ${maxBytes} bytes are taken` };
}

/** Bytes that are no UTF-8 are refused: replacing them would change what the client said. */
function textOf(bytes: Uint8Array): string | Failure {
  const text = utf8.decode(bytes);
  // The mark of what could not be read may also be meant: only then the strict decoder is asked.
  if (!text.includes("\uFFFD")) return text;
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return { code: "badJson", detail: "it is not valid UTF-8" };
  }
}
