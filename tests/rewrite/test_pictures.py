"""Pictures drawn in the page: what stands around an inline svg is instrumented, what stands inside is not.

Icons as editors and design programs write them. The document is the same but for hrefs and pixel.
"""

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, tracked

_ICONS = {
    "path": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="M0 0h24v24H0z" fill="none"/></svg>',
    "closed apart": '<svg width="24"><g><path d="M1 1"></path><circle r="2"></circle></g></svg>',
    "titled": "<svg role='img'><title>A &amp; B</title><desc>Created with care.</desc><rect width=1 height=1 /></svg>",
    "styled": "<svg><style>.a > .b{fill:red}</style><defs><linearGradient id=a><stop/></linearGradient></defs></svg>",
    "character data": "<svg><style><![CDATA[ a > b {} ]]></style><text x=1><tspan>x</tspan></text></svg>",
    "linked": '<svg><a xlink:href="https://in.example/" href="https://in.example/"><use xlink:href="#x"/></a></svg>',
    "with a fallback": '<svg><image href="https://in.example/a.svg" /><img src="https://in.example/a.png"></svg>',
    "illustrator": "<svg><switch><foreignObject width=1 height=1></foreignObject><g><path d=1 /></g></switch></svg>",
    "not closed inside": "<svg><g><path d='M0'><circle r=1></svg>",
    "nested": "<svg><svg x=1><path/></svg></svg>",
    "formula": "<math><mrow><mi>x</mi><mo>=</mo><mn>1</mn></mrow></math>",
}
_BEFORE = '<html><body><table><tr><td><a href="https://a.example/1">one</a>'
_AFTER = '<a href="https://a.example/2">two</a></td></tr></table></body></html>'


@pytest.mark.parametrize("icon", _ICONS.values(), ids=_ICONS)
def test_the_letter_around_an_icon_is_instrumented(icon: str) -> None:
    octets = make_mail((_BEFORE + icon + _AFTER).encode())
    made = plan.plan(octets, SETTINGS)
    assert made.reasons == ()
    assert tracked(made) == ["https://a.example/1", "https://a.example/2"]
    assert made.pixels == 1
    assert icon.encode() in made.render(octets, mint)


def test_an_icon_inside_a_link_is_a_link() -> None:
    page = f'<a href="https://a.example/">{_ICONS["path"]}</a>'
    assert tracked(plan.plan(make_mail(page.encode()), SETTINGS)) == ["https://a.example/"]


@pytest.mark.parametrize("icon", ["<svg><desc><p></desc></svg>", "<p><svg></p></svg>", "<svg><font color=red></svg>"])
def test_where_only_a_tree_would_tell_what_is_a_picture_the_page_passes(icon: str) -> None:
    octets = make_mail((_BEFORE + icon + _AFTER).encode())
    made = plan.plan(octets, SETTINGS)
    assert made.is_untouched
    assert made.reasons == ("foreign_content",)


_FRAGMENTS = st.sampled_from(
    [*_ICONS.values(), "<p>", "</p>", "<b>", "</b>", "<div>", "</div>", '<a href="https://a.example/">', "</a>", "x"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_FRAGMENTS, max_size=8).map("".join))
def test_the_document_is_the_same_but_for_hrefs_and_pixel(page: str) -> None:
    octets = make_mail(page.encode())
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, opens=False))
    result = made.render(octets, mint).partition(b"\r\n\r\n")[2].decode()
    before, after = _tree(page), _tree(result)
    assert [tag for tag, _ in before] == [tag for tag, _ in after]
    for (_, old), (_, new) in zip(before, after, strict=True):
        if new.get("href", "").startswith(PUBLIC_URL):
            new["href"] = old["href"]
        assert old == new


def test_the_pixel_may_open_again_what_was_left_open_and_nothing_else() -> None:
    # §13.2.6.1, reconstructing the active formatting elements: the pixel stands in a second, empty <b>.
    octets = make_mail(b"<body><p><b>x</p></body>")
    made = plan.plan(octets, SETTINGS)
    assert made.pixels == 1
    names = [tag.rpartition("}")[2] for tag, _ in _tree(made.render(octets, mint).partition(b"\r\n\r\n")[2].decode())]
    assert names == ["html", "head", "body", "p", "b", "b", "img"]


def _tree(page: str) -> list[tuple[str, dict[str, str]]]:
    root = html5lib.parse(page, treebuilder="etree")
    return [(str(element.tag), dict(element.attrib)) for element in root.iter()]
