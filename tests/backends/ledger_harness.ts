/**
 * Lives of a gateway, as far as its ledger goes, and real processes that they leave.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { MARKER_VARIABLE } from "../../backends/child_env.ts";
import { type IsOwned, ProcessLedger } from "../../backends/process_ledger.ts";
import { ProcessTable } from "../../backends/process_table.ts";
import type { Snapshot } from "../../backends/snapshot.ts";
import { type Clock, systemClock } from "../../clock.ts";
import { SqliteLedger } from "../../stores/ledger.ts";
import type { ProcessInfo, ProcessRows, RunRow } from "../../stores/process_rows.ts";
import { StoreError } from "../../stores/store_error.ts";
import type { Folder } from "../stores/helpers.ts";
import { processes, runs } from "./harness.ts";

export const FAST = { termAfterMs: 0, killAfterMs: 200 };
/** How long a child of this run has to look lost. */
export const GRACE_MS = 15_000;

/** A machine on which signals can be switched off, and looks are counted. */
export class SwitchedTable extends ProcessTable {
  deaf = false;
  looks = 0;

  override signal(...args: Parameters<ProcessTable["signal"]>): void {
    if (!this.deaf) super.signal(...args);
  }

  override signalGroup(...args: Parameters<ProcessTable["signalGroup"]>): void {
    if (!this.deaf) super.signalGroup(...args);
  }

  override snapshot(): Promise<Snapshot> {
    this.looks++;
    return super.snapshot();
  }
}

/** Rows that can be switched to fail. */
export class SwitchedRows implements ProcessRows {
  broken = false;
  readonly run: RunRow;
  readonly #rows: ProcessRows;

  constructor(rows: ProcessRows) {
    this.#rows = rows;
    this.run = rows.run;
  }

  #do<Result>(work: (rows: ProcessRows) => Result): Result {
    if (this.broken) throw new StoreError("full", "/there", "is full");
    return work(this.#rows);
  }

  earlier = () => this.#do((rows) => rows.earlier());
  add = (process: ProcessInfo) => this.#do((rows) => rows.add(process));
  remove = (ids: readonly number[]) => this.#do((rows) => rows.remove(ids));
  rename = (sessions: ReadonlyMap<number, string>) => this.#do((rows) => rows.rename(sessions));
  forget = (runIds: readonly number[]) => this.#do((rows) => rows.forget(runIds));
  close = () => this.#rows.close();
}

/** One life of a gateway, as far as its ledger goes. */
export class Run implements AsyncDisposable {
  readonly table: SwitchedTable;
  readonly rows: SwitchedRows;
  readonly ledger: ProcessLedger;
  /** How far its clock is ahead, in ms. */
  aheadMs = 0;

  constructor(folder: Folder, { boot = "boot", procRoot = "/proc" } = {}) {
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + this.aheadMs };
    this.table = new SwitchedTable({ clock: systemClock, procRoot });
    const path = folder.file("processes.db");
    this.rows = new SwitchedRows(new SqliteLedger({ path, boot, startedAt: 0 }));
    this.ledger = new ProcessLedger({ rows: this.rows, processes: this.table, clock });
  }

  /** Looks twice, with the time between that lost children get. */
  async reconcile(isOwned?: IsOwned): Promise<void> {
    await this.ledger.reconcile(isOwned);
    this.aheadMs += GRACE_MS;
    await this.ledger.reconcile(isOwned);
    await this.ledger.settled(FAST);
  }

  /** As if it had been killed: what it wrote stays. */
  die(): void {
    this.rows.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ledger.close(FAST);
  }
}

/** A process with a marker, in a group and a session of its own. */
export class Left implements AsyncDisposable {
  readonly pid: number;
  readonly startTime: number;
  readonly #exited: Promise<void>;

  constructor(readonly marker: string, script = "exec sleep 100000") {
    const env = { PATH: Deno.env.get("PATH")!, [MARKER_VARIABLE]: marker };
    const child = spawn("sh", ["-c", script], { env, detached: true, stdio: "ignore" });
    this.#exited = new Promise((resolve) => void child.once("exit", () => resolve()));
    this.pid = child.pid!;
    this.startTime = processes.read(this.pid)!.startTime;
  }

  get alive(): boolean {
    return runs(this.pid);
  }

  get info(): ProcessInfo {
    const { pid, startTime, marker } = this;
    return { pid, pgrp: pid, startTime, marker, serverId: "files", session: "s1", startedAt: 0 };
  }

  async exited(): Promise<void> {
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) Deno.kill(-this.pid, "SIGKILL");
    await this.#exited;
  }
}

/** Until a process shows its environment: right after its start it still shows this one's. */
export async function started(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 100));
}

export const counters = ({ ledger }: Run) => {
  const { orphansEnded, strayEnded, entriesRemoved } = ledger.counters;
  return { orphansEnded, strayEnded, entriesRemoved };
};
