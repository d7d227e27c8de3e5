"""Every way in which an address may be written: what must not be found, and what must be redacted."""

import base64
import hashlib

# As links, reports and people spell `{local}@{domain}`; the last as a newsletter's link has it.
SPELLINGS = (
    "{local}@{domain}", "{local}%40{domain}", "{local}%2540{domain}", "{local}%252540{domain}",
    "{local}&#64;{domain}", "{local}&#x40;{domain}", "{local}&commat;{domain}", "a={local}={domain}",
    "x-{local}={domain}", "{local}(a){domain}", "{local} (at) {domain}", "{local} [at] {domain}", "{local} at {domain}",
    "{local}+at+{domain}", "{local}%20at%20{domain}", "{local}＠{domain}", "{encoded}@{domain}", "{encoded}%40{domain}",
    "{base64}",
)  # fmt: skip


def spelled(mailbox: str) -> list[str]:
    local, _, domain = mailbox.partition("@")
    encoded, base64_ = f"%{ord(local[0]):02X}{local[1:]}", base64.b64encode(mailbox.encode()).decode()
    return [
        one.format(local=local, domain=domain, encoded=encoded, base64=base64_.replace("=", "%3D")) for one in SPELLINGS
    ]


def traces(*addresses: str) -> set[bytes]:
    """What would lead to the addresses: themselves, their local parts, and their hashes without a key."""
    found: set[bytes] = set()
    for one in addresses:
        found |= {one.encode(), one.partition("@")[0].encode(), one.replace("@", "=").encode()}
        for form in {one.encode(), one.lower().encode()}:
            for name in ("md5", "sha1", "sha256", "sha512"):
                digest = hashlib.new(name, form).digest()
                found |= {digest, digest.hex().encode(), base64.b64encode(digest), base64.urlsafe_b64encode(digest)}
            found |= {base64.b64encode(form).rstrip(b"="), form.hex().encode()}
    return found


def found_in(octets: bytes, *addresses: str) -> list[bytes]:
    low = octets.lower()
    return [trace for trace in traces(*addresses) if trace in octets or trace.lower() in low]
