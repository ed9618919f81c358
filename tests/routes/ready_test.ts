import { assertEquals } from "@std/assert";
import { AppHarness, INITIALIZE } from "../fakes/app_harness.ts";
import { settle } from "../fakes/fake_clock.ts";
import { LIMITS, SERVER } from "../fakes/harness.ts";
import { MemoryStore } from "../../stores/memory.ts";
import { StoreError } from "../../stores/store_error.ts";

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

Deno.test("The gateway is not ready while sessions cannot be written down, and then it is", async () => {
  let full = true;
  const check = () => {
    if (full) throw new StoreError("full", "sessions.db", "cannot be written");
  };
  class FullStore extends MemoryStore {
    override add(...args: Parameters<MemoryStore["add"]>): number {
      check();
      return super.add(...args);
    }
    override end(...args: Parameters<MemoryStore["end"]>): void {
      check();
      super.end(...args);
    }
  }
  const app = new AppHarness({ store: new FullStore({ tombstones: 10 }) });
  assertEquals((await readiness(app))[0], 200);
  const refused = await app.post(INITIALIZE);
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "10"]);
  await refused.body?.cancel();
  assertEquals(await readiness(app), [503, { status: "store failed", quarantined: [] }]);
  full = false;
  await app.harness.clock.advance(1_000);
  assertEquals(await readiness(app), [200, { status: "ready", quarantined: [] }]);
  await app.stop();
});
