/**
 * What the gateway says of sessions that are over has to agree with itself, and with what happened.
 *
 * @module
 */
import type { GatewayEvent, Supervisor } from "../../actors/supervisor.ts";
import type { Tombstone } from "../../actors/tombstones.ts";
import { assert, assertEquals } from "@std/assert";
import type { Life } from "./life.ts";
import { SERVER_IDS } from "./servers.ts";

/** Reasons of sessions that expire before they end. */
const EXPIRED: ReadonlySet<string> = new Set(["idle", "implicit", "max_lifetime", "evicted"]);

type SessionEvent = Extract<GatewayEvent, { session: string }>;

/** Listens from the start. */
export class Accounts {
  readonly #supervisor: Supervisor;
  /** What was told of each session, by its handle. */
  readonly #told = new Map<string, SessionEvent[]>();

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
    supervisor.events.subscribe((event) => {
      if (!("session" in event)) return;
      const told = this.#told.get(event.session);
      if (told === undefined) this.#told.set(event.session, [event]);
      else told.push(event);
    });
  }

  /** All sessions are over; each backend that was opened was one's. */
  check(lives: readonly Life[], opened: number): void {
    const { tombstones } = this.#supervisor;
    assertEquals(tombstones.size, opened, "each session has one tombstone");
    assertEquals(this.#told.size, opened, "each session was told of");
    for (const tombstone of tombstones) this.#checkOne(tombstone);
    for (const { session, server, reason, pings } of lives) {
      if (session === undefined) continue;
      const tombstone = tombstones.get(session.handle);
      assert(tombstone !== undefined, "a session left no tombstone");
      assertEquals(tombstone.verdict, session.verdict, "the tombstone says why its session is over");
      assertEquals(tombstone.verdict.reason, reason ?? session.endReason);
      assertEquals(tombstone.serverId, SERVER_IDS[server]);
      const { timeline, skipped } = tombstone;
      const pinged = timeline.filter(({ event }) => event === "pinged").length;
      const answered = timeline.filter(({ detail }) => detail === "the client answered a ping").length;
      assert(answered <= pings.length, "more pings were answered than were sent");
      assert(skipped > 0 ? pinged <= pings.length : pinged === pings.length, "every ping is on the timeline");
    }
  }

  #checkOne({ handle, verdict, openedAt, endedAt, timeline }: Tombstone): void {
    const didExpire = EXPIRED.has(verdict.reason);
    assertEquals(verdict.at, endedAt);
    assert(openedAt <= endedAt && verdict.idleMs >= 0 && verdict.idleMs <= endedAt - openedAt);
    for (const [index, { at }] of timeline.entries()) {
      assert(index === 0 || at >= timeline[index - 1]!.at, "the timeline is not in order");
    }
    const events = timeline.map(({ event }) => event);
    assertEquals([events[0], events.at(-1)], ["opened", "ended"]);
    for (
      const [event, count] of [["opened", 1], ["ended", 1], ["expired", +didExpire], [
        "swept",
        +didExpire,
      ]] as const
    ) {
      assertEquals(events.filter((other) => other === event).length, count, `${event} on the timeline`);
    }
    const told = this.#told.get(handle)!;
    const states = told.map((event) => event.type === "state" ? event.state : event.type);
    assertEquals(states, [
      "opened",
      ...(events.includes("active") ? ["active"] : []),
      ...(didExpire ? ["expired"] : []),
      "ended",
    ]);
    const last = told.at(-1)!;
    assertEquals(last.type === "ended" ? last.reason : undefined, verdict.reason);
  }
}
