/**
 * A gateway that was killed: what it left running is ended by the next one, and nothing else is.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { ProcessTable } from "../../backends/process_table.ts";
import { systemClock } from "../../clock.ts";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { MAY_MOUNT, mountTmpfs } from "../stores/helpers.ts";
import { Gateway } from "./gateway.ts";
import { RawSession } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };
const STUBBORN = { stubborn: { ...fixture("stubborn") } };

const processes = new ProcessTable({ clock: systemClock });

/** A folder for one gateway after another. Removed at the end. */
class Folder implements Disposable {
  readonly path = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "sojourn-data-" }));

  get env(): Record<string, string> {
    return { DATA_DIR: this.path };
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Reads, or writes, the ledger. */
  ledger<Result>(use: (ledger: DatabaseSync) => Result): Result {
    const database = new DatabaseSync(this.file("processes.db"));
    try {
      return use(database);
    } finally {
      database.close();
    }
  }

  /** How many rows a table has. */
  count(table: "runs" | "processes"): number {
    return this.ledger((ledger) => Number(ledger.prepare(`SELECT count(*) AS n FROM ${table}`).get()!.n));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** A process that has nothing to do with any gateway. */
class Stranger implements AsyncDisposable {
  readonly #child = new Deno.Command("sleep", { args: ["100000"] }).spawn();
  readonly pid = this.#child.pid;
  readonly startTime = processes.read(this.pid)!.startTime;

  get alive(): boolean {
    return processes.alive(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

/** Takes all room that is left on a small disk. */
function fill(path: string): string {
  try {
    Deno.writeFileSync(path, new Uint8Array(1024 * 1024));
  } catch {
    // That is what it is for.
  }
  return path;
}

/** The handle that the log names a session by. */
function handleOf(gateway: Gateway, serverId: string): string {
  const [line] = gateway.linesLike(new RegExp(`of server ${serverId} opened`));
  return /Session (\w+) of/.exec(line!)![1]!;
}

Deno.test("What a killed gateway left is ended by the next one, with all that it started, and nothing else is", async () => {
  using folder = new Folder();
  await using stranger = await Promise.resolve(new Stranger());
  await using first = await Gateway.start({
    servers: {
      ...ECHO,
      ...STUBBORN,
      daemonizer: { ...fixture("daemonizer"), env: { PIDS_FILE: folder.file("pids") } },
    },
    env: folder.env,
  });
  for (const id of ["echo", "stubborn", "daemonizer"]) await RawSession.open(first, id);
  assertEquals(folder.count("processes"), 3);
  const { pid: stubbornPid } = folder.ledger((ledger) =>
    ledger.prepare("SELECT pid FROM processes WHERE server = 'stubborn'").get() as { pid: number }
  );
  first.kill("SIGKILL");
  await first.exited();
  // The stubborn one with its two children, and what the daemonizer left: the others saw the end of their stdin.
  await first.waitForChildren(4);
  // As if the pid of a server had come into other hands since.
  folder.ledger((ledger) =>
    ledger.prepare(
      "INSERT INTO processes (run, pid, pgrp, start_time, marker, server, session, started_at) " +
        "SELECT id, ?, ?, ?, name || '/999', 'echo', 'reused', 0 FROM runs",
    ).run(stranger.pid, stranger.pid, stranger.startTime - 1)
  );

  await using second = await Gateway.start({ servers: ECHO, env: folder.env });
  // It serves while it ends them.
  const session = await RawSession.open(second, "echo");
  await first.waitForChildren(0);
  await second.waitForLine(
    new RegExp(
      `\\[WARN\\] Ended an orphan of an earlier run: pid ${stubbornPid}, server stubborn, session ${
        handleOf(first, "stubborn")
      }$`,
    ),
  );
  await second.waitForLine(
    new RegExp(`Ended an orphan .* server daemonizer, session ${handleOf(first, "daemonizer")}$`),
  );
  await second.waitForLine(/\[WARN\] Servers of an earlier run still run, ending them: 2$/);
  await second.waitForLine(
    /\[INFO\] Removed 2 ledger entries of an earlier run, of which no process is left$/,
  );
  assertEquals(second.linesLike(/Ended an orphan/).length, 2);
  assertEquals(await session.ping(), 200);
  assert(stranger.alive);
  // Nothing is left of the first one but what the second one has.
  await eventually(() => folder.count("runs") === 1, "the first run to be forgotten");
  assertEquals(folder.count("processes"), 1);

  assertEquals(await second.stop(), 0);
  assertEquals([folder.count("runs"), folder.count("processes")], [0, 0]);
  await using third = await Gateway.start({ servers: ECHO, env: folder.env });
  assertEquals(third.linesLike(/of an earlier run(?! hibernate)|\[WARN\]|\[ERROR\]/), []);
});

Deno.test("A shutdown in the middle of it ends what an earlier run left", async () => {
  using folder = new Folder();
  await using first = await Gateway.start({ servers: STUBBORN, env: folder.env });
  await RawSession.open(first, "stubborn");
  first.kill("SIGKILL");
  await first.exited();
  await using second = await Gateway.start({ servers: ECHO, env: folder.env });
  assertEquals(await second.stop(), 0);
  assertEquals(first.children(), []);
  assertEquals(second.linesLike(/Ended an orphan/).length, 1);
  assertEquals([folder.count("runs"), folder.count("processes")], [0, 0]);
});

Deno.test("A second gateway in the same folder is refused, and the first one goes on", async () => {
  using folder = new Folder();
  await using first = await Gateway.start({ servers: ECHO, env: folder.env });
  const session = await RawSession.open(first, "echo");
  const before = folder.count("processes");

  await using second = Gateway.spawn({ servers: ECHO, env: folder.env });
  assertEquals(await second.exited(), 1);
  assertEquals(second.stderr, [
    `sojourn: ${folder.path} is in use by another gateway (pid ${first.pid}): stop that one, or give this one ` +
    "a folder of its own with DATA_DIR",
  ]);
  assertEquals(second.linesLike(/listens/), []);
  assertEquals(await session.ping(), 200);
  assertEquals([folder.count("processes"), folder.count("runs")], [before, 1]);
});

Deno.test("However a gateway ends, the next one can start at once", async () => {
  using folder = new Folder();
  for (const signal of ["SIGKILL", "SIGKILL", "SIGTERM"] as const) {
    // A server that outlives it holds no lock.
    await using gateway = await Gateway.start({ servers: STUBBORN, env: folder.env });
    await RawSession.open(gateway, "stubborn");
    gateway.kill(signal);
    await gateway.exited();
    await using next = await Gateway.start({ servers: STUBBORN, env: folder.env });
    assertEquals(next.linesLike(/\[ERROR\]/), []);
    assertEquals(await next.stop(), 0);
    assertEquals(gateway.children(), []);
  }
});

Deno.test("A child is in the ledger when its server reads its first byte, and out of it when it is gone", async () => {
  using folder = new Folder();
  await using gateway = await Gateway.start({ servers: ECHO, env: folder.env });
  const sessions = await Promise.all(Array.from({ length: 5 }, () => RawSession.open(gateway, "echo")));
  const pids = await Promise.all(sessions.map(async (session) => Number(await session.text("pid"))));
  const rows = folder.ledger((ledger) =>
    ledger.prepare("SELECT pid, pgrp, start_time, server, session FROM processes ORDER BY pid").all()
  );
  assertEquals(
    rows.map((row) => ({ ...row, session: String(row.session).length })),
    [...pids].sort((a, b) => a - b).map((pid) => ({
      pid,
      pgrp: pid,
      start_time: processes.read(pid)!.startTime,
      server: "echo",
      session: 12,
    })),
  );
  await Promise.all(sessions.map((session) => session.delete()));
  await eventually(() => folder.count("processes") === 0, "an empty ledger");
});

Deno.test("Nobody else may read the data folder that the gateway makes", async () => {
  await using gateway = await Gateway.start({ servers: ECHO });
  const folder = join(gateway.folder, ".sojourn");
  const modeOf = (path: string) => (Deno.statSync(path).mode! & 0o777).toString(8);
  assertEquals(modeOf(folder), "700");
  const files = Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
  assertEquals(files, [
    "gateway.lock",
    ...["processes.db", "processes.db-shm", "processes.db-wal"],
    ...["sessions.db", "sessions.db-shm", "sessions.db-wal"],
  ]);
  for (const name of files) assertEquals(modeOf(join(folder, name)), "600", name);
  assertEquals(Deno.readTextFileSync(join(folder, "gateway.lock")), `${gateway.pid}\n`);
});

Deno.test({
  name: "A disk that fills up costs no session, and what is then left is still found",
  ignore: !MAY_MOUNT,
  fn: async () => {
    using folder = new Folder();
    const env = { DATA_DIR: folder.file("small"), SESSION_STORE: "memory" };
    using _mounted = mountTmpfs(env.DATA_DIR, "size=256k");
    await using first = await Gateway.start({ servers: STUBBORN, env });
    const filler = fill(folder.file("small/filler"));
    const sessions = await Promise.all([1, 2, 3].map(() => RawSession.open(first, "stubborn")));
    for (const session of sessions) assertEquals(await session.ping(), 200);
    const [told, ...more] = first.linesLike(/\[ERROR\]/);
    assertMatch(told!, /The process ledger cannot be written, .*processes\.db .*no space is left/);
    assertEquals(more, []);
    first.kill("SIGKILL");
    await first.exited();
    Deno.removeSync(filler);

    await using second = await Gateway.start({ servers: ECHO, env });
    await first.waitForChildren(0);
    await eventually(() => second.linesLike(/Ended an orphan/).length === 3, "three orphans");
    assert(second.linesLike(/server unknown, session unknown/).length >= 1);
    assertEquals(await second.stop(), 0);
  },
});

Deno.test({
  name: "A ledger that could not be written catches up at a sweep",
  ignore: !MAY_MOUNT,
  fn: async () => {
    using folder = new Folder();
    const env = { DATA_DIR: folder.file("small"), SESSION_STORE: "memory", STREAM_SESSION_TTL_MS: "2000" };
    using _mounted = mountTmpfs(env.DATA_DIR, "size=256k");
    await using gateway = await Gateway.start({ servers: ECHO, env });
    const filler = fill(folder.file("small/filler"));
    // More than fits into what SQLite has of the disk already.
    await Promise.all([1, 2, 3].map(() => RawSession.open(gateway, "echo")));
    await gateway.waitForLine(/The process ledger cannot be written/);
    Deno.removeSync(filler);
    await gateway.waitForLine(
      /\[INFO\] The process ledger can be written again; [1-9]\d* write\(s\) failed so far/,
    );
  },
});

Deno.test("A ledger that cannot be read stops the start with what to do, and is left as it is", async () => {
  using folder = new Folder();
  const garbage = "no database at all ".repeat(500);
  Deno.writeTextFileSync(folder.file("processes.db"), garbage);
  await using gateway = Gateway.spawn({ servers: ECHO, env: folder.env });
  assertEquals(await gateway.exited(), 1);
  assertEquals(gateway.stderr.length, 1);
  assertStringIncludes(gateway.output, `sojourn: ${folder.file("processes.db")} is damaged`);
  assertMatch(gateway.output, /move it away, .* to start without/);
  assertEquals(Deno.readTextFileSync(folder.file("processes.db")), garbage);
});
