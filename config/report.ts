import { ConfigError } from "./config_error.ts";
import { type Finding, lineAndColumn, type Part, type Path, pathText } from "./jsonc.ts";

/** Collects what is to be said about one file and says it by place, whatever order it was found in. */
export class Report {
  /** The file, as the operator wrote it. */
  readonly #name: string;
  readonly #text: string;
  readonly #offsetOf: (path: Path, part: Part) => number;
  readonly #mistakes: Finding[] = [];
  readonly #warnings: Finding[] = [];

  constructor(name: string, text: string, offsetOf: (path: Path, part: Part) => number) {
    this.#name = name;
    this.#text = text;
    this.#offsetOf = offsetOf;
  }

  /** @param part Whether the key is wrong or its value. */
  mistake(path: Path, said: string, part: Part = "value"): void {
    this.#mistakes.push({ offset: this.#offsetOf(path, part), path, said });
  }

  warning(path: Path, said: string): void {
    this.#warnings.push({ offset: this.#offsetOf(path, "key"), path, said });
  }

  /**
   * Ends the report.
   *
   * @returns The warnings, one line each.
   * @throws {ConfigError} If there is a mistake.
   */
  settle(): string[] {
    throwFirst(this.#name, this.#text, this.#mistakes);
    return byOffset(this.#warnings).map((finding) => line(this.#name, this.#text, finding));
  }
}

/** @throws {ConfigError} If there is a mistake: the first in the file. */
export function throwFirst(name: string, text: string, mistakes: readonly Finding[]): void {
  if (mistakes.length === 0) return;
  const [first, ...others] = byOffset(mistakes);
  throw ConfigError.of([line(name, text, first!), ...others.map(({ said }) => said)]);
}

function byOffset(findings: readonly Finding[]): Finding[] {
  return findings.toSorted((a, b) => a.offset - b.offset);
}

function line(name: string, text: string, { offset, path, said }: Finding): string {
  const where = path.length === 0 ? "" : `${pathText(path)}: `;
  return `${name}:${lineAndColumn(text, offset)}: ${where}${said}`;
}
