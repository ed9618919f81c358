/**
 * All timers of a clock behind one timer of the runtime.
 *
 * A timer of the runtime costs hundreds of bytes and microseconds to set, and when 100,000 of them are due at once
 * nothing else gets a turn until the last has fired. Here a timer is an entry of a heap in typed arrays, and only the
 * earliest one is known to the runtime.
 *
 * Why a heap of four children and no timing wheel: both meet the aims, and the heap keeps instants exactly as they
 * are. It has no resolution to round to, no levels to cascade through (a stall in itself), no bound to how far away a
 * timer may be, and it always knows which timer is next. The usual timer, due after all others, is set without moving
 * any; else setting and cancelling move some `log4(n)` entries, 8 at 100,000. Four children lie side by side in
 * memory, so the heap of four is half as deep as one of two at about the same cost per level.
 *
 * ## What holds
 *
 * - A timer never fires before its instant, and fires as soon after it as the runtime's own would.
 * - Timers fire by their instants, and by age where those are equal. One that is set by a callback fires in a later
 *   turn, as with the runtime.
 * - Between two callbacks microtasks get their turn: what a callback posts to an actor is handled, and counts
 *   towards the budget.
 * - After the budget the rest waits for another turn of the event loop, in which I/O is served.
 * - A callback that throws is reported as the runtime does it, and the others fire.
 * - While a timer is set a timer of the runtime is, and while none is set none is.
 *
 * ## Memory
 *
 * 32 bytes for each timer of the highest number that was ever set at once (rounded up to a power of two), given back
 * when none is set; a timer of `after` takes 120 more, its callback aside; one of `set` takes no more. A timer is let
 * go as soon as it fires or is cancelled. A slot is used again, which does no harm: it names a timer only where that is
 * the one that lies there.
 *
 * @module
 */

/** Cancels a timer. Harmless when it has fired or was cancelled before. */
export type Cancel = () => void;

/** A timer as its owner keeps it. Of one clock only, and set at most once at a time. */
export interface Timer {
  /** Where the clock finds it; -1 to begin with. Nobody else writes to it. */
  slot: number;
  /** Called when its instant has come; it is not set any more then. */
  fire(): void;
}

/** What a {@link TimerQueue} stands on. */
export interface TimerQueueOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /**
   * Calls `fn` once, about `delayMs` from now and in a turn of its own; too early does no harm. At most one such
   * timer is set at any time.
   *
   * @param delayMs From 0 to {@link MAX_ARM_MS}.
   */
  readonly arm: (delayMs: number, fn: () => void) => Cancel;
}

/** The longest delay that a timer of the runtime takes, in ms; a longer one fires at once. */
export const MAX_ARM_MS = 2 ** 31 - 1;
/**
 * How long callbacks may run before everybody else gets a turn, in ms. Half of what a stall may take: the last callback
 * and a garbage collection come on top.
 */
export const SLICE_MS = 5;

const CHILDREN = 4;
/** Entries that there is room for at the least. */
const MIN_CAPACITY = 64;

/** See the module's documentation. */
export class TimerQueue {
  readonly #options: TimerQueueOptions;
  #size = 0;
  // The heap: what belongs to the timer at each place of it. Parents are never due after their children.
  #due = new Float64Array(MIN_CAPACITY);
  /** The age of each timer: how many were set before it. */
  #age = new Float64Array(MIN_CAPACITY);
  /** The slot of each timer: where it is found however it moves. Behind the heap follow the slots that are free. */
  #slot = Uint32Array.from({ length: MIN_CAPACITY }, (_, slot) => slot);
  // By slot.
  #place = this.#slot.slice();
  #timer: (Timer | undefined)[] = [];

  #nextAge = 0;
  /** The timer of the runtime, and for which instant it was set. */
  #armed: { readonly at: number; readonly cancel: Cancel } | undefined;
  /** Callbacks are being run: the runtime's timer is set when they are through. */
  #firing = false;
  /** Until when the callbacks of this turn may run. */
  #sliceEnd = 0;
  /** The age of the first timer that was set in this turn, if any was. */
  #sliceAge = 0;

  constructor(options: TimerQueueOptions) {
    this.#options = options;
  }

  /** How many timers are set. */
  get size(): number {
    return this.#size;
  }

  /** How many timers there is room for without asking for memory. */
  get capacity(): number {
    return this.#due.length;
  }

  /**
   * Calls `fn` once, `delayMs` from now.
   *
   * @param delayMs Milliseconds, finite; below 0 counts as 0.
   */
  after(delayMs: number, fn: () => void): Cancel {
    const timer = new Once(fn);
    this.set(delayMs, timer);
    // A bound function is smaller than a closure with its scope.
    return this.#cancel.bind(this, timer);
  }

  #cancel(timer: Once): void {
    this.clear(timer);
    timer.letGo();
  }

  /**
   * Sets a timer, or sets it anew.
   *
   * @param delayMs Milliseconds, finite; below 0 counts as 0.
   */
  set(delayMs: number, timer: Timer): void {
    this.clear(timer);
    const due = this.#options.now() + Math.max(0, delayMs);
    const place = this.#size++;
    if (place === this.capacity) this.#resize(2 * place);
    const slot = timer.slot = this.#slot[place]!;
    this.#timer[slot] = timer;
    this.#rise(place, due, this.#nextAge++, slot);
    if (!this.#firing && !(this.#armed !== undefined && this.#armed.at <= due)) this.#arm();
  }

  /** Takes a timer back. Harmless where it is not set, also because it fired. */
  clear(timer: Timer): void {
    if (this.#timer[timer.slot] !== timer) return;
    this.#remove(this.#place[timer.slot]!);
    // Where others are left, the runtime's timer may be early for them, and then looks again.
    if (this.#size === 0 && !this.#firing) this.#arm();
  }

  /** Sets the timer of the runtime for what is next. */
  #arm(): void {
    this.#armed?.cancel();
    this.#armed = undefined;
    if (this.#size === 0) return this.#resize(MIN_CAPACITY);
    const at = this.#due[0]!;
    const delayMs = Math.min(Math.max(0, at - this.#options.now()), MAX_ARM_MS);
    this.#armed = { at, cancel: this.#options.arm(delayMs, this.#onArmed) };
  }

  readonly #onArmed = (): void => {
    this.#armed = undefined;
    this.#firing = true;
    this.#sliceEnd = this.#options.now() + SLICE_MS;
    this.#sliceAge = this.#nextAge;
    this.#step();
  };

  /** Runs the next callback where one is due and may run in this turn; then comes again, behind its microtasks. */
  readonly #step = (): void => {
    const now = this.#options.now();
    const isOver = this.#size === 0 || this.#due[0]! > now || this.#age[0]! >= this.#sliceAge ||
      now >= this.#sliceEnd;
    if (isOver) {
      this.#firing = false;
      return this.#arm();
    }
    const timer = this.#remove(0);
    try {
      timer.fire();
    } catch (error) {
      reportError(error);
    } finally {
      queueMicrotask(this.#step);
    }
  };

  /** Takes a timer out of the heap and returns returns it. */
  #remove(place: number): Timer {
    const slot = this.#slot[place]!;
    const timer = this.#timer[slot]!;
    this.#timer[slot] = undefined;
    const last = --this.#size;
    if (place < last) {
      const due = this.#due[last]!;
      const age = this.#age[last]!;
      // It comes from another branch, and may have to go either way.
      const hole = this.#sink(place, due, age);
      this.#rise(hole, due, age, this.#slot[last]!);
    }
    this.#slot[last] = slot;
    return timer;
  }

  /** Moves a free place up until a timer may take it, and puts that there. */
  #rise(place: number, due: number, age: number, slot: number): void {
    while (place > 0) {
      const parent = Math.floor((place - 1) / CHILDREN);
      if (!this.#isAfter(parent, due, age)) break;
      this.#move(parent, place);
      place = parent;
    }
    this.#put(place, due, age, slot);
  }

  /** Moves a free place down as long as a timer there would be due after a child; returns where it came to lie. */
  #sink(place: number, due: number, age: number): number {
    for (;;) {
      const first = CHILDREN * place + 1;
      const end = Math.min(first + CHILDREN, this.#size);
      if (first >= end) return place;
      let next = first;
      for (let child = first + 1; child < end; child++) {
        if (this.#isAfter(next, this.#due[child]!, this.#age[child]!)) next = child;
      }
      if (this.#isAfter(next, due, age)) return place;
      this.#move(next, place);
      place = next;
    }
  }

  /** Whether the timer at a place fires after one of that instant and age. */
  #isAfter(place: number, due: number, age: number): boolean {
    const itsDue = this.#due[place]!;
    return itsDue > due || (itsDue === due && this.#age[place]! > age);
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#due[from]!, this.#age[from]!, this.#slot[from]!);
  }

  #put(place: number, due: number, age: number, slot: number): void {
    this.#due[place] = due;
    this.#age[place] = age;
    this.#slot[place] = slot;
    this.#place[slot] = place;
  }

  /** Makes room for so many timers, at least as many as are set; for fewer than before only where none is set. */
  #resize(capacity: number): void {
    if (capacity === this.capacity) return;
    const [due, age, slots, places] = [this.#due, this.#age, this.#slot, this.#place];
    this.#due = new Float64Array(capacity);
    this.#age = new Float64Array(capacity);
    this.#slot = Uint32Array.from({ length: capacity }, (_, slot) => slot);
    this.#place = this.#slot.slice();
    if (capacity < due.length) return void (this.#timer = []);
    this.#due.set(due);
    this.#age.set(age);
    this.#slot.set(slots);
    this.#place.set(places);
  }
}

/** The timer of an `after`. Whoever still holds its cancel function does not hold the callback. */
class Once implements Timer {
  slot = -1;
  #fn: (() => void) | undefined;

  constructor(fn: () => void) {
    this.#fn = fn;
  }

  fire(): void {
    const fn = this.#fn;
    this.letGo();
    fn?.();
  }

  letGo(): void {
    this.#fn = undefined;
  }
}
