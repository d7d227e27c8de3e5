"""What lxml sees: the second opinion on which links are live.

In: HTML octets and the tokenizer's links.  Out: whether another parser finds the same. It writes nothing; where it sees
other links, the part goes as it came (docs/rewriting.md#the-second-opinion-of-lxml).

A sixth of the time of rewriting is spent here. turbohtml 1.15 would take a third of that and is closer to browsers, but
its tree is no match for hostile pages: 20,000 `<body a1=…>`, each with another attribute, need more than 6 GB, and
20,000 `<b x=1><p>` 1.2 GB and a second. Its rewriter, which makes no tree, takes time by the square of open elements.
"""

from lxml import etree

from relay.rewrite import link_url

_NOT_LIVE = frozenset({"template", "svg", "math"})


def sees_links(html: bytes, urls: list[str], *, has_foreign_content: bool, with_bare_hosts: bool = False) -> bool:
    """True if lxml finds `a` and `area` with these URLs, in document order: with the same that are http or https, and
    like `//host/` if those count. False if it gives up.

    Octets are read as Latin-1, and so must the URLs be. With `has_foreign_content`, links inside template, svg and math
    are left out.
    """
    found = _find_hrefs(html, has_foreign_content=has_foreign_content)
    if found is None:
        return False
    return found == urls or _web_urls(found, with_bare_hosts) == _web_urls(urls, with_bare_hosts)


def _web_urls(hrefs: list[str], with_bare_hosts: bool) -> list[str]:
    urls = [link_url.trim_url(href) for href in hrefs]
    return [
        url
        for url in urls
        if link_url.find_scheme(url) in ("http", "https") or (with_bare_hosts and url.startswith("//"))
    ]


def _find_hrefs(html: bytes, *, has_foreign_content: bool) -> list[str] | None:
    if not html.strip():
        return []
    parser = etree.HTMLParser(
        encoding="iso-8859-1", huge_tree=True, remove_comments=True, remove_pis=True, collect_ids=False
    )
    try:
        # Text is read a tenth faster than octets, but not if it names an encoding.
        root = etree.fromstring(html if html.startswith(b"<?xml") else html.decode("iso-8859-1"), parser)
    except (etree.LxmlError, ValueError):
        return None
    if root is None:  # nothing but comments
        return []
    found = _links(root)
    if has_foreign_content:
        found = [link for link in found if not any(above.tag in _NOT_LIVE for above in link.iterancestors())]
    return [href for link in found if (href := link.get("href")) is not None]


def _links(root: etree._Element) -> list[etree._Element]:
    """The links of the root and of its siblings: lxml puts there what follows `</html>`."""
    above: list[etree._Element] = list(root.itersiblings(preceding=True))
    trees = (*reversed(above), root, *root.itersiblings())
    return [link for tree in trees for link in tree.iter("a", "area")]
