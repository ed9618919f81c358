import { assertEquals } from "@std/assert";
import { Interned } from "../../stores/interned.ts";

Deno.test("Equal texts are there once, for as long as somebody has one", () => {
  const texts = new Interned();
  assertEquals([texts.take("a"), texts.take("b"), texts.take("a"), texts.take("")], ["a", "b", "a", ""]);
  assertEquals(texts.size, 3);
  texts.give("a");
  assertEquals(texts.size, 3);
  texts.give("a");
  texts.give("");
  assertEquals(texts.size, 1);
  texts.give("a");
  texts.give("nobody's");
  assertEquals([texts.size, texts.take("a"), texts.size], [1, "a", 2]);
  texts.clear();
  assertEquals(texts.size, 0);
});
