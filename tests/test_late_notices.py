"""A bounce that comes back to the return path is told to the app, whose own reverse-path the world never saw."""

from tests.returning import DEAD, Scene, dsn, reverse_path
from tests.stage import html_mail
from tests.test_notices import arrivals, blocks, notices

DELAYED = "451 4.4.1 no answer from host"


def test_a_late_bounce_is_told_to_the_apps_own_reverse_path_once(scene: Scene) -> None:
    who, app = "gone@example.com", "own+tardy@sender.test"
    to = reverse_path(scene.sent(who, sender=app))
    for _ in range(2):
        assert scene.comes(to, dsn("alias@far.example", "5.1.1", DEAD)).startswith("250")
    [notice] = notices(scene.upstream, app)
    _, block = blocks(notice)
    assert block["Final-Recipient"] == f"rfc822; {who}" and block["Action"] == "failed" and block["Status"] == "5.1.1"
    assert (block["Remote-MTA"], "user unknown" in block["Diagnostic-Code"]) == ("dns; mx.far.example", True)
    assert notice["References"] == "<m1@sender.test>"
    # Another mail's notice comes later than a second one of this would.
    to = reverse_path(scene.sent("gone2@example.com", sender="other+tardy@sender.test"))
    scene.comes(to, dsn("gone2@example.com", "5.1.1", DEAD))
    assert notices(scene.upstream, "other+tardy@sender.test") and len(arrivals(scene.upstream, app)) == 1


def test_what_nobody_asked_to_hear_or_would_read_is_not_told(scene: Scene) -> None:
    def bounced(app: str, octets: bytes, notify: str = "") -> None:
        who = app.replace("sender.test", "example.com")
        with scene.relay.client() as client:
            client.login("app", "secret")
            client.sendmail(app, [who], octets, rcpt_options=[f"NOTIFY={notify}"] if notify else [])
        to = reverse_path(scene.upstream.to(who)[0])
        assert scene.comes(to, dsn(who, "4.4.1", DELAYED, "delayed")).startswith("250")
        assert scene.comes(to, dsn(who, "5.1.1", DEAD)).startswith("250")

    bounced("never+tardy@sender.test", html_mail(), "NEVER")
    bounced("list+tardy@sender.test", html_mail(header="Precedence: bulk\r\n"))
    bounced("asked+tardy@sender.test", html_mail(), "FAILURE,DELAY")
    said = [block["Action"] for one in notices(scene.upstream, "asked+tardy@sender.test") for block in blocks(one)[1:]]
    assert "failed" in said
    for silent in ("never", "list"):
        assert not [one for one in scene.upstream.arrivals if f"{silent}+tardy@sender.test" in one.recipients]


def test_a_delay_is_told_to_who_asked_for_it(scene: Scene) -> None:
    app, who = "slow+tardy@sender.test", "slow+tardy@example.com"
    with scene.relay.client() as client:
        client.login("app", "secret")
        client.sendmail(app, [who], html_mail(), rcpt_options=["NOTIFY=DELAY"])
    to = reverse_path(scene.upstream.to(who)[0])
    assert scene.comes(to, dsn(who, "4.4.1", DELAYED, "delayed")).startswith("250")
    [notice] = notices(scene.upstream, app)
    assert blocks(notice)[1]["Action"] == "delayed" and scene.delivery(who)["status"] == "delivered"
