import { assert, assertEquals } from "@std/assert";
import { LIMITS, SERVER } from "../fakes/harness.ts";
import { Monitoring, OTHER, type Who } from "../fakes/monitoring.ts";
import { post, request } from "../fakes/harness.ts";

/** One session of each kind that somebody may or may not see; those of ended ones are explained. */
async function fill(monitoring: Monitoring) {
  const open = (principal: string, serverId = SERVER) => monitoring.open({ principal, serverId });
  const sessions = {
    ann: await open("ann"),
    annOther: await open("ann", OTHER),
    bob: await open("bob"),
    catOther: await open("cat", OTHER),
    // Opened before its token was bound to the other server.
    cat: await open("cat"),
    annEnded: await open("ann"),
    bobEnded: await open("bob"),
  };
  await sessions.annEnded.session.end("client_delete");
  await sessions.bobEnded.session.end("client_delete");
  return sessions;
}
type Name = keyof Awaited<ReturnType<typeof fill>>;

const VISIBLE: readonly [as: Who, living: Name[], ended: Name[]][] = [
  ["admin", ["ann", "annOther", "bob", "catOther", "cat"], ["annEnded", "bobEnded"]],
  ["ann", ["ann", "annOther"], ["annEnded"]],
  ["bob", ["bob"], ["bobEnded"]],
  ["cat", ["catOther"], []],
];
for (const [as, living, ended] of VISIBLE) {
  Deno.test(`${as} sees ${living.length + ended.length} of 7 sessions, and the others do not exist`, async () => {
    await using monitoring = await Monitoring.start({ tokens: true });
    const sessions = await fill(monitoring);
    const handlesOf = (names: Name[]) => names.map((name) => sessions[name].handle).toSorted();
    for (const sort of ["openedAt", "idleMs", "deadline"]) {
      assertEquals(
        (await monitoring.handles(`/sessions?sort=${sort}`, as)).toSorted(),
        handlesOf(living),
      );
    }
    assertEquals((await monitoring.handles("/sessions?state=ended", as)).toSorted(), handlesOf(ended));
    const { total, summary } = (await monitoring.get("/sessions", as)).body;
    assertEquals([total, summary.counts.total], [living.length, living.length]);
    assertEquals(
      Object.keys(summary).length === 1,
      as !== "admin",
      "what is about everybody is the administrator's",
    );
    const none = await monitoring.get("/sessions/000000000000", as);
    for (const [name, { handle }] of Object.entries(sessions) as [Name, { handle: string }][]) {
      const { status, text } = await monitoring.get(`/sessions/${handle}`, as);
      const isVisible = living.includes(name) || ended.includes(name);
      assertEquals(status, isVisible ? 200 : 404, name);
      if (!isVisible) assertEquals(text, none.text, "it must not tell that there is one");
    }
  });
}

for (const [as, living, ended] of VISIBLE) {
  Deno.test(`${as} ends ${living.length} of 5 sessions, one by one or together`, async () => {
    for (const together of [false, true]) {
      await using monitoring = await Monitoring.start({ tokens: true });
      const sessions = await fill(monitoring);
      if (together) {
        const { body } = await monitoring.ask("DELETE", "/sessions?all=true", { as });
        assertEquals(body.sessions.toSorted(), living.map((name) => sessions[name].handle).toSorted());
        assertEquals([body.matched, body.ended, body.inUse], [living.length, living.length, 0]);
      }
      for (const [name, { handle, session }] of Object.entries(sessions)) {
        const isVisible = living.includes(name as Name) || ended.includes(name as Name);
        const was = session.endReason;
        if (!together) {
          const { status, body } = await monitoring.ask("DELETE", `/sessions/${handle}`, { as });
          assertEquals(status, isVisible ? 200 : 404, name);
          if (isVisible) assertEquals([body.id, body.state], [handle, "ended"]);
        }
        const reason = as === "admin" ? "admin" : "client_delete";
        assertEquals(session.endReason, was ?? (living.includes(name as Name) ? reason : undefined), name);
      }
    }
  });
}

// [who, method, path with the handle of one of ann's sessions, status].
const MATRIX: readonly [Who, string, string, number][] = [
  ["admin", "POST", "/sessions/:ann/extend", 200],
  ["ann", "POST", "/sessions/:ann/extend", 403],
  ["bob", "POST", "/sessions/:ann/extend", 403],
  ["bob", "POST", "/sessions/000000000000/extend", 403],
  ["admin", "POST", "/sessions/000000000000/extend", 404],
  ["admin", "GET", `/servers/${SERVER}/ttl-advice`, 200],
  ["admin", "GET", "/servers/none/ttl-advice", 404],
  ["ann", "GET", `/servers/${SERVER}/ttl-advice`, 403],
  ["ann", "GET", "/servers/none/ttl-advice", 403],
  ["cat", "GET", `/sessions?serverId=${OTHER}`, 200],
  ["cat", "GET", `/sessions?serverId=${SERVER}`, 400],
  ["cat", "GET", "/sessions?serverId=none", 400],
  ["cat", "DELETE", `/sessions?serverId=${SERVER}`, 400],
  ["admin", "GET", `/sessions?serverId=${SERVER}`, 200],
];
for (const [who, method, path, status] of MATRIX) {
  Deno.test(`${who}: ${method} ${path} is answered with ${status}`, async () => {
    await using monitoring = await Monitoring.start({ tokens: true });
    const { ann } = await fill(monitoring);
    const answer = await monitoring.ask(method, path.replace(":ann", ann.handle), {
      as: who,
      ...(method === "POST" && { body: '{"ms": 1000}' }),
    });
    assertEquals(answer.status, status, answer.text);
  });
}

Deno.test("Without a token, or with a wrong one, nothing is told and nothing happens", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  const { ann } = await fill(monitoring);
  const paths = [
    ["GET", "/sessions"],
    ["DELETE", "/sessions?all=true"],
    ["GET", "/sessions/events"],
    ["GET", `/sessions/${ann.handle}`],
    ["DELETE", `/sessions/${ann.handle}`],
    ["POST", `/sessions/${ann.handle}/extend`],
    ["GET", `/servers/${SERVER}/ttl-advice`],
  ] as const;
  for (const as of [undefined, "nobody"] as const) {
    for (const [method, path] of paths) {
      const { status, body, headers } = await monitoring.ask(method, path, { as });
      assertEquals([status, body.detail], [401, "A valid token is required"], `${method} ${path}`);
      assert(headers.has("www-authenticate"));
    }
  }
  assertEquals(ann.session.state, "active");
  assertEquals(monitoring.feed.size, 0);
});

Deno.test("Where tokens are required and none is the administrator's, nobody administers", async () => {
  await using monitoring = await Monitoring.start({ tokens: true, admin: false });
  const { ann } = await fill(monitoring);
  assertEquals((await monitoring.get("/sessions", "admin")).status, 401);
  assertEquals((await monitoring.handles("/sessions", "ann")).length, 2);
  const extended = await monitoring.ask("POST", `/sessions/${ann.handle}/extend`, {
    as: "ann",
    body: '{"ms":1}',
  });
  assertEquals([extended.status, extended.body.detail], [403, "Only an administrator may do this"]);
});

Deno.test("Without any token configured everything is open to everybody", async () => {
  await using monitoring = await Monitoring.start();
  const { session, handle } = await monitoring.open();
  assert((await monitoring.get("/sessions")).body.summary.limits !== undefined);
  const extended = await monitoring.ask("POST", `/sessions/${handle}/extend`, { body: '{"ms":1}' });
  assertEquals(extended.status, 200);
  assertEquals((await monitoring.ask("DELETE", `/sessions/${handle}`)).status, 200);
  assertEquals(session.endReason, "admin");
});

Deno.test("The client of a session that its owner ended at /sessions is told so", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  const { ann, bob } = await fill(monitoring);
  await monitoring.ask("DELETE", `/sessions/${ann.handle}`, { as: "ann" });
  await monitoring.ask("DELETE", `/sessions/${bob.handle}`, { as: "admin" });
  for (
    const [{ session }, reason, why] of [
      [ann, "client_delete", "its owner ended it at /sessions"],
      [bob, "admin", "an administrator ended it"],
    ] as const
  ) {
    const reply = await post(session, request("ping"));
    const failure = reply.completion?.kind === "failed" ? reply.completion.failure : undefined;
    assertEquals(failure?.data, {
      reason,
      message: `The session is over: ${why}`,
      idleMs: 0,
      ttlMs: LIMITS.idleTtlMs,
    });
  }
});

Deno.test("A page of another origin may use it where that origin is allowed, and gets what it needs to", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  const origin = "http://page.example";
  const allowed = await monitoring.ask("GET", "/sessions", { as: "ann", headers: { origin } });
  assertEquals([allowed.status, allowed.headers.get("access-control-allow-origin")], [200, origin]);
  const foreign = await monitoring.ask("GET", "/sessions", {
    as: "ann",
    headers: { origin: "http://evil.example" },
  });
  assertEquals(foreign.status, 403);
});
