/**
 * A stand-in for `jsr:@std/assert`: the functions that this project's tests use, with the published names,
 * signatures and behaviour, over `node:assert` and `node:util`.
 *
 * @module
 */
import nodeAssert from "node:assert";
import { inspect, isDeepStrictEqual } from "node:util";

/** What a failed assertion throws. */
export class AssertionError extends Error {
  /** @param message What was expected and what was there. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

// deno-lint-ignore no-explicit-any -- as published: any constructor will do.
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

/** Fails unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Fails unless `expr` is falsy. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is false | 0 | 0n | "" | null | undefined {
  if (expr) throw new AssertionError(msg);
}

/** Fails always. */
export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${msg ? `: ${msg}` : "."}`);
}

/** Fails unless both are deeply equal, 0 and -0 being the same. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isEqual(actual, expected)) return;
  throw new AssertionError(`Values are not equal${suffix(msg)}\n${differenceOf(actual, expected)}`);
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!isEqual(actual, expected)) return;
  throw new AssertionError(
    `Expected actual: ${inspect(actual)} not to be: ${inspect(expected)}${suffix(msg)}`,
  );
}

/** Fails unless both are the same by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  if (Object.is(actual, expected)) return;
  throw new AssertionError(`Values are not strictly equal${suffix(msg)}\n${differenceOf(actual, expected)}`);
}

/** Fails if the value is null or undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual !== undefined && actual !== null) return;
  throw new AssertionError(`Expected actual: "${actual}" to not be null or undefined${suffix(msg)}`);
}

/** Fails unless the value is an instance of the class. */
export function assertInstanceOf<E>(
  actual: unknown,
  // deno-lint-ignore no-explicit-any -- as published.
  expectedType: abstract new (...args: any[]) => E,
  msg?: string,
): asserts actual is E {
  if (actual instanceof expectedType) return;
  throw new AssertionError(`Expected object to be an instance of "${expectedType.name}"${suffix(msg)}`);
}

/** Fails unless the text contains the other. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(`Expected actual: "${actual}" to contain: "${expected}"${suffix(msg)}`);
}

/** Fails unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected actual: "${actual}" to match: "${expected}"${suffix(msg)}`);
}

/** Fails if the text matches. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) return;
  throw new AssertionError(`Expected actual: "${actual}" to not match: "${expected}"${suffix(msg)}`);
}

/** Fails unless each expected value is, by deep equality, among the actual ones. */
export function assertArrayIncludes<T>(actual: ArrayLike<T>, expected: ArrayLike<T>, msg?: string): void {
  const missing = Array.from(expected).filter((want) =>
    !Array.from(actual).some((have) => isEqual(have, want))
  );
  if (missing.length === 0) return;
  throw new AssertionError(
    `Expected actual: "${inspect(actual)}" to include: "${inspect(expected)}"${suffix(msg)}\nmissing: ${
      inspect(missing)
    }`,
  );
}

/** Fails unless `actual` has, deeply, what `expected` has; it may have more. Arrays are compared as far as given. */
export function assertObjectMatch(
  // deno-lint-ignore no-explicit-any -- as published.
  actual: Record<PropertyKey, any>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  assertEquals(partOf(actual, expected), partOf(expected, expected), msg);
}

/** Fails unless `actual` is greater. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) throw new AssertionError(`Expect ${actual} > ${expected}${suffix(msg)}`);
}

/** Fails unless `actual` is greater or equal. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) throw new AssertionError(`Expect ${actual} >= ${expected}${suffix(msg)}`);
}

/** Fails unless `actual` is less. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) throw new AssertionError(`Expect ${actual} < ${expected}${suffix(msg)}`);
}

/** Fails unless `actual` is less or equal. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) throw new AssertionError(`Expect ${actual} <= ${expected}${suffix(msg)}`);
}

/** Fails unless `fn` throws, and returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClassOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): E | unknown {
  const expectation = expectationOf(errorClassOrMsg, { msgIncludes, msg });
  try {
    fn();
  } catch (error) {
    return checked(error, expectation);
  }
  throw new AssertionError(`Expected function to throw${suffix(expectation.msg)}`);
}

/** Fails unless the promise of `fn` rejects, and returns what with. A synchronous throw fails too. */
export async function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClassOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<E | unknown> {
  const expectation = expectationOf(errorClassOrMsg, { msgIncludes, msg });
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (cause) {
    throw new AssertionError(`Function throws when expected to reject${suffix(expectation.msg)}`, { cause });
  }
  try {
    await promise;
  } catch (error) {
    return checked(error, expectation);
  }
  throw new AssertionError(`Expected function to reject${suffix(expectation.msg)}`);
}

interface Expectation<E extends Error> {
  readonly errorClass: ErrorClass<E> | undefined;
  readonly msgIncludes: string | undefined;
  readonly msg: string | undefined;
}

function expectationOf<E extends Error>(
  errorClassOrMsg: ErrorClass<E> | string | undefined,
  { msgIncludes, msg }: { msgIncludes: string | undefined; msg: string | undefined },
): Expectation<E> {
  return typeof errorClassOrMsg === "function"
    ? { errorClass: errorClassOrMsg, msgIncludes, msg }
    : { errorClass: undefined, msgIncludes: undefined, msg: errorClassOrMsg };
}

function checked<E extends Error>(error: unknown, { errorClass, msgIncludes, msg }: Expectation<E>): unknown {
  if (errorClass === undefined) return error;
  if (!(error instanceof Error)) throw new AssertionError(`A non-Error object was thrown${suffix(msg)}`);
  if (!(error instanceof errorClass)) {
    throw new AssertionError(
      `Expected error to be instance of "${errorClass.name}", but was "${error.constructor.name}"${
        suffix(msg)
      }`,
    );
  }
  if (msgIncludes !== undefined && !error.message.includes(msgIncludes)) {
    throw new AssertionError(
      `Expected error message to include "${msgIncludes}", but got "${error.message}"${suffix(msg)}`,
    );
  }
  return error;
}

/** Deep equality as published: as node's, but 0 is -0, and an object without a prototype is like any other. */
function isEqual(actual: unknown, expected: unknown): boolean {
  return isDeepStrictEqual(alike(actual, new Map()), alike(expected, new Map()));
}

/** A copy in which what counts as equal is the same. `seen` keeps circles circles. */
function alike(value: unknown, seen: Map<object, unknown>): unknown {
  if (value === 0) return 0;
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const isPlain = [Object.prototype, null].includes(Object.getPrototypeOf(value));
  if (!isPlain && !Array.isArray(value)) return value;
  // The length keeps holes at the end.
  const copy: object = isPlain ? {} : Object.assign([], { length: (value as unknown[]).length });
  seen.set(value, copy);
  for (const key of enumerableKeys(value)) {
    Object.defineProperty(copy, key, {
      value: alike(Reflect.get(value, key), seen),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return copy;
}

function enumerableKeys(value: object): PropertyKey[] {
  return Reflect.ownKeys(value).filter((key) => Object.prototype.propertyIsEnumerable.call(value, key));
}

/** What of `value` is also in `pattern`, as plain objects. */
function partOf(value: unknown, pattern: unknown): unknown {
  if (!isContainer(value) || !isContainer(pattern) || Array.isArray(value) !== Array.isArray(pattern)) {
    return value;
  }
  const keys = enumerableKeys(pattern).filter((key) => Object.hasOwn(value, key));
  return Object.fromEntries(
    keys.map((key) => [key, partOf(Reflect.get(value, key), Reflect.get(pattern, key))]),
  );
}

/** Whether a value is compared part by part, not as a whole. */
function isContainer(value: unknown): value is object {
  const isWhole = [Date, RegExp, URL, Map, Set].some((type) => value instanceof type);
  return typeof value === "object" && value !== null && !isWhole;
}

function suffix(msg: string | undefined): string {
  return msg ? `: ${msg}` : ".";
}

/** Node's own diff of two values. */
function differenceOf(actual: unknown, expected: unknown): string {
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (error) {
    if (error instanceof Error) return error.message;
  }
  return `${inspect(actual)} and ${inspect(expected)}`;
}
