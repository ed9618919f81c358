/**
 * Which boot of which machine this is: what start times and pids are counted from.
 *
 * @module
 */

/**
 * Names the boot and the pid namespace that this process runs in. A container that is started again has another
 * namespace: pids begin anew in it, and those of the one before are gone or out of reach.
 *
 * @param procRoot Where the proc file system is mounted.
 * @returns Undefined where it cannot be told: then no process of an earlier run can be known again.
 */
export function readBoot(procRoot = "/proc"): string | undefined {
  try {
    const boot = Deno.readTextFileSync(`${procRoot}/sys/kernel/random/boot_id`).trim();
    return `${boot} ${Deno.readLinkSync(`${procRoot}/self/ns/pid`)}`;
  } catch {
    return undefined;
  }
}
