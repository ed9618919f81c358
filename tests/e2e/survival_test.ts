/**
 * Real servers behind a gateway that is killed in the middle of their work: as many as fit into a minute.
 * `deno task survival` does the same with 200 sessions.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { problemsOf, survive } from "../../tools/survival/survive.ts";

Deno.test("Scripts of 16 clients of real servers go on over a SIGKILL with the sessions that they have", async () => {
  assertEquals(problemsOf(await survive({ sessions: 16, processes: 10, atOnce: 6 })), []);
});
