"""Plans as the protocol sees them: their bytes, the matrices of their layers, the order of their rounds.

A plan is a dictionary with the fields of `amicus_plan::Plan`; docs/protocol.md, sections 2, 5 and 6, says what the
operations mean.
"""

import math
import struct

from comparisons import levels
from primitives import derive_key, sequence, text, varint, zigzag

WORDS = ("linear", "multiply", "activation", "add", "sum_pool", "slice", "concat", "weigh", "compare", "truncate",
         "select", "subtract", "gather", "xnor", "outside", "public_linear")


# ------------------------------------------------------------------ bytes
def encode_pool(pool):
    sizes = [pool["channels"], pool["height"], pool["width"], *pool["kernel"], *pool["stride"], *pool["padding"]]
    return b"".join(map(varint, sizes))


def encode_shape(shape):
    if shape["kind"] == "dense":
        return varint(0) + varint(shape["inputs"]) + varint(shape["outputs"])
    sizes = [shape["in_channels"], shape["in_height"], shape["in_width"], shape["out_channels"], *shape["kernel"],
             *shape["stride"], *shape["padding"], *shape["dilation"], shape["groups"]]
    return varint(1) + b"".join(map(varint, sizes))


def encode_kind(op):
    kind = op["kind"]
    if kind == "activation":
        body = (varint(op["input"]) + varint(op["ell"]) + varint(op["input_scale"])
                + sequence([zigzag(c) for c in op["coefficients"]]) + varint(op["coefficient_scale"])
                + (b"\1" + encode_pool(op["pool"]) if op["pool"] else b"\0") + varint(int(op["statistical"])))
    elif kind == "sum_pool":
        body = varint(op["input"]) + encode_pool(op["pool"])
    elif kind == "concat":
        body = sequence([varint(v) + varint(s) for v, s in op["parts"]])
    elif kind == "weigh":
        body = varint(op["input"]) + sequence(map(varint, op["rows"])) + sequence(map(varint, op["columns"]))
    elif kind == "compare":
        body = (varint(op["input"]) + sequence(map(zigzag, op["thresholds"])) + varint(op["unit"])
                + sequence(map(varint, op["digits"])))
    elif kind == "select":
        def option(value, encoded):
            return b"\0" if value is None else b"\1" + encoded(value)
        body = (varint(op["input"]) + option(op["bits"], varint)
                + sequence([sequence(map(zigzag, p)) for p in op["polynomials"]]) + varint(op["scale"])
                + option(op["pool"], encode_pool) + option(op["base"], varint))
    elif kind == "gather":
        body = (varint(op["input"]) + b"".join(map(varint, op["size"])) + sequence(map(varint, op["rows"]))
                + sequence(map(varint, op["columns"])))
    else:
        fields = {"linear": ("input", "weights", "use"), "multiply": ("left", "right"),
                  "add": ("left", "left_shift", "right", "right_shift"), "slice": ("input", "start", "len"),
                  "subtract": ("left", "left_shift", "right", "right_shift"), "truncate": ("input", "scale", "ell"),
                  "xnor": ("left", "right"), "outside": ("input", "numbers", "scale"),
                  "public_linear": ("input", "weights")}
        body = b"".join(varint(op[field]) for field in fields[kind])
    return varint(WORDS.index(kind)) + body


def encode_weights(w):
    return text(w["name"]) + encode_shape(w["shape"]) + varint(w["scale"]) + bytes([w["bias"]])


def encode_public(w):
    """A public tensor: what it is, its weights, its biases as the upper and lower halves of 256 bits."""
    halves = [zigzag(b >> 128) + varint(b % 2**128) for b in w["biases"]]
    return encode_weights(w) + sequence(map(zigzag, w["weights"])) + sequence(halves)


def encode(plan):
    low, high = plan["range"]
    weights = [encode_weights(w) for w in plan["weights"]]
    kinds = {op["kind"] for op in plan["ops"]}
    version = 6 if plan["public"] else 5 if "outside" in kinds else 1 if kinds <= set(WORDS[:8]) else 2
    # Operations that watch, and labels in place of outputs: none.
    behind = varint(0) + b"\0" if version >= 5 else b""
    if version == 6:
        behind += sequence(map(encode_public, plan["public"]))
    return (b"amc.plan" + version.to_bytes(2, "little") + text(plan["name"]) + bytes([plan["limbs"]])
            + sequence(map(varint, plan["input"])) + varint(plan["input_scale"]) + struct.pack("<dd", low, high)
            + sequence(weights) + sequence([text(op["name"]) + encode_kind(op) for op in plan["ops"]])
            + b"".join(varint(plan["output"][field]) for field in ("value", "ell", "scale"))
            + behind)


def digest(plan):
    return derive_key("amicus 2026-11 plan digest", encode(plan))


# ------------------------------------------------------------------ layers
def windows(size, kernel, stride, padding, dilation=(1, 1)):
    """For every output pixel the taps that are not padding: (tap y, tap x, y, x)."""
    top, left, bottom, right = padding
    out = [(size[a] + before + after - (kernel[a] - 1) * dilation[a] - 1) // stride[a] + 1
           for a, (before, after) in enumerate(((top, bottom), (left, right)))]
    for oy in range(out[0]):
        for ox in range(out[1]):
            taps = []
            for ky in range(kernel[0]):
                for kx in range(kernel[1]):
                    y, x = oy * stride[0] + ky * dilation[0] - top, ox * stride[1] + kx * dilation[1] - left
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        taps.append((ky, kx, y, x))
            yield taps


class Matrix:
    """The matrix that a weight tensor stands for: where each weight is, and which bias each row has."""

    def __init__(self, weight):
        shape, self.bias = weight["shape"], weight["bias"]
        self.rows, self.bias_of_row = [], []  # rows: (column, number of the weight)
        if shape["kind"] == "dense":
            self.inputs, self.biases = shape["inputs"], shape["outputs"]
            self.weights = shape["inputs"] * shape["outputs"]
            for o in range(shape["outputs"]):
                self.rows.append([(j, o * self.inputs + j) for j in range(self.inputs)])
                self.bias_of_row.append(o)
            return
        size, (kh, kw) = (shape["in_height"], shape["in_width"]), shape["kernel"]
        depth = shape["in_channels"] // shape["groups"]
        of_group = shape["out_channels"] // shape["groups"]
        self.inputs, self.biases = shape["in_channels"] * size[0] * size[1], shape["out_channels"]
        self.weights = shape["out_channels"] * depth * kh * kw
        for o in range(shape["out_channels"]):
            for taps in windows(size, (kh, kw), shape["stride"], shape["padding"], shape["dilation"]):
                row = []
                for d in range(depth):
                    channel = o // of_group * depth + d
                    for ky, kx, y, x in taps:
                        row.append(((channel * size[0] + y) * size[1] + x, ((o * depth + d) * kh + ky) * kw + kx))
                self.rows.append(row)
                self.bias_of_row.append(o)

    @property
    def columns(self):
        return self.inputs + self.bias

    def product(self, weights, biases, x, q):
        """W x, where x may have one more element that meets the biases."""
        out = []
        for row, o in zip(self.rows, self.bias_of_row):
            total = sum(weights[w] * x[j] for j, w in row)
            if self.bias and len(x) > self.inputs:
                total += biases[o] * x[self.inputs]
            out.append(total % q)
        return out

    def transposed(self, weights, biases, y, q):
        """W^T y: one element a column, that of the biases last."""
        out = [0] * self.columns
        for row, o, v in zip(self.rows, self.bias_of_row, y):
            for j, w in row:
                out[j] += weights[w] * v
            if self.bias:
                out[self.inputs] += biases[o] * v
        return [v % q for v in out]


def pool_windows(pool):
    """For every output of a pool the elements it sums."""
    size = (pool["height"], pool["width"])
    return [[(c * size[0] + y) * size[1] + x for _, _, y, x in taps] for c in range(pool["channels"])
            for taps in windows(size, pool["kernel"], pool["stride"], pool["padding"])]


# ------------------------------------------------------------------ values and rounds
def opens(op):
    return rounds_of(op) > 0


def rounds_of(op):
    """In how many rounds an operation opens something."""
    if op["kind"] == "compare":
        return levels(op)
    return int(op["kind"] in ("linear", "multiply", "activation", "truncate", "select", "outside"))


def inputs_of(op):
    if op["kind"] == "concat":
        return [v for v, _ in op["parts"]]
    return [op[field] for field in ("input", "bits", "base", "left", "right") if op.get(field) is not None]


class Values:
    """Length, scale and kind of mask of every value, and the rounds."""

    def __init__(self, plan):
        self.length, self.scale, self.shared, known = [math.prod(plan["input"])], [plan["input_scale"]], [True], [0]
        self.rounds = [[]]
        for index, op in enumerate(plan["ops"]):
            kind, inputs = op["kind"], inputs_of(op)
            length, scale = self.length[inputs[0]], self.scale[inputs[0]]
            shared = all(self.shared[v] for v in inputs)
            if kind == "linear":
                weight = plan["weights"][op["weights"]]
                length, scale, shared = len(Matrix(weight).rows), scale + weight["scale"], False
            elif kind == "public_linear":
                length, scale = len(Matrix(op["tensor"]).rows), scale + op["tensor"]["scale"]
            elif kind == "multiply":
                scale, shared = scale + self.scale[inputs[1]], False
            elif kind == "activation":
                length = len(pool_windows(op["pool"])) if op["pool"] else length
                degree = len(op["coefficients"]) - 1
                scale, shared = degree * op["input_scale"] + op["coefficient_scale"], True
            elif kind == "truncate":
                scale, shared = op["scale"], True
            elif kind == "select":
                length = len(pool_windows(op["pool"])) if op["pool"] else length
                scale, shared = op["scale"], True
            elif kind == "outside":
                length, scale, shared = op["numbers"], op["scale"], False
            elif kind in ("compare", "xnor"):
                scale, shared = 0, False
            elif kind in ("add", "subtract"):
                scale += op["left_shift"]
            elif kind == "gather":
                length = length // math.prod(op["size"]) * len(op["rows"]) * len(op["columns"])
            elif kind == "sum_pool":
                length = len(pool_windows(op["pool"]))
            elif kind == "slice":
                length = op["len"]
            elif kind == "concat":
                length, scale = sum(self.length[v] for v in inputs), scale + op["parts"][0][1]
            self.length.append(length)
            self.scale.append(scale)
            self.shared.append(shared)
            ready = max(known[v] for v in inputs)
            known.append(ready + rounds_of(op))
            for level in range(rounds_of(op)):
                while len(self.rounds) <= ready + 1 + level:
                    self.rounds.append([])
                self.rounds[ready + 1 + level].append((index, level))
        self.share_masks(plan)
        self.slots = max([1] + [op["use"] + 1 for op in plan["ops"] if op["kind"] == "linear"])


    def share_masks(self, plan):
        """Masks of truncations and selections are shared only where a product needs them, perhaps through local
        operations; in a plan with public weights those of activations and of layers of public weights, too."""
        needed = [False] * len(self.length)
        for index, op in reversed(list(enumerate(plan["ops"]))):
            if op["kind"] in ("linear", "multiply") or (not opens(op) and needed[index + 1]):
                for value in inputs_of(op):
                    needed[value] = True
        for index, op in enumerate(plan["ops"]):
            if op["kind"] in ("truncate", "select") or (op["kind"] == "activation" and plan["public"]):
                self.shared[index + 1] = needed[index + 1]
            elif not opens(op) and op["kind"] != "xnor":
                self.shared[index + 1] = all(self.shared[v] for v in inputs_of(op))
            if op["kind"] == "public_linear" and not needed[index + 1]:
                self.shared[index + 1] = False


def local(op, arguments, q, masks=False):
    """A local operation on one batch element, of masked values and masks alike but for biases (6.6)."""
    kind = op["kind"]
    if kind == "public_linear":
        tensor, x = op["tensor"], arguments[0]
        return Matrix(tensor).product(tensor["weights"], tensor["biases"], x if masks else [*x, 1], q)
    if kind == "add":
        x, y = arguments
        return [(2**op["left_shift"] * a + 2**op["right_shift"] * b) % q for a, b in zip(x, y)]
    if kind == "subtract":
        x, y = arguments
        return [(2**op["left_shift"] * a - 2**op["right_shift"] * b) % q for a, b in zip(x, y)]
    if kind == "gather":
        (height, width), x = op["size"], arguments[0]
        return [x[image + row * width + column] for image in range(0, len(x), height * width)
                for row in op["rows"] for column in op["columns"]]
    if kind == "sum_pool":
        return [sum(arguments[0][j] for j in window) % q for window in pool_windows(op["pool"])]
    if kind == "slice":
        return arguments[0][op["start"]:op["start"] + op["len"]]
    if kind == "concat":
        return [2**shift * v % q for x, (_, shift) in zip(arguments, op["parts"]) for v in x]
    plane = [r * c for r in op["rows"] for c in op["columns"]]
    return [v * plane[i % len(plane)] % q for i, v in enumerate(arguments[0])]
