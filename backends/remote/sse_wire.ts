/**
 * HTTP+SSE, the transport of revision 2024-11-05, over the SDK's client transport. As in `http_wire.ts` the transport
 * speaks and the gateway listens.
 *
 * There is one stream, on which all answers come. The session is gone with it, and its requests with the session: the
 * transport's `EventSource` would come back by itself, to another session that was never initialized. So it never sees
 * the stream's end, only that of the gateway's interest.
 *
 * @module
 */
import type { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse";
import type { Cancel } from "../../clock.ts";
import { discard, mediaTypeOf, readEvents, silent } from "./body.ts";
import { connectionError, UpstreamError } from "./upstream_error.ts";
import { joined, Tasks } from "./waiting.ts";
import { emptyResponse, onFault, type Post, unlessOverlong, type Wire, type WireOptions } from "./wire.ts";

/** The class, which is loaded only where a server of its kind is configured. */
export type TransportClass = typeof SSEClientTransport;

/** A message of the transport's that this file knows of. */
interface Job {
  readonly post: Post;
  readonly signal: AbortSignal;
}

/** See the module's documentation. */
export class SseWire implements Wire {
  readonly #transport: SSEClientTransport;
  readonly #options: WireOptions;
  readonly #jobs = new Map<string, Job>();
  readonly #tasks = new Tasks(onFault);
  readonly #stopped = new AbortController();
  /** Rejects when the stream ends, however it does. */
  readonly #lost = Promise.withResolvers<never>();
  /** What the transport's `EventSource` reads: the first event of the stream, which names the endpoint. */
  #feed: ReadableStreamDefaultController<Uint8Array> | undefined;
  #nextKey = 1;

  constructor(transportClass: TransportClass, options: WireOptions) {
    this.#options = options;
    const { url, headers } = options.upstream;
    this.#transport = new transportClass(url, {
      fetch: (url, init) => this.#fetch(new URL(url), init ?? {}),
      requestInit: { headers },
    });
    this.#lost.promise.catch(() => {});
  }

  async open(): Promise<void> {
    const { clock, upstream } = this.#options;
    const { readTimeoutMs } = upstream;
    const cancel: Cancel = clock.after(readTimeoutMs, () => this.#lost.reject(silent(readTimeoutMs)));
    try {
      await Promise.race([this.#transport.start(), this.#lost.promise]);
    } catch (error) {
      this.stop();
      if (error instanceof UpstreamError) throw error;
      throw new UpstreamError("content", "named no endpoint at its own origin", { cause: error });
    } finally {
      cancel();
    }
  }

  agreed(version: string): void {
    this.#transport.setProtocolVersion(version);
  }

  async post(post: Post): Promise<void> {
    const call = joined(post.signal, this.#stopped.signal);
    const key = String(this.#nextKey++);
    this.#jobs.set(key, { post, signal: call.signal });
    const aborted = new Promise<never>((_, reject) => {
      const abort = () => reject(new UpstreamError("closed", "was let go of"));
      if (call.signal.aborted) abort();
      else call.signal.addEventListener("abort", abort);
    });
    aborted.catch(() => {});
    try {
      await this.#transport.send({ jsonrpc: "2.0", method: key });
      post.taken();
      if (post.kind !== "tell") await Promise.race([post.whenAnswered, this.#lost.promise, aborted]);
    } catch (error) {
      if (!post.answered) throw connectionError(error);
    } finally {
      this.#jobs.delete(key);
      call.end();
    }
  }

  /** It listens from the start. */
  listen(): void {}

  /** Nothing that is on its way could still be answered elsewhere. */
  retire(): void {
    void this.close();
  }

  stop(): void {
    this.#stopped.abort();
    this.#lost.reject(new UpstreamError("closed", "was let go of"));
    try {
      this.#feed?.error(new DOMException("The stream is over", "AbortError"));
    } catch {
      // It was ended before.
    }
  }

  /** The session ends with the stream: there is nothing to tell. */
  terminate(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    this.stop();
    await this.#tasks.ended();
    await this.#transport.close();
  }

  /** What the transport, and the `EventSource` in it, call instead of `fetch`. */
  async #fetch(url: URL, init: RequestInit): Promise<Response> {
    const { upstream } = this.#options;
    const headers = new Headers(init.headers);
    const method = init.method ?? "GET";
    if (method === "GET") return await this.#connect(url, headers);
    const { post, signal } = this.#jobs.get(JSON.parse(String(init.body)).method)!;
    const { response, location } = await upstream.fetch(
      url,
      { method, headers, body: post.text },
      // The answer comes on the stream, so this one is due at once.
      { headWithinMs: upstream.readTimeoutMs, signal },
    );
    discard(response.body);
    return emptyResponse(location === undefined ? 202 : response.status, { location });
  }

  /** Opens the stream. Where that fails the `EventSource` is told of an abort, or it would try again by itself. */
  async #connect(url: URL, headers: Headers): Promise<Response> {
    const { upstream } = this.#options;
    const signal = this.#stopped.signal;
    try {
      const { response, location } = await upstream.fetch(url, { method: "GET", headers }, {
        headWithinMs: upstream.readTimeoutMs,
        isFirst: true,
        signal,
      });
      if (location !== undefined) return emptyResponse(response.status, { location });
      if (mediaTypeOf(response) !== "text/event-stream") {
        discard(response.body);
        throw new UpstreamError("content", "answered with no event stream", { status: response.status });
      }
      this.#tasks.run(() => this.#read(response));
    } catch (error) {
      this.#lost.reject(connectionError(error));
      throw new DOMException("The stream did not open", "AbortError");
    }
    const feed = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#feed = controller) });
    return new Response(feed, { headers: { "content-type": "text/event-stream" } });
  }

  async #read(response: Response): Promise<void> {
    const { events, rules } = this.#options;
    let isNamed = false;
    let error = new UpstreamError("lost", "ended its event stream");
    const reading = readEvents(response.body, {
      event: ({ event = "message", data }) => {
        if (this.#stopped.signal.aborted) return;
        if (event === "endpoint" && !isNamed) {
          isNamed = true;
          this.#feed?.enqueue(
            new TextEncoder().encode(`event: endpoint\ndata: ${data.replace(/\s/g, "")}\n\n`),
          );
        } else if (event === "message" && data !== "") {
          events.text(data);
        }
      },
      retry() {},
    }, rules);
    try {
      await unlessOverlong(reading, events);
    } catch (cause) {
      error = connectionError(cause);
    }
    const isNews = !this.#stopped.signal.aborted;
    this.#lost.reject(error);
    if (isNews) events.lost(error);
  }
}
