/**
 * What no `Request` can express, over TCP against the real gateway: what exactly comes back, and that the session
 * beside it goes on.
 *
 * Where the answer is `RUNTIME` or `CUT`, the gateway never sees the request: Deno's HTTP server answers it, with 400
 * and no body, or ends the connection. That is what it does today; a runtime that does otherwise is no fault of the
 * gateway's, as long as nothing of such a request is carried out.
 *
 * To show that nothing is, the message in each request that must not be carried out is one that would end the
 * session's server, and another such request follows on the same connection.
 *
 * The table of what a `Request` can express is in `tests/routes/hostile_test.ts`.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { Gateway } from "./gateway.ts";
import { bytesOf, responsesOf, talk } from "./raw_http.ts";

/** The first line of a response, and its body. */
type Answer = readonly [string, string];

/** One connection, and all that comes back on it. */
interface Row {
  readonly what: string;
  /** A character for each byte. `<id>` and `<host>` are filled in. */
  readonly sent: string;
  /** First lines and bodies, in order; or, where it is no HTTP/1, what comes back in hexadecimal. */
  readonly answers: readonly Answer[] | RegExp;
  /** Whether the client ends its side right behind what it sent. */
  readonly hangsUp?: boolean;
  /** Whether the gateway keeps the connection open. */
  readonly stays?: boolean;
  readonly isHead?: boolean;
}

const TOKEN = "a-token-that-is-long-enough";
/** Long enough for a body that comes at all. */
const BODY_TIMEOUT_MS = 1_500;

const RUNTIME: readonly Answer[] = [["HTTP/1.1 400 Bad Request", ""]];
const CUT: readonly Answer[] = [];

const PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
const PONG = ["HTTP/1.1 200 OK", '{"jsonrpc":"2.0","id":1,"result":{}}'] as const;
const CONTINUE = ["HTTP/1.1 100 Continue", ""] as const;
/** Ends the session's server, and with it the session: the next look would notice. */
const DEADLY =
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"exit","arguments":{"code":1}}}';

const LINE = "POST /mcp/echo HTTP/1.1\r\n";
const HOST = "host: <host>\r\n";
const TYPES = "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
const BEARER = `authorization: Bearer ${TOKEN}\r\n`;
const SESSION = "mcp-session-id: <id>\r\n";
const REST = `${TYPES}${BEARER}${SESSION}`;
const CLOSE = "connection: close\r\n";

/** A whole request. Unless it is said otherwise it would be carried out, and the connection closed behind it. */
function post(
  { line = LINE, host = HOST, rest = REST, more = "", close = CLOSE, body = DEADLY, length, behind = "" }: {
    line?: string;
    host?: string;
    rest?: string;
    more?: string;
    close?: string;
    body?: string;
    /** Headers that say how long the body is. */
    length?: string;
    behind?: string;
  },
): string {
  length ??= `content-length: ${body.length}\r\n`;
  return `${line}${host}${rest}${more}${length}${close}\r\n${body}${behind}`;
}

/** A request that must not be carried out, and neither must one behind it. */
function refused(parts: Parameters<typeof post>[0]): string {
  return post({ behind: post({}), ...parts });
}

function fails(status: string, code: number, message: string, id: number | null = null): readonly Answer[] {
  return [[`HTTP/1.1 ${status}`, JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } })]];
}

function page(status: number, title: string, detail: string): readonly Answer[] {
  return [[
    `HTTP/1.1 ${status} ${title}`,
    JSON.stringify({ type: "about:blank", title, status, detail }),
  ]];
}

function chunked(chunks: string, more = ""): Parameters<typeof post>[0] {
  return { length: `transfer-encoding: chunked\r\n${more}`, body: chunks };
}

/** A body in one chunk. */
function chunk(body: string): string {
  return `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
}

function noHost(name: string): readonly Answer[] {
  return fails("403 Forbidden", -32000, `Host is not allowed: ${JSON.stringify(name)}`);
}

const HEAD_ONLY = `${HOST}${BEARER}${CLOSE}\r\n`;
const SIZE = DEADLY.length.toString(16);
const ENDED_EARLY = fails("400 Bad Request", -32000, "Bad request: the body ended early");
const NOT_FOUND = fails("404 Not Found", -32001, "Session not found", 1);
const UNAUTHORIZED = fails("401 Unauthorized", -32000, "A valid token is required");
const TOO_SLOW = fails(
  "408 Request Timeout",
  -32000,
  `Body did not come in time: it took more than ${BODY_TIMEOUT_MS} ms`,
);
const HEALTHY = ["HTTP/1.1 200 OK", '{"status":"ok"}'] as const;

/** No HTTP, or hardly any. */
const LINES: readonly (readonly [string, string])[] = [
  ["Words", "HELLO\r\n\r\n"],
  ["Only line breaks", "\r\n\r\n"],
  ["HTTP/0.9", "GET /health\r\n"],
  ["HTTP/0.9 with a head", `GET /health\r\n${HEAD_ONLY}`],
  ["HTTP/3.0", refused({ line: "POST /mcp/echo HTTP/3.0\r\n" })],
  ["HTTP/2.0 without its preface", refused({ line: "POST /mcp/echo HTTP/2.0\r\n" })],
  ["HTTP/1.2", refused({ line: "POST /mcp/echo HTTP/1.2\r\n" })],
  ["HTTP/11.1", refused({ line: "POST /mcp/echo HTTP/11.1\r\n" })],
  ["HTTP in small letters", refused({ line: "POST /mcp/echo http/1.1\r\n" })],
  ["Two blanks in the first line", refused({ line: "POST  /mcp/echo HTTP/1.1\r\n" })],
  ["A blank in the target", refused({ line: "POST /mcp/ echo HTTP/1.1\r\n" })],
  ["A blank in front", refused({ line: " POST /mcp/echo HTTP/1.1\r\n" })],
  ["Tabs in the first line", refused({ line: "POST\t/mcp/echo\tHTTP/1.1\r\n" })],
  ["No target", refused({ line: "POST HTTP/1.1\r\n" })],
  ["A method with a bracket", refused({ line: "P<ST /mcp/echo HTTP/1.1\r\n" })],
  ["A target without a slash", refused({ line: "POST mcp/echo HTTP/1.1\r\n" })],
  ["A target of a query", refused({ line: "POST ?/mcp/echo HTTP/1.1\r\n" })],
  ["A target of a scheme", refused({ line: "POST http: HTTP/1.1\r\n" })],
  ["A star as the target of POST", refused({ line: "POST * HTTP/1.1\r\n" })],
  ["CONNECT to a path", refused({ line: "CONNECT /mcp/echo HTTP/1.1\r\n" })],
  ["A target with a NUL", refused({ line: "POST /mcp/echo\0 HTTP/1.1\r\n" })],
  ["A target of bytes that are no UTF-8", refused({ line: "POST /mcp/\xe9\xff HTTP/1.1\r\n" })],
  ["A target of 100 KiB", refused({ line: `POST /mcp/${"x".repeat(100 * 1024)} HTTP/1.1\r\n` })],
  ["The first bytes of TLS", `\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03${"\x00".repeat(150)}`],
  // Heads.
  ["Two Hosts", refused({ host: `${HOST}host: evil.example\r\n` })],
  ["Two Hosts, ours behind", refused({ host: `host: evil.example\r\n${HOST}` })],
  ["A folded header", refused({ more: "x-a: 1\r\n 2\r\n" })],
  ["A folded session id", refused({ rest: `${TYPES}${BEARER}mcp-session-id:\r\n <id>\r\n` })],
  ["A blank behind a header's name", refused({ rest: `${TYPES}${BEARER}mcp-session-id : <id>\r\n` })],
  ["A blank in a header's name", refused({ more: "x a: 1\r\n" })],
  ["A header without a colon", refused({ more: "x-a\r\n" })],
  ["A header without a name", refused({ more: ": 1\r\n" })],
  ["A NUL in a header", refused({ more: "x-a: a\0b\r\n" })],
  ["A NUL in a header's name", refused({ more: "x\0a: 1\r\n" })],
  ["A bare CR in a header", refused({ more: "x-a: a\rb\r\n" })],
  ["A control character in a header", refused({ more: "x-a: a\x01b\r\n" })],
  ["DEL in a header", refused({ more: "x-a: a\x7fb\r\n" })],
  ["Lines that end with a bare CR", refused({}).replaceAll("\r\n", "\r")],
  ["A header of 100 KiB", refused({ more: `x-a: ${"x".repeat(100 * 1024)}\r\n` })],
  ["A header's name of 100 KiB", refused({ more: `${"x".repeat(100 * 1024)}: 1\r\n` })],
  [
    "A thousand headers",
    refused({ more: Array.from({ length: 1_000 }, (_, i) => `x-${i}: 1\r\n`).join("") }),
  ],
  // Lengths.
  ["A negative length", refused({ length: "content-length: -1\r\n" })],
  ["A length with a plus", refused({ length: `content-length: +${DEADLY.length}\r\n` })],
  ["A length in hexadecimal", refused({ length: `content-length: 0x${SIZE}\r\n` })],
  ["A length of words", refused({ length: "content-length: all\r\n" })],
  ["A length of 2^64", refused({ length: "content-length: 18446744073709551616\r\n" })],
  ["Two lengths", refused({ length: `content-length: ${DEADLY.length}\r\ncontent-length: 3\r\n` })],
  ["A list of lengths", refused({ length: `content-length: ${DEADLY.length}, ${DEADLY.length}\r\n` })],
  [
    "A length and chunks",
    refused({ length: `content-length: 4\r\ntransfer-encoding: chunked\r\n`, body: chunk(DEADLY) }),
  ],
  [
    "Chunks and a length",
    refused({ length: `transfer-encoding: chunked\r\ncontent-length: 5\r\n`, body: `0\r\n\r\n` }),
  ],
  ["An encoding that is none", refused({ ...chunked(chunk(DEADLY)), length: "transfer-encoding: gzip\r\n" })],
  [
    "An encoding that only looks like chunks",
    refused({ ...chunked(chunk(DEADLY)), length: "transfer-encoding: xchunked\r\n" }),
  ],
  ["An encoding on top of chunks", refused(chunked(chunk(DEADLY), "transfer-encoding: identity\r\n"))],
  ["Chunks twice", refused(chunked(chunk(DEADLY), "transfer-encoding: chunked\r\n"))],
  ["Chunks in HTTP/1.0", refused({ ...chunked(chunk(DEADLY)), line: "POST /mcp/echo HTTP/1.0\r\n" })],
];

/** Connections that end without an answer. */
const SILENT: readonly (readonly [string, string, boolean])[] = [
  ["Nothing at all", "", true],
  ["Half a first line", "POST /mc", true],
  ["Half a head", `${LINE}${HOST}mcp-sess`, true],
  ["A head without its end", post({}).slice(0, -DEADLY.length - 2), true],
  ["A chunk's size that is none", refused(chunked(`zz\r\n${DEADLY}\r\n0\r\n\r\n`)), false],
  ["A chunk's size below 0", refused(chunked(`-1\r\n${DEADLY}\r\n0\r\n\r\n`)), false],
  ["A chunk's size beyond 2^64", refused(chunked(`1${"0".repeat(16)}\r\n${DEADLY}\r\n0\r\n\r\n`)), false],
  ["A chunk longer than its size", refused(chunked(`10\r\n${DEADLY}\r\n0\r\n\r\n`)), false],
];

const ROWS: readonly Row[] = [
  ...LINES.map(([what, sent]) => ({ what, sent, answers: RUNTIME })),
  ...SILENT.map(([what, sent, hangsUp]) => ({ what, sent, hangsUp, answers: CUT })),
  // What is unusual and fine.
  { what: "Line breaks in front of a request", sent: `\r\n\r\n${post({ body: PING })}`, answers: [PONG] },
  {
    what: "Lines that end with a bare LF",
    sent: post({ body: PING }).replaceAll("\r\n", "\n"),
    answers: [PONG],
  },
  {
    what: "HTTP/1.0 without a Host",
    sent: post({ line: "POST /mcp/echo HTTP/1.0\r\n", host: "", close: "", body: PING }),
    answers: [["HTTP/1.0 200 OK", PONG[1]]],
  },
  {
    what: "Ninety headers more",
    sent: post({ more: Array.from({ length: 90 }, (_, i) => `x-${i}: 1\r\n`).join(""), body: PING }),
    answers: [PONG],
  },
  {
    what: "The same length twice",
    sent: post({ length: `content-length: ${PING.length}\r\n`.repeat(2), body: PING }),
    answers: [PONG],
  },
  { what: "A chunk", sent: post(chunked(chunk(PING))), answers: [PONG] },
  {
    what: "Chunks of one byte",
    sent: post(chunked(`${Array.from(PING, (char) => `1\r\n${char}\r\n`).join("")}0\r\n\r\n`)),
    answers: [PONG],
  },
  {
    what: "A chunk's extensions",
    sent: post(chunked(chunk(PING).replace("\r\n", ';a="b\\"";c\r\n'))),
    answers: [PONG],
  },
  {
    what: "Trailers that name another session",
    sent: post(chunked(chunk(PING).replace(/\r\n$/, "mcp-session-id: x\r\nhost: evil.example\r\n\r\n"))),
    answers: [PONG],
  },
  {
    what: "Expect: 100-continue",
    sent: post({ more: "expect: 100-continue\r\n", body: PING }),
    answers: [CONTINUE, PONG],
  },
  {
    what: "Expect: what nobody knows",
    sent: post({ more: "expect: 200-ok\r\n", body: PING }),
    answers: [PONG],
  },
  {
    what: "Pipelined requests",
    sent: post({ close: "", body: PING }).repeat(20) + `GET /health HTTP/1.1\r\n${HEAD_ONLY}`,
    answers: [...Array<typeof PONG>(20).fill(PONG), HEALTHY],
  },
  {
    what: "Pipelined behind a body that is no JSON",
    sent: post({ close: "", body: "{x}" }) + post({ body: PING }),
    answers: [
      ...fails(
        "400 Bad Request",
        -32700,
        "Body is not JSON: Expected property name or '}' in JSON at position 1 (line 1 column 2)",
      ),
      PONG,
    ],
  },
  // Targets.
  {
    what: "An absolute target",
    sent: post({ line: "POST http://<host>/mcp/echo HTTP/1.1\r\n", body: PING }),
    answers: [PONG],
  },
  {
    what: "An absolute target, whose name counts and not the Host's",
    sent: post({
      line: "POST http://<host>/mcp/echo HTTP/1.1\r\n",
      host: "host: evil.example\r\n",
      body: PING,
    }),
    answers: [PONG],
  },
  {
    what: "A foreign absolute target with our Host",
    sent: post({ line: "POST http://evil.example/mcp/echo HTTP/1.1\r\n" }),
    answers: noHost("evil.example"),
  },
  {
    what: "A foreign absolute target with our name as its user",
    sent: post({ line: "POST http://<host>@evil.example/mcp/echo HTTP/1.1\r\n" }),
    answers: noHost("<host>@evil.example"),
  },
  {
    what: "A file as the target",
    sent: `GET file:///etc/passwd HTTP/1.1\r\n${HEAD_ONLY}`,
    answers: page(404, "Not Found", "No such page: /file:///etc/passwd"),
  },
  {
    what: "OPTIONS *",
    sent: `OPTIONS * HTTP/1.1\r\n${HEAD_ONLY}`,
    answers: page(404, "Not Found", "No such page: /*"),
  },
  {
    what: "CONNECT",
    sent: `CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n${BEARER}\r\n`,
    answers: page(403, "Forbidden", 'Host is not allowed: "evil.example:443"'),
    stays: true,
  },
  {
    what: "TRACE, which must not send back what it got",
    sent: `TRACE /mcp/echo HTTP/1.1\r\n${SESSION}${HEAD_ONLY}`,
    answers: fails("405 Method Not Allowed", -32000, "Method is not allowed here: TRACE"),
  },
  {
    what: "A method in small letters",
    sent: post({ line: "post /mcp/echo HTTP/1.1\r\n" }),
    answers: fails("405 Method Not Allowed", -32000, "Method is not allowed here: post"),
  },
  {
    what: "Dots, which no HTTP server takes away",
    sent: post({ line: "POST /health/../mcp/echo HTTP/1.1\r\n" }),
    answers: page(404, "Not Found", "No such page: /health/../mcp/echo"),
  },
  {
    what: "Backslashes",
    sent: post({ line: "POST \\mcp\\echo HTTP/1.1\r\n" }),
    answers: RUNTIME,
  },
  {
    what: "A target that looks like another host",
    sent: `GET //evil.example/health HTTP/1.1\r\n${HEAD_ONLY}`,
    answers: page(404, "Not Found", "No such page: //evil.example/health"),
  },
  {
    what: "UTF-8 in the target",
    sent: post({ line: "POST /mcp/\xc3\xa9 HTTP/1.1\r\n" }),
    answers: fails("404 Not Found", -32000, 'No such server: "\xc3\xa9"'),
  },
  ...["%", "%zz", "%ff%fe", "%c0%af"].map((name): Row => ({
    what: `The escape ${name}`,
    sent: post({ line: `POST /mcp/${name} HTTP/1.1\r\n` }),
    answers: fails("404 Not Found", -32000, `No such server: "${name}"`),
  })),
  // Names of hosts.
  { what: "A Host with blanks", sent: post({ host: 'host: a b<>"\r\n' }), answers: noHost('a b<>"') },
  {
    what: "A Host with a user",
    sent: post({ host: "host: evil@<host>\r\n" }),
    answers: noHost("evil@<host>"),
  },
  {
    what: "A Host with a query",
    sent: post({ host: "host: localhost?\r\n" }),
    answers: noHost("localhost?"),
  },
  {
    what: "A Host with a path, which becomes a part of the target's",
    sent: post({ host: "host: <host>/mcp/x\r\n" }),
    answers: page(404, "Not Found", "No such page: /mcp/x/mcp/echo"),
  },
  // Nobody's browser sends these: no page can come by them.
  { what: "No Host", sent: post({ host: "", body: PING }), answers: [PONG] },
  { what: "An empty Host", sent: post({ host: "host:\r\n", body: PING }), answers: [PONG] },
  {
    what: "A Host that is no UTF-8",
    sent: post({ host: "host: \xe9\xff\r\n", body: PING }),
    answers: [PONG],
  },
  {
    what: "HEAD by a foreign name",
    sent: `HEAD /mcp/echo HTTP/1.1\r\nhost: evil.example\r\n${CLOSE}\r\n`,
    answers: [["HTTP/1.1 403 Forbidden", ""]],
    isHead: true,
  },
  // Headers that come twice.
  { what: "Two session ids", sent: post({ more: "mcp-session-id: x\r\n" }), answers: NOT_FOUND },
  { what: "The same session id twice", sent: post({ more: SESSION }), answers: NOT_FOUND },
  {
    what: "Two versions",
    sent: post({ more: "mcp-protocol-version: 2025-06-18\r\nmcp-protocol-version: 2025-11-25\r\n" }),
    answers: fails(
      "400 Bad Request",
      -32000,
      'Header mcp-protocol-version names a version that is not supported: "2025-06-18, 2025-11-25"',
      1,
    ),
  },
  { what: "Two tokens", sent: post({ more: "authorization: Bearer x\r\n" }), answers: UNAUTHORIZED },
  { what: "The same token twice", sent: post({ more: BEARER }), answers: UNAUTHORIZED },
  // Headers beyond ASCII.
  {
    what: "A session id that is no UTF-8",
    sent: post({ rest: `${TYPES}${BEARER}mcp-session-id: \xe9\xff\r\n` }),
    answers: NOT_FOUND,
  },
  {
    what: "A version that is no UTF-8",
    sent: post({ more: "mcp-protocol-version: \xe9\r\n" }),
    answers: fails(
      "400 Bad Request",
      -32000,
      // The answer's body is UTF-8.
      'Header mcp-protocol-version names a version that is not supported: "\xc3\xa9"',
      1,
    ),
  },
  {
    what: "A token of UTF-8",
    sent: post({ rest: `${TYPES}${SESSION}authorization: Bearer ${TOKEN}\xc3\xa9\r\n` }),
    answers: UNAUTHORIZED,
  },
  {
    what: "An origin that is no UTF-8",
    sent: post({ more: "origin: http://\xe9\xff\r\n" }),
    answers: fails("403 Forbidden", -32000, 'Origin is not allowed: "http://\xc3\xa9\xc3\xbf"'),
  },
  {
    what: "A header of bytes that means nothing",
    sent: post({ more: "x-a: \xff\x80\r\n", body: PING }),
    answers: [PONG],
  },
  // Bodies that do not come to their end, or do before it.
  {
    what: "A length shorter than the body",
    sent: post({ length: "content-length: 10\r\n" }),
    answers: fails(
      "400 Bad Request",
      -32700,
      "Body is not JSON: Expected ':' after property name in JSON at position 10 (line 1 column 11)",
    ),
  },
  {
    what: "Half a body, then the end",
    sent: post({ length: "content-length: 4000\r\n" }),
    hangsUp: true,
    answers: ENDED_EARLY,
  },
  {
    what: "Half a chunk, then the end",
    sent: post(chunked(`fff\r\n${DEADLY}`)),
    hangsUp: true,
    answers: ENDED_EARLY,
  },
  {
    what: "Chunks without a last one, then the end",
    sent: post(chunked(`${SIZE}\r\n${DEADLY}\r\n`)),
    hangsUp: true,
    answers: ENDED_EARLY,
  },
  {
    what: "Half a body, then silence",
    sent: post({ length: "content-length: 4000\r\n" }),
    answers: TOO_SLOW,
    stays: true,
  },
  {
    what: "Chunks whose lines end with a bare LF",
    sent: post(chunked(chunk(DEADLY).replaceAll("\r", ""))),
    answers: TOO_SLOW,
    stays: true,
  },
  {
    what: "A length of 2^63",
    sent: post({ length: "content-length: 9223372036854775808\r\n" }),
    answers: fails("413 Payload Too Large", -32000, "Body is too large: at most 4194304 bytes are taken"),
    stays: true,
  },
  {
    what: "A chunk's extension of 100 KiB",
    sent: refused(chunked(chunk(DEADLY).replace("\r\n", `;${"x".repeat(100 * 1024)}\r\n`))),
    answers: ENDED_EARLY,
  },
  // Other protocols.
  {
    what: "Upgrade: h2c with a body, as the clients of Java and curl --http2 send it",
    sent: refused({
      close: "connection: upgrade, http2-settings\r\n",
      more: "upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    }),
    answers: RUNTIME,
  },
  {
    what: "Upgrade: h2c without a body",
    sent: `GET /health HTTP/1.1\r\n${HOST}connection: upgrade\r\nupgrade: h2c\r\n\r\n`,
    answers: [HEALTHY],
    stays: true,
  },
  {
    what: "Upgrade: websocket",
    sent: `GET /health HTTP/1.1\r\n${HOST}connection: upgrade\r\nupgrade: websocket\r\n` +
      "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    answers: [HEALTHY],
    stays: true,
  },
  {
    what: "The preface of HTTP/2, and no frame behind it",
    sent: `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${post({})}`,
    // Settings, and GOAWAY.
    answers: /^0000..040000000000(..)*0000..070000000000/,
  },
];

/** The gateway, and the session that is open in it all the time. */
class Bystander {
  readonly gateway: Gateway;
  readonly id: string;
  #echoes = 0;

  constructor(gateway: Gateway, id: string) {
    this.gateway = gateway;
    this.id = id;
  }

  static async open(gateway: Gateway): Promise<Bystander> {
    const params = {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "t", version: "1" },
    };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params });
    const text = await talk(
      gateway.origin,
      fill(post({ rest: `${TYPES}${BEARER}`, body }), { gateway, id: "" }),
    );
    return new Bystander(gateway, responsesOf(text)[0]!.headers.get("mcp-session-id")!);
  }

  /** It still answers, and nobody else is there. */
  async check(): Promise<void> {
    const message = `echo ${++this.#echoes}`;
    const body = JSON.stringify({
      ...{ jsonrpc: "2.0", id: message, method: "tools/call" },
      params: { name: "echo", arguments: { message } },
    });
    const [answer] = responsesOf(await talk(this.gateway.origin, fill(post({ body }), this)));
    assertEquals(answer?.status, "HTTP/1.1 200 OK");
    assertEquals(JSON.parse(answer!.body).result.content, [{ type: "text", text: message }]);
    assertEquals(this.gateway.children().length, 1, "processes of sessions");
    assertEquals(this.gateway.linesLike(/opened$/).length, 1, "sessions that were opened");
  }

  async delete(): Promise<void> {
    const sent = `DELETE /mcp/echo HTTP/1.1\r\n${SESSION}${HEAD_ONLY}`;
    const [answer] = responsesOf(await talk(this.gateway.origin, fill(sent, this)));
    assertEquals(answer?.status, "HTTP/1.1 204 No Content");
  }
}

function fill(text: string, { gateway, id }: Pick<Bystander, "gateway" | "id">): string {
  return text.replaceAll("<host>", new URL(gateway.origin).host).replaceAll("<id>", id);
}

async function play(row: Row, bystander: Bystander): Promise<void> {
  const { sent, answers, hangsUp = false, stays = false, isHead = false } = row;
  const isHttp = !(answers instanceof RegExp);
  const expected = isHttp ? answers.map((answer) => answer.map((text) => fill(text, bystander))) : [];
  const text = await talk(bystander.gateway.origin, fill(sent, bystander), {
    hangsUp,
    // What comes behind the answer shows by then.
    ...(stays && { endAfter: (text) => text.endsWith(expected.at(-1)![1]!) }),
  });
  if (isHttp) assertEquals(responsesOf(text, isHead).map(({ status, body }) => [status, body]), expected);
  else assertMatch(bytesOf(text).toHex(), answers);
}

function descriptorsOf(gateway: Gateway): number {
  return [...Deno.readDirSync(`/proc/${gateway.pid}/fd`)].length;
}

Deno.test("Bytes that are no proper request are answered or cut off, and the session beside them goes on", async (t) => {
  await using gateway = await Gateway.start({
    servers: { echo: { ...fixture("echo_server") } },
    env: { ACCESS_TOKEN: TOKEN, BODY_TIMEOUT_MS: String(BODY_TIMEOUT_MS), LOG_LEVEL: "debug" },
  });
  const idle = descriptorsOf(gateway);
  const bystander = await Bystander.open(gateway);
  await bystander.check();
  const before = descriptorsOf(gateway);
  for (const row of ROWS) {
    await t.step(row.what, async () => {
      await play(row, bystander);
      await bystander.check();
    });
  }
  await eventually(() => descriptorsOf(gateway) <= before, "the connections to be given back");
  await bystander.delete();
  await gateway.waitForChildren(0);
  await eventually(() => descriptorsOf(gateway) <= idle, "all descriptors to be given back");
  assertEquals(gateway.linesLike(/\[(WARN|ERROR)\]|\bfault\b/), []);
  assertEquals(gateway.stderr, []);
  assertEquals(await gateway.stop(), 0);
});
