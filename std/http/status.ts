/**
 * HTTP status codes by name, and their texts.
 *
 * @module
 */
import { STATUS_CODES } from "node:http";

/** The codes that this project uses, by their published names. */
export const STATUS_CODE = {
  OK: 200,
  Accepted: 202,
  NoContent: 204,
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  RequestTimeout: 408,
  Conflict: 409,
  Gone: 410,
  ContentTooLarge: 413,
  UnsupportedMediaType: 415,
  UnprocessableEntity: 422,
  TooManyRequests: 429,
  InternalServerError: 500,
  NotImplemented: 501,
  BadGateway: 502,
  ServiceUnavailable: 503,
  GatewayTimeout: 504,
} as const;

/** One of the codes. */
export type StatusCode = typeof STATUS_CODE[keyof typeof STATUS_CODE];

/** Node still has the name that RFC 9110 replaced. */
const RENAMED: Readonly<Record<number, string>> = { [STATUS_CODE.ContentTooLarge]: "Content Too Large" };

/** The text of each code. */
export const STATUS_TEXT = Object.fromEntries(
  Object.values(STATUS_CODE).map((code) => [code, RENAMED[code] ?? STATUS_CODES[code] ?? ""]),
) as Record<StatusCode, string>;
