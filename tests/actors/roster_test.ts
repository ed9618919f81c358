import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { Events } from "../../actors/events.ts";
import { TtlScale } from "../../actors/pressure.ts";
import { type CommonContext, Roster } from "../../actors/roster.ts";
import { Records } from "../../actors/records.ts";
import { MemoryStore } from "../../stores/memory.ts";
import type { Session } from "../../actors/session.ts";
import { LIMITS } from "../fakes/harness.ts";
import { FakeClock } from "../fakes/fake_clock.ts";

function common(onEnded: (session: Session) => void = () => {}): CommonContext {
  const clock = new FakeClock();
  return {
    clock,
    records: new Records({ store: new MemoryStore({ tombstones: 1 }), clock }),
    scale: new TtlScale({ minTtlMs: 0 }),
    random: () => 0.5,
    events: new Events(),
    slumbers: { hibernations: 0, revivals: 0, failures: 0 },
    onActive: () => {},
    onHibernated: () => {},
    onWake: () => {},
    onServerFailed: () => {},
    onReleased: () => {},
    onOver: () => {},
    onEnded,
  };
}

const backend = { code: "serverNotServed" } as const;

Deno.test("Sessions with equal limits share their context, whatever the order of the limits", () => {
  const roster = new Roster([{ id: "files", limits: LIMITS, backend }], common());
  const served = roster.get("files")!;
  assertStrictEquals(served.context.limits, LIMITS);
  assertStrictEquals(served.contextWith({ ...LIMITS }), served.context);
  const reversed = Object.fromEntries(Object.entries(LIMITS).reverse()) as unknown as typeof LIMITS;
  assertStrictEquals(served.contextWith(reversed), served.context);
});

Deno.test("Sessions with other limits have a context of their own, and the gaps of their server", () => {
  const roster = new Roster([{ id: "files", limits: LIMITS, backend }], common());
  const served = roster.get("files")!;
  for (const changed of [{ idleTtlMs: 1 }, { maxInFlight: Infinity }, { evictable: !LIMITS.evictable }]) {
    const limits = { ...LIMITS, ...changed };
    const context = served.contextWith(limits);
    assert(context !== served.context);
    assertStrictEquals(served.contextWith({ ...limits }), context);
    assertEquals(context.limits, limits);
    assertEquals(context.serverId, "files");
    assertStrictEquals(context.gaps, served.gaps);
  }
});

Deno.test("A server counts its sessions, those with other limits too", () => {
  const ended: Session[] = [];
  const roster = new Roster(
    ["files", "other"].map((id) => ({ id, limits: LIMITS, backend })),
    common((session) => ended.push(session)),
  );
  const served = roster.get("files")!;
  const session = {} as Session;
  served.opened();
  served.opened();
  assertEquals([served.sessions, roster.get("other")!.sessions], [2, 0]);
  served.context.onEnded(session);
  served.contextWith({ ...LIMITS, idleTtlMs: 7 }).onEnded(session);
  assertEquals([served.sessions, ended.length], [0, 2]);
});
