/**
 * One client's life, from its first word to its last.
 *
 * @module
 */
import { Connection, encode, type Request, type Response } from "./connection.ts";
import type { Life } from "./plan.ts";

/** How long a frozen client keeps its connection, in ms: longer than the gateway waits for one that reads nothing. */
const FROZEN_MS = 2_500;
/** How long a client with an open stream waits for the gateway to end it, in ms, and one that waits for nothing. */
const STREAM_MS = 15_000;
const SHORT_STREAM_MS = 500;

/** What became of a life. */
export interface Outcome {
  /**
   * `opened` a session; `stillborn`, as its server did not start; `gaveUp` before there was an answer; `refused` by a
   * limit or a quarantine, so that there was no life; `broken` where the gateway did what it never should.
   */
  readonly end: "opened" | "stillborn" | "gaveUp" | "refused" | "broken";
  /** What was asked, and the status of the answer, such as `call 200`; and what broke. */
  readonly answers: readonly string[];
  /** What goes on behind it: a connection that the client keeps. */
  readonly lingering: Promise<void> | undefined;
}

/** Statuses with which a gateway can answer this load and be well. */
const FAIR = new Set([200, 202, 204, 404, 502, 503, 504]);
const STILLBORN = new Set([502, 504]);

const VERSION = "2025-11-25";
const INITIALIZE = message({
  id: 0,
  method: "initialize",
  params: { protocolVersion: VERSION, capabilities: {}, clientInfo: { name: "soak", version: "1" } },
});

/** Lives it. Never rejects. */
export async function live(life: Life, port: number): Promise<Outcome> {
  const answers: string[] = [];
  let connection: Connection | undefined;
  try {
    connection = await Connection.open(port);
    return { ...await new Client(life, connection, answers).live(), answers };
  } catch (error) {
    connection?.close();
    answers.push(`${life.behaviour}/${life.leaving}: ${error instanceof Error ? error.message : error}`);
    return { end: "broken", answers, lingering: undefined };
  }
}

type End = Omit<Outcome, "answers">;

class Client {
  readonly #life: Life;
  readonly #connection: Connection;
  readonly #answers: string[];
  #sessionId: string | undefined;
  #nextId = 1;

  constructor(life: Life, connection: Connection, answers: string[]) {
    this.#life = life;
    this.#connection = connection;
    this.#answers = answers;
  }

  async live(): Promise<End> {
    const { behaviour, calls, leaving, patienceMs } = this.#life;
    if (behaviour === "mute" && (leaving === "cut" || leaving === "reset")) {
      this.#connection.send(encode(this.#post(INITIALIZE)));
      await pass(patienceMs);
      this.#hangUp();
      return { end: "gaveUp", lingering: undefined };
    }
    const opened = await this.#ask("initialize", this.#post(INITIALIZE));
    if (opened.status !== 200 || opened.sessionId === undefined) {
      this.#connection.close();
      const end = opened.status === 503 ? "refused" : STILLBORN.has(opened.status) ? "stillborn" : "broken";
      return { end, lingering: undefined };
    }
    this.#sessionId = opened.sessionId;
    await this.#ask("notify", this.#post(message({ method: "notifications/initialized" })));
    if (behaviour !== "hang") {
      for (let n = 0; n < calls; n++) await this.#ask("call", this.#post(this.#call("echo")));
    }
    return { end: "opened", ...await this.#leave() };
  }

  async #leave(): Promise<Pick<End, "lingering">> {
    const { leaving, patienceMs } = this.#life;
    switch (leaving) {
      case "delete":
        await this.#ask("delete", { method: "DELETE", ...this.#names });
        return this.#hangUp();
      case "leave":
      case "resetIdle":
        return this.#hangUp();
      case "stream": {
        const answer = await this.#connection.knock({ method: "GET", ...this.#names });
        return { lingering: this.#linger(this.#note("stream", answer)) };
      }
      case "cut":
      case "reset":
        this.#connection.send(encode(this.#post(this.#call("hold"))));
        await pass(patienceMs);
        return this.#hangUp();
      case "half": {
        const whole = encode(this.#post(this.#call("hold")));
        this.#connection.send(whole.slice(0, whole.length - 1 - patienceMs));
        await pass(patienceMs);
        return this.#hangUp();
      }
      case "frozen":
        this.#connection.freeze();
        this.#connection.send(encode(this.#post(this.#call("flood"))));
        return { lingering: pass(FROZEN_MS).then(() => void this.#hangUp()) };
    }
  }

  #hangUp(): { lingering: undefined } {
    const { leaving } = this.#life;
    if (leaving === "reset" || leaving === "resetIdle") this.#connection.reset();
    else this.#connection.close();
    return { lingering: undefined };
  }

  async #linger({ status }: Response): Promise<void> {
    const long = status === 200 && this.#life.patienceMs % 2 === 0;
    if (long) await this.#connection.ended(STREAM_MS);
    else await pass(SHORT_STREAM_MS);
    this.#connection.close();
  }

  async #ask(what: string, request: Request): Promise<Response> {
    return this.#note(what, await this.#connection.ask(request));
  }

  #note(what: string, response: Response): Response {
    const { status, text } = response;
    this.#answers.push(`${what} ${status}${status === 503 ? ` (${whyRefused(text)})` : ""}`);
    if (!FAIR.has(status)) throw new Error(`${what} was answered with ${text.slice(0, 500)}`);
    return response;
  }

  #post(body: string): Request {
    return { method: "POST", ...this.#names, body };
  }

  #call(name: string): string {
    return message({ id: this.#nextId++, method: "tools/call", params: { name, arguments: {} } });
  }

  get #names(): Pick<Request, "serverId" | "sessionId"> {
    return { serverId: this.#life.serverId, sessionId: this.#sessionId };
  }
}

function whyRefused(text: string): string {
  return text.includes("keeps failing") ? "quarantine" : /MAX_\w+|maxSessions/.exec(text)?.[0] ?? "else";
}

function message(content: Record<string, unknown>): string {
  return JSON.stringify({ jsonrpc: "2.0", ...content });
}

function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
