"""Comparisons and selections (docs/protocol.md, sections 5, 6.10 and 6.12), as an inference uses them."""

import math

from wire import FOLLOW, JOIN, KEY, MASK_BIT, OUT_MASK, SELECTED, SELECTED_TAG, TABLE


def shape(digits):
    """Lengths of the runs of segments that each level joins."""
    levels = []
    while digits > 3:
        levels.append([min(2, digits - i) for i in range(0, digits, 2)])
        digits = (digits + 1) // 2
    return levels + ([[digits]] if digits > 1 else [])


def levels(op):
    return len(shape(len(op["digits"]))) + 1


def bits_opened(run, last):
    """The bits that a run opens, by kind and segment within the run."""
    if run == 1:
        return []
    return [("e", 0), ("l", 1)] + ([("e", 1)] if run == 3 or not last else []) + ([("l", 2)] if run == 3 else [])


def xor(*vectors):
    out = [0] * len(vectors[0])
    for vector in vectors:
        out = [a ^ b for a, b in zip(out, vector)]
    return out


def both(*vectors):
    out = vectors[0]
    for vector in vectors[1:]:
        out = [a & b for a, b in zip(out, vector)]
    return out


def gate(bits, forms):
    """The forms whose bit is 1."""
    return [form if bit else 0 for bit, form in zip(bits, forms)]


class Comparison:
    """One comparison at the helper and all parties. Planes are lists over the elements of all batch elements.

    What a party sends is linear in its shares of what was dealt, with public coefficients. So online every bit is a
    *form* for each element: bit `k` is the coefficient of dealt bit `k`, and `one` that of the constant 1.
    """

    def __init__(self, op, q, masks, streams):
        """Masks of the value compared, and every party's stream of the operation."""
        self.op, self.q, self.streams, self.everybody, self.count = op, q, streams, range(len(streams)), len(masks)
        self.widths = op["digits"]
        self.low = [sum(self.widths[i + 1:]) for i in range(len(self.widths))]
        self.low_bits = sum(self.widths)
        self.dealt, self.mask_shares = [], []  # of every bit: value and shares; of every opening: shares of its mask
        mu = [r >> op["unit"] for r in masks]
        self.tables, at = [], 0
        for i, width in enumerate(self.widths):
            digit = [m >> self.low[i] & 2**width - 1 for m in mu]
            table = []
            for j in range(2**width - 1):
                table.append(self.deal(TABLE + at, [int(j < d) for d in digit]))
                at += 1
            self.tables.append(table)
        self.thresholds = [self.prepare_threshold() for _ in op["thresholds"]]
        # Masks of the bits: of the opening, of what it opens, and the top bit of mu.
        self.masks = [xor(t["mask"], t["last"]["cl"], [m >> self.low_bits & 1 for m in mu]) for t in self.thresholds]
        self.one = 1 << len(self.dealt)

    def shares(self, domain):
        return [stream.bits(domain, self.count) for stream in self.streams]

    def deal(self, domain, value):
        """The number of a bit that is dealt."""
        self.dealt.append((value, self.shares(domain)))
        return len(self.dealt) - 1

    def correct(self, party):
        """The corrections of all bits dealt, which this party, from 0, takes in place of what it expanded."""
        for value, shares in self.dealt:
            shares[party] = xor(value, *(share for i, share in enumerate(shares) if i != party))
        return [shares[party] for _, shares in self.dealt]

    def mask_bits(self):
        """The number of the next opening, and its mask."""
        number = len(self.mask_shares)
        self.mask_shares.append(self.shares(MASK_BIT + number))
        return number, xor(*self.mask_shares[number])

    def prepare_threshold(self):
        none = [0] * self.count
        segments, joins = [dict(digit=True, cl=none, ce=none) for _ in self.widths], []
        for runs in shape(len(self.widths)):
            following, at, of_level = [], 0, []
            for run in runs:
                parts, at = segments[at:at + run], at + run
                join = self.prepare_join(parts, at == len(segments)) if run > 1 else None
                of_level.append((run, join))
                following.append(join["out"] if join else parts[0])
            segments = following
            joins.append(of_level)
        number, mask = self.mask_bits()
        return dict(joins=joins, number=number, mask=mask, last=segments[0])

    def prepare_join(self, parts, last):
        opens = bits_opened(len(parts), last)
        join, lam = {"opens": opens, "numbers": {}, "dealt": {}, "middle is a digit": parts[1]["digit"]}, {}
        for bit in opens:
            join["numbers"][bit], mask = self.mask_bits()
            lam[bit] = xor(mask, parts[bit[1]]["ce" if bit[0] == "e" else "cl"])

        def deal(name, bits):
            joined = len(self.dealt) - sum(map(len, self.tables))
            join["dealt"][name] = self.deal(JOIN + joined, bits)

        e1, l2 = lam["e", 0], lam["l", 1]
        less = xor(parts[0]["cl"], both(e1, l2))
        equal = [0] * self.count
        if len(parts) == 3:
            e2, l3 = lam["e", 1], lam["l", 2]
            deal("first", both(e2, l3) if parts[1]["digit"] else xor(both(e2, l3), l2))
            deal("second", both(e1, l3))
            deal("third", both(e1, e2))
            less = xor(less, both(e1, e2, l3))
        elif not last:
            equal = both(e1, lam["e", 1])
        for bit in opens:
            if not parts[bit[1]]["digit"] and not (len(parts) == 3 and bit == ("l", 1)):
                deal(bit, lam[bit])
        join["out"] = dict(digit=False, cl=less, ce=equal)
        return join

    # ---------------------------------------------------------- online
    def windows(self, opened, threshold):
        unit = self.op["unit"]
        return [(D - threshold - (2**unit >> 1)) % self.q >> unit for D in opened]

    def run(self, opened):
        """Goes through all levels; keeps what every party sends at each, plane by plane."""
        # A party's shares of all bits dealt, as an integer for each element; the first party has the constant 1.
        self.held = [[sum(shares[i][e] << k for k, (_, shares) in enumerate(self.dealt)) + (self.one if i == 0 else 0)
                      for e in range(self.count)] for i in self.everybody]
        states = []
        for threshold in self.op["thresholds"]:
            v = self.windows(opened, threshold)
            segments = []
            for table, low, width in zip(self.tables, self.low, self.widths):
                def entry(j):
                    return self.one if j < 0 else 0 if j == 2**width - 1 else 1 << table[j]
                digit = [x >> low & 2**width - 1 for x in v]
                segments.append(([entry(j) for j in digit], [entry(j - 1) ^ entry(j) for j in digit]))
            states.append([segments, [x >> self.low_bits & 1 for x in v]])
        # By the numbers of the openings: forms, and what every party sends.
        self.levels, self.forms, self.sent = [], {}, {}
        for level in range(len(shape(len(self.widths)))):
            planes = []
            for threshold, state in zip(self.thresholds, states):
                segments, following, at = state[0], [], 0
                for run, join in threshold["joins"][level]:
                    parts, at = segments[at:at + run], at + run
                    following.append(self.join(parts, join, planes) if join else parts[0])
                state[0] = following
            self.levels.append(planes)
        planes, self.bits = [], []
        for threshold, (segments, top) in zip(self.thresholds, states):
            f = self.open(segments[0][0], threshold["number"], planes)
            self.bits.append([1 ^ t ^ b for t, b in zip(top, f)])
        self.levels.append(planes)

    def open(self, forms, number, planes):
        sent = [[(form & h).bit_count() % 2 ^ m for form, h, m in zip(forms, self.held[i], self.mask_shares[number][i])]
                for i in self.everybody]
        planes.append(sent)
        self.forms[number], self.sent[number] = forms, sent
        return xor(*sent)

    def join(self, parts, join, planes):
        opened, masks, ones = {}, {}, [self.one] * self.count
        for bit in join["opens"]:
            forms = parts[bit[1]][1 if bit[0] == "e" else 0]
            opened[bit] = self.open(forms, join["numbers"][bit], planes)
            # The bit's mask: dealt, or of a digit the bit itself, and 1 where the opened bit is 1.
            masks[bit] = xor(forms, gate(opened[bit], ones))
        dealt = {name: [1 << k] * self.count for name, k in join["dealt"].items()}
        masks.update((bit, dealt[bit]) for bit in join["opens"] if bit in dealt)
        e1, l2 = opened["e", 0], opened["l", 1]
        less, equal = xor(parts[0][0], gate(l2, masks["e", 0]), gate(both(e1, l2), ones)), []
        if len(parts) == 2 or join["middle is a digit"]:  # else part of the first product
            less = xor(less, gate(e1, masks["l", 1]))
        if len(parts) == 3:
            e2, l3 = opened["e", 1], opened["l", 2]
            less = xor(less, gate(both(e1, e2, l3), ones), gate(both(e1, e2), masks["l", 2]),
                       gate(both(e1, l3), masks["e", 1]), gate(both(e2, l3), masks["e", 0]),
                       gate(e1, dealt["first"]), gate(e2, dealt["second"]), gate(l3, dealt["third"]))
        elif ("e", 1) in opened:
            e2 = opened["e", 1]
            equal = xor(gate(both(e1, e2), ones), gate(e1, masks["e", 1]), gate(e2, masks["e", 0]))
        return less, equal


class Xnor:
    """The bits of two comparisons and, as a third, whether they are equal: public masked bits and the helper's masks."""

    def __init__(self, left, right):
        self.left, self.right = left, right
        (a,), (b,) = left.masks, right.masks
        self.masks, self.bits = [a, b, xor(a, b)], None

    def run(self):
        (a,), (b,) = self.left.bits, self.right.bits
        self.bits = [a, b, [1 ^ bit for bit in xor(a, b)]]


# ------------------------------------------------------------------ selection
def halves(op, q):
    """R_0 = Q_0 + (1/2) sum Q_t and R_t = Q_t / 2, modulo Q, without zeros behind the leading coefficient."""
    size, half = max(map(len, op["polynomials"])), (q + 1) // 2
    rows = [list(p) + [0] * (size - len(p)) for p in op["polynomials"]]
    doubled = [[2 * c + sum(p[k] for p in rows[1:]) for k, c in enumerate(rows[0])]] + rows[1:]
    for row in doubled:
        while len(row) > 1 and row[-1] == 0:
            row.pop()
    return [[half * c % q for c in row] for row in doubled]


def dealt_coefficients(op, q):
    """Polynomial and power of every vector that is dealt."""
    out = []
    for t, row in enumerate(halves(op, q)):
        out += [(t, k) for k in (range(len(row)) if t else range(1, len(row) - 1))]
    return out


def shifted(row, r, q):
    """Coefficients in v of the polynomial at v - r."""
    return [sum(math.comb(k, j) * row[k] * (-r)**(k - j) for k in range(j, len(row))) % q for j in range(len(row))]


def prepare_selection(inference, op, seeds, outputs, dealt, shared):
    r, q = inference.r, inference.q
    masks = inference.masks[op["input"]]
    bits = inference.material[op["bits"] - 1].masks if op["bits"] is not None else []
    rows = halves(op, q)
    at = [[shifted(row, m, q) for m in masks] for row in rows]  # of polynomial, element, power
    g, U = inference.shares(seeds, KEY, outputs), inference.shares(seeds, FOLLOW, outputs)
    key = r.add(*g)
    out_mask = r.sub(r.add(*U), inference.pooled(op, [c[0] for c in at[0]]))
    if op["base"] is not None:
        out_mask = r.add(out_mask, inference.masks[op["base"]])
    gamma = inference.unpooled(op, key, len(masks))
    material = dict(U=U, g=g, gamma=[inference.unpooled(op, share, len(masks)) for share in g])
    mask_shares = dealt(OUT_MASK, out_mask) if shared else None
    values = []
    for t, k in dealt_coefficients(op, q):
        sign = [1 - 2 * m for m in bits[t - 1]] if t else [1] * len(masks)
        values.append([s * c[k] % q for s, c in zip(sign, at[t])])
    material["values"] = [dealt(SELECTED + i, v) for i, v in enumerate(values)]
    material["tags"] = [dealt(SELECTED_TAG + i, r.mul(gamma, v)) for i, v in enumerate(values)]
    inference.add_terms(inference.constants, 0, inference.dots(key, r.add(*U)))
    return out_mask, mask_shares, material


def select(inference, op, material):
    """6.12, and the terms of 6.7 without the opened value."""
    r, q, D = inference.r, inference.q, inference.D[op["input"]]
    bits = inference.material[op["bits"] - 1].bits if op["bits"] is not None else []
    base, order, shares = halves(op, q)[0], dealt_coefficients(op, q), []

    def total(vectors, i):
        out = [0] * len(D)
        for (t, k), vector in zip(order, vectors):
            sign = [2 * b - 1 for b in bits[t - 1]] if t else [1] * len(D)
            out = [(o + s * pow(d, k, q) * x) % q for o, s, d, x in zip(out, sign, D, vector[i])]
        return out

    degree = len(base) - 1
    leading = [base[-1] * pow(d, degree, q) % q if degree else 0 for d in D]
    for i in inference.everybody:
        y = total(material["values"], i)
        shares.append(r.add(material["U"][i], inference.pooled(op, r.add(y, leading) if i == 0 else y)))
        tags = r.add(total(material["tags"], i), r.mul(leading, material["gamma"][i]))
        inference.add_terms(inference.sums[i], 0, [-sum(t) for t in inference.each(tags)])
    return shares


# ------------------------------------------------------------------ values outside
def prepare_outside(inference, op, seeds, outputs, dealt):
    """Factors are whatever the seeds give; what stands beside them follows."""
    r, masks, numbers = inference.r, inference.masks[op["input"]], op["numbers"]
    g, U = inference.shares(seeds, KEY, outputs), inference.shares(seeds, FOLLOW, outputs)
    key = r.add(*g)
    factors = [inference.shares(seeds, SELECTED + i, len(masks)) for i in range(numbers)]
    sums = [r.add(*shares) for shares in factors]
    linear = [r.mul(a, [2 * m + 1 for m in masks]) for a in sums]
    constant = [r.mul(a, [m * m + m for m in masks]) for a in sums]
    out_mask = r.sub(r.add(*U), per_number(inference, constant))
    each = len(masks) // inference.batch
    keys = [[key[j // each * numbers + i] for j in range(len(masks))] for i in range(numbers)]
    material = dict(U=U, g=g, factors=factors)
    material["linear"] = [dealt(SELECTED + numbers + i, v) for i, v in enumerate(linear)]
    material["factor_tags"] = [dealt(SELECTED_TAG + i, r.mul(k, a)) for i, (k, a) in enumerate(zip(keys, sums))]
    material["linear_tags"] = [dealt(SELECTED_TAG + numbers + i, r.mul(k, v))
                               for i, (k, v) in enumerate(zip(keys, linear))]
    inference.add_terms(inference.constants, 0, inference.dots(key, r.add(*U)))
    return out_mask, None, material


def per_number(inference, vectors):
    """For every batch element and number the sum of its part."""
    parts = [inference.each(v) for v in vectors]
    return [sum(part[e]) % inference.q for e in range(inference.batch) for part in parts]


def outside(inference, op, material):
    """6.13, and the terms of 6.7 without the opened value."""
    r, q, D, shares = inference.r, inference.q, inference.D[op["input"]], []

    def total(factors, linear, i):
        return per_number(inference, [[(a * d * d - b * d) % q for a, b, d in zip(f[i], l[i], D)]
                                      for f, l in zip(factors, linear)])

    for i in inference.everybody:
        shares.append(r.add(material["U"][i], total(material["factors"], material["linear"], i)))
        tags = total(material["factor_tags"], material["linear_tags"], i)
        inference.add_terms(inference.sums[i], 0, [-sum(t) for t in inference.each(tags)])
    return shares
