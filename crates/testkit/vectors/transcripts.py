#!/usr/bin/env python3
"""Writes transcripts.json: what every role must send in a few runs, computed by the specification beside this file.

    python3 transcripts.py            write transcripts.json anew
    python3 transcripts.py --check    fail if it would change

The Rust test `known_answers` of the testkit runs the same plans with the same seeds and compares every message.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True  # these folders are for sources

import primitives
from epoch import Run
from networks import Values, encode
from primitives import blake3, keyed

FILE = pathlib.Path(__file__).with_name("transcripts.json")
INPUT = 0


class Draft:
    """A network that grows operation by operation; weights and coefficients are small and follow from its name."""

    def __init__(self, name, limbs, shape):
        self.extra = 0 if limbs == 1 else 5
        self.numbers, self.weights = 0, []
        self.plan = dict(name=name, limbs=limbs, input=shape, input_scale=3 + self.extra, range=(-1.0, 1.0), weights=[],
                         public=[], ops=[], output=None)

    def integers(self, count, limit):
        """Integers of absolute value at most `limit`."""
        out = []
        for _ in range(count):
            self.numbers += 1
            word = keyed(bytes(32), f"{self.plan['name']}, number {self.numbers}".encode())[:8]
            out.append(int.from_bytes(word, "little") % (2 * limit + 1) - limit)
        return out

    def scale(self, value):
        return Values(self.plan).scale[value]

    def push(self, kind, **fields):
        self.plan["ops"].append(dict(name=f"{kind} {len(self.plan['ops'])}", kind=kind, **fields))
        return len(self.plan["ops"])

    def linear(self, value, shape, bias, weights, biases):
        scale = 3 + self.extra
        self.plan["weights"].append(dict(name=f"tensor {len(self.weights)}", shape=shape, scale=scale, bias=bias))
        self.weights.append((self.integers(weights, 2**scale), self.integers(biases, 2**scale) if bias else None))
        return self.push("linear", input=value, weights=len(self.weights) - 1, use=0)

    def public(self, value, inputs, outputs, bias=True):
        """A dense layer of weights that everybody knows."""
        scale = 3 + self.extra
        biases = self.integers(outputs, 2**(self.scale(value) + scale)) if bias else []
        tensor = dict(name=f"public {len(self.plan['public'])}", shape=dict(kind="dense", inputs=inputs, outputs=outputs),
                      scale=scale, bias=bias, weights=self.integers(inputs * outputs, 2**scale), biases=biases)
        self.plan["public"].append(tensor)
        return self.push("public_linear", input=value, weights=len(self.plan["public"]) - 1, tensor=tensor)

    def dense(self, value, inputs, outputs, bias=True):
        return self.linear(value, dict(kind="dense", inputs=inputs, outputs=outputs), bias, inputs * outputs, outputs)

    def conv(self, value, size, channels, kernel, bias=True, stride=(1, 1), padding=(0,) * 4, dilation=(1, 1), groups=1):
        shape = dict(kind="conv", in_channels=size[0], in_height=size[1], in_width=size[2], out_channels=channels,
                     kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return self.linear(value, shape, bias, channels * size[0] // groups * kernel[0] * kernel[1], channels)

    def again(self, value, tensor):
        uses = sum(op["kind"] == "linear" and op["weights"] == tensor for op in self.plan["ops"])
        return self.push("linear", input=value, weights=tensor, use=uses)

    def activation(self, value, argument, degree, pool=None, statistical=False, ell=None):
        coefficients = self.integers(degree, 8) + [1 + abs(self.integers(1, 6)[0])]
        return self.push("activation", input=value, ell=ell or self.ell(), input_scale=argument + self.extra,
                         coefficients=coefficients, coefficient_scale=3, pool=pool, statistical=statistical)

    def add(self, left, right):
        scales = [self.scale(v) for v in (left, right)]
        shifts = [max(scales) - s for s in scales]
        return self.push("add", left=left, left_shift=shifts[0], right=right, right_shift=shifts[1])

    def concat(self, *values):
        scales = [self.scale(v) for v in values]
        return self.push("concat", parts=[(v, max(scales) - s) for v, s in zip(values, scales)])

    def compare(self, value, thresholds, digits, point=4):
        unit = self.scale(value) - point
        return self.push("compare", input=value, thresholds=[t << unit for t in thresholds], unit=unit, digits=digits)

    def truncate(self, value, scale):
        return self.push("truncate", input=value, scale=scale + self.extra, ell=self.ell())

    def select(self, value, bits, polynomials, pool=None, base=None):
        degree = max(map(len, polynomials)) - 1
        return self.push("select", input=value, bits=bits, polynomials=polynomials, scale=self.scale(value) * degree,
                         pool=pool, base=base)

    def subtract(self, left, right):
        return self.push("subtract", left=left, left_shift=0, right=right, right_shift=0)

    def ell(self):
        return 52 * self.plan["limbs"] - 3

    def reveal(self, value):
        scale = self.scale(value)
        self.plan["output"] = dict(value=value, ell=self.ell(), scale=scale - scale // 3)
        return self


def pool(size, kernel, stride, padding=(0,) * 4):
    return dict(channels=size[0], height=size[1], width=size[2], kernel=kernel, stride=stride, padding=padding)


def dense(limbs):
    net = Draft(f"dense, {limbs} limbs", limbs, [5])
    y = net.activation(net.dense(INPUT, 5, 4), 3, 3 if limbs > 1 else 2)
    return net.reveal(net.dense(y, 4, 3))


def convolution(limbs):
    net = Draft(f"convolution, {limbs} limbs", limbs, [2, 4, 4])
    z = net.conv(INPUT, (2, 4, 4), 2, (3, 3), padding=(1, 1, 1, 1))
    y = net.activation(z, 3, 2, pool((2, 4, 4), (2, 2), (2, 2)))
    z = net.conv(y, (2, 2, 2), 4, (1, 2), bias=False, stride=(1, 2), padding=(0, 1, 1, 1), groups=2)
    y = net.activation(z, 2, 2, pool((4, 3, 2), (2, 2), (1, 1), (1, 0, 0, 0)))  # windows that overlap
    return net.reveal(net.dense(y, 12, 2))


def products(limbs):
    net = Draft(f"products, {limbs} limbs", limbs, [6])
    left, right = net.push("slice", input=INPUT, start=0, len=3), net.push("slice", input=INPUT, start=3, len=3)
    y = net.activation(net.push("multiply", left=left, right=right), 3, 1)
    y = net.activation(net.push("multiply", left=y, right=y), 2, 2)
    return net.reveal(net.dense(y, 3, 2))


def residual(limbs):
    net = Draft(f"residual, {limbs} limbs", limbs, [4])
    y = net.activation(net.dense(INPUT, 4, 4), 3, 2)
    added = net.add(INPUT, y)                                # masks are shared
    both = net.add(net.dense(added, 4, 3, bias=False), net.dense(INPUT, 4, 3))  # masks are the helper's
    return net.reveal(net.dense(net.activation(both, 2, 2), 3, 2))


def repeated(limbs):
    net = Draft(f"repeated, {limbs} limbs", limbs, [3])
    y = net.activation(net.dense(INPUT, 3, 3), 2, 2)
    y = net.activation(net.again(y, 0), 2, 1)
    return net.reveal(net.again(y, 0))


def joined(limbs):
    net = Draft(f"joined, {limbs} limbs", limbs, [1, 3, 3])
    z = net.conv(INPUT, (1, 3, 3), 1, (1, 1))
    y = net.activation(net.push("weigh", input=z, rows=[3, 2, 3], columns=[1, 1, 2]), 3, 2, statistical=True, ell=100)
    both = net.concat(INPUT, y)
    pooled = net.push("sum_pool", input=both, pool=pool((2, 3, 3), (2, 2), (2, 2), (0, 0, 1, 1)))
    return net.reveal(net.concat(net.dense(pooled, 8, 2), INPUT))


def relu(limbs, digits, truncated=True):
    net = Draft(f"relu, {limbs} limbs, {len(digits)} digits", limbs, [4])
    z = net.dense(INPUT, 4, 5)
    bits = net.compare(z, [0], digits)
    y = net.select(net.truncate(z, 3) if truncated else z, bits, [[0], [0, 1]])
    return net.reveal(net.dense(y, 5, 2))


def maxima(limbs):
    net = Draft(f"maxima, {limbs} limbs", limbs, [1, 4, 4])
    z = net.conv(INPUT, (1, 4, 4), 1, (3, 3), padding=(1, 1, 1, 1))
    left, right = (net.push("gather", input=z, size=(4, 4), rows=[0, 2], columns=c) for c in ([0, 2], [1, 3]))
    difference = net.subtract(left, right)
    y = net.select(difference, net.compare(difference, [0], [2, 2, 2, 2, 2]), [[0], [0, 1]], base=right)
    bits = net.compare(y, [0], [3, 3, 3])
    y = net.select(net.truncate(y, 3), bits, [[0], [0, 1]], pool((1, 2, 2), (2, 2), (1, 1)))
    return net.reveal(net.dense(y, 1, 2))


def pieces(limbs):
    net = Draft(f"pieces, {limbs} limbs", limbs, [3])
    z = net.dense(INPUT, 3, 2)
    u = net.truncate(z, 3)
    one = 1 << net.scale(u)
    clip = net.select(u, net.compare(z, [-1, 6], [4, 4]), [[-one], [one, 1], [6 * one, -1]])
    absolute = net.select(u, net.compare(z, [0], [5]), [[0, -1], [0, 2]])
    stairs = net.select(u, net.compare(z, [-12, -8, -4, 0, 4, 8, 12], [2] * 6),
                        [[1], [5, 0, 1], [-3], [0, 2], [7, 1], [-2, 0, -1], [4], [0, -3]])
    cubic = net.select(u, None, [[1, 2, 3, 1]])
    return net.reveal(net.dense(net.concat(clip, absolute, stairs, cubic), 8, 2))


def relu_of_maxima(limbs):
    net = Draft(f"relu of maxima, {limbs} limbs", limbs, [3])
    left, right = net.dense(INPUT, 3, 2), net.dense(INPUT, 3, 2)
    wins = net.compare(net.subtract(left, right), [0], [3, 3, 3])
    parts = []
    for side, sign in ((left, 1), (right, -1)):
        both = net.push("xnor", left=wins, right=net.compare(side, [0], [2, 2, 2]))
        parts.append(net.select(net.truncate(side, 3), both, [[0, -sign], [0, sign], [0, 1], [0, sign]]))
    return net.reveal(net.dense(net.add(*parts), 2, 2))


def watched(limbs):
    net = Draft(f"watched, {limbs} limbs", limbs, [3])
    z = net.dense(INPUT, 3, 4)
    squares = net.select(net.truncate(z, 3), None, [[1, 0, 3]], pool((1, 1, 4), (1, 2), (1, 2)))
    told = net.push("outside", input=net.truncate(squares, 2), numbers=3, scale=net.scale(z))
    return net.reveal(net.concat(z, told))


def public(limbs):
    net = Draft(f"public, {limbs} limbs", limbs, [3])
    y = net.activation(net.public(INPUT, 3, 4), 3, 2)
    bits = net.compare(y, [0], [3, 3, 3])
    y = net.select(net.truncate(y, 3), bits, [[0], [0, 1]])
    return net.reveal(net.public(y, 4, 2, bias=False))


def mixed(limbs):
    net = Draft(f"mixed, {limbs} limbs", limbs, [3])
    left, right = net.public(INPUT, 3, 2), net.public(INPUT, 3, 2)  # shares of their masks are needed
    y = net.activation(net.push("multiply", left=left, right=right), 3, 2)
    return net.reveal(net.public(net.dense(y, 2, 2), 2, 3))


def chunks(limbs):
    """More elements than a chunk of a proof holds, of the most bits that an element may have."""
    net = Draft(f"chunks, {limbs} limbs", limbs, [33])
    y = net.select(INPUT, net.compare(INPUT, [0], [8, 8, 1], point=2), [[0], [0, 1]])
    return net.reveal(net.dense(y, 33, 2))


def ends_in_a_comparison(limbs):
    """The last thing that is opened, and so the last that the transcript absorbs, is a bit of a comparison."""
    net = Draft(f"ends in a comparison, {limbs} limbs", limbs, [3])
    z = net.dense(INPUT, 3, 2)
    net.compare(INPUT, [0, 1], [5], point=2)
    return net.reveal(z)


# Network, parties, batches of the inferences.
CASES = [(dense(2), 2, [1, 2]), (dense(1), 3, [1]), (convolution(2), 3, [2]), (convolution(1), 2, [1, 1]),
         (products(2), 2, [2, 1]), (products(1), 3, [1]), (residual(2), 3, [1, 2]), (residual(1), 2, [1]),
         (repeated(2), 2, [2]), (joined(3), 2, [1]), (relu(1, [2] * 6), 2, [1, 3]), (relu(2, [3, 3, 3], False), 3, [1]),
         (relu(1, [1, 2, 1, 2, 1, 2, 2]), 5, [2]), (relu(2, [2] * 5), 5, [1]), (maxima(1), 3, [2]), (maxima(2), 2, [1]),
         (pieces(1), 2, [1]), (pieces(2), 3, [1]), (relu_of_maxima(1), 2, [2]), (relu_of_maxima(2), 3, [1]),
         (watched(1), 2, [2]), (watched(2), 3, [1]), (public(1), 2, [2]), (public(2), 3, [1]), (mixed(2), 2, [2]),
         (mixed(3), 3, [1]), (chunks(1), 2, [2]), (ends_in_a_comparison(1), 3, [1])]


def case(net, parties, batches):
    name = f"{net.plan['name']}, {parties} parties"
    run, inferences = Run(name, net.plan, net.weights, parties), []
    for number, batch in enumerate(batches):
        inputs = net.integers(batch * run.values.length[0], 2**net.plan["input_scale"])
        inferences.append(dict(batch=batch, inputs=inputs, outputs=run.infer(number + 2, inputs, batch)))
    # The hash of a message covers its header and is cut to 16 bytes.
    messages = [f"{sender} > {to}: {kind} {index} {inference}, {len(body)} bytes, {blake3(body)[:16].hex()}"
                for sender, to, kind, index, inference, body in run.sent]
    return dict(name=name, parties=parties, plan=encode(net.plan).hex(), weights=net.weights,
                fingerprint=run.fingerprint.hex(), inferences=inferences, messages=messages)


def as_text(cases):
    """JSON with one message, and otherwise one field, a line."""
    lines = []
    for c in cases:
        fields = [f'    "{key}": {json.dumps(value)}' for key, value in c.items() if key != "messages"]
        messages = ",\n".join(f"      {json.dumps(m)}" for m in c["messages"])
        lines.append("  {\n" + ",\n".join(fields) + f',\n    "messages": [\n{messages}\n    ]\n  }}')
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main():
    primitives.self_test()
    written = as_text([case(*c) for c in CASES])
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text() != written:
            sys.exit(f"{FILE} is not what the specification says")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(written)


if __name__ == "__main__":
    main()
