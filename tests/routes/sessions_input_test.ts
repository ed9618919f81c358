import { assert, assertEquals, assertFalse } from "@std/assert";
import { SERVER } from "../fakes/harness.ts";
import { Monitoring } from "../fakes/monitoring.ts";

const UUID = "3f9a1c0b-e27d-4c1a-9b77-0123456789ab";
const FILTERS = "serverId, state, kind, minIdleMs";
const LIST = `${FILTERS}, sort, order, limit, cursor`;
const limit = (value: string) => `Query is wrong: limit must be a whole number from 1 to 500, got ${value}`;
const idle = (value: string) =>
  `Query is wrong: minIdleMs must be a whole number from 0 to 31622400000, got ${value}`;
const ttl = (value: string) =>
  `Query is wrong: ttlMs must be a whole number from 1 to 31622400000, got ${value}`;
const ms = (value: string) => `Body is wrong: ms must be a whole number from 1 to 31622400000, got ${value}`;
const CURSOR = "Query is wrong: cursor must be the nextCursor of a page";
const FILTER = `Query is wrong: it needs a filter (${FILTERS}), or all=true`;
const base64 = (value: unknown) => btoa(JSON.stringify(value)).replaceAll("=", "");

// [method, path, status, detail, body].
const TABLE: readonly [string, string, number, string, string?][] = [
  ["GET", "/sessions?limit=0", 400, limit('"0"')],
  ["GET", "/sessions?limit=501", 400, limit('"501"')],
  ["GET", "/sessions?limit=-1", 400, limit('"-1"')],
  ["GET", "/sessions?limit=1.5", 400, limit('"1.5"')],
  ["GET", "/sessions?limit=1e2", 400, limit('"1e2"')],
  ["GET", "/sessions?limit=0x10", 400, limit('"0x10"')],
  ["GET", "/sessions?limit=%2010", 400, limit('" 10"')],
  ["GET", "/sessions?limit=", 400, limit('""')],
  ["GET", "/sessions?limit", 400, limit('""')],
  ["GET", "/sessions?limit=NaN", 400, limit('"NaN"')],
  ["GET", "/sessions?limit=Infinity", 400, limit('"Infinity"')],
  ["GET", `/sessions?limit=${"z".repeat(400)}`, 400, limit(`"${"z".repeat(79)}…`)],
  ["GET", "/sessions?limit=1&limit=2", 400, 'Query is wrong: "limit" is given more than once'],
  ["GET", "/sessions?minIdleMs=-1", 400, idle('"-1"')],
  ["GET", "/sessions?minIdleMs=31622400001", 400, idle('"31622400001"')],
  ["GET", "/sessions?minIdleMs=5m", 400, idle('"5m"')],
  [
    "GET",
    "/sessions?state=dead",
    400,
    'Query is wrong: state must be one of starting, active, expired, ended, got "dead"',
  ],
  [
    "GET",
    "/sessions?state=Active",
    400,
    'Query is wrong: state must be one of starting, active, expired, ended, got "Active"',
  ],
  [
    "GET",
    "/sessions?state=active,expired",
    400,
    'Query is wrong: state must be one of starting, active, expired, ended, got "active,expired"',
  ],
  [
    "GET",
    "/sessions?kind=stdio",
    400,
    'Query is wrong: kind must be one of streamable, bridge, sse, got "stdio"',
  ],
  [
    "GET",
    "/sessions?serverId=none",
    400,
    'Query is wrong: serverId must be one of fake, other, got "none"',
  ],
  ["GET", "/sessions?serverId=", 400, 'Query is wrong: serverId must be one of fake, other, got ""'],
  [
    "GET",
    "/sessions?sort=principal",
    400,
    'Query is wrong: sort must be one of openedAt, idleMs, deadline, endedAt, got "principal"',
  ],
  ["GET", "/sessions?order=up", 400, 'Query is wrong: order must be one of asc, desc, got "up"'],
  ["GET", "/sessions?sort=endedAt", 400, "Query is wrong: sort=endedAt needs state=ended"],
  [
    "GET",
    "/sessions?state=ended&sort=deadline",
    400,
    "Query is wrong: sort=deadline is not for state=ended",
  ],
  ["GET", "/sessions?cursor=", 400, CURSOR],
  ["GET", "/sessions?cursor=%00", 400, CURSOR],
  ["GET", "/sessions?cursor=nonsense", 400, CURSOR],
  ["GET", `/sessions?cursor=${base64({})}`, 400, CURSOR],
  ["GET", `/sessions?cursor=${base64([1, "a", "b"])}`, 400, CURSOR],
  ["GET", `/sessions?cursor=${base64(["1", "a", "b", null])}`, 400, CURSOR],
  [
    "GET",
    `/sessions?cursor=${base64([1, "a", "b", null])}`,
    400,
    "Query is wrong: cursor belongs to another listing: filters, sort, order and token have to stay the same",
  ],
  ["GET", "/sessions?idle=1", 400, `Query is wrong: unknown parameter "idle"; allowed are ${LIST}`],
  ["GET", "/sessions?__proto__=1", 400, `Query is wrong: unknown parameter "__proto__"; allowed are ${LIST}`],
  [
    "GET",
    "/sessions?constructor=1",
    400,
    `Query is wrong: unknown parameter "constructor"; allowed are ${LIST}`,
  ],
  ["GET", "/sessions?all=true", 400, `Query is wrong: unknown parameter "all"; allowed are ${LIST}`],
  [
    "GET",
    "/sessions?limit=0&order=x",
    400,
    `Query is wrong: order must be one of asc, desc, got "x"; ${
      limit('"0"').replace("Query is wrong: ", "")
    }`,
  ],
  [
    "GET",
    "/sessions?access_token=secret-of-mine",
    400,
    `Query is wrong: unknown parameter "access_token"; allowed are ${LIST}`,
  ],
  ["GET", "/sessions/:id?verbose=1", 400, 'Query is wrong: unknown parameter "verbose"; none is taken'],
  ["DELETE", "/sessions/:id?force=true", 400, 'Query is wrong: unknown parameter "force"; none is taken'],
  [
    "GET",
    "/sessions/events?serverId=fake",
    400,
    'Query is wrong: unknown parameter "serverId"; none is taken',
  ],
  ["DELETE", "/sessions", 400, FILTER],
  ["DELETE", "/sessions?force=true", 400, FILTER],
  ["DELETE", "/sessions?dryRun=true", 400, FILTER],
  ["DELETE", "/sessions?all=false", 400, FILTER],
  ["DELETE", "/sessions?all=true&state=active", 400, "Query is wrong: all=true goes with no filter"],
  ["DELETE", "/sessions?all=yes", 400, 'Query is wrong: all must be one of true, false, got "yes"'],
  ["DELETE", "/sessions?all", 400, 'Query is wrong: all must be one of true, false, got ""'],
  [
    "DELETE",
    "/sessions?minIdleMs=1&dryRun=1",
    400,
    'Query is wrong: dryRun must be one of true, false, got "1"',
  ],
  [
    "DELETE",
    "/sessions?state=ended",
    400,
    'Query is wrong: state must be one of starting, active, expired, got "ended"',
  ],
  [
    "DELETE",
    "/sessions?serverId=fake&limit=1",
    400,
    `Query is wrong: unknown parameter "limit"; allowed are ${FILTERS}, all, force, dryRun`,
  ],
  ["POST", "/sessions/:id/extend", 400, "Body is not JSON", ""],
  ["POST", "/sessions/:id/extend", 400, "Body is not JSON", "ms=1"],
  [
    "POST",
    "/sessions/:id/extend",
    400,
    'Body is wrong: it must be an object such as {"ms": 600000}, got null',
    "null",
  ],
  [
    "POST",
    "/sessions/:id/extend",
    400,
    'Body is wrong: it must be an object such as {"ms": 600000}, got 5',
    "5",
  ],
  [
    "POST",
    "/sessions/:id/extend",
    400,
    'Body is wrong: it must be an object such as {"ms": 600000}, got [1]',
    "[1]",
  ],
  ["POST", "/sessions/:id/extend", 400, ms("none"), "{}"],
  ["POST", "/sessions/:id/extend", 400, ms("0"), '{"ms": 0}'],
  ["POST", "/sessions/:id/extend", 400, ms("-1"), '{"ms": -1}'],
  ["POST", "/sessions/:id/extend", 400, ms("1.5"), '{"ms": 1.5}'],
  ["POST", "/sessions/:id/extend", 400, ms('"1"'), '{"ms": "1"}'],
  ["POST", "/sessions/:id/extend", 400, ms("31622400001"), '{"ms": 31622400001}'],
  ["POST", "/sessions/:id/extend", 400, ms("null"), '{"ms": 1e999}'],
  ["POST", "/sessions/:id/extend", 400, 'Body is wrong: unknown "until"', '{"ms": 1, "until": 2}'],
  [
    "POST",
    "/sessions/:id/extend",
    413,
    "Body is too large: at most 4096 bytes are taken",
    `{"ms": 1${" ".repeat(5_000)}}`,
  ],
  ["POST", "/sessions/:id/extend?ms=5", 400, 'Query is wrong: unknown parameter "ms"; none is taken', "{}"],
  ["POST", "/sessions/000000000000/extend", 404, "No such session", '{"ms": 1}'],
  ["GET", `/servers/${SERVER}/ttl-advice?ttlMs=0`, 400, ttl('"0"')],
  ["GET", `/servers/${SERVER}/ttl-advice?ttlMs=31622400001`, 400, ttl('"31622400001"')],
  ["GET", `/servers/${SERVER}/ttl-advice?ttlMs=5m`, 400, ttl('"5m"')],
  [
    "GET",
    `/servers/${SERVER}/ttl-advice?ttl=5`,
    400,
    'Query is wrong: unknown parameter "ttl"; allowed are ttlMs',
  ],
  ["GET", "/servers/none/ttl-advice", 404, 'No such server: "none"'],
  ["GET", "/servers/__proto__/ttl-advice", 404, 'No such server: "__proto__"'],
  ["GET", "/sessions/000000000000", 404, "No such session"],
  ["GET", "/sessions/00000000000", 404, "No such session"],
  ["GET", "/sessions/0000000000000", 404, "No such session"],
  ["GET", "/sessions/__proto__", 404, "No such session"],
  ["GET", "/sessions/%00", 404, "No such session"],
  ["GET", "/sessions/%E0%A4%A", 404, "No such session"],
  ["DELETE", "/sessions/ABCDEFABCDEF", 404, "No such session"],
  ["GET", `/sessions/${UUID}`, 404, "No such session"],
  ["DELETE", `/sessions/${UUID}`, 404, "No such session"],
  ["GET", `/sessions/${UUID}/timeline`, 404, "No such page: /sessions/3f9a…/timeline"],
  ["GET", `/sessions/${UUID.replaceAll("-", "").toUpperCase()}/x`, 404, "No such page: /sessions/3F9A…/x"],
  ["GET", `/sessions/%33f9a1c0b%2de27d-4c1a-9b77-0123456789ab/x`, 404, "No such page: /sessions/3f9a…/x"],
  ["GET", `/servers/${UUID}/ttl-advice`, 404, 'No such server: "3f9a…"'],
  [
    "GET",
    `/sessions?serverId=${UUID}`,
    400,
    'Query is wrong: serverId must be one of fake, other, got "3f9a…"',
  ],
  ["GET", `/sessions?${UUID}=1`, 400, `Query is wrong: unknown parameter "3f9a…"; allowed are ${LIST}`],
  ["GET", "/sessions/", 404, "No such page: /sessions/"],
  ["GET", "/servers", 404, "No such page: /servers"],
  ["POST", "/sessions", 405, "Method is not allowed here: POST"],
  ["PUT", "/sessions/:id", 405, "Method is not allowed here: PUT"],
  ["GET", "/sessions/:id/extend", 405, "Method is not allowed here: GET"],
  ["DELETE", "/sessions/events", 405, "Method is not allowed here: DELETE"],
  ["POST", `/servers/${SERVER}/ttl-advice`, 405, "Method is not allowed here: POST"],
];

Deno.test(`Each of ${TABLE.length} mistakes is answered with what is wrong, and changes nothing`, async () => {
  await using monitoring = await Monitoring.start();
  const { session, handle } = await monitoring.open();
  for (const [method, path, status, detail, body] of TABLE) {
    const answer = await monitoring.ask(method, path.replace(":id", handle), {
      ...(body !== undefined && { body }),
    });
    const what = `${method} ${path} ${body ?? ""}`;
    assertEquals(answer.headers.get("content-type"), "application/problem+json", what);
    assertEquals([answer.status, answer.body.status, answer.body.detail], [status, status, detail], what);
    assertFalse(answer.text.includes("secret-of-mine"));
    assertEquals(answer.headers.has("allow"), status === 405, what);
    assertEquals(session.state, "active", what);
  }
  assert(TABLE.length >= 40);
  assertEquals(session.account.timeline.entries.length, 2);
});

Deno.test("What is allowed instead of a method is said", async () => {
  await using monitoring = await Monitoring.start();
  for (
    const [path, allow] of [
      ["/sessions", "GET, HEAD, DELETE"],
      ["/sessions/events", "GET, HEAD"],
      ["/sessions/000000000000", "GET, HEAD, DELETE"],
      ["/sessions/000000000000/extend", "POST"],
      [`/servers/${SERVER}/ttl-advice`, "GET, HEAD"],
    ] as const
  ) {
    const { status, headers } = await monitoring.ask("PATCH", path);
    assertEquals([status, headers.get("allow")], [405, allow], path);
  }
});

Deno.test("The id of a session finds nothing here, whose handle does", async () => {
  await using monitoring = await Monitoring.start();
  const { id, handle, session } = await monitoring.open();
  for (const method of ["GET", "DELETE"]) {
    const { status, body } = await monitoring.ask(method, `/sessions/${id}`);
    assertEquals([status, body.detail], [404, "No such session"]);
  }
  for (const path of [`/sessions/${id}/x`, `/${id}`, `/sessions?serverId=${id}`, `/sessions?cursor=${id}`]) {
    const { status } = await monitoring.get(path);
    assert(status === 404 || status === 400);
  }
  assertEquals((await monitoring.get(`/sessions/${handle}`)).status, 200);
  assertEquals(session.state, "active");
});

Deno.test("A browser has to say that an extension is JSON, and others need not", async () => {
  await using monitoring = await Monitoring.start();
  const { handle } = await monitoring.open();
  const origin = "http://page.example";
  const extend = async (headers: Record<string, string>) =>
    (await monitoring.ask("POST", `/sessions/${handle}/extend`, { headers, body: '{"ms": 1}' })).status;
  assertEquals(await extend({}), 200);
  assertEquals(await extend({ "content-type": "text/plain" }), 200);
  assertEquals(await extend({ origin, "content-type": "text/plain" }), 415);
  assertEquals(await extend({ origin }), 415);
  assertEquals(await extend({ origin, "content-type": "application/json; charset=utf-8" }), 200);
});

Deno.test("A stream of events is not sent to who does not take one", async () => {
  await using monitoring = await Monitoring.start();
  const { status, body } = await monitoring.ask("GET", "/sessions/events", {
    headers: { accept: "application/json" },
  });
  assertEquals([status, body.detail], [406, "Not acceptable: Accept must include text/event-stream"]);
  assertEquals(monitoring.feed.size, 0);
});

Deno.test("A body that does not come is given up", async () => {
  await using monitoring = await Monitoring.start();
  const { handle } = await monitoring.open();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const pending = monitoring.ask("POST", `/sessions/${handle}/extend`, { body: readable });
  await monitoring.harness.clock.advance(30_000);
  assertEquals((await pending).status, 408);
  await writable.abort().catch(() => {});
});
