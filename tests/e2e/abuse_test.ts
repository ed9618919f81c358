/**
 * Clients that cost without asking for anything, or ask for what is not theirs, against the real gateway: while they are
 * there a bystander's session goes on, and when they are gone so is everything that they took.
 *
 * What is left is looked at by the soak's means (`tools/soak/gateway.ts`): timers, handles and memory after a collection.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { ADMIN, Cast, TOKENS_FILE } from "../../tools/hostile/cast.ts";
import { SETTINGS } from "../../tools/hostile/storm.ts";
import { SoakGateway, type State } from "../../tools/soak/gateway.ts";
import { handlesOf, MARKER } from "../../tools/soak/machine.ts";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { answer, RESULT, scripted } from "../fixtures/remote_servers.ts";
import { TINY } from "./bridge_mutants.ts";
import { Gateway, passMs, PROJECT } from "./gateway.ts";
import { RawSession } from "./raw_client.ts";
import { responsesOf, talk } from "./raw_http.ts";

const LINUX = Deno.build.os === "linux";
/** So many idle connections, or fewer where the system allows this process and the gateway no more. */
const IDLE = 2_000;
/** File handles that everything else may need. */
const OTHER_HANDLES = 200;
const QUIET_MS = 30_000;
/**
 * What the process may grow by, in KiB, beyond what it had when it was warm: the allocator keeps some of what it saw once.
 * What is really held is in the heap, buffers included.
 */
const SLACK_KIB = 96 * 1024;
const HEAP_SLACK_KIB = 4 * 1024;
/** More than a body for `extend` may have would be refused. */
const PIECES = 4_000;
/** So long a stream is read, in ms. */
const STREAM_MS = 150;
/** What one connection may cost while it is there, in KiB. */
const CONNECTION_KIB = 48;

const ANN = "authorization: Bearer ann-has-a-long-token\r\n";
const TYPES = "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
const INITIALIZE = JSON.stringify({
  ...{ jsonrpc: "2.0", id: 0, method: "initialize" },
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "a", version: "1" } },
});
/** Where bodies are read. */
const POSTS = ["/mcp/fake", "/bridge", "/messages?sessionId=<door>", "/sessions/<handle>/extend"];

/** A gateway, a bystander, and how things were before anybody came. */
class World implements AsyncDisposable {
  readonly gateway: SoakGateway;
  readonly cast: Cast;
  readonly rest: State;

  private constructor(gateway: SoakGateway, cast: Cast, rest: State) {
    this.gateway = gateway;
    this.cast = cast;
    this.rest = rest;
  }

  static async start(
    { servers: more = {}, settings = {} }: {
      servers?: Record<string, unknown>;
      settings?: Record<string, string>;
    } = {},
  ): Promise<World> {
    const gateway = await SoakGateway.start({
      settings: { ...SETTINGS, STREAM_SESSION_TTL_MS: "60000", ...settings },
      servers: (marker) => {
        const env = { [MARKER]: marker };
        const { command, args } = fixture("echo_server");
        const tiny = { ...TINY, env };
        return { mcpServers: { fake: tiny, other: tiny, quiet: { command, args, env }, ...more } };
      },
      files: { "tokens.json": TOKENS_FILE },
      adminToken: ADMIN,
    });
    // The first session brings code into the process that stays.
    {
      await using warm = new Cast(gateway.port, "sse");
      await warm.assemble();
      await warm.check();
    }
    const world = new World(gateway, new Cast(gateway.port, "sse"), await restOf(gateway));
    await world.cast.assemble();
    await world.cast.check();
    return world;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.gateway.port}`;
  }

  /** Path and query of a place, with ids that are ann's. */
  place(path: string): string {
    return path.replace("<door>", this.cast.endpointOf("june").split("=")[1]!)
      .replace("<handle>", this.cast.handleOf("june"));
  }

  /** One request, and what came back. */
  async ask(text: string, endAfter?: (text: string) => boolean): Promise<string> {
    return await talk(this.origin, text, endAfter === undefined ? {} : { endAfter });
  }

  /** The bystander goes on, and when everybody left nothing is there that was not before. */
  async check(slackKiB = SLACK_KIB): Promise<void> {
    await this.cast.check();
    await this.cast[Symbol.asyncDispose]();
    const after = await restOf(this.gateway, this.rest);
    const { sessions, processes, zombies } = after;
    assertEquals({ sessions, processes, zombies }, { sessions: 0, processes: 0, zombies: 0 });
    assert(after.handles <= this.rest.handles, `handles: ${this.gateway.handleNames.join()}`);
    assert(after.timers <= this.rest.timers, `timers: ${after.timers}, before ${this.rest.timers}`);
    const grown = after.rssKiB - this.rest.rssKiB;
    assert(grown <= slackKiB, `grew by ${grown} KiB, from ${this.rest.rssKiB}`);
    const held = after.heapKiB - this.rest.heapKiB;
    assert(held <= HEAP_SLACK_KIB, `holds ${held} KiB more than ${this.rest.heapKiB}`);
    assertEquals(this.gateway.faults, []);
    assertEquals(await this.gateway.stop(), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cast[Symbol.asyncDispose]().catch(() => {});
    await this.gateway[Symbol.asyncDispose]();
  }
}

async function restOf(gateway: SoakGateway, wanted?: State): Promise<State> {
  const giveUpAt = performance.now() + QUIET_MS;
  for (;;) {
    const state = await gateway.look({ gc: true });
    const { sessions, processes, zombies, timers, handles } = state;
    const isQuiet = sessions + processes + zombies === 0 &&
      (wanted === undefined || (timers <= wanted.timers && handles <= wanted.handles));
    if (isQuiet || performance.now() > giveUpAt) return state;
    await passMs(200);
  }
}

/** So many connections that say something at first, or nothing. */
async function connect(port: number, count: number, first = ""): Promise<Deno.TcpConn[]> {
  const sockets: Deno.TcpConn[] = [];
  for (let n = 0; n < count; n++) {
    const socket = await Deno.connect({ hostname: "127.0.0.1", port });
    if (first !== "") await socket.write(new TextEncoder().encode(first));
    sockets.push(socket);
  }
  return sockets;
}

function close(sockets: readonly Deno.TcpConn[]): void {
  for (const socket of sockets) {
    try {
      socket.close();
    } catch {
      // Closed already.
    }
  }
}

/** How many file handles this process, and what it starts, may have. */
function maxHandles(): number {
  return Number(/Max open files\s+(\d+)/.exec(Deno.readTextFileSync("/proc/self/limits"))?.[1] ?? 1_024);
}

const request = (path: string, more = "", body = "", method = "POST"): string =>
  `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${ANN}${TYPES}${more}connection: close\r\n` +
  `content-length: ${body.length}\r\n\r\n${body}`;

Deno.test({
  name: `${IDLE} idle connections cost memory while they are there and nobody else anything`,
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start();
    const { pid } = world.gateway;
    const count = Math.min(IDLE, maxHandles() - OTHER_HANDLES);
    const before = (await world.gateway.look({ gc: true })).rssKiB;
    // Idle from the start, in the middle of a line, in the middle of a head, and after a request.
    const kinds = ["", "POST /mc", "POST /mcp/fake HTTP/1.1\r\nhost: x\r\n", `${HEALTH}\r\n`];
    const sockets: Deno.TcpConn[] = [];
    try {
      for (const first of kinds) {
        sockets.push(...await connect(world.gateway.port, Math.floor(count / kinds.length), first));
      }
      await eventually(() => handlesOf(pid) >= sockets.length, "the connections to be taken");
      for (let n = 0; n < 20; n++) await world.cast.check();
      await world.cast.assemble();
      const grown = (await world.gateway.look({ gc: true })).rssKiB - before;
      assert(grown < sockets.length * CONNECTION_KIB, `${sockets.length} connections took ${grown} KiB`);
    } finally {
      close(sockets);
    }
    await world.check();
  },
});
const HEALTH = "GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n";

Deno.test({
  name:
    "Heads that come byte by byte hold their connection and nothing else, and bodies get 408 at every door",
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start();
    const heads = await connect(world.gateway.port, 100);
    const head = new TextEncoder().encode(request("/mcp/fake"));
    for (let byte = 0; byte < 20; byte++) {
      for (const socket of heads) await socket.write(head.subarray(byte, byte + 1));
      await passMs(10);
    }
    await world.cast.check();
    const answers = POSTS.flatMap((path) =>
      Array.from({ length: 15 }, async (_, n) => {
        const length = n % 2 === 0 ? "content-length: 4000\r\n" : "transfer-encoding: chunked\r\n";
        const start = n % 2 === 0 ? '{"jsonrpc"' : '5\r\n{"jso\r\n';
        const text = `POST ${world.place(path)} HTTP/1.1\r\nhost: 127.0.0.1\r\n${TYPES}${length}\r\n${start}`;
        const token = path.endsWith("extend") ? `authorization: Bearer ${ADMIN}\r\n` : ANN;
        const sent = text.replace("host:", `${token}host:`);
        return [path, responsesOf(await world.ask(sent, (text) => text.includes("\r\n\r\n")))[0]?.status];
      })
    );
    await world.cast.check();
    for (const [path, status] of await Promise.all(answers)) {
      assertEquals([path, status], [path, "HTTP/1.1 408 Request Timeout"]);
    }
    close(heads);
    await world.check();
  },
});

Deno.test({
  name: "A body in pieces of one byte takes no more memory than it has bytes, at every door",
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start({ settings: { BODY_TIMEOUT_MS: "60000" } });
    const before = (await world.gateway.look({ gc: true })).heapKiB;
    const piece = new TextEncoder().encode("1\r\n \r\n");
    const sockets = await Promise.all(POSTS.map(async (path) => {
      const token = path.endsWith("extend") ? `authorization: Bearer ${ADMIN}\r\n` : ANN;
      const head = `POST ${world.place(path)} HTTP/1.1\r\nhost: 127.0.0.1\r\n${token}${TYPES}`;
      const [socket] = await connect(world.gateway.port, 1, `${head}transfer-encoding: chunked\r\n\r\n`);
      socket!.setNoDelay(true);
      for (let n = 0; n < PIECES; n++) {
        await socket!.write(piece);
        // Each is to be read by itself.
        if (n % 10 === 0) await passMs(0);
      }
      return socket!;
    }));
    await passMs(500);
    const held = (await world.gateway.look({ gc: true })).heapKiB - before;
    close(sockets);
    assert(held < HEAP_SLACK_KIB, `holds ${held} KiB more`);
    // The runtime took a buffer for each piece, if only for a moment.
    await world.check(4 * SLACK_KIB);
  },
});

Deno.test({
  name: "Floods of headers are cut off before they cost much, whether they are many, long or without end",
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start();
    const before = (await world.gateway.look({ gc: true })).rssKiB;
    const many = Array.from({ length: 20_000 }, (_, n) => `x-${n}: ${n}\r\n`).join("");
    const floods = {
      many: request("/mcp/fake", many, INITIALIZE),
      long: request("/mcp/fake", `x-long: ${"x".repeat(4 * 1024 * 1024)}\r\n`, INITIALIZE),
      "one name": request("/mcp/fake", "x: 1\r\n".repeat(50_000), INITIALIZE),
      "session ids": request("/mcp/fake", `mcp-session-id: ${"x".repeat(50)}\r\n`.repeat(5_000), INITIALIZE),
      "without end": `POST /mcp/fake HTTP/1.1\r\n${many.repeat(10)}`,
      "a first line without end": `POST /${"x".repeat(4 * 1024 * 1024)}`,
    };
    for (let round = 0; round < 2; round++) {
      await Promise.all(
        Object.entries(floods).map(async ([what, text]) => {
          const [answer] = responsesOf(await world.ask(text));
          // The runtime says so, or only hangs up.
          assert(
            answer === undefined || /^HTTP\/1.1 4(00|14|31)/.test(answer.status),
            `${what}: ${answer?.status}`,
          );
        }),
      );
      await world.cast.check();
    }
    const grown = (await world.gateway.look({ gc: true })).rssKiB - before;
    assert(grown < SLACK_KIB, `grew by ${grown} KiB`);
    await world.check();
  },
});

Deno.test({
  name: "A body that is packed is not unpacked, at any door and whatever it is packed with",
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start();
    const blanks = Buffer.alloc(256 * 1024 * 1024, " ");
    const packed = { gzip: gzipSync(blanks), br: brotliCompressSync(blanks), deflate: deflateSync(blanks) };
    const before = (await world.gateway.look({ gc: true })).rssKiB;
    for (const path of POSTS) {
      for (const [encoding, body] of Object.entries(packed)) {
        const token = path.endsWith("extend") ? ADMIN : "ann-has-a-long-token";
        const text = request(world.place(path), `content-encoding: ${encoding}\r\n`, body.toString("latin1"))
          .replace(ANN, `authorization: Bearer ${token}\r\n`);
        const [answer] = responsesOf(await world.ask(text));
        // What is too long is refused before it is read, and the refusal may be lost with the connection.
        const isRefused = answer === undefined
          ? path.endsWith("extend")
          : /^HTTP\/1.1 4(00|13)/.test(answer.status);
        assert(isRefused, `${path} ${encoding}: ${answer?.status} ${answer?.body}`);
      }
    }
    const grown = (await world.gateway.look()).rssKiB - before;
    assert(grown < SLACK_KIB, `grew by ${grown} KiB`);
    await world.check();
  },
});

Deno.test({
  name:
    "A packed answer of a remote server is unpacked up to the bound, which ends that session and no other",
  ignore: !LINUX,
  fn: async () => {
    const packed = new Uint8Array(gzipSync(Buffer.alloc(512 * 1024 * 1024, " ")));
    await using server = scripted((_, seen) => {
      if (seen.rpc === "initialize") return answer(seen, RESULT, { "mcp-session-id": "up" });
      return seen.rpc !== "tools/call" ? undefined : new Response(packed, {
        headers: { "content-type": "application/json", "content-encoding": "gzip" },
      });
    });
    await using world = await World.start({ servers: { far: { url: server.url } } });
    const before = (await world.gateway.look({ gc: true })).rssKiB;
    const call = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "x" } });
    for (let n = 0; n < 3; n++) {
      // By then it may be a stream.
      const text = await world.ask(request("/mcp/far", "", call), (text) => text.includes('"error"'));
      assert(/"error":\{"code":-3/.test(text), text.slice(0, 500));
      await world.cast.check();
    }
    const grown = (await world.gateway.look()).rssKiB - before;
    // The bound is 64 MiB of text.
    assert(grown < 400 * 1024, `grew by ${grown} KiB`);
    await world.cast.check();
    await world.cast[Symbol.asyncDispose]();
  },
});

/** What might be taken for `fake`, or for something that is not the caller's business. */
const IDS = [
  ...[
    "..",
    "../fake",
    "..%2ffake",
    "%2e%2e",
    "%2e%2e%2ffake",
    ".",
    "./fake",
    "fake/..",
    "fake/../quiet",
    "fake%2f",
  ],
  ...[
    "/fake",
    "//fake",
    "fake//",
    "fake/",
    "%2ffake",
    "fake%00",
    "%00fake",
    "fake\0",
    "fake%0d%0a",
    "fake%20",
    "%20fake",
  ],
  ...[
    "f\u0430ke",
    "\uff46ake",
    "fak\u0435",
    "FAKE",
    "Fake",
    "fake\u200b",
    "fake\u0301",
    "fa%6be%00",
    "%2566ake",
  ],
  ...[
    "%c1%a6ake",
    "%u0066ake",
    "fake;x",
    "fake,other",
    "fake|other",
    "*",
    ":serverId",
    "{fake}",
    "$(fake)",
    "`fake`",
  ],
  ...["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf", "__defineGetter__"],
  ...["", "%", "%%", "%zz", "%ff", "null", "undefined", "NaN", "0", "-1", "true", "[object Object]"],
  ...[
    "x".repeat(10_000),
    "%66".repeat(3_000),
    "../".repeat(2_000),
    "a/".repeat(2_000),
    "bridge:tiny",
    "bridge%3atiny",
  ],
];

Deno.test({
  name: "No path that only looks like a server's leads to one, at any door that has servers in its path",
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start();
    const before = await world.gateway.look();
    const utf8 = (text: string) => Buffer.from(text).toString("latin1");
    for (const id of IDS) {
      for (
        const [method, path, token] of [
          ["POST", `/mcp/${id}`, ANN],
          ["GET", `/sse/${id}`, ANN],
          ["GET", `/servers/${id}/ttl-advice`, `authorization: Bearer ${ADMIN}\r\n`],
          ["DELETE", `/sessions/${id === "" ? "x" : id}`, ANN],
        ] as const
      ) {
        const body = method === "POST" ? INITIALIZE : "";
        const text = request(utf8(path), "", body, method).replace(ANN, token);
        const [answer] = responsesOf(await world.ask(text));
        const status = Number(answer?.status.split(" ")[1] ?? 0);
        assert(
          [0, 400, 403, 404, 405, 414].includes(status),
          `${method} ${path.slice(0, 100)}: ${answer?.status}`,
        );
        assert(
          (answer?.body.length ?? 0) < 40_000,
          `${method} ${path.slice(0, 100)}: ${answer?.body.length} bytes`,
        );
      }
      const bridge = JSON.stringify({ serverId: id, method: "tools/list" });
      const bytes = utf8(bridge);
      const [answer] = responsesOf(await world.ask(request("/bridge", "", bytes)));
      assert(/^HTTP\/1.1 4(00|04)/.test(answer!.status), `${bridge.slice(0, 100)}: ${answer!.status}`);
    }
    const after = await world.gateway.look();
    assertEquals(
      [after.sessions, after.processes],
      [before.sessions, before.processes],
      "nothing was opened",
    );
    await world.check();
  },
});

Deno.test({
  name: "Ids of another principal, whole, cut, changed or of another kind, open nothing and tell nothing",
  ignore: !LINUX,
  fn: async () => {
    await using world = await World.start();
    const { cast } = world;
    const [anns, bobs] = [cast.idOf("june"), cast.idOf("bob")];
    const door = cast.endpointOf("bob").split("=")[1]!;
    const handle = cast.handleOf("bob");
    const forms = (id: string) => [
      ...[
        id,
        id.toUpperCase(),
        id.slice(0, -1),
        `${id}0`,
        ` ${id} `,
        `"${id}"`,
        id.replaceAll("-", ""),
        `${id},${anns}`,
      ],
      ...[
        `${anns},${id}`,
        `${id}\t`,
        `urn:uuid:${id}`,
        `{${id}}`,
        id.slice(0, 8),
        `${id}/../${anns}`,
        `%${id}`,
      ],
    ];
    const ids = [...forms(bobs), ...forms(door), handle, "3f2504e0-4f89-41d3-9a0c-0305e82c3301"];
    const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
    // An answer's body as it would be for an id that nobody has.
    const unknown = responsesOf(
      await world.ask(request("/mcp/fake", "mcp-session-id: nobody\r\n", ping)),
    )[0]!;
    const noDoor = responsesOf(await world.ask(request("/messages?sessionId=nobody", "", ping)))[0]!;
    assertEquals([unknown.status, noDoor.status], Array(2).fill("HTTP/1.1 404 Not Found"));
    for (const id of ids) {
      for (const [method, body] of [["POST", ping], ["GET", ""], ["DELETE", ""]] as const) {
        const more = `mcp-session-id: ${id}\r\nlast-event-id: ${id}\r\n`;
        const [answer] = responsesOf(await world.ask(request("/mcp/fake", more, body, method)));
        assertEquals([id, method, answer?.status], [id, method, "HTTP/1.1 404 Not Found"]);
        if (method === "POST") assertEquals(answer!.body, unknown.body);
      }
      const query = encodeURIComponent(id);
      const [answer] = responsesOf(await world.ask(request(`/messages?sessionId=${query}`, "", ping)));
      assertEquals([id, answer?.status, answer?.body], [id, noDoor.status, noDoor.body]);
      const path = `/sessions/${query}`;
      const shown = responsesOf(await world.ask(request(path, "", "", "GET")))[0]!;
      assertEquals([id, shown.status], [id, "HTTP/1.1 404 Not Found"]);
      assert(!shown.body.includes(bobs) && !shown.body.includes(door), shown.body);
      const ended = responsesOf(await world.ask(request(path, "", "", "DELETE")))[0]!;
      assertEquals([id, ended.status], [id, "HTTP/1.1 404 Not Found"]);
    }
    // Events of another's session: real ones, and every form that an event's id could have.
    const bobsToken = "authorization: Bearer bob-has-a-long-token\r\n";
    const streamOf = async (token: string, id: string, event?: string): Promise<string> => {
      const more = `mcp-session-id: ${id}\r\n${event === undefined ? "" : `last-event-id: ${event}\r\n`}`;
      const head =
        `GET /mcp/fake HTTP/1.1\r\nhost: 127.0.0.1\r\n${token}accept: text/event-stream\r\n${more}\r\n`;
      const socket = await Deno.connect({ hostname: "127.0.0.1", port: world.gateway.port });
      let text = "";
      const chunk = new Uint8Array(4096);
      await socket.write(new TextEncoder().encode(head));
      const timer = setTimeout(() => socket.close(), STREAM_MS);
      try {
        for (let count; (count = await socket.read(chunk)) !== null;) {
          text += new TextDecoder().decode(chunk.subarray(0, count));
          if (/^HTTP\/1.1 4/.test(text)) break;
        }
      } catch {
        // Read for long enough.
      }
      clearTimeout(timer);
      close([socket]);
      return text;
    };
    const [real = ""] = /\bid: (\S+)/.exec(await streamOf(bobsToken, bobs))?.slice(1) ?? [];
    assert(real.includes("."), `bob's stream begins with an event, got ${real}`);
    const annsOwn = cast.idOf("november");
    const forged = [
      real,
      real.replace(/-0$/, "-1"),
      `${real}.MQ`,
      bobs,
      door,
      `${handle}-1`,
      "0",
      "1",
      "-1",
      "1e9",
    ];
    for (
      const event of [...forged, "aaaaaaaa.1-0", "aaaaaaaa.999999999999999-0", "x".repeat(5_000), "__proto__"]
    ) {
      const text = await streamOf(ANN, annsOwn, event);
      // What a forged id says of a request is all that is known of it: that its answer is not here.
      const events = (text.match(/^data: .+$/gm) ?? []).filter((line) => !line.includes('"code":-32000'));
      assert(
        /^HTTP\/1.1 (400|410|20[04]) /.test(text) && events.length === 0,
        `${event}: ${text.slice(0, 300)}`,
      );
    }
    // On /bridge the principal is part of what names a session: who asks the same gets another process.
    const pidOf = async (token: string) => {
      const body = '{"serverId":"fake","method":"tools/call","params":{"name":"x"}}';
      const [answer] = responsesOf(
        await world.ask(request("/bridge", "", body).replace(ANN, token).replace(", text/event-stream", "")),
      );
      return JSON.parse(answer!.body).content[0].text as string;
    };
    const [ann, bob, again] = [await pidOf(ANN), await pidOf(bobsToken), await pidOf(ANN)];
    assertNotEquals(ann, bob);
    assertEquals(again, ann);
    await cast.assemble();
    assertEquals(cast.idOf("bob"), bobs, "bob's session lives");
    await world.check();
  },
});

Deno.test({
  name: "Connections up to the system's bound keep others out while they are there, and end nothing",
  ignore: !LINUX,
  fn: async () => {
    const main = `${PROJECT}main.ts`;
    await using gateway = await Gateway.start({
      servers: { fake: { command: "sh", args: [...TINY.args] } },
      // What the gateway may have, with those who connect.
      program: ["sh", "-c", 'ulimit -n 150; exec "$0" "$@"', Deno.execPath(), "run", "-A", main],
    });
    const session = await RawSession.open(gateway, "fake");
    const { port } = new URL(gateway.origin);
    const sockets: Deno.TcpConn[] = [];
    for (let n = 0; n < 300; n++) {
      try {
        sockets.push(...await connect(Number(port), 1));
      } catch {
        // There is no room.
        await passMs(10);
      }
    }
    assertEquals(gateway.exitCode, undefined, gateway.output);
    close(sockets);
    await eventually(() => handlesOf(gateway.pid) < 100, "the connections to be given back");
    let serves = false;
    for (let tries = 0; tries < 100 && !serves; tries++) {
      await passMs(50);
      serves = await fetch(`${gateway.origin}/health`).then((response) => response.text()).then(
        () => true,
        () => false,
      );
    }
    assertEquals([await session.ping(), await session.delete()], [200, 204]);
    // One that takes a process.
    const another = await RawSession.open(gateway, "fake");
    assertEquals(await another.delete(), 204);
    assertEquals(gateway.linesLike(/\[ERROR\]/), []);
    assertEquals(gateway.linesLike(/\[WARN\] No connection can be taken, which is tried again: /).length, 1);
    assertEquals(await gateway.stop(), 0);
  },
});
