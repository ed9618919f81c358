/**
 * Sessions that outlive their gateway: it is killed, or stopped, and started again, with the SDK's own client in front
 * and real children behind.
 *
 * @module
 */
// The package's pattern of paths leads to its types only without the ".js".
// @ts-types="@modelcontextprotocol/sdk/types"
import { LoggingMessageNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { assert, assertEquals, assertFalse, assertMatch, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { publicHandle } from "../../actors/session_id.ts";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { Gateway, Home, passMs, type ServerEntry } from "./gateway.ts";
import { initialize, OpenStream, post, RawSession, type Wire } from "./raw_client.ts";
import { Survivor } from "./survivor.ts";

const HOUR_MS = 3_600_000;

/** A message that a server got. */
interface Recorded {
  readonly pid: number;
  readonly message: Wire;
}

/** A server that writes down what it gets. */
function recorder(home: Home, entry: Record<string, unknown> = {}): ServerEntry {
  return { ...fixture("recorder", { env: { RECORD: home.file("record") } }), ...entry };
}

/** What servers of a home got, but for what the test does not ask for. */
function recorded(home: Home): Recorded[] {
  try {
    return Deno.readTextFileSync(home.file("record")).split("\n").filter((line) => line !== "").map((line) =>
      JSON.parse(line)
    );
  } catch {
    return [];
  }
}

function callsOf(home: Home, text: string): Recorded[] {
  return recorded(home).filter(({ message }) =>
    message.method === "tools/call" && JSON.stringify(message.params).includes(`"${text}"`)
  );
}

/** Ends a gateway and starts the next one in its place. */
async function restart(
  home: Home,
  gateway: Gateway,
  signal: "SIGKILL" | "SIGTERM",
  { servers, env = {} }: { servers: Record<string, ServerEntry>; env?: Record<string, string> },
): Promise<Gateway> {
  gateway.kill(signal);
  await gateway.exited();
  return await Gateway.start({ home, servers, env });
}

async function lookUp(
  gateway: Gateway,
  session: { readonly id: string },
  // deno-lint-ignore no-explicit-any
): Promise<{ readonly status: number; readonly body: any }> {
  const response = await fetch(`${gateway.origin}/sessions/${publicHandle(session.id)}`);
  return { status: response.status, body: await response.json() };
}

/** What a request of a session that is over is answered with. */
async function endOf(session: RawSession): Promise<{ status: number; reason: unknown }> {
  const { status, message } = await session.request("ping");
  return { status, reason: (message?.error?.data as Record<string, unknown> | undefined)?.reason };
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  Deno.test(`After ${signal} and a start the SDK's client goes on with its old session, and no request is repeated`, async () => {
    using home = new Home();
    const servers = { recorder: recorder(home) };
    const env = { DRAIN_MS: "200" };
    await using first = await Gateway.start({ home, servers, env });
    const heard: unknown[] = [];
    await using client = await Survivor.to(first.url("recorder"), {
      prepare: (client) =>
        client.setNotificationHandler(
          LoggingMessageNotificationSchema,
          ({ params }) => void heard.push(params.data),
        ),
    });
    const { id } = client;
    assertEquals(await client.text("note", { text: "before" }), "before");
    await client.client.setLoggingLevel("warning");
    await client.client.subscribeResource({ uri: "test://kept" });
    await client.client.subscribeResource({ uri: "test://dropped" });
    await client.client.unsubscribeResource({ uri: "test://dropped" });
    const [{ pid: before }] = recorded(home) as [Recorded];

    // Two in flight: one whose answer has begun, so that the client comes back for the rest, and one not.
    const begun = client.text("note", { text: "begun", ms: HOUR_MS }).then(() => "answered", String);
    await eventually(() => callsOf(home, "begun").length === 1, "the first call at the server");
    await passMs(1_500);
    const fresh = client.text("note", { text: "fresh", ms: HOUR_MS }).then(() => "answered", String);
    await eventually(() => callsOf(home, "fresh").length === 1, "the second call at the server");
    await using second = await restart(home, first, signal, { servers, env });
    await second.waitForLine(/1 session\(s\) of an earlier run hibernate/);

    const pending = Promise.all([begun, fresh]);
    assertEquals(await client.stubbornly(() => client.text("note", { text: "after" })), "after");
    const outcomes = await pending;
    assert(!outcomes.includes("answered"), outcomes.join());
    if (signal === "SIGKILL") assertMatch(outcomes[0], /interrupted by a restart; it may or may not/);
    else assertMatch(outcomes[0], /interrupted|shutting down|ended/i);

    assertEquals([client.id, ...client.ids], [id, id]);
    // 204 ends the stream of a call that was answered with an error: there is nothing more of it.
    const refusals = client.refusals.filter((status) => status !== 503 && status !== 204);
    assertEquals([client.initializes, refusals], [1, []]);
    for (const text of ["before", "begun", "fresh", "after"]) {
      assertEquals(callsOf(home, text).length, 1, text);
    }
    const anew = recorded(home).filter(({ pid }) => pid !== before);
    assertEquals(new Set(anew.map(({ pid }) => pid)).size, 1);
    const [greeting, ...rest] = anew.map(({ message }) => message);
    assertEquals(greeting, {
      ...recorded(home)[0]!.message,
      id: greeting!.id!,
    });
    assertEquals(rest.map(({ method, params }) => [method, params?.level ?? params?.uri]), [
      ["notifications/initialized", undefined],
      ["logging/setLevel", "warning"],
      ["resources/subscribe", "test://kept"],
      ["tools/call", undefined],
    ]);
    // Its standalone stream came back too.
    assertEquals(await client.text("shout", { n: 3 }), "done");
    await eventually(() => heard.length === 3, "what the server says by itself");
    assertEquals(heard, [1, 2, 3]);
    assertEquals((await lookUp(second, client)).body.state, "active");
    assertEquals(await second.stop(), 0);
    assertEquals(home.processes(), []);
  });
}

Deno.test("A session whose server keeps state, or was changed or removed, is over after a restart and says why", async () => {
  using home = new Home();
  const servers = {
    stateful: recorder(home, { stateful: true }),
    changed: recorder(home),
    removed: recorder(home),
    differs: recorder(home),
    same: recorder(home),
  };
  // What a server tells of itself may change though its entry does not.
  const differs = home.file("differs.ts");
  Deno.writeTextFileSync(differs, Deno.readTextFileSync(new URL("../fixtures/recorder.ts", import.meta.url)));
  Deno.copyFileSync(new URL("../fixtures/wire.ts", import.meta.url), home.file("wire.ts"));
  servers.differs = { ...servers.differs, args: ["run", "--no-config", "-A", differs] };
  await using first = await Gateway.start({ home, servers });
  const ids = Object.keys(servers) as (keyof typeof servers)[];
  const sessions = Object.fromEntries(
    await Promise.all(ids.map(async (id) => [id, await RawSession.open(first, id)] as const)),
  ) as Record<keyof typeof servers, RawSession>;
  for (const id of ids) assertEquals(await sessions[id].text("note", { text: id }), id);
  Deno.writeTextFileSync(differs, Deno.readTextFileSync(differs).replace('"subscribe":true', '"gone":1'));

  const { removed: _, ...kept } = servers;
  await using second = await restart(home, first, "SIGKILL", {
    servers: { ...kept, changed: recorder(home, { args: [...servers.changed.args as string[], "--more"] }) },
  });
  assertEquals(await sessions.same.text("note", { text: "again" }), "again");
  assertEquals(await endOf(sessions.stateful), { status: 404, reason: "stateful" });
  assertEquals(await endOf(sessions.changed), { status: 404, reason: "server_changed" });
  // Nothing is served there any more.
  assertEquals((await endOf(sessions.removed)).status, 404);
  assertEquals((await lookUp(second, sessions.removed)).body.end.reason, "server_changed");
  assertEquals(await endOf(sessions.differs), { status: 404, reason: "server_changed" });
  assertEquals(await endOf(sessions.differs), { status: 404, reason: "server_changed" });
  const { end } = (await lookUp(second, sessions.differs)).body;
  assertMatch(JSON.stringify(end), /has another capabilities than before|capabilities/);

  // What is over stays explained over one more restart.
  await using third = await restart(home, second, "SIGKILL", { servers: kept });
  assertEquals((await lookUp(third, sessions.stateful)).body.end.reason, "stateful");
  assertEquals((await lookUp(third, sessions.differs)).body.end.reason, "server_changed");
  assertEquals(await endOf(sessions.stateful), { status: 404, reason: "stateful" });
  assertEquals(await third.stop(), 0);
  assertEquals(home.processes(), []);
});

Deno.test("A deadline that passes while there is no gateway has passed", async () => {
  using home = new Home();
  const servers = {
    short: recorder(home, { session: { idleTtlMs: 3_000 } }),
    long: recorder(home, { session: { idleTtlMs: HOUR_MS } }),
  };
  await using first = await Gateway.start({ home, servers });
  const short = await RawSession.open(first, "short");
  const long = await RawSession.open(first, "long");
  first.kill("SIGKILL");
  await first.exited();
  await passMs(3_500);
  await using second = await Gateway.start({ home, servers });
  assertEquals(await endOf(short), { status: 404, reason: "idle" });
  assertEquals(await long.ping(), 200);
  assertEquals(recorded(home).filter(({ message }) => message.method === "initialize").length, 3);
  assertEquals(await second.stop(), 0);
});

Deno.test("What ended stays ended after a SIGKILL right behind it, and its end can still be explained", async () => {
  using home = new Home();
  const servers = { recorder: recorder(home) };
  await using first = await Gateway.start({ home, servers });
  const [deleted, stopped, kept] = [
    await RawSession.open(first, "recorder"),
    await RawSession.open(first, "recorder"),
    await RawSession.open(first, "recorder"),
  ];
  const response = await fetch(`${first.origin}/sessions/${publicHandle(stopped.id)}`, { method: "DELETE" });
  assertEquals((await response.json()).end.reason, "admin");
  assertEquals(await deleted.delete(), 204);
  first.kill("SIGKILL");
  await first.exited();
  await using second = await Gateway.start({ home, servers });
  assertEquals(await endOf(deleted), { status: 404, reason: "client_delete" });
  assertEquals(await endOf(stopped), { status: 404, reason: "admin" });
  assertEquals(await kept.ping(), 200);
  for (const [session, reason] of [[deleted, "client_delete"], [stopped, "admin"]] as const) {
    const { status, body } = await lookUp(second, session);
    assertEquals([status, body.state, body.end.reason], [200, "ended", reason]);
  }
  assertEquals(await second.stop(), 0);
});

Deno.test("A stream that a restart cut goes on behind its last event, and after a SIGKILL its client is told", async () => {
  using home = new Home();
  const servers = { recorder: recorder(home) };
  const env = { DRAIN_MS: "200" };
  await using first = await Gateway.start({ home, servers, env });
  const session = await RawSession.open(first, "recorder");
  await using before = await session.stream();
  await session.call("shout", { n: 5 });
  const numbers = (stream: OpenStream) => stream.messages.map(({ params }) => params?.data);
  await eventually(() => numbers(before).length === 5, "five messages");
  const idsOf = (stream: OpenStream) => Array.from(stream.text.matchAll(/^id: (\S+)$/gm), ([, id]) => id!);
  const third = idsOf(before).at(-3)!;
  const call = session.requestStream("tools/call", {
    name: "tell",
    arguments: { n: 1e6, everyMs: 50 },
    _meta: { progressToken: "p" },
  });
  await using progress = await call;
  await eventually(() => progress.messages.length >= 3, "some progress");
  const second = await restart(home, first, "SIGTERM", { servers, env });
  await using _second = second;
  await before.end();
  await progress.end();
  const resume = (lastEventId: string) =>
    OpenStream.open(second.url("recorder"), {
      headers: { accept: "text/event-stream", "mcp-session-id": session.id, "last-event-id": lastEventId },
    });
  {
    await using after = await resume(third);
    assertEquals(after.status, 200);
    await eventually(() => numbers(after).length >= 2, "what the client missed");
    assertEquals(numbers(after).slice(0, 2), [4, 5]);
    // It is open, and goes on.
    await session.call("shout", { n: 2 });
    await eventually(() => numbers(after).length === 4, "what came since");
    assertEquals(numbers(after), [4, 5, 1, 2]);
    assertEquals(new Set(idsOf(after)).size, idsOf(after).length);
  }
  // The stream of the request that was cut: what was missed, in order, then the error; and no hole.
  const seen = progress.messages.filter(({ method }) => method === "notifications/progress").length;
  const mid = idsOf(progress).at(-1 - Math.min(2, seen - 1))!;
  {
    await using rest = await resume(mid);
    await rest.end();
    const { error } = rest.messages.at(-1)!;
    assertMatch(error!.message, /shutting down|interrupted/i);
  }

  // The same by SIGKILL: nothing of it was kept, and its client is told so.
  await using lost = await session.requestStream("tools/call", {
    name: "tell",
    arguments: { n: 1e6, everyMs: 50 },
    _meta: { progressToken: "q" },
  });
  await eventually(() => lost.messages.length >= 3, "some progress");
  const lastOf = idsOf(lost).at(-1)!;
  const last = await restart(home, second, "SIGKILL", { servers, env });
  await using _last = last;
  {
    const rest = await OpenStream.open(last.url("recorder"), {
      headers: { accept: "text/event-stream", "mcp-session-id": session.id, "last-event-id": lastOf },
    });
    await rest.end();
    assertEquals(rest.status, 200);
    assertMatch(rest.messages.at(-1)!.error!.message, /^Request was interrupted by a restart/);
  }
  // Of the standalone one there is nothing to be had from before, and it goes on with what comes.
  {
    await using anew = await OpenStream.open(last.url("recorder"), {
      headers: { accept: "text/event-stream", "mcp-session-id": session.id, "last-event-id": third },
    });
    assertEquals(anew.status, 200);
    await session.call("shout", { n: 2 });
    await eventually(() => numbers(anew).length === 2, "what came since");
    assertEquals(numbers(anew), [1, 2]);
  }
  assertEquals(callsOf(home, "tell").length, 2);
  assertEquals(await last.stop(), 0);
  assertEquals(home.processes(), []);
});

Deno.test("After a restart a session is its principal's alone, and no id that was not given leads to one", async () => {
  using home = new Home();
  const tokens = { ann: "ann-has-a-long-token", bob: "bob-has-a-long-token" };
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const servers = { recorder: recorder(home), other: recorder(home) };
  Deno.writeTextFileSync(
    home.file("tokens.json"),
    JSON.stringify({
      tokens: [
        { principal: "ann", sha256: sha256(tokens.ann) },
        { principal: "bob", sha256: sha256(tokens.bob) },
      ],
    }),
  );
  const env = { ACCESS_TOKENS_FILE: "tokens.json" };
  await using first = await Gateway.start({ home, servers, env });
  await using ann = await Survivor.to(first.url("recorder"), { token: tokens.ann });
  assertEquals(await ann.text("note", { text: "mine" }), "mine");
  await using second = await restart(home, first, "SIGKILL", { servers, env });
  const tryIt = async (sessionId: string, token: string, server = "recorder") => {
    const headers = { authorization: `Bearer ${token}` };
    const { status, message } = await post(second.url(server), { id: 1, method: "ping" }, {
      sessionId,
      headers,
    });
    return [status, message?.error?.data];
  };
  const greetings = () => recorded(home).filter(({ message }) => message.method === "initialize").length;
  const digest = sha256(ann.id);
  for (const id of [`${ann.id}x`, ann.id.slice(1), digest, publicHandle(ann.id), crypto.randomUUID(), "0"]) {
    assertEquals(await tryIt(id, tokens.ann), [404, undefined]);
  }
  assertEquals(await tryIt(ann.id, tokens.bob), [404, undefined]);
  assertEquals(await tryIt(ann.id, tokens.ann, "other"), [404, undefined]);
  assertEquals(greetings(), 1, "Nobody woke it.");
  assertEquals(await ann.stubbornly(() => ann.text("note", { text: "still mine" })), "still mine");
  assertEquals([ann.initializes, greetings()], [1, 2]);
  assertEquals(await second.stop(), 0);
});

Deno.test("Nothing that is written down holds a session id, a token or a body", async () => {
  using home = new Home();
  const token = "token-that-is-nowhere-to-be-found";
  const secrets = { call: "secret-of-a-call", answer: "secret-of-an-answer", log: "secret-of-a-message" };
  const servers = { recorder: recorder(home) };
  const env = { ACCESS_TOKEN: token, LOG_LEVEL: "debug" };
  await using first = await Gateway.start({ home, servers, env });
  await using client = await Survivor.to(first.url("recorder"), { token });
  assertEquals(await client.text("note", { text: secrets.call }), secrets.call);
  const headers = { authorization: `Bearer ${token}` };
  const raw = await post(first.url("recorder"), initialize(), { headers });
  const ids = [client.id, raw.sessionId!];
  const inFlight = client.text("note", { text: secrets.answer, ms: HOUR_MS }).catch(() => {});
  await eventually(() => callsOf(home, secrets.answer).length === 1, "a call in flight");
  // Everything that changes is written within half a second.
  await passMs(1_200);
  const search = (when: string) => {
    const folder = home.file(".sojourn");
    const files = Array.from(Deno.readDirSync(folder), ({ name }) => name);
    assert(files.includes("sessions.db"), files.join());
    for (const name of files) {
      const text = new TextDecoder("latin1").decode(Deno.readFileSync(`${folder}/${name}`));
      for (const secret of [...ids, token, ...Object.values(secrets)]) {
        assertFalse(text.includes(secret), `${when}: ${name} holds ${secret}`);
      }
    }
  };
  search("while it runs");
  const second = await restart(home, first, "SIGKILL", { servers, env });
  await using _second = second;
  await inFlight;
  search("after a SIGKILL");
  assertEquals(await client.stubbornly(() => client.text("note", { text: secrets.call })), secrets.call);
  assertEquals(await second.stop(), 0);
  search("after a SIGTERM");
  for (const secret of [...ids, token]) {
    assertFalse(`${first.output}${second.output}`.includes(secret), "a secret was logged");
  }
});

Deno.test("With SESSION_STORE=memory a restart ends every session, and a client that initializes goes on", async () => {
  using home = new Home();
  const servers = { recorder: recorder(home) };
  const env = { SESSION_STORE: "memory" };
  await using first = await Gateway.start({ home, servers, env });
  await using client = await Survivor.to(first.url("recorder"));
  await using second = await restart(home, first, "SIGTERM", { servers, env });
  await assertRejects(() => client.stubbornly(() => client.text("note", { text: "gone" })));
  assert(client.refusals.includes(404));
  await using again = await Survivor.to(second.url("recorder"));
  assertEquals(await again.text("note", { text: "new" }), "new");
  assertEquals(await second.stop(), 0);
});
