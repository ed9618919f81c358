/**
 * A data folder that has no room, and one whose session store is damaged.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fixture } from "../fixtures/mod.ts";
import { MAY_MOUNT, mountTmpfs } from "../stores/helpers.ts";
import { Gateway, Home, passMs } from "./gateway.ts";
import { initialize, post, RawSession } from "./raw_client.ts";
import { Survivor } from "./survivor.ts";

const SERVERS = { echo: { ...fixture("echo_server") } };
/** Each needs room of its own, because equal texts are kept once. */
const BULK = 2_000;

async function ready(gateway: Gateway): Promise<[number, string]> {
  const response = await fetch(`${gateway.origin}/ready`);
  return [response.status, (await response.json()).status];
}

/** Opens sessions until one is refused, and returns what the refusal was. */
async function openUntilFull(gateway: Gateway, opened: string[]) {
  for (let n = 0; n < 200; n++) {
    const message = initialize();
    const clientInfo = { name: `raw-${n}-${"x".repeat(BULK)}`, version: "1" };
    const answer = await post(gateway.url("echo"), { ...message, params: { ...message.params, clientInfo } });
    if (answer.status !== 200) return answer;
    opened.push(answer.sessionId!);
  }
  throw new Error("No disk is that large.");
}

/** Takes all room that is left. */
function fill(path: string): void {
  const file = Deno.openSync(path, { create: true, write: true, append: true });
  try {
    for (let bytes = 64 * 1024; bytes >= 1;) {
      try {
        if (file.writeSync(new Uint8Array(bytes)) < bytes) bytes >>= 1;
      } catch {
        bytes >>= 1;
      }
    }
  } finally {
    file.close();
  }
}

Deno.test({
  name:
    "Where the disk is full open sessions go on, new ones are refused, and none that was acknowledged is lost",
  ignore: !MAY_MOUNT,
  fn: async () => {
    using home = new Home();
    const env = { DATA_DIR: home.file("small") };
    using _mounted = mountTmpfs(env.DATA_DIR, "size=1m");
    await using first = await Gateway.start({ home, servers: SERVERS, env });
    await using client = await Survivor.to(first.url("echo"));
    const old = await RawSession.open(first, "echo");
    assertEquals(await ready(first), [200, "ready"]);

    const opened: string[] = [];
    fill(home.file("small/filler"));
    const refused = await openUntilFull(first, opened);
    assertEquals(refused.status, 503);
    assertEquals(refused.sessionId, null);
    // Where and why is the operator's to know.
    assertEquals(refused.message!.error!.message, "Sessions cannot be written down at present");
    assertMatch(first.linesLike(/\[ERROR\] Sessions cannot/).join(), /sessions\.db .*no space is left/);
    assertEquals(await ready(first), [503, "store failed"]);
    const response = await fetch(first.url("echo"), {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
      body: JSON.stringify({ jsonrpc: "2.0", ...initialize() }),
    });
    await response.body?.cancel();
    assertEquals([response.status, response.headers.get("retry-after")], [503, "10"]);

    // Who is there notices nothing.
    for (let n = 0; n < 5; n++) {
      assertEquals(await client.text("echo", { message: `full ${n}` }), `full ${n}`);
      assertEquals(await old.ping(), 200);
    }
    await passMs(1_500);
    assertEquals(await client.text("echo", { message: "still" }), "still");
    assertEquals(first.children().length, 2 + opened.length, "A refused opening keeps no process.");

    Deno.removeSync(home.file("small/filler"));
    await first.waitForLine(/Sessions can be written down again/);
    assertEquals(await ready(first), [200, "ready"]);
    const late = await RawSession.open(first, "echo");
    // And full once more, when it is killed.
    fill(home.file("small/filler"));
    assertEquals(await old.ping(), 200);
    first.kill("SIGKILL");
    await first.exited();
    Deno.removeSync(home.file("small/filler"));

    await using second = await Gateway.start({ home, servers: SERVERS, env });
    assertEquals(await client.stubbornly(() => client.text("echo", { message: "after" })), "after");
    for (const sessionId of [old.id, late.id, ...opened]) {
      assertEquals((await post(second.url("echo"), { id: 1, method: "ping" }, { sessionId })).status, 200);
    }
    assertEquals(client.initializes, 1);
    assertEquals(await second.stop(), 0);
    assertEquals(home.processes(), []);
  },
});

Deno.test({
  name: "A gateway that was killed and is started on a full disk says what is wrong, and damages nothing",
  ignore: !MAY_MOUNT,
  fn: async () => {
    using home = new Home();
    const env = { DATA_DIR: home.file("small") };
    using _mounted = mountTmpfs(env.DATA_DIR, "size=1m");
    await using first = await Gateway.start({ home, servers: SERVERS, env });
    const session = await RawSession.open(first, "echo");
    first.kill("SIGKILL");
    await first.exited();
    fill(home.file("small/filler"));
    await using second = Gateway.spawn({ home, servers: SERVERS, env });
    // With luck SQLite needs no more room than it has already.
    const started = await second.waitForLine(/listens on http/).then(() => true, () => false);
    if (!started) {
      assertEquals(await second.exited(), 1);
      assertEquals(second.stderr.length, 1);
      assertMatch(second.stderr[0]!, /^sojourn: .*small.* no space is left .*: make some, or set DATA_DIR/);
    } else assertEquals(await second.stop(), 0);
    Deno.removeSync(home.file("small/filler"));
    await using third = await Gateway.start({ home, servers: SERVERS, env });
    const { status } = await post(third.url("echo"), { id: 1, method: "ping" }, { sessionId: session.id });
    assertEquals(status, 200);
    assertEquals(await third.stop(), 0);
  },
});

/** Ways to spoil a database file. */
const DAMAGE: readonly (readonly [name: string, spoil: (bytes: Uint8Array) => Uint8Array<ArrayBuffer>])[] = [
  ["was cut within a page", (bytes) => new Uint8Array(bytes.subarray(0, Math.floor(bytes.length / 2) + 100))],
  ["is no database", (bytes) => new Uint8Array(bytes.length).fill(0x78)],
  ["has a page of garbage", (bytes) => {
    const spoiled = new Uint8Array(bytes);
    spoiled.fill(0xff, 100, 4_000);
    return spoiled;
  }],
];

for (const [name, spoil] of DAMAGE) {
  Deno.test(`A session store that ${name} stops the start with what to do, and is left as it is`, async () => {
    using home = new Home();
    await using first = await Gateway.start({ home, servers: SERVERS });
    for (let n = 0; n < 3; n++) await RawSession.open(first, "echo");
    // After an orderly end all is in the one file.
    assertEquals(await first.stop(), 0);
    const file = home.file(".sojourn/sessions.db");
    const spoiled = spoil(Deno.readFileSync(file));
    Deno.writeFileSync(file, spoiled);

    await using second = Gateway.spawn({ home, servers: SERVERS });
    assertEquals(await second.exited(), 1);
    assertEquals(second.stderr.length, 1, second.output);
    assertStringIncludes(second.stderr[0]!, `sojourn: ${file} is damaged`);
    assertMatch(second.stderr[0]!, /move it away, .* to start without/);
    assertEquals(second.linesLike(/listens/), []);
    assertEquals(Deno.readFileSync(file), spoiled);

    // What it says to do helps.
    for (const { name } of Array.from(Deno.readDirSync(home.file(".sojourn")))) {
      if (name.startsWith("sessions.db")) Deno.removeSync(home.file(`.sojourn/${name}`));
    }
    await using third = await Gateway.start({ home, servers: SERVERS });
    const session = await RawSession.open(third, "echo");
    assert((await session.ping()) === 200);
    assertEquals(await third.stop(), 0);
  });
}
