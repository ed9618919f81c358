/**
 * Which log messages each session of a shared server asked for. A server has one level, so it is told the most talkative
 * that any session wants, and each session gets what it asked for: nothing, unless it asked.
 *
 * @module
 */

/** MCP's levels (RFC 5424), most talkative first. */
export const LEVELS: readonly string[] = [
  "debug",
  "info",
  "notice",
  "warning",
  "error",
  "critical",
  "alert",
  "emergency",
];

/** See the module's documentation. */
export class LogLevels<Session> {
  readonly #levels = new Map<Session, number>();

  /** How many sessions asked. */
  get size(): number {
    return this.#levels.size;
  }

  /** What a session asked for; undefined where it never did. */
  get(session: Session): string | undefined {
    const level = this.#levels.get(session);
    return level === undefined ? undefined : LEVELS[level];
  }

  /** @param level One of {@link LEVELS}; undefined for none. */
  set(session: Session, level: string | undefined): void {
    if (level === undefined) this.#levels.delete(session);
    else this.#levels.set(session, LEVELS.indexOf(level));
  }

  /** The most talkative level that a session asked for; undefined where none did. */
  get mostTalkative(): string | undefined {
    return LEVELS[Math.min(...this.#levels.values())];
  }

  /** The sessions that asked for messages of a level. One that is not known is more urgent than all. */
  whoWants(level: unknown): Session[] {
    const known = typeof level === "string" ? LEVELS.indexOf(level) : -1;
    const urgency = known < 0 ? Infinity : known;
    return Array.from(this.#levels).filter(([, wanted]) => wanted <= urgency).map(([session]) => session);
  }
}
