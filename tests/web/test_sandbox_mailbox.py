"""The sandbox's mailbox: mail is deleted there, and only what would come from elsewhere is called so."""

from pathlib import Path
from typing import Any

import httpx

from tests.web.scene import Scene, csrf


def test_mail_of_a_sandbox_is_deleted_alone_or_all_at_once(scene: Scene, browser: httpx.Client) -> None:
    first, second = scene.file("del1@example.com"), scene.file("del2@example.com")
    page = browser.get(f"/mailbox/{first}/0")
    assert 'action="/mailbox/delete"' in page.text
    assert browser.post("/mailbox/delete", data={"message": first}).status_code == 403  # without the token
    form = {"csrf": csrf(page)}
    assert browser.post("/mailbox/delete", data=form | {"message": "nothing"}).status_code == 404
    assert browser.post("/mailbox/delete", data=form | {"message": first}).headers["location"] == "/mailbox"
    listed = browser.get("/mailbox").text
    assert "The message is deleted." in listed and first not in listed and second in listed
    assert 'data-live="/messages/live" data-rows="ol.mailbox-list"' in listed
    browser.post("/mailbox/delete", data=form)
    assert "The mailbox is empty" in browser.get("/mailbox").text
    assert scene.file("later@example.com") in browser.get("/mailbox").text


def test_delivered_mail_has_no_button_that_deletes_it(tmp_path: Path) -> None:
    upstream: dict[str, Any] = {
        "upstream": [{"name": "primary", "address": "127.0.0.1:1", "tls": "off"}]
    }  # Any: a table
    with Scene(tmp_path, upstream) as scene, scene.sign_in() as browser:
        message = scene.file("kept@example.com")
        page = browser.get(f"/mailbox/{message}/0")
        assert page.status_code == 200 and "/mailbox/delete" not in page.text
        answer = browser.post("/mailbox/delete", data={"csrf": csrf(page), "message": message})
        assert answer.status_code == 404 and browser.get(f"/mailbox/{message}/0").status_code == 200


def test_our_own_pixel_is_nothing_from_elsewhere(scene: Scene, browser: httpx.Client) -> None:
    mail = "Subject: x\r\nContent-Type: text/html\r\n\r\n<p>hello</p>{}\r\n"
    plain = scene.file(octets=mail.format("").encode())
    assert "from elsewhere" not in browser.get(f"/mailbox/{plain}/0").text
    other = scene.file(octets=mail.format('<img src="https://pictures.example/a.png">').encode())
    assert "from elsewhere are not loaded" in browser.get(f"/mailbox/{other}/0").text
