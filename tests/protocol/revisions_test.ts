// @ts-types="@modelcontextprotocol/sdk/types"
import {
  DEFAULT_NEGOTIATED_PROTOCOL_VERSION,
  SUPPORTED_PROTOCOL_VERSIONS,
} from "@modelcontextprotocol/sdk/types.js";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { message } from "../fakes/harness.ts";
import {
  DEFAULT_PROTOCOL_VERSION,
  isKnownVersion,
  KNOWN_VERSIONS,
  modernVersionOf,
} from "../../protocol/revisions.ts";

Deno.test("The known revisions are those of the SDK", () => {
  assertEquals([...KNOWN_VERSIONS].sort(), [...SUPPORTED_PROTOCOL_VERSIONS].sort());
  assertEquals(DEFAULT_PROTOCOL_VERSION, DEFAULT_NEGOTIATED_PROTOCOL_VERSION);
});

Deno.test("A revision is known by its exact name", () => {
  assert(isKnownVersion("2025-11-25"));
  for (const version of ["", "2025-11-2", "2025-11-25 ", "2026-07-28", "toString"]) {
    assertFalse(isKnownVersion(version));
  }
});

// [version header, message, the modern revision asked for].
const META = { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } };
const MODERN: [string | null, Record<string, unknown> | undefined, string | undefined][] = [
  [null, { id: 1, method: "tools/list" }, undefined],
  ["2025-11-25", { id: 1, method: "tools/list" }, undefined],
  ["2026-07-28", undefined, "2026-07-28"],
  ["2027-01-01", undefined, "2027-01-01"],
  ["2026-07-27", undefined, undefined],
  ["zzz", undefined, undefined],
  ["2025-11-25", { id: 1, method: "tools/list", params: META }, "2026-07-28"],
  [null, { method: "notifications/x", params: META }, "2026-07-28"],
  [null, { id: 1, method: "server/discover" }, "2026-07-28"],
  [null, { id: 1, method: "initialize", params: { protocolVersion: "2026-07-28" } }, undefined],
  [null, { id: 1, method: "tools/list", params: { _meta: { progressToken: 1 } } }, undefined],
  [null, { id: 1, result: META }, undefined],
];
for (const [header, fields, expected] of MODERN) {
  Deno.test(`With header ${header} and ${JSON.stringify(fields)} the modern revision is ${expected}`, () => {
    assertEquals(modernVersionOf(header, fields && message(fields)), expected);
  });
}
