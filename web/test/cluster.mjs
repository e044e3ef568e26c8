// A cluster of `amicus up --web` with its page, for tests.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";

const run = promisify(execFile);
export const root = resolve(import.meta.dirname, "../..");
export const dist = join(root, "web/dist");
const built = resolve(process.env.AMICUS_BUILT ?? join(root, "target/release"));
const amicus = join(built, "amicus");

/** Compiles a network with comparisons, which looks for values outside; the file. */
export async function compile(folder, name, ...args) {
  const data = join(root, "crates/model/tests/data/lenet_dynamo");
  const file = join(folder, `${name}.amc`);
  await run(amicus, ["compile", `${data}.onnx`, "--calibrate", `${data}.npz`, "-o", file, "--force", ...args]);
  return file;
}

/** A running cluster; its folder goes when it ends. */
export class Cluster {
  static async up(...args) {
    const cluster = new Cluster();
    cluster.at = await mkdtemp(join(tmpdir(), "amicus-web-"));
    const options = { cwd: root, stdio: ["ignore", "pipe", "inherit"] };
    const folder = join(cluster.at, "up");
    cluster.process = spawn(amicus, ["up", "--web", "--json", "--folder", folder, ...args], options);
    let text = "";
    for await (const part of cluster.process.stdout) {
      text += part;
      if (text.endsWith("}\n")) break;
    }
    if (!text) throw new Error("amicus up ended");
    cluster.ready = JSON.parse(text);
    cluster.page = cluster.ready.web.page;
    cluster.tokens = await readFile(cluster.ready.clients[0].tokens, "utf8");
    cluster.described = await (await fetch(new URL("cluster.json", cluster.page))).json();
    return cluster;
  }

  async amicus(...args) {
    return (await run(amicus, args, { cwd: this.ready.folder, maxBuffer: 1 << 26 })).stdout;
  }

  /** What the integer simulator answers of these numbers. */
  async simulate(model, shape, numbers) {
    const [data, answers] = ["x.npz", "answers.json"].map((name) => join(this.at, name));
    await rm(answers, { force: true });
    await writeFile(data, npz("x", [1, ...shape], numbers));
    await this.amicus("simulate", model, "--data", data, "--output", answers);
    return JSON.parse(await readFile(answers, "utf8")).answers[0].outputs;
  }

  /** Has the client's token of a node end at a time, in seconds since 1970. */
  async expire(node, end) {
    const path = join(this.ready.folder, node, "public/tokens.json");
    const tokens = JSON.parse(await readFile(path, "utf8"));
    tokens.tokens.filter(({ name }) => name === "client-alice").forEach((token) => (token.expires = end));
    await writeFile(path, JSON.stringify(tokens));
  }

  async end() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGINT");
    const code = await ended;
    await rm(this.at, { recursive: true });
    if (code !== 0) throw new Error(`amicus up ended with ${code}`);
  }
}

/** An `.npz` file of one array of 32-bit numbers: a zip archive that is not compressed. */
function npz(name, shape, numbers) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`;
  const header = text.padEnd(Math.ceil((10 + text.length + 1) / 64) * 64 - 11) + "\n";
  const start = Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  const data = Buffer.concat([start, Buffer.from(header), Buffer.from(numbers.buffer.slice(0))]);
  const file = Buffer.from(`${name}.npy`);
  // Version, flags, method, time, date, then checksum and sizes.
  const about = Buffer.alloc(26);
  about.writeUInt16LE(20, 0);
  about.writeUInt16LE(0x21, 8);
  about.writeUInt32LE(crc32(data), 10);
  about.writeUInt32LE(data.length, 14);
  about.writeUInt32LE(data.length, 18);
  about.writeUInt16LE(file.length, 22);
  const local = Buffer.concat([Buffer.from("PK\x03\x04"), about, file, data]);
  const central = Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), about, Buffer.alloc(14), file]);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(1, 4);
  end.writeUInt16LE(1, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(local.length, 12);
  return Buffer.concat([local, central, Buffer.from("PK\x05\x06"), end]);
}

/** How far bytes are from uniform: about 255, give or take 23, for uniform ones. */
export function chiSquare(bytes) {
  const counts = new Array(256).fill(0);
  for (const byte of bytes) counts[byte]++;
  const expected = bytes.length / 256;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** Six standard deviations: one honest run in a billion. */
export const uniform = (bytes) => Math.abs(chiSquare(bytes) - 255) < 6 * Math.sqrt(2 * 255);

/** The masked input of a request to a party: behind a receiver's key with its tag, before its own. */
export const maskedInput = (body) => body.subarray(64, body.length - 32);
