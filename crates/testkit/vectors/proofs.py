"""The proof that parties sent the bits that follow from their shares (docs/protocol.md, 6.14)."""

from primitives import Stream, inner_product, keyed, keyed_stream, times
from wire import PROOF, le


def chunks(dealt, count):
    """The elements of every chunk, of a comparison that deals so many bits for each of `count` elements."""
    size = 64
    while dealt * (size + 64) + 1 <= 2**16:
        size += 64
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def element(data):
    """An element of GF(2^128)."""
    return int.from_bytes(data, "little")


def folded(vector, r):
    """What a round makes of a vector."""
    half = len(vector) // 2
    return [low ^ times(low ^ high, r) for low, high in zip(vector, vector[half:])]


def end_of(vector, challenges):
    """What all rounds make of a vector."""
    for r in challenges:
        vector = folded(vector, r)
    return vector[0]


def challenge(state, sent):
    """The next state, and the challenge of the round."""
    output = keyed_stream(state, 48, sent)
    return output[:32], element(output[32:])


def sent_of(message):
    """What a prover sent for a chunk, round by round."""
    return [message[at:at + 32] for at in range(0, len(message), 32)]


def total(weights, bits):
    """The sum of the weights of bits that are 1, for all openings."""
    out = 0
    for number, row in bits.items():
        for weight, bit in zip(weights[number], row):
            out ^= weight * bit
    return out


class Chunk:
    """A chunk of a comparison at the parties: its challenges, what a prover sends, what all report of it."""

    def __init__(self, comparison, number, elements, point):
        self.comparison, self.elements, self.width = comparison, elements, len(comparison.dealt)
        self.key = keyed(point, b"amicus proof" + le(number, 4))
        self.omega = keyed(self.key, b"\0")
        self.rounds = (self.width * len(elements)).bit_length()
        self.weights = weights_of(self.omega, comparison, len(elements))

    def alpha(self, i):
        return element(keyed(self.key, b"\1" + bytes([i + 1]))[:16])

    def first_state(self, i):
        return keyed(self.key, b"\2" + bytes([i + 1]))

    def public(self, i):
        """The public vector, for the party with number `i` from 0, and the constant."""
        columns, constant = [[0] * len(self.elements) for _ in range(self.width)], 0
        for number, row in self.weights.items():
            for e, weight in enumerate(row):
                form = self.comparison.forms[number][self.elements[e]]
                if form & self.comparison.one:
                    constant ^= weight
                for k in range(self.width):
                    if form >> k & 1:
                        columns[k][e] ^= weight
        vector = [a for column in columns for a in column]
        return vector + [0] * (2**self.rounds - len(vector) - 1) + [self.alpha(i)], constant

    def prove(self, i, masks):
        """What the party sends."""
        (a, _), b, state, message = self.public(i), secret(self.comparison, self.elements, i), self.first_state(i), b""
        for k in range(self.rounds):
            half = len(a) // 2
            both = [[low ^ high for low, high in zip(v, v[half:])] for v in (a, b)]
            q0, q2 = inner_product(a[:half], b[:half]), inner_product(*both)
            message += le(q0 ^ masks[2 * k], 16) + le(q2 ^ masks[2 * k + 1], 16)
            state, r = challenge(state, message[-32:])
            a, b = folded(a, r), folded(b, r)
        return message

    def claim(self, i, message):
        """What every party reports of what party `i` sent."""
        (public, constant), state, challenges = self.public(i), self.first_state(i), []
        sent = self.comparison.sent
        c = total(self.weights, {number: [sent[number][i][e] for e in self.elements] for number in sent})
        c ^= constant if i == 0 else 0
        for both in sent_of(message):
            state, r = challenge(state, both)
            q0, q2 = element(both[:16]), element(both[16:])
            c = q0 ^ times(c ^ q2, r) ^ times(q2, times(r, r))
            challenges.append(r)
        return b"".join(le(x, 16) for x in challenges + [end_of(public, challenges), c])


def weights_of(omega, comparison, count):
    """A weight for every opening and element."""
    stream = Stream(omega)
    return {number: stream.polynomials(number, 0, count) for number in range(len(comparison.mask_shares))}


def secret(comparison, elements, i):
    """The vector of a party's shares of the dealt bits of a chunk."""
    shares = [shares[i][e] for _, shares in comparison.dealt for e in elements]
    return shares + [0] * (2**len(shares).bit_length() - len(shares))


def masks_of(stream, chunk, rounds):
    """The masks of a party's proof for a chunk."""
    return stream.polynomials(PROOF, 64 * chunk, 2 * rounds)


def accepts(comparison, report):
    """The helper's side, from its knowledge of all shares and masks; returns what is left of the report."""
    for number, elements in enumerate(chunks(len(comparison.dealt), comparison.count)):
        rounds = (len(comparison.dealt) * len(elements)).bit_length()
        weights, report = weights_of(report[:32], comparison, len(elements)), report[32:]
        for i, stream in enumerate(comparison.streams):
            *challenges, a, c = (element(report[at:at + 16]) for at in range(0, 16 * (rounds + 2), 16))
            report, masks = report[16 * (rounds + 2):], masks_of(stream, number, rounds)
            shares = {o: [mask[i][e] for e in elements] for o, mask in enumerate(comparison.mask_shares)}
            k = total(weights, shares)
            for round, r in enumerate(challenges):
                s0, s2 = masks[2 * round:2 * round + 2]
                k = s0 ^ times(k ^ s2, r) ^ times(s2, times(r, r))
            assert c ^ k == times(a, end_of(secret(comparison, elements, i), challenges)), "a proof fails"
    return report


def messages(comparison, point):
    """Every party's message, and the report of all parties."""
    proofs, report = [b""] * len(comparison.streams), b""
    for number, elements in enumerate(chunks(len(comparison.dealt), comparison.count)):
        chunk = Chunk(comparison, number, elements, point)
        report += chunk.omega
        for i, stream in enumerate(comparison.streams):
            proof = chunk.prove(i, masks_of(stream, number, chunk.rounds))
            proofs[i] += proof
            report += chunk.claim(i, proof)
    return proofs, report
