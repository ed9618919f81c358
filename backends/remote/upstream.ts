/**
 * The HTTP side of one backend: every request of its transports goes through {@link Upstream.fetch}, which holds the
 * rules that the SDK's transports leave to the caller.
 *
 * - Nothing goes to another origin than that of the entry's URL, redirects included. Within it the transport follows.
 * - Every wait has an end: for a connection, for the head of a response that is due at once, for the rest of a body.
 * - What is no success never gets to the transport: it would read a body of any size and quote it.
 *
 * The connections are this backend's own, and go with it.
 *
 * @module
 */
import type { Clock } from "../../clock.ts";
import type { RemoteServer } from "../../config/types.ts";
import { asObject, parseMessage } from "../../protocol/jsonrpc.ts";
import { discard, readText, silent } from "./body.ts";
import { connectionError, UpstreamError } from "./upstream_error.ts";
import { Gate, settledOr } from "./waiting.ts";

/** Of an answer that is no success so much is read, in bytes: an error object is short. */
const MAX_ERROR_BYTES = 64 * 1024;
/** With this code a server of a later revision answers `initialize`. */
const MODERN_CODE = -32022;
/** Variables that put a proxy in between: what can be connected to then says nothing of the server. */
const PROXY_VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/** How to make an {@link Upstream}. */
export interface UpstreamOptions {
  readonly server: RemoteServer;
  readonly clock: Clock;
  /** Headers of the client that are handed on. */
  readonly forwarded: Readonly<Record<string, string>>;
}

/** What a request needs beside what `fetch` takes. */
export interface CallRules {
  /** How long the head of the response may take, in ms; Infinity where the session watches over that. */
  readonly headWithinMs: number;
  /** Whether this is the first contact: then somebody has to be there within `connectTimeoutMs`. */
  readonly isFirst?: boolean;
  /** Ends the request and the reading of its response. It belongs to this request alone, and goes with it. */
  readonly signal: AbortSignal;
}

/** See the module's documentation. */
export class Upstream {
  readonly url: URL;
  /** All that is sent with each request, the transport's own aside. Values may be secrets. */
  readonly headers: Readonly<Record<string, string>>;
  readonly #server: RemoteServer;
  readonly #clock: Clock;
  readonly #client: Deno.HttpClient;

  constructor({ server, clock, forwarded }: UpstreamOptions) {
    this.url = new URL(server.url);
    this.headers = { ...forwarded, ...server.headers };
    this.#server = server;
    this.#clock = clock;
    this.#client = Deno.createHttpClient(server.caCerts === undefined ? {} : { caCerts: [server.caCerts] });
  }

  /** How long what is due at once may take, in ms. */
  get readTimeoutMs(): number {
    return this.#server.readTimeoutMs;
  }

  /**
   * One request and the head of its response.
   *
   * @returns A success, or with a `location` a redirect within the origin, whose body was let go of.
   * @throws {UpstreamError} For all else.
   */
  async fetch(
    url: URL,
    init: { method: string; headers: Headers; body?: string },
    { headWithinMs, isFirst = false, signal }: CallRules,
  ): Promise<{ readonly response: Response; readonly location?: string }> {
    if (url.origin !== this.url.origin) throw elsewhere(url.origin);
    const call = new AbortController();
    const abort = () => call.abort(new UpstreamError("closed", "was let go of"));
    if (signal.aborted) abort();
    // It stays while the body is read.
    signal.addEventListener("abort", abort);
    const cancels = [
      ...(headWithinMs === Infinity ? [] : [
        this.#clock.after(headWithinMs, () => call.abort(silent(headWithinMs))),
      ]),
      ...(isFirst ? [this.#watchConnection(call)] : []),
    ];
    try {
      const response = await fetch(url, {
        ...init,
        redirect: "manual",
        signal: call.signal,
        client: this.#client,
      });
      return await this.#checked(response, url);
    } catch (error) {
      signal.removeEventListener("abort", abort);
      throw connectionError(error);
    } finally {
      for (const cancel of cancels) cancel();
    }
  }

  /** Lets go of all connections. */
  close(): void {
    this.#client.close();
  }

  async #checked(
    response: Response,
    url: URL,
  ): Promise<{ readonly response: Response; readonly location?: string }> {
    const { status, headers, body } = response;
    if (status >= 200 && status < 300) return { response };
    const location = headers.get("location");
    if (status >= 300 && status < 400 && location !== null) {
      discard(body);
      const target = URL.parse(location, url);
      if (target === null || target.origin !== this.url.origin) throw elsewhere(target?.origin);
      return { response, location };
    }
    const text = await readText(body, {
      clock: this.#clock,
      gate: new Gate(),
      maxBytes: MAX_ERROR_BYTES,
      readTimeoutMs: this.#server.readTimeoutMs,
    }).catch(() => "");
    throw refusal(response, text);
  }

  /**
   * The runtime's `fetch` cannot say whether it is still connecting. Where nothing came for half of the time, another
   * connection is tried for the other half: if that fails there is nobody.
   */
  #watchConnection(call: AbortController): () => void {
    if (PROXY_VARIABLES.some((name) => Deno.env.get(name))) return () => {};
    const { connectTimeoutMs } = this.#server;
    const ended = new AbortController();
    const halfMs = connectTimeoutMs / 2;
    const cancel = this.#clock.after(halfMs, () => {
      void this.#reach(halfMs, ended.signal).then((error) => {
        if (error !== undefined && !ended.signal.aborted) call.abort(error);
      });
    });
    return () => {
      cancel();
      ended.abort();
    };
  }

  /** Tries whether a connection comes about. @returns Why not. */
  async #reach(withinMs: number, ended: AbortSignal): Promise<UpstreamError | undefined> {
    const { hostname, port, protocol } = this.url;
    const attempt = new AbortController();
    let late = false;
    const cancel = this.#clock.after(withinMs, () => {
      late = true;
      attempt.abort();
    });
    const connecting = Deno.connect({
      hostname: hostname.replace(/^\[|\]$/g, ""),
      port: Number(port || (protocol === "https:" ? 443 : 80)),
      signal: attempt.signal,
    }).then((connection) => connection.close());
    await settledOr(connecting, ended);
    attempt.abort();
    cancel();
    try {
      await connecting;
      return undefined;
    } catch (error) {
      if (!late) return ended.aborted ? undefined : connectionError(error);
      return new UpstreamError(
        "unreachable",
        `could not be reached: no connection within ${this.#server.connectTimeoutMs} ms`,
      );
    }
  }
}

function elsewhere(origin: string | undefined): UpstreamError {
  const where = origin === undefined || origin === "null"
    ? "elsewhere"
    : `to another origin (${origin.slice(0, 200)})`;
  return new UpstreamError("content", `redirects ${where}, which is not followed`);
}

/** What an answer that is no success means. Of its body only numbers are shown. */
function refusal({ status }: Response, text: string): UpstreamError {
  const message = parseMessage(text);
  const isError = message.kind === "response" && message.error !== undefined;
  const code = isError ? message.error!.code : codeIn(text);
  if (code === MODERN_CODE) {
    return new UpstreamError("modern", `answered with code ${MODERN_CODE}`, { status });
  }
  const answer = isError && message.id !== null ? message.text : undefined;
  const detail = `answered with HTTP ${status}${code === undefined ? "" : ` and code ${code}`}`;
  return new UpstreamError(status === 404 ? "session" : "status", detail, { status, answer });
}

/** Some leave out the version or the id of JSON-RPC. */
function codeIn(text: string): number | undefined {
  try {
    const code = asObject(asObject(JSON.parse(text))?.error)?.code;
    return Number.isInteger(code) ? code as number : undefined;
  } catch {
    return undefined;
  }
}
