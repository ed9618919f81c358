/**
 * Equal texts of many owners in memory, each once.
 *
 * @module
 */

/** One copy of each text, for as long as somebody has it. */
export class Interned {
  readonly #texts = new Map<string, { readonly text: string; uses: number }>();

  /** How many texts there are. */
  get size(): number {
    return this.#texts.size;
  }

  /** Returns the copy that all share. */
  take(text: string): string {
    let entry = this.#texts.get(text);
    if (entry === undefined) this.#texts.set(text, entry = { text, uses: 0 });
    entry.uses++;
    return entry.text;
  }

  /** Whoever took a text has it no more; the last one takes it along. */
  give(text: string): void {
    const entry = this.#texts.get(text);
    if (entry !== undefined && --entry.uses === 0) this.#texts.delete(text);
  }

  clear(): void {
    this.#texts.clear();
  }
}
