// What the WebAssembly client costs in headless Chromium, and how large the package is.
//
//     node web/test/figures.mjs [MODEL...]

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";
import { Cluster, dist } from "./cluster.mjs";

const models = process.argv.length > 2 ? process.argv.slice(2) : ["lenet5-mnist", "alexnet-cifar10"];
const TIMES = 50;
let whole = 0;
for (const file of ["amicus.js", "amicus.wasm"]) {
  const bytes = await readFile(join(dist, file));
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  whole += gzipped;
  console.log(`${file}: ${bytes.length} bytes, ${gzipped} gzipped`);
}
console.log(`package: ${whole} bytes gzipped`);
const profile = await mkdtemp(join(tmpdir(), "amicus-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const cluster = await Cluster.up(...models);
try {
  console.log(`Chromium ${browser.browser()?.version() ?? ""}, medians of ${TIMES} inferences`);
  for (const model of models) {
    const page = await browser.newPage();
    await page.goto(new URL("index.html", cluster.page).href);
    const found = await page.evaluate(async ([cluster, tokens, model, times]) => {
      const { connect } = await import("./amicus.js");
      const client = await connect(cluster, tokens, { model });
      const numbers = new Float32Array(client.plan.shape.reduce((a, b) => a * b, 1)).fill(0.5);
      const all = [];
      for (let at = 0; at < times; at++) {
        const begun = performance.now();
        const { took } = await client.predict(numbers);
        all.push({ ...took, both: took.mask + took.unmask, whole: performance.now() - begun });
      }
      const median = (of) => all.map(of).sort((a, b) => a - b)[times >> 1];
      return Object.fromEntries(Object.keys(all[0]).map((key) => [key, median((one) => one[key])]));
    }, [cluster.described, cluster.tokens, model, TIMES]);
    const shown = Object.entries(found).map(([key, value]) => `${key} ${value.toFixed(2)} ms`);
    console.log(`${model}: ${shown.join(", ")}`);
    await page.close();
  }
} finally {
  await browser.close();
  await cluster.end();
  await rm(profile, { recursive: true, force: true });
}
