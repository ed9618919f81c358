/**
 * From MCP Connect to here: the real gateway is started from its configuration, gets the requests that were recorded
 * before it, and answers them as `docs/migrating.md` says: the table there has every difference and nothing else.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import exchanges from "../fixtures/mcp_connect_exchanges.json" with { type: "json" };
import { Gateway, type GatewayOptions, onPath } from "./gateway.ts";

const FIXTURE = fileURLToPath(new URL("../fixtures/mcp_connect_server.mjs", import.meta.url));
const PAGE = new URL("../../docs/migrating.md", import.meta.url);
/** The headers that are compared. */
const HEADERS = ["content-type", "cache-control", "mcp-session-id", "allow", "www-authenticate"];
/** What is shown of a value. */
const MAX_SHOWN = 160;

interface Exchange {
  readonly name: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string | undefined>>;
    readonly body?: unknown;
  };
  readonly response: Answer;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

/** One row of the table. */
interface Difference {
  readonly exchange: string;
  readonly part: string;
  readonly theirs: string;
  readonly ours: string;
}

/** What the recorded one was started with, and what has to be added. */
const RECORDED: GatewayOptions = {
  env: {
    ACCESS_TOKEN: "secret",
    ALLOWED_ORIGINS: "https://ok.example",
    LOG_LEVEL: "debug",
    STREAM_SESSION_TTL_MS: "4000",
    BRIDGE_COMMANDS: JSON.stringify({ fixture: { command: "node", args: [FIXTURE] } }),
  },
};
const SERVERS = { fixture: { command: "node", args: [FIXTURE] } };
const FILE = "mcp-servers.json";
/** The forms in which MCP Connect takes its servers. */
const FORMS: [string, GatewayOptions][] = [
  ["mcpServers", { ...RECORDED, files: { [FILE]: JSON.stringify({ mcpServers: SERVERS }) } }],
  ["servers", { ...RECORDED, files: { [FILE]: JSON.stringify({ servers: SERVERS }) } }],
  ["entries at the top level", { ...RECORDED, files: { [FILE]: JSON.stringify(SERVERS) } }],
  ["MCP_SERVERS", { ...RECORDED, env: { ...RECORDED.env, MCP_SERVERS: JSON.stringify(SERVERS) } }],
];

/** Sends the recorded requests in order. */
async function replay(gateway: Gateway): Promise<Answer[]> {
  let session = "";
  const answers: Answer[] = [];
  for (const { request } of exchanges as readonly Exchange[]) {
    const headers = new Headers();
    for (const [name, value] of Object.entries(request.headers)) {
      headers.set(name, value === "SID" ? session : value!);
    }
    const body = typeof request.body === "string" ? request.body : JSON.stringify(request.body);
    const response = await fetch(gateway.origin + request.path, {
      method: request.method,
      headers,
      ...(request.body !== undefined && { body: body.replaceAll("<fixture>", FIXTURE) }),
    });
    const isStream = request.method === "GET" && response.headers.get("content-type") === "text/event-stream";
    // The standalone stream has no end.
    if (isStream) await response.body!.cancel();
    const text = isStream ? "" : await response.text();
    const id = response.headers.get("mcp-session-id");
    if (id !== null) session = id;
    const named = HEADERS.map((name) => [name, response.headers.get(name) ?? undefined]);
    const shown = { ...Object.fromEntries(named), ...(id !== null && { "mcp-session-id": "<id>" }) };
    assert(session === "" || !text.includes(session), "a session id stands in a body");
    answers.push({ status: response.status, headers: shown, body: text });
  }
  return answers;
}

/** How a body is made, and the texts in it. */
function contentOf({ headers, body }: Answer): { form: string; texts: string } {
  if (headers["content-type"] !== "text/event-stream") {
    return { form: body === "" ? "nothing" : "JSON", texts: body };
  }
  const events = body.split("\n\n").filter((event) => event !== "");
  const ids = events.some((event) => /^id: /m.test(event)) ? "with ids" : "without ids";
  const texts = events.map((event) => /^data: (.*)$/m.exec(event)?.[1] ?? "").join("\n");
  return { form: events.length === 0 ? "open stream" : `stream of events ${ids}`, texts };
}

function* differencesOf(name: string, theirs: Answer, ours: Answer): Generator<Difference> {
  const pairs: [part: string, theirs: string | number | undefined, ours: string | number | undefined][] = [
    ["status", theirs.status, ours.status],
    ...HEADERS.map((header): [string, string | undefined, string | undefined] => [
      header,
      theirs.headers[header],
      ours.headers[header],
    ]),
  ];
  const [were, are] = [contentOf(theirs), contentOf(ours)];
  pairs.push(["form", were.form, are.form], ["body", were.texts, are.texts]);
  for (const [part, was, is] of pairs) {
    if (was !== is) yield { exchange: name, part, theirs: shown(was), ours: shown(is) };
  }
}

/** A value as a cell of the table has it. */
function shown(value: string | number | undefined): string {
  if (value === undefined || value === "") return "none";
  const text = String(value).replaceAll(FIXTURE, "<fixture>").replaceAll("\n", " ⏎ ").replaceAll("|", "\\|");
  return `\`${text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`}\``;
}

/** The rows of the page; each with a reason. */
function rowsOf(page: string): Difference[] {
  const table = /<!-- differences -->\n([\s\S]*?)<!-- end -->/.exec(page)?.[1] ?? "";
  return table.split("\n").filter((line) => line.startsWith("|")).slice(2).map((line) => {
    const cells = line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim());
    assertEquals(cells.length, 5, line);
    const [exchange, part, theirs, ours, reason] = cells as [string, string, string, string, string];
    assert(reason.length > 10, `a difference without its reason: ${line}`);
    return { exchange, part, theirs, ours };
  });
}

const keyOf = ({ exchange, part, theirs, ours }: Difference) => `${exchange} | ${part} | ${theirs} | ${ours}`;

/** What the rows leave over: differences without a row, and rows without a difference. Rows for all are named `all`. */
function unmatched(differences: readonly Difference[], rows: readonly Difference[]): string[] {
  const left = new Set(rows.map(keyOf));
  const known = new Set(left);
  assertEquals(known.size, rows.length, "a row is there twice");
  const unexplained: string[] = [];
  for (const difference of differences) {
    const own = keyOf(difference);
    const general = keyOf({ ...difference, exchange: "all" });
    const key = known.has(own) ? own : general;
    if (known.has(key)) left.delete(key);
    else unexplained.push(own);
  }
  return [
    ...unexplained.map((key) => `not in the table: ${key}`),
    ...Array.from(left, (key) => `no difference: ${key}`),
  ];
}

Deno.test("The page and the differences are held together: one without the other is told", () => {
  const [row, other] = [
    { exchange: "ping", part: "status", theirs: "`200`", ours: "`500`" },
    { exchange: "all", part: "body", theirs: "`a`", ours: "`b`" },
  ];
  const general = { ...other, exchange: "echo" };
  assertEquals(unmatched([row, general, { ...other, exchange: "ping" }], [row, other]), []);
  assertEquals(unmatched([row], [row, other]), ["no difference: all | body | `a` | `b`"]);
  assertEquals(unmatched([row, general], [other]), ["not in the table: ping | status | `200` | `500`"]);
  assertEquals(unmatched([{ ...row, ours: "`501`" }], [row]), [
    "not in the table: ping | status | `200` | `501`",
    "no difference: ping | status | `200` | `500`",
  ]);
  const answer = { status: 200, headers: { "content-type": "application/json" }, body: "{}" };
  assertEquals([...differencesOf("x", answer, answer)], []);
  const parts = (ours: Answer) => Array.from(differencesOf("x", answer, ours), ({ part }) => part);
  assertEquals(parts({ ...answer, status: 201, body: "[]" }), ["status", "body"]);
  assertEquals(parts({ ...answer, headers: { ...answer.headers, "mcp-session-id": "<id>" } }), [
    "mcp-session-id",
  ]);
});

for (const [form, options] of FORMS) {
  Deno.test({
    name: `The exchanges recorded before MCP Connect go as the page says, with servers as ${form}`,
    ignore: !onPath("node"),
    fn: async () => {
      await using gateway = await Gateway.start(options);
      const answers = await replay(gateway);
      const differences = (exchanges as readonly Exchange[]).flatMap(({ name, response }, index) =>
        Array.from(differencesOf(name, response, answers[index]!))
      );
      assertEquals(unmatched(differences, rowsOf(await Deno.readTextFile(PAGE))), []);
    },
  });
}
