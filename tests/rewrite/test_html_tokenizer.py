"""The tokenizer sees what a browser sees.

Whatever the markup, its live links are those of html5lib's tree, or it says that it is in doubt.
"""

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewrite import html_attributes, html_tokenizer, link_url, lxml_check
from relay.rewrite.anchors import find_anchors

_LINK = '<a href="https://e.example/{n}">'
_PIECES = (
    _LINK,
    "<a href=https://e.example/{n}>",
    "<A\nHREF = 'https://e.example/{n}'>",
    "<a/href=https://e.example/{n}>",
    '<a title=">" href="https://e.example/{n}"x=1 href="https://e.example/twice">',
    '<img alt="<a href=https://e.example/{n}>">',
    '<area href="https://e.example/{n}">',
    *("</a>", "<p>", "</p>", "<div>", "</div>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<br/>"),
    *("text", " ", "\r\n", "\f", "<", ">", '"', "'", "=", "/", "</", "<?x>", "<!x>", "<!doctype html>"),
    *("<!--", "-->", "--!>", "<!-->", "<!--->", "<!----!>", "<![CDATA[", "]]>", "<![if !mso]>", "<![endif]>"),
    *("<title>", "</title>", "<textarea>", "</textarea >", "<style>", "</style/>", "<xmp>", "</xmp>", "<plaintext>"),
    *("<iframe>", "</iframe>", "<noembed>", "</noembed>", "<noframes>", "</noframes>", "<noscript>", "</noscript>"),
    *("<script>", "</script>", "<script ", "</script ", "<!--<script>", "--></script>"),
    *("<svg>", "</svg>", "<svg/>", "<path d=1/>", "<g>", "</g>", "<math>", "</math>", "<mi>", "<desc>", "<img>"),
    *("<select>", "<option>", "</select>", "<body>", "</body>", "<html>", "</html>", "<head>", "</head>", "<frameset>"),
    *('<a b="', "<a c='", "<a ", "<a href>", "<a =href=https://e.example/{n}>", "<o:p>", "</o:p>", "<form>", "<li>"),
)

_RELEVANT_TAGS = frozenset(b"a area body html script style title textarea template svg select frameset".split())


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=12))
def test_the_live_links_are_those_of_a_browser(pieces: list[str]) -> None:
    html = "".join(piece.replace("{n}", str(n)) for n, piece in enumerate(pieces))
    markup = html_tokenizer.tokenize(html.encode())
    if not markup.ambiguity:
        assert set(_live(html)) == _in_the_tree(html)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=12))
def test_a_link_added_where_nothing_is_open_is_live(pieces: list[str]) -> None:
    html = "".join(piece.replace("{n}", str(n)) for n, piece in enumerate(pieces))
    markup = html_tokenizer.tokenize(html.encode())
    if not markup.is_open and not markup.ambiguity:
        assert "https://last.example/" in _in_the_tree(html + "<a href=https://last.example/>", "https://last")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_have_markup_whose_spans_are_in_order(html: bytes) -> None:
    markup = html_tokenizer.tokenize(html)
    past = 0
    for tag in markup.tags:
        assert past <= tag.start < tag.inner < tag.end <= len(html)
        assert html[tag.start : tag.start + 1] == b"<"
        assert html[tag.end - 1 : tag.end] == b">"
        past = tag.end


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=12))
def test_skimming_passes_over_plain_tags_and_nothing_else(pieces: list[str]) -> None:
    html = "".join(pieces).encode()
    skimmed, whole = html_tokenizer.tokenize_fast(html), html_tokenizer.tokenize(html)
    assert skimmed[3:] == whole[3:]
    assert set(skimmed.tags) <= set(whole.tags)
    assert {tag for tag in whole.tags if tag.name in _RELEVANT_TAGS} <= set(skimmed.tags)


@pytest.mark.parametrize(
    ("html", "live"),
    [
        ("<template><a href=https://e.example/1></template>" + _LINK, ["{n}"]),
        ("<template><template></template>" + _LINK, []),
        ("</template>" + _LINK, ["{n}"]),
        ("<svg><a href=https://e.example/1></a></svg>" + _LINK, ["{n}"]),
        ("<svg><style><a href=https://e.example/1></a></style></svg>" + _LINK, ["{n}"]),
        ("<svg><![CDATA[<a href=https://e.example/1>]]></svg>" + _LINK, ["{n}"]),
        ("<svg width=1/>" + _LINK, []),
        ("<svg x=1 x=1/>" + _LINK, []),
        ("<svg><path d=1></svg>" + _LINK, ["{n}"]),
        ("<svg><g><image href=1 /><img src=1></g></svg>" + _LINK, ["{n}"]),
        ("<svg><p>" + _LINK, ["{n}"]),
        ("<template><svg><p>" + _LINK, []),
        ("<svg width='1'/>" + _LINK, ["{n}"]),
        ("<script><!--<script></script>" + _LINK + "--></script>" + _LINK, ["{n}"]),
        ("<script><!-->" + _LINK + "</script>" + _LINK, ["{n}"]),
        ("<a\x0bhref=https://e.example/1>" + _LINK, ["{n}"]),
        (_LINK + "<a href='https://e.example/1", ["{n}"]),
    ],
)
def test_links_in_templates_pictures_and_scripts_are_dead(html: str, live: list[str]) -> None:
    assert _live(html) == [f"https://e.example/{n}" for n in live]


@pytest.mark.parametrize(
    "html",
    [
        "<svg><font>",
        "<svg><desc><p>",
        "<div><svg></div>",
        "<svg><title><b></b></title></svg>",
        "<select><a href=x>",
        "<frameset>",
        "<svg>" + "<g>" * 300,
        "<a " + " ".join(f"x{n}=1" for n in range(5000)) + ">",
    ],
)
def test_where_only_a_tree_would_tell_it_is_in_doubt(html: str) -> None:
    assert html_tokenizer.tokenize(html.encode()).ambiguity


def test_of_attributes_with_one_name_the_first_counts() -> None:
    html = b"<a HREF = 'x' href=y title>"
    found = html_attributes.read_attributes(html.lower(), html_tokenizer.tokenize(html).tags[0])
    assert [(name, html[a.start : a.end]) for name, a in found.items()] == [(b"href", b"x"), (b"title", b"")]


def test_conditional_comments_are_found_and_others_are_not() -> None:
    html = b"<!--[if mso]><a><![endif]--><!-- [IF gte mso 9]>x--><!-- if --><!--[if !mso]><!-->y<!--<![endif]-->"
    assert [html[a:b] for a, b in html_tokenizer.tokenize(html).conditions] == [
        b"[if mso]><a><![endif]",
        b" [IF gte mso 9]>x",
        b"[if !mso]><!",
    ]


_TAG_PIECES = (
    ' href="x"',
    " href='x'",
    " href=x",
    " href",
    ' style="a>b"',
    ' HREF="y"',
    ' hrefs="z"',
    "/",
    " ",
    "\n",
    ' b="',
)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(_TAG_PIECES), max_size=6))
def test_a_plain_tag_has_the_href_that_its_attributes_have(pieces: list[str]) -> None:
    octets = ("<a" + "".join(pieces) + '>"">').encode()
    for tag in html_tokenizer.tokenize(octets).tags:
        href = html_attributes.read_href(octets.lower(), tag)
        assert href in (None, html_attributes.read_attributes(octets.lower(), tag).get(b"href"))
        if all(piece.endswith('"') and piece != ' b="' for piece in pieces):
            assert (href is None) == (b' href="' not in octets.lower())


@settings(max_examples=500)
@given(st.lists(st.sampled_from(_PIECES), max_size=8))
def test_a_short_text_has_the_tags_that_the_whole_tokenizer_sees(pieces: list[str]) -> None:
    octets = "".join(pieces).encode()
    tags = html_tokenizer._read_plain_tags(octets.lower(), 0, len(octets))
    markup = html_tokenizer.tokenize_fast(octets)
    if tags is not None:
        assert (tags, "", False) == (markup.tags, markup.ambiguity, markup.has_foreign_content)
        assert not markup.conditions


@pytest.mark.parametrize("html", ["<p>a</p>" + _LINK, _LINK + "</a></body></html><p>" + _LINK, "<!-- x -->", "", "  "])
def test_lxml_agrees_about_plain_documents(html: str) -> None:
    octets = html.encode()
    assert lxml_check.sees_links(octets, _live(html), has_foreign_content=False)
    assert not lxml_check.sees_links(octets, [*_live(html), "https://e.example/more"], has_foreign_content=False)


def _live(html: str) -> list[str]:
    octets = html.encode()
    anchors = find_anchors(octets, html_tokenizer.tokenize(octets), "utf-8")
    urls = [anchor.latin1_url for anchor in anchors if not anchor.is_conditional]
    return [url for url in urls if link_url.find_scheme(url) in ("http", "https")]


def _in_the_tree(html: str, prefix: str = "https://e") -> set[str]:
    """The http(s) hrefs of HTML's own `a` and `area` outside svg and math."""
    root = html5lib.parse(html, treebuilder="etree")
    found: set[str] = set()
    waiting = [root]
    while waiting:
        element = waiting.pop()
        namespace, _, name = str(element.tag).rpartition("}")  # a comment's is a function
        if namespace.endswith(("svg", "MathML")):
            continue
        if name in ("a", "area") and element.get("href", "").startswith(prefix):
            found.add(element.get("href", ""))
        waiting += list(element)
    return found
