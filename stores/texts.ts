/**
 * The texts of many sessions in one table, each once.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";

/** Part of the first schema of the sessions. */
export const TEXTS_SCHEMA = `
    CREATE TABLE texts (
      id INTEGER PRIMARY KEY,
      hash BLOB NOT NULL UNIQUE,
      text TEXT NOT NULL
    ) STRICT;
`;

/** In UTF-16 code units, of all texts that are remembered. Clients of one kind send the same texts. */
const MAX_REMEMBERED = 4 * 1024 * 1024;
/** Of one of them: a longer one would drive out many that are of more use. */
const MAX_REMEMBERED_TEXT = MAX_REMEMBERED / 16;

/** Ids of texts, and texts of ids. Remembers some, so that most look-ups read nothing. */
export class Texts {
  readonly #find: StatementSync;
  readonly #insert: StatementSync;
  readonly #read: StatementSync;
  readonly #ids = new Map<string, number>();
  readonly #texts = new Map<number, string>();
  /** In UTF-16 code units. */
  #remembered = 0;

  constructor(database: DatabaseSync) {
    this.#find = database.prepare("SELECT id FROM texts WHERE hash = ?");
    this.#insert = database.prepare("INSERT INTO texts (hash, text) VALUES (?, ?)");
    this.#read = database.prepare("SELECT text FROM texts WHERE id = ?");
  }

  /** Puts a text down unless it is there. For within a transaction; {@link forget} when that fails. */
  idOf(text: string): number {
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    const hash = createHash("sha256").update(text).digest();
    const found = this.#find.get(hash) as { id: number } | undefined;
    const id = found?.id ?? Number(this.#insert.run(hash, text).lastInsertRowid);
    this.#remember(id, text);
    return id;
  }

  /** @throws {Error} Where there is no such text, which only damage to the file can bring about. */
  textOf(id: number): string {
    const known = this.#texts.get(id);
    if (known !== undefined) return known;
    const found = this.#read.get(id) as { text: string } | undefined;
    if (found === undefined) throw new Error(`malformed: text ${id} is missing`);
    this.#remember(id, found.text);
    return found.text;
  }

  /** What a transaction that failed put down is not there. */
  forget(): void {
    this.#ids.clear();
    this.#texts.clear();
    this.#remembered = 0;
  }

  #remember(id: number, text: string): void {
    if (text.length > MAX_REMEMBERED_TEXT) return;
    if (this.#remembered + text.length > MAX_REMEMBERED) this.forget();
    this.#ids.set(text, id);
    this.#texts.set(id, text);
    this.#remembered += text.length;
  }
}
