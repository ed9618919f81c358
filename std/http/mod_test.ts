import { assertEquals } from "@std/assert";
import { STATUS_CODE, STATUS_TEXT } from "@std/http";
import { STATUS_TEXT as FROM_STATUS } from "@std/http/status";

Deno.test("Status codes have their names and texts, from both entry points", () => {
  assertEquals(STATUS_CODE.NotFound, 404);
  assertEquals(STATUS_TEXT[STATUS_CODE.NotFound], "Not Found");
  assertEquals(STATUS_TEXT[STATUS_CODE.BadGateway], "Bad Gateway");
  assertEquals(STATUS_TEXT[STATUS_CODE.ContentTooLarge], "Content Too Large");
  assertEquals(FROM_STATUS, STATUS_TEXT);
});

Deno.test("Every status code has a text", () => {
  for (const code of Object.values(STATUS_CODE)) {
    assertEquals(STATUS_TEXT[code].length > 0, true, String(code));
  }
});
