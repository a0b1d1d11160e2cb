"""Hashes of the passwords that visitors log in with: SHA-512 crypt, which glibc and so nginx and Angie can verify.

The engines verify the password of every request, and answer no other request meanwhile, so this is a compromise: the
fewest rounds that crypt(3) permits take half a millisecond, about as long as a TLS handshake. Generated passwords, with
24 random characters, would be safe with any hash.
"""

from __future__ import annotations

import hashlib

ROUNDS = 1000

_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def hashed(password: str, unique: str) -> str:
    """Return the hash of a password for a password file.

    The salt is derived from `unique`, a name, and not from the password: it would be a hash of it that takes no rounds.
    It is not random, so that a plan without changes is empty.
    """
    digest = hashlib.sha256(unique.encode()).digest()
    salt = "".join(_DIGITS[byte & 63] for byte in digest[:16])
    return sha512_crypt(password.encode(), salt, ROUNDS)


def sha512_crypt(password: bytes, salt: str, rounds: int) -> str:
    """Return the hash of a password as crypt(3) does for `$6$`. Python's own module is gone since 3.13.

    Source: https://www.akkadia.org/drepper/SHA-crypt.txt, whose steps the variables are named after.
    """
    own = salt.encode()
    b = hashlib.sha512(password + own + password).digest()
    first = hashlib.sha512(password + own + _repeated(b, len(password)))
    left = len(password)
    while left:
        first.update(b if left & 1 else password)
        left >>= 1
    a = first.digest()
    p = _repeated(hashlib.sha512(password * len(password)).digest(), len(password))
    s = _repeated(hashlib.sha512(own * (16 + a[0])).digest(), len(own))
    c = a
    for number in range(rounds):
        odd = number & 1
        c = hashlib.sha512(
            (p if odd else c) + (s if number % 3 else b"") + (p if number % 7 else b"") + (c if odd else p)
        ).digest()
    return f"$6$rounds={rounds}${salt}${_encoded(c)}"


def _repeated(data: bytes, length: int) -> bytes:
    return (data * (length // len(data) + 1))[:length]


def _encoded(digest: bytes) -> str:
    """Return a digest in the digits and the order of bytes of crypt(3)."""
    found, three = "", (0, 21, 42)
    for _ in range(21):
        value = digest[three[0]] << 16 | digest[three[1]] << 8 | digest[three[2]]
        found += _digits(value, 4)
        three = (three[1] + 1, three[2] + 1, three[0] + 1)
    return found + _digits(digest[63], 2)


def _digits(value: int, count: int) -> str:
    return "".join(_DIGITS[value >> 6 * place & 63] for place in range(count))
