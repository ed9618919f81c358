/**
 * A real browser, headless, in which any name leads to this machine.
 *
 * @module
 */
import { type BrowserContext, chromium, type Page } from "playwright-core";

const EXECUTABLE = "/usr/bin/chromium";
const START_MS = 60_000;

/** The name of the foreign site; the browser is told that it is here. */
export const FOREIGN = "evil.example";

/** Whether it is there, and what is missing where it is not. */
export const BROWSER_MISSING: string | undefined = isFile(EXECUTABLE)
  ? undefined
  : `there is no ${EXECUTABLE}; Debian's package chromium has it`;

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** See the module's documentation. Disposing ends it and removes its profile. */
export class Browser implements AsyncDisposable {
  readonly #context: BrowserContext;
  readonly #profile: string;

  private constructor(context: BrowserContext, profile: string) {
    this.#context = context;
    this.#profile = profile;
  }

  static async start(): Promise<Browser> {
    const profile = await Deno.makeTempDir({ prefix: "sojourn-browser-" });
    try {
      const context = await chromium.launchPersistentContext(profile, {
        executablePath: EXECUTABLE,
        headless: true,
        timeout: START_MS,
        args: [
          ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
          ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
          `--host-resolver-rules=MAP ${FOREIGN} 127.0.0.1`,
          // A later browser may ask its user first. What is tested is what holds without that.
          "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights",
        ],
      });
      return new Browser(context, profile);
    } catch (error) {
      await Deno.remove(profile, { recursive: true });
      throw error;
    }
  }

  /** A page of any site: what stands at that URL comes from here, everything else from where it is. */
  async page(url: string): Promise<Page> {
    const page = await this.#context.newPage();
    await page.route(url, (route) => route.fulfill({ contentType: "text/html", body: "<body>page</body>" }));
    await page.goto(url);
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
    await Deno.remove(this.#profile, { recursive: true });
  }
}
