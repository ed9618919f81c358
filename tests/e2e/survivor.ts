/**
 * The SDK's own client as one that lives through restarts of its gateway: it keeps what it sent, and goes on with calls
 * that met a gateway that was not there.
 *
 * @module
 */
// The package's pattern of paths leads to its types only without the ".js".
// @ts-types="@modelcontextprotocol/sdk/client"
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
// @ts-types="@modelcontextprotocol/sdk/client/streamableHttp"
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
// @ts-types="@modelcontextprotocol/sdk/types"
import type { CallToolResult, ClientCapabilities } from "@modelcontextprotocol/sdk/types.js";
import { passMs } from "./gateway.ts";

/** Of the streams: they come back soon, and never give up. */
const RECONNECTION = {
  initialReconnectionDelay: 100,
  maxReconnectionDelay: 500,
  reconnectionDelayGrowFactor: 1.5,
  maxRetries: 100_000,
};
/** How long a call may take, and a gateway be away, in ms: others may want the machine too. */
const CALL_MS = 300_000;
const AWAY_MS = 300_000;
const TRY_AGAIN_MS = 250;
/** Longer than any timer of a stream: the gateway asks to come back after a second. */
const LAST_TIMER_MS = 1_300;

/** How to make a {@link Survivor}. */
export interface SurvivorOptions {
  readonly token?: string;
  readonly capabilities?: ClientCapabilities;
  /** Registers handlers before the client connects. */
  readonly prepare?: (client: Client) => void;
}

/** See the module's documentation. Disposing it closes it; its session stays. */
export class Survivor implements AsyncDisposable {
  readonly client: Client;
  readonly #transport: StreamableHTTPClientTransport;
  readonly #reconnection = { ...RECONNECTION };
  /** The methods of all requests and notifications that it sent, in order. */
  readonly sent: string[] = [];
  /** Every session id that it sent. */
  readonly ids = new Set<string>();
  /** Statuses that it got, but for 200 and 202. */
  readonly refusals: number[] = [];
  /** Calls that failed because the gateway was not there, or went away under them. */
  interruptions = 0;

  private constructor(url: string, { token, capabilities = {} }: SurvivorOptions) {
    this.client = new Client({ name: "survivor", version: "1" }, { capabilities });
    this.#transport = new StreamableHTTPClientTransport(new URL(url), {
      reconnectionOptions: this.#reconnection,
      fetch: (input, init) => this.#fetch(input, init),
      ...(token !== undefined && { requestInit: { headers: { authorization: `Bearer ${token}` } } }),
    });
  }

  static async to(url: string, options: SurvivorOptions = {}): Promise<Survivor> {
    const survivor = new Survivor(url, options);
    options.prepare?.(survivor.client);
    // What breaks off is looked at where it was asked for.
    survivor.client.onerror = () => {};
    const transport = survivor.#transport as Parameters<Client["connect"]>[0];
    // With exactOptionalPropertyTypes the SDK's class does not fit its own interface.
    await survivor.client.connect(transport, { timeout: CALL_MS });
    return survivor;
  }

  /** The id of its session. */
  get id(): string {
    return this.#transport.sessionId!;
  }

  /** How many `initialize` it sent. */
  get initializes(): number {
    return this.sent.filter((method) => method === "initialize").length;
  }

  /** Calls a tool, once. @returns The text of its answer. */
  async text(name: string, args: Record<string, unknown> = {}): Promise<string> {
    const options = { timeout: CALL_MS };
    const { content } = await this.client.callTool({ name, arguments: args }, undefined, options);
    return (content as CallToolResult["content"])
      .map((part) => part.type === "text" ? part.text : `[${part.type}]`).join("\n");
  }

  /**
   * Does something that may be done more than once, again and again until the gateway is there for it.
   *
   * @throws What it failed with, where that is no matter of a gateway that is away.
   */
  async stubbornly<Result>(what: () => Promise<Result>): Promise<Result> {
    const until = performance.now() + AWAY_MS;
    for (;;) {
      try {
        return await what();
      } catch (error) {
        if (!isAway(error) || performance.now() > until) throw error;
        this.interruptions++;
        await passMs(TRY_AGAIN_MS);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Version 1 of the SDK forgets all but the last of the timers with which its streams come back.
    this.#reconnection.maxRetries = 0;
    await this.client.close();
    await passMs(LAST_TIMER_MS);
  }

  async #fetch(input: string | URL, init?: RequestInit): Promise<Response> {
    const headers = new Headers(init?.headers);
    const id = headers.get("mcp-session-id");
    if (id !== null) this.ids.add(id);
    if (typeof init?.body === "string") this.sent.push(JSON.parse(init.body).method ?? "an answer");
    const response = await fetch(input, init);
    if (response.status !== 200 && response.status !== 202) this.refusals.push(response.status);
    return response;
  }
}

/** No connection, or one that broke off; an error of the gateway that says so; or a gateway that is going. */
function isAway(error: unknown): boolean {
  if (error instanceof TypeError) return true;
  if (error instanceof Error && "code" in error && error.code === 503) return true;
  const text = String(error);
  return /interrupted by a restart|shutting down|connection|error reading a body|SSE stream/i.test(text);
}
