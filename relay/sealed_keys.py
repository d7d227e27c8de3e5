"""The installation's keys as text that a passphrase seals, to carry them to another machine.

In: a key file and a passphrase.  Out: JSON in ASCII, or the key file again. The key is derived from the passphrase by
Argon2id (RFC 9106 §4, second recommended option: 64 MiB, 3 passes), and encrypts with ChaCha20-Poly1305 (RFC 8439),
which also shows every change.
"""

import base64
import json
import secrets

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from relay import key_file
from relay.key_file import KeyFile

MIN_PASSPHRASE = 8  # characters
MAX_OCTETS = 1 << 20  # of sealed keys: 255 of them take 80 KB
_FORMAT = 1
_MEMORY_KIB, _PASSES, _LANES = 65536, 3, 4
_SALT_OCTETS, _NONCE_OCTETS, _KEY_OCTETS = 16, 12, 32


class SealedKeysError(Exception):
    """These are no sealed keys, or the passphrase is wrong; the text says which."""


def seal(contents: KeyFile, passphrase: str) -> str:
    """The sealed keys: a JSON object of several lines."""
    salt, nonce = secrets.token_bytes(_SALT_OCTETS), secrets.token_bytes(_NONCE_OCTETS)
    sealed = _cipher(passphrase, salt).encrypt(nonce, key_file.encode_keys(contents), _head())
    fields = {"salt": salt, "nonce": nonce, "sealed": sealed}
    header: dict[str, object] = {"waypost_keys": _FORMAT, "kdf": "argon2id"}
    return json.dumps(header | {name: base64.b64encode(octets).decode() for name, octets in fields.items()}, indent=1)


def unseal(text: str, passphrase: str) -> KeyFile:
    """The keys. Raises SealedKeysError."""
    try:
        header = json.loads(text)
        if header["waypost_keys"] != _FORMAT:
            raise SealedKeysError("these keys were exported by a later version of Waypost")
        salt, nonce, sealed = (base64.b64decode(header[name], validate=True) for name in ("salt", "nonce", "sealed"))
        if len(salt) != _SALT_OCTETS or len(nonce) != _NONCE_OCTETS:
            raise ValueError("not as exported")
    except (KeyError, TypeError, ValueError):
        raise SealedKeysError("not a file that `waypost keys export` wrote") from None
    try:
        return key_file.parse_keys(_cipher(passphrase, salt).decrypt(nonce, sealed, _head()))
    except InvalidTag:
        raise SealedKeysError("another passphrase sealed it, or the file was changed") from None
    except ValueError as error:
        raise SealedKeysError(str(error)) from None


def _head() -> bytes:
    return b"waypost keys %d" % _FORMAT


def _cipher(passphrase: str, salt: bytes) -> ChaCha20Poly1305:
    key = hash_secret_raw(passphrase.encode(), salt, _PASSES, _MEMORY_KIB, _LANES, _KEY_OCTETS, Type.ID)
    return ChaCha20Poly1305(key)
