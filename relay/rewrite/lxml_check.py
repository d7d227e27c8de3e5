"""What lxml sees: the second opinion on which links are live.

In: HTML octets.  Out: the hrefs that another parser finds, to be compared with the tokenizer's. It writes
nothing; where it sees other links, the part goes as it came (docs/rewriting.md#the-second-opinion-of-lxml).
"""

from collections.abc import Iterator

from lxml import etree

from relay.rewrite import link_url

_NOT_LIVE = frozenset({"template", "svg", "math"})


def find_hrefs(html: bytes, *, has_foreign_content: bool, with_bare_hosts: bool = False) -> list[str] | None:
    """The http(s) hrefs of `a` and `area` in document order, and those like `//host/` if they count; None if lxml
    gives up.

    Octets are read as Latin-1, and so must be what they are compared with. With `has_foreign_content`, those inside
    template, svg and math are left out.
    """
    if not html.strip():
        return []
    parser = etree.HTMLParser(encoding="iso-8859-1", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        # Text is read a tenth faster than octets, but not if it names an encoding.
        root = etree.fromstring(html if html.startswith(b"<?xml") else html.decode("iso-8859-1"), parser)
    except (etree.LxmlError, ValueError):
        return None
    if root is None:  # nothing but comments
        return []
    found = []
    for element in _links(root):
        if has_foreign_content and any(above.tag in _NOT_LIVE for above in element.iterancestors()):
            continue
        url = link_url.trim_url(element.get("href") or "")
        if link_url.find_scheme(url) in ("http", "https") or (with_bare_hosts and url.startswith("//")):
            found.append(url)
    return found


def _links(root: etree._Element) -> Iterator[etree._Element]:
    """The links of the root and of its siblings: lxml puts there what follows `</html>`."""
    above: list[etree._Element] = list(root.itersiblings(preceding=True))
    for tree in [*reversed(above), root, *root.itersiblings()]:
        yield from tree.iter("a", "area")
