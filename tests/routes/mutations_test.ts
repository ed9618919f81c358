/**
 * Valid requests, mutated: each is answered with what the documentation says, nothing reaches a server that should
 * not, every session that the mutant did not end goes on, and nothing is left.
 *
 * Every run has another seed, which is part of the test's name. To repeat one:
 * `FC_SEED=… deno test -A tests/routes/mutations_test.ts`, with `FC_PATH=…` (from the failure's text) for the one
 * mutant. `FC_RUNS=…` sets the number of mutants.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals, assertMatch } from "@std/assert";
import * as fc from "fast-check";
import { ERRORS } from "../../errors.ts";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import { settle } from "../fakes/fake_clock.ts";
import { LogCapture } from "../fakes/log_capture.ts";
import { mutant } from "./mutant_arbitraries.ts";
import { BUSY_ID, type Mutant, mutate, type Mutated, namedBy, NAMES, PRINCIPALS } from "./mutants.ts";
import { type Fate, fateOf, type Part } from "./mutations_model.ts";
import { MutationWorld, type Party, textOf } from "./mutations_world.ts";

const RUNS = Number(Deno.env.get("FC_RUNS") ?? 5_000);
const SEED = Number(Deno.env.get("FC_SEED") ?? crypto.getRandomValues(new Int32Array(1))[0]);
const PATH = Deno.env.get("FC_PATH");

/** So many mutants that each of these kinds is among them. */
const ENOUGH = 2_000;
const USUAL = [200, 202, 204, 400, 401, 403, 404, 405, 406, 415];
const STATUSES = [200, 202, 204, ...Object.values(ERRORS).map(({ status }) => status)]
  .filter((status) => status < 500);

Deno.test(`Whatever becomes of a request, no harm comes of it (${RUNS} mutants, seed ${SEED})`, async () => {
  await using log = await LogCapture.start();
  const met = new Set<string | number>();
  await fc.assert(
    fc.asyncProperty(mutant, async (mutant) => {
      log.records.length = 0;
      const { status, kind } = await meet(mutant);
      met.add(status).add(kind);
      assertEquals(log.records.filter(({ level }) => level === "error" || level === "fatal"), []);
    }),
    { numRuns: RUNS, seed: SEED, ...(PATH !== undefined && { path: PATH }) },
  );
  if (RUNS < ENOUGH || PATH !== undefined) return;
  const kinds = ["posted", "batch", "opened", "stream", "deleted", "preflight", "healthy", "problem"];
  assertArrayIncludes([...met], [...USUAL, ...kinds], "the mutants are not as various as they should be");
});

/** Sends a mutant to a world of its own and looks at all that came of it. */
async function meet(mutant: Mutant): Promise<{ status: number; kind: Fate["kind"] }> {
  const world = await MutationWorld.open();
  const target = world.parties.find(({ name }) => name === namedBy(mutant));
  if (mutant.busy && target !== undefined) await world.occupy(target);
  const mutated = mutate(mutant, world);
  try {
    const request = requestOf(mutated);
    const broken = mutated.delivery === "broken" && mutated.body !== undefined;
    const fate = fateOf({ request, body: mutated.body, broken }, world);
    const opened = world.app.harness.backends.length;
    const { response, reached } = await world.exchange(request);
    const { status } = response;
    assertArrayIncludes(STATUSES, [status]);
    checkReached(reached, fate, world);
    await checkResponse(response, { fate, world, mutated });
    const isNew = fate.kind === "opened" ? 1 : 0;
    assertEquals(world.app.harness.backends.length - opened, isNew, "servers that were started");
    const living = world.parties.length + isNew - (fate.kind === "deleted" ? 1 : 0);
    assertEquals(world.app.harness.supervisor.size, living, "sessions");
    for (const party of world.parties) await checkParty(party, world, { ended: party === endedBy(fate) });
    await world.app.stop();
    return { status, kind: fate.kind };
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n\n${describe(mutated)}`, {
      cause: error,
    });
  }
}

function endedBy(fate: Fate): Party | undefined {
  return fate.kind === "deleted" ? fate.party : undefined;
}

function requestOf({ url, method, headers, body, delivery }: Mutated): Request {
  if (body === undefined) return new Request(url, { method, headers });
  if (delivery === "whole") return new Request(url, { method, headers, body });
  const size = Math.ceil(body.length / 3);
  const bits = [0, 1, 2].map((no) => body.slice(no * size, (no + 1) * size)).filter(({ length }) =>
    length > 0
  );
  if (delivery === "broken") bits.pop();
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => {
      const bit = bits.shift();
      if (bit !== undefined) controller.enqueue(bit);
      else if (delivery === "broken") controller.error(new Error("the client hung up"));
      else controller.close();
    },
  }, { highWaterMark: 0 });
  return new Request(url, { method, headers, body: stream });
}

/** What reached which server: exactly what should have. */
function checkReached(reached: Map<FakeBackend, string[]>, fate: Fate, world: MutationWorld): void {
  for (const text of [...reached.values()].flat()) {
    assertEquals(/[\r\n]/.test(text), false, "a message is one line");
  }
  const backends = [...reached.keys()];
  switch (fate.kind) {
    case "posted":
      assertEquals([...reached], fate.step.reaches ? [[fate.party.backend, [fate.text]]] : []);
      return;
    case "batch": {
      assertEquals(backends, fate.values.length > 0 ? [fate.party.backend] : []);
      const texts = reached.get(fate.party.backend) ?? [];
      assertEquals(
        texts.map((text) => JSON.stringify(JSON.parse(text))),
        fate.values.map((value) => JSON.stringify(value)),
      );
      for (const text of texts) assert(fate.whole.includes(text), "a message is forwarded as it stands");
      return;
    }
    case "opened": {
      assertEquals(backends, [world.app.harness.backend]);
      const texts = reached.get(world.app.harness.backend)!;
      if (fate.implicit) {
        const own = texts.splice(0, 2).map((text) => JSON.parse(text).method);
        assertEquals(own, ["initialize", "notifications/initialized"]);
      }
      assertEquals(texts, [fate.text]);
      return;
    }
    default:
      assertEquals(backends.length, 0, "servers that something reached");
  }
}

/** The response: exactly what it should be, and nothing of others in it. */
async function checkResponse(
  response: Response,
  { fate, world, mutated }: { fate: Fate; world: MutationWorld; mutated: Mutated },
): Promise<void> {
  const { status, headers } = response;
  const type = headers.get("content-type");
  if (fate.kind === "stream") {
    assertEquals([status, type], [200, "text/event-stream"]);
    await checkStream(response, fate.party);
    return;
  }
  const text = await textOf(response);
  checkSecrets(`${[...headers].join("\n")}\n${text}`, { world, mutated });
  const named = headers.get("mcp-session-id");
  assertEquals(named === null, fate.kind !== "opened", "only a new session is named");
  // Where there is a body all the same, the HTTP server keeps it to itself.
  if (mutated.method.toUpperCase() === "HEAD" && text === "") {
    const expected = fate.kind === "healthy" ? 200 : "status" in fate ? fate.status : undefined;
    assertEquals(status, expected);
    return;
  }
  switch (fate.kind) {
    case "refused":
      assertEquals([status, type], [fate.status, "application/json"]);
      checkError(text, { id: fate.id, code: fate.code });
      break;
    case "problem":
      assertEquals([status, type], [fate.status, "application/problem+json"]);
      assertEquals(Object.keys(JSON.parse(text)), ["type", "title", "status", "detail"]);
      assertEquals(JSON.parse(text).status, status);
      break;
    case "healthy":
      assertEquals([status, type, text], [200, "application/json", '{"status":"ok"}']);
      break;
    case "preflight":
    case "deleted":
      assertEquals([status, text], [204, ""]);
      break;
    case "posted": {
      const { part, status: expected } = fate.step;
      assertEquals(status, expected);
      if (part === undefined) assertEquals(text, "");
      else {assertEquals(JSON.parse(text), {
          jsonrpc: "2.0",
          id: part.id,
          result: world.resultOf(fate.party.backend),
        });}
      break;
    }
    case "opened": {
      assertEquals([status, type], [200, "application/json"]);
      const { jsonrpc, id, result, ...more } = JSON.parse(text);
      assertEquals([jsonrpc, id, more], ["2.0", fate.id, {}]);
      if (fate.implicit) assertEquals(result, world.resultOf(world.app.harness.backend));
      else assertEquals(result.serverInfo.name, "fake");
      const session = world.app.harness.supervisor.find(fate.serverId, named!, fate.principal);
      assert(session?.state === "active", "the new session is its principal's");
      break;
    }
    case "batch":
      if (fate.parts.length === 0) assertEquals([status, text], [202, ""]);
      else {
        assertEquals([status, type], [200, "application/json"]);
        checkBatch(JSON.parse(text), { parts: fate.parts, result: world.resultOf(fate.party.backend) });
      }
  }
  if (status === 401) assertMatch(headers.get("www-authenticate") ?? "", /^Bearer realm="sojourn"/);
  if (status === 405) assert(headers.has("allow"), "405 says what is allowed");
}

function checkError(text: string, { id, code }: { id: unknown; code: number }): void {
  const { jsonrpc, id: given, error: { code: givenCode, message, data: _data, ...more }, ...rest } = JSON
    .parse(text);
  assertEquals([jsonrpc, given, givenCode, typeof message], ["2.0", id, code, "string"]);
  assertEquals([more, rest], [{}, {}]);
}

/** The answers of a batch come in any order. */
function checkBatch(
  answers: readonly Record<string, unknown>[],
  { parts, result }: { parts: readonly Part[]; result: unknown },
): void {
  const sorted = (list: readonly unknown[]) => list.map((item) => JSON.stringify(item)).sort();
  const given = answers.map(({ jsonrpc, id, result, error }) => [
    ...[jsonrpc, id, (error as { code: number } | undefined)?.code, result],
  ]);
  assertEquals(
    sorted(given),
    sorted(parts.map(({ id, code }) => ["2.0", id, code, code === undefined ? result : undefined])),
  );
}

/** A standalone stream carries what its own server says. */
async function checkStream(response: Response, { backend, busy }: Party): Promise<void> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  // With a request in flight it goes out on the stream of that.
  if (busy === undefined) backend.says({ method: "notifications/tools/list_changed" });
  let text = "";
  const reading = (async () => {
    for (;;) {
      const { done, value = "" } = await reader.read();
      text += value;
      if (done) return;
    }
  })();
  for (let turn = 0; turn < 5; turn++) await settle();
  await reader.cancel();
  await reading;
  const methods = messagesOf(text).map(({ method }) => method);
  assertEquals(methods, busy === undefined ? ["notifications/tools/list_changed"] : []);
}

/** The messages in a stream of events; some events have none. */
function messagesOf(text: string): Record<string, unknown>[] {
  return text.split("\n").filter((line) => line.startsWith("data: {")).map((line) =>
    JSON.parse(line.slice(6))
  );
}

/** No response tells the id of another's session or a token, unless its client sent it. */
function checkSecrets(text: string, { world, mutated }: { world: MutationWorld; mutated: Mutated }): void {
  const sent = describe(mutated);
  for (
    const secret of [
      ...NAMES.map((name) => world.idOf(name)),
      ...PRINCIPALS.map((one) => world.tokenOf(one)),
    ]
  ) {
    if (text.includes(secret)) assert(sent.includes(secret), `the response tells a secret: ${text}`);
  }
}

/** The session goes on and holds what it should; or it is over and holds nothing. */
async function checkParty(party: Party, world: MutationWorld, { ended }: { ended: boolean }): Promise<void> {
  const { session, backend, busy, asked, cancelled } = party;
  if (!ended) {
    const inFlight = (busy !== undefined && !cancelled ? 1 : 0) + (asked ? 1 : 0);
    assertEquals(session.inFlight, inFlight, `requests in flight of ${party.name}`);
    const probe = world.requestIn(party, { id: "probe", method: "tools/list" });
    const { response, reached } = await world.exchange(probe);
    assertEquals(JSON.parse(await textOf(response)), {
      jsonrpc: "2.0",
      id: "probe",
      result: world.resultOf(backend),
    });
    assertEquals([...reached.keys()], [backend]);
    if (busy !== undefined && !cancelled) backend.answer(BUSY_ID, { done: true });
    await settle();
    assertEquals(session.inFlight, asked ? 1 : 0);
  } else {
    assertEquals([session.state, session.held, backend.gone], ["ended", 0, true]);
  }
  if (busy === undefined) return;
  const messages = messagesOf(await textOf(busy));
  const { id, result, error } = messages.at(-1)!;
  const outcome = ended ? -32001 : cancelled ? -32800 : { done: true };
  assertEquals(
    [id, (error as { code: number } | undefined)?.code ?? result],
    [BUSY_ID, outcome],
    "the request that was in flight",
  );
}

function describe({ url, method, headers, body }: Mutated): string {
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`);
  return [`${method} ${url}`, ...lines, "", new TextDecoder().decode(body)].join("\n");
}
