/**
 * Who is there while a door is stormed: the sessions that mutants name, and a bystander whom nothing of it may reach.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { type Lookup, type Name, NAMES, type Principal, PRINCIPALS } from "../../tests/routes/mutants.ts";

export const ADMIN = "the-administrators-long-token";
const BYSTANDER = "the-bystanders-own-long-token";
const NOBODY = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
const VERSIONS: Readonly<Partial<Record<Name, string>>> = { june: "2025-06-18", march: "2025-03-26" };
const JSON_HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const WITHIN_MS = 20_000;

const tokenOf = (principal: Principal) => `${principal}-has-a-long-token`;
/** The tokens file: everybody but eve; carol may use one server only. */
export const TOKENS_FILE: string = JSON.stringify({
  tokens: [
    ...["ann", "bob", "carol"].map((name) => ({
      principal: name,
      sha256: digest(tokenOf(name as Principal)),
      ...(name === "carol" && { servers: ["other"] }),
    })),
    { principal: "bystander", sha256: digest(BYSTANDER) },
  ],
});

/** By which door the bystander came in. */
export type Way = "mcp" | "bridge" | "sse";

/** See the module's documentation. */
export class Cast implements Lookup, AsyncDisposable {
  readonly #origin: string;
  readonly #way: Way;
  readonly #ids = new Map<Name, string>();
  /** URLs to POST to, of HTTP+SSE. */
  readonly #endpoints = new Map<Name, string>();
  readonly #streams = new Set<SseClient>();
  #bystander: { id: string; stream: SseClient | undefined } | undefined;
  #echoes = 0;
  /** All that the bystander's server was asked to say. No answer to anybody else may hold it. */
  readonly secret = `only-the-bystander-${crypto.randomUUID()}`;

  constructor(port: number, way: Way) {
    this.#origin = `http://127.0.0.1:${port}`;
    this.#way = way;
    this.#ids.set("nobody", NOBODY);
  }

  idOf(name: Name): string {
    return this.#ids.get(name) ?? NOBODY;
  }

  versionOf(name: Name): string {
    return VERSIONS[name] ?? "2025-11-25";
  }

  tokenOf(principal: Principal): string {
    return tokenOf(principal);
  }

  /** Path and query of a URL to POST to. */
  endpointOf(name: Name): string {
    return this.#endpoints.get(name) ?? `/messages?sessionId=${NOBODY}`;
  }

  handleOf(name: Name): string {
    return digest(this.idOf(name)).slice(0, 12);
  }

  /** What no response may hold unless the request held it. */
  get secrets(): readonly string[] {
    return [
      ...NAMES.filter((name) => name !== "nobody").map((name) => this.idOf(name)).filter((id) =>
        id !== NOBODY
      ),
      ...Array.from(this.#endpoints.values(), (path) => path.slice(path.indexOf("=") + 1)),
      ...PRINCIPALS.map(tokenOf),
      ADMIN,
    ];
  }

  /** What no response to anybody but the administrator may hold in any case. */
  get foreign(): readonly string[] {
    const id = this.#bystander?.id;
    return [this.secret, BYSTANDER, ...(id === undefined || id === "" ? [] : [id, digest(id).slice(0, 12)])];
  }

  /** Opens the sessions that are not there (any more). */
  async assemble(): Promise<void> {
    for (const name of ["june", "march", "november", "bob", "elsewhere", "gone"] as const) {
      if (!await this.#lives(name)) await this.#open(name);
    }
    const first = this.#endpoints.size === 0;
    if (this.#way === "sse") {
      for (const name of ["june", "bob"] as const) await this.#openStream(name);
    }
    if (first || !this.#ids.has("gone")) await this.#end("gone");
  }

  /** The bystander's session answers what it was asked, or this fails. Opens it where it is not there. */
  async check(): Promise<void> {
    const text = `${this.secret} ${++this.#echoes}`;
    const got = await this.#echo(text);
    if (!got.includes(text)) throw new Error(`the bystander asked for ${text} and got ${got.slice(0, 500)}`);
    const others = (got.match(/only-the-bystander-[^"\\]*/g) ?? []).filter((found) => found !== text);
    if (others.length > 0) throw new Error(`the bystander also got ${others.join()}`);
  }

  /** Forgets the bystander's session, which the administrator ended. */
  forgetBystander(): void {
    this.#bystander?.stream?.close();
    this.#bystander = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stream of this.#streams) stream.close();
    this.#bystander?.stream?.close();
    await Promise.all([...this.#streams].map((stream) => stream.over));
    for (const name of ["june", "march", "november", "bob", "elsewhere"] as const) await this.#end(name);
    // Those too that were forgotten, and those of /bridge, which have no id.
    const response = await fetch(`${this.#origin}/sessions?serverId=quiet`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${BYSTANDER}`, connection: "close" },
      signal: AbortSignal.timeout(WITHIN_MS),
    });
    await response.body?.cancel();
  }

  async #echo(message: string): Promise<string> {
    const call = { method: "tools/call", params: { name: "echo", arguments: { message } } };
    if (this.#way === "bridge") {
      const { text } = await this.#post("/bridge", { serverId: "quiet", ...call }, { token: BYSTANDER });
      return text;
    }
    const rpc = { jsonrpc: "2.0", id: this.#echoes, ...call };
    if (this.#way === "mcp") {
      this.#bystander ??= { id: await this.#initialize("quiet", BYSTANDER), stream: undefined };
      const { text } = await this.#post("/mcp/quiet", rpc, { token: BYSTANDER, id: this.#bystander.id });
      return text;
    }
    this.#bystander ??= { id: "", stream: await SseClient.open(`${this.#origin}/sse/quiet`, BYSTANDER) };
    const stream = this.#bystander.stream!;
    const from = stream.text.length;
    await this.#post(stream.endpoint, rpc, { token: BYSTANDER });
    await until(() => stream.text.includes(`"id":${this.#echoes}`, from) || stream.ended);
    return stream.text.slice(from);
  }

  async #lives(name: Name): Promise<boolean> {
    const id = this.#ids.get(name);
    if (name === "gone") return id !== undefined;
    if (id === undefined) return false;
    const { status } = await this.#post(`/mcp/${serverOf(name)}`, PING, { token: ownerOf(name), id });
    return status === 200;
  }

  async #open(name: Name): Promise<void> {
    this.#ids.set(name, await this.#initialize(serverOf(name), ownerOf(name), this.versionOf(name)));
  }

  async #openStream(name: Name): Promise<void> {
    const path = this.#endpoints.get(name);
    if (path !== undefined) {
      const { status } = await this.#post(path, PING, { token: ownerOf(name) });
      if (status < 300) return;
    }
    const stream = await SseClient.open(`${this.#origin}/sse/fake`, ownerOf(name));
    this.#streams.add(stream);
    void stream.over.then(() => this.#streams.delete(stream));
    this.#endpoints.set(name, stream.endpoint);
    // One that nobody used yet is closed after a while.
    await this.#post(stream.endpoint, PING, { token: ownerOf(name) });
  }

  async #end(name: Name): Promise<void> {
    const id = this.#ids.get(name);
    if (id !== undefined) await this.#delete(serverOf(name), id, ownerOf(name));
  }

  async #initialize(serverId: string, token: string, protocolVersion = "2025-11-25"): Promise<string> {
    const params = { protocolVersion, capabilities: {}, clientInfo: { name: "cast", version: "1" } };
    const { status, id, text } = await this.#post(
      `/mcp/${serverId}`,
      { jsonrpc: "2.0", id: 0, method: "initialize", params },
      { token },
    );
    if (status !== 200 || id === null) {
      throw new Error(`cannot open a session of ${serverId}: ${status} ${text}`);
    }
    return id;
  }

  async #delete(serverId: string, id: string, token: string): Promise<void> {
    const response = await fetch(`${this.#origin}/mcp/${serverId}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${token}`, "mcp-session-id": id, connection: "close" },
      signal: AbortSignal.timeout(WITHIN_MS),
    });
    await response.body?.cancel();
  }

  async #post(
    path: string,
    message: unknown,
    { token, id }: { token: string; id?: string },
  ): Promise<{ status: number; id: string | null; text: string }> {
    const response = await fetch(`${this.#origin}${path}`, {
      method: "POST",
      headers: {
        ...JSON_HEADERS,
        authorization: `Bearer ${token}`,
        connection: "close",
        ...(id !== undefined && { "mcp-session-id": id }),
      },
      body: JSON.stringify(message),
      signal: AbortSignal.timeout(WITHIN_MS),
    });
    const text = await response.text();
    return { status: response.status, id: response.headers.get("mcp-session-id"), text };
  }
}

const PING = { jsonrpc: "2.0", id: "ping", method: "ping" };

const serverOf = (name: Name) => name === "elsewhere" ? "other" : "fake";
const ownerOf = (name: Name) => tokenOf(name === "bob" ? "bob" : "ann");

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function until(isThere: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + WITHIN_MS;
  while (!isThere()) {
    if (performance.now() > giveUpAt) throw new Error("waited in vain for what the bystander asked for");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A stream of HTTP+SSE that is read as it comes. */
class SseClient {
  text = "";
  ended = false;
  endpoint = "";
  readonly over: Promise<void>;
  readonly #cut = new AbortController();

  private constructor(url: string, token: string) {
    this.over = this.#read(url, token);
  }

  static async open(url: string, token: string): Promise<SseClient> {
    const client = new SseClient(url, token);
    await until(() => client.ended || /data: \S+\n/.test(client.text));
    client.endpoint = /data: (\S+)\n/.exec(client.text)?.[1] ?? "";
    if (client.endpoint === "") throw new Error(`no stream at ${url}: ${client.text}`);
    return client;
  }

  close(): void {
    this.#cut.abort();
  }

  async #read(url: string, token: string): Promise<void> {
    try {
      const response = await fetch(url, {
        headers: { accept: "text/event-stream", authorization: `Bearer ${token}` },
        signal: this.#cut.signal,
      });
      for await (const text of response.body!.pipeThrough(new TextDecoderStream())) this.text += text;
    } catch {
      // Cut, by either side.
    }
    this.ended = true;
  }
}
