/**
 * Pages of another site, in a real browser, against every door of a gateway that asks for no token: nothing reaches a
 * server, nothing is opened, and nothing can be read.
 *
 * What reached a server is in its own record (`tests/fixtures/recorder.ts`); one that was not started has none.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fixture } from "../fixtures/mod.ts";
import { Browser, BROWSER_MISSING, FOREIGN } from "./browser.ts";
import { Gateway } from "./gateway.ts";
import { initialize, post } from "./raw_client.ts";

/** What one principal may have of doors of HTTP+SSE, and of streams of events, that wait. */
const DOORS = 32;
const FEEDS = 8;

const INITIALIZE = JSON.stringify({ jsonrpc: "2.0", ...initialize() });
const CALL = JSON.stringify({
  ...{ jsonrpc: "2.0", id: 1, method: "tools/call" },
  params: { name: "note", arguments: { text: "forged" } },
});
const BRIDGE = JSON.stringify({ serverId: "rec", method: "tools/list" });

/** Where a page knocks: every door, and the body that would do something there. */
const PLACES: readonly (readonly [path: string, body: string])[] = [
  ["/mcp/rec", INITIALIZE],
  ["/mcp/rec?x", CALL],
  ["/sse/rec", INITIALIZE],
  ["/messages?sessionId=<door>", CALL],
  ["/bridge", BRIDGE],
  ["/sessions", ""],
  ["/sessions/<handle>", ""],
  ["/sessions/<handle>/extend", '{"ms":600000}'],
  ["/sessions/events", ""],
  ["/servers/reload", ""],
  ["/servers/rec/ttl-advice", ""],
  ["/ready", ""],
];
const NAVIGATED = ["/sse/rec", "/mcp/rec", "/sessions/events", "/bridge"];

/** What a page could learn. */
type Outcome = readonly [how: string, path: string, said: string];

/** Runs in the page. Everything that a page can send without asking, and everything that it has to ask for. */
async function knock(
  { origin, places, navigated }: {
    origin: string;
    places: readonly (readonly [string, string])[];
    navigated: string[];
  },
): Promise<Outcome[]> {
  // deno-lint-ignore no-explicit-any
  const dom = globalThis as any;
  const outcomes: Outcome[] = [];
  const within = <T>(promise: Promise<T>, otherwise: T): Promise<T> =>
    Promise.race([promise, new Promise<T>((resolve) => setTimeout(() => resolve(otherwise), 15_000))]);
  const ask = async (how: string, path: string, init: RequestInit): Promise<void> => {
    const cut = new AbortController();
    const said = fetch(`${origin}${path}`, { ...init, signal: cut.signal }).then(
      async (response) => `${response.type} ${response.status} ${(await response.text()).slice(0, 200)}`,
      (error) => `failed: ${error.name}`,
    );
    outcomes.push([how, path, await within(said, "open")]);
    cut.abort();
  };
  const loaded = (element: string, path: string): Promise<void> => {
    const node = dom.document.createElement(element);
    const done = new Promise<string>((resolve) => {
      node.onload = () => resolve("loaded");
      node.onerror = () => resolve("failed");
    });
    node.src = `${origin}${path}`;
    dom.document.body.append(node);
    return within(done, "open").then((said) => void outcomes.push([element, path, said]));
  };
  const all: Promise<void>[] = [];
  for (const [path, body] of places) {
    for (
      const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    ) {
      const headers = { "content-type": type };
      all.push(ask(`no-cors POST ${type}`, path, { method: "POST", mode: "no-cors", headers, body }));
      all.push(ask(`cors POST ${type}`, path, { method: "POST", headers, body }));
    }
    const blob = new Blob([body]);
    all.push(ask("no-cors POST without a type", path, { method: "POST", mode: "no-cors", body: blob }));
    const json = { "content-type": "application/json", accept: "application/json, text/event-stream" };
    all.push(ask("cors POST of JSON", path, { method: "POST", headers: json, body }));
    all.push(
      ask("cors POST with cookies", path, { method: "POST", headers: json, body, credentials: "include" }),
    );
    all.push(ask("cors DELETE", path, { method: "DELETE" }));
    all.push(ask("cors GET", path, {}));
    all.push(ask("cors GET of events", path, { headers: { accept: "text/event-stream" } }));
    all.push(ask("no-cors GET", path, { mode: "no-cors" }));
    all.push(ask("no-cors HEAD", path, { method: "HEAD", mode: "no-cors" }));
    all.push(loaded("img", path), loaded("script", path), loaded("iframe", path), loaded("audio", path));
    all.push(
      within(
        new Promise<string>((resolve) => {
          const source = new EventSource(`${origin}${path}`);
          source.onopen = () => resolve("open");
          source.onmessage = ({ data }) => resolve(`message ${data}`);
          source.onerror = () => {
            source.close();
            resolve("failed");
          };
        }),
        "silent",
      ).then((said) => void outcomes.push(["EventSource", path, said])),
    );
    all.push(
      within(
        new Promise<string>((resolve) => {
          const socket = new WebSocket(`${origin.replace("http", "ws")}${path}`);
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("failed");
        }),
        "silent",
      ).then((said) => void outcomes.push(["WebSocket", path, said])),
    );
    // A beacon is a POST with whatever type its blob has.
    for (const type of ["text/plain", "application/json"]) {
      try {
        dom.navigator.sendBeacon(`${origin}${path}`, new Blob([body], { type }));
      } catch {
        // Refused by the browser.
      }
    }
    // A form's body is NAME=VALUE, which makes it JSON with the equals sign in a string.
    const form = dom.document.createElement("form");
    const field = dom.document.createElement("input");
    const frame = dom.document.createElement("iframe");
    Object.assign(frame, { name: `frame ${path}` });
    Object.assign(form, {
      method: "POST",
      enctype: "text/plain",
      action: `${origin}${path}`,
      target: frame.name,
    });
    Object.assign(field, { name: body.replace(/\}$/, ',"x":"'), value: '"}' });
    form.append(field);
    dom.document.body.append(frame, form);
    form.submit();
  }
  // More of each than one may have.
  for (const path of navigated) for (let n = 0; n < 5; n++) all.push(loaded("img", `${path}?${n}`));
  await Promise.all(all);
  return outcomes;
}

/** How many streams of a kind can still be opened. */
async function roomFor(gateway: Gateway, path: string, atMost: number): Promise<number> {
  const cut = new AbortController();
  let opened = 0;
  for (; opened < atMost; opened++) {
    const response = await fetch(`${gateway.origin}${path}`, {
      headers: { accept: "text/event-stream" },
      signal: cut.signal,
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      break;
    }
  }
  cut.abort();
  return opened;
}

/** A gateway whose server writes down what reaches it. */
class Target implements AsyncDisposable {
  readonly gateway: Gateway;
  readonly #record: string;

  private constructor(gateway: Gateway, record: string) {
    this.gateway = gateway;
    this.#record = record;
  }

  static async start(env: Record<string, string> = {}): Promise<Target> {
    const record = await Deno.makeTempFile({ prefix: "sojourn-record-" });
    const gateway = await Gateway.start({
      servers: { rec: { ...fixture("recorder", { env: { RECORD: record } }) } },
      env: { LOG_LEVEL: "debug", ...env },
    });
    return new Target(gateway, record);
  }

  get port(): number {
    return Number(new URL(this.gateway.origin).port);
  }

  /** What reached the server, by method. */
  reached(): string[] {
    return Deno.readTextFileSync(this.#record).split("\n").filter((line) => line !== "")
      .map((line) => JSON.parse(line).message.method);
  }

  /** Sessions that there are, or were. */
  async sessions(): Promise<number> {
    const counts = await Promise.all(["/sessions", "/sessions?state=ended"].map(async (path) => {
      const response = await fetch(`${this.gateway.origin}${path}`);
      return (await response.json()).total as number;
    }));
    return counts[0]! + counts[1]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await Deno.remove(this.#record);
  }
}

async function assertUntouched(target: Target, outcomes: readonly Outcome[]): Promise<void> {
  const { gateway } = target;
  assert(outcomes.length > 200, `only ${outcomes.length} attempts`);
  assertEquals(target.reached(), []);
  assertEquals(gateway.children(), []);
  assertEquals(await target.sessions(), 0);
  // A page sees no more of an answer than that there was one.
  const read = outcomes.filter(([how, , said]) =>
    !/^(failed|opaque 0 $)/.test(said) && !(["iframe"].includes(how) && said === "loaded")
  );
  assertEquals(read, []);
  assertEquals(await roomFor(gateway, "/sse/rec", DOORS), DOORS, "doors that are free");
  assertEquals(await roomFor(gateway, "/sessions/events", FEEDS), FEEDS, "streams of events that are free");
  assertEquals(gateway.linesLike(/\[ERROR\]|servers? file/), []);
  // What holds all that is not that the gateway is deaf.
  const { status } = await post(gateway.url("rec"), initialize());
  assertEquals([status, target.reached()], [200, ["initialize"]]);
}

/** A page of a foreign site knocks at every door. */
async function knockFrom(browser: Browser, page: string, target: string): Promise<Outcome[]> {
  const tab = await browser.page(page);
  const handle = "0123456789ab";
  const door = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
  const places = PLACES.map(([path, body]): [string, string] => [
    path.replace("<handle>", handle).replace("<door>", door),
    body,
  ]);
  try {
    return await tab.evaluate(knock, { origin: target, places, navigated: NAVIGATED });
  } finally {
    await tab.close();
  }
}

Deno.test({
  name: `A page of another site does nothing and learns nothing at any door${
    BROWSER_MISSING === undefined ? "" : ` (skipped: ${BROWSER_MISSING})`
  }`,
  ignore: BROWSER_MISSING !== undefined,
  fn: async (t) => {
    await using browser = await Browser.start();
    const pages = {
      "another site": `http://${FOREIGN}:8000/`,
      // Another program's page on this machine: the same site, another origin.
      "another port of this machine": "http://127.0.0.1:1/",
      "a secure site": `https://${FOREIGN}/`,
    };
    for (const [what, page] of Object.entries(pages)) {
      await t.step(what, async () => {
        await using target = await Target.start();
        const outcomes = await knockFrom(browser, page, target.gateway.origin);
        await assertUntouched(target, outcomes);
      });
    }
    await t.step(
      "another site, at a gateway that serves a network without a token and any Host",
      async () => {
        await using target = await Target.start({ HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true" });
        const outcomes = await knockFrom(
          browser,
          `http://${FOREIGN}:8000/`,
          `http://127.0.0.1:${target.port}`,
        );
        await assertUntouched(target, outcomes);
      },
    );
  },
});

/** Runs in the page of a rebound name: its own origin is the gateway. */
async function askOwnOrigin(
  { initialize, bridge }: { initialize: string; bridge: string },
): Promise<string[]> {
  const json = { "content-type": "application/json", accept: "application/json, text/event-stream" };
  const said: string[] = [];
  const requests: [string, RequestInit][] = [
    ["/mcp/rec", { method: "POST", headers: json, body: initialize }],
    ["/bridge", { method: "POST", headers: json, body: bridge }],
    ["/sse/rec", { headers: { accept: "text/event-stream" } }],
    ["/messages?sessionId=x", { method: "POST", headers: json, body: initialize }],
    ["/sessions", {}],
    ["/servers/reload", { method: "POST" }],
  ];
  for (const [path, init] of requests) {
    const cut = new AbortController();
    const response = await fetch(path, { ...init, signal: cut.signal });
    said.push(`${path} ${response.status}`);
    cut.abort();
  }
  return said;
}

Deno.test({
  name: `A page whose name was rebound to the gateway is refused by its Host${
    BROWSER_MISSING === undefined ? "" : ` (skipped: ${BROWSER_MISSING})`
  }`,
  ignore: BROWSER_MISSING !== undefined,
  fn: async (t) => {
    await using browser = await Browser.start();
    const rebind = async (target: Target) => {
      const page = await browser.page(`http://${FOREIGN}:${target.port}/page`);
      try {
        return await page.evaluate(askOwnOrigin, { initialize: INITIALIZE, bridge: BRIDGE });
      } finally {
        await page.close();
      }
    };
    const paths = [
      "/mcp/rec",
      "/bridge",
      "/sse/rec",
      "/messages?sessionId=x",
      "/sessions",
      "/servers/reload",
    ];
    const network = { HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true" };
    for (
      const [what, env] of [
        ["on loopback", {}],
        ["on a network without a token, with ALLOWED_HOSTS", {
          ...network,
          ALLOWED_HOSTS: "gateway.example",
        }],
        ["on loopback, with ALLOWED_HOSTS", { ALLOWED_HOSTS: "gateway.example" }],
      ] as const
    ) {
      await t.step(what, async () => {
        await using target = await Target.start(env);
        assertEquals(await rebind(target), paths.map((path) => `${path} 403`));
        assertEquals([target.reached(), target.gateway.children()], [[], []]);
      });
    }
    await t.step("on a network with a token and any Host it has no token", async () => {
      await using target = await Target.start({
        HOST: "0.0.0.0",
        ACCESS_TOKEN: "a-token-that-is-long-enough",
      });
      assertEquals(await rebind(target), paths.map((path) => `${path} 401`));
      assertEquals([target.reached(), target.gateway.children()], [[], []]);
    });
    await t.step(
      "on a network without a token and any Host it may do everything, as the start warns",
      async () => {
        await using target = await Target.start(network);
        const said = await rebind(target);
        assertEquals(said.slice(0, 3), ["/mcp/rec 200", "/bridge 200", "/sse/rec 200"]);
        assert(target.reached().includes("initialize"));
        const [warning = ""] = target.gateway.linesLike(/\[WARN\].*ALLOWED_HOSTS/);
        assertStringIncludes(warning, "web page");
      },
    );
  },
});
