import { assertEquals } from "@std/assert";
import { Lifetime, type LifetimeLimits, PING_TIMEOUT_MS } from "../../actors/lifetime.ts";
import { TtlScale } from "../../actors/pressure.ts";

const LIMITS: LifetimeLimits = {
  idleTtlMs: 300_000,
  implicitTtlMs: 30_000,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: "ping",
  evictable: false,
};
const OPENED = 1_000_000;

function lifetimeOf(
  limits: Partial<LifetimeLimits> = {},
  { implicit = false, random = 0, minTtlMs = 10_000 } = {},
): { lifetime: Lifetime; scale: TtlScale } {
  const scale = new TtlScale({ minTtlMs });
  const lifetime = new Lifetime({
    limits: { ...LIMITS, ...limits },
    scale,
    openedAt: OPENED,
    implicit,
    random: () => random,
  });
  return { lifetime, scale };
}

// [limits, implicit, used, source, TTL].
const TTLS: [Partial<LifetimeLimits>, boolean, boolean, string, number][] = [
  [{}, false, false, "idleTtlMs", 300_000],
  [{}, true, true, "implicitTtlMs", 30_000],
  [{ idleTtlMs: 20_000 }, true, true, "idleTtlMs", 20_000],
  [{ implicitTtlMs: 0 }, true, true, "idleTtlMs", 300_000],
  [{ idleTtlMs: 0 }, false, true, "idleTtlMs", Infinity],
  // Without cleanup nothing expires, implicit or not.
  [{ idleTtlMs: 0 }, true, true, "idleTtlMs", Infinity],
  [{ handshakeTtlMs: 5_000 }, false, false, "handshakeTtlMs", 5_000],
  [{ handshakeTtlMs: 5_000 }, false, true, "idleTtlMs", 300_000],
  [{ handshakeTtlMs: 500_000 }, false, false, "idleTtlMs", 300_000],
  [{ idleTtlMs: 0, handshakeTtlMs: 5_000 }, false, false, "handshakeTtlMs", 5_000],
  [{ idleTtlMs: 0, handshakeTtlMs: 5_000 }, false, true, "idleTtlMs", Infinity],
];
for (const [limits, implicit, used, source, ttlMs] of TTLS) {
  const what = `${implicit ? "implicit" : "ordinary"} session that was ${used ? "" : "never "}used`;
  Deno.test(`TTL of an ${what} with ${JSON.stringify(limits)} is ${ttlMs} ms (${source})`, () => {
    const { lifetime } = lifetimeOf(limits, { implicit });
    if (used) lifetime.use();
    assertEquals<unknown>(lifetime.ttl, { source, configuredMs: ttlMs, effectiveMs: ttlMs });
    assertEquals(lifetime.deadline(OPENED + 7), OPENED + 7 + ttlMs);
  });
}

Deno.test("A claimed implicit session has the ordinary TTL and ends idle", () => {
  const { lifetime } = lifetimeOf({}, { implicit: true });
  assertEquals(lifetime.reasonAt(OPENED), "implicit");
  lifetime.claim();
  assertEquals([lifetime.ttl.source, lifetime.reasonAt(OPENED)], ["idleTtlMs", "idle"]);
});

// [chance, the end of life after so many ms].
for (const [random, afterMs] of [[0, 100_000], [0.5, 95_000], [0.999999, 90_001]] as const) {
  Deno.test(`A maximum lifetime of 100 s ends after ${afterMs} ms at chance ${random}`, () => {
    const { lifetime } = lifetimeOf({ maxLifetimeMs: 100_000 }, { random });
    assertEquals(lifetime.endOfLife, OPENED + afterMs);
  });
}

Deno.test("The earlier of deadline and end of life counts, and gives the reason", () => {
  const { lifetime } = lifetimeOf({ maxLifetimeMs: 400_000 });
  // [last use, deadline, reason], in ms since the opening.
  for (
    const [used, deadline, reason] of [
      [0, 300_000, "idle"],
      [99_999, 399_999, "idle"],
      [100_000, 400_000, "idle"],
      [100_001, 400_000, "max_lifetime"],
      [500_000, 400_000, "max_lifetime"],
    ] as const
  ) {
    assertEquals(lifetime.deadline(OPENED + used), OPENED + deadline);
    assertEquals<string>(lifetime.reasonAt(OPENED + used), reason);
  }
});

Deno.test("Memory pressure moves the deadline at once, and back", () => {
  const { lifetime, scale } = lifetimeOf();
  scale.set(0.9);
  assertEquals(lifetime.deadline(OPENED), OPENED + 155_000);
  assertEquals(lifetime.ttl, { source: "idleTtlMs", configuredMs: 300_000, effectiveMs: 155_000 });
  scale.set(0.99);
  assertEquals(lifetime.deadline(OPENED), OPENED + 10_000);
  scale.set(0.5);
  assertEquals(lifetime.deadline(OPENED), OPENED + 300_000);
});

Deno.test("Neither pressure nor cleanup that is off makes never come", () => {
  const { lifetime, scale } = lifetimeOf({ idleTtlMs: 0 });
  scale.set(1);
  assertEquals(lifetime.deadline(OPENED), Infinity);
});

Deno.test("An extension keeps a session for at least so long, also under pressure, and never shortens its life", () => {
  const { lifetime, scale } = lifetimeOf({ maxLifetimeMs: 1_000_000 });
  lifetime.extend(OPENED + 500_000);
  lifetime.extend(OPENED + 400_000);
  scale.set(1);
  assertEquals(lifetime.deadline(OPENED), OPENED + 500_000);
  assertEquals(lifetime.deadline(OPENED + 495_000), OPENED + 505_000);
  lifetime.extend(OPENED + 5_000_000);
  assertEquals(lifetime.deadline(OPENED), OPENED + 1_000_000, "the end of life stays");
});

Deno.test("A client is asked once for each deadline, and has 10 s to answer", () => {
  const { lifetime } = lifetimeOf();
  const due = lifetime.deadline(OPENED);
  const id = lifetime.ask(OPENED, due + 3);
  assertEquals(id, "sojourn:ping:1");
  assertEquals(lifetime.deadline(OPENED), due + 3 + PING_TIMEOUT_MS);
  assertEquals(lifetime.ask(OPENED, due + 20_000), undefined);
});

Deno.test("An answer to the ping moves the deadline by one TTL, and only the right one does", () => {
  const { lifetime } = lifetimeOf();
  const due = lifetime.deadline(OPENED);
  const id = lifetime.ask(OPENED, due);
  for (const other of ["sojourn:ping:0", "sojourn:ping:2", "sojourn:ping:"]) {
    assertEquals(
      lifetime.answered(other, due + 1),
      true,
      "an answer to a ping of ours is no use of the session",
    );
    assertEquals(lifetime.deadline(OPENED), due + PING_TIMEOUT_MS);
  }
  for (const foreign of ["x", 1, null, "ping:1", "sojourn:initialize"]) {
    assertEquals(lifetime.answered(foreign, due + 1), false);
  }
  assertEquals(lifetime.answered(id, due + 5), true);
  assertEquals(lifetime.deadline(OPENED), due + 5 + LIMITS.idleTtlMs);
  assertEquals(lifetime.ask(OPENED, due + 5 + LIMITS.idleTtlMs), "sojourn:ping:2");
});

Deno.test("A message makes the ping that is out pointless", () => {
  const { lifetime } = lifetimeOf();
  const due = lifetime.deadline(OPENED);
  const id = lifetime.ask(OPENED, due);
  assertEquals(lifetime.deadline(due + 2), due + 2 + LIMITS.idleTtlMs);
  // A late answer is no second sign of life.
  lifetime.ask(due + 2, due + 2 + LIMITS.idleTtlMs);
  assertEquals(lifetime.answered(id, due + 3 + LIMITS.idleTtlMs), true);
  assertEquals(lifetime.deadline(due + 2), due + 2 + LIMITS.idleTtlMs + PING_TIMEOUT_MS);
});

Deno.test("Nobody is asked where streams keep nothing, and at the end of life", () => {
  const { lifetime: expiring } = lifetimeOf({ onOpenStream: "expire" });
  assertEquals(expiring.ask(OPENED, OPENED + LIMITS.idleTtlMs), undefined);
  const { lifetime: old } = lifetimeOf({ maxLifetimeMs: 300_000 });
  assertEquals(old.ask(OPENED, OPENED + 300_000), undefined);
});
