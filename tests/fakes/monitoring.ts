/**
 * The application, seen by those who watch it: sessions of several principals and servers on fake time, and the
 * monitoring API over them. Whatever was answered or logged is searched for session ids at the end.
 *
 * @module
 */
import { assert, assertEquals, assertExists } from "@std/assert";
import type { Session, SessionKind, SupervisedServer } from "../../actors/supervisor.ts";
import { Access, digestOf, type Token } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { BODY_DEFAULTS, BodyReader } from "../../routes/body.ts";
import { EventFeed } from "../../routes/event_feed.ts";
import type { SweepStatus } from "../../routes/session_summary.ts";
import { FakeBackend } from "./fake_backend.ts";
import { FakeReply } from "./fake_client.ts";
import { settle } from "./fake_clock.ts";
import { Harness, type HarnessOptions, LIMITS, request, SERVER } from "./harness.ts";
import { LogCapture } from "./log_capture.ts";

/** A server beside {@link SERVER}. */
export const OTHER = "other";
const ORIGIN = "http://localhost";

/** Who holds a token of that name; `cat` may use {@link OTHER} only. */
export type Who = "admin" | "ann" | "bob" | "cat" | "nobody" | undefined;

/** What was answered. */
export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // deno-lint-ignore no-explicit-any
  readonly body: any;
}

/** How to make a {@link Monitoring}. */
export interface MonitoringOptions extends HarnessOptions {
  /** Whether tokens are required; open unless so. */
  readonly tokens?: boolean;
  /** Whether one of them is the administrator's; true unless said otherwise. */
  readonly admin?: boolean;
  readonly sweep?: SweepStatus;
  readonly rssOf?: (pid: number) => Promise<number | undefined>;
  readonly maxBufferBytes?: number;
}

/** See the module's documentation. */
export class Monitoring implements AsyncDisposable {
  readonly harness: Harness;
  readonly feed: EventFeed;
  /** All that was answered. */
  readonly said: string[] = [];
  readonly #app: (request: Request) => Response | Promise<Response>;
  readonly #bodies: BodyReader;
  readonly #log: LogCapture;
  readonly #ids: string[] = [];

  static async start(options: MonitoringOptions = {}): Promise<Monitoring> {
    return new Monitoring(options, await LogCapture.start());
  }

  private constructor(
    { tokens = false, admin = true, sweep, rssOf, maxBufferBytes, ...options }: MonitoringOptions,
    log: LogCapture,
  ) {
    this.#log = log;
    const other: SupervisedServer = {
      id: OTHER,
      limits: { ...LIMITS, ...options.limits, idleTtlMs: 60_000 },
      origins: { idleTtlMs: "file" },
      maxSessions: 50,
      backend: (owner, events) => {
        const backend = new FakeBackend(owner, events, { autoInitialize: harness.autoInitialize });
        harness.backends.push(backend);
        return backend;
      },
    };
    const harness = this.harness = new Harness({ ...options, moreServers: [other] });
    const { clock, supervisor, scale } = harness;
    const token = (name: string, more: Partial<Token> = {}): Token => ({
      principal: name,
      digest: digestOf(name),
      servers: undefined,
      expiresAtMs: undefined,
      ...more,
    });
    this.feed = new EventFeed({
      supervisor,
      clock,
      ...(maxBufferBytes !== undefined && { maxBufferBytes }),
    });
    this.#bodies = new BodyReader({ clock, ...BODY_DEFAULTS });
    this.#app = createApp({
      access: new Access({
        clock,
        tokenRequired: tokens,
        tokens: tokens
          ? [
            token("ann"),
            token("bob"),
            token("cat", { servers: new Set([OTHER]) }),
            ...(admin ? [token("admin", { isAdmin: true })] : []),
          ]
          : [],
        allowedOrigins: ["http://page.example"],
        allowedHosts: [],
        onLoopback: true,
      }),
      supervisor,
      clock,
      implicitSessions: true,
      sweep,
      scale,
      ...(rssOf !== undefined && { rssOf }),
      feed: this.feed,
      bodies: this.#bodies,
    });
  }

  /** Opens a session. */
  async open(
    { serverId = SERVER, principal = "anyone", kind }: {
      serverId?: string;
      principal?: string;
      kind?: SessionKind;
    } = {},
  ): Promise<{ session: Session; backend: FakeBackend; id: string; handle: string }> {
    const reply = new FakeReply();
    const before = this.harness.backends.length;
    this.harness.supervisor.open({
      serverId,
      principal,
      opener: { tag: "message", message: request("initialize", { id: "init" }), reply },
      implicitVersion: undefined,
      ...(kind !== undefined && { kind }),
    });
    await settle();
    assertExists(reply.sessionId, "the opening named no session");
    const session = this.harness.supervisor.find(serverId, reply.sessionId, principal);
    assertExists(session);
    this.#ids.push(session.id);
    return { session, backend: this.harness.backends[before]!, id: session.id, handle: session.handle };
  }

  /** Sends a request as somebody, and returns the response unread. */
  async fetch(
    method: string,
    path: string,
    { as, body, headers }: { as?: Who; body?: BodyInit; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    return await this.#app(
      new Request(ORIGIN + path, {
        method,
        headers: { ...(as !== undefined && { authorization: `Bearer ${as}` }), ...headers },
        ...(body !== undefined && { body }),
      }),
    );
  }

  /** Sends a request as somebody, and reads the whole answer. */
  async ask(method: string, path: string, init: Parameters<Monitoring["fetch"]>[2] = {}): Promise<Answered> {
    const response = await this.fetch(method, path, init);
    const text = await response.text();
    this.said.push(text, JSON.stringify([...response.headers]));
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: text === "" ? undefined : JSON.parse(text),
    };
  }

  /** Waits for an answer to what takes many turns of the event loop. Time stands still. */
  async patiently<Result>(pending: Promise<Result>): Promise<Result> {
    let settled = false;
    void pending.finally(() => settled = true);
    while (!settled) await this.harness.clock.advance(0);
    return await pending;
  }

  get(path: string, as?: Who): Promise<Answered> {
    return this.ask("GET", path, { as });
  }

  /** The handles of a list, in its order. */
  async handles(path: string, as?: Who): Promise<string[]> {
    const { status, body, text } = await this.get(path, as);
    assertEquals(status, 200, text);
    return body.sessions.map(({ id }: { id: string }) => id);
  }

  /** Ends all sessions; fails if anything of them is left, or if an id of one was shown or logged. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { clock, supervisor, backends } = this.harness;
    const done = supervisor.shutDown(0);
    for (const backend of backends) if (backend.stubborn) backend.finishClose();
    await clock.advance(1);
    await done;
    this.feed.close();
    this.#bodies.close();
    // The stall timers of streams that were not read to their end.
    await clock.advance(60_000);
    await this.#log[Symbol.asyncDispose]();
    assertEquals([supervisor.size, clock.pending], [0, 0], "sessions and timers that are left");
    assertEquals(supervisor.events.watched, false, "a subscription is left");
    const all = [...this.said, ...this.#log.lines].join("\n").toLowerCase();
    for (const id of this.#ids) assert(!all.includes(id), "the id of a session was shown");
  }
}
