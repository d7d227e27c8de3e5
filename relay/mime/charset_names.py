"""The charsets that mail may name, and text in them.

In: a label and octets from any mail.  Out: Python's codec, or the text. Only codecs of this table are used: Python also
has codecs that are no charsets, and one of them (punycode) takes time by the square of the text.  WHATWG Encoding §4.
"""

import codecs
import re
from functools import lru_cache

# Python's canonical names. The trail octets of the multibyte ones (0x30–0x7e) hold none of < > " ' & =
# except in Johab, HZ and the stateful ones, which are therefore absent.
_ASCII_SUPERSET = re.compile(
    r"ascii|utf-8|iso8859-\d+|cp125\d|koi8-[rut]|kz1048|ptcp154|hp-roman8|tis-620|mac-[a-z0-9]+"
    r"|cp(?:437|737|775|85[02578]|86[0123569]|874)"
    r"|big5(?:hkscs)?|cp9(?:32|49|50)|euc_(?:jp|kr|jis_2004|jisx0213)|gb2312|gbk|gb18030|shift_jis(?:_2004|x0213)?"
)
ISO_2022_JP = frozenset({"iso2022_jp"} | {f"iso2022_jp_{kind}" for kind in ("1", "2", "2004", "3", "ext")})
# Browsers read these charsets as the ones at the right (WHATWG Encoding §4.2).
SEEN_AS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# The labels of WHATWG Encoding §4.2 that Python does not know, by Python's names.
_ALIASES = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "iso8859-6": "csiso88596e csiso88596i iso-8859-6-e iso-8859-6-i",
    "iso8859-7": "sun_eu_greek",
    "iso8859-8": "iso-8859-8-i iso-8859-8-e csiso88598e csiso88598i visual logical",
    "iso8859-15": "csisolatin9",
    "koi8-r": "koi koi8",
    "koi8-u": "koi8-ru",
    "mac-roman": "csmacintosh mac x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 windows-874",
    "gbk": "x-gbk csgb2312 gb_2312 gb_2312-80",
    "big5": "cn-big5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese x-euc-jp",
    "shift_jis": "x-sjis windows-31j",
    "cp949": "cseuckr csksc56011987 iso-ir-149 ks_c_5601-1989 ksc_5601 windows-949",
}
_ALIASES |= {f"iso8859-{n}": f"{_ALIASES.get(f'iso8859-{n}', '')} iso8859{n}" for n in (*range(1, 12), 13, 14, 15)}
_ALIASES |= {f"cp125{n}": f"x-cp125{n}" for n in range(9)}
_LABELS = {label: name for name, labels in _ALIASES.items() for label in labels.split()}
_MAX_LABEL = 40
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.:()+-]{0,39}")
# Octets of these may look like ASCII without being it: such text is read, but never rewritten.
_OTHERS = re.compile(r"utf-7|utf-(?:16|32)(?:-[bl]e)?|hz|johab|iso2022_kr")


def lookup(label: str) -> str | None:
    """Python's name of the charset; None for an unknown label, or a codec that is no charset."""
    return _lookup(label.lower()) if len(label) <= _MAX_LABEL else None


@lru_cache(maxsize=256)  # mail says the same again and again
def _lookup(label: str) -> str | None:
    if not _LABEL.fullmatch(label):
        return None
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except LookupError:
        return None
    is_known = is_ascii_superset(name) or name in ISO_2022_JP or _OTHERS.fullmatch(name)
    return name if is_known else None


@lru_cache(maxsize=256)
def is_ascii_superset(name: str) -> bool:
    """True if in that codec every octet that looks like markup is markup."""
    return bool(_ASCII_SUPERSET.fullmatch(name))


def decode(octets: bytes, label: str) -> str:
    """The text in that charset; if that fails, in UTF-8; if that fails, in Windows-1252. Never raises."""
    text = try_decode(octets, label)
    return octets.decode("cp1252", "replace") if text is None else text


def try_decode(octets: bytes, label: str) -> str | None:
    """The text in that charset; if that fails, in UTF-8; if that fails, None."""
    name = lookup(label)
    for codec in (SEEN_AS.get(name, name) if name and name != "ascii" else name, "utf-8"):
        if codec:
            try:
                # UTF-7 can contain half of a surrogate pair, which cannot be written.
                return octets.decode(codec).encode("utf-8", "replace").decode()
            except ValueError:
                continue
    return None
