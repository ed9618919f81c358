import { assert, assertEquals } from "@std/assert";
import { type ErrorCode, type ErrorEntry, ERRORS, rpcErrorText } from "../errors.ts";
import { ERRORS_PAGE, errorsPage } from "../tools/errors_doc.ts";

Deno.test("The page of errors is made from the table", async () => {
  // The formatter aligns the columns and wraps the text.
  const rows = (page: string) =>
    page.replace(/ +/g, " ").replace(/-{3,}/g, "---").split("\n").filter((line) => line.startsWith("|"));
  assertEquals(rows(await Deno.readTextFile(ERRORS_PAGE)), rows(errorsPage()));
});

Deno.test("Every error has a status and a code that fit together", () => {
  for (const [name, { status, rpcCode, message }] of Object.entries<ErrorEntry>(ERRORS)) {
    assert(status >= 200 && status <= 599 && message.length > 0, name);
    if (rpcCode === -32700 || rpcCode === -32600) assertEquals(status, 400, name);
    if (rpcCode === -32603) assertEquals(status, 500, name);
    if (rpcCode === -32001) assertEquals(status, 404, name);
  }
});

Deno.test("An error is a JSON-RPC error object under the id of its request, whatever that is", () => {
  for (const id of ['a\n"b', 0, -1, null]) {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const parsed = JSON.parse(rpcErrorText({ code, detail: "x\u2028" }, id));
      assertEquals(parsed.id, id);
      assertEquals(parsed.error.code, ERRORS[code].rpcCode);
      assertEquals(parsed.error.message, `${ERRORS[code].message}: x\u2028`);
    }
  }
});
