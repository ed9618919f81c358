// @ts-types="@modelcontextprotocol/sdk/types"
import {
  DEFAULT_NEGOTIATED_PROTOCOL_VERSION,
  SUPPORTED_PROTOCOL_VERSIONS,
} from "@modelcontextprotocol/sdk/types.js";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { DEFAULT_PROTOCOL_VERSION, isKnownVersion, KNOWN_VERSIONS } from "../../protocol/revisions.ts";

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
