/**
 * The whole application over a supervisor on fake time with fake backends: HTTP requests in, HTTP responses out.
 *
 * @module
 */
import { assertEquals, assertExists } from "@std/assert";
import type { Session } from "../../actors/supervisor.ts";
import type { Clock } from "../../clock.ts";
import type { Access } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { BODY_DEFAULTS, BodyReader } from "../../routes/body.ts";
import { LegacySse } from "../../routes/legacy_sse.ts";
import { STREAM_DEFAULTS, type StreamPolicy } from "../../routes/outflow.ts";
import { openAccess } from "./access.ts";
import type { FakeBackend } from "./fake_backend.ts";
import { settle } from "./fake_clock.ts";
import { Harness, type HarnessOptions, PRINCIPAL, SERVER } from "./harness.ts";

/** Where the application is served, as far as it can tell. */
export const ORIGIN = "http://localhost";
/** What every client of MCP sends with a message. */
export const POST_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "application/json",
  accept: "application/json, text/event-stream",
};
/** The message that opens a session. */
export const INITIALIZE = {
  jsonrpc: "2.0",
  id: "init",
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
};

/** A session, seen from all sides. */
export interface OpenedSession {
  readonly session: Session;
  readonly backend: FakeBackend;
  /** The header that names it. */
  readonly headers: Readonly<Record<string, string>>;
}

/** How to make an {@link AppHarness}. */
export interface AppHarnessOptions extends HarnessOptions {
  /** Who may come; everybody, as the same principal, unless given. */
  readonly access?: (clock: Clock) => Access;
  /** Bounds of streams that are not the usual ones. */
  readonly streams?: Partial<StreamPolicy>;
  /** Whether HTTP+SSE is served; it is unless said otherwise. */
  readonly legacySse?: boolean;
  /** Whether sessions open without `initialize`; they do unless said otherwise. */
  readonly implicitSessions?: boolean;
}

/** See the module's documentation. */
export class AppHarness {
  readonly harness: Harness;
  readonly #app: (request: Request) => Response | Promise<Response>;
  readonly #bodies: BodyReader;
  readonly legacy: LegacySse | undefined;

  constructor(
    { access = openAccess, streams: bounds, legacySse = true, implicitSessions = true, ...options }:
      AppHarnessOptions = {},
  ) {
    this.harness = new Harness(options);
    const { clock, supervisor } = this.harness;
    const streams: StreamPolicy = { clock, ...STREAM_DEFAULTS, cuts: 0, ...bounds };
    this.#bodies = new BodyReader({ clock, ...BODY_DEFAULTS });
    const shared = { supervisor, clock, implicitSessions, streams, bodies: this.#bodies };
    this.legacy = legacySse ? new LegacySse(shared) : undefined;
    this.#app = createApp({
      access: access(clock),
      ...shared,
      legacy: this.legacy,
    });
  }

  /** Sends a request. */
  async fetch(request: Request): Promise<Response> {
    return await this.#app(request);
  }

  /** Sends a request to the server. */
  async send(method: string, init: RequestInit = {}): Promise<Response> {
    return await this.fetch(new Request(`${ORIGIN}/mcp/${SERVER}`, { method, ...init }));
  }

  /** POSTs a message. */
  async post(body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    return await this.send("POST", {
      body: JSON.stringify(body),
      headers: { ...POST_HEADERS, ...headers },
    });
  }

  /** Opens a session whose server agrees to a protocol version; backends must not answer by themselves. */
  async open(protocolVersion = "2025-06-18"): Promise<OpenedSession> {
    const { harness } = this;
    const before = harness.backends.length;
    const pending = this.post(INITIALIZE);
    // The body is read in more than one turn.
    while (harness.backends.length === before || harness.backend.received.length === 0) await settle();
    const { backend } = harness;
    backend.answer("init", { protocolVersion, capabilities: {}, serverInfo: { name: "fake", version: "1" } });
    const response = await pending;
    await response.body?.cancel();
    const id = response.headers.get("mcp-session-id");
    assertExists(id, "the opening named no session");
    const session = harness.supervisor.find(SERVER, id, PRINCIPAL);
    assertExists(session, "the opened session is not to be found");
    return { session, backend, headers: { "mcp-session-id": id } };
  }

  /** Ends all sessions, and fails if anything of them is left. */
  async stop(): Promise<void> {
    const { clock, supervisor, backends } = this.harness;
    const done = supervisor.shutDown(0);
    await clock.advance(1);
    await done;
    this.legacy?.close();
    this.#bodies.close();
    assertEquals(supervisor.size, 0, "sessions that are left");
    assertEquals(clock.pending, 0, "timers that are left");
    assertEquals(backends.filter(({ closed }) => !closed).length, 0, "backends that are left");
  }
}
