import { assert, assertEquals } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";
import { post, request, SERVER } from "../fakes/harness.ts";
import { Monitoring, OTHER } from "../fakes/monitoring.ts";

const MINUTE = 60_000;

Deno.test("TTL advice tells what another TTL would have done, from which gaps, and what it proposes", async () => {
  await using monitoring = await Monitoring.start({ limits: { idleTtlMs: 60 * MINUTE } });
  const { clock } = monitoring.harness;
  const from = new Date(clock.wallTime()).toISOString();
  const [comes, goes, away] = [await monitoring.open(), await monitoring.open(), await monitoring.open()];
  const elsewhere = await monitoring.open({ serverId: OTHER });
  for (const minutes of [1, 10]) {
    await clock.advance(minutes * MINUTE);
    await post(comes.session, request("ping", { id: minutes }));
    comes.backend.answer(minutes);
    await settle();
  }
  await goes.session.end("client_delete");
  await clock.advance(MINUTE);
  const ask = async (query = "") => (await monitoring.get(`/servers/${SERVER}/ttl-advice${query}`)).body;
  const advised = await ask(`?ttlMs=${5 * MINUTE}`);
  const { ttlMs } = advised.advice;
  assert(ttlMs >= 5 * MINUTE && ttlMs <= 5.5 * MINUTE);
  // The gap of ten minutes, and the one that was final; one is away for twelve minutes by now.
  assertEquals(advised, {
    serverId: SERVER,
    configuredTtlMs: 60 * MINUTE,
    askedTtlMs: 5 * MINUTE,
    advice: { ttlMs, wouldExpire: 2, cameBack: 1, returnRate: 0.5, stillIdle: 1 },
    proposal: advised.proposal,
    window: { from, to: new Date(clock.wallTime()).toISOString(), gaps: 3, returned: 2, final: 1 },
  });
  // Whoever came back did so within it.
  assert(advised.proposal.ttlMs >= 10 * MINUTE && advised.proposal.ttlMs < 11 * MINUTE);
  assertEquals(advised.proposal, {
    ttlMs: advised.proposal.ttlMs,
    wouldExpire: 1,
    cameBack: 0,
    returnRate: 0,
    stillIdle: 1,
  });
  assertEquals((await ask()).askedTtlMs, 60 * MINUTE, "without a TTL it is the configured one");
  assertEquals((await ask()).advice.wouldExpire, 0);
  assertEquals([away.session.state, elsewhere.session.state], ["active", "expired"]);
});

Deno.test("Before anything happened there is advice of zeros and no proposal", async () => {
  await using monitoring = await Monitoring.start({ limits: { idleTtlMs: 0 } });
  const { body } = await monitoring.get(`/servers/${SERVER}/ttl-advice`);
  assertEquals([body.configuredTtlMs, body.askedTtlMs, body.advice, body.proposal, body.window.gaps], [
    null,
    null,
    null,
    null,
    0,
  ]);
  const asked = (await monitoring.get(`/servers/${SERVER}/ttl-advice?ttlMs=1`)).body;
  assertEquals(asked.advice, { ttlMs: 1, wouldExpire: 0, cameBack: 0, returnRate: 0, stillIdle: 0 });
});
