import * as fc from "fast-check";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { Admission, type AdmissionLimits, type Claim } from "../../actors/admission.ts";

const NO_LIMITS: AdmissionLimits = {
  maxSessions: Infinity,
  maxSessionsPerPrincipal: Infinity,
  maxProcesses: Infinity,
};

function claim(principal = "ann", more: Partial<Claim> = {}): Claim {
  return {
    principal,
    serverId: "s",
    maxServerSessions: Infinity,
    ownsProcess: true,
    startsProcess: true,
    ...more,
  };
}

// [limit, limits, claim]: each allows 3 of it.
const LIMITS: [string, Partial<AdmissionLimits>, Claim][] = [
  ["MAX_SESSIONS", { maxSessions: 3 }, claim()],
  ["MAX_SESSIONS_PER_PRINCIPAL", { maxSessionsPerPrincipal: 3 }, claim()],
  ["MAX_PROCESSES", { maxProcesses: 3 }, claim()],
  ["maxSessions", {}, claim("ann", { maxServerSessions: 3 })],
];
for (const [limit, limits, ann] of LIMITS) {
  // [open, whether one more meets the limit].
  for (const [open, isMet] of [[2, false], [3, true], [4, true]] as const) {
    Deno.test(`${limit} of 3 ${isMet ? "is" : "is not"} met where ${open} are open`, () => {
      const admission = new Admission({ ...NO_LIMITS, ...limits });
      for (let n = 0; n < open; n++) admission.opened(ann);
      const obstacle = admission.obstacle(ann);
      assertEquals<unknown>([obstacle?.limit, obstacle?.max], isMet ? [limit, 3] : [undefined, undefined]);
    });
  }
}

Deno.test("A limit concerns those who count against it", () => {
  const admission = new Admission({ ...NO_LIMITS, maxSessionsPerPrincipal: 1 });
  admission.opened(claim("ann"));
  assertEquals(admission.obstacle(claim("bob")), undefined);
  const { concerns } = admission.obstacle(claim("ann"))!;
  assertEquals([concerns(claim("ann")), concerns(claim("bob"))], [true, false]);
  const server = new Admission(NO_LIMITS);
  const one = claim("ann", { maxServerSessions: 1 });
  server.opened(one);
  assertEquals(server.obstacle({ ...one, serverId: "other" }), undefined);
  assertFalse(server.obstacle(one)!.concerns({ principal: "ann", serverId: "other" }));
});

Deno.test("A session that is over makes room for one, its process once it is closed", () => {
  const admission = new Admission({ ...NO_LIMITS, maxSessions: 1, maxProcesses: 1 });
  admission.opened(claim());
  admission.over(claim());
  assertEquals(admission.obstacle(claim())?.limit, "MAX_PROCESSES");
  assertEquals(admission.obstacle(claim("ann", { ownsProcess: false, startsProcess: false })), undefined);
  admission.closed(claim());
  assertEquals([admission.obstacle(claim()), admission.counts], [undefined, { sessions: 0, processes: 0 }]);
});

Deno.test("Processes that belong to nobody count too", () => {
  const admission = new Admission({ ...NO_LIMITS, maxProcesses: 3 }, () => 2);
  assertEquals(admission.obstacle(claim()), undefined);
  admission.opened(claim());
  assertEquals(admission.obstacle(claim())?.limit, "MAX_PROCESSES");
});

Deno.test("A greedy principal with 500 waiting openings delays another's by one turn", () => {
  const admission = new Admission<string>({ ...NO_LIMITS, maxSessions: 1 });
  admission.opened(claim("greedy"));
  for (let n = 0; n < 500; n++) assert(admission.wait(`greedy ${n}`, claim("greedy"), 2_000));
  assert(admission.wait("modest", claim("modest"), 2_000));
  const order: (string | undefined)[] = [];
  for (let turn = 0; turn < 3; turn++) {
    admission.over(claim());
    order.push(admission.next()?.opening);
    admission.opened(claim());
  }
  assertEquals(order, ["greedy 0", "modest", "greedy 1"]);
});

Deno.test("An opening that cannot be served holds up no other of its principal", () => {
  const admission = new Admission<string>({ ...NO_LIMITS, maxSessions: 2 });
  const full = claim("ann", { serverId: "full", maxServerSessions: 1 });
  admission.opened(full);
  admission.opened(claim("bob"));
  admission.wait("at the full server", full, 2_000);
  admission.wait("elsewhere", claim("ann"), 2_000);
  assertEquals(admission.next(), undefined);
  admission.over(claim("bob"));
  assertEquals([admission.next()?.opening, admission.next(), admission.waiting], ["elsewhere", undefined, 1]);
});

Deno.test("Those who have waited long enough are taken out, and so is one whose client is gone", () => {
  const admission = new Admission<string>({ ...NO_LIMITS, maxSessions: 0 });
  assertEquals(admission.nextAt, Infinity);
  for (
    const [opening, principal, until] of [["a", "x", 30], ["b", "y", 10], ["c", "x", 40], [
      "d",
      "y",
      50,
    ]] as const
  ) {
    admission.wait(opening, claim(principal), until);
  }
  assertEquals(admission.nextAt, 10);
  assertEquals(admission.expired(9), []);
  assertEquals(admission.expired(30).map(({ opening }) => opening), ["a", "b"]);
  assert(admission.leave("c"));
  assertFalse(admission.leave("c"));
  assertEquals([admission.waiting, admission.nextAt], [1, 50]);
  assertEquals(admission.all().map(({ opening }) => opening), ["d"]);
  assertEquals([admission.waiting, admission.nextAt], [0, Infinity]);
});

Deno.test("A thousand may wait, and one more may not", () => {
  const admission = new Admission<number>({ ...NO_LIMITS, maxSessions: 0 });
  for (let n = 0; n < 1_000; n++) assert(admission.wait(n, claim(`p${n % 7}`), 1));
  assertFalse(admission.wait(1_000, claim(), 1));
  admission.leave(5);
  assert(admission.wait(1_000, claim(), 1));
});

Deno.test("Whatever comes and goes, counts are right, room is used, and nobody is served twice", () => {
  const principals = ["a", "b", "c"];
  const step = fc.record({
    what: fc.constantFrom(
      "open" as const,
      "open" as const,
      "over" as const,
      "close" as const,
      "leave" as const,
    ),
    principal: fc.constantFrom(...principals),
    serverId: fc.constantFrom("s", "t"),
    startsProcess: fc.boolean(),
    pick: fc.nat({ max: 9 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const admission = new Admission<Claim>({ maxSessions: 5, maxSessionsPerPrincipal: 3, maxProcesses: 4 });
    const living: Claim[] = [];
    const closing: Claim[] = [];
    const waiting: Claim[] = [];
    const serve = (claim: Claim) => {
      admission.opened(claim);
      living.push(claim);
    };
    for (const { what, principal, serverId, startsProcess, pick } of steps) {
      const wish = {
        principal,
        serverId,
        startsProcess,
        ownsProcess: startsProcess,
        maxServerSessions: serverId === "s" ? 2 : Infinity,
      };
      if (what === "open") {
        if (admission.obstacle(wish) === undefined) serve(wish);
        else {
          admission.wait(wish, wish, 1);
          waiting.push(wish);
        }
      } else if (what === "over" && living.length > 0) {
        const [gone] = living.splice(pick % living.length, 1);
        admission.over(gone!);
        closing.push(gone!);
      } else if (what === "close" && closing.length > 0) {
        admission.closed(closing.splice(pick % closing.length, 1)[0]!);
      } else if (what === "leave" && waiting.length > 0) {
        assert(admission.leave(waiting.splice(pick % waiting.length, 1)[0]!));
      }
      for (let next = admission.next()?.opening; next !== undefined; next = admission.next()?.opening) {
        const at = waiting.indexOf(next);
        assert(at >= 0, "served twice, or never asked");
        waiting.splice(at, 1);
        serve(next);
      }
      const processes = [...living, ...closing].filter(({ startsProcess }) => startsProcess).length;
      assertEquals(admission.counts, { sessions: living.length, processes });
      assertEquals(admission.waiting, waiting.length);
      assert(living.length <= 5 && processes <= 4);
      for (const name of principals) assert(living.filter(({ principal }) => principal === name).length <= 3);
      assert(living.filter(({ serverId }) => serverId === "s").length <= 2);
      for (const claim of waiting) assert(admission.obstacle(claim) !== undefined, "room is left unused");
    }
  }));
});
