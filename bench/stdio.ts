/**
 * Which of the runtime's two ways to talk to a child is the faster: `node:child_process` or `Deno.Command`.
 *
 * Both talk to `cat`, the cheapest echo there is. Run it with `deno run -A bench/stdio.ts`; the ratio is what
 * counts, not the figures of one machine.
 *
 * @module
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { systemClock } from "../clock.ts";

const ROUNDS = 20_000;
const WINDOW = 64;
const CHILDREN = 10;
const IDLE_CHILDREN = 200;
const LINE = new TextEncoder().encode(
  `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"}}}\n`,
);

/** A child that returns what it is sent. */
interface Echo {
  /** Called with the number of bytes that came back. */
  onData: (bytes: number) => void;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(): Promise<void>;
}

function nodeEcho(): Echo {
  const child: ChildProcessWithoutNullStreams = spawn("cat", { detached: true });
  const echo: Echo = {
    onData: () => {},
    send: (bytes) => void child.stdin.write(bytes),
    close: () =>
      new Promise((resolve) => {
        child.once("close", () => {
          child.stdin.destroy();
          child.stdout.destroy();
          child.stderr.destroy();
          resolve();
        });
        child.stderr.resume();
        child.stdin.end();
      }),
  };
  child.stdout.on("data", (chunk: Uint8Array) => echo.onData(chunk.byteLength));
  return echo;
}

function denoEcho(): Echo {
  const command = new Deno.Command("cat", {
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  });
  const child = command.spawn();
  const writer = child.stdin.getWriter();
  const echo: Echo = {
    onData: () => {},
    send: (bytes) => void writer.write(bytes),
    close: async () => {
      await writer.close();
      await child.status;
      await child.stderr.cancel();
    },
  };
  (async () => {
    for await (const chunk of child.stdout) echo.onData(chunk.byteLength);
  })();
  return echo;
}

/** Keeps `window` lines on their way until `rounds` came back; resolves to round trips per second. */
function exchange(echo: Echo, rounds: number, window: number): Promise<void> {
  let sent = 0;
  let bytes = 0;
  return new Promise((resolve) => {
    echo.onData = (count) => {
      bytes += count;
      const back = Math.floor(bytes / LINE.byteLength);
      if (back >= rounds) return resolve();
      for (; sent < rounds && sent < back + window; sent++) echo.send(LINE);
    };
    for (; sent < window; sent++) echo.send(LINE);
  });
}

async function ratePerS(open: () => Echo, children: number, window: number): Promise<number> {
  const echoes = Array.from({ length: children }, open);
  await Promise.all(echoes.map((echo) => exchange(echo, 1_000, window)));
  const startMs = systemClock.now();
  await Promise.all(echoes.map((echo) => exchange(echo, ROUNDS / children, window)));
  const tookMs = systemClock.now() - startMs;
  await Promise.all(echoes.map((echo) => echo.close()));
  return ROUNDS / tookMs * 1000;
}

async function latencyUs(open: () => Echo): Promise<[p50: number, p99: number]> {
  const echo = open();
  const tookUs: number[] = [];
  for (let round = 0; round < ROUNDS / 4; round++) {
    const startMs = systemClock.now();
    await exchange(echo, 1, 1);
    tookUs.push((systemClock.now() - startMs) * 1000);
  }
  await echo.close();
  tookUs.sort((a, b) => a - b);
  return [tookUs[Math.floor(tookUs.length / 2)]!, tookUs[Math.floor(tookUs.length * 0.99)]!];
}

async function kibPerChild(open: () => Echo): Promise<number> {
  const before = Deno.memoryUsage().rss;
  const echoes = Array.from({ length: IDLE_CHILDREN }, open);
  await Promise.all(echoes.map((echo) => exchange(echo, 1, 1)));
  const kib = (Deno.memoryUsage().rss - before) / 1024 / IDLE_CHILDREN;
  await Promise.all(echoes.map((echo) => echo.close()));
  return kib;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

// Each path is measured in a process of its own, so that neither pays for the other's garbage.
const paths: Record<string, () => Echo> = { "node:child_process": nodeEcho, "Deno.Command": denoEcho };
const [chosen] = Deno.args;
if (chosen === undefined) {
  for (const path of Object.keys(paths)) {
    const run = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", import.meta.filename!, path],
      stdout: "inherit",
      stderr: "inherit",
    });
    await run.output();
  }
} else {
  const open = paths[chosen]!;
  const memory = await kibPerChild(open);
  const [p50, p99] = await latencyUs(open);
  const alone = await ratePerS(open, 1, 1);
  const deep = await ratePerS(open, 1, WINDOW);
  const wide = await ratePerS(open, CHILDREN, 1);
  print(
    `${chosen}: one at a time ${alone.toFixed(0)}/s (p50 ${p50.toFixed(0)} us, p99 ${p99.toFixed(0)} us), ` +
      `${WINDOW} in flight ${deep.toFixed(0)}/s, ${CHILDREN} children ${wide.toFixed(0)}/s, ` +
      `${memory.toFixed(0)} KiB a child`,
  );
}
