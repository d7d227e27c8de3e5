"""The pixel, as mail programs and scanners call it.  Always: an image."""

import io
import struct
import zlib

import pytest

from relay.edits import Hole, Kind
from relay.rewrite.pixel import GIF, PNG
from tests.waiting import until
from tests.web.scene import Scene, is_image


def test_the_png_is_one_transparent_pixel() -> None:
    file = io.BytesIO(PNG)
    assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    while header := file.read(8):
        length, name = struct.unpack(">I4s", header)
        chunks[name] = file.read(length)
        assert struct.unpack(">I", file.read(4)) == (zlib.crc32(name + chunks[name]),)
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBB", chunks[b"IHDR"][:10]) == (1, 1, 8, 6)
    assert zlib.decompress(chunks[b"IDAT"]) == bytes(5)  # a filter octet, then RGBA with alpha 0


def test_the_gif_is_one_transparent_pixel() -> None:
    assert GIF[:6] == b"GIF89a"
    assert struct.unpack("<HH", GIF[6:10]) == (1, 1)
    at = 13 + 3 * 2  # the screen descriptor, then a table of two colours
    assert GIF[at : at + 4] == b"!\xf9\x04\x01"  # a graphic control extension whose transparency flag is set
    assert GIF[at + 6] == 0  # colour 0 is the transparent one, and the picture's only pixel
    assert GIF[-1:] == b";"


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_an_open_counts_once_for_each_request_and_is_an_image(scene: Scene, suffix: str) -> None:
    message = scene.file()
    path = scene.path(Kind.OPEN, message).removesuffix("gif") + suffix
    assert is_image(scene.http.get(path), suffix)
    until(lambda: scene.events(message))
    (event,) = scene.events(message)
    assert (event["type"], event["verdict"], event["recipient"]) == ("opened", "human", "you@example.com")
    assert event["user_agent"] == "Mozilla/5.0 (X11) Firefox/140"
    assert event["ip"] == "127.0.0.0"
    assert scene.delivery(message)["opens_human"] == 1


def test_whatever_stands_in_the_path_the_answer_is_an_image_and_counts_nothing(scene: Scene) -> None:
    message = scene.file()
    token = scene.path(Kind.OPEN, message).removeprefix("/o/").removesuffix(".gif")
    click = scene.path(Kind.CLICK, message).removeprefix("/c/")
    changed = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    for name in ("x", "x.gif", f"{token}.jpg", token, f"{changed}.gif", f"{click}.gif", "%FF%00.gif", "a/b/c.gif", ""):
        assert is_image(scene.http.get(f"/o/{name}"), "gif"), name
    assert is_image(scene.http.get("/o/x.png"), "png")
    assert is_image(scene.http.get(f"/o/{token}.gif"), "gif")  # and the good one, which comes last, is the only one
    until(lambda: scene.events(message))
    assert scene.delivery(message)["opens_human"] == 1


def test_a_stored_hole_of_another_recipient_is_another_count(scene: Scene) -> None:
    message = scene.file("a@example.com", "b@example.com")
    assert scene.ring.mint(Hole(Kind.OPEN), message, 0) != scene.ring.mint(Hole(Kind.OPEN), message, 1)
    scene.http.get(scene.path(Kind.OPEN, message, 1))
    until(lambda: scene.events(message))
    assert [scene.delivery(message, number)["opens_human"] for number in (0, 1)] == [0, 1]


def test_a_long_user_agent_is_cut(scene: Scene) -> None:
    message = scene.file()
    scene.http.get(scene.path(Kind.OPEN, message), headers={"user-agent": "Mozilla/5.0 (X11) " + "x" * 4000})
    until(lambda: scene.events(message))
    assert len(scene.events(message)[0]["user_agent"]) == 512
