"use strict";
// Drives a browser through a maintenance. What is to happen to the server is written to the standard output, a word in a line.

const { chromium } = require("playwright-core");
const axe = require("axe-core");
const readline = require("node:readline");
const assert = require("node:assert");

const { BROWSER, PAGE, READ, OPERATE, PICTURES } = process.env;
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function server(word) {
  console.log(word);
  assert.equal((await answers.next()).value, "done");
}

async function audit(page, what) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => axe.run(document));
  const told = violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("\n")}`);
  assert.equal(violations.length, 0, `axe, ${what}:\n${told.join("\n")}`);
  console.log(`axe: 0 violations: ${what}`);
}

async function picture(page, name, options) {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, ...options });
}

async function main() {
  const browser = await chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  try {
    await journey(browser);
  } finally {
    await browser.close();
  }
}

async function journey(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light", locale: "en-GB", timezoneId: "UTC" });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  const faults = [], elsewhere = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => { if (message.text().includes("Content Security Policy")) faults.push(message.text()); });
  page.on("request", (request) => { if (!request.url().startsWith(PAGE)) elsewhere.push(request.url()); });
  const mode = (text) => page.locator("#mode", { hasText: new RegExp(`^${text}$`) }).waitFor();

  // Signing in, by keyboard alone; first with a token that is wrong.
  await page.goto(PAGE);
  const paint = await page.evaluate(() => new Promise((done) => {
    new PerformanceObserver((list) => done(list.getEntriesByName("first-contentful-paint")[0]?.startTime)).observe({ type: "paint", buffered: true });
  }));
  console.log(`first paint after ${Math.round(paint)} ms`);
  await page.locator("#token").waitFor();
  await audit(page, "signing in");
  await page.keyboard.type("a token that is wrong");
  await page.keyboard.press("Enter");
  await page.getByText("This token is not known.").waitFor();
  await page.fill("#token", READ);
  await page.keyboard.press("Enter");
  await page.getByText("may look", { exact: false }).first().waitFor();
  await mode("Open");
  assert.equal(await page.locator("#close").isVisible(), false, "who may look is offered no command");
  await page.click("#sign-out");
  await page.fill("#token", OPERATE);
  await page.keyboard.press("Enter");
  await mode("Open");
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByRole("button", { name: "app open" }).click();
  await audit(page, "open");

  // A flip: the check is shown first, and the name has to be typed.
  await server("begin");
  await page.click("#close");
  await page.locator("#findings-list li").first().waitFor();
  await audit(page, "closing");
  await picture(page, "status-page-check");
  const button = page.locator("#flip-do");
  await page.fill("#o-message", "Moving to PostgreSQL 18. Reading works, saving does not.");
  await page.fill("#confirm", "ap");
  assert.equal(await button.isDisabled(), true, "half a name is no name");
  await page.fill("#confirm", "app");
  await button.click();
  await mode("Draining");

  // A drain, watched.
  await page.locator("#waits").getByText("shop").waitFor();
  assert.equal(await page.getByText("my-secret-word").count(), 0, "a constant of a statement");
  await page.waitForTimeout(1100);
  await audit(page, "draining");
  await picture(page, "status-page-draining");
  await page.emulateMedia({ colorScheme: "dark" });
  await audit(page, "draining, dark");
  await picture(page, "status-page-draining-dark");
  await page.setViewportSize({ width: 390, height: 844 });
  await audit(page, "draining, on a phone");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false, "a phone need not scroll sideways");
  await picture(page, "status-page-phone");
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });

  // Cancelled.
  await page.click("#cancel");
  await mode("Open");
  await server("commit");

  // Closed, with what it keeps out.
  await page.click("#close");
  await page.locator("#findings-list li").first().waitFor();
  await page.fill("#o-message", "Moving to PostgreSQL 18. Reading works, saving does not.");
  await page.fill("#o-expire", "2h");
  await page.fill("#confirm", "app");
  await page.keyboard.press("Enter");
  await mode("Closed to writes");
  await server("write");
  await page.locator("#kept").getByText("INSERT INTO t VALUES ($1, $2)").waitFor();
  await page.getByText("WAL position").waitFor();
  assert.equal(await page.locator("#refused").textContent(), "7");
  assert.equal(await page.locator("#errors").textContent(), "0");
  assert.equal(await page.locator("#dropped").textContent(), "0");
  assert.equal(await page.getByText("my-secret-word").count(), 0, "a constant of a statement");
  if (PICTURES) await page.waitForTimeout(15000);
  await audit(page, "closed");
  await picture(page, "status-page-closed", { fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await audit(page, "closed, dark");
  await picture(page, "status-page-closed-dark");
  await page.emulateMedia({ colorScheme: "light" });

  // The server goes, and comes back; the gate stays closed.
  await server("stop");
  await page.getByText("Connection lost, trying again").waitFor();
  await picture(page, "status-page-lost");
  await server("start");
  await page.getByText("Live", { exact: true }).waitFor();
  await mode("Closed to writes");

  // Opened again, by keyboard.
  await page.focus("#open");
  await page.keyboard.press("Enter");
  await page.keyboard.type("app");
  await page.keyboard.press("Enter");
  await mode("Open");

  // It closes by itself, for its own setting, and opens by itself.
  await server("degrade");
  await mode("Degraded");
  await page.locator("#meaning", { hasText: "default_transaction_read_only" }).waitFor();
  await page.getByRole("button", { name: "app degraded" }).waitFor();
  assert.equal(await page.locator("#open").isVisible(), false, "no command opens what has closed by itself");
  await audit(page, "degraded");
  await picture(page, "status-page-degraded");
  await server("recover");
  await mode("Open");
  await page.click("#sign-out");
  await page.locator("#token").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0, "the token is forgotten");

  assert.deepEqual(faults, [], "no error of the page's own, and nothing that its policy forbids");
  assert.deepEqual(elsewhere, [], "nothing from elsewhere");
  console.log("the journey is over");
}

main().then(() => process.exit(0), (error) => { console.log(String(error.stack || error)); process.exit(1); });
