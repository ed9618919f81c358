/**
 * The three ways to have backends, under real sessions.
 *
 * @module
 */
import { MemoryStore } from "../../stores/memory.ts";
import { Supervisor } from "../../actors/supervisor.ts";
import { TtlScale } from "../../actors/pressure.ts";
import { assert, assertEquals } from "@std/assert";
import { gated } from "../../backends/gated.ts";
import { PrewarmSource } from "../../backends/prewarm.ts";
import { SharedSource } from "../../backends/shared.ts";
import { type BackendSource, perSessionSource } from "../../backends/source.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import { FakeReply } from "../fakes/fake_client.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { LIMITS, message, PRINCIPAL, request, SERVER } from "../fakes/harness.ts";
import { FakeChildren } from "./pool_harness.ts";

/** A supervisor over one source of fakes. */
class Gateway {
  readonly clock = new FakeClock();
  readonly children = new FakeChildren();
  readonly gate = new SpawnGate({ concurrency: 2, clock: this.clock });
  readonly source: BackendSource;
  readonly supervisor: Supervisor;

  constructor(way: "perSession" | "prewarm" | "shared") {
    const { clock, gate, children: { open } } = this;
    const parts = { serverId: SERVER, open, gate, clock, startTimeoutMs: 60_000 };
    this.source = way === "perSession"
      ? perSessionSource(gated(open, gate))
      : way === "prewarm"
      ? new PrewarmSource({ ...parts, prewarm: 2, prewarmMaxAgeMs: 0 })
      : new SharedSource({ ...parts, shared: 2 });
    this.supervisor = new Supervisor({
      store: new MemoryStore({ tombstones: 100 }),
      clock,
      scale: new TtlScale({ minTtlMs: 30_000 }),
      random: () => 0,
      limits: { maxSessions: Infinity, maxSessionsPerPrincipal: Infinity, maxProcesses: Infinity },
      admissionWaitMs: 0,
      servers: [{ id: SERVER, limits: LIMITS, backend: this.source.open }],
    });
    this.source.start();
  }

  async open(opener: Record<string, unknown>, implicitVersion?: string) {
    const reply = new FakeReply();
    this.supervisor.open({
      serverId: SERVER,
      principal: PRINCIPAL,
      opener: { tag: "message", message: message(opener), reply },
      implicitVersion,
    });
    await settle();
    const session = this.supervisor.find(SERVER, reply.sessionId!, PRINCIPAL);
    assert(session !== undefined, "the session is not to be found");
    return { session, reply };
  }

  async close(): Promise<void> {
    await this.supervisor.shutDown(0);
    await this.source.close();
    await this.clock.advance(0);
    assertEquals([this.source.spare, this.children.running.length, this.clock.pending], [0, 0, 0]);
    assertEquals([this.gate.starting, this.gate.waiting], [0, 0]);
  }
}

const initialize = {
  id: "i",
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "c", version: "1" } },
};

for (const way of ["perSession", "prewarm", "shared"] as const) {
  Deno.test(`Sessions live the same with ${way}: opened, asked, deleted`, async () => {
    const gateway = new Gateway(way);
    await settle();
    const { session, reply } = await gateway.open(initialize);
    assertEquals([session.state, session.protocolVersion], ["active", "2025-06-18"]);
    assertEquals(reply.answered?.id, "i");
    const asked = new FakeReply();
    session.post({
      tag: "message",
      message: message({ method: "notifications/initialized" }),
      reply: new FakeReply(),
    });
    session.post({ tag: "message", message: request("tools/list", { id: 1 }), reply: asked });
    await settle();
    const child = gateway.children.all.find(({ methods }) => methods.includes("tools/list"))!;
    assertEquals(child.methods, ["initialize", "notifications/initialized", "tools/list"]);
    const sent = child.received.at(-1)!;
    assert(sent.kind === "request");
    child.answer(sent.id, { tools: [] });
    await settle();
    assertEquals(asked.answered?.id, 1);
    await session.end("client_delete");
    assertEquals(child.gone, way !== "shared");
    await gateway.close();
  });

  Deno.test(`An implicit session works with ${way}`, async () => {
    const gateway = new Gateway(way);
    await settle();
    const { session, reply } = await gateway.open({ id: 7, method: "tools/list" }, "2025-11-25");
    assertEquals(session.state, "active");
    const child = gateway.children.all.find(({ methods }) => methods.includes("tools/list"))!;
    assertEquals(child.methods, ["initialize", "notifications/initialized", "tools/list"]);
    const sent = child.received.at(-1)!;
    assert(sent.kind === "request");
    child.answer(sent.id);
    await settle();
    assertEquals(reply.answered?.id, 7);
    await gateway.close();
  });
}
