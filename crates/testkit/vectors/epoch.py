"""A session with one epoch of a model, from docs/protocol.md: every byte that every role sends, from the seeds that it
draws.

Written from that text and independent of the Rust code: integers modulo Q, explicit matrices, standard library only.
Sections of the text are given with each step.
"""

from inference import Inference
from networks import Matrix, Values, digest
from primitives import Stream, derive_key, keyed, modulus, pack, planes, sequence, varint
from wire import (CHALLENGE, HELPER, LOAD_TAGS, LOAD_ZERO, OWNER, WEIGHT_MASK, authentication_keys, header, label, le,
                  scope, tagged)


class KnownSeeds:
    """What the roles draw in these runs, where everybody may know it."""

    def __init__(self, name):
        self.name, self.drawn = name, {}

    def next(self, role):
        number = self.drawn.get(role, 0)
        self.drawn[role] = number + 1
        return keyed(bytes(32), f"{self.name}, {role}, {number}".encode())


class Run:
    """A session and one epoch of a model: how they begin, then inferences. `sent` has all messages: from, to, header, body."""

    def __init__(self, name, plan, weights, n):
        self.plan, self.n, self.seeds, self.sent = plan, n, KnownSeeds(name), []
        self.q, self.limbs, self.values, self.digest = modulus(plan["limbs"]), plan["limbs"], Values(plan), digest(plan)
        self.parties = [f"party {i + 1}" for i in range(n)]
        self.matrices = [Matrix(w) for w in plan["weights"]]
        self.begin_session()
        self.load(weights)

    # -------------------------------------------------------------- small things
    def send(self, sender, to, kind, body, index=0, inference=1, of=None):
        """About an inference, or the load, which is number 1 of the session."""
        if of is None:
            of = self.scope(inference)
        number = int.from_bytes(of[32:], "little")
        self.sent.append((sender, to, kind, index, number, header(kind, index, of) + body))

    def send_to_parties(self, sender, keys, kind, body, index=0, inference=1):
        """The same body to every party, each with the sender's tag for it (6.1)."""
        for party, key in zip(self.parties, keys):
            self.send(sender, party, kind, tagged(key, kind, index, self.scope(inference), body), index, inference)

    def scope(self, inference):
        return scope(self.session, self.epoch, inference)

    def pack(self, *vectors):
        return b"".join(pack(v, self.limbs) for v in vectors)

    def dot(self, a, b):
        return sum(x * y for x, y in zip(a, b)) % self.q

    def add(self, *vectors):
        return [sum(v) % self.q for v in zip(*vectors)]

    def sub(self, a, b):
        return [(x - y) % self.q for x, y in zip(a, b)]

    def mul(self, a, b):
        return [x * y % self.q for x, y in zip(a, b)]

    def sample(self, seed, domain, count):
        return Stream(seed).sample(domain, self.limbs, count)

    def dealt(self, shares, value):
        """Shares of a value that the helper fixed, and the correction that the last party takes for its own (3)."""
        last = self.sub(value, self.add(*shares[:-1]))
        return shares[:-1] + [last], last

    def hash_values(self, tag, vector):
        words = b"".join(le(r, 8) for plane in planes(vector, self.limbs) for r in plane)
        return le(tag, 4) + le(len(vector), 8) + words  # 7.3

    def topic(self, kind, index=0, inference=1):
        return le(kind, 1) + le(index, 4) + self.scope(inference) + self.digest

    def zero_shares(self, pair_keys, count, seed_of):
        """Party i adds the streams of pairs in which its number is the smaller and subtracts the others (7.2)."""
        shares = [[0] * count for _ in range(self.n)]
        for i in range(self.n):
            for j in range(i + 1, self.n):
                term = self.sample(seed_of(pair_keys[i, j]), 0, count)
                shares[i], shares[j] = self.add(shares[i], term), self.sub(shares[j], term)
        return shares

    # -------------------------------------------------------------- 7.2 Session
    def begin_session(self):
        everybody = range(self.n)
        self.session = self.seeds.next(HELPER)[:16]
        of = scope(self.session)
        of_helper = [self.seeds.next(HELPER) for _ in everybody]
        for party, part in zip(self.parties, of_helper):
            # No epoch is offered.
            self.send(HELPER, party, "SessionBegin", varint(32) + part + sequence([]), of=of)
        of_party, common, pairs = [], [], []
        for party in self.parties:
            of_party.append(self.seeds.next(party))
            common.append(self.seeds.next(party))
            pairs.append([self.seeds.next(party) for _ in everybody])  # that for itself is not used
        for i, sender in enumerate(self.parties):
            for j, to in enumerate(self.parties):
                if i != j:
                    self.send(sender, to, "Keys", common[i] + pairs[i][j], of=of)
        common_key = derive_key("amicus 2026-11 key common to all parties", self.session + b"".join(common))
        self.chains = {("party", i): keyed(of_helper[i], b"amicus seed of a session" + self.session + bytes([i + 1])
                                           + of_party[i]) for i in everybody}
        self.chains["common"] = common_key
        for i in everybody:
            for j in range(i + 1, self.n):
                material = self.session + bytes([i + 1, j + 1]) + pairs[i][j] + pairs[j][i]
                self.chains["pair", i, j] = derive_key("amicus 2026-11 key of two parties", material)
        confirmation = keyed(common_key, b"amicus confirmation of a session")
        equal = keyed(confirmation, le(4, 1) + le(0, 4) + of + bytes(32))
        for i, (party, part) in enumerate(zip(self.parties, of_party)):
            pairs = [keyed(self.chains["pair", min(i, j), max(i, j)], b"amicus confirmation of a pair") for j in everybody if j != i]
            self.send(party, HELPER, "SessionAnswer", varint(32) + part + equal + sequence(pairs) + sequence([]), of=of)

    def take(self, inference):
        """The keys of the next id, one of each chain, bound to what they are for; the chains move on (7.2)."""
        binding = self.scope(inference) + self.digest
        keys = {name: keyed(keyed(chain, b"amicus keys of one id"), binding) for name, chain in self.chains.items()}
        self.chains = {name: keyed(chain, b"amicus state of the next id") for name, chain in self.chains.items()}
        pairs = {(i, j): keys["pair", i, j] for i in range(self.n) for j in range(i + 1, self.n)}
        return [keys["party", i] for i in range(self.n)], keys["common"], pairs

    # -------------------------------------------------------------- 4 Model epoch
    def load(self, weights):
        q, everybody = self.q, range(self.n)
        tensors = list(zip(self.matrices, weights))
        self.send(OWNER, HELPER, "LoadRequest", self.digest, of=scope())
        self.epoch = self.seeds.next(HELPER)[:16]
        of_epoch = scope(epoch=self.epoch)  # in whatever session
        self.party_seeds, common_key, pair_keys = self.take(1)
        for party in self.parties:
            self.send(HELPER, party, "EpochBegin", self.digest)
        mask_seeds = [[keyed(s, label(WEIGHT_MASK, of_epoch, t)) for s in self.party_seeds] for t in range(len(tensors))]
        keys = authentication_keys(self.party_seeds, self.scope(1), 0)
        self.send(HELPER, OWNER, "LoadGrant", b"".join(map(b"".join, mask_seeds + [keys])))
        nonce = self.seeds.next(OWNER)
        self.send_to_parties(OWNER, keys, "Nonce", nonce)
        fingerprint = b"model" + self.epoch + self.digest
        transcript, tags_part = self.topic(1), b""
        self.layers = []
        for t, (matrix, (w, bias)) in enumerate(tensors):
            w, bias = [v % q for v in w], [v % q for v in bias or []]
            mask = [(self.sample(s, 0, len(w)), self.sample(s, 1, len(bias))) for s in mask_seeds[t]]
            M = [self.add(*(share[part] for share in mask)) for part in (0, 1)]
            D = [self.add(w, M[0]), self.add(bias, M[1])]
            # In parts: all these tensors have fewer than 2^18 weights; biases are a part of their own.
            of_tensor, of_fingerprint = self.topic(3, t), b"tensor" + le(t, 4)
            for number, part in enumerate(D[:1 + matrix.bias]):
                body = le(number, 4) + self.pack(part)
                self.send_to_parties(OWNER, keys, "Weights", body, t)
                of_tensor += self.hash_values(number, part)
                of_fingerprint += body
            fingerprint += keyed(nonce, of_fingerprint)
            transcript += le(t, 4) + keyed(common_key, of_tensor)

            streams = [keyed(s, label(LOAD_TAGS, of_epoch, t)) for s in self.party_seeds]
            rows, columns = len(matrix.rows), matrix.columns
            b, u, bM, a, ab = ([self.sample(s, domain, count) for s in streams]
                               for domain, count in enumerate((rows, columns, columns, 1, rows)))
            key, a_sum = self.add(*b), self.add(*a)[0]
            tagged_mask = matrix.transposed(M[0], M[1], key, q)
            bM, correction = self.dealt(bM, tagged_mask)
            ab, of_check = self.dealt(ab, [a_sum * v % q for v in key])
            self.send(HELPER, self.parties[-1], "LoadCorrection", self.pack(correction, of_check), t)
            G = [self.sub(matrix.transposed(D[0], D[1], b[i], q), bM[i]) for i in everybody]
            g = [self.add(G[i], u[i]) for i in everybody]
            for i in everybody:
                for j in everybody:
                    if i != j:
                        self.send(self.parties[i], self.parties[j], "Tags", self.pack(g[i]), t)
            DG = self.add(*g)
            tags_part += self.hash_values(t, DG)
            # [W]_i is D_W - [M_W]_1 for the first party and -[M_W]_i for the others.
            W = [[self.sub(D[part] if i == 0 else [0] * len(D[part]), mask[i][part]) for part in (0, 1)]
                 for i in everybody]
            self.layers.append(dict(matrix=matrix, M=M, D=D, W=W, b=b, key=key, u=self.add(*u), G=G, DG=DG,
                                    a=a, ab=ab, a_sum=a_sum, tagged_mask=tagged_mask))
        for party in self.parties:
            self.send(party, HELPER, "LoadHash", keyed(common_key, transcript + tags_part))
        self.check_load(pair_keys)
        self.fingerprint = keyed(nonce, fingerprint)

    def check_load(self, pair_keys):
        seed = self.seeds.next(HELPER)
        zero = self.zero_shares(pair_keys, len(self.layers), lambda key: keyed(key, label(LOAD_ZERO, self.scope(1), 0)))
        answers = [[] for _ in self.parties]
        for t, layer in enumerate(self.layers):
            matrix = layer["matrix"]
            c = self.sample(keyed(seed, label(CHALLENGE, scope(epoch=self.epoch), t)), 0, matrix.columns)
            Dc = matrix.product(layer["D"][0], layer["D"][1], c, self.q)
            for i, answer in enumerate(answers):
                s = self.dot(layer["ab"][i], Dc) - layer["a"][i][0] * self.dot(layer["DG"], c) + zero[i][t]
                answer.append(s % self.q)
            right = layer["a_sum"] * self.dot(self.sub(layer["tagged_mask"], layer["u"]), c) % self.q
            assert sum(answer[t] for answer in answers) % self.q == right
        for party, answer in zip(self.parties, answers):
            self.send(HELPER, party, "Challenge", seed)
            self.send(party, HELPER, "LoadResponse", self.pack(answer))

    # -------------------------------------------------------------- batches
    def each(self, vector, batch):
        """A vector of a batch, batch element by batch element."""
        size = len(vector) // batch
        return [vector[e * size:(e + 1) * size] for e in range(batch)]

    def joined(self, vectors):
        return [x for v in vectors for x in v]

    # -------------------------------------------------------------- 5 and 6
    def infer(self, inference, inputs, batch):
        """One inference; returns the logits as integers at the output's scale."""
        return Inference(self, inference, inputs, batch).run()
