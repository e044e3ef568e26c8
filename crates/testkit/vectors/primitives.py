"""What the protocol is built from: BLAKE3, AES-128, streams of uniform elements, packing, postcard.

Written from the published specifications and docs/protocol.md, section 2; slow, exact, standard library only.
"""

# ------------------------------------------------------------------ BLAKE3
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = (1 << i for i in range(7))
M32 = 0xFFFFFFFF


def _words(block):
    block = block.ljust(64, b"\0")
    return [int.from_bytes(block[i:i + 4], "little") for i in range(0, 64, 4)]


def _compress(cv, m, counter, length, flags):
    """The first eight words of the output: all that 256-bit hashes need."""
    return _all_words(cv, m, counter, length, flags)[:8]


def _all_words(cv, m, counter, length, flags):
    s = list(cv) + list(IV[:4]) + [counter & M32, counter >> 32, length, flags]

    def g(a, b, c, d, x, y):
        s[a] = (s[a] + s[b] + x) & M32
        t = s[d] ^ s[a]
        s[d] = (t >> 16 | t << 16) & M32
        s[c] = (s[c] + s[d]) & M32
        t = s[b] ^ s[c]
        s[b] = (t >> 12 | t << 20) & M32
        s[a] = (s[a] + s[b] + y) & M32
        t = s[d] ^ s[a]
        s[d] = (t >> 8 | t << 24) & M32
        s[c] = (s[c] + s[d]) & M32
        t = s[b] ^ s[c]
        s[b] = (t >> 7 | t << 25) & M32

    for _ in range(7):
        g(0, 4, 8, 12, m[0], m[1])
        g(1, 5, 9, 13, m[2], m[3])
        g(2, 6, 10, 14, m[4], m[5])
        g(3, 7, 11, 15, m[6], m[7])
        g(0, 5, 10, 15, m[8], m[9])
        g(1, 6, 11, 12, m[10], m[11])
        g(2, 7, 8, 13, m[12], m[13])
        g(3, 4, 9, 14, m[14], m[15])
        m = [m[i] for i in PERMUTATION]
    return [s[i] ^ s[i + 8] for i in range(8)] + [s[i + 8] ^ cv[i] for i in range(8)]


def _chunk(key, data, counter, flags, root):
    cv, blocks = key, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        f = flags | (CHUNK_START if i == 0 else 0) | (CHUNK_END if last else 0) | (ROOT if last and root else 0)
        cv = _compress(cv, _words(block), counter, len(block), f)
    return cv


def _tree(key, data, first, flags, root):
    if len(data) <= 1024:
        return _chunk(key, data, first, flags, root)
    left = 1024
    while 2 * left < len(data):
        left *= 2
    children = (_tree(key, data[:left], first, flags, False)
                + _tree(key, data[left:], first + left // 1024, flags, False))
    return _compress(key, children, 0, 64, flags | PARENT | (ROOT if root else 0))


def _blake3(key, data, flags):
    return b"".join(word.to_bytes(4, "little") for word in _tree(key, data, 0, flags, True))


def blake3(data):
    return _blake3(IV, data, 0)


def keyed(key, data):
    """BLAKE3 with a key of 32 bytes."""
    return _blake3(_words(key)[:8], data, KEYED_HASH)


def keyed_stream(key, count, data=b""):
    """The first bytes of BLAKE3's extendable output with a key of 32 bytes, of an input of one block at most."""
    flags, out = KEYED_HASH | CHUNK_START | CHUNK_END | ROOT, b""
    assert len(data) <= 64
    for block in range(-(-count // 64)):
        words = _all_words(_words(key)[:8], _words(data), block, len(data), flags)
        out += b"".join(word.to_bytes(4, "little") for word in words)
    return out[:count]


def derive_key(context, material):
    """BLAKE3's key derivation in a context."""
    return _blake3(_words(_blake3(IV, context.encode(), DERIVE_KEY_CONTEXT))[:8], material, DERIVE_KEY_MATERIAL)


# ------------------------------------------------------------------ AES-128
def _double(x):
    return (x << 1 ^ (0x11B if x & 0x80 else 0)) & 0xFF


def _sbox():
    power = [1]
    while len(power) < 255:
        power.append(power[-1] ^ _double(power[-1]))  # 3 generates the multiplicative group
    inverse = {power[i]: power[-i % 255] for i in range(255)} | {0: 0}
    box = []
    for x in range(256):
        y = inverse[x]
        for shift in range(1, 5):
            y ^= (inverse[x] << shift | inverse[x] >> 8 - shift) & 0xFF
        box.append(y ^ 0x63)
    return box


SBOX = _sbox()


class Aes:
    def __init__(self, key):
        words, constant = [list(key[i:i + 4]) for i in range(0, 16, 4)], 1
        for i in range(4, 44):
            word = list(words[i - 1])
            if i % 4 == 0:
                word = [SBOX[b] for b in word[1:] + word[:1]]
                word[0] ^= constant
                constant = _double(constant)
            words.append([a ^ b for a, b in zip(words[i - 4], word)])
        self.round_keys = [sum(words[4 * r:4 * r + 4], []) for r in range(11)]

    def encrypt(self, block):
        s = [a ^ b for a, b in zip(block, self.round_keys[0])]
        for r in range(1, 11):
            s = [SBOX[s[(4 * (c + row) + row) % 16]] for c in range(4) for row in range(4)]
            if r < 10:
                mixed = []
                for c in range(0, 16, 4):
                    a = s[c:c + 4]
                    total = a[0] ^ a[1] ^ a[2] ^ a[3]
                    mixed += [a[i] ^ total ^ _double(a[i] ^ a[(i + 1) % 4]) for i in range(4)]
                s = mixed
            s = [a ^ b for a, b in zip(s, self.round_keys[r])]
        return bytes(s)


# ------------------------------------------------------------------ elements (docs/protocol.md, 2)
PRIMES = (2**52 - 47, 2**52 - 143, 2**52 - 173)


def modulus(limbs):
    q = 1
    for p in PRIMES[:limbs]:
        q *= p
    return q


def lift(residues):
    """The integer in [0, Q) with these residues."""
    q, x = modulus(len(residues)), 0
    for p, r in zip(PRIMES, residues):
        x += r * (q // p) * pow(q // p, -1, p)
    return x % q


class Stream:
    def __init__(self, seed):
        self.aes = Aes(derive_key("amicus-field 2026-11 AES-128-CTR key of a stream", seed)[:16])

    def word(self, domain, limb, retry, j):
        high = domain | limb << 32 | retry << 40
        block = self.aes.encrypt((j // 2).to_bytes(8, "little") + high.to_bytes(8, "little"))
        return int.from_bytes(block[8 * (j % 2):][:8], "little")

    def sample(self, domain, limbs, count):
        """The first elements of a domain."""
        elements = []
        for j in range(count):
            residues = []
            for limb in range(limbs):
                retry = 0
                while (r := self.word(domain, limb, retry, j) % 2**52) >= PRIMES[limb]:
                    retry += 1
                residues.append(r)
            elements.append(lift(residues))
        return elements

    def words(self, domain, count):
        """The first raw words of a domain, 64 bits each."""
        return [self.word(domain, 0, 0, j) for j in range(count)]

    def bits(self, domain, count):
        """The first bits of a domain, 64 in a raw word, the lowest one first."""
        return [word >> i & 1 for word in self.words(domain, -(-count // 64)) for i in range(64)][:count]

    def polynomials(self, domain, first, count):
        """Elements of GF(2^128) of a domain: two raw words each, the low half first."""
        return [self.word(domain, 0, 0, 2 * j) | self.word(domain, 0, 0, 2 * j + 1) << 64
                for j in range(first, first + count)]


def pack_bits(planes):
    """Planes of bits, eight in a byte, the first one lowest."""
    return b"".join(sum(bit << i for i, bit in enumerate(plane)).to_bytes(-(-len(plane) // 8), "little") for plane in planes)


# ------------------------------------------------------------------ GF(2^128) (docs/protocol.md, 2)
def _carryless(a, b):
    """The product of two polynomials over GF(2), four bits of `b` at a time."""
    multiples = [0, a]
    for i in range(2, 16):
        multiples.append(multiples[i // 2] << 1 ^ multiples[i % 2])
    out = shift = 0
    while b:
        out ^= multiples[b & 15] << shift
        b, shift = b >> 4, shift + 4
    return out


def _reduced(a):
    """A polynomial modulo X^128 + X^7 + X^2 + X + 1."""
    while a >> 128:
        high = a >> 128
        a = a % 2**128 ^ high ^ high << 1 ^ high << 2 ^ high << 7
    return a


def times(a, b):
    return _reduced(_carryless(a, b))


def inner_product(a, b):
    total = 0
    for x, y in zip(a, b):
        total ^= _carryless(x, y)
    return _reduced(total)


def planes(elements, limbs):
    return [[x % p for x in elements] for p in PRIMES[:limbs]]


def pack(elements, limbs):
    body = b""
    for plane in planes(elements, limbs):
        for i in range(0, len(plane), 2):
            pair = plane[i:i + 2]
            value = sum(r << 52 * k for k, r in enumerate(pair))
            body += value.to_bytes(13 if len(pair) == 2 else 7, "little")
    return body


# ------------------------------------------------------------------ postcard
def varint(x):
    out = b""
    while x > 0x7F:
        out += bytes([x & 0x7F | 0x80])
        x >>= 7
    return out + bytes([x])


def zigzag(x):
    return varint(2 * x if x >= 0 else -2 * x - 1)


def text(s):
    return varint(len(s.encode())) + s.encode()


def sequence(items):
    items = list(items)
    return varint(len(items)) + b"".join(items)


# ------------------------------------------------------------------ published vectors, and the field's order
def self_test():
    plain, key = bytes(i * 0x11 for i in range(16)), bytes(range(16))
    assert Aes(key).encrypt(plain).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"  # FIPS 197, C.1
    assert blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    # From BLAKE3's test_vectors.json: input bytes 0, 1, .. 250 repeated; hash, keyed hash, derived key.
    data, key = bytes(i % 251 for i in range(3073)), b"whats the Elvish word for friend"
    assert blake3(data).hex().startswith("7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3")
    assert keyed(key, data).hex().startswith("68dede9bef00ba89e43f31a6825f4cf433389fedae75c04ee9f0cf16a427c95a")
    assert keyed_stream(key, 64).hex().endswith("ed60d26b18171a2f22a4b94822c701f107153dba24918c4bae4d2945c20ece13387627d")
    context = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    power = 2
    for _ in range(128):
        power = times(power, power)
    assert power == 2  # X to the power 2^128 is X
    assert derive_key(context, data).hex().startswith("72613c9ec9ff7e40f8f5c173784c532a")
