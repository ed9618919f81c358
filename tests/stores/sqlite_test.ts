/**
 * What only the session store in an SQLite file has to show: crashes, full disks, and files that are not what they
 * should be. What is true of all databases is in `database_test.ts`.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { isDeepStrictEqual } from "node:util";
import { type DatabaseKind, openDatabase } from "../../stores/database.ts";
import { LEDGER, SqliteLedger } from "../../stores/ledger.ts";
import { SqliteStore } from "../../stores/sqlite.ts";
import { SESSIONS, SESSIONS_FILE, SQL } from "../../stores/sqlite_schema.ts";
import { StoreError } from "../../stores/store_error.ts";
import { assertRefused, Folder, MAY_MOUNT, mountTmpfs } from "./helpers.ts";
import { Model } from "./model.ts";
import { contentOf, endOf, sessionOf } from "./sessions.ts";
import { lastContentOf, write, type Written } from "./writes.ts";

const TOMBSTONES = 100;

function open(folder: Folder, below = ""): SqliteStore {
  return new SqliteStore({ path: folder.file(below + SESSIONS_FILE), tombstones: TOMBSTONES });
}

/** What a database says, through a connection of its own. */
function ask(path: string, sql: string): unknown {
  using database = new DatabaseSync(path);
  return Object.values(database.prepare(sql).get() ?? {})[0];
}

/** Does the writes of some numbers. */
function writeAll(store: Written, from: number, to: number): void {
  for (let number = from; number < to; number++) write(store, number);
}

Deno.test("Its files are for their owner only", () => {
  using folder = new Folder();
  const store = open(folder);
  store.add(sessionOf(1));
  for (const suffix of ["", "-wal", "-shm"]) {
    const { mode } = Deno.statSync(folder.file(SESSIONS_FILE + suffix));
    assertEquals((mode! & 0o777).toString(8), "600", suffix);
  }
  store.close();
});

Deno.test("No id and no digest in hexadecimal is in the file", () => {
  using folder = new Folder();
  const store = open(folder);
  const digest = crypto.getRandomValues(new Uint8Array(32)).toHex();
  store.add(sessionOf(1, { digest }));
  store.close();
  assert(!new TextDecoder("latin1").decode(Deno.readFileSync(folder.file(SESSIONS_FILE))).includes(digest));
});

Deno.test("What was written before a SIGKILL is there, again and again, and the file is whole", async () => {
  using folder = new Folder();
  let from = 0;
  for (const writes of [1, 400, 900]) {
    const done = await writeUntilKilled(folder, from, writes);
    assert(done >= from + writes, `${done}`);
    const found = open(folder);
    const content = contentOf(found);
    found.close();
    // It may have been killed after a write and before it could say so.
    const [said, unsaid] = [new Model({ tombstones: TOMBSTONES }), new Model({ tombstones: TOMBSTONES })];
    writeAll(said, 0, done);
    writeAll(unsaid, 0, done + 1);
    const isUnsaid = !isDeepStrictEqual(content, contentOf(said));
    assertEquals(content, contentOf(isUnsaid ? unsaid : said));
    assertEquals(ask(folder.file(SESSIONS_FILE), "PRAGMA integrity_check"), "ok");
    from = isUnsaid ? done + 1 : done;
  }
});

/** @returns How many writes are done for certain, those before `from` included. */
async function writeUntilKilled(folder: Folder, from: number, writes: number): Promise<number> {
  const script = new URL("writer_child.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-lock", script, folder.path, `${from}`],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += text;
    if (said.split("\n").length <= writes) continue;
    try {
      child.kill("SIGKILL");
    } catch {
      // It was before.
    }
  }
  assertEquals((await child.status).signal, "SIGKILL");
  return Number(said.split("\n").at(-2)) + 1;
}

Deno.test("Texts that no session has any more are gone at the next opening, and those in use stay", () => {
  using folder = new Folder();
  const path = folder.file(SESSIONS_FILE);
  const count = () => ask(path, "SELECT count(*) FROM texts");
  let store = open(folder);
  const texts = (n: number) => ({ params: `{"p":${n}}`, result: `{"r":${n % 2}}`, limits: `{"p":${n % 3}}` });
  const keys = Array.from({ length: 10 }, (_, n) => store.add(sessionOf(n, texts(n))));
  // 10 of the params, 3 of which are limits too, and 2 results.
  assertEquals(count(), 12);
  store.end(keys.slice(1).map((key) => endOf(key, key)));
  store.close();
  store = open(folder);
  assertEquals(count(), 2);
  assertEquals(store.page(0, 99), [{ ...sessionOf(0, texts(0)), key: keys[0]! }]);
  // What was removed comes back with the next that brings it.
  const again = store.add(sessionOf(5, texts(5)));
  assertEquals(store.get(again)!.params, '{"p":5}');
  store.close();
});

Deno.test("What grows with the number of sessions reads an index alone, and the rest looks rows up", () => {
  using folder = new Folder();
  open(folder).close();
  using database = new DatabaseSync(folder.file(SESSIONS_FILE));
  const planOf = (sql: string) =>
    database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all().map(({ detail }) => String(detail))
      .filter((detail) => /^(SCAN|SEARCH) (sessions|streams|tombstones)/.test(detail)).join("; ");
  for (const name of ["counts", "collect"] as const) {
    assertEquals(planOf(SQL[name]), "SCAN sessions USING COVERING INDEX sessions_owner", name);
  }
  for (
    const name of [
      "get",
      "find",
      "page",
      "update",
      "end",
      "takeStreams",
      "saveStreams",
      "endStreams",
    ] as const
  ) {
    assert(
      /^SEARCH \w+ USING (INTEGER PRIMARY KEY|INDEX sqlite_autoindex_sessions_1)/.test(planOf(SQL[name])),
      name,
    );
  }
  assertEquals(planOf(SQL.tombstones), "SCAN tombstones");
  assert(planOf(SQL.forgetTombstone).startsWith("SEARCH tombstones USING INDEX"));
});

Deno.test("A text that is missing is damage, told with the file and what to do", () => {
  using folder = new Folder();
  let store = open(folder);
  const key = store.add(sessionOf(1));
  store.close();
  store = open(folder);
  ask(folder.file(SESSIONS_FILE), "DELETE FROM texts RETURNING id");
  const path = folder.file(SESSIONS_FILE);
  const words = ["is damaged", "text 1 is missing", "move it away"];
  for (const look of [() => store.get(key), () => store.page(0, 1)]) {
    assertRefused(look, { problem: "damaged", path, words });
  }
  store.close();
});

Deno.test("A file of this schema is taken to a later one with all that it holds, and refused by this one then", () => {
  using folder = new Folder();
  const path = folder.file(SESSIONS_FILE);
  const model = new Model({ tombstones: TOMBSTONES });
  let store = open(folder);
  for (const written of [store, model]) writeAll(written, 0, 100);
  store.close();
  const version = SESSIONS.migrations.length;
  const later: DatabaseKind = {
    ...SESSIONS,
    migrations: [
      ...SESSIONS.migrations,
      "ALTER TABLE sessions ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'",
    ],
  };
  openDatabase(path, later).close();
  assertEquals(
    ask(path, "SELECT count(*) FROM sessions WHERE colour = 'none'"),
    model.page(0, Infinity).length,
  );
  const before = folder.content();
  assertRefused(() => open(folder), {
    problem: "newer",
    path,
    words: [
      `has schema ${version + 1}`,
      `up to ${version}`,
      "left as it is",
      "without the sessions that an earlier",
    ],
  });
  assertEquals(folder.content()[SESSIONS_FILE], before[SESSIONS_FILE]);
  // Taken back, it is as it was.
  ask(path, "ALTER TABLE sessions DROP COLUMN colour");
  ask(path, `PRAGMA user_version = ${version}`);
  store = open(folder);
  assertEquals(lastContentOf(store), lastContentOf(model));
  store.close();
});

// [what it is, what is done to a good file].
const DAMAGE: [string, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>][] = [
  ["garbage in the middle", (bytes) => {
    const middle = Math.floor(bytes.length / 2);
    crypto.getRandomValues(bytes.subarray(middle, middle + 8_192));
    return bytes;
  }],
  ["its first half", (bytes) => bytes.slice(0, bytes.length / 2)],
  ["no last byte", (bytes) => bytes.slice(0, -1)],
  ["no header", (bytes) => bytes.fill(0, 0, 100)],
];
for (const [what, damage] of DAMAGE) {
  Deno.test(`A file of which there is ${what} is refused and left as it is`, () => {
    using folder = new Folder();
    const store = open(folder);
    writeAll(store, 0, 500);
    store.close();
    const path = folder.file(SESSIONS_FILE);
    Deno.writeFileSync(path, damage(Deno.readFileSync(path)));
    const before = folder.content();
    assertRefused(() => open(folder), {
      problem: "damaged",
      path,
      words: ["left as it is", "move it away", "to start without the sessions that an earlier run left"],
    });
    assertEquals(folder.content()[SESSIONS_FILE], before[SESSIONS_FILE]);
  });
}

Deno.test("Another database of the gateway's in its place is refused, and left as it is", () => {
  using folder = new Folder();
  const path = folder.file(SESSIONS_FILE);
  new SqliteLedger({ path, boot: undefined, startedAt: 0 }).close();
  const before = folder.content();
  assertRefused(() => open(folder), { problem: "foreign", path, words: ["database of something else"] });
  assertEquals(folder.content()[SESSIONS_FILE], before[SESSIONS_FILE]);
  openDatabase(path, LEDGER).close();
});

Deno.test({
  name: "A file that may not be written is refused with what to do, and serves again once it may",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    using mounted = mountTmpfs(folder.file("mounted"), "size=1m");
    let store = open(folder, "mounted/");
    const key = store.add(sessionOf(1));
    store.close();
    const path = folder.file(`mounted/${SESSIONS_FILE}`);
    mounted.remount("ro");
    const before = Deno.readFileSync(path);
    assertRefused(() => open(folder, "mounted/"), {
      problem: "notWritable",
      path,
      words: ["Read-only file system", "let the user who runs the gateway write there"],
    });
    assertEquals(Deno.readFileSync(path), before);
    mounted.remount("rw");
    store = open(folder, "mounted/");
    assertEquals(store.get(key)?.key, key);
    store.close();
  },
});

/** Takes all the room there is, some bytes aside. */
function fill(path: string, leftBytes: number): void {
  try {
    Deno.writeFileSync(path, new Uint8Array(32 * 1024 * 1024));
  } catch {
    // That is what it is for.
  }
  Deno.truncateSync(path, Deno.statSync(path).size - leftBytes);
}

Deno.test({
  name: "A disk that fills up fails each write as a whole, and takes all of them once there is room",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    using _mounted = mountTmpfs(folder.file("mounted"), "size=16m");
    const filler = folder.file("mounted/filler");
    const path = folder.file(`mounted/${SESSIONS_FILE}`);
    const model = new Model({ tombstones: TOMBSTONES });
    let store = open(folder, "mounted/");
    for (const written of [store, model]) writeAll(written, 0, 200);
    const keys = model.page(0, Infinity).map(({ key }) => key);
    const big = (name: string) => `{"${name}":"${"x".repeat(150_000)}"}`;
    const WRITES: [string, (written: Written) => unknown][] = [
      ["add", (written) => written.add(sessionOf(10_000, { params: big("p"), result: big("r") }))],
      ["update", (written) => {
        const last = { key: keys.at(-1)!, lastUsed: 2, state: big("s") };
        written.update([...keys.map((key) => ({ key, lastUsed: 1, state: `{"key":${key}}` })), last]);
      }],
      ["end", (written) => {
        written.end(keys.slice(0, 50).map((key, n) => endOf(key, key, n < 49 ? "{}" : big("t"))));
      }],
      ["saveStreams", (written) => written.saveStreams(keys.at(-2)!, big("e"))],
      ["takeStreams", (written) => written.takeStreams(keys.at(-2)!)],
      ["page", (written) => written.page(0, 10)],
    ];
    const failed = new Set<string>();
    for (const leftBytes of [0, 4_096, 40_960, 122_880]) {
      fill(filler, leftBytes);
      for (const [name, attempt] of [...WRITES, ...WRITES]) {
        if (!failsFor(() => attempt(store), path)) attempt(model);
        else failed.add(name);
        assertEquals(contentOf(store), contentOf(model), `${name} with ${leftBytes} left`);
      }
      Deno.removeSync(filler);
    }
    assertEquals([...failed], ["add", "update", "end", "saveStreams"]);
    for (const [, attempt] of WRITES) assertEquals(attempt(store), attempt(model));
    for (const written of [store, model]) written.end([endOf(keys[0]!, 1)]);
    assertEquals(contentOf(store), contentOf(model));
    store.close();
    store = open(folder, "mounted/");
    assertEquals(lastContentOf(store), lastContentOf(model));
    assertEquals(ask(path, "PRAGMA integrity_check"), "ok");
    store.close();
  },
});

Deno.test({
  name: "A write that the system refuses fails as a whole, and later ones are taken once it lets them",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using folder = new Folder();
    const script = new URL("limited_child.ts", import.meta.url).pathname;
    // The signal would end it before it could tell.
    const limited = 'trap "" XFSZ; exec "$0" run -A --no-lock "$1" "$2"';
    const { success, stdout, stderr } = await new Deno.Command("sh", {
      args: ["-c", limited, Deno.execPath(), script, folder.path],
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const told = new TextDecoder().decode(stdout);
    assert(told.startsWith(`${folder.file(SESSIONS_FILE)} cannot be used (disk I/O error): see that`), told);
    assertEquals(ask(folder.file(SESSIONS_FILE), "PRAGMA integrity_check"), "ok");
  },
});

Deno.test("What another program holds is refused as a whole, and written once that lets go", () => {
  using folder = new Folder();
  const path = folder.file(SESSIONS_FILE);
  const store = open(folder);
  const key = store.add(sessionOf(1));
  using other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  const writes = [
    () => store.add(sessionOf(2, { params: '{"new":1}' })),
    () => store.update([{ key, lastUsed: 1, state: "[1]" }]),
    () => store.end([endOf(key, 1)]),
  ];
  for (const attempt of writes) assertRefused(attempt, { problem: "busy", path, words: ["another program"] });
  assertEquals(contentOf(store).sessions, [{ ...sessionOf(1), key }]);
  other.exec("ROLLBACK");
  for (const attempt of writes) attempt();
  assertEquals(contentOf(store).sessions.map(({ params }) => params), ['{"new":1}']);
  store.close();
});

/** Whether there was no room for something; anything else goes on. */
function failsFor(attempt: () => unknown, path: string): boolean {
  try {
    attempt();
    return false;
  } catch (error) {
    if (!(error instanceof StoreError) || error.problem !== "full") throw error;
    assertEquals(error.path, path);
    assert(error.message.includes("no space is left"), error.message);
    return true;
  }
}

Deno.test({
  name: "Where there is no room to remove what nobody asks for the file opens all the same",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    using _mounted = mountTmpfs(folder.file("mounted"), "size=4m");
    const path = folder.file(`mounted/${SESSIONS_FILE}`);
    const filler = folder.file("mounted/filler");
    let store = open(folder, "mounted/");
    const long = "x".repeat(5_000);
    const keys = Array.from(
      { length: 100 },
      (_, n) => store.add(sessionOf(n, { params: `["${long}",${n}]` })),
    );
    store.end(keys.slice(1).map((key, n) => endOf(key, n)));
    store.close();
    fill(filler, 80 * 1024);
    store = open(folder, "mounted/");
    assertEquals(ask(path, "SELECT count(*) FROM texts"), 102);
    assertEquals([store.get(keys[0]!)!.key, store.tombstones(999).length], [keys[0]!, 99]);
    assertThrows(() => store.saveStreams(keys[0]!, long.repeat(50)), StoreError, "no space is left");
    Deno.removeSync(filler);
    store.close();
    store = open(folder, "mounted/");
    assertEquals(ask(path, "SELECT count(*) FROM texts"), 3);
    assertEquals(contentOf(store).sessions.map(({ key }) => key), [keys[0]!]);
    store.close();
  },
});
