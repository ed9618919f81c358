/**
 * Malformed and hostile requests: what exactly each is answered, what of it reaches the server, and that the session
 * which it names goes on as if nothing had been.
 *
 * What no `Request` can express is in `tests/e2e/hostile_test.ts`.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { KNOWN_VERSIONS } from "../../protocol/revisions.ts";
import { AppHarness, INITIALIZE, type OpenedSession, ORIGIN, POST_HEADERS } from "../fakes/app_harness.ts";
import { settle } from "../fakes/fake_clock.ts";
import { LIMITS, SERVER } from "../fakes/harness.ts";
import { LogCapture } from "../fakes/log_capture.ts";

/** One hostile request, and all that may come of it. */
interface Row {
  readonly what: string;
  readonly method?: string;
  /** Behind the origin, or an absolute URL. */
  readonly target?: string;
  /** On top of the usual ones and the session's; undefined takes one away. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  /** Requests that are in flight in the session already. */
  readonly inFlight?: readonly (string | number)[];
  readonly status: number;
  /** The whole body of the response. */
  readonly answer: string;
  /** Its Content-Type; `application/json` unless given, null where it has none. */
  readonly type?: string | null;
  /** What reaches the server, word for word. Unless given, nothing does. */
  readonly reaches?: string;
}

const PAGE = "application/problem+json";
const MIB = 1024 * 1024;
/** Deep enough to end a parser that recurses. */
const DEEP = 200_000;

/** The body of a JSON-RPC error. */
function fails(code: number, message: string, id: string | number | null = null, data?: unknown): string {
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code, message, data } });
}

/** The answer to a body that is no JSON, in the words of the runtime's parser. */
function noJson(body: string): string {
  try {
    JSON.parse(body);
  } catch (error) {
    return fails(-32700, `Body is not JSON: ${(error as Error).message}`);
  }
  throw new Error(`a test takes JSON for none: ${body}`);
}

function noMessage(detail: string, id: string | number | null = null): string {
  return fails(-32600, `Body is not a JSON-RPC message: ${detail}`, id);
}

/** A problem document. */
function page(status: number, title: string, detail: string): string {
  return JSON.stringify({ type: "about:blank", title, status, detail });
}

function succeeds(id: string | number): string {
  return JSON.stringify({ jsonrpc: "2.0", id, result: {} });
}

/** Text as bytes of Latin-1. */
function bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

function request(rest: string, id = "1"): string {
  return `{"jsonrpc":"2.0","id":${id},"method":"m"${rest}}`;
}

function repeat(text: string, bytes: number): string {
  return text.repeat(Math.ceil(bytes / text.length)).slice(0, bytes);
}

const PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
const NOT_FOUND = fails(-32001, "Session not found", 1);
const BATCH = fails(
  -32600,
  "Batches belong to sessions of revision 2025-03-26 only: a batch (JSON array) is not one message",
);
const BAD_UTF8 = fails(-32700, "Body is not JSON: it is not valid UTF-8");
const TOO_LARGE = fails(-32000, `Body is too large: at most ${4 * MIB} bytes are taken`);
const NO_SESSION = fails(-32000, "Header mcp-session-id is missing");
const NOT_ACCEPTABLE = fails(
  -32000,
  "Not acceptable: Accept must include application/json and text/event-stream",
);
const UNSUPPORTED = fails(-32000, "Content-Type must be application/json");

function modern(requested: string): string {
  return fails(-32022, `Unsupported protocol version: ${JSON.stringify(requested)}`, 1, {
    supported: KNOWN_VERSIONS,
    requested,
  });
}

// Bodies: [what, body, answer]. All are refused with 400.
const REFUSED_BODIES: readonly (readonly [string, string | Uint8Array<ArrayBuffer>, string])[] = [
  // No JSON.
  ["An empty body", "", noJson("")],
  ["A body of blanks", " \r\n\t ", noJson("")],
  ["A body of one NUL byte", "\0", noJson("\0")],
  ["A message with a NUL byte behind it", `${PING}\0`, noJson(`${PING}\0`)],
  ["Half a message", PING.slice(0, 20), noJson(PING.slice(0, 20))],
  ["Two messages", `${PING}${PING}`, noJson(`${PING}${PING}`)],
  ["Two messages on two lines", `${PING}\n${PING}`, noJson(`${PING}\n${PING}`)],
  ["JSON with a comma too many", '{"jsonrpc":"2.0",}', noJson('{"jsonrpc":"2.0",}')],
  ["JSON with a comment", `/* */${PING}`, noJson(`/* */${PING}`)],
  ["JSON in single quotes", "{'jsonrpc':'2.0'}", noJson("{'jsonrpc':'2.0'}")],
  ["NaN", request(',"params":{"n":NaN}'), noJson(request(',"params":{"n":NaN}'))],
  ["A line break inside a string", request(',"params":{"s":"\n"}'), noJson(request(',"params":{"s":"\n"}'))],
  ["A number with a leading zero", request("", "01"), noJson(request("", "01"))],
  ["HTML", "<!doctype html><script>alert(1)</script>", noJson("<!doctype html><script>alert(1)</script>")],
  ["A form", "jsonrpc=2.0&id=1&method=ping", noJson("jsonrpc=2.0&id=1&method=ping")],
  ["A million opening brackets", "[".repeat(1_000_000), noJson("[".repeat(1_000_000))],
  ["A million opening braces", '{"a":'.repeat(500_000), noJson('{"a":'.repeat(500_000))],
  // No UTF-8.
  ["A byte that no UTF-8 has", bytes(request(',"params":{"s":"\xff"}')), BAD_UTF8],
  ["An overlong slash", bytes(request(',"params":{"s":"\xc0\xaf"}')), BAD_UTF8],
  ["A surrogate in UTF-8", bytes(request(',"params":{"s":"\xed\xa0\x80"}')), BAD_UTF8],
  ["A character beyond the last", bytes(request(',"params":{"s":"\xf4\x90\x80\x80"}')), BAD_UTF8],
  ["A character cut short", bytes(`${PING}\xe2\x82`), BAD_UTF8],
  ["UTF-16 with its mark", bytes("\xff\xfe{\0}\0"), BAD_UTF8],
  ["UTF-16 without a mark", bytes("{\0}\0"), noJson("{\0}\0")],
  ["A gzip header", bytes("\x1f\x8b\x08\x00"), BAD_UTF8],
  // JSON, but no message.
  ["null", "null", noMessage("a message is a JSON object")],
  ["A number", "1", noMessage("a message is a JSON object")],
  ["A string", '"ping"', noMessage("a message is a JSON object")],
  ["An empty object", "{}", noMessage('jsonrpc must be "2.0"')],
  ["A message without jsonrpc", '{"id":1,"method":"ping"}', noMessage('jsonrpc must be "2.0"', 1)],
  [
    "jsonrpc 1.0",
    '{"jsonrpc":"1.0","id":1,"method":"ping"}',
    noMessage('jsonrpc must be "2.0"', 1),
  ],
  ["jsonrpc as a number", '{"jsonrpc":2.0,"id":1,"method":"ping"}', noMessage('jsonrpc must be "2.0"', 1)],
  [
    "A key in capitals",
    '{"JSONRPC":"2.0","id":1,"method":"ping"}',
    noMessage('jsonrpc must be "2.0"', 1),
  ],
  [
    "A message whose fields are all in __proto__",
    `{"__proto__":${PING}}`,
    noMessage('jsonrpc must be "2.0"'),
  ],
  [
    "A message whose method is in __proto__",
    '{"jsonrpc":"2.0","id":1,"__proto__":{"method":"ping"}}',
    noMessage("a message has a method, a result or an error", 1),
  ],
  [
    "A message whose method is in constructor.prototype",
    '{"jsonrpc":"2.0","id":1,"constructor":{"prototype":{"method":"ping"}}}',
    noMessage("a message has a method, a result or an error", 1),
  ],
  ["A method that is a number", request("").replace('"m"', "7"), noMessage("method must be a string", 1)],
  ["A method that is null", request("").replace('"m"', "null"), noMessage("method must be a string", 1)],
  ["A method that is an object", request("").replace('"m"', "{}"), noMessage("method must be a string", 1)],
  ["params that are an array", request(',"params":[1]'), noMessage("params must be an object", 1)],
  ["params that are null", request(',"params":null'), noMessage("params must be an object", 1)],
  ["params that are a string", request(',"params":"x"'), noMessage("params must be an object", 1)],
  [
    "A request with a result",
    request(',"result":{}'),
    noMessage("a message with a method has neither result nor error", 1),
  ],
  [
    "A request with an error",
    request(',"error":{"code":1,"message":"x"}'),
    noMessage("a message with a method has neither result nor error", 1),
  ],
  ["The id null", request("", "null"), noMessage("id must be a string or an integer")],
  ["The id true", request("", "true"), noMessage("id must be a string or an integer")],
  ["An id that is an object", request("", '{"a":1}'), noMessage("id must be a string or an integer")],
  ["An id that is an array", request("", "[1]"), noMessage("id must be a string or an integer")],
  ["An id with a fraction", request("", "1.5"), noMessage("id must be a string or an integer")],
  ["The id 2^53", request("", "9007199254740992"), noMessage("id must be a string or an integer")],
  ["The id 1e999", request("", "1e999"), noMessage("id must be a string or an integer")],
  [
    "An id that is deep",
    request("", `${"[".repeat(DEEP)}${"]".repeat(DEEP)}`),
    noMessage(
      "id must be a string or an integer",
    ),
  ],
  [
    "Two ids, the last of which is none",
    '{"jsonrpc":"2.0","id":1,"id":null,"method":"ping"}',
    noMessage("id must be a string or an integer"),
  ],
  // Answers that are none. The id of an answer is the server's, so it is not answered to.
  [
    "An answer with a result and an error",
    '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}',
    noMessage("an answer has a result or an error, not both"),
  ],
  [
    "An answer whose result is an array",
    '{"jsonrpc":"2.0","id":1,"result":[]}',
    noMessage("result must be an object"),
  ],
  [
    "An answer whose result is null",
    '{"jsonrpc":"2.0","id":1,"result":null}',
    noMessage("result must be an object"),
  ],
  [
    "An answer without an id",
    '{"jsonrpc":"2.0","result":{}}',
    noMessage("id must be a string or an integer"),
  ],
  [
    "An error that is a string",
    '{"jsonrpc":"2.0","id":1,"error":"no"}',
    noMessage("error must be an object with an integer code and a string message"),
  ],
  [
    "An error with a fraction as its code",
    '{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"x"}}',
    noMessage("error must be an object with an integer code and a string message"),
  ],
  [
    "An error whose code is in __proto__",
    '{"jsonrpc":"2.0","id":1,"error":{"__proto__":{"code":1,"message":"x"}}}',
    noMessage("error must be an object with an integer code and a string message"),
  ],
  [
    "An error with an id that is an object",
    '{"jsonrpc":"2.0","id":{},"error":{"code":1,"message":"x"}}',
    noMessage("id must be a string, an integer or null"),
  ],
  // Batches, in a session of a revision that has none.
  ["An empty batch", "[]", BATCH],
  ["A batch", `[${PING},${PING}]`, BATCH],
  ["A batch that is deep", `${"[".repeat(DEEP)}${"]".repeat(DEEP)}`, BATCH],
  // What a session takes once.
  [
    "A second initialize",
    JSON.stringify(INITIALIZE),
    fails(
      -32600,
      "This session is initialized already",
      "init",
    ),
  ],
  [
    "initialize as the second of two methods",
    request(',"method":"initialize"'),
    fails(-32600, "This session is initialized already", 1),
  ],
  // Modern clients.
  ["server/discover", request("").replace('"m"', '"server/discover"'), modern("2026-07-28")],
  [
    "A version in _meta that is none",
    request(',"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"<b>"}}'),
    modern("<b>"),
  ],
];

/** Shape is right, content is hostile: the server gets the text as it came, and its answer is sent. */
const FORWARDED: readonly (readonly [string, string, (string | number)?])[] = [
  ["__proto__ in params", request(',"params":{"__proto__":{"admin":true}}')],
  ["A request in which __proto__ says another id", request(',"__proto__":{"id":2}')],
  [
    "A progress token in __proto__",
    request(',"params":{"_meta":{"__proto__":{"progressToken":"t"}}}'),
  ],
  ["constructor and toString in params", request(',"params":{"constructor":1,"toString":null}')],
  ["_meta that is a string", request(',"params":{"_meta":"x"}')],
  ["A progress token that is an object", request(',"params":{"_meta":{"progressToken":{}}}')],
  [
    "Two ids of which the last counts",
    '{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}',
    2,
  ],
  ["The method __proto__", request("").replace('"m"', '"__proto__"')],
  ["The method with no letters", request("").replace('"m"', '""')],
  ["The method in escapes", request("").replace('"m"', '"\\u0070ing"')],
  ["An unknown field", request(',"auth":"x"')],
  ["The id with no letters", request("", '""'), ""],
  ["The id __proto__", request("", '"__proto__"'), "__proto__"],
  ["The id -0", request("", "-0"), 0],
  ["The id 1e2", request("", "1e2"), 100],
  ["The greatest id", request("", "9007199254740991"), 9007199254740991],
  ["A NUL in an id, in escapes", request("", '"\\u0000"'), "\0"],
  ["Line breaks in an id, in escapes", request("", '"\\r\\nx: y\\u2028"'), "\r\nx: y\u2028"],
  ["Half a surrogate in an id, in escapes", request("", '"\\ud800"'), "\ud800"],
  ["An id of 100,000 letters", request("", `"${repeat("i", 100_000)}"`), repeat("i", 100_000)],
  ["A number with a thousand digits", request(`,"params":{"n":${repeat("9", 1_000)}}`)],
  ["params that are deep", request(`,"params":{"d":${"[".repeat(DEEP)}${"]".repeat(DEEP)}}`)],
  ["100,000 keys", request(`,"params":{${Array.from({ length: 100_000 }, (_, i) => `"${i}":0`)}}`)],
  ["A body of just 4 MiB", repeatBody(4 * MIB)],
];

/** A request of so many bytes. */
function repeatBody(size: number): string {
  const empty = request(',"params":{"s":""}');
  return request(`,"params":{"s":"${"x".repeat(size - empty.length)}"}`);
}

/** A request with a message that is fine. */
type HeaderRow = readonly [string, Record<string, string | undefined>, number, string, { reaches?: string }?];

const HEADERS: readonly HeaderRow[] = [
  // What names the session.
  ["An empty session id", { "mcp-session-id": "" }, 404, NOT_FOUND],
  ["The session id __proto__", { "mcp-session-id": "__proto__" }, 404, NOT_FOUND],
  ["A session id of 100,000 letters", { "mcp-session-id": repeat("x", 100_000) }, 404, NOT_FOUND],
  ["A session id beyond ASCII", { "mcp-session-id": "\xe9\xff" }, 404, NOT_FOUND],
  ["A session id with a wildcard", { "mcp-session-id": "*" }, 404, NOT_FOUND],
  ["A session id with a path", { "mcp-session-id": "../../etc/passwd" }, 404, NOT_FOUND],
  ["Two session ids", { "mcp-session-id": "a, b" }, 404, NOT_FOUND],
  // Which version.
  [
    "An empty version",
    { "mcp-protocol-version": "" },
    400,
    fails(-32000, 'Header mcp-protocol-version names a version that is not supported: ""', 1),
  ],
  [
    "A version that never was",
    { "mcp-protocol-version": "1999-01-01" },
    400,
    fails(-32000, 'Header mcp-protocol-version names a version that is not supported: "1999-01-01"', 1),
  ],
  [
    "Two versions",
    { "mcp-protocol-version": "2025-06-18, 2025-11-25" },
    400,
    fails(
      -32000,
      'Header mcp-protocol-version names a version that is not supported: "2025-06-18, 2025-11-25"',
      1,
    ),
  ],
  [
    "The version __proto__",
    { "mcp-protocol-version": "__proto__" },
    400,
    fails(-32000, 'Header mcp-protocol-version names a version that is not supported: "__proto__"', 1),
  ],
  [
    "A version in quotes",
    { "mcp-protocol-version": '"2025-06-18"' },
    400,
    fails(
      -32000,
      'Header mcp-protocol-version names a version that is not supported: "\\"2025-06-18\\""',
      1,
    ),
  ],
  ["A version of the far future", { "mcp-protocol-version": "9999-99-99" }, 400, modern("9999-99-99")],
  ["A modern version", { "mcp-protocol-version": "2026-07-28" }, 400, modern("2026-07-28")],
  // What is taken.
  ["An empty Accept", { accept: "" }, 406, NOT_ACCEPTABLE],
  ["An Accept of HTML", { accept: "text/html" }, 406, NOT_ACCEPTABLE],
  ["An Accept of JSON only", { accept: "application/json" }, 406, NOT_ACCEPTABLE],
  ["An Accept of events only", { accept: "text/event-stream" }, 406, NOT_ACCEPTABLE],
  ["An Accept of commas", { accept: ",,,;;;q=,," }, 406, NOT_ACCEPTABLE],
  [
    "An Accept that only looks like it",
    {
      accept: "application/jsonp, text/event-streams, xapplication/json",
    },
    406,
    NOT_ACCEPTABLE,
  ],
  ["An Accept of 100,000 letters", { accept: repeat("a/b,", 100_000) }, 406, NOT_ACCEPTABLE],
  // From a page: only what a browser asks for first.
  ["A page's form", { origin: ORIGIN, "content-type": "text/plain" }, 415, UNSUPPORTED],
  ["A page that says no type", { origin: ORIGIN, "content-type": undefined }, 415, UNSUPPORTED],
  [
    "A page's type with JSON as its parameter",
    {
      origin: ORIGIN,
      "content-type": "text/plain; application/json",
    },
    415,
    UNSUPPORTED,
  ],
  [
    "A page's two types",
    { origin: ORIGIN, "content-type": "text/plain, application/json" },
    415,
    UNSUPPORTED,
  ],
  [
    "A foreign page",
    { origin: "http://evil.example" },
    403,
    fails(
      -32000,
      'Origin is not allowed: "http://evil.example"',
    ),
  ],
  ["A page of no origin", { origin: "null" }, 403, fails(-32000, 'Origin is not allowed: "null"')],
  ["An empty Origin", { origin: "" }, 403, fails(-32000, 'Origin is not allowed: ""')],
  [
    "A foreign page with our name in its own",
    { origin: "http://localhost.evil.example" },
    403,
    fails(
      -32000,
      'Origin is not allowed: "http://localhost.evil.example"',
    ),
  ],
  [
    "A foreign page with our name as its user",
    { origin: "http://localhost@evil.example" },
    403,
    fails(
      -32000,
      'Origin is not allowed: "http://localhost@evil.example"',
    ),
  ],
  [
    "Two origins",
    { origin: `${ORIGIN}, http://evil.example` },
    403,
    fails(
      -32000,
      'Origin is not allowed: "http://localhost, http://evil.example"',
    ),
  ],
  // Lengths.
  ["A length over the bound", { "content-length": "4194305" }, 413, TOO_LARGE],
  ["A length beyond numbers", { "content-length": "1e999" }, 413, TOO_LARGE],
  // Means nothing here.
  ["A token that nobody asked for", { authorization: "Bearer x" }, 200, succeeds(1), { reaches: PING }],
  ["Half a token", { authorization: "Bearer" }, 200, succeeds(1), { reaches: PING }],
  ["A Host header that claims another name", { host: "evil.example" }, 200, succeeds(1), { reaches: PING }],
  ["A forwarded name", { "x-forwarded-host": "evil.example" }, 200, succeeds(1), { reaches: PING }],
  ["Another method in a header", { "x-http-method-override": "DELETE" }, 200, succeeds(1), { reaches: PING }],
  ["Another path in a header", { "x-original-url": "/health" }, 200, succeeds(1), { reaches: PING }],
  ["A last event that never was", { "last-event-id": "\xff" }, 200, succeeds(1), { reaches: PING }],
  ["Cookies", { cookie: "mcp-session-id=x; __proto__=y" }, 200, succeeds(1), { reaches: PING }],
  ["A type that is none", { "content-type": ";;;" }, 200, succeeds(1), { reaches: PING }],
  ["A character set that lies", { "content-type": "application/json; charset=utf-16" }, 200, succeeds(1), {
    reaches: PING,
  }],
];

const PROBLEM = { type: PAGE };

/** Methods and paths; the session's id is with each. [what, method, target, status, answer, more]. */
const TARGETS: readonly (readonly [string, string, string, number, string, Partial<Row>?])[] = [
  ["PUT", "PUT", `/mcp/${SERVER}`, 405, fails(-32000, "Method is not allowed here: PUT")],
  ["PATCH", "PATCH", `/mcp/${SERVER}`, 405, fails(-32000, "Method is not allowed here: PATCH")],
  [
    "OPTIONS of no browser",
    "OPTIONS",
    `/mcp/${SERVER}`,
    405,
    fails(
      -32000,
      "Method is not allowed here: OPTIONS",
    ),
  ],
  [
    "A method that is none",
    "PROPFIND",
    `/mcp/${SERVER}`,
    405,
    fails(
      -32000,
      "Method is not allowed here: PROPFIND",
    ),
  ],
  [
    "A method with a prototype's name",
    "__proto__",
    `/mcp/${SERVER}`,
    405,
    fails(
      -32000,
      "Method is not allowed here: __proto__",
    ),
  ],
  [
    "A method of 10,000 letters",
    repeat("X", 10_000),
    `/mcp/${SERVER}`,
    405,
    fails(
      -32000,
      `Method is not allowed here: ${repeat("X", 10_000)}`,
    ),
  ],
  ["HEAD", "HEAD", `/mcp/${SERVER}`, 405, ""],
  [
    "GET without Accept for events",
    "GET",
    `/mcp/${SERVER}`,
    406,
    fails(
      -32000,
      "Not acceptable: Accept must include text/event-stream",
    ),
    { headers: { accept: "application/json" } },
  ],
  ["GET without a session", "GET", `/mcp/${SERVER}`, 400, NO_SESSION, {
    headers: { "mcp-session-id": undefined },
  }],
  ["GET of a session that never was", "GET", `/mcp/${SERVER}`, 404, fails(-32001, "Session not found"), {
    headers: { "mcp-session-id": "nope" },
  }],
  [
    "GET of a modern client",
    "GET",
    `/mcp/${SERVER}`,
    400,
    modern("2026-07-28").replace('"id":1', '"id":null'),
    {
      headers: { "mcp-protocol-version": "2026-07-28" },
    },
  ],
  [
    "GET of a version that never was",
    "GET",
    `/mcp/${SERVER}`,
    400,
    fails(
      -32000,
      'Header mcp-protocol-version names a version that is not supported: "x"',
    ),
    { headers: { "mcp-protocol-version": "x" } },
  ],
  ["DELETE without a session", "DELETE", `/mcp/${SERVER}`, 400, NO_SESSION, {
    headers: { "mcp-session-id": undefined },
  }],
  [
    "DELETE of a session that never was",
    "DELETE",
    `/mcp/${SERVER}`,
    404,
    fails(-32001, "Session not found"),
    {
      headers: { "mcp-session-id": "nope" },
    },
  ],
  [
    "DELETE of a version that never was",
    "DELETE",
    `/mcp/${SERVER}`,
    400,
    fails(
      -32000,
      'Header mcp-protocol-version names a version that is not supported: "x"',
    ),
    { headers: { "mcp-protocol-version": "x" } },
  ],
  ["DELETE at another server", "DELETE", "/mcp/other", 404, fails(-32001, "Session not found")],
  ["GET at another server", "GET", "/mcp/other", 404, fails(-32001, "Session not found")],
  ["A message at another server", "POST", "/mcp/other", 404, NOT_FOUND],
  ["A server that is none", "POST", "/mcp/nope", 404, fails(-32000, 'No such server: "nope"')],
  ["The server __proto__", "POST", "/mcp/__proto__", 404, fails(-32000, 'No such server: "__proto__"')],
  [
    "The server constructor",
    "DELETE",
    "/mcp/constructor",
    404,
    fails(-32000, 'No such server: "constructor"'),
  ],
  ["A server in capitals", "POST", "/mcp/FAKE", 404, fails(-32000, 'No such server: "FAKE"')],
  ["A server and a NUL", "POST", `/mcp/${SERVER}%00`, 404, fails(-32000, 'No such server: "fake\\u0000"')],
  [
    "A server and a line break",
    "POST",
    `/mcp/${SERVER}%0d%0a`,
    404,
    fails(
      -32000,
      'No such server: "fake\\r\\n"',
    ),
  ],
  ["A server and a blank", "POST", `/mcp/${SERVER}%20`, 404, fails(-32000, 'No such server: "fake "')],
  [
    "A path in a server",
    "POST",
    "/mcp/..%2f..%2fetc%2fpasswd",
    404,
    fails(
      -32000,
      'No such server: "../../etc/passwd"',
    ),
  ],
  ["A server that is no UTF-8", "POST", "/mcp/%ff", 404, fails(-32000, 'No such server: "%ff"')],
  ["A server that is half an escape", "POST", "/mcp/%", 404, fails(-32000, 'No such server: "%"')],
  [
    "A server of 10,000 letters",
    "POST",
    `/mcp/${repeat("x", 10_000)}`,
    404,
    fails(
      -32000,
      `No such server: "${repeat("x", 10_000)}"`,
    ),
  ],
  ["No server", "POST", "/mcp/", 404, page(404, "Not Found", "No such page: /mcp/"), PROBLEM],
  ["Not even a slash", "POST", "/mcp", 404, page(404, "Not Found", "No such page: /mcp"), PROBLEM],
  [
    "A slash too many",
    "POST",
    `/mcp/${SERVER}/`,
    404,
    page(404, "Not Found", "No such page: /mcp/fake/"),
    PROBLEM,
  ],
  [
    "Two slashes",
    "POST",
    `/mcp//${SERVER}`,
    404,
    page(404, "Not Found", "No such page: /mcp//fake"),
    PROBLEM,
  ],
  [
    "Two slashes in front",
    "POST",
    `//mcp/${SERVER}`,
    404,
    page(404, "Not Found", "No such page: //mcp/fake"),
    PROBLEM,
  ],
  [
    "A path behind a server",
    "POST",
    `/mcp/${SERVER}/admin`,
    404,
    page(
      404,
      "Not Found",
      "No such page: /mcp/fake/admin",
    ),
    PROBLEM,
  ],
  [
    "MCP in capitals",
    "POST",
    `/MCP/${SERVER}`,
    404,
    page(404, "Not Found", "No such page: /MCP/fake"),
    PROBLEM,
  ],
  [
    "HTML in a path",
    "GET",
    "/<script>alert(1)</script>",
    404,
    page(
      404,
      "Not Found",
      "No such page: /<script>alert(1)</script>",
    ),
    PROBLEM,
  ],
  [
    "A way out of /mcp",
    "POST",
    "/mcp/../health",
    405,
    page(
      405,
      "Method Not Allowed",
      "Method is not allowed here: POST",
    ),
    PROBLEM,
  ],
  [
    "The same in escapes",
    "POST",
    "/mcp/%2e%2e/health",
    405,
    page(
      405,
      "Method Not Allowed",
      "Method is not allowed here: POST",
    ),
    PROBLEM,
  ],
  [
    "A foreign Host",
    "POST",
    `http://evil.example/mcp/${SERVER}`,
    403,
    fails(
      -32000,
      'Host is not allowed: "evil.example"',
    ),
  ],
  [
    "A Host that begins like ours",
    "POST",
    `http://localhost.evil.example/mcp/${SERVER}`,
    403,
    fails(
      -32000,
      'Host is not allowed: "localhost.evil.example"',
    ),
  ],
  [
    "A foreign Host, elsewhere",
    "GET",
    "http://evil.example/",
    403,
    page(
      403,
      "Forbidden",
      'Host is not allowed: "evil.example"',
    ),
    PROBLEM,
  ],
  ["The server in escapes", "POST", "/mcp/%66ake", 200, succeeds(1), { reaches: PING }],
  ["A query", "POST", `/mcp/${SERVER}?mcp-session-id=x&__proto__=y`, 200, succeeds(1), { reaches: PING }],
  ["A fragment", "POST", `/mcp/${SERVER}#/health`, 200, succeeds(1), { reaches: PING }],
  ["Dots that lead back", "POST", `/health/../mcp/${SERVER}`, 200, succeeds(1), { reaches: PING }],
  ["Loopback by another name", "POST", `http://127.1.2.3/mcp/${SERVER}`, 200, succeeds(1), { reaches: PING }],
];

const CANCEL = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":';

/** What belongs to a state of the session. [what, body, status, answer, more]. */
const STATES: readonly (readonly [string, string, number, string, Partial<Row>])[] = [
  [
    "The id of a request in flight",
    request("", "7"),
    400,
    fails(
      -32600,
      "A request with this id is in flight already: 7",
      7,
    ),
    { inFlight: [7] },
  ],
  [
    "The id of a request in flight, written otherwise",
    request("", "7.0"),
    400,
    fails(
      -32600,
      "A request with this id is in flight already: 7",
      7,
    ),
    { inFlight: [7] },
  ],
  [
    "The id of a request in flight, in escapes",
    request("", '"\\u0061"'),
    400,
    fails(
      -32600,
      'A request with this id is in flight already: "a"',
      "a",
    ),
    { inFlight: ["a"] },
  ],
  ["An id that looks like one in flight", request("", '"7"'), 200, succeeds("7"), {
    inFlight: [7],
    reaches: request("", '"7"'),
  }],
  ["An answer that nobody waits for", '{"jsonrpc":"2.0","id":1,"result":{}}', 202, "", { type: null }],
  ["An answer to a request of its own", '{"jsonrpc":"2.0","id":7,"result":{}}', 202, "", {
    inFlight: [7],
    type: null,
  }],
  ["An error about nothing", '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}', 202, "", {
    type: null,
  }],
  ["A cancellation of nothing", `${CANCEL}"nope"}}`, 202, "", { type: null, reaches: `${CANCEL}"nope"}}` }],
  ["A cancellation by an object", `${CANCEL}{"a":1}}}`, 202, "", {
    type: null,
    reaches: `${CANCEL}{"a":1}}}`,
  }],
  ["A cancellation of one that looks alike", `${CANCEL}"7"}}`, 202, "", {
    inFlight: [7],
    type: null,
    reaches: `${CANCEL}"7"}}`,
  }],
  ["A cancellation of initialize", `${CANCEL}"init"}}`, 202, "", {
    type: null,
    reaches: `${CANCEL}"init"}}`,
  }],
  [
    "Progress of a client",
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
    202,
    "",
    {
      type: null,
      reaches:
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
    },
  ],
  ["A message with a byte order mark", `\ufeff${PING}`, 200, succeeds(1), { reaches: PING }],
  ["Line breaks between tokens", PING.replaceAll(",", ",\r\n"), 200, succeeds(1), {
    reaches: PING.replaceAll(",", ",  "),
  }],
  ["A body of a byte more than 4 MiB", repeatBody(4 * MIB + 1), 413, TOO_LARGE, {}],
  ["A body of 16 MiB", repeat(" ", 16 * MIB), 413, TOO_LARGE, {}],
  ["A notification without a session", '{"jsonrpc":"2.0","method":"notifications/x"}', 400, NO_SESSION, {
    headers: { "mcp-session-id": undefined },
  }],
  ["An answer without a session", '{"jsonrpc":"2.0","id":1,"result":{}}', 400, NO_SESSION, {
    headers: { "mcp-session-id": undefined },
  }],
  ["A batch without a session", `[${PING}]`, 400, BATCH, { headers: { "mcp-session-id": undefined } }],
  [
    "A version that never was, without a session",
    PING,
    400,
    fails(-32000, 'Header mcp-protocol-version names a version that is not supported: "x"', 1),
    { headers: { "mcp-session-id": undefined, "mcp-protocol-version": "x" } },
  ],
];

const ROWS: readonly Row[] = [
  ...REFUSED_BODIES.map(([what, body, answer]) => ({ what, body, answer, status: 400 })),
  ...FORWARDED.map(([what, body, id = 1]) => ({
    what,
    body,
    status: 200,
    answer: succeeds(id),
    reaches: body,
  })),
  ...HEADERS.map(([what, headers, status, answer, more]) => ({ what, headers, status, answer, ...more })),
  ...TARGETS.map(([what, method, target, status, answer, more]) => ({
    what,
    method,
    target,
    status,
    answer,
    ...more,
  })),
  ...STATES.map(([what, body, status, answer, more]) => ({ what, body, status, answer, ...more })),
];

/** The request of a row. */
function requestOf(row: Row, session: Readonly<Record<string, string>>): Request {
  const { method = "POST", target = `/mcp/${SERVER}` } = row;
  const headers = new Headers({ ...POST_HEADERS, ...session });
  for (const [name, value] of Object.entries(row.headers ?? {})) {
    if (value === undefined) headers.delete(name);
    else headers.set(name, value);
  }
  const url = target.startsWith("/") ? `${ORIGIN}${target}` : target;
  const body = method === "POST" ? row.body ?? PING : row.body;
  // A body of bytes has no type of its own, as one off a socket.
  const given = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return new Request(url, { method, headers, ...(given && { body: given }) });
}

/** Sends a row's request and answers, in the server's place, what reaches it. */
async function play(app: AppHarness, { session, backend, headers }: OpenedSession, row: Row): Promise<void> {
  const left = (row.inFlight ?? []).map((id) => app.post({ jsonrpc: "2.0", id, method: "wait" }, headers));
  await settle();
  const seen = backend.received.length;
  const pending = app.fetch(requestOf(row, headers));
  for (let turn = 0; turn < 3; turn++) await settle();
  const reached = backend.received.slice(seen);
  for (const message of reached) if (message.kind === "request") backend.answer(message.id);
  const response = await pending;
  assertEquals(response.status, row.status);
  assertSame(await response.text(), row.answer);
  const { type = "application/json" } = row;
  assertEquals(response.headers.get("content-type"), type);
  assertEquals(response.headers.get("mcp-session-id"), null, "an error or a known session names none");
  if (row.status === 405 && type === "application/json") {
    assertEquals(response.headers.get("allow"), "GET, POST, DELETE");
  }
  assertEquals(reached.length, row.reaches === undefined ? 0 : 1, "messages that reached the server");
  if (row.reaches !== undefined) assertSame(reached[0]!.text, row.reaches);
  assertEquals(session.inFlight, left.length, "requests in flight afterwards");
  for (const id of row.inFlight ?? []) backend.answer(id);
  assertEquals(
    await Promise.all(left.map(async (response) => await (await response).text())),
    (row.inFlight ?? []).map(succeeds),
  );
}

/** Does not print megabytes. */
function assertSame(actual: string, expected: string): void {
  if (actual === expected) return;
  assertEquals(actual.slice(0, 300), expected.slice(0, 300));
  assertEquals(actual.length, expected.length);
  assert(false, "two long texts differ");
}

for (const row of ROWS) {
  const { what, status, method = "POST", target } = row;
  const where = target === undefined || target.length > 60 ? method.slice(0, 10) : `${method} ${target}`;
  Deno.test(`${what} is answered with ${status}, and the session goes on (${where})`, async () => {
    await using log = await LogCapture.start();
    const app = new AppHarness({
      autoInitialize: false,
      moreServers: [{
        id: "other",
        limits: LIMITS,
        backend: { code: "serverNotServed" },
      }],
    });
    const opened = await app.open();
    const { harness } = app;
    const timers = harness.clock.pending;

    await play(app, opened, row);

    const pending = app.post({ jsonrpc: "2.0", id: "after", method: "tools/list" }, opened.headers);
    await settle();
    opened.backend.answer("after", { tools: [] });
    assertEquals(await (await pending).json(), { jsonrpc: "2.0", id: "after", result: { tools: [] } });
    assertEquals([opened.session.inFlight, opened.session.held], [0, 0]);
    assertEquals([harness.backends.length, harness.supervisor.size], [1, 1], "sessions that were opened");
    assertEquals(harness.clock.pending, timers, "timers");
    assertEquals((await app.send("DELETE", { headers: opened.headers })).status, 204);
    await settle();
    assertEquals(harness.supervisor.size, 0);
    await app.stop();
    assertEquals(log.records.filter(({ level }) => level === "error" || level === "fatal"), []);
  });
}
