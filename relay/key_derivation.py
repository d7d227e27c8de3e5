"""Keys for one purpose each, derived from a secret (HKDF-SHA256, RFC 5869).

In: a secret and what the key is for.  Out: a key, or a cipher (AES-SIV, RFC 5297). A key tells nothing about the
secret, nor about the keys for other purposes.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_OCTETS = 32  # AES-128-SIV takes two keys of 16


def derive_key(secret: bytes, purpose: bytes, octets: int = _KEY_OCTETS) -> bytes:
    """That many octets, the same for the same secret and purpose ("waypost/1/open")."""
    return HKDF(hashes.SHA256(), octets, salt=None, info=purpose).derive(secret)


def derive_cipher(secret: bytes, purpose: bytes) -> AESSIV:
    """AES-SIV with the key for that purpose: the same text is encrypted to the same octets."""
    return AESSIV(derive_key(secret, purpose))
