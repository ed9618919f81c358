import { assert, assertEquals } from "@std/assert";
import {
  encodeError,
  encodeNotification,
  encodeRequest,
  encodeResult,
  type Message,
  parseBatch,
  parseMessage,
  progressTokenOf,
  relatedTaskOf,
} from "../../protocol/jsonrpc.ts";

function parsed(text: string): Message {
  const message = parseMessage(text);
  assert(message.kind !== "malformed", `${text} is malformed`);
  return message;
}

function rpc(fields: Record<string, unknown>): string {
  return JSON.stringify({ jsonrpc: "2.0", ...fields });
}

const accepted: [name: string, fields: Record<string, unknown>, kind: Message["kind"]][] = [
  ["a request", { id: 1, method: "ping" }, "request"],
  ["a request with params", { id: 1, method: "a", params: { b: [1] } }, "request"],
  ["id 0", { id: 0, method: "a" }, "request"],
  ["a negative id", { id: -1, method: "a" }, "request"],
  ["the largest id", { id: 2 ** 53 - 1, method: "a" }, "request"],
  ["a string id", { id: "1", method: "a" }, "request"],
  ["an empty string id", { id: "", method: "a" }, "request"],
  ["an empty method", { id: 1, method: "" }, "request"],
  ["unknown members", { id: 1, method: "a", more: 1 }, "request"],
  ["a notification", { method: "notifications/initialized" }, "notification"],
  ["an answer", { id: 1, result: {} }, "response"],
  ["an error", { id: 1, error: { code: -32000, message: "no" } }, "response"],
  ["an error with data", { id: 1, error: { code: 1, message: "", data: [1] } }, "response"],
  ["an error with a null id", { id: null, error: { code: -32700, message: "no" } }, "response"],
  ["an error without an id", { error: { code: -32700, message: "no" } }, "response"],
];

for (const [name, fields, kind] of accepted) {
  Deno.test(`parseMessage takes ${name}`, () => {
    const text = rpc(fields);
    const message = parsed(text);
    assertEquals(message.kind, kind);
    assertEquals(message.text, text);
    if (message.kind === "request") assertEquals(message.id, fields.id as number);
    if (message.kind !== "response") {
      assertEquals(message.method, fields.method as string);
      assertEquals(message.params, fields.params as undefined);
    }
  });
}

/** `id` is what an error can be sent back under. */
const refused: [name: string, text: string, problem: string, id: unknown][] = [
  ["nothing", "", "json", null],
  ["no JSON", "{", "json", null],
  ["two messages", rpc({ id: 1, method: "a" }) + "\n" + rpc({ id: 2, method: "a" }), "json", null],
  ["a raw line break in a string", '{"jsonrpc":"2.0","method":"a\nb"}', "json", null],
  ["an empty batch", "[]", "batch", null],
  ["a batch of one", `[${rpc({ id: 1, method: "a" })}]`, "batch", null],
  ["null", "null", "message", null],
  ["a string", '"a"', "message", null],
  ["a number", "1", "message", null],
  ["an empty object", "{}", "message", null],
  ["no version", '{"id":1,"method":"a"}', "message", 1],
  ["another version", '{"jsonrpc":"1.0","id":1,"method":"a"}', "message", 1],
  ["a number as version", '{"jsonrpc":2.0,"id":1,"method":"a"}', "message", 1],
  ["an id alone", rpc({ id: "x" }), "message", "x"],
  ["a null id", rpc({ id: null, method: "a" }), "message", null],
  ["a fractional id", rpc({ id: 1.5, method: "a" }), "message", null],
  ["an id beyond all numbers", '{"jsonrpc":"2.0","id":1e999,"method":"a"}', "message", null],
  ["a boolean id", rpc({ id: true, method: "a" }), "message", null],
  ["an object as id", rpc({ id: {}, method: "a" }), "message", null],
  ["a number as method", rpc({ id: 1, method: 1 }), "message", 1],
  ["a null method", rpc({ id: 1, method: null }), "message", 1],
  ["an array as params", rpc({ id: 1, method: "a", params: [] }), "message", 1],
  ["null params", rpc({ id: 1, method: "a", params: null }), "message", 1],
  ["a string as params", rpc({ method: "a", params: "b" }), "message", null],
  ["method and result", rpc({ id: 1, method: "a", result: {} }), "message", 1],
  ["method and error", rpc({ id: 1, method: "a", error: { code: 1, message: "" } }), "message", 1],
  ["result and error", rpc({ id: 1, result: {}, error: { code: 1, message: "" } }), "message", null],
  ["a null result", rpc({ id: 1, result: null }), "message", null],
  ["an array as result", rpc({ id: 1, result: [] }), "message", null],
  ["a result without an id", rpc({ result: {} }), "message", null],
  ["a result with a null id", rpc({ id: null, result: {} }), "message", null],
  ["an error that is a string", rpc({ id: 1, error: "no" }), "message", null],
  ["an error without a code", rpc({ id: 1, error: { message: "no" } }), "message", null],
  ["an error with a fractional code", rpc({ id: 1, error: { code: 1.5, message: "no" } }), "message", null],
  ["an error without a message", rpc({ id: 1, error: { code: 1 } }), "message", null],
  ["an error with a boolean id", rpc({ id: true, error: { code: 1, message: "" } }), "message", null],
  ["members of a prototype only", '{"__proto__":{"jsonrpc":"2.0","method":"a"}}', "message", null],
];

for (const [name, text, problem, id] of refused) {
  Deno.test(`parseMessage refuses ${name}`, () => {
    const message = parseMessage(text);
    assert(message.kind === "malformed");
    assertEquals(message.problem, problem);
    assertEquals(message.id, id as null);
    assert(message.detail.length > 0);
  });
}

Deno.test("parseMessage keeps the text on one line and otherwise as it came", () => {
  const text =
    ' {\r\n "jsonrpc" : "2.0",\n"id":1.0, "method":"a", "params":{"n": 1e3, "s":"\\n\\u00e9"}}\n\n';
  const message = parsed(text);
  assertEquals(
    message.text,
    '{   "jsonrpc" : "2.0", "id":1.0, "method":"a", "params":{"n": 1e3, "s":"\\n\\u00e9"}}',
  );
  assertEquals(JSON.parse(message.text), JSON.parse(text));
});

Deno.test("parseMessage keeps a line separator of Unicode inside a string", () => {
  const text = rpc({ method: "a", params: { s: "\u2028\u0085" } });
  assertEquals(parsed(text).text, text);
});

Deno.test("parseMessage takes __proto__ in params for a member like any other", () => {
  const message = parsed(
    '{"jsonrpc":"2.0","id":1,"method":"a","params":{"__proto__":{"_meta":{"progressToken":1}}}}',
  );
  assert(message.kind === "request");
  assertEquals(progressTokenOf(message.params), undefined);
  assertEquals(({} as Record<string, unknown>)._meta, undefined);
});

Deno.test("parseMessage takes deep nesting", () => {
  const depth = 5_000;
  const deep = "[".repeat(depth) + "]".repeat(depth);
  assertEquals(parsed(`{"jsonrpc":"2.0","method":"a","params":{"deep":${deep}}}`).kind, "notification");
});

Deno.test("progressTokenOf reads strings and numbers, and nothing else", () => {
  assertEquals(progressTokenOf({ _meta: { progressToken: 0 } }), 0);
  assertEquals(progressTokenOf({ _meta: { progressToken: "a" } }), "a");
  for (
    const params of [undefined, {}, { _meta: null }, { _meta: [] }, { _meta: "x" }, { progressToken: 1 }]
  ) {
    assertEquals(progressTokenOf(params), undefined);
  }
  assertEquals(progressTokenOf({ _meta: { progressToken: { a: 1 } } }), undefined);
});

Deno.test("relatedTaskOf reads the task's id, and nothing else", () => {
  const key = "io.modelcontextprotocol/related-task";
  assertEquals(relatedTaskOf({ _meta: { [key]: { taskId: "t1" } } }), "t1");
  for (const task of [undefined, null, "t1", { taskId: 1 }, {}, []]) {
    assertEquals(relatedTaskOf({ _meta: { [key]: task } }), undefined);
  }
});

Deno.test("What is encoded can be read back and is on one line", () => {
  const texts = [
    encodeRequest("a", "m", { s: "line\nbreak" }),
    encodeRequest(1, "m"),
    encodeNotification("m", { a: 1 }),
    encodeNotification("m"),
    encodeResult(1, { a: 1 }),
    encodeError(null, { code: -32700, message: "no" }),
    encodeError("x", { code: 1, message: "no", data: { why: "\r\n" } }),
  ];
  assertEquals(texts.map((text) => parsed(text).kind), [
    "request",
    "request",
    "notification",
    "notification",
    "response",
    "response",
    "response",
  ]);
  for (const text of texts) assertEquals(parsed(text).text, text);
});

Deno.test("A batch is read element by element, each with its own text", () => {
  const elements = parseBatch(
    ' [ {"jsonrpc":"2.0","id":1,"method":"a","params":{"n":12345678901234567890,"s":"],\\\\\\"["}},\n7,{"jsonrpc":"2.0","method":"b", "params":{"x":1.0}} ] ',
  );
  assertEquals(elements.map((element) => element.kind), ["request", "malformed", "notification"]);
  const [first, , last] = elements;
  assert(first?.kind === "request" && last?.kind === "notification");
  assertEquals(
    first.text,
    '{"jsonrpc":"2.0","id":1,"method":"a","params":{"n":12345678901234567890,"s":"],\\\\\\"["}}',
  );
  assertEquals(last.text, '{"jsonrpc":"2.0","method":"b", "params":{"x":1.0}}');
});

Deno.test("An empty batch has no elements", () => assertEquals(parseBatch("[]"), []));

Deno.test("A batch of any depth is read without running out of stack", () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  assertEquals(parseBatch(`[${deep},{"jsonrpc":"2.0","method":"a"}]`).map(({ kind }) => kind), [
    "malformed",
    "notification",
  ]);
});
