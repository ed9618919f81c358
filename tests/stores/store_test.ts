/**
 * What the contract in `stores/store.ts` says, for every store of the registry.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { NewSession, SessionStore } from "../../stores/store.ts";
import { StoreError } from "../../stores/store_error.ts";
import { contentOf, digestOf, endOf, Kept, sessionOf, sorted, STORE_NAMES } from "./sessions.ts";

/** Every sentence of the contract that one store shows by itself. */
const CASES: [string, (store: SessionStore) => void][] = [
  ["A store that is new holds nothing", (store) => {
    assertEquals(contentOf(store), { sessions: [], counts: [], tombstones: [] });
  }],
  ["Keys are whole numbers from 1 that grow", (store) => {
    assertEquals([1, 2, 3].map((n) => store.add(sessionOf(n))), [1, 2, 3]);
  }],
  ["A key is never given again, not even that of the last session", (store) => {
    const keys = [1, 2, 3].map((n) => store.add(sessionOf(n)));
    store.end(keys.map((key, n) => endOf(key, n)));
    const next = store.add(sessionOf(1));
    assert(next > Math.max(...keys), `${next}`);
  }],
  ["A session is found by its key and by its digest, as it was put down", (store) => {
    const session = sessionOf(1);
    const key = store.add(session);
    assertEquals(store.get(key), { ...session, key });
    assertEquals(store.find(session.digest), { ...session, key });
  }],
  ["What is changed in an object after it was put down changes nothing in the store", (store) => {
    const session: { -readonly [Key in keyof NewSession]: NewSession[Key] } = { ...sessionOf(1) };
    const key = store.add(session);
    const tombstone = { handle: "a", record: "{}" };
    store.end([{ key: 99, tombstone }]);
    const before = store.get(key)!;
    session.state = tombstone.handle = "changed";
    store.update([{ key, lastUsed: 5, state: "{}" }]);
    assertEquals([store.get(key)!.state, store.tombstones(1)[0]!.handle], ["{}", "a"]);
    assertEquals(before.lastUsed, sessionOf(1).lastUsed);
  }],
  ["Equal texts of many sessions are all there, and those that differ stay apart", (store) => {
    const texts = (n: number) => ({ params: `{"p":${n % 2}}`, result: '{"p":1}', limits: `{"l":${n % 3}}` });
    const keys = Array.from({ length: 12 }, (_, n) => store.add(sessionOf(n, texts(n))));
    store.end([endOf(keys[0]!, 0), endOf(keys[5]!, 5)]);
    for (const [n, key] of keys.entries()) {
      const { params, result, limits } = store.get(key) ?? {};
      if (n !== 0 && n !== 5) assertEquals({ params, result, limits }, texts(n));
    }
  }],
  ["A digest that is there already is refused, and nothing changes", (store) => {
    const key = store.add(sessionOf(1));
    const before = contentOf(store);
    const error = assertThrows(
      () => store.add(sessionOf(1, { principal: "bob", params: '{"new":1}' })),
      StoreError,
    );
    assertEquals(error.problem, "duplicate");
    assertStringIncludes(error.message, "holds that already");
    assertEquals(contentOf(store), before);
    // What the refused one would have brought along can come with another.
    const next = store.add(sessionOf(2, { params: '{"new":1}' }));
    assertEquals([store.get(key)!.params, store.get(next)!.params], [sessionOf(1).params, '{"new":1}']);
  }],
  ["The digest of a session that ended can be put down again, under another key", (store) => {
    const key = store.add(sessionOf(1));
    store.saveStreams(key, "[1]");
    store.end([endOf(key, 1)]);
    const again = store.add(sessionOf(1, { principal: "bob" }));
    assert(again !== key);
    assertEquals([store.get(key), store.find(digestOf(1))?.key], [undefined, again]);
    assertEquals(store.takeStreams(again), undefined);
  }],
  ["Changes reach their sessions and nothing else of them", (store) => {
    const keys = [1, 2, 3].map((n) => store.add(sessionOf(n)));
    store.update([
      { key: keys[0]!, lastUsed: 7.25, state: '{"a":1}' },
      { key: keys[2]!, lastUsed: -1, state: '{"c":1}' },
    ]);
    assertEquals(keys.map((key) => store.get(key)), [
      { ...sessionOf(1), key: keys[0]!, lastUsed: 7.25, state: '{"a":1}' },
      { ...sessionOf(2), key: keys[1]! },
      { ...sessionOf(3), key: keys[2]!, lastUsed: -1, state: '{"c":1}' },
    ]);
  }],
  ["Of two changes of one session the later stays", (store) => {
    const key = store.add(sessionOf(1));
    store.update([{ key, lastUsed: 9, state: '{"n":1}' }, { key, lastUsed: 8, state: '{"n":2}' }]);
    assertEquals([store.get(key)!.lastUsed, store.get(key)!.state], [8, '{"n":2}']);
  }],
  ["Changing what is not there changes nothing, and the others of the same call are changed", (store) => {
    const [one, two] = [1, 2].map((n) => store.add(sessionOf(n)));
    store.end([endOf(one!, 1)]);
    store.update([]);
    store.update([{ key: 999, lastUsed: 1, state: "{}" }]);
    const before = contentOf(store);
    store.update([one!, 999, 0, -1, 1.5, NaN].map((key) => ({ key, lastUsed: 1, state: '{"x":1}' })));
    assertEquals(contentOf(store), before);
    store.update([one!, two!, 999].map((key) => ({ key, lastUsed: 1, state: '{"x":1}' })));
    assertEquals(store.page(0, 9).map(({ key, state }) => [key, state]), [[two!, '{"x":1}']]);
  }],
  ["What is not there is not found", (store) => {
    const key = store.add(sessionOf(1));
    for (const other of [0, -1, key + 1, 1.5, NaN, Infinity, -Infinity, 2 ** 53, 1e300]) {
      assertEquals(store.get(other), undefined, `${other}`);
    }
    const digests = [
      "",
      "0",
      digestOf(2),
      digestOf(1).slice(1),
      `${digestOf(1)}0`,
      "g".repeat(64),
      " ".repeat(64),
    ];
    for (const digest of digests) assertEquals(store.find(digest), undefined, digest);
  }],
  ["A digest of another form is a mistake", (store) => {
    for (const digest of ["", "0", "F".repeat(64), "g".repeat(64), "0".repeat(65), `${"0".repeat(63)}é`]) {
      assertThrows(() => store.add(sessionOf(1, { digest })), TypeError, "64 hexadecimal digits");
    }
    assertEquals(contentOf(store).sessions, []);
  }],
  ["An instant that is not finite is a mistake, and then none of the changes is made", (store) => {
    const key = store.add(sessionOf(1));
    for (const lastUsed of [NaN, Infinity, -Infinity]) {
      assertThrows(() => store.add(sessionOf(2, { lastUsed })), TypeError, "lastUsed has to be finite");
      assertThrows(() => store.add(sessionOf(2, { openedAt: lastUsed })), TypeError, "openedAt");
      const changes = [{ key, lastUsed: 1, state: "[]" }, { key, lastUsed, state: "[]" }];
      assertThrows(() => store.update(changes), TypeError, "lastUsed");
    }
    assertEquals(store.page(0, 9), [{ ...sessionOf(1), key }]);
  }],
  ["A page begins after its key, ends at its limit, and is in order of keys", (store) => {
    const keys = [1, 2, 3, 4, 5].map((n) => store.add(sessionOf(n)));
    store.end([endOf(keys[2]!, 3)]);
    const [a, b, c, d, e] = keys as [number, number, number, number, number];
    const pages: [number, number, number[]][] = [
      [0, 0, []],
      [0, 1, [a]],
      [0, 4, [a, b, d, e]],
      [0, 5, [a, b, d, e]],
      [0, Infinity, [a, b, d, e]],
      [a, 2, [b, d]],
      [b, 1, [d]],
      [c, 9, [d, e]],
      [d, 9, [e]],
      [e, 9, []],
      [e + 1, 9, []],
      [-5, 9, [a, b, d, e]],
      [-Infinity, 9, [a, b, d, e]],
      [Infinity, 9, []],
      [NaN, 9, []],
      [a + 0.5, 9, [b, d, e]],
      [0, -1, []],
      [0, NaN, []],
      [0, 1.9, [a]],
      [0, 1e300, [a, b, d, e]],
    ];
    for (const [after, limit, expected] of pages) {
      assertEquals(store.page(after, limit).map(({ key }) => key), expected, `after ${after}, ${limit}`);
    }
  }],
  ["A listing by pages goes on while sessions come and go", (store) => {
    const expected = new Set(Array.from({ length: 300 }, (_, n) => store.add(sessionOf(n))));
    const seen: number[] = [];
    for (let after = 0, n = 0;; n++) {
      const page = store.page(after, 10);
      if (page.length === 0) break;
      seen.push(...page.map(({ key }) => key));
      after = seen.at(-1)!;
      // One that was seen goes, the next that was not goes, and a new one comes, for a while.
      store.end([endOf(page[0]!.key, n), endOf(after + 1, n)]);
      expected.delete(after + 1);
      if (n < 5) expected.add(store.add(sessionOf(1_000 + n)));
    }
    assertEquals(seen, [...expected]);
  }],
  ["Counts are by server and principal, and follow every opening and end", (store) => {
    const owners = ["files alice", "files bob", "memory alice", "files alice", "files alice"];
    const keys = owners.map((owner, n) => {
      const [serverId, principal] = owner.split(" ") as [string, string];
      return store.add(sessionOf(n, { serverId, principal }));
    });
    const counted = () =>
      sorted(store.counts()).map((row) => `${row.serverId} ${row.principal} ${row.count}`);
    assertEquals(counted(), ["files alice 3", "files bob 1", "memory alice 1"]);
    store.update([{ key: keys[0]!, lastUsed: 1, state: "{}" }]);
    store.end([endOf(keys[0]!, 0), endOf(keys[1]!, 1), endOf(999, 2)]);
    assertEquals(counted(), ["files alice 2", "memory alice 1"]);
    store.end(keys.map((key, n) => endOf(key, n)));
    assertEquals(counted(), []);
  }],
  ["Streams are kept in place of what was kept before, and forgotten once taken", (store) => {
    const [one, two] = [1, 2].map((n) => store.add(sessionOf(n))) as [number, number];
    assertEquals(store.takeStreams(one), undefined);
    store.saveStreams(one, "[1]");
    store.saveStreams(one, "[2]");
    store.saveStreams(two, "");
    assertEquals([store.takeStreams(one), store.takeStreams(two)], ["[2]", ""]);
    assertEquals([store.takeStreams(one), store.takeStreams(two)], [undefined, undefined]);
  }],
  ["Streams of a session that is not there are not kept", (store) => {
    const key = store.add(sessionOf(1));
    store.saveStreams(key, "[1]");
    store.end([endOf(key, 1)]);
    for (const gone of [key, key + 1, 0, -1, 1.5, NaN]) {
      store.saveStreams(gone, "[9]");
      assertEquals(store.takeStreams(gone), undefined, `${gone}`);
    }
    assertEquals(store.takeStreams(store.add(sessionOf(2))), undefined);
  }],
  ["A session that ended is not there", (store) => {
    const [one, two] = [1, 2].map((n) => store.add(sessionOf(n))) as [number, number];
    store.saveStreams(one, "[1]");
    store.end([endOf(one, 1)]);
    assertEquals([store.get(one), store.find(digestOf(1)), store.takeStreams(one)], [
      undefined,
      undefined,
      undefined,
    ]);
    assertEquals(store.page(0, 9).map(({ key }) => key), [two]);
    // Once more changes nothing but its tombstone.
    store.end([endOf(one, 1, '{"again":1}')]);
    assertEquals(store.page(0, 9).map(({ key }) => key), [two]);
    assertEquals(store.tombstones(9), [{ handle: "handle1", record: '{"again":1}' }]);
  }],
  ["A tombstone is kept also where its session was not there", (store) => {
    store.end([]);
    store.end([endOf(0, 1), endOf(-1, 2), endOf(1.5, 3), endOf(NaN, 4)]);
    assertEquals(store.tombstones(9).map(({ handle }) => handle), [
      "handle1",
      "handle2",
      "handle3",
      "handle4",
    ]);
  }],
  ["The newest tombstones are kept, and told oldest first", (store) => {
    const handles = (limit: number) => store.tombstones(limit).map(({ handle }) => handle.slice(6)).join("");
    store.end([1, 2, 3].map((n) => endOf(0, n)));
    assertEquals([0, 1, 2, 3, 4, -1, NaN, 2.9, Infinity].map(handles), [
      ...["", "3", "23", "123", "123"],
      ...["", "", "23", "123"],
    ]);
    for (const n of [4, 5, 6]) store.end([endOf(0, n)]);
    assertEquals(handles(9), "23456");
    store.end([7, 8, 9, 0, 1, 2, 3, 4].map((n) => endOf(0, n)));
    assertEquals(handles(9), "01234");
  }],
  ["Of two tombstones of one handle the newer stays, as the newest", (store) => {
    const told = () => store.tombstones(9).map(({ handle, record }) => handle.slice(6) + record).join(" ");
    store.end([1, 2, 3].map((n) => endOf(0, n, "a")));
    store.end([endOf(0, 1, "b")]);
    assertEquals(told(), "2a 3a 1b");
    store.end([endOf(0, 4, "c"), endOf(0, 4, "d"), endOf(0, 5, "e")]);
    assertEquals(told(), "2a 3a 1b 4d 5e");
    store.end([endOf(0, 6, "f")]);
    assertEquals(told(), "3a 1b 4d 5e 6f");
  }],
];

for (const name of STORE_NAMES) {
  for (const [sentence, check] of CASES) {
    Deno.test(`${sentence} (${name})`, () => {
      using kept = new Kept(name);
      check(kept.store);
      // Whatever it was, the next process finds it, or nothing.
      const before = contentOf(kept.store);
      const after = contentOf(kept.reopen());
      assertEquals(after, kept.store.durable ? before : { sessions: [], counts: [], tombstones: [] });
    });
  }

  for (const tombstones of [0, 1]) {
    Deno.test(`With room for ${tombstones} tombstones sessions end as ever (${name})`, () => {
      using kept = new Kept(name, { tombstones });
      const keys = [1, 2, 3].map((n) => kept.store.add(sessionOf(n)));
      kept.store.end(keys.map((key, n) => endOf(key, n)));
      assertEquals(kept.store.page(0, 9), []);
      assertEquals(kept.store.tombstones(9).map(({ handle }) => handle), tombstones ? ["handle2"] : []);
    });
  }

  // [what it is, the text].
  const NAMES: [string, string][] = [
    ["nothing", ""],
    ["a space", " "],
    ["letters of many scripts", "ärger 日本語 \u{1F680}"],
    ["characters that control", "a\0b\n\t\x7f\u2028"],
    ["a quotation mark", '"'],
    ["JSON", '"a\\u0000b"'],
    ["half a character", "\ud83d"],
    ["SQL", "'; DROP TABLE sessions; --"],
    ["10,000 characters", "x".repeat(10_000)],
  ];
  for (const [what, text] of NAMES) {
    Deno.test(`A name may be ${what} (${name})`, () => {
      using kept = new Kept(name);
      const names = { serverId: text, fingerprint: text, principal: text, kind: text, protocolVersion: text };
      const key = kept.store.add(sessionOf(1, names));
      kept.store.add(sessionOf(2, { ...names, protocolVersion: undefined }));
      kept.store.end([{ key: 0, tombstone: { handle: text, record: "{}" } }]);
      if (kept.store.durable) kept.reopen();
      assertEquals(kept.store.get(key), { ...sessionOf(1, names), key });
      assertEquals(kept.store.find(digestOf(2))!.protocolVersion, undefined);
      assertEquals(kept.store.counts(), [{ serverId: text, principal: text, count: 2 }]);
      kept.store.end([{ key: 0, tombstone: { handle: text, record: "{}" } }]);
      assertEquals(kept.store.tombstones(9), [{ handle: text, record: "{}" }]);
    });
  }

  for (const size of [0, 1, 2 ** 18, 2 ** 18 + 1, 5 * 2 ** 20]) {
    Deno.test(`A text of ${size} characters comes back as it was (${name})`, () => {
      using kept = new Kept(name);
      const text = "é".repeat(size);
      const texts = { params: text, result: text, limits: text, state: text };
      const keys = [1, 2].map((n) => kept.store.add(sessionOf(n, texts)));
      kept.store.saveStreams(keys[0]!, text);
      if (kept.store.durable) kept.reopen();
      for (const key of keys) {
        const { params, result, limits, state } = kept.store.get(key)!;
        assert([params, result, limits, state].every((found) => found === text));
      }
      assert(kept.store.takeStreams(keys[0]!) === text);
    });
  }

  for (const instant of [0, -1, 0.5, 1_700_000_000_000.123, Number.MAX_SAFE_INTEGER, -8.64e15, 5e-324]) {
    Deno.test(`The instant ${instant} comes back as it was (${name})`, () => {
      using kept = new Kept(name);
      const key = kept.store.add(sessionOf(1, { openedAt: instant, lastUsed: instant }));
      if (kept.store.durable) kept.reopen();
      assertEquals([kept.store.get(key)!.openedAt, kept.store.get(key)!.lastUsed], [instant, instant]);
    });
  }

  Deno.test(`Closed twice is closed, and nothing else works afterwards (${name})`, () => {
    using kept = new Kept(name);
    const { store } = kept;
    const key = store.add(sessionOf(1));
    store.close();
    store.close();
    const calls: (() => unknown)[] = [
      () => store.add(sessionOf(2)),
      () => store.update([{ key, lastUsed: 1, state: "{}" }]),
      () => store.update([]),
      () => store.get(key),
      () => store.find(digestOf(1)),
      () => store.page(0, 1),
      () => store.counts(),
      () => store.saveStreams(key, "[]"),
      () => store.takeStreams(key),
      () => store.end([endOf(key, 1)]),
      () => store.end([]),
      () => store.tombstones(1),
    ];
    for (const call of calls) {
      const error = assertThrows(call, StoreError, "was closed before", String(call));
      assertEquals(error.problem, "closed");
    }
  });

  Deno.test(`What the next process has to know it knows, where the store is durable (${name})`, () => {
    using kept = new Kept(name, { tombstones: 3 });
    if (!kept.store.durable) return;
    const keys = [1, 2, 3].map((n) => kept.store.add(sessionOf(n)));
    kept.store.saveStreams(keys[0]!, "[1]");
    kept.store.saveStreams(keys[1]!, "[2]");
    kept.store.end([endOf(keys[2]!, 1), endOf(0, 2), endOf(0, 3)]);
    kept.reopen();
    // No key comes again though its session and all after it are gone.
    assert(kept.store.add(sessionOf(3)) > keys[2]!);
    assertEquals(kept.store.takeStreams(keys[0]!), "[1]");
    kept.store.end([endOf(0, 4)]);
    assertEquals(kept.store.tombstones(9).map(({ handle }) => handle), ["handle2", "handle3", "handle4"]);
    kept.reopen(2);
    assertEquals([kept.store.takeStreams(keys[0]!), kept.store.takeStreams(keys[1]!)], [undefined, "[2]"]);
    assertEquals(kept.store.tombstones(9).map(({ handle }) => handle), ["handle3", "handle4"]);
    kept.reopen(0);
    assertEquals(kept.store.tombstones(9), []);
  });
}
