import { assertEquals } from "@std/assert";
import { ConfigError, nearest, oneLine, quote } from "../../config/config_error.ts";

Deno.test("An error line stays one line whatever it quotes", () => {
  assertEquals(new ConfigError("a\nb").message, "a\\u000ab");
  assertEquals(oneLine("a\u2028b\u202ec\u{e0041}"), "a\\u2028b\\u202ec\\u{e0041}");
  assertEquals(quote('a"\r\n\u001b[2J\u0085'), '"a\\"\\r\\n\\u001b[2J\\u0085"');
});

Deno.test("A quoted value is cut after 80 characters, never inside one", () => {
  for (
    const [length, shown] of [[0, ""], [79, "x".repeat(79)], [80, "x".repeat(80)], [
      81,
      `${"x".repeat(80)}…`,
    ]] as const
  ) {
    assertEquals(quote("x".repeat(length)), `"${shown}"`);
  }
  assertEquals(quote("🦕".repeat(80)), `"${"🦕".repeat(80)}"`);
  assertEquals(quote("🦕".repeat(81)), `"${"🦕".repeat(80)}…"`);
});

Deno.test("Of several mistakes the first is told and the others are counted", () => {
  assertEquals(ConfigError.of(["one"]).message, "one");
  assertEquals(ConfigError.of(["one", "two"]).message, "one (and 1 more)");
  assertEquals(ConfigError.of(["one", "two", "three"]).message, "one (and 2 more)");
});

Deno.test("The nearest name is one that could have been meant", () => {
  const known = ["command", "args", "env", "cwd", "headers", "STREAM_SESSION_TTL_MS"];
  for (
    const [word, meant] of [
      ["arg", "args"],
      ["Args", "args"],
      ["comand", "command"],
      ["agrs", "args"],
      ["evn", "env"],
      ["commands", "command"],
      ["header", "headers"],
      ["STREAM_SESSION_TTL", "STREAM_SESSION_TTL_MS"],
      ["timeout", undefined],
      ["", undefined],
      ["e", undefined],
    ] as const
  ) {
    assertEquals(nearest(word, known), meant, word);
  }
});
