/**
 * Mutants at random: what is put in the place of values, keys, bytes, headers, methods and paths.
 *
 * @module
 */
import * as fc from "fast-check";
import { SERVER } from "../fakes/harness.ts";
import {
  BUSY_ID,
  type ByteMutation,
  type HeaderMutation,
  type JsonMutation,
  type Mutant,
  type Mutation,
  type Name,
  NAMES,
  PRINCIPALS,
  QUESTION_ID,
  TEMPLATE_NAMES,
  type TemplateName,
  type Value,
} from "./mutants.ts";

/** What takes a value's place: JSON or none. */
const RAWS = [
  ...["null", "true", "0", "-0", "-1", "1.5", "7", '"7"', "1e2", "1e999", "9007199254740991"],
  ...["9007199254740993", "9".repeat(400), "01", "NaN", "undefined", "'a'", "", '"', "\\", "[", "}"],
  ...["[]", "{}", "[[]]", '{"a":[{}]}', '""', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"'],
  ...['"\\r\\n\\u2028"', '"\u2028\u2029\u0085"', '"\x7f"', '"__proto__"', '"2.0"', "2.0", '"1.0"'],
  ...['{"__proto__":{"id":9,"method":"x"}}', `"${"x".repeat(5_000)}"`, '"init"', "1", '"1"'],
  ...[`"${BUSY_ID}"`, `"\\u0062usy"`, `"${QUESTION_ID}"`, '"call-1"', '"initialize"', '"ping"'],
  ...['"server/discover"', '"notifications/cancelled"', '"notifications/progress"'],
  ...['{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}', '{"progressToken":[]}'],
  ...['{"requestId":{}}', '{"code":1,"message":"m"}', '{"code":1.5,"message":"m"}'],
  ...['{"code":"1","message":null}', '{"_meta":{"progressToken":"p"}}', '"2025-03-26"'],
];
const IDS = [`"${BUSY_ID}"`, `"${QUESTION_ID}"`, "1", '"call-1"', '"init"'];
const PARAMS = [
  ...[`{"requestId":["${BUSY_ID}"]}`, `{"requestId":"${BUSY_ID}"}`, '{"requestId":1}', '{"_meta":null}'],
  ...['{"_meta":{"progressToken":{}}}', '{"protocolVersion":7}'],
];
const MESSAGE_KEYS = ["jsonrpc", "id", "method", "params", "result", "error", "__proto__"];
const KEYS = [
  ...["__proto__", "constructor", "toString", "hasOwnProperty", "", "ID", "\\u0069d", "\\ud800", "x y"],
  ...["jsonrpc", "id", "method", "params", "result", "error", "code", "message", "_meta", "requestId"],
];
const BYTES = [
  ...[[0], [0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]],
  ...[[0xef, 0xbb, 0xbf], [13, 10], [10], [13], [9], [32], [0xc2, 0xa0], [0xe2, 0x80, 0xa8]],
  ...[[0x1f, 0x8b], [0x7f], [0x1b], ...Array.from('{}[]":,\\0-', (char) => [char.charCodeAt(0)])],
];

/** The first six are those that decide. */
const HEADERS = [
  ...["mcp-session-id", "mcp-protocol-version", "authorization", "accept", "content-type", "content-length"],
  ...["origin", "host", "last-event-id", "connection", "transfer-encoding", "content-encoding", "expect"],
  ...["x-forwarded-for", "x-forwarded-host", "x-http-method-override", "cookie", "upgrade", "te", "range"],
  ...["access-control-request-method", "access-control-request-headers", "__proto__", "constructor"],
];
const VALUES = [
  ...["", "*", "*/*", "application/*", "text/*;q=0", "application/json", "text/event-stream", ",,;=,", '"'],
  ...["APPLICATION/JSON;q=0.1 , Text/Event-Stream", "text/plain", "application/json; charset=utf-16"],
  ...["2025-03-26", "2025-06-18", "2025-11-25", "2024-10-07", "2026-07-28", "9999-99-99", "1999-01-01"],
  ...["http://localhost", "https://localhost", "HTTP://LOCALHOST", "http://localhost/", "null"],
  ...["http://localhost:80", "http://evil.example", "http://localhost.evil.example", "http://u@localhost"],
  ...["file://", "blob:x", "ws://localhost", "http://[::1]", "http://localhost:3000", "//localhost"],
  ...["Bearer", "Bearer  ", "Basic YTpi", "Bearer x y", "Bearer \xe9\xff", "bearer   ann-has-a-long-token"],
  ...["0", "-1", "1e999", "4194304", "4194305", "0x10", "NaN", "1, 2", "gzip", "chunked", "100-continue"],
  ...["__proto__", "constructor", "../../etc/passwd", "x".repeat(20_000), "a,".repeat(5_000), "%00"],
  ...["${x}", "\xa0", "\x01", "close", "%", "%zz", "\\", "(", "[a-", "\xc3\xa9", "999999999999999999999"],
];
const METHODS = [
  ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY", "get", "delete"],
  ...["patch", "post", "X".repeat(3_000), "M-SEARCH", "!#$%&'*+.^_`|~", "__proto__"],
  ...["constructor", "toString", "valueOf"],
];
const HOSTS = [
  ...["localhost", "localhost:3000", "127.0.0.1:3000", "[::1]", "LOCALHOST", "127.9.9.9", "10.0.0.1"],
  ...["evil.example", "localhost.evil.example", "0.0.0.0", "[::]", "localhost.", "xn--80ak6aa92e.com"],
];
const PATHS = [
  ...["/", "/mcp", "/mcp/", `/mcp/${SERVER}/`, `/mcp//${SERVER}`, `//mcp/${SERVER}`, `/MCP/${SERVER}`],
  ...["/mcp/nope", "/mcp/other", "/mcp/__proto__", "/mcp/constructor", "/mcp/%2e%2e/health", "/health"],
  ...[`/health/../mcp/${SERVER}`, "/%68ealth", "/health/", "/health?x", `/%6dcp/${SERVER}`, "/mcp%2ffake"],
  ...["/mcp/%66ake", "/mcp/%2566ake", "/mcp/%ff", "/mcp/%", "/mcp/%c0%af", `/mcp/${SERVER}%00`],
  ...[`/mcp/${SERVER}%0d%0ax:y`, `/mcp/${SERVER}?mcp-session-id=x`, `/mcp/${SERVER};x`, "/mcp/*"],
  ...[`/mcp/${SERVER}\\..`, "/mcp/\u{1f600}", "/mcp/:serverId", "/.."],
  ...["/mcp/..%2f..%2fetc%2fpasswd", `/mcp/./${SERVER}`, `/mcp/${"x".repeat(5_000)}`, "/.%00."],
];
/** What has no body has less to go wrong. */
const EASY: readonly TemplateName[] = ["stream", "delete", "preflight", "health"];
const PIECES = ["/", "//", "..", "/../", "%", "%00", "%2f", "%2e", "?", "\\", ";", "\u00e9", "%e9", "*", " "];

/** One of some, and always the same one of one. */
function one<const T>(...items: readonly T[]): fc.Arbitrary<T> {
  return fc.constantFrom(...items);
}

const place = fc.nat(9_999);
const template = one(...TEMPLATE_NAMES);
const begun = fc.oneof(
  { weight: 3, arbitrary: one(...TEMPLATE_NAMES.filter((name) => !EASY.includes(name))) },
  { weight: 1, arbitrary: template },
);

const jsonMutation: fc.Arbitrary<JsonMutation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ json: one("replace"), at: place, raw: one(...RAWS) }) },
  fc.record({ json: one("replace"), at: place, raw: fc.jsonValue().map((value) => JSON.stringify(value)) }),
  {
    weight: 3,
    arbitrary: fc.record({ json: one("set"), at: place, key: one(...MESSAGE_KEYS), raw: one(...RAWS) }),
  },
  fc.record({ json: one("set"), at: place, key: one("params"), raw: one(...PARAMS) }),
  // The ids that something is in flight under.
  fc.record({ json: one("set"), at: place, key: one("id"), raw: one(...IDS) }),
  fc.record({ json: one("drop"), at: place }),
  { weight: 2, arbitrary: fc.record({ json: one("rename"), at: place, key: one(...KEYS) }) },
  fc.record({ json: one("double"), at: place, raw: one(undefined, ...RAWS) }),
  fc.record({ json: one("repeat"), at: place, times: one(2, 65, 96, 97, 98, 100, 101) }),
  fc.record({ json: one("wrap"), at: place, key: one(undefined, ...KEYS), depth: one(1, 2, 50, 2_000) }),
  fc.record({ json: one("swap"), at: place, with: place }),
  fc.record({ json: one("graft"), at: place, from: template }),
);

const byteMutation: fc.Arbitrary<ByteMutation> = fc.oneof(
  fc.record({ bytes: one("flip"), at: place, bit: fc.nat(7) }),
  fc.record({ bytes: one("delete"), at: place, count: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ bytes: one("insert"), at: place, what: one(...BYTES) }),
  fc.record({
    bytes: one("insert"),
    at: place,
    what: fc.array(fc.nat(255), { minLength: 1, maxLength: 6 }),
  }),
  fc.record({ bytes: one("duplicate"), at: place, count: fc.integer({ min: 1, max: 60 }) }),
  fc.record({ bytes: one("truncate"), at: place }),
  fc.record({ bytes: one("splice"), at: place, from: template, end: place }),
);

/** All that `Headers` takes: bytes, without NUL and line breaks. */
const anyValue = fc.array(fc.integer({ min: 1, max: 255 }).filter((code) => code !== 10 && code !== 13), {
  maxLength: 40,
}).map((codes) => String.fromCharCode(...codes));
const sessionValue: fc.Arbitrary<Value> = fc.oneof(
  fc.record({ idOf: one(...NAMES) }),
  fc.record({ idOf: one(...NAMES), cut: fc.integer({ min: 1, max: 40 }) }),
);
const put = one("set", "add");
const headerMutation: fc.Arbitrary<HeaderMutation> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ header: put, name: one(...HEADERS), value: fc.oneof(one(...VALUES), anyValue) }),
  },
  fc.record({ header: put, name: one(...HEADERS.slice(0, 6)), value: one(...VALUES) }),
  fc.record({ header: put, name: one("mcp-session-id"), value: sessionValue }),
  fc.record({
    header: put,
    name: one("authorization"),
    value: fc.record({
      tokenOf: one(...PRINCIPALS),
      before: one(
        "Bearer ",
        "Bearer ",
        "Bearer ",
        "bearer   ",
        "Bearer\t",
        "Basic ",
        "",
        "x Bearer ",
        "Bearer x",
      ),
      behind: one("", "", "", " ", "x", " x", ",x", "\xa0"),
    }),
  }),
  fc.record({ header: one("drop"), name: one(...HEADERS.slice(0, 6)) }),
);

const outerMutation: fc.Arbitrary<Mutation> = fc.oneof(
  { weight: 6, arbitrary: headerMutation },
  fc.record({ method: one(...METHODS) }),
  fc.record({ host: one(...HOSTS) }),
  fc.record({ path: one("set"), value: one(...PATHS) }),
  fc.record({ path: one("encode", "truncate"), at: place }),
  fc.record({ path: one("insert"), at: place, what: one(...PIECES) }),
);

const mutation = fc.oneof(
  { weight: 3, arbitrary: jsonMutation },
  { weight: 2, arbitrary: byteMutation },
  { weight: 3, arbitrary: outerMutation },
);

/** How the body comes. */
const delivery = one<Mutant["delivery"]>(
  ...["whole", "whole", "whole", "whole", "whole", "whole", "whole", "bits", "bits", "broken"] as const,
);
/** Many changes at once are mostly refused for the first. */
const mutations = fc.oneof(
  { weight: 2, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 1 }) },
  { weight: 1, arbitrary: fc.array(mutation, { minLength: 2, maxLength: 4 }) },
);

/** What is done to a request, whichever it is. */
export const changes: fc.Arbitrary<Pick<Mutant, "mutations" | "delivery">> = fc.record({
  delivery,
  mutations,
});

/** Any of them. */
export const mutant: fc.Arbitrary<Mutant> = fc.record({
  template: begun,
  name: one<Name>("june", "march", "november", "bob", "june", "march", "november", "bob", ...NAMES),
  extras: fc.subarray(["version", "length", "origin", "agent"] as const),
  busy: fc.boolean(),
  delivery,
  mutations,
});
