/**
 * What a reading of the memory costs this process: `deno run -A bench/memory_reading.ts`.
 *
 * By a control group (files in a temporary folder), and by resident sets, with the processes of this machine and with
 * some more beside them. CPU time is that of all threads of this process. Needs Linux.
 *
 * @module
 */
import process from "node:process";
import { ProcessTable } from "../backends/process_table.ts";
import { systemClock } from "../clock.ts";
import { MemoryProbe } from "../machine/memory.ts";

const READINGS = 100;
const MORE_PROCESSES = [0, 200, 1_000];

const processes = new ProcessTable({ clock: systemClock });
const tree = Deno.makeTempDirSync();
const children: Deno.ChildProcess[] = [];
try {
  const nested = "/a/b/c";
  write("proc/meminfo", Deno.readTextFileSync("/proc/meminfo"));
  write("proc/self/cgroup", `0::${nested}\n`);
  write("cgroup/cgroup.controllers", "memory\n");
  for (const path of ["/a", "/a/b", nested]) {
    write(`cgroup${path}/memory.max`, `${2 ** 30}\n`);
    write(`cgroup${path}/memory.current`, "1000\n");
    write(`cgroup${path}/memory.stat`, `${"anon 1\n".repeat(50)}inactive_file 1\n`);
  }
  const roots = { procRoot: `${tree}/proc`, cgroupRoot: `${tree}/cgroup` };
  await measure("cgroup, three deep", new MemoryProbe({ memoryLimitBytes: undefined, processes, ...roots }));

  const rss = new MemoryProbe({ memoryLimitBytes: undefined, processes, cgroupRoot: "/no/such/folder" });
  for (const more of MORE_PROCESSES) {
    while (children.length < more) {
      children.push(new Deno.Command("sleep", { args: ["100000"], clearEnv: true }).spawn());
    }
    // The first one also reads the environment of each process.
    await rss.read();
    const { size } = await processes.snapshot();
    await measure(`rss, ${size} processes`, rss);
  }
} finally {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(children.map((child) => child.status));
  Deno.removeSync(tree, { recursive: true });
}

async function measure(name: string, probe: MemoryProbe): Promise<void> {
  // So that it is compiled.
  await readOften(probe, 10);
  const before = process.cpuUsage();
  await readOften(probe, READINGS);
  const { user, system } = process.cpuUsage(before);
  const cpuMs = (user + system) / 1000 / READINGS;
  // By themselves: the timer that watches costs something too.
  const turnMs = await longestTurn(() => readOften(probe, READINGS / 4));
  print(`${name.padEnd(24)} ${cpuMs.toFixed(2)} ms CPU a reading, longest turn ${turnMs.toFixed(1)} ms`);
}

async function readOften(probe: MemoryProbe, times: number): Promise<void> {
  for (let round = 0; round < times; round++) await probe.read();
}

/** How long the event loop was held up at most, in ms; 1 to 2 of them are the timer's own. */
async function longestTurn(work: () => Promise<void>): Promise<number> {
  let longestMs = 0;
  let at = performance.now();
  const watch = setInterval(() => {
    const now = performance.now();
    longestMs = Math.max(longestMs, now - at);
    at = now;
  }, 1);
  await work();
  clearInterval(watch);
  return longestMs;
}

function write(path: string, content: string): void {
  Deno.mkdirSync(`${tree}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
  Deno.writeTextFileSync(`${tree}/${path}`, content);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
