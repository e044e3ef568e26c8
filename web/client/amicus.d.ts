/** What goes wrong, in the four parts that nodes answer too. */
export class AmicusError extends Error {
  /** What went wrong. */
  readonly what: string;
  /** At which node and request. */
  readonly where: string;
  /** Who can put it right. */
  readonly whose: string;
  /** What to do. */
  readonly next: string;
  /** The status of a node's answer, if one was refused. */
  readonly status?: number;
  /** Whether a check failed: a party cheated, and nothing was released. */
  readonly cheated: boolean;
  /** Whether the image may have left this program, masked. Without it nothing was sent. */
  readonly sent: boolean;
}

/** A model of a cluster. */
export interface ClusterModel {
  /** Its name in the cluster's file. */
  name: string;
  /** The digest of its plan, 64 hex digits. */
  plan?: string;
  /** Its fingerprint, as its owner told it: no other model's answers are taken. */
  fingerprint?: string;
  /** Names of its classes. */
  classes?: string[];
}

/** Where the nodes of a cluster are: what is public of it. */
export interface Cluster {
  /** Its name. */
  cluster?: string;
  /** Where the helper's public port is: `https://host:port`. */
  helper: string;
  /** Where the parties' are, party 1 first. */
  parties: string[];
  models?: ClusterModel[];
}

/** Tokens: one for every node, by name (`helper`, `party-1`, ...), or the text of a file of them. */
export type Tokens = Record<string, string> | string;

export interface ConnectOptions {
  /** The model's name; that of the only model without one. */
  model?: string;
  /** Its fingerprint, if not the cluster's description has it. */
  fingerprint?: string;
  /** Milliseconds until an inference is given up; 60,000 unless told. */
  patience?: number;
  /** The WebAssembly module or its bytes, where `fetch` cannot load it (Node). */
  wasm?: WebAssembly.Module | BufferSource;
  /** In place of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  signal?: AbortSignal;
}

/** What is public of a network. */
export interface Plan {
  name: string;
  /** 64 hex digits. */
  digest: string;
  /** Shape of an image, such as `[channels, height, width]`. */
  shape: number[];
  /** Range of its numbers. */
  low: number;
  high: number;
  /** How many numbers an answer reveals. */
  outputs: number;
  /** How many of the best labels are revealed of every place, where no outputs are; else `null`. */
  labels: number | null;
  /** Whether answers say that a hidden number left what the network was compiled for. */
  watches: boolean;
}

/** A step that was taken. */
export type Step =
  | { step: "compared"; fingerprint: string }
  | { step: "asked" }
  /** `picture`: of every element of the masked image, the highest 8 bits modulo the first prime. */
  | { step: "masked"; picture: Uint8Array; shape: number[]; bytes: number }
  | { step: "sent"; node: string }
  | { step: "computed"; node: string }
  | { step: "accepted" }
  | { step: "unmasked" };

export interface PredictOptions {
  onstep?: (step: Step) => void;
  signal?: AbortSignal;
}

export interface Answer {
  /** The network's outputs; `null` where the plan reveals labels only. */
  outputs: number[] | null;
  /** Labels of the largest outputs, the best first, where the plan reveals them only. */
  labels: number[] | null;
  /** The class of the largest output. */
  class: number;
  /** Whether to rely on it: a hidden number left what the network was compiled for. `null` where
   * the plan does not look. */
  outside: boolean | null;
  /** Milliseconds that masking and unmasking took here. */
  took: { mask: number; unmask: number };
}

/** A client of one model of a cluster. */
export class Client {
  private constructor();
  readonly plan: Plan;
  readonly model: string;
  /** The fingerprint that all parties told when it connected. */
  readonly fingerprint: string;
  /** Whether that was held against the owner's word. */
  readonly expected: boolean;
  readonly classes?: readonly string[];
  /**
   * Has one image classified. It is masked here; what leaves is uniformly random to everybody who
   * sees it. Whatever is wrong with the numbers, the tokens or the nodes is found before anything
   * is sent.
   */
  predict(numbers: Float32Array, options?: PredictOptions): Promise<Answer>;
}

/**
 * Connects to every node of a cluster, and compares what the parties say of their model with each
 * other and with its owner's fingerprint.
 */
export function connect(
  cluster: Cluster | string | URL,
  token: Tokens,
  options?: ConnectOptions,
): Promise<Client>;

/**
 * Pixels (red, green, blue, opacity, 8 bits each) as the network takes them: channels first, grey
 * where it has one, on white where they are not opaque.
 */
export function fromPixels(
  plan: Plan,
  image: { data: Uint8ClampedArray | Uint8Array; width: number; height: number },
): Float32Array;

/** Tokens by node, from the text of a file of them. */
export function parseTokens(text: string): Record<string, string>;
