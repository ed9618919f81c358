/**
 * What other gateways are known to have told to those whom it was none of their business, and this one does not. The
 * README has the table. Each test is named after the report that it brings about again.
 *
 * @module
 */
import { assert, assertEquals, assertFalse } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fixture } from "../fixtures/mod.ts";
import { Gateway } from "./gateway.ts";
import { type Answer, initialize, OpenStream, post, RawSession, type Wire } from "./raw_client.ts";

/** So long that nothing comes of it within a test. */
const NEVER_MS = 600_000;
const SERVERS = { echo: { ...fixture("echo_server") }, other: { ...fixture("echo_server") } };
/** What makes the server speak of its own accord: no request is in flight then that it could belong to. */
const NOTE = { method: "notifications/message", late: true };
const JSON_HEADERS = {
  "content-type": "application/json",
  accept: "application/json, text/event-stream",
};

type Principal = "ann" | "bob";
const bearer = (name: Principal) => ({ authorization: `Bearer ${name}-has-a-long-token` });
/** Two principals, and how the gateway learns of them. */
const PRINCIPALS = {
  files: {
    "tokens.json": JSON.stringify({
      tokens: ["ann", "bob"].map((principal) => ({
        principal,
        sha256: createHash("sha256").update(`${principal}-has-a-long-token`).digest("hex"),
      })),
    }),
  },
  env: { ACCESS_TOKENS_FILE: "tokens.json" },
};

/** A session of one of them. */
class OwnedSession {
  readonly id: string;
  readonly #url: string;
  readonly #headers: Record<string, string>;

  private constructor(url: string, id: string, headers: Record<string, string>) {
    this.#url = url;
    this.id = id;
    this.#headers = headers;
  }

  static async open(gateway: Gateway, principal: Principal): Promise<OwnedSession> {
    const url = gateway.url("echo");
    const { status, sessionId } = await post(url, initialize(), { headers: bearer(principal) });
    assertEquals(status, 200);
    return new OwnedSession(url, sessionId!, bearer(principal));
  }

  async send(message: Wire): Promise<Answer> {
    return await post(this.#url, message, { sessionId: this.id, headers: this.#headers });
  }

  /** Calls a tool under an id of its own choice. */
  async call(id: string | number, name: string, args: Record<string, unknown> = {}): Promise<Answer> {
    return await this.send({ id, method: "tools/call", params: { name, arguments: args } });
  }

  async text(name: string, args: Record<string, unknown> = {}): Promise<string> {
    const { message } = await this.call("text", name, args);
    return (message!.result!.content as { text: string }[])[0]!.text;
  }

  /** Opens a stream with headers that may say anything. */
  async stream(headers: Record<string, string> = {}): Promise<OpenStream> {
    return await OpenStream.open(this.#url, {
      headers: { accept: "text/event-stream", ...this.#headers, "mcp-session-id": this.id, ...headers },
    });
  }
}

Deno.test("metamcp, 404 body: no answer names the id of any session, whatever is asked for", async () => {
  await using gateway = await Gateway.start({
    servers: SERVERS,
    env: { LOG_LEVEL: "debug", IMPLICIT_SESSIONS: "false" },
  });
  const sessions = [
    await RawSession.open(gateway, "echo"),
    await RawSession.open(gateway, "echo"),
    await RawSession.open(gateway, "other"),
  ];
  const ids = sessions.map(({ id }) => id);
  const [first, second] = ids as [string, string];
  const hostile = [
    ...[
      crypto.randomUUID(),
      "",
      " ",
      "0",
      "-1",
      "*",
      "%",
      "%2a",
      "undefined",
      "null",
      "true",
      "[object Object]",
    ],
    ...[
      "__proto__",
      "constructor",
      "toString",
      "hasOwnProperty",
      "../sessions",
      "' or '1'='1",
      '{"$ne":null}',
    ],
    ...["x".repeat(5_000), "\xff\xfe", "a\tb", `"`, "${id}", "{id}", "{{7*7}}"],
    ...[first.slice(0, -1), first.slice(1), `${first}x`, first.toUpperCase() + first.toLowerCase()],
    ...[
      `${first},${second}`,
      `${first}, ${second}`,
      `${first};${second}`,
      `${first}/`,
      `"${first}"`,
      `*${first}`,
    ],
  ];
  // A real one, but of another server.
  const asked: [serverId: string, id: string][] = [
    ...hostile.map((id) => ["echo", id] as [string, string]),
    ["other", first],
    ["none", first],
  ];
  for (const [serverId, id] of asked) {
    for (const method of ["POST", "GET", "DELETE"]) {
      const response = await fetch(gateway.url(serverId), {
        method,
        headers: { ...JSON_HEADERS, "mcp-session-id": id },
        ...(method === "POST" && { body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }) }),
      });
      const said = JSON.stringify([...response.headers]) + await response.text();
      const asking = `${method} ${serverId} ${id.slice(0, 80)}`;
      assert(response.status === 404 || response.status === 400, `${asking}: ${response.status}`);
      for (const id of ids) assertFalse(said.includes(id), `${asking}: ${said}`);
    }
  }
  for (const session of sessions) assertEquals(await session.ping(), 200);
  assertEquals(await gateway.stop(), 0);
  for (const id of ids) assertFalse(gateway.output.includes(id), "an id is in the log");
});

Deno.test("supergateway#213: bearer tokens are in no line of any log, at any level", async () => {
  // More of it, with bodies, cookies and more formats, is in access_test.ts.
  const planted = {
    right: "planted-right-token",
    wrong: "planted-wrong-token",
    query: "planted-query-token",
    body: "planted-body-token",
    env: "planted-env-token",
  };
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), env: { API_TOKEN: planted.env } } },
    env: { ACCESS_TOKEN: planted.right, LOG_LEVEL: "debug", LOG_DIR: "logs" },
  });
  const right = { ...JSON_HEADERS, authorization: `Bearer ${planted.right}` };
  const { sessionId } = await post(gateway.url("echo"), initialize(), { headers: right });
  const args = { token: planted.body, authorization: `Bearer ${planted.body}` };
  const body = (name: string) =>
    JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args } });
  const ask = async (init: RequestInit & { headers: Record<string, string> }) => {
    const query = `?access_token=${planted.query}&token=${planted.right}`;
    const response = await fetch(gateway.url("echo") + query, { method: "POST", ...init });
    await response.body?.cancel();
    return response.status;
  };
  const own = { ...right, "mcp-session-id": sessionId! };
  const statuses = [
    await ask({ headers: own, body: body("echo") }),
    await ask({ headers: own, body: body("no-such-tool") }),
    await ask({ headers: own, body: `${planted.body} {` }),
    await ask({ headers: { ...own, authorization: `Bearer ${planted.wrong}` }, body: body("echo") }),
    await ask({ headers: { ...own, authorization: `Basic ${planted.wrong}` }, body: body("echo") }),
    await ask({ headers: { ...right, "mcp-session-id": planted.wrong }, body: body("echo") }),
    // It dies of it.
    await ask({ headers: own, body: body("exit") }),
    await ask({ headers: own, method: "DELETE" }),
  ];
  assertEquals(statuses, [200, 200, 400, 401, 401, 404, 502, 204]);
  assertEquals(await gateway.stop(), 0);
  const file = Deno.readTextFileSync(join(gateway.folder, "logs", "gateway.log"));
  for (const log of [file, gateway.output]) {
    assert(/opened[^]*hibernates[^]*ended: client_delete/.test(log), "it is the log of this run");
    for (const [where, token] of Object.entries(planted)) {
      assertFalse(log.includes(token), `the one in the ${where} is in the log`);
    }
  }
});

Deno.test("ContextForge#2055: two users of one server share no process, no ids and no cancellation", async () => {
  await using gateway = await Gateway.start({ servers: SERVERS, ...PRINCIPALS });
  const [ann, anns, bob] = [
    await OwnedSession.open(gateway, "ann"),
    await OwnedSession.open(gateway, "ann"),
    await OwnedSession.open(gateway, "bob"),
  ];
  const pids = [await ann.text("pid"), await anns.text("pid"), await bob.text("pid")];
  assertEquals(new Set(pids).size, 3);
  // The same id, and one of them changes her mind.
  const calls = [ann, anns, bob].map((session) => session.call(7, "slow", { ms: 1_500 }));
  for (const session of [ann, anns, bob]) {
    assertEquals((await session.send({ id: 8, method: "ping" })).status, 200);
  }
  await ann.send({ method: "notifications/cancelled", params: { requestId: 7 } });
  const [cancelled, other, bobs] = await Promise.all(calls);
  assertEquals(cancelled!.message?.error?.code, -32800);
  for (const answer of [other, bobs]) {
    assertEquals(answer!.message?.result, { content: [{ type: "text", text: "done" }] });
  }
  // What the server of one says goes to that one.
  await using annListens = await ann.stream();
  await using bobListens = await bob.stream();
  for (const [session, who] of [[ann, "ann"], [bob, "bob"]] as const) {
    await session.call(9, "notify", { ...NOTE, params: { data: `for ${who}` } });
  }
  const isNote = ({ method }: Wire) => method === NOTE.method;
  await annListens.message(isNote, "Ann's");
  await bobListens.message(isNote, "Bob's");
  assertEquals(
    [annListens, bobListens].map((stream) =>
      stream.messages.filter(isNote).map(({ params }) => params?.data)
    ),
    [["for ann"], ["for bob"]],
  );
  assertEquals((await ann.send({ method: "notifications/none" })).status, 202);
  assertEquals(gateway.children().length, 3);
});

Deno.test("frontmcp GHSA-84j6-jc92-77jm: no Last-Event-ID brings back what another session was sent", async () => {
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server"), session: { idleTtlMs: NEVER_MS } } },
    ...PRINCIPALS,
  });
  // One has read what it was sent, for the other it is kept.
  const [victim, keeper] = [await OwnedSession.open(gateway, "ann"), await OwnedSession.open(gateway, "ann")];
  const say = (session: OwnedSession, data: string) =>
    session.call(data, "notify", { ...NOTE, params: { data } });
  const hears = (stream: OpenStream, data: string) =>
    stream.message(({ params }) => params?.data === data, data);

  await using read = await victim.stream();
  await say(victim, "secret, read");
  await hears(read, "secret, read");
  await say(keeper, "secret, kept");
  /** The ids that events had, should there be any. */
  const real = [...read.text.matchAll(/^id: ?(.*)$/gm)].map(([, id]) => id!);
  const guesses = ["", "0", "1", "-1", "*", "_GET_stream", "0-0", "null", "init", "999999999999999999999"];
  const forged = [...real, ...guesses].flatMap((id) => [id, `${victim.id}:${id}`, `${victim.id}_${id}`])
    .concat(victim.id, keeper.id);

  for (const principal of ["bob", "ann"] as const) {
    const attacker = await OwnedSession.open(gateway, principal);
    for (const [n, lastEventId] of forged.entries()) {
      await using stream = await attacker.stream({ "last-event-id": lastEventId });
      if (stream.status !== 200) {
        assertFalse(stream.text.includes("secret"));
        continue;
      }
      // The stream is one: what is meant for the attacker comes on it, and nothing else did before.
      await say(attacker, `own ${n}`);
      await hears(stream, `own ${n}`);
      assertFalse(stream.text.includes("secret"), `${principal} with ${JSON.stringify(lastEventId)}`);
    }
    if (principal === "bob") {
      for (const { id } of [victim, keeper]) {
        await using stolen = await attacker.stream({ "mcp-session-id": id, "last-event-id": "0" });
        assertEquals(stolen.status, 404);
      }
    }
  }
  // It was there all the time.
  await using kept = await keeper.stream();
  await hears(kept, "secret, kept");
  assertFalse(read.ended);
});
