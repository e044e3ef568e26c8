// A client of Amicus for browsers: talks to every node itself and masks the image before it leaves.
//
// All of the protocol is in amicus.wasm, the project's one client; this file moves its bytes with
// `fetch`. Every inference runs in a WebAssembly instance of its own, whose whole memory is wiped
// afterwards.

/** Set by web/build.sh: the hash of the module that belongs to this file. */
const WASM_INTEGRITY = "";
/** Bytes of an answer that are read, at most. */
const LONGEST = { info: 1 << 20, plan: 16 << 20, message: 32 << 20, problem: 64 << 10 };
/** Characters of a node's words that are shown. */
const SHOWN = 400;
/** Milliseconds until a node that is away is asked again. */
const PAUSE = 200;
/** Milliseconds that an inference may take. */
const PATIENCE = 60_000;
/** The status with which a node says that a check failed. */
const REJECTED = 502;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export class AmicusError extends Error {
  constructor({ what, where, whose, next }, { status, cause, cheated = false } = {}) {
    super(`${what} (at ${where}; whose: ${whose}); ${next}`, { cause });
    this.name = "AmicusError";
    Object.assign(this, { what, where, whose, next, status, cheated, sent: false });
  }
}

const yours = (what, where, next) => new AmicusError({ what, where, whose: "yours", next });

/** What a node may have written, made fit to be shown. */
function shown(text) {
  const plain = String(text).replace(/\p{C}/gu, "\u{fffd}");
  return plain.length > SHOWN ? `${plain.slice(0, SHOWN)}…` : plain;
}

// The WebAssembly module.

let compiled;

async function load(given) {
  if (given instanceof WebAssembly.Module) return given;
  if (given) return WebAssembly.compile(given);
  compiled ??= (async () => {
    const options = WASM_INTEGRITY ? { integrity: WASM_INTEGRITY } : {};
    const answer = await fetch(new URL("amicus.wasm", import.meta.url), options);
    if (!answer.ok) throw new Error(`amicus.wasm: status ${answer.status}`);
    return WebAssembly.compile(await answer.arrayBuffer());
  })();
  try {
    return await compiled;
  } catch (cause) {
    compiled = undefined;
    const place = { what: "the WebAssembly module is not there, or is not the one of this package" };
    const next = "have whoever serves this page build the package again";
    throw new AmicusError({ ...place, where: "this page", whose: "the page's host's", next }, { cause });
  }
}

/** An instance of the module: one inference. */
class Machine {
  #exports;
  #used = true;

  static async of(module, cluster) {
    const machine = new Machine();
    const random = (place, size) => {
      const bytes = new Uint8Array(machine.#exports.memory.buffer, place, size);
      for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
    };
    machine.#exports = (await WebAssembly.instantiate(module, { amicus: { random } })).exports;
    machine.step("begin", 0, encoder.encode(JSON.stringify(cluster)));
    return machine;
  }

  /** Takes a step with these bytes; what it gives. */
  step(name, number = 0, bytes = new Uint8Array()) {
    if (!this.#used) throw new Error("this inference is over");
    const { memory, room, place, size } = this.#exports;
    const at = room(bytes.length) >>> 0;
    if (at === 0) throw yours("that is longer than anything the network takes", "this page", "give less");
    new Uint8Array(memory.buffer, at, bytes.length).set(bytes);
    const good = this.#exports[name](number);
    const given = new Uint8Array(memory.buffer, place() >>> 0, size() >>> 0).slice();
    // No copy stays in the module until the next step.
    room(0);
    if (good === 1) return given;
    const problem = JSON.parse(decoder.decode(given));
    throw new AmicusError(problem);
  }

  json(name, number, bytes) {
    return JSON.parse(decoder.decode(this.step(name, number, bytes)));
  }

  /** A step that gives a request: method and path, a line each, then the body. */
  call(name, number) {
    const bytes = this.step(name, number);
    const first = bytes.indexOf(10);
    const second = bytes.indexOf(10, first + 1);
    const text = (from, to) => decoder.decode(bytes.subarray(from, to));
    return { method: text(0, first), path: text(first + 1, second), body: bytes.subarray(second + 1) };
  }

  /** Wipes all memory of the instance, its stack too. It serves no more. */
  wipe() {
    this.#used = false;
    new Uint8Array(this.#exports.memory.buffer).fill(0);
  }
}

// Nodes.

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/** A node's public port. */
class Node {
  constructor(name, address, token, ask) {
    let url;
    try {
      url = new URL(address);
    } catch {
      throw yours(`the address of ${name} is none`, "the cluster's description", "give https://HOST:PORT");
    }
    const near = url.protocol === "http:" && LOOPBACK.includes(url.hostname);
    if (url.protocol !== "https:" && !near) {
      throw yours(`the address of ${name} is not https`, "the cluster's description", "give https://HOST:PORT");
    }
    if (typeof token !== "string" || !/^[\w-]{1,256}$/.test(token)) {
      const what = `there is no token for ${name}`;
      throw yours(what, "the tokens", "ask its operator: there is one for every node");
    }
    this.name = name;
    this.origin = url.origin;
    this.token = token;
    this.ask = ask;
  }

  /** Sends a request; its answer's bytes, and the id that it grants. */
  async send({ method, path, body }, longest, signal) {
    let answer, bytes;
    try {
      answer = await this.ask(this.origin + path, {
        method,
        headers: { authorization: `Bearer ${this.token}`, "content-type": "application/octet-stream" },
        body: body?.length ? body : undefined,
        mode: "cors",
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
        signal,
      });
      bytes = await read(answer, answer.ok ? longest : LONGEST.problem);
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw this.away(cause);
    }
    if (answer.ok) return { bytes, id: answer.headers.get("amicus-id") ?? "" };
    throw this.refusal(answer.status, bytes);
  }

  /** Why there is no answer: browsers do not say which of these it is. */
  away(cause) {
    const page = globalThis.location?.origin;
    const next =
      "see that the node runs, that its certificate is from an authority that browsers trust" +
      (page ? `, and that it lists the origin ${page}` : "");
    const whose = `${this.name}'s operator's, or the network's`;
    return new AmicusError({ what: `${this.name} does not answer`, where: this.origin, whose, next }, { cause });
  }

  refusal(status, bytes) {
    let problem;
    try {
      problem = JSON.parse(decoder.decode(bytes));
    } catch {
      problem = {};
    }
    const part = (name, usual) => (typeof problem?.[name] === "string" ? shown(problem[name]) : usual);
    return new AmicusError(
      {
        what: part("what", `it answers ${status} without saying why`),
        where: part("where", this.name),
        whose: part("whose", `${this.name}'s operator's`),
        next: part("next", "ask again later"),
      },
      { status, cheated: status === REJECTED },
    );
  }
}

/** An answer's bytes; no more than so many are kept. */
async function read(answer, longest) {
  const parts = [];
  let length = 0;
  if (!answer.body) return new Uint8Array();
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > longest) {
      await reader.cancel();
      throw new Error("the answer is too long");
    }
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    part.fill(0);
    at += part.length;
  }
  return bytes;
}

const rest = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What every node says of itself. */
async function infos(nodes, signal) {
  const info = { method: "GET", path: "/v1/info" };
  const asked = nodes.map((node) => node.send(info, LONGEST.info, signal));
  const said = await Promise.allSettled(asked);
  // The first that fails, in the order of nodes.
  for (const answer of said) if (answer.status === "rejected") throw answer.reason;
  return said.map((answer) => answer.value.bytes);
}

const hearAll = (machine, said) => said.forEach((info, number) => machine.step("hear", number, info));

export class Client {
  #module;
  #nodes;
  #cluster;
  #said;
  #plan;
  #patience;

  /** Use `connect`. */
  constructor(key, parts) {
    if (key !== Client.#key) throw new TypeError("use connect()");
    this.#module = parts.module;
    this.#nodes = parts.nodes;
    this.#cluster = parts.cluster;
    this.#patience = parts.patience;
    this.model = parts.cluster.model;
    this.classes = parts.classes;
    this.expected = Boolean(parts.cluster.fingerprint);
  }

  static #key = Symbol("client");

  static async connect(parts, signal) {
    const client = new Client(Client.#key, parts);
    const said = await infos(parts.nodes, signal);
    const machine = await Machine.of(parts.module, parts.cluster);
    try {
      hearAll(machine, said);
      const { bytes } = await parts.nodes[1].send(machine.call("ask_plan"), LONGEST.plan, signal);
      client.plan = Object.freeze(machine.json("take_plan", 0, bytes));
      client.fingerprint = machine.json("compare").fingerprint;
      client.#plan = bytes;
      client.#said = said;
    } finally {
      machine.wipe();
    }
    return Object.freeze(client);
  }

  async predict(numbers, { onstep = () => {}, signal } = {}) {
    if (!(numbers instanceof Float32Array)) {
      throw yours("the image is no Float32Array", "the image", `give ${this.#count} numbers of 32 bits`);
    }
    const patience = AbortSignal.timeout(this.#patience);
    const both = signal ? AbortSignal.any([signal, patience]) : patience;
    const machine = await Machine.of(this.#module, this.#cluster);
    const state = { sent: false, over: false };
    try {
      return await this.#infer(machine, numbers, onstep, both, state);
    } catch (error) {
      const given = patience.aborted && !signal?.aborted ? this.#late() : error;
      if (given instanceof AmicusError) given.sent = state.sent;
      throw given;
    } finally {
      state.over = true;
      machine.wipe();
    }
  }

  get #count() {
    return this.plan.shape.reduce((product, size) => product * size, 1);
  }

  #late() {
    const what = `no answer within ${this.#patience / 1000} s`;
    return new AmicusError({ what, where: "the cluster", whose: "the operators'", next: "ask again later" });
  }

  async #infer(machine, numbers, onstep, signal, state) {
    const [helper, ...parties] = this.#nodes;
    // The image is looked at before anything is sent, with what nodes said when this connected.
    hearAll(machine, this.#said);
    machine.step("take_plan", 0, this.#plan);
    const view = new Uint8Array(numbers.length * 4);
    const values = new DataView(view.buffer);
    numbers.forEach((number, at) => values.setFloat32(4 * at, number, true));
    try {
      machine.step("take_input", 0, view);
    } finally {
      view.fill(0);
    }
    // Then every node is asked whether it is there and takes the token, and parties for their model.
    hearAll(machine, await infos(this.#nodes, signal));
    onstep({ step: "compared", fingerprint: machine.json("compare").fingerprint });
    const ticket = await helper.send(machine.call("ask"), LONGEST.message, signal);
    const id = encoder.encode(ticket.id);
    const granted = new Uint8Array(id.length + ticket.bytes.length);
    granted.set(id);
    granted.set(ticket.bytes, id.length);
    const begun = performance.now();
    try {
      machine.step("granted", id.length, granted);
    } finally {
      granted.fill(0);
      ticket.bytes.fill(0);
    }
    onstep({ step: "asked" });
    const picture = machine.step("mask");
    const calls = parties.map((_, at) => machine.call("submit", at + 1));
    const took = { mask: performance.now() - begun, unmask: 0 };
    onstep({ step: "masked", picture, shape: this.plan.shape, bytes: calls[0].body.length });

    // Each party gets the input, and the helper is asked for its word, at the same time.
    const answers = parties.map((node, at) => this.#give(machine, node, at + 1, calls[at], signal, state, onstep));
    state.sent = true;
    const release = this.#again(helper, machine.call("ask_release"), signal, state).then(({ bytes }) => {
      onstep({ step: "accepted" });
      return { name: "take_release", number: 0, bytes };
    });
    const pending = new Map([release, ...answers].map((answer, at) => [at, answer]));
    for (const answer of pending.values()) answer.catch(() => {});
    let failed;
    while (pending.size) {
      const tagged = [...pending].map(([at, answer]) => answer.then((good) => ({ at, good }), (bad) => ({ at, bad })));
      const { at, good, bad } = await Promise.race(tagged);
      pending.delete(at);
      if (bad) {
        // Only the helper's word counts: a single party could lie.
        if (at === 0 || signal.aborted) throw bad;
        failed ??= bad;
        continue;
      }
      const resumed = performance.now();
      machine.step(good.name, good.number, good.bytes);
      good.bytes.fill(0);
      const found = machine.step("answer");
      took.unmask = performance.now() - resumed;
      if (found.length === 0) continue;
      const answer = JSON.parse(decoder.decode(found));
      found.fill(0);
      onstep({ step: "unmasked" });
      this.#farewell(machine);
      return { ...answer, took };
    }
    throw failed ?? this.#late();
  }

  /** Gives a party the masked input. Lines break: then it is asked for what it computed. */
  async #give(machine, node, number, call, signal, state, onstep) {
    const again = machine.call("collect", number);
    const taken = (bytes) => {
      if (!state.over) onstep({ step: "computed", node: node.name });
      return { name: "take_output", number, bytes };
    };
    try {
      const answer = node.send(call, LONGEST.message, signal);
      onstep({ step: "sent", node: node.name });
      return taken((await answer).bytes);
    } catch (error) {
      if (signal.aborted) throw error;
      try {
        return taken((await this.#again(node, again, signal, state)).bytes);
      } catch {
        throw error;
      }
    } finally {
      call.body.fill(0);
    }
  }

  /** Asks, again and again while the node is away, until the inference is over. */
  async #again(node, call, signal, state) {
    for (;;) {
      try {
        return await node.send(call, LONGEST.message, signal);
      } catch (error) {
        if (state.over || signal.aborted || error.status !== undefined) throw error;
        await rest(PAUSE);
      }
    }
  }

  /** Tells nodes that they need not keep the answer any more, while the caller goes on. */
  #farewell(machine) {
    this.#nodes.forEach((node, number) => {
      node.send(machine.call("farewell", number), LONGEST.message).catch(() => {});
    });
  }
}

export async function connect(cluster, token, options = {}) {
  const ask = options.fetch ?? globalThis.fetch.bind(globalThis);
  const described = await description(cluster, ask, options.signal);
  const model = chosen(described, options.model);
  const tokens = typeof token === "string" ? parseTokens(token) : token;
  const named = [["helper", described.helper], ...described.parties.map((at, n) => [`party-${n + 1}`, at])];
  const nodes = named.map(([name, at]) => new Node(name.replace("-", " "), at, tokens?.[name], ask));
  const wanted = {
    parties: described.parties.length,
    model: model.name,
    plan: model.plan,
    fingerprint: options.fingerprint ?? model.fingerprint,
  };
  const module = await load(options.wasm);
  const patience = options.patience ?? PATIENCE;
  const parts = { module, nodes, cluster: wanted, classes: model.classes, patience };
  return Client.connect(parts, options.signal);
}

async function description(cluster, ask, signal) {
  let described = cluster;
  if (typeof cluster === "string" || cluster instanceof URL) {
    try {
      const answer = await ask(cluster, { credentials: "omit", redirect: "error", signal });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      described = JSON.parse(decoder.decode(await read(answer, LONGEST.info)));
    } catch (cause) {
      const problem = { what: "the cluster's description cannot be read", where: String(cluster) };
      const rest = { whose: "the page's host's", next: "have it served beside the page" };
      throw new AmicusError({ ...problem, ...rest }, { cause });
    }
  }
  const is = typeof described?.helper === "string" && Array.isArray(described.parties);
  if (!is) throw yours("that describes no cluster", "the cluster's description", "give helper and parties");
  return described;
}

function chosen({ models = [] }, name) {
  const found = name === undefined ? models[0] : models.find((model) => model.name === name);
  if (name === undefined && models.length !== 1) {
    throw yours("which model is meant is not said", "the cluster's description", "name one of its models");
  }
  return found ?? { name };
}

export function parseTokens(text) {
  const lines = text.matchAll(/^\s*([\w-]+)\s*=\s*"([\w-]+)"\s*$/gm);
  return Object.fromEntries([...lines].map(([, name, token]) => [name, token]));
}

/** How far a plan's range may go beyond that of a rule for pixels. */
const NEAR = 0.3;
/** Weights of red, green and blue in grey (ITU-R BT.601). */
const GREY = [299, 587, 114];

export function fromPixels(plan, image) {
  const [channels, height, width] = plan.shape;
  if (plan.shape.length !== 3 || (channels !== 1 && channels !== 3)) {
    const what = `the network takes no pixels but numbers of shape ${plan.shape.join(" x ")}`;
    throw yours(what, "the image", "give the numbers");
  }
  if (image.width !== width || image.height !== height) {
    const what = `the image has ${image.width} x ${image.height} pixels, the network takes ${width} x ${height}`;
    throw yours(what, "the image", "scale it");
  }
  const within = (low, high) =>
    [low - plan.low, plan.high - high].every((beyond) => beyond >= -1e-9 && beyond <= NEAR);
  let number;
  if (within(0, 1)) number = (pixel) => pixel / 255;
  else if (within(-1, 1)) number = (pixel) => Math.fround(Math.fround(pixel / 127.5) - 1);
  else {
    const what = `how pixels become numbers from ${plan.low} to ${plan.high} is not known`;
    throw yours(what, "the image", "give the numbers");
  }
  const each = width * height;
  const numbers = new Float32Array(channels * each);
  for (let at = 0; at < each; at++) {
    const opacity = image.data[4 * at + 3];
    const on = (channel) => Math.round((image.data[4 * at + channel] * opacity + 255 * (255 - opacity)) / 255);
    if (channels === 1) {
      const sum = GREY.reduce((sum, weight, channel) => sum + weight * on(channel), 500);
      numbers[at] = number(Math.floor(sum / 1000));
    } else {
      for (let channel = 0; channel < 3; channel++) numbers[channel * each + at] = number(on(channel));
    }
  }
  return numbers;
}
