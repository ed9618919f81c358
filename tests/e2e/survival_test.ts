/**
 * Real servers behind a gateway that is killed in the middle of their work: as many as fit into a minute.
 * `deno task survival` does the same with 200 sessions.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { problemsOf, survive } from "../../tools/survival/survive.ts";

const SESSIONS = 32;

Deno.test(`Scripts of ${SESSIONS} clients of real servers go on over a SIGKILL with the sessions that they have`, async () => {
  // Fewer processes than sessions, so that some hibernate when it comes.
  assertEquals(problemsOf(await survive({ sessions: SESSIONS, processes: 20, atOnce: 8 })), []);
});
