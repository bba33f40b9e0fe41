"""What the ledger's servers share: how an entry follows from the one before it (see tests/src/client/ledger/chain.rs)."""

START = 1
FACTOR = 48271
MODULUS = 2**31 - 1


def follow(before, token):
    return (before * FACTOR + token) % MODULUS
