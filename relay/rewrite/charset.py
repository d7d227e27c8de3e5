"""Which texts may be read as ASCII with foreign octets between.

The tokenizer reads every charset as if it were Latin-1. That is right for supersets of ASCII whose other
octets never look like markup; ISO-2022-JP is masked; all else passes untouched.  WHATWG Encoding §4,
RFC 1468.
"""

import codecs
import re

# Python's canonical names. The trail octets of the multibyte ones (0x30–0x7e) hold none of < > " ' & =
# except in Johab, HZ and the stateful ones, which are therefore absent.
_SUPERSET = re.compile(
    r"ascii|utf-8|iso8859-\d+|cp125\d|koi8-[rut]|kz1048|ptcp154|hp-roman8|tis-620|mac-[a-z0-9]+"
    r"|cp(?:437|737|775|85[02578]|86[0123569]|874)"
    r"|big5(?:hkscs)?|cp9(?:32|49|50)|euc_(?:jp|kr|jis_2004|jisx0213)|gb2312|gbk|gb18030|shift_jis(?:_2004|x0213)?"
)
_ISO_2022_JP = frozenset({"iso2022_jp"} | {f"iso2022_jp_{kind}" for kind in ("1", "2", "2004", "3", "ext")})
# What browsers take these labels for (WHATWG Encoding §4.2).
_SEEN_AS = {
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
# What programs write that do not know the charset. No reader knows a charset of that name.
_SAY_NOTHING = frozenset({"default", "default_charset", "unknown", "unknown-8bit", "x-unknown"})
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:()+-]{0,39}")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
# RFC 1468: ESC ( B is ASCII, ESC ( J JIS X 0201 Roman; every other set's octets may look like markup.
_FOREIGN_RUN = re.compile(rb"(?:\x1b(?!\([BJ]).)[^\x1b\r\n]*", re.DOTALL)


def codec(label: str, octets: bytes) -> str | None:
    """The Python codec that a browser would read these octets with; None if they are not ASCII-like.

    Without a label it is UTF-8 where the octets are that, else Windows-1252.
    """
    if octets.startswith(_WIDE_MARKS):  # a byte order mark beats any label
        return None
    label = label.strip("'").lower()  # quotes of that kind are no quotes to RFC 2045, and none to any reader's table
    if not label or (label in _SAY_NOTHING and octets.isascii()):
        if b"\x1b" in octets:
            return None
        try:
            octets.decode()
        except UnicodeDecodeError:
            return "cp1252"
        return "utf-8"
    if not _LABEL.fullmatch(label):
        return None
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except LookupError:
        return None
    if name in _ISO_2022_JP:
        return name
    if not _SUPERSET.fullmatch(name) or (b"\x1b" in octets and name in ("ascii", "utf-8")):
        return None
    return _SEEN_AS.get(name, name)


def masked(octets: bytes, codec: str) -> bytes | None:
    """The octets with all that only looks like ASCII made `x`, of the same length; None if that is unsure."""
    if codec not in _ISO_2022_JP:
        return octets
    if re.search(rb"[\x0e\x0f\x80-\xff]", octets):  # shifts and 8-bit octets have no place in it
        return None
    out = _FOREIGN_RUN.sub(lambda run: b"x" * len(run[0]), octets)
    # RFC 1468: a line ends in ASCII. Where it does not, readers disagree on how the next one begins.
    for run in _FOREIGN_RUN.finditer(octets):
        if octets[run.end() : run.end() + 1] in (b"\r", b"\n"):
            return None
    return out


def decoded(octets: bytes, codec: str) -> str:
    """The text, with U+FFFD for what the codec does not know."""
    return octets.decode(codec, "replace")
