/**
 * Valid bodies of `/bridge`, mutated, before real commands: nothing runs that is not listed, no answer is a fault, and
 * nothing is left.
 *
 * Every run has another seed, which is part of the test's name. To repeat one:
 * `FC_SEED=… deno test -A tests/e2e/bridge_mutations_test.ts`. `FC_RUNS=…` sets the number of mutants.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { join } from "node:path";
import { Supervisor } from "../../actors/supervisor.ts";
import { ProcessTable } from "../../backends/process_table.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import { systemClock as clock } from "../../clock.ts";
import { commandServers, commandsOf } from "../../commands.ts";
import { listCommands, loadConfig } from "../../config/mod.ts";
import { Access, digestOf } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { BODY_DEFAULTS, BodyReader } from "../../routes/body.ts";
import { BridgeSessions } from "../../routes/bridge_sessions.ts";
import { supervisedServers } from "../../servers.ts";
import { MemoryStore } from "../../stores/memory.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { bodyOf, bridgeMutants, COMMANDS, isListed, TINY } from "./bridge_mutants.ts";

const RUNS = Number(Deno.env.get("FC_RUNS") ?? 2_000);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);

const STATUSES = [200, 400, 403, 404, 413, 422];

const marker = Deno.makeTempDirSync({ prefix: "sojourn-bridge-" });
const mutant = bridgeMutants(join(marker, "touched"));

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

Deno.test(`No body of /bridge runs what is not listed (${RUNS} mutants, seed ${SEED})`, async () => {
  await using log = await LogCapture.start();
  const servers = { mcpServers: { tiny: TINY } };
  const config = loadConfig({
    args: [],
    env: { ACCESS_TOKEN: "secret", BRIDGE_COMMANDS: JSON.stringify(COMMANDS), PATH: Deno.env.get("PATH") },
    cwd: marker,
    readFile: (path) => {
      if (!path.endsWith("mcp-servers.json")) throw new Deno.errors.NotFound();
      return new TextEncoder().encode(JSON.stringify(servers));
    },
  });
  assert(config.kind === "run");
  const parts = {
    clock,
    processes: new ProcessTable({ clock }),
    gate: new SpawnGate({ concurrency: 4, clock }),
  };
  const supervisor = new Supervisor({
    clock,
    store: new MemoryStore({ tombstones: RUNS }),
    servers: [...supervisedServers(config, parts), ...commandServers(config)],
  });
  const bridgeSessions = new BridgeSessions(supervisor);
  const bodies = new BodyReader({ clock, ...BODY_DEFAULTS });
  const app = createApp({
    access: new Access({
      clock,
      tokenRequired: true,
      tokens: [{
        principal: "default",
        digest: digestOf("secret"),
        servers: undefined,
        expiresAtMs: undefined,
      }],
      allowedOrigins: [],
      allowedHosts: [],
      onLoopback: true,
    }),
    supervisor,
    clock,
    implicitSessions: true,
    bodies,
    bridgeSessions,
    commands: commandsOf(await listCommands(config.bridgeCommands), parts),
  });
  const met = new Set<number>();
  let listed = 0;
  try {
    await fc.assert(
      fc.asyncProperty(mutant, async ({ streams, ...mutant }) => {
        const body = bodyOf(mutant);
        const response = await app(
          new Request("http://localhost/bridge", {
            method: "POST",
            headers: {
              authorization: "Bearer secret",
              "content-type": "application/json",
              accept: streams ? "text/event-stream" : "application/json",
            },
            body,
          }),
        );
        const text = await response.text();
        const { status } = response;
        met.add(status);
        assertArrayIncludes(STATUSES, [status], `${status} ${text}`);
        const given = parsed(body) as { serverPath?: unknown } | undefined;
        const ran = status === 200 || status === 422;
        if (ran && given?.serverPath !== undefined) {
          listed++;
          assert(isListed(given), `it ran: ${body}`);
        }
        if (!ran) assertEquals(response.headers.get("content-type"), "application/problem+json");
        if (!text.startsWith("event: ")) JSON.parse(text);
      }),
      { numRuns: RUNS, seed: SEED },
    );
    assertArrayIncludes([...met], [200, 400, 403, 404]);
    assert(listed > RUNS / 100, "too few mutants ran what is listed");
    assertEquals(
      Array.from(Deno.readDirSync(marker), ({ name }) => name),
      [],
      "a command ran that is not listed",
    );
    assertEquals(log.records.filter(({ level }) => level === "error" || level === "fatal"), []);
    for (const session of supervisor.sessions) {
      assertEquals([session.kind, session.inFlight, session.held], ["bridge", 0, 0]);
    }
    assertEquals(bridgeSessions.size, supervisor.size);
  } finally {
    await supervisor.shutDown(0);
    bodies.close();
    await Deno.remove(marker, { recursive: true });
  }
  assertEquals([supervisor.size, bridgeSessions.size], [0, 0]);
});
