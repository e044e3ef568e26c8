"""Names and bytes of messages and labels (docs/protocol.md, 6.1, 7.1 and 7.5)."""

from primitives import blake3, keyed

KINDS = {"SessionBegin": 3, "SessionAnswer": 4, "Keys": 10, "LoadRequest": 11, "LoadGrant": 12, "EpochBegin": 13, "LoadCorrection": 14, "Nonce": 15,
         "Weights": 16, "Tags": 17, "LoadHash": 18, "Challenge": 19, "LoadResponse": 20, "DealCorrection": 31,
         "Request": 40, "Ticket": 41, "Input": 43, "Opening": 44, "Check": 45, "Output": 46, "Release": 47,
         "ReceiverKey": 51, "Collect": 53, "Collected": 54}
HELPER, OWNER, CLIENT = "helper", "model owner", "client 1"

# Purposes, and the domains of their streams.
WEIGHT_MASK, LOAD_TAGS, INPUT_MASK, MATERIAL, LOAD_ZERO, CHECK_ZERO, CHALLENGE, AUTHENTICATION = range(1, 9)
FOLLOW, KEY, OUT_MASK, PRODUCT_TAGS = 0, 1, 2, (3, 4)
PROOF, ZERO_WORDS = 130, 1
TABLE, JOIN, SELECTED, SELECTED_TAG, MASK_BIT = (i << 24 for i in range(1, 6))
COEFFICIENT, COEFFICIENT_TAG, DIFFERENCE, DIFFERENCE_TAG = 16, 32, 48, 64


def le(value, size):
    return value.to_bytes(size, "little")


def scope(session=bytes(16), epoch=bytes(16), inference=0):
    """What a message, label or hash belongs to; what does not apply is zero."""
    return session + epoch + le(inference, 8)


def label(purpose, of, index):
    return le(purpose, 1) + of + le(index, 4)


def header(kind, index, of):
    """Version 6; hops are counted by nodes only and are 0 here."""
    return bytes([6, KINDS[kind]]) + le(0, 2) + le(index, 4) + of


def authentication_keys(party_seeds, of, recipient):
    """The keys that a recipient shares with the parties (6.1)."""
    roots = [keyed(seed, label(AUTHENTICATION, of, 0)) for seed in party_seeds]
    return [keyed(root, b"amicus key of a recipient" + le(recipient, 4)) for root in roots]


def tagged(key, kind, index, of, body):
    """A body, and the tag that a party knows its sender by (6.1)."""
    return body + keyed(key, b"amicus message of a recipient" + header(kind, index, of) + blake3(body))
