/**
 * What must hold of all messages, whatever crossed whatever: nothing twice, nothing in the wrong session, nothing
 * under the wrong id, nothing out of order, and nothing lost where nobody hung up.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Channel } from "./routing_channel.ts";
import { type Fields, serialOf } from "./routing_messages.ts";
import type { Party } from "./routing_party.ts";
import type { RoutingWorld } from "./routing_world.ts";

/** Where a server said more, the gateway may have dropped what it kept: messages, and characters of one. */
const MAX_TOLD = 256;
const MAX_TOLD_CHARS = 1_000;

/**
 * Checks everything that was sent and seen.
 *
 * @param steady Sessions that were alive until the end.
 */
export function checkLedger(world: RoutingWorld, steady: ReadonlySet<Party>): void {
  const seen = new Set<string>();
  for (const party of world.parties) {
    const received = checkServer(world, party);
    for (const channel of party.channels) {
      checkSeen(world, party, channel, seen);
      checkAnswers(party, channel, received);
    }
    if (steady.has(party)) checkTold(world, party, seen);
  }
}

/** What a server received is its own client's, each once; returns it. */
function checkServer(world: RoutingWorld, party: Party): ReadonlySet<string> {
  const received = new Set<string>();
  for (const { text } of party.backend.received.slice(1)) {
    const from = world.fromClients.get(text);
    if (from === undefined) {
      const { method, error, params }: Fields = JSON.parse(text);
      const own = error !== undefined ||
        (method === "notifications/cancelled" && params?.reason !== undefined);
      assert(own, `the server of session ${party.no} got what nobody sent it: ${text}`);
    } else {
      assertEquals(from.no, party.no, `a server got what was for another: ${text}`);
      assert(!received.has(text), `a server got twice ${text}`);
      received.add(text);
    }
  }
  return received;
}

/** What a client saw is its own server's, each once over all streams, in order on each. */
function checkSeen(world: RoutingWorld, party: Party, channel: Channel, seen: Set<string>): void {
  const name = `#${channel.no} of session ${party.no}`;
  const tokens = channel.posted.map((text): Fields => JSON.parse(text))
    .map(({ params }) => params?._meta?.progressToken);
  let last = 0;
  for (const text of channel.seen) {
    const fields: Fields = JSON.parse(text);
    const { method, params } = fields;
    const from = world.fromServers.get(text);
    if (from === undefined) {
      assert(method === undefined && fields.error !== undefined, `${name} got what nobody sent: ${text}`);
      continue;
    }
    assertEquals(from.no, party.no, `${name} got what was for another: ${text}`);
    assert(!seen.has(text), `${name} got again ${text}`);
    seen.add(text);
    const serial = serialOf(fields)!;
    assert(serial > last, `${name} got ${text} after a later message`);
    last = serial;
    if (method === "notifications/progress" && channel.posted.length > 0) {
      assert(tokens.includes(params?.progressToken), `${name} got progress of another request: ${text}`);
    }
  }
}

/** A request has one answer, under its id, and was sent if the server gave it; what was accepted was sent. */
function checkAnswers(party: Party, channel: Channel, received: ReadonlySet<string>): void {
  const name = `#${channel.no} of session ${party.no}`;
  const reached = channel.posted.filter((text) => received.has(text));
  if (channel.status === 202) {
    // Answers to what is no question of the server's are dropped.
    const lost = channel.posted.find((text) => !received.has(text) && JSON.parse(text).method !== undefined);
    assertEquals(lost, undefined, `accepted and not sent, ${name}`);
  }
  if (channel.gone || channel.mayBeCut || channel.status === 202) return;
  const messages: Fields[] = channel.seen.map((text) => JSON.parse(text));
  const answers = messages.filter(({ method }) => method === undefined);
  if (channel.posted.length === 0 || channel.status! >= 400) {
    assert(
      answers.every((answer) => serialOf(answer) === undefined),
      `${name} has an answer to what is refused`,
    );
    return;
  }
  const ids = channel.posted.map((text): Fields => JSON.parse(text)).flatMap(({ id }) => id ?? []);
  assertEquals(
    answers.map(({ id }) => JSON.stringify(id)).sort(),
    ids.map((id) => JSON.stringify(id)).sort(),
    `the ids that ${name} has answers to`,
  );
  const answered = answers.filter((answer) => serialOf(answer) !== undefined);
  assert(answered.length <= reached.length, `${name} has answers to what was not sent`);
}

/** Where no client hung up and not too much was kept, all that a server told has come. */
function checkTold(world: RoutingWorld, party: Party, seen: ReadonlySet<string>): void {
  if (party.channels.some(({ gone, mayBeCut }) => gone || mayBeCut)) return;
  const told = [...world.fromServers].filter(([, from]) => from === party).map(([text]) => text);
  if (told.length > MAX_TOLD || told.some((text) => text.length > MAX_TOLD_CHARS)) return;
  const lost = told.find((text) => JSON.parse(text).method === "notifications/message" && !seen.has(text));
  assertEquals(lost, undefined, `told by the server of session ${party.no} and not seen`);
}
