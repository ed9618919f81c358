/**
 * A stand-in for `jsr:@std/http`: status codes and texts, over `node:http`.
 *
 * @module
 */
export * from "./status.ts";
