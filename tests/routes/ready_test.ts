import { assertEquals } from "@std/assert";
import { AppHarness, INITIALIZE } from "../fakes/app_harness.ts";
import { settle } from "../fakes/fake_clock.ts";
import { LIMITS, SERVER } from "../fakes/harness.ts";

async function readiness(app: AppHarness): Promise<[number, unknown]> {
  const response = await app.fetch(new Request("http://localhost/ready"));
  return [response.status, await response.json()];
}

/** Opens sessions whose server dies, until it is in quarantine. */
async function kill(app: AppHarness): Promise<void> {
  for (let n = 0; n < 6; n++) {
    const before = app.harness.backends.length;
    const pending = app.post({ ...INITIALIZE, id: n });
    while (app.harness.backends.length === before) await settle();
    app.harness.backend.exit();
    await (await pending).body?.cancel();
    await settle();
  }
}

Deno.test("The gateway is ready while any server opens sessions, and says which do not", async () => {
  const app = new AppHarness({
    autoInitialize: false,
    moreServers: [{ id: "other", limits: LIMITS, backend: { code: "serverNotServed" } }],
  });
  assertEquals(await readiness(app), [200, { status: "ready", quarantined: [] }]);
  await kill(app);
  assertEquals(await readiness(app), [200, {
    status: "ready",
    quarantined: [{ serverId: SERVER, retryAfterMs: 1_000 }],
  }]);
  await app.stop();
});

Deno.test("The gateway is not ready where every server is in quarantine, nor while it shuts down", async () => {
  const app = new AppHarness({ autoInitialize: false });
  await kill(app);
  assertEquals(await readiness(app), [503, {
    status: "quarantined",
    quarantined: [{ serverId: SERVER, retryAfterMs: 1_000 }],
  }]);
  await app.harness.clock.advance(1_000);
  assertEquals(await readiness(app), [200, {
    status: "ready",
    quarantined: [{ serverId: SERVER, retryAfterMs: 0 }],
  }]);
  const drained = app.harness.supervisor.shutDown(0);
  await settle();
  assertEquals((await readiness(app))[1], {
    status: "shutting down",
    quarantined: [{ serverId: SERVER, retryAfterMs: 0 }],
  });
  await drained;
  await app.stop();
});
