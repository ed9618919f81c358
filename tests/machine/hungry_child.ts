/**
 * A real process that holds memory.
 *
 * @module
 */

export const MIB = 2 ** 20;

/** Says that it has it, and holds it until its input ends. */
const PROGRAM = `
  const held = new Uint8Array(Number(Deno.args[0])).fill(1);
  console.log("holding");
  for await (const _ of Deno.stdin.readable);
  if (held[0] !== 1) Deno.exit(1);
`;

/** Ends with its scope. */
export class HungryChild implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #program: string;

  private constructor(mib: number, via: readonly string[]) {
    this.#program = Deno.makeTempFileSync({ suffix: ".js" });
    Deno.writeTextFileSync(this.#program, PROGRAM);
    // By another spelling of its path: under its own one Deno takes the arguments for Node's.
    const deno = Deno.execPath().replace(/\/(?=[^/]*$)/, "/./");
    const [command, ...args] = [...via, deno, "run", "--no-config", this.#program, `${mib * MIB}`];
    this.#process = new Deno.Command(command!, { args, stdin: "piped", stdout: "piped" }).spawn();
  }

  /**
   * Starts one; it holds its memory when this resolves.
   *
   * @param via What runs it: a command that takes another one as its last arguments.
   */
  static async start(mib: number, via: readonly string[] = []): Promise<HungryChild> {
    const child = new HungryChild(mib, via);
    const reader = child.#process.stdout.getReader();
    const { done } = await reader.read();
    reader.releaseLock();
    if (!done) return child;
    await child[Symbol.asyncDispose]();
    throw new Error("The child ended before it held its memory");
  }

  get pid(): number {
    return this.#process.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stdin.close().catch(() => {});
    await this.#process.stdout.cancel();
    await this.#process.status;
    Deno.removeSync(this.#program);
  }
}
