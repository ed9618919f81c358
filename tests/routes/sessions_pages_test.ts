/**
 * Pages that stay right while sessions come, go and are used.
 *
 * To repeat a run: `FC_SEED=… deno test -A tests/routes/sessions_pages_test.ts`.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import * as fc from "fast-check";
import type { Session } from "../../actors/supervisor.ts";
import { FirstOf } from "../../routes/session_pages.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { post, request, SERVER } from "../fakes/harness.ts";
import { Monitoring, OTHER } from "../fakes/monitoring.ts";

const RUNS = 1_000;
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);

/** What happens between two pages. `who` picks a session, and wraps. */
type Event =
  | { readonly do: "open"; readonly other: boolean }
  | { readonly do: "end" | "use" | "call" | "answer" | "extend"; readonly who: number }
  | { readonly do: "advance"; readonly ms: number };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ do: fc.constant("open" as const), other: fc.boolean() }),
  fc.record({
    do: fc.constantFrom(
      "end" as const,
      "use" as const,
      "call" as const,
      "answer" as const,
      "extend" as const,
    ),
    who: fc.nat(30),
  }),
  fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 30_000 }) }),
);

const listing = fc.record({
  sort: fc.constantFrom("openedAt", "idleMs", "deadline", "ended:endedAt", "ended:idleMs", "ended:openedAt"),
  order: fc.constantFrom("asc", "desc"),
  limit: fc.integer({ min: 1, max: 4 }),
  serverId: fc.constantFrom(undefined, SERVER, OTHER),
  minIdleMs: fc.constantFrom(undefined, 5_000),
});

/** Sessions, and what becomes of them. */
class Party {
  readonly sessions: Session[] = [];
  readonly #answers = new Map<Session, () => void>();
  #requests = 0;

  constructor(readonly monitoring: Monitoring) {}

  async happen(event: Event): Promise<void> {
    const { monitoring, sessions } = this;
    if (event.do === "open") {
      const { session } = await monitoring.open({ serverId: event.other ? OTHER : SERVER });
      return void sessions.push(session);
    }
    if (event.do === "advance") return await monitoring.harness.clock.advance(event.ms);
    if (sessions.length === 0) return;
    const at = event.who % sessions.length;
    const session = sessions[at]!;
    const backend = monitoring.harness.backends[at]!;
    switch (event.do) {
      case "end":
        return void session.end("admin");
      case "use":
      case "call": {
        if (this.#answers.has(session) || session.state !== "active") return;
        const id = ++this.#requests;
        await post(session, request("tools/call", { id }));
        this.#answers.set(session, () => backend.answer(id));
        return event.do === "use" ? this.#answer(session) : undefined;
      }
      case "answer":
        return this.#answer(session);
      case "extend":
        return void session.extend(400_000, "a test");
    }
  }

  #answer(session: Session): void {
    this.#answers.get(session)?.();
    this.#answers.delete(session);
  }

  end(): void {
    for (const answer of this.#answers.values()) answer();
  }
}

Deno.test(`Who is there from the first page to the last is on exactly one (${RUNS} runs, seed ${SEED})`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 30, size: "max" }),
      listing,
      fc.array(fc.array(event, { maxLength: 4, size: "max" }), { maxLength: 12, size: "max" }),
      async (before, { sort, order, limit, serverId, minIdleMs = 0 }, between) => {
        await using monitoring = await Monitoring.start();
        const party = new Party(monitoring);
        for (const event of before) await party.happen(event);
        const ended = sort.startsWith("ended:");
        const key = sort.replace("ended:", "");
        const query = new URLSearchParams({ sort: key, order, limit: String(limit) });
        if (ended) query.set("state", "ended");
        if (serverId !== undefined) query.set("serverId", serverId);
        if (minIdleMs > 0) query.set("minIdleMs", String(minIdleMs));

        const isMeant = (session: Session) =>
          (session.state === "ended") === ended && session.idleMs >= minIdleMs &&
          (serverId === undefined || session.serverId === serverId);
        const throughout = new Set(party.sessions.filter(isMeant));
        /** How they lie at the first page. */
        const keys = new Map(party.sessions.map((session) => [session.handle, keyOf(session, key)]));
        const seen: string[] = [];
        for (let page = 0;; page++) {
          const pending = monitoring.get(`/sessions?${query}`);
          // The first of what happens meets the page while it is made; the first page settles the order.
          if (page === 0) await pending;
          for (const event of between[page] ?? []) {
            await party.happen(event);
            for (const session of throughout) if (!isMeant(session)) throughout.delete(session);
          }
          const { status, text, body } = await pending;
          assertEquals(status, 200, text);
          assert(body.sessions.length <= limit);
          seen.push(...body.sessions.map(({ id }: { id: string }) => id));
          if (body.nextCursor === null) break;
          query.set("cursor", body.nextCursor);
        }
        const times = (handle: string) => seen.filter((id) => id === handle).length;
        for (const handle of seen) assertEquals(times(handle), 1, `${handle} is doubled`);
        for (const { handle } of throughout) assertEquals(times(handle), 1, `${handle} is skipped`);
        // And in order, as it was at the first page.
        const sign = order === "asc" ? 1 : -1;
        const stayed = seen.filter((id) => throughout.values().some(({ handle }) => handle === id));
        for (const [at, id] of stayed.entries()) {
          const [a, b] = [keys.get(stayed[at - 1] ?? id)!, keys.get(id)!];
          assert(a === b || Math.sign(b - a) === sign, `${a} before ${b}`);
        }
        party.end();
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
});

function keyOf(session: Session, sort: string): number {
  if (sort === "idleMs") return session.idleMs;
  if (sort === "openedAt") return session.account.timeline.openedAt;
  if (sort === "endedAt") return session.verdict?.at ?? 0;
  return session.inFlight > 0 ? Infinity : session.verdict?.instant ?? session.deadline;
}

Deno.test("The first of many are those that sorting all of them gives", () => {
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.oneof(fc.nat(20), fc.constant(Infinity)), fc.nat(9).map(String)), { maxLength: 60 }),
    fc.integer({ min: 1, max: 8 }),
    fc.constantFrom("asc" as const, "desc" as const),
    fc.option(fc.record({ key: fc.nat(20), id: fc.nat(9).map(String) }), { nil: undefined }),
    (entries, count, order, after) => {
      const unique = [
        ...new Map(entries.map(([key, id]) => [`${key} ${id}`, { key, id, item: 0 }])).values(),
      ];
      const first = new FirstOf<number>({ count, order, after });
      for (const { key, id, item } of unique) first.offer(key, id, item);
      const sign = order === "asc" ? 1 : -1;
      type Place = { key: number; id: string };
      const compare = (a: Place, b: Place) =>
        sign * (a.key === b.key ? a.id.localeCompare(b.id) : a.key < b.key ? -1 : 1);
      const expected = unique.toSorted(compare)
        .filter((entry) => after === undefined || compare(entry, after) > 0);
      assertEquals(first.take(), expected.slice(0, count));
      assertEquals(first.offered, unique.length);
    },
  ));
});

Deno.test("The last page has no cursor, also where it is full", async () => {
  await using monitoring = await Monitoring.start();
  for (let n = 0; n < 4; n++) await monitoring.open();
  for (const [limit, pages] of [[1, 4], [2, 2], [3, 2], [4, 1], [5, 1]] as const) {
    for (const sort of ["openedAt", "idleMs", "deadline"]) {
      let [count, cursor] = [0, ""];
      do {
        const { body } = await monitoring.get(`/sessions?limit=${limit}&sort=${sort}${cursor}`);
        assertEquals(body.total, 4);
        count++;
        cursor = body.nextCursor === null ? "" : `&cursor=${body.nextCursor}`;
      } while (cursor !== "");
      assertEquals(count, pages, `${sort}, ${limit} at a time`);
    }
  }
});

Deno.test("A page that is read again is the same page, and its size may change on the way", async () => {
  await using monitoring = await Monitoring.start();
  for (let n = 0; n < 6; n++) {
    await monitoring.open();
    await monitoring.harness.clock.advance(10);
  }
  const all = await monitoring.handles("/sessions");
  for (const [sort, order] of [["openedAt", "asc"], ["deadline", "asc"], ["idleMs", "desc"]]) {
    const query = `/sessions?sort=${sort}&order=${order}`;
    const { nextCursor } = (await monitoring.get(`${query}&limit=2`)).body;
    const next = `${query}&cursor=${nextCursor}`;
    assertEquals(await monitoring.handles(`${next}&limit=3`), all.slice(2, 5));
    assertEquals(await monitoring.handles(`${next}&limit=1`), all.slice(2, 3));
    assertEquals(await monitoring.handles(next), all.slice(2));
  }
});

Deno.test("A listing whose order moves is kept for two minutes from page to page, and then it is over", async () => {
  await using monitoring = await Monitoring.start();
  const { clock } = monitoring.harness;
  for (let n = 0; n < 4; n++) await monitoring.open();
  const query = "/sessions?limit=1&sort=idleMs";
  let { nextCursor } = (await monitoring.get(query)).body;
  for (let page = 0; page < 2; page++) {
    await clock.advance(120_000);
    const { status, body } = await monitoring.get(`${query}&cursor=${nextCursor}`);
    assertEquals(status, 200);
    ({ nextCursor } = body);
  }
  await clock.advance(120_001);
  const { status, body } = await monitoring.get(`${query}&cursor=${nextCursor}`);
  assertEquals([status, body.detail], [
    410,
    "This listing is no longer kept; begin it again without cursor",
  ]);
});

Deno.test("Those that end while a listing is read leave no gap in its pages", async () => {
  await using monitoring = await Monitoring.start();
  const opened = [];
  for (let n = 0; n < 8; n++) {
    opened.push(await monitoring.open());
    await monitoring.harness.clock.advance(10);
  }
  for (const sort of ["openedAt", "deadline"]) {
    const query = `/sessions?limit=2&sort=${sort}`;
    const first = (await monitoring.get(query)).body;
    const left = opened.filter(({ session }) => session.state === "active").slice(2);
    const [ended, ...others] = left;
    // Its server takes its time.
    ended!.backend.stubborn = true;
    void ended!.session.end("admin");
    await settle();
    const { body } = await monitoring.get(`${query}&cursor=${first.nextCursor}`);
    assertEquals(
      body.sessions.map(({ id }: { id: string }) => id),
      others.slice(0, 2).map(({ handle }) => handle),
    );
    assertEquals([first.total, body.total], [left.length + 2, left.length + 1]);
  }
});

Deno.test("A principal's listings push out its own oldest, and nobody else's", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  for (const principal of ["ann", "ann", "bob", "bob"]) await monitoring.open({ principal });
  const query = "/sessions?limit=1&sort=deadline";
  const begin = async (as: "ann" | "bob" | "admin") => (await monitoring.get(query, as)).body.nextCursor;
  const statusOf = async (as: "ann" | "bob" | "admin", cursor: string) =>
    (await monitoring.get(`${query}&cursor=${cursor}`, as)).status;
  const [admins, bobs] = [await begin("admin"), await begin("bob")];
  const anns = [];
  for (let n = 0; n < 20; n++) anns.push(await begin("ann"));
  assertEquals(await statusOf("admin", admins), 200);
  assertEquals(await statusOf("bob", bobs), 200);
  const statuses = await Promise.all(anns.map((cursor) => statusOf("ann", cursor)));
  assertEquals(statuses, [...Array(16).fill(410), ...Array(4).fill(200)]);
});

Deno.test("A cursor belongs to its listing and its client", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  for (const principal of ["ann", "ann", "bob", "bob"]) await monitoring.open({ principal });
  for (const sort of ["openedAt", "idleMs"]) {
    const { nextCursor } = (await monitoring.get(`/sessions?limit=1&sort=${sort}`, "ann")).body;
    assertMatch(nextCursor, /^[A-Za-z0-9_-]{1,200}$/);
    const cursor = `cursor=${nextCursor}`;
    assertEquals((await monitoring.get(`/sessions?${cursor}&sort=${sort}&order=asc`, "ann")).status, 200);
    for (
      const [query, as] of [
        [`${cursor}&sort=deadline`, "ann"],
        [`${cursor}&sort=${sort}&order=desc`, "ann"],
        [`${cursor}&sort=${sort}&minIdleMs=1`, "ann"],
        [`${cursor}&sort=${sort}&serverId=${SERVER}`, "ann"],
        [`${cursor}&sort=${sort}`, "bob"],
        [`${cursor}&sort=${sort}`, "admin"],
      ] as const
    ) {
      const { status, body } = await monitoring.get(`/sessions?${query}`, as);
      assertEquals(status, 400, query);
      assertMatch(body.detail, /cursor belongs to another listing/);
    }
  }
});

Deno.test("Pages of thousands stay right while sessions come, go and are used in the middle of one", async () => {
  for (const sort of ["openedAt", "idleMs", "deadline"]) {
    await using monitoring = await Monitoring.start();
    const { clock, supervisor } = monitoring.harness;
    for (let n = 0; n < 2_500; n++) {
      await monitoring.open();
      if (n % 500 === 0) await clock.advance(1);
    }
    const throughout = new Set(supervisor.sessions);
    const query = new URLSearchParams({ sort, limit: "500" });
    const seen: string[] = [];
    let turns = 0;
    let done = false;
    const disturb = () => {
      if (done) return;
      const all = [...supervisor.sessions];
      const [ended, used] = [all[(turns * 37) % all.length]!, all[(turns * 91) % all.length]!];
      void ended.end("admin");
      throughout.delete(ended);
      used.post({ tag: "message", message: request("ping", { id: turns }), reply: new FakeReply() });
      void monitoring.open();
      turns++;
      // Behind the next slice.
      clock.after(0, disturb);
    };
    for (let cursor: string | null = ""; cursor !== null;) {
      if (cursor !== "") query.set("cursor", cursor);
      done = false;
      clock.after(0, disturb);
      const pending = monitoring.get(`/sessions?${query}`).finally(() => done = true);
      const { status, text, body } = await monitoring.patiently(pending);
      assertEquals(status, 200, text);
      seen.push(...body.sessions.map(({ id }: { id: string }) => id));
      cursor = body.nextCursor;
      await clock.advance(1);
    }
    assert(turns > 20, `it was disturbed ${turns} times only`);
    assertEquals(new Set(seen).size, seen.length, "none is doubled");
    const missing = throughout.values().filter(({ handle }) => !seen.includes(handle)).toArray();
    assertEquals(missing.length, 0, "none is skipped");
  }
});
