import { Inbox, type InboxRules } from "../../actors/inbox.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { settle } from "../fakes/fake_clock.ts";

/** What a test may have an inbox do otherwise. */
interface Rules {
  readonly maxMail: number;
  readonly onMail: (mail: string) => void;
  readonly onSignal: (signal: string) => void;
  readonly onFault: (error: unknown, mail: string | undefined) => void;
}

/** An inbox that writes down what it handles: mail as it is, signals behind an exclamation mark. */
function recording(
  { maxMail = 10, onMail, onSignal, onFault }: Partial<Rules> = {},
): { inbox: Inbox<string[], string, string>; seen: string[] } {
  const rules: InboxRules<string[], string, string> = {
    maxMail,
    onMail: (seen, mail) => onMail === undefined ? void seen.push(mail) : onMail(mail),
    onSignal: (seen, signal) => onSignal === undefined ? void seen.push(`!${signal}`) : onSignal(signal),
    onFault: (_seen, error, mail) => {
      if (onFault === undefined) throw error;
      onFault(error, mail);
    },
  };
  const seen: string[] = [];
  return { inbox: new Inbox(seen, rules), seen };
}

Deno.test("Inbox handles nothing inside post or signal, and everything in the same turn", async () => {
  const { inbox, seen } = recording();
  inbox.post("a");
  inbox.signal("s");
  assertEquals(seen, []);
  await Promise.resolve();
  assertEquals(seen, ["!s", "a"]);
});

Deno.test("Each lane of an inbox keeps its order, and signals go first", async () => {
  const { inbox, seen } = recording();
  for (const letter of ["a", "b", "c"]) {
    inbox.post(letter);
    inbox.signal(letter);
  }
  await settle();
  assertEquals(seen, ["!a", "!b", "!c", "a", "b", "c"]);
});

Deno.test("A signal that comes while mail is handled goes before the mail that waits", async () => {
  const { inbox, seen } = recording({
    onMail: (mail) => {
      seen.push(mail);
      if (mail === "a") inbox.signal("now");
    },
  });
  inbox.post("a");
  inbox.post("b");
  await settle();
  assertEquals(seen, ["a", "!now", "b"]);
});

Deno.test("Messages posted from inside a handler are handled in the same burst, after those that wait", async () => {
  const { inbox, seen } = recording({
    onMail: (mail) => {
      seen.push(mail);
      if (mail.length < 3) inbox.post(mail + mail[0]);
    },
  });
  inbox.post("a");
  inbox.post("b");
  await Promise.resolve();
  assertEquals(seen, ["a", "b", "aa", "bb", "aaa", "bbb"]);
});

Deno.test("Held mail waits, signals come through, and release keeps the order", async () => {
  const { inbox, seen } = recording();
  inbox.post("a");
  inbox.hold();
  inbox.post("b");
  inbox.signal("s");
  await settle();
  assertEquals(seen, ["!s"]);
  assertEquals(inbox.waiting, 2);
  inbox.release();
  inbox.post("c");
  await settle();
  assertEquals(seen, ["!s", "a", "b", "c"]);
  assertEquals(inbox.waiting, 0);
});

Deno.test("Mail that is held from inside a handler stops the burst, and release from a signal continues it", async () => {
  const { inbox, seen } = recording({
    onMail: (mail) => {
      seen.push(mail);
      if (mail === "a") inbox.hold();
    },
    onSignal: () => inbox.release(),
  });
  inbox.post("a");
  inbox.post("b");
  await settle();
  assertEquals(seen, ["a"]);
  inbox.signal("go");
  await settle();
  assertEquals(seen, ["a", "b"]);
});

Deno.test("Releasing an inbox that holds nothing does nothing", async () => {
  const { inbox, seen } = recording();
  inbox.release();
  inbox.hold();
  inbox.release();
  inbox.post("a");
  await settle();
  assertEquals(seen, ["a"]);
});

// [maxMail, posted, taken].
for (
  const [maxMail, posted, taken] of [
    [1, 0, 0],
    [1, 1, 1],
    [1, 2, 1],
    [5, 4, 4],
    [5, 5, 5],
    [5, 6, 5],
    [1000, 999, 999],
    [1000, 1000, 1000],
    [1000, 1001, 1000],
  ] as const
) {
  Deno.test(`Of ${posted} messages an inbox for ${maxMail} takes ${taken}, held or not`, async () => {
    for (const held of [false, true]) {
      const { inbox, seen } = recording({ maxMail });
      if (held) inbox.hold();
      const results = Array.from({ length: posted }, (_, i) => inbox.post(String(i)));
      assertEquals(results.filter((result) => result === "taken").length, taken);
      assert(results.slice(taken).every((result) => result === "full"));
      inbox.release();
      await settle();
      assertEquals(seen, Array.from({ length: taken }, (_, i) => String(i)));
      assertEquals(inbox.post("next"), "taken", "there is room again");
      await settle();
    }
  });
}

Deno.test("Signals are never refused, however many there are", async () => {
  const { inbox, seen } = recording({ maxMail: 1 });
  for (let i = 0; i < 10_000; i++) inbox.signal(String(i));
  await settle();
  assertEquals(seen.length, 10_000);
  assertEquals(seen.at(-1), "!9999");
});

for (const maxMail of [0, -1, 0.5, NaN, Infinity]) {
  Deno.test(`An inbox for ${maxMail} messages is a mistake`, () => {
    assertThrows(() => recording({ maxMail }), RangeError);
  });
}

Deno.test("Closing returns the mail that was not handled, forgets signals, and is idempotent", async () => {
  const { inbox, seen } = recording();
  inbox.post("a");
  await settle();
  inbox.post("b");
  inbox.post("c");
  inbox.signal("s");
  assertEquals(inbox.close(), ["b", "c"]);
  assertEquals(inbox.close(), []);
  await settle();
  assertEquals(seen, ["a"]);
  assertEquals(inbox.waiting, 0);
});

Deno.test("A closed inbox takes neither mail nor signals", async () => {
  const { inbox, seen } = recording();
  inbox.close();
  assertEquals(inbox.post("a"), "closed");
  inbox.signal("s");
  inbox.release();
  await settle();
  assertEquals(seen, []);
});

Deno.test("Closing from inside a handler ends the burst and returns what was behind", async () => {
  let unread: string[] = [];
  const { inbox, seen } = recording({
    onMail: (mail) => {
      seen.push(mail);
      if (mail === "b") unread = inbox.close();
    },
  });
  for (const letter of ["a", "b", "c", "d"]) inbox.post(letter);
  await settle();
  assertEquals(seen, ["a", "b"]);
  assertEquals(unread, ["c", "d"]);
});

Deno.test("A handler that throws costs its own message only", async () => {
  const faults: unknown[] = [];
  const seen: string[] = [];
  const handle = (message: string) => {
    if (message.startsWith("bad")) throw new Error(message);
    seen.push(message);
  };
  const { inbox } = recording({
    onMail: handle,
    onSignal: handle,
    onFault: (error, mail) => void faults.push([(error as Error).message, mail]),
  });
  for (const message of ["a", "bad mail", "b"]) inbox.post(message);
  for (const message of ["s", "bad signal", "t"]) inbox.signal(message);
  await settle();
  assertEquals(seen, ["s", "t", "a", "b"]);
  assertEquals(faults, [["bad signal", undefined], ["bad mail", "bad mail"]]);
  inbox.post("later");
  await settle();
  assertEquals(seen.at(-1), "later");
});
