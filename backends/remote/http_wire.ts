/**
 * Streamable HTTP over the SDK's client transport.
 *
 * The transport speaks: it knows the headers of a session, its version, its DELETE and which redirects keep a request
 * what it is. The gateway listens: the transport would parse what the server says and hand over objects, while the
 * gateway forwards texts as they came; it knows no bound of a message, no pause, and comes back for a stream on timers
 * of its own. So what it is given to send stands for the text that is really sent, its requests go through this file's
 * `fetch`, and the bodies of responses stay here. See ADR 10.
 *
 * @module
 */
import type { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp";
import type { Cancel } from "../../clock.ts";
import { logger } from "../../log.ts";
import { SESSION_HEADER } from "../../protocol/revisions.ts";
import { BackOff } from "../back_off.ts";
import { discard, mediaTypeOf, readEvents, readText, sessionIdOf } from "./body.ts";
import { Comeback, type Progress } from "./comeback.ts";
import { asUpstreamError, isFinal, UpstreamError } from "./upstream_error.ts";
import { joined, sleep, Tasks } from "./waiting.ts";
import { emptyResponse, onFault, type Post, unlessOverlong, type Wire, type WireOptions } from "./wire.ts";

/** How often a request whose stream broke off is asked for again, before it is given up. */
const MAX_RESUMES = 5;
/** How long the stream of a request may stay open once that is answered, in ms. */
const LINGER_MS = 5_000;
const NO_RECONNECTION = {
  maxRetries: 0,
  initialReconnectionDelay: 0,
  maxReconnectionDelay: 0,
  reconnectionDelayGrowFactor: 1,
};

const log = logger("backend");

/** The class, which is loaded only where a server of its kind is configured. */
export type TransportClass = typeof StreamableHTTPClientTransport;

/** A request of the transport's that this file knows of. */
interface Job {
  /** What is sent in the place of its stand-in; undefined for a GET. */
  readonly post: Post | undefined;
  /** The event that a stream is to go on after. */
  readonly lastEventId: string | undefined;
  readonly signal: AbortSignal;
  response: Response | undefined;
}

/** See the module's documentation. */
export class HttpWire implements Wire {
  readonly #transport: StreamableHTTPClientTransport;
  readonly #options: WireOptions;
  readonly #jobs = new Map<string, Job>();
  readonly #tasks = new Tasks(onFault);
  readonly #stopped = new AbortController();
  readonly #retired = new AbortController();
  #nextKey = 1;
  /** Messages on their way, or waiting for their answer. */
  #posting = 0;
  readonly #comeback = new Comeback();
  #listening = false;
  /** What ends the request by which the session is ended. */
  #deletion: AbortSignal | undefined;

  constructor(transportClass: TransportClass, options: WireOptions) {
    this.#options = options;
    const { url, headers } = options.upstream;
    this.#transport = new transportClass(url, {
      fetch: (url, init) => this.#fetch(new URL(url), init ?? {}),
      requestInit: { headers },
      // It would come back on timers that it forgets to clear. The gateway comes back by itself.
      reconnectionOptions: NO_RECONNECTION,
    });
  }

  async open(): Promise<void> {
    await this.#transport.start();
  }

  agreed(version: string): void {
    this.#transport.setProtocolVersion(version);
  }

  async post(post: Post): Promise<void> {
    const { clock } = this.#options;
    const call = joined(post.signal, this.#stopped.signal);
    // A stream has nothing more to say once its request is answered; it is given the time to end in good order.
    let linger: Cancel | undefined = () => {};
    void post.whenAnswered.then(() => {
      if (linger !== undefined) linger = clock.after(LINGER_MS, call.abort);
    });
    this.#posting++;
    try {
      const job: Job = { post, lastEventId: undefined, signal: call.signal, response: undefined };
      const response = await this.#ask(job, (key) => this.#transport.send({ jsonrpc: "2.0", method: key }));
      post.taken();
      if (post.kind === "tell") discard(response.body);
      else await this.#readAnswer(response, post, call.signal);
    } catch (error) {
      // What breaks after the answer costs nobody anything.
      if (!post.answered) throw this.#judged(error);
    } finally {
      linger();
      linger = undefined;
      call.end();
      if (--this.#posting === 0 && this.#retired.signal.aborted) void this.close();
    }
  }

  /** Not found is the session only where there is one; else it is what was asked for. */
  #judged(error: unknown): unknown {
    if (!(error instanceof UpstreamError) || error.trouble !== "session") return error;
    if (this.#transport.sessionId !== undefined) return error;
    const { message, status = 404, answer } = error;
    return new UpstreamError("status", message, { status, answer });
  }

  listen(): void {
    if (this.#listening || this.#stopped.signal.aborted) return;
    this.#listening = true;
    this.#tasks.run(() => this.#listen());
  }

  retire(): void {
    this.#retired.abort();
    if (this.#posting === 0) void this.close();
  }

  stop(): void {
    this.#stopped.abort();
  }

  async terminate(signal: AbortSignal): Promise<void> {
    if (this.#transport.sessionId === undefined || signal.aborted) return;
    const call = joined(signal);
    this.#deletion = call.signal;
    try {
      await this.#transport.terminateSession();
    } catch (error) {
      log.debug("A session of a remote server was not ended there: {why}", {
        why: asUpstreamError(error).message,
      });
    } finally {
      call.end();
    }
  }

  async close(): Promise<void> {
    this.stop();
    await this.#tasks.ended();
    await this.#transport.close();
  }

  /** What the transport calls instead of `fetch`. */
  async #fetch(url: URL, init: RequestInit): Promise<Response> {
    const { upstream } = this.#options;
    const headers = new Headers(init.headers);
    const method = init.method ?? "GET";
    if (method === "DELETE") {
      const { response, location } = await upstream.fetch(url, { method, headers }, {
        headWithinMs: upstream.readTimeoutMs,
        signal: this.#deletion!,
      });
      discard(response.body);
      return emptyResponse(response.status, { location });
    }
    const key = method === "POST" ? JSON.parse(String(init.body)).method : headers.get("last-event-id");
    const job = this.#jobs.get(key)!;
    const { post, lastEventId, signal } = job;
    headers.delete("last-event-id");
    if (lastEventId !== undefined) headers.set("last-event-id", lastEventId);
    // How long an answer takes is for the session to watch over: it may be the head that waits for it.
    const asks = post !== undefined && post.kind !== "tell";
    const { response, location } = await upstream.fetch(
      url,
      { method, headers, ...(post !== undefined && { body: post.text }) },
      {
        headWithinMs: asks ? Infinity : upstream.readTimeoutMs,
        isFirst: post?.kind === "initialize",
        signal,
      },
    );
    if (location !== undefined) return emptyResponse(response.status, { location });
    job.response = response;
    // To the transport 202 is "taken, nothing to read here", and so is a GET's 200 without a body.
    return emptyResponse(
      post === undefined ? 200 : 202,
      post?.kind === "initialize" ? { [SESSION_HEADER]: sessionIdOf(response) } : {},
    );
  }

  /** Lets the transport make a request. @throws {UpstreamError} */
  async #ask(job: Job, request: (key: string) => Promise<void>): Promise<Response> {
    const key = String(this.#nextKey++);
    this.#jobs.set(key, job);
    try {
      await request(key);
      return job.response!;
    } catch (error) {
      discard(job.response?.body ?? null);
      throw asUpstreamError(error);
    } finally {
      this.#jobs.delete(key);
    }
  }

  /** Reads a stream that the server keeps for a GET, until it ends. @throws {UpstreamError} */
  async #follow(progress: Progress, ...signals: AbortSignal[]): Promise<void> {
    const call = joined(...signals);
    try {
      const { lastEventId } = progress;
      const job: Job = { post: undefined, lastEventId, signal: call.signal, response: undefined };
      // The key takes the place of the event's id until `#fetch` has it.
      const response = await this.#ask(job, (key) => this.#transport.resumeStream(key));
      if (mediaTypeOf(response) !== "text/event-stream") {
        discard(response.body);
        throw new UpstreamError("content", "answered with no event stream", { status: response.status });
      }
      await this.#readStream(response, progress, call.signal);
    } finally {
      call.end();
    }
  }

  /** Reads what answers a request, to its end. */
  async #readAnswer(response: Response, post: Post, signal: AbortSignal): Promise<void> {
    const { events, rules } = this.#options;
    const type = mediaTypeOf(response);
    if (type === "text/event-stream") return await this.#readStreams(response, post, signal);
    if (type !== "application/json") {
      discard(response.body);
      const shown = /^[\w.+/-]{1,60}$/.test(type) ? type : "nothing to read";
      throw new UpstreamError("content", `answered a request with ${shown} (HTTP ${response.status})`);
    }
    const text = await unlessOverlong(readText(response.body, rules), events);
    if (text !== undefined && !signal.aborted) events.text(text);
    if (!post.answered) throw new UpstreamError("content", "answered a request with what is no answer to it");
  }

  /** Reads the stream of a request, and where it breaks off comes back for the rest. */
  async #readStreams(response: Response, post: Post, signal: AbortSignal): Promise<void> {
    const progress: Progress = { lastEventId: undefined, moved: false };
    let broken: unknown = new UpstreamError("lost", "ended the stream of a request before it answered");
    try {
      await this.#readStream(response, progress, signal);
    } catch (error) {
      broken = error;
    }
    for (let attempt = 1; !post.answered && !signal.aborted; attempt++) {
      if (progress.lastEventId === undefined || attempt > MAX_RESUMES) throw broken;
      await sleep(this.#options.clock, this.#comeback.afterMs(attempt), signal);
      if (signal.aborted) break;
      progress.moved = false;
      try {
        await this.#follow(progress, signal);
      } catch (error) {
        if (isFinal(error)) throw error;
        broken = error;
      }
      if (progress.moved) attempt = 0;
    }
    if (!post.answered) throw new UpstreamError("closed", "was let go of");
  }

  /** The standalone stream, for as long as the server has one. */
  async #listen(): Promise<void> {
    const { clock } = this.#options;
    const ends = joined(this.#stopped.signal, this.#retired.signal);
    const backOff = new BackOff();
    const progress: Progress = { lastEventId: undefined, moved: false };
    while (!ends.signal.aborted) {
      const startedAt = clock.now();
      try {
        await this.#follow(progress, ends.signal);
      } catch (error) {
        if (isFinal(error)) break;
      }
      const now = clock.now();
      backOff.ended(startedAt, now);
      await sleep(clock, Math.max(this.#comeback.afterMs(1), backOff.until - now), ends.signal);
    }
    ends.end();
  }

  async #readStream(response: Response, progress: Progress, signal: AbortSignal): Promise<void> {
    const { events, rules } = this.#options;
    const reading = readEvents(response.body, {
      event: ({ id, event = "message", data }) => {
        if (id) [progress.lastEventId, progress.moved] = [id, true];
        if (data !== "" && event === "message" && !signal.aborted) events.text(data);
      },
      retry: (ms) => this.#comeback.said(ms),
    }, rules);
    await unlessOverlong(reading, events);
  }
}
