import { assert, assertEquals, assertFalse } from "@std/assert";
import { MAX_FAILURES, Quarantine } from "../../actors/quarantine.ts";

const SECOND = 1_000;

/** A server that failed so often in a row that it is in quarantine since 0. */
function quarantined(): Quarantine {
  const quarantine = new Quarantine();
  for (let n = 0; n < MAX_FAILURES; n++) assertFalse(quarantine.failed(0, "died"));
  assert(quarantine.failed(0, "died at last"));
  return quarantine;
}

Deno.test("Five failures are put up with, the sixth within a minute is not", () => {
  const quarantine = quarantined();
  assertEquals(quarantine.ask(0), { kind: "closed", until: SECOND });
  assertEquals([quarantine.reason, quarantine.until], ["died at last", SECOND]);
});

Deno.test("Five failures a minute are put up with for ever, six are not", () => {
  const quarantine = new Quarantine();
  for (let n = 0; n < 1_000; n++) assertFalse(quarantine.failed(n * 12 * SECOND, "died"), `failure ${n}`);
  assertEquals(quarantine.ask(13_000 * SECOND), { kind: "open" });
  // A little faster, and it is too much in the end.
  let n = 0;
  while (!quarantine.failed(20_000 * SECOND + n * 10 * SECOND, "died")) assert(n++ < 100);
});

Deno.test("One may try at a time, and its success ends the quarantine", () => {
  const quarantine = quarantined();
  assertEquals(quarantine.ask(SECOND - 1).kind, "closed");
  assertEquals(quarantine.ask(SECOND).kind, "probe");
  assertEquals(quarantine.ask(SECOND + 5), { kind: "closed", until: SECOND + 5 });
  assert(quarantine.started());
  assertEquals([quarantine.ask(SECOND + 6).kind, quarantine.reason, quarantine.until], [
    "open",
    undefined,
    undefined,
  ]);
  assertFalse(quarantine.failed(SECOND + 7, "died"), "it starts from nothing again");
});

Deno.test("Each failed try doubles the time, up to a minute", () => {
  const quarantine = quarantined();
  let now = 0;
  for (const backOffS of [1, 2, 4, 8, 16, 32, 60, 60]) {
    assertEquals(quarantine.until! - now, backOffS * SECOND);
    now = quarantine.until!;
    assertEquals(quarantine.ask(now).kind, "probe");
    assert(quarantine.failed(now, "died again"));
  }
});

Deno.test("Sessions that lived on and fail in quarantine do not lengthen it", () => {
  const quarantine = quarantined();
  assertFalse(quarantine.failed(500, "an old one died"));
  assertEquals(quarantine.until, SECOND);
});

Deno.test("A try that was given up lets the next one try", () => {
  const quarantine = quarantined();
  quarantine.ask(SECOND);
  quarantine.abandoned();
  assertEquals(quarantine.ask(SECOND).kind, "probe");
});

Deno.test("A start that nobody asked about ends no quarantine", () => {
  const quarantine = quarantined();
  // One that was opened before it began.
  assertFalse(quarantine.started());
  assertEquals(quarantine.ask(10).kind, "closed");
});
