"use strict";
// A browser with the status page. A line of the standard input says what to do, and is answered with one line.

const { chromium } = require("playwright-core");
const readline = require("node:readline");

const { BROWSER, PAGE, OPERATE } = process.env;
const WORDS = { read_write: "Open", read_only: "Closed to writes" };

async function main() {
  const browser = await chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, locale: "en-GB" });
  page.setDefaultTimeout(20000);
  const mode = (word) => page.locator("#mode", { hasText: new RegExp(`^${WORDS[word]}$`) }).waitFor();
  await page.goto(PAGE);
  await page.fill("#token", OPERATE);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "app open" }).click();
  await mode("read_write");
  console.log("ready");

  async function flip(button, after) {
    await page.click(button);
    await page.fill("#confirm", "app");
    await page.click("#flip-do");
    await mode(after);
    return "done";
  }

  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [what, word] = line.split(" ");
    if (what === "close") console.log(await flip("#close", "read_only"));
    else if (what === "open") console.log(await flip("#open", "read_write"));
    else if (what === "epoch") {
      await mode(word);
      const term = page.locator("dt", { hasText: /^Epoch$/ });
      console.log(await term.locator("xpath=following-sibling::dd[1]").textContent());
    } else break;
  }
  await browser.close();
  console.log("done");
  // The standard input is still open, and would be waited for.
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
