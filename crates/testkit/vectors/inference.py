"""Sections 5 and 6 of docs/protocol.md: preprocessing and online phase of one inference."""

import math

from comparisons import Comparison, Xnor, outside, prepare_outside, prepare_selection, select, xor
from networks import inputs_of, levels, local, opens, pool_windows
from primitives import Stream, derive_key, keyed, keyed_stream, pack_bits, sequence, text, varint
from proofs import accepts, messages
from wire import (CHECK_ZERO, CLIENT, COEFFICIENT, COEFFICIENT_TAG, DIFFERENCE, DIFFERENCE_TAG, FOLLOW, HELPER, INPUT_MASK,
                  KEY, MATERIAL, OUT_MASK, PRODUCT_TAGS, ZERO_WORDS, authentication_keys, label, le, scope)


def encrypted(key, plain):
    """A release to its receiver (6.8)."""
    stream = keyed_stream(keyed(key, b"amicus stream of a release"), len(plain))
    masked = bytes(a ^ b for a, b in zip(plain, stream))
    return masked + keyed(keyed(key, b"amicus tag of a release"), masked)


def truncation(op):
    """A truncation as the activation that it is."""
    return dict(op, input_scale=op["scale"], coefficients=[0, 1], pool=None, statistical=False)


class Inference:
    def __init__(self, run, inference, inputs, batch):
        self.r, self.id, self.batch, self.plan = run, inference, batch, run.plan
        self.q, self.everybody, self.slots = run.q, range(run.n), run.values.slots
        self.x = [v % self.q for v in inputs]
        self.party_seeds, self.common_key, self.pair_keys = run.take(inference)
        self.scope = run.scope(inference)
        self.masks, self.mask_shares = [], []   # of every value: at the helper; at the parties, if shared
        self.material = []                      # of every operation
        self.given = [0] * run.n                # bytes of corrections that each party got so far
        self.D = []                             # masked values
        self.opened = {}                        # what operations opened, before a base is added
        self.constants = [0] * (batch * self.slots)
        self.sums = [[0] * (batch * self.slots) for _ in self.everybody]

    def send(self, sender, to, kind, body, index=0):
        self.r.send(sender, to, kind, body, index, self.id)

    def stream_seeds(self, purpose, index):
        return [keyed(s, label(purpose, self.scope, index)) for s in self.party_seeds]

    def shares(self, seeds, domain, count):
        return [self.r.sample(s, domain, count) for s in seeds]

    def each(self, vector):
        return self.r.each(vector, self.batch)

    def per_element(self, function, *vectors):
        """A function of one batch element, on all of them."""
        return self.r.joined([function(*parts) for parts in zip(*map(self.each, vectors))])

    def add_terms(self, sums, slot, terms):
        for e, term in enumerate(terms):
            sums[e * self.slots + slot] = (sums[e * self.slots + slot] + term) % self.q

    def dots(self, a, b):
        return [self.r.dot(x, y) for x, y in zip(self.each(a), self.each(b))]

    # -------------------------------------------------------------- 5 Preprocessing
    def whose_turn(self, size):
        """The party, from 0, that gets a message of so many bytes: the one with the fewest, the last of several."""
        assert size <= 2**16, "no case has more elements than one message holds"
        party = max(self.everybody, key=lambda i: (-self.given[i], i))
        self.given[party] += size
        return party

    def deal(self, index, vectors):
        """Sends the corrections of values to one party, which takes them in place of the shares that it expanded."""
        if vectors:
            party = self.whose_turn(len(self.r.pack(*(value for value, _ in vectors))))
            for value, shares in vectors:
                others = [share for i, share in enumerate(shares) if i != party]
                shares[party] = self.r.sub(value, self.r.add(*others))
            body = self.r.pack(*(shares[party] for _, shares in vectors))
            self.send(HELPER, self.r.parties[party], "DealCorrection", body, index)

    def prepare(self):
        self.input_seeds = self.stream_seeds(INPUT_MASK, 0)
        count = self.r.values.length[0] * self.batch
        self.mask_shares.append(self.shares(self.input_seeds, 0, count))
        self.masks.append(self.r.add(*self.mask_shares[0]))
        for index, op in enumerate(self.plan["ops"]):
            self.prepare_operation(index, op)

    def prepare_operation(self, index, op):
        r, kind = self.r, op["kind"]
        count = r.values.length[index + 1] * self.batch
        seeds, mask_shares = self.stream_seeds(MATERIAL, index), None
        # What is dealt for every input, then the result's mask: values and their shares.
        of_inputs, of_mask = [], []

        def dealt(domain, value):
            shares = self.shares(seeds, domain, len(value))
            (of_mask if domain == OUT_MASK else of_inputs).append((value, shares))
            return shares

        if kind == "linear":
            layer = r.layers[op["weights"]]
            matrix, m = layer["matrix"], self.masks[op["input"]]
            S = self.shares(seeds, FOLLOW, count)
            Mm = self.per_element(lambda v: matrix.product(layer["M"][0], None, v, self.q), m)
            mask = r.sub(r.add(*S), Mm)
            R = [r.sub(S[i], self.per_element(lambda v: matrix.product(layer["D"][0], None, v, self.q),
                                              self.mask_shares[op["input"]][i])) for i in self.everybody]
            constants = [r.dot(layer["u"], me) + r.dot(layer["key"], re) for me, re in zip(self.each(m), self.each(mask))]
            self.add_terms(self.constants, op["use"], constants)
            material = dict(R=R)
        elif kind == "multiply":
            V, g = self.shares(seeds, FOLLOW, count), self.shares(seeds, KEY, count)
            mx, my = self.masks[op["left"]], self.masks[op["right"]]
            key = r.add(*g)
            gx, gy = (dealt(domain, r.mul(key, m)) for domain, m in zip(PRODUCT_TAGS, (mx, my)))
            mask = r.sub(r.add(*V), r.mul(mx, my))
            self.add_terms(self.constants, 0, self.dots(key, r.add(*V)))
            material = dict(V=V, g=g, gx=gx, gy=gy)
        elif kind == "activation":
            mask, mask_shares, material = self.prepare_activation(op, seeds, count, dealt, r.values.shared[index + 1])
        elif kind == "truncate":
            alone = truncation(op)
            mask, mask_shares, material = self.prepare_activation(alone, seeds, count, dealt, r.values.shared[index + 1])
        elif kind == "select":
            mask, mask_shares, material = prepare_selection(self, op, seeds, count, dealt, r.values.shared[index + 1])
        elif kind == "outside":
            mask, mask_shares, material = prepare_outside(self, op, seeds, count, dealt)
        elif kind == "compare":
            material, mask = Comparison(op, self.q, self.masks[op["input"]], [Stream(seed) for seed in seeds]), None
            party = self.whose_turn(len(pack_bits([value for value, _ in material.dealt])))
            body = pack_bits(material.correct(party))
            self.send(HELPER, r.parties[party], "DealCorrection", body, index)
        elif kind == "xnor":
            material = Xnor(self.material[op["left"] - 1], self.material[op["right"] - 1])
            mask = None
        else:
            def on_masks(masks):
                return self.per_element(lambda *args: local(op, args, self.q, masks=True), *masks)
            mask = on_masks([self.masks[v] for v in inputs_of(op)])
            if r.values.shared[index + 1]:
                mask_shares = [on_masks([self.mask_shares[v][i] for v in inputs_of(op)]) for i in self.everybody]
            material = None
        self.masks.append(mask)
        self.mask_shares.append(mask_shares)
        self.material.append(material)
        self.deal(index, of_inputs)
        self.deal(index, of_mask)

    def shift(self, op):
        return self.r.values.scale[op["input"]] - op["input_scale"]

    def truncated_mask(self, r, wrap, shift):
        return (r - self.q if wrap and r >= (self.q + 1) // 2 else r) >> shift

    def taylor(self, op, mu):
        """C_0 .. C_{d-1} of one mask, from B_k = A_k 2^(f_u (d-k))."""
        A, f = op["coefficients"], op["input_scale"]
        d = len(A) - 1
        return [sum(math.comb(k, j) * A[k] * 2**(f * (d - k)) * (-mu)**(k - j) for k in range(j, d + 1)) % self.q
                for j in range(d)]

    def prepare_activation(self, op, seeds, outputs, dealt, shared):
        r, d = self.r, len(op["coefficients"]) - 1
        shift = self.shift(op)
        mask = self.masks[op["input"]]
        both = [[self.taylor(op, self.truncated_mask(v, wrap, shift)) for v in mask] for wrap in (0, 1)]
        C = [[row[k] for row in both[0]] for k in range(d)]
        E = [[(one[k] - zero[k]) % self.q for zero, one in zip(*both)] for k in range(d)]
        g, U = self.shares(seeds, KEY, outputs), self.shares(seeds, FOLLOW, outputs)
        out_mask = r.sub(r.add(*U), self.pooled(op, C[0]))
        key = r.add(*g)
        gamma = self.unpooled(op, key, len(mask))
        material = dict(U=U, g=g, gamma=[self.unpooled(op, share, len(mask)) for share in g])
        mask_shares = dealt(OUT_MASK, out_mask) if shared else None
        material["C"] = {k: dealt(COEFFICIENT + k, C[k]) for k in range(1, d)}
        material["gC"] = {k: dealt(COEFFICIENT_TAG + k, r.mul(gamma, C[k])) for k in range(1, d)}
        differences = range(0 if op["statistical"] else d)
        material["E"] = {k: dealt(DIFFERENCE + k, E[k]) for k in differences}
        material["gE"] = {k: dealt(DIFFERENCE_TAG + k, r.mul(gamma, E[k])) for k in differences}
        self.add_terms(self.constants, 0, self.dots(key, r.add(*U)))
        return out_mask, mask_shares, material

    def pooled(self, op, vector):
        if not op["pool"]:
            return vector
        sets = pool_windows(op["pool"])
        return self.per_element(lambda v: [sum(v[j] for j in window) % self.q for window in sets], vector)

    def unpooled(self, op, keys, count):
        """The sum of the keys of the windows that an input is in."""
        if not op["pool"]:
            return keys
        def of_element(v):
            out = [0] * (count // self.batch)
            for key, window in zip(v, pool_windows(op["pool"])):
                for j in window:
                    out[j] = (out[j] + key) % self.q
            return out
        return self.per_element(of_element, keys)

    # -------------------------------------------------------------- 6 Online
    def run(self):
        r = self.r
        self.prepare()
        r.send(CLIENT, HELPER, "Request", r.digest + varint(self.batch) + sequence([]), of=scope())
        binding = r.digest + varint(self.batch) + text(CLIENT) + sequence([text(CLIENT)])
        seeds = b"".join(self.input_seeds)
        tag_keys = self.tag_keys = authentication_keys(self.party_seeds, self.scope, 0)
        keys = b"".join(tag_keys)
        self.release_key = derive_key("amicus 2026-11 key of a release", self.scope + keys)
        self.send(HELPER, CLIENT, "Ticket", binding + varint(len(seeds)) + seeds + varint(len(keys)) + keys)
        self.D = [r.add(self.x, self.masks[0])] + [None] * len(self.plan["ops"])
        receiver_key = r.seeds.next(CLIENT)
        r.send_to_parties(CLIENT, tag_keys, "Input", r.pack(self.D[0]), inference=self.id)
        r.send_to_parties(CLIENT, tag_keys, "ReceiverKey", receiver_key, inference=self.id)
        for index, op in enumerate(self.plan["ops"]):
            if opens(op):
                self.open(index, op)
            elif op["kind"] == "xnor":
                self.material[index].run()
            else:
                arguments = [self.D[v] for v in inputs_of(op)]
                self.D[index + 1] = self.per_element(lambda *args: local(op, args, self.q), *arguments)
        transcript, reports = r.topic(2, 0, self.id) + r.hash_values(2**32 - 1, self.D[0]), {}
        for opened in r.values.rounds:
            for index, level in opened:
                transcript += self.absorbed(index, level)
                op = self.plan["ops"][index]
                if op["kind"] == "compare" and level + 1 == levels(op):
                    point = keyed(keyed(self.common_key, b"amicus proofs"), keyed(self.common_key, transcript))
                    reports[index] = self.prove(index, point)
        return self.finish(keyed(self.common_key, transcript), [reports[i] for i in sorted(reports)], receiver_key)

    def absorbed(self, index, level):
        """What the transcript takes of an opening."""
        number, material = index | level << 16, self.material[index]
        if self.plan["ops"][index]["kind"] != "compare":
            return self.r.hash_values(number, self.opened[index])
        planes = material.levels[level]
        bits = le(number, 4) + le(sum(len(plane[0]) for plane in planes), 8)
        return bits + b"".join(pack_bits([plane[i] for plane in planes]) for i in self.everybody)

    def compare(self, index, op, material):
        """6.10"""
        material.run(self.D[op["input"]])
        for level, planes in enumerate(material.levels):
            self.send_opening([pack_bits([plane[i] for plane in planes]) for i in self.everybody], index | level << 16)

    def prove(self, index, point):
        """6.14; returns what parties report."""
        material = self.material[index]
        proofs, report = messages(material, point)
        self.send_opening(proofs, index | levels(self.plan["ops"][index]) << 16)
        return report

    def send_opening(self, bodies, number):
        """Every party's message to all others."""
        for i, body in enumerate(bodies):
            for j in self.everybody:
                if i != j:
                    self.send(self.r.parties[i], self.r.parties[j], "Opening", body, number)

    def open(self, index, op):
        r, kind = self.r, op["kind"]
        material = self.material[index]
        if kind == "compare":
            return self.compare(index, op, material)
        if kind == "truncate":
            kind, op = "activation", truncation(op)
        apart = dict(select=select, outside=outside).get(kind)
        shares = apart(self, op, material) if apart else getattr(self, kind)(op, material)
        self.send_opening([r.pack(share) for share in shares], index)
        opened = self.opened[index] = self.D[index + 1] = r.add(*shares)
        if kind == "select" and op["base"] is not None:
            self.D[index + 1] = r.add(opened, self.D[op["base"]])
        # 6.7, the terms with the opened value
        for i, sums in enumerate(self.sums):
            if kind == "linear":
                layer, D_x, m_x = r.layers[op["weights"]], self.D[op["input"]], self.mask_shares[op["input"]][i]
                terms = [r.dot(layer["b"][i], dz) - r.dot(layer["G"][i], dx + [1]) + r.dot(layer["DG"], m)
                         for dz, dx, m in zip(self.each(opened), self.each(D_x), self.each(m_x))]
                self.add_terms(sums, op["use"], terms)
            elif kind == "multiply":
                x, y, g = self.D[op["left"]], self.D[op["right"]], material["g"][i]
                self.add_terms(sums, 0, self.dots(g, r.sub(opened, r.mul(x, y))))
                self.add_terms(sums, 0, self.dots(material["gy"][i], x))
                self.add_terms(sums, 0, self.dots(material["gx"][i], y))
            else:
                self.add_terms(sums, 0, self.dots(material["g"][i], opened))

    def linear(self, op, material):
        """6.2"""
        layer = self.r.layers[op["weights"]]
        def share(i):
            return self.per_element(lambda x: layer["matrix"].product(*layer["W"][i], x + [1], self.q),
                                    self.D[op["input"]])
        return [self.r.add(share(i), material["R"][i]) for i in self.everybody]

    def multiply(self, op, material):
        """6.2"""
        r, x, y = self.r, self.D[op["left"]], self.D[op["right"]]
        shares = []
        for i in self.everybody:
            mx, my = self.mask_shares[op["left"]][i], self.mask_shares[op["right"]][i]
            share = r.sub(material["V"][i], r.add(r.mul(x, my), r.mul(y, mx)))
            shares.append(r.add(share, r.mul(x, y)) if i == 0 else share)
        return shares

    def activation(self, op, material):
        """6.3 to 6.5, and the terms of 6.7 without the opened value"""
        r, q, d, A = self.r, self.q, len(op["coefficients"]) - 1, op["coefficients"]
        D, shift = [(v + 2**op["ell"]) % q for v in self.D[op["input"]]], self.shift(op)
        v = [(value >> shift) - 2**(op["ell"] - shift) for value in D]
        powers = [[pow(value, k, q) for value in v] for k in range(d + 1)]
        wrap = [int(2 * value < q) for value in D]

        def polynomial(i, plain, differences):
            total = [0] * len(v)
            for k in range(1, d):
                total = r.add(total, r.mul(powers[k], material[plain][k][i]))
            for k in material[differences]:
                total = r.add(total, r.mul(wrap, r.mul(powers[k], material[differences][k][i])))
            return total

        shares, leading = [], [A[d] * p % q for p in powers[d]]
        for i in self.everybody:
            y = polynomial(i, "C", "E")
            shares.append(r.add(material["U"][i], self.pooled(op, r.add(y, leading) if i == 0 else y)))
            tags = r.add(polynomial(i, "gC", "gE"), r.mul(leading, material["gamma"][i]))
            self.add_terms(self.sums[i], 0, [-sum(t) for t in self.each(tags)])
        return shares

    def shared_report(self, report, seed_of):
        """Shares of a report by exclusive or: of zero (7.2), and the first party's with the report added."""
        shares = [[0] * (len(report) // 8) for _ in self.everybody]
        shares[0] = [int.from_bytes(report[at:at + 8], "little") for at in range(0, len(report), 8)]
        for i in self.everybody:
            for j in range(i + 1, self.r.n):
                term = Stream(seed_of(self.pair_keys[i, j])).words(ZERO_WORDS, len(report) // 8)
                shares[i], shares[j] = xor(shares[i], term), xor(shares[j], term)
        return [b"".join(le(word, 8) for word in share) for share in shares]

    def check_report(self, of_proofs, transcript):
        """What the helper makes of the shares of the report and the hashes that follow them."""
        report = bytes(of_proofs[0][:-32])
        for other in of_proofs[1:]:
            report = bytes(map(int.__xor__, report, other[:-32]))
        assert all(of_party[-32:] == keyed(transcript, report) for of_party in of_proofs)
        for op, material in zip(self.plan["ops"], self.material):
            if op["kind"] == "compare":
                report = accepts(material, report)
        assert not report

    # -------------------------------------------------------------- 6.7 and 6.8
    def finish(self, transcript, reports, receiver_key):
        r, q, out = self.r, self.q, self.plan["output"]
        shift = r.values.scale[out["value"]] - out["scale"]
        width = -(-(52 * r.limbs - shift) // 8)
        D = [(v + 2**out["ell"]) % q for v in self.D[out["value"]]]
        below = [int(2 * v < q) for v in D]
        message = b"".join(le(v >> shift, width) + bytes([c]) for v, c in zip(D, below))
        output_hash = keyed(receiver_key, b"output" + self.scope + r.digest + message)
        view = keyed(transcript, output_hash)

        def zero_seed(key):
            return keyed(keyed(key, label(CHECK_ZERO, self.scope, 0)), view)

        zero = r.zero_shares(self.pair_keys, len(self.constants), zero_seed)
        sigma = [r.add(sums, z) for sums, z in zip(self.sums, zero)]
        assert r.add(*sigma) == self.constants, "the check fails"
        of_proofs = [b""] * r.n
        if reports:
            report = b"".join(reports)
            shares = self.shared_report(report, zero_seed)
            of_proofs = [share + keyed(transcript, report) for share in shares]
            self.check_report(of_proofs, transcript)
        for party, sums, of_party in zip(r.parties, sigma, of_proofs):
            self.send(party, HELPER, "Check", r.pack(sums) + of_party + transcript + output_hash)
            self.send(party, CLIENT, "Output", message)
        masks = self.masks[out["value"]]
        high = [int(2 * v > q) for v in masks]
        release = b"".join(le(v >> shift, width) + bytes([h]) for v, h in zip(masks, high))
        self.send(HELPER, CLIENT, "Release", encrypted(self.release_key, output_hash + release))
        of_output = [keyed(key, b"amicus key of an output") for key in self.tag_keys]
        for kind in ("Collect", "Collected"):
            r.send_to_parties(CLIENT, of_output, kind, b"", inference=self.id)
        wrap = (2 * q + 2**shift) // 2**(shift + 1)  # Q / 2^shift, rounded
        return [(d >> shift) - 2**(out["ell"] - shift) - (m >> shift) + h * c * wrap
                for d, m, h, c in zip(D, masks, high, below)]
