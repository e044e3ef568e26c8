// The page in headless Chromium, against real processes. Everything that leaves the browser goes
// through a proxy that notes it.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Cluster, chiSquare, compile, dist, maskedInput, root, uniform } from "./cluster.mjs";
import { proxy } from "./proxy.mjs";

const { fromPixels } = await import(join(dist, "amicus.js"));
const PHOTOGRAPH = join(root, "crates/cli/assets/photographs/horse.png");
const DIGITS = "lenet5-mnist";
const PHOTOGRAPHS = "resnet8-cifar10-relu";
const PATIENCE = 60_000;
const pictures = join(root, "target/web");

let cluster, cheating, browser, profile, noted, page, complaints;

before(async () => {
  profile = await mkdtemp(join(tmpdir(), "amicus-chromium-"));
  const label = await compile(profile, "label", "--reveal", "label");
  [cluster, cheating, noted] = await Promise.all([
    Cluster.up(DIGITS, PHOTOGRAPHS, label),
    Cluster.up(DIGITS, "--cheat", "activation:0"),
    proxy(),
  ]);
  browser = await chromium.launchPersistentContext(join(profile, "chromium"), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
      // Loopback goes through the proxy too.
      "--proxy-bypass-list=<-loopback>",
    ],
    proxy: { server: noted.address, bypass: "<-loopback>" },
    viewport: { width: 1100, height: 900 },
  });
  browser.setDefaultTimeout(PATIENCE);
  await mkdir(pictures, { recursive: true });
});

after(async () => {
  await browser?.close();
  await Promise.all([cluster?.end(), cheating?.end(), noted?.end()]);
  if (profile) await rm(profile, { recursive: true, force: true });
});

/** Opens the page of a cluster anew. */
async function open(of = cluster, { model, problems = false } = {}) {
  await page?.close();
  page = await browser.newPage();
  complaints = [];
  page.on("console", (said) => said.type() === "error" && complaints.push(said.text()));
  noted.change = () => undefined;
  noted.forget();
  await page.goto(of.page);
  if (problems) return;
  await said("#connected", /^Connected.*for trying, and protects nobody/);
  if (model) {
    await page.click("#settings > summary");
    await page.selectOption("#model", model);
    await page.click("#go");
    await said("#connected", new RegExp(`^Connected.*${model}`));
  }
}

async function said(place, pattern) {
  const wait = ([place, pattern]) => new RegExp(pattern).test(document.querySelector(place).textContent);
  try {
    await page.waitForFunction(wait, [place, pattern.source]);
  } catch {
    const text = await page.textContent("body");
    assert.fail(`${place} does not say ${pattern}: ${text.replace(/\s+/g, " ")} ${complaints}`);
  }
}

/** Draws a seven with the mouse. */
async function seven() {
  const box = await page.locator("#draw").boundingBox();
  const at = (x, y) => [box.x + (box.width * x) / 28, box.y + (box.height * y) / 28];
  await page.mouse.move(...at(8, 7));
  await page.mouse.down();
  for (const point of [[20, 7], [17, 13], [13, 22]]) await page.mouse.move(...at(...point), { steps: 6 });
  await page.mouse.up();
}

async function answered() {
  const sent = noted.inputs().length;
  await page.click("#ask");
  await page.waitForFunction(() => !document.querySelector("#go").disabled);
  assert.ok(await page.isHidden("#problem"), await page.textContent("#problem"));
  assert.ok(noted.inputs().length > sent);
  return page.textContent("#answer");
}

/** The numbers of the picture that the network takes, as a program of ours reads its pixels. */
async function numbers(shape, low) {
  const data = await page.evaluate(() => {
    const canvas = document.querySelector("#small");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  });
  const [, height, width] = shape;
  return fromPixels({ shape, low, high: 1 }, { data: Uint8ClampedArray.from(data), width, height });
}

const shares = (outputs) => {
  const powers = outputs.map((output) => Math.exp(output - Math.max(...outputs)));
  return powers.map((power) => (100 * power) / powers.reduce((a, b) => a + b));
};

/** The bars are what the simulator's outputs say. */
async function barsAre(outputs, name) {
  const expected = shares(outputs);
  const bars = await page.$$eval("#bars li", (all) => all.map((item) => [...item.children].map((c) => c.textContent)));
  assert.equal(bars.length, outputs.length);
  for (const [text, , share] of bars) {
    const at = outputs.findIndex((_, label) => name(label) === text);
    assert.ok(Math.abs(parseFloat(share) - expected[at]) < 1.5, `${text}: ${share}, expected ${expected[at]}`);
  }
}

async function problem(...patterns) {
  await page.waitForSelector("#problem", { state: "visible" });
  const text = await page.textContent("#problem");
  for (const pattern of patterns) assert.match(text, pattern);
  // Whoever uses a screen reader is told, and is there.
  assert.equal(await page.evaluate(() => document.activeElement.id), "problem");
}

test("a drawn digit is classified as by the simulator, and no pixel leaves unmasked", async () => {
  await open();
  // Tokens do not stay in the address, and went to nobody.
  assert.ok(!page.url().includes("#"));
  await seven();
  const first = await answered();
  const image = await numbers([1, 28, 28], 0);
  const simulated = await cluster.simulate(DIGITS, [1, 28, 28], image);
  assert.equal(first, String(simulated.indexOf(Math.max(...simulated))));
  assert.equal(first, "7");
  await barsAre(simulated, String);
  const states = await page.$$eval("#steps li", (all) => all.map((item) => item.dataset.state));
  // One party's masked answer is enough.
  assert.ok(states.length === 9 && states.every((state, at) => state === "done" || (state === "spare" && [5, 6].includes(at))), states);
  await page.screenshot({ path: join(pictures, "light.png"), fullPage: true });
  const one = noted.posts();
  noted.forget();
  assert.equal(await answered(), first);
  const two = noted.posts();
  noted.forget();
  // Another picture.
  await page.click("#clear");
  await page.locator("#draw").click();
  await answered();
  const other = noted.posts();

  const of = (posts, end) => posts.filter(({ path }) => path.endsWith(end)).map(({ body }) => body);
  const inputs = [one, two].map((posts) => of(posts, "/input").map(maskedInput));
  assert.deepEqual(inputs.map((all) => all.length), [2, 2]);
  for (const [input, same] of inputs) {
    assert.deepEqual(input, same);
    assert.ok(uniform(input), `chi-square ${chiSquare(input)}`);
  }
  const equal = inputs[0][0].filter((byte, at) => byte === inputs[1][0][at]).length;
  assert.ok(equal < inputs[0][0].length / 64, `${equal} of ${inputs[0][0].length} bytes are the same`);
  // The picture itself, in any form that the page has it, would fail that.
  for (const raw of [Buffer.from(image.buffer), Buffer.from(image.map((value) => value * 255))]) {
    assert.ok(!uniform(raw));
  }
  // Whatever else is sent is as long for every picture, and to the helper the same.
  for (const posts of [one, two, other]) {
    assert.deepEqual(of(posts, "/v1/inferences"), of(one, "/v1/inferences"));
    const others = posts.filter(({ path }) => !path.endsWith("/input") && !path.endsWith("/v1/inferences"));
    for (const { body, path, method } of others) {
      assert.ok(path.endsWith("/collected") ? body.length === 32 : method === "DELETE" && body.length === 0, path);
    }
  }
  const { page: address, relays } = cluster.ready.web;
  const nodes = new Set(noted.requests.map(({ origin }) => origin));
  for (const node of nodes) assert.ok([...relays, new URL(address).origin].includes(node), node);
  assert.deepEqual(complaints, []);
});

test("a photograph is classified as by the simulator", async () => {
  await open(cluster, { model: PHOTOGRAPHS });
  assert.ok(await page.isHidden("#draw"));
  const dropped = await page.evaluateHandle((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(bytes)], "horse.png", { type: "image/png" }));
    return transfer;
  }, [...(await readFile(PHOTOGRAPH))]);
  await page.dispatchEvent("main", "drop", { dataTransfer: dropped });
  await page.waitForFunction(() => !document.querySelector("#ask").disabled);
  const answer = await answered();
  const image = await numbers([3, 32, 32], -1);
  const simulated = await cluster.simulate(PHOTOGRAPHS, [3, 32, 32], image);
  const names = cluster.described.models[1].classes;
  assert.equal(answer, names[simulated.indexOf(Math.max(...simulated))]);
  assert.equal(answer, "horse");
  await barsAre(simulated, (label) => names[label]);
  for (const { body } of noted.inputs()) assert.ok(uniform(maskedInput(body)));
  // The masked picture is noise.
  const masked = await page.evaluate(() => [...document.querySelector("#masked").getContext("2d").getImageData(0, 0, 32, 32).data]);
  assert.ok(uniform(Buffer.from(masked.filter((_, at) => at % 4 < 3))));
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: join(pictures, "dark.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  assert.ok((await page.evaluate(() => document.scrollingElement.scrollWidth)) <= 390);
  await page.screenshot({ path: join(pictures, "narrow.png"), fullPage: true });
  await page.setViewportSize({ width: 1100, height: 900 });
});

test("what a plan reveals is said, and when not to rely on an answer", async () => {
  await open(cluster, { model: "label" });
  await said("#reveals", /reveals only the label, no numbers. It also tells you if/);
  // Whether somebody could ask before the picture is there: about the one before it.
  const picture = async (...colours) =>
    page.evaluate(async ([ground, stripes]) => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
      const context = canvas.getContext("2d");
      context.fillStyle = ground;
      context.fillRect(0, 0, 28, 28);
      context.fillStyle = stripes;
      for (let at = 4; at < 28; at += 8) context.fillRect(0, at, 28, 4);
      const blob = await new Promise((done) => canvas.toBlob(done));
      const transfer = new DataTransfer();
      transfer.items.add(new File([blob], "a.png", { type: "image/png" }));
      const input = document.querySelector("#file");
      input.files = transfer.files;
      input.dispatchEvent(new Event("change"));
      return !document.querySelector("#ask").disabled;
    }, colours);
  assert.ok(!(await picture("#808080", "#888888")));
  await answered();
  assert.equal(await page.locator("#bars li").count(), 1);
  assert.ok(await page.isHidden("#outside"));
  // Stripes, which no calibration saw: numbers inside are three times as large as they may be. Those a little beyond
  // are told of by chance.
  assert.ok(!(await picture("#000000", "#ffffff")));
  await answered();
  assert.ok(await page.isVisible("#outside"));
  assert.match(await page.textContent("#outside"), /Do not rely on this answer/);
});

test("a party that cheats is shown as caught, and the next answer comes", async () => {
  await open(cheating);
  await seven();
  await page.click("#ask");
  await problem(/A party cheated, and was caught/, /deviated from the protocol; nothing was released/, /one of the parties; which one, the check cannot tell/, /tell the operators/, /had left this browser, masked/);
  assert.match(await page.textContent('#steps li[data-state="failed"]'), /Check accepted/);
  assert.equal(await page.locator("#bars li").count(), 0);
  await page.screenshot({ path: join(pictures, "cheated.png"), fullPage: true });
  assert.equal(await answered(), "7");
});

test("another fingerprint stops it before anything is sent", async () => {
  await open();
  await seven();
  await page.click("#settings > summary");
  await page.fill("#fingerprint", "ab".repeat(32));
  noted.forget();
  await page.click("#go");
  await problem(/expected is abab/, /the model owner's/, /Nothing of your picture has left/);
  assert.ok(await page.isDisabled("#ask"));
  assert.deepEqual(noted.posts(), []);
  // A party that names another model once the page is connected.
  await open();
  await seven();
  noted.forget();
  noted.change = ({ path, method, origin }) =>
    method === "GET" && path === "/v1/info" && origin === cluster.ready.web.relays[2]
      ? (body) => Buffer.from(String(body).replaceAll(/"fingerprint":"\w{4}/g, '"fingerprint":"abcd'))
      : undefined;
  await page.click("#ask");
  await problem(/party 1, party 2 or model owner misbehaved/, /Nothing of your picture has left/);
  assert.deepEqual(noted.posts(), []);
});

test("what is wrong with picture, tokens and nodes is said, and nothing is sent", async () => {
  await open();
  await page.setInputFiles("#file", { name: "notes.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await problem(/“notes.png” is no picture/, /choose a PNG or JPEG/, /Nothing of your picture/);
  assert.ok(await page.isDisabled("#ask"));
  // Through the package: shapes and numbers that the page itself never makes.
  const [cluster_, tokens] = [cluster.described, cluster.tokens];
  const refusals = await page.evaluate(async ([cluster, tokens, model]) => {
    const { connect } = await import("./amicus.js");
    const client = await connect(cluster, tokens, { model });
    const of = (numbers) => client.predict(numbers).then(() => "answered", (error) => error.message);
    return [await of(new Float32Array(3)), await of(new Float32Array(784).fill(NaN)), await of([1, 2, 3])];
  }, [cluster_, tokens, DIGITS]);
  ["3 numbers, expected 784", "element 0 is NaN", "no Float32Array"].forEach((words, at) => assert.ok(refusals[at].includes(words), refusals[at]));

  await seven();
  noted.change = ({ origin }) => (origin === cluster.ready.web.relays[2] ? "away" : undefined);
  await page.click("#ask");
  await problem(/party 2 does not answer/, /party 2's operator's, or the network's/, /certificate is from an authority/, /Nothing of your picture/);
  noted.change = () => undefined;
  await cluster.expire("party-1", 1);
  await page.click("#ask");
  await said("#problem", /party 1, GET \/v1\/info/);
  await problem(/yours/, /Nothing of your picture/);
  await cluster.expire("party-1", null);
  assert.deepEqual(noted.posts(), []);
  assert.equal(await answered(), "7");
  await page.click("#settings > summary");
  await page.fill("#tokens", "");
  await page.click("#go");
  await problem(/there is no token for helper/);
});

test("a node whose certificate no authority vouches for is refused", async () => {
  await open(cluster, { problems: true });
  const own = cluster.ready.nodes[1].public;
  const reasons = [];
  page.on("requestfailed", (request) => request.url().startsWith(own) && reasons.push(request.failure().errorText));
  noted.change = ({ path }) => {
    // A page that may talk to any node, and that is told the node's own port.
    if (path === "/") return (body, headers) => (delete headers["content-security-policy"], body);
    const relay = cluster.ready.web.relays[1];
    if (path === "/cluster.json") return (body) => Buffer.from(String(body).replace(relay, own));
  };
  await page.goto("about:blank");
  await page.goto(cluster.page);
  await problem(/party 1 does not answer/, /certificate is from an authority that browsers trust/, /Nothing of your picture/);
  assert.deepEqual(reasons, ["net::ERR_CERT_AUTHORITY_INVALID"]);
});

test("it can be used with keys alone, and says what it does", async () => {
  await open();
  const tab = async (id) => {
    for (let times = 0; times < 20; times++) {
      if ((await page.evaluate(() => document.activeElement.id)) === id) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`no way to ${id} with Tab`);
  };
  await tab("draw");
  for (let up = 0; up < 7; up++) await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Space");
  await said("#pen", /Pen down, column 14 of 27, row 7 of 27/);
  for (let down = 0; down < 14; down++) await page.keyboard.press("ArrowDown");
  await tab("ask");
  await page.keyboard.press("Enter");
  await said("#answer", /^1$/);
  await said("#said", /Unmask the answer here: done/);
  // Everything that can be focused has a name, every picture too.
  const nameless = await page.$$eval("button, input, select, textarea, canvas, meter", (all) =>
    all.filter((one) => !(one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim())).map((one) => one.outerHTML));
  assert.deepEqual(nameless, []);
  // Words are as dark as they must be for weak eyes, on light and on dark.
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const [place, least] of [["body", 7], [".quiet", 4.5], ["#go", 4.5], ['#steps li', 4.5]]) {
      const contrast = await page.evaluate(contrastOf, place);
      assert.ok(contrast >= least, `${place}, ${colorScheme}: ${contrast}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
});

function contrastOf(place) {
  const element = document.querySelector(place);
  const light = (colour) => {
    const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const both = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light);
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}

test("nothing runs that is not the page's own, and other pages get no answer", async () => {
  const address = new URL(cluster.page).origin;
  for (const file of ["page.js", "amicus.js", "amicus.wasm", "page.css"]) {
    await open(cluster, { problems: true });
    noted.change = ({ path }) => (path === `/${file}` ? (body) => Buffer.concat([body, Buffer.from(" ")]) : undefined);
    await page.reload();
    // What the page asked before may still be on its way to the proxy: what counts is what it asks from now on.
    const asked = new Set();
    page.on("request", (request) => asked.add(new URL(request.url()).origin));
    await page.goto(cluster.page);
    await page.reload();
    await page.waitForLoadState("networkidle");
    if (file === "page.css") assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).maxWidth), "960px");
    else assert.ok(!/^Connected/.test(await page.textContent("#connected")), file);
    if (file !== "page.css") assert.deepEqual([...asked], [address], file);
  }
  noted.change = () => undefined;
  await open();
  const inline = await page.evaluate(() => {
    const script = document.createElement("script");
    try {
      script.textContent = "globalThis.foreign = true";
    } catch {
      return "refused";
    }
    document.body.append(script);
    return globalThis.foreign === true ? "ran" : "refused";
  });
  assert.equal(inline, "refused");
  const away = await page.evaluate(() => fetch("https://one.example/").then(() => "sent", () => "refused"));
  assert.equal(away, "refused");
  assert.ok(noted.requests.every(({ origin }) => !origin.includes("one.example")));
  // The page of another cluster, with the right tokens: nodes do not answer its origin.
  await open(cheating);
  const foreign = await page.evaluate(async ([node]) => {
    const script = await fetch(`${node}/v1/info`, { headers: { authorization: "Bearer x" } }).then(() => "answered", () => "refused");
    return script;
  }, cluster.ready.web.relays);
  assert.equal(foreign, "refused");
  const headers = { origin: new URL(cheating.page).origin, "access-control-request-method": "GET" };
  const preflight = await fetch(`${cluster.ready.web.relays[0]}/v1/info`, { method: "OPTIONS", headers });
  assert.equal(preflight.status, 403);
  const served = await fetch(cluster.page);
  assert.match(served.headers.get("content-security-policy"), /default-src 'none'.*frame-ancestors 'none'/);
  const misled = await fetch(`${address}/../Cargo.toml`);
  assert.equal(misled.status, 404);
  assert.ok((await readFile(join(dist, "index.html"), "utf8")).includes('integrity="sha384-'));
});
