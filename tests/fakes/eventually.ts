/**
 * Waiting for what real processes do.
 *
 * @module
 */

/**
 * Looks again and again until something is there.
 *
 * @param look Returns it, or undefined or false as long as it is not.
 * @param what Named when it never comes.
 * @param withinMs When to give up.
 */
export async function eventually<T>(
  look: () => T | undefined | false,
  what: string,
  withinMs = 20_000,
): Promise<T> {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() >= untilMs) throw new Error(`Waited ${withinMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
