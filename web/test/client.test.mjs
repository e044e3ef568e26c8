// The package in Node, against real processes: no browser needed.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cluster, chiSquare, compile, dist, maskedInput, uniform } from "./cluster.mjs";

const { AmicusError, connect, fromPixels, parseTokens } = await import(join(dist, "amicus.js"));
const wasm = await readFile(join(dist, "amicus.wasm"));
let cluster, folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "amicus-models-"));
  const compiled = [compile(folder, "outputs"), compile(folder, "label", "--reveal", "label")];
  cluster = await Cluster.up("lenet5-mnist", ...(await Promise.all(compiled)));
});
after(async () => {
  await cluster?.end();
  if (folder) await rm(folder, { recursive: true });
});

/** Requests that went through, and a `fetch` that notes them. */
function noted(change = (_, answer) => answer) {
  const requests = [];
  const ask = async (url, options = {}) => {
    const path = new URL(url).pathname;
    const noted = { path, origin: new URL(url).origin, method: options.method, body: options.body?.slice() };
    requests.push(noted);
    return change(noted, await fetch(url, options));
  };
  return { requests, ask, posts: () => requests.filter(({ method }) => method !== "GET") };
}

const image = () => Float32Array.from({ length: 784 }, (_, at) => ((at % 28) - 14) ** 2 < 9 ? (at % 7) / 7 : 0);
const client = (options = {}) =>
  connect(cluster.described, cluster.tokens, { wasm, model: "lenet5-mnist", ...options });

async function refused(promise, parts) {
  const error = await promise.then(() => assert.fail("it went through"), (error) => error);
  assert.ok(error instanceof AmicusError, String(error.stack));
  for (const part of ["what", "where", "whose", "next"]) assert.ok(error[part], part);
  for (const [part, wanted] of Object.entries(parts)) {
    if (wanted instanceof RegExp) assert.match(error[part], wanted);
    else assert.equal(error[part], wanted, `${part} of ${error}`);
  }
  return error;
}

test("answers are the simulator's, and what is sent is uniform and new every time", async () => {
  const { ask, requests } = noted();
  const asked = await client({ fetch: ask });
  assert.deepEqual(asked.plan.shape, [1, 28, 28]);
  assert.equal(asked.fingerprint, cluster.ready.models[0].fingerprint);
  const numbers = image();
  const steps = [];
  const first = await asked.predict(numbers, { onstep: (step) => steps.push(step) });
  const simulated = await cluster.simulate("lenet5-mnist", [1, 28, 28], numbers);
  first.outputs.forEach((output, at) => assert.ok(Math.abs(output - simulated[at]) < 0.02, `${first.outputs}`));
  assert.equal(first.class, simulated.indexOf(Math.max(...simulated)));
  const names = steps.map(({ step }) => step);
  assert.deepEqual(names.slice(0, 3), ["compared", "asked", "masked"]);
  assert.equal(names.at(-1), "unmasked");
  assert.ok(names.includes("accepted"));

  const second = await asked.predict(numbers);
  assert.equal(second.class, first.class);
  const inputs = requests.filter(({ path }) => path.endsWith("/input")).map(({ body }) => maskedInput(body));
  assert.equal(inputs.length, 4);
  // Both parties are sent the same; nobody is sent it twice.
  assert.deepEqual(inputs[0], inputs[1]);
  const same = inputs[0].filter((byte, at) => byte === inputs[2][at]).length;
  assert.ok(same < inputs[0].length / 64, `${same} of ${inputs[0].length} bytes are the same`);
  for (const input of inputs) assert.ok(uniform(input), `chi-square ${chiSquare(input)}`);
  // An image that is not masked does not pass.
  assert.ok(!uniform(new Uint8Array(numbers.buffer)));
  const { picture } = steps.find(({ step }) => step === "masked");
  assert.ok(uniform(Buffer.concat([picture, inputs[0]])) && picture.length === 784);
});

test("all memory of the module is wiped after every inference, also one that fails", async () => {
  const memories = [];
  const instantiate = WebAssembly.instantiate;
  WebAssembly.instantiate = async (...args) => {
    const instance = await instantiate(...args);
    memories.push(instance.exports.memory);
    return instance;
  };
  try {
    const asked = await client();
    let filled = 0;
    const onstep = () => (filled = new Uint8Array(memories.at(-1).buffer).filter(Boolean).length);
    await asked.predict(image(), { onstep });
    assert.ok(filled > 10_000, `${filled} bytes`);
    await assert.rejects(asked.predict(new Float32Array(5)));
    assert.equal(memories.length, 3);
    for (const memory of memories) assert.ok(new Uint8Array(memory.buffer).every((byte) => byte === 0));
  } finally {
    WebAssembly.instantiate = instantiate;
  }
});

test("nothing is sent when the numbers are not what the network takes", async () => {
  const { ask, requests } = noted();
  const asked = await client({ fetch: ask });
  const before = requests.length;
  const with_ = (value) => image().fill(value, 9, 10);
  await refused(asked.predict([1, 2]), { what: /no Float32Array/, whose: "yours", sent: false });
  await refused(asked.predict(new Float64Array(784)), { what: /no Float32Array/ });
  await refused(asked.predict(image().subarray(1)), { what: /783 numbers, expected 784/, sent: false });
  await refused(asked.predict(with_(NaN)), { what: /element 9 is NaN/ });
  await refused(asked.predict(with_(Infinity)), { what: /element 9 is inf/ });
  await refused(asked.predict(with_(7)), { what: /element 9 is 7, outside/ });
  assert.equal(requests.length, before);
});

test("another fingerprint ends it before anything is asked", async () => {
  const { ask, posts } = noted();
  const parts = { what: /expected is abab/, whose: "the model owner's", sent: false };
  await refused(client({ fetch: ask, fingerprint: "ab".repeat(32) }), parts);
  await refused(client({ fetch: ask, fingerprint: "12" }), { what: /64 hex digits/ });
  // A party that lies about its model after it connected.
  let lying = false;
  const lie = noted(async ({ path, origin }, answer) => {
    if (!lying || path !== "/v1/info" || origin !== cluster.described.parties[1]) return answer;
    const info = await answer.json();
    info.models[0].fingerprint = "cd".repeat(32);
    return Response.json(info);
  });
  const asked = await client({ fetch: lie.ask });
  lying = true;
  await refused(asked.predict(image()), { what: /party 1, party 2 or model owner misbehaved/, sent: false });
  assert.deepEqual([...posts(), ...lie.posts()], []);
});

test("nodes that are away, refuse or babble are named, and nothing is sent", async () => {
  const origin = cluster.described.parties[1];
  const at = (change) => {
    let on = false;
    const { ask, posts } = noted(({ origin: asked }, answer) => (on && asked === origin ? change(answer) : answer));
    return { ask, posts, on: () => (on = true) };
  };
  const cases = [
    [() => Promise.reject(new TypeError("fetch failed")), { what: "party 2 does not answer", where: origin }],
    [() => new Response("<html>", { status: 200 }), { where: "party 2", what: /is not understood/ }],
    [() => new Response("x", { status: 500 }), { what: /answers 500 without saying why/, status: 500 }],
    [() => new Response(new Uint8Array(2 << 20)), { what: "party 2 does not answer" }],
    [() => Response.json({ what: "a\u001b[2J\u202eb", where: "c", whose: "d", next: "e" }, { status: 429 }),
      { what: "a\u{fffd}[2J\u{fffd}b", status: 429 }],
  ];
  for (const [change, parts] of cases) {
    const { ask, posts, on } = at(change);
    const asked = await client({ fetch: ask });
    on();
    await refused(asked.predict(image()), { ...parts, sent: false });
    await refused(client({ fetch: ask }), parts);
    assert.deepEqual(posts(), []);
  }
});

test("tokens are one for every node", async () => {
  const tokens = parseTokens(cluster.tokens);
  assert.deepEqual(Object.keys(tokens), ["helper", "party-1", "party-2"]);
  const without = { ...tokens, "party-2": undefined };
  await refused(connect(cluster.described, without, { wasm, model: "lenet5-mnist" }), { what: "there is no token for party 2" });
  const swapped = { ...tokens, "party-1": tokens["party-2"] };
  await refused(connect(cluster.described, swapped, { wasm, model: "lenet5-mnist" }), { what: /this token is of the node/, status: 401 });
  // One that has run out: its node says so before anything is sent.
  const asked = await client();
  await cluster.expire("party-2", 1);
  await refused(asked.predict(image()), { what: /expired|run out/, status: 401, where: /party 2/, sent: false });
  await refused(client(), { status: 401 });
  await cluster.expire("party-2", null);
  assert.equal((await asked.predict(image())).outputs.length, 10);
  const { described } = cluster;
  await refused(connect({ ...described, helper: "http://one.example" }, tokens, { wasm, model: "lenet5-mnist" }), { what: /not https/ });
  await refused(connect({}, tokens, { wasm, model: "lenet5-mnist" }), { what: /describes no cluster/ });
});

test("an inference is given up when its caller says so, or in time", async () => {
  const asked = await client();
  const aborted = new AbortController();
  const onstep = ({ step }) => step === "masked" && aborted.abort(new Error("no more"));
  await assert.rejects(asked.predict(image(), { signal: aborted.signal, onstep }), /no more/);
  let hanging = false;
  const hang = async (url, options) => {
    if (!hanging || !url.endsWith("/release")) return fetch(url, options);
    return new Promise((_, reject) => options.signal.addEventListener("abort", () => reject(options.signal.reason)));
  };
  const impatient = await client({ fetch: hang, patience: 1500 });
  hanging = true;
  await refused(impatient.predict(image()), { what: /no answer within 1.5 s/, sent: true });
});

test("what a plan reveals is said, and whether a number inside left what it was made for", async () => {
  const model = (name) => client({ model: name });
  const [outputs, label] = [await model("outputs"), await model("label")];
  assert.deepEqual([outputs.plan.watches, outputs.plan.labels, outputs.plan.outputs], [true, null, 10]);
  assert.deepEqual([label.plan.watches, label.plan.labels], [true, 1]);
  const usual = image().map((value) => value / 4);
  const told = await outputs.predict(usual);
  const only = await label.predict(usual);
  assert.deepEqual([told.outside, told.labels, only.outside, only.outputs], [false, null, false, null]);
  assert.deepEqual(only.labels, [only.class]);
  assert.equal(only.class, told.class);
  // Numbers at the ends of the range, in a pattern that no picture has.
  const { low, high } = outputs.plan;
  const odd = Float32Array.from({ length: 784 }, (_, at) => (Math.floor(at / 112) % 2 ? low : high));
  for (const asked of [outputs, label]) assert.equal((await asked.predict(odd)).outside, true);
});

test("pixels become the numbers that the command line makes of them", () => {
  const data = Uint8ClampedArray.from([255, 0, 0, 255, 0, 255, 0, 255, 10, 20, 30, 0, 0, 0, 0, 255]);
  const of = (plan) => [...fromPixels({ shape: [1, 2, 2], low: 0, high: 1, ...plan }, { data, width: 2, height: 2 })];
  assert.deepEqual(of({}), [76, 150, 255, 0].map((pixel) => Math.fround(pixel / 255)));
  assert.deepEqual(of({ shape: [3, 2, 2] }).slice(0, 4), [1, 0, 1, 0]);
  assert.deepEqual(of({ low: -1, high: 1 }).slice(2), [1, -1]);
  assert.throws(() => of({ low: -3, high: 1 }), { what: /is not known/ });
  assert.throws(() => of({ shape: [1, 3, 2] }), { what: /2 x 2 pixels, the network takes 2 x 3/ });
  assert.throws(() => of({ shape: [4] }), { what: /no pixels but numbers/ });
});
