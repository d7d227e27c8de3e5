"""The clock is set while mail is under way: nothing is sent twice, nothing is forgotten."""

from pathlib import Path
from time import sleep

import pytest

from tests.faults.figures import Figure
from tests.faults.queued_mail import drained
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail


@pytest.mark.parametrize("step", ["+1h", "-1h"])
def test_a_step_of_the_clock_doubles_and_forgets_nothing(
    step: str, tmp_path: Path, clock: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    tables = '[delivery]\nretry = ["1s"]\ninline_timeout = "1s"\n'
    with Waypost(tmp_path, sink.port, tables) as relay:
        sink.delay_s = 3.0  # under way when the clock is set
        assert relay.send(html_mail(), "under-way@example.com").startswith("250")
        sink.delay_s = 0.0
        assert relay.send(html_mail(), "e451-4.3.0-n1+waiting@example.com").startswith("250")
        clock.write_text(step)
        assert relay.send(html_mail(), "e451-4.3.0-n1+after@example.com").startswith("250")
        for recipient in ("under-way", "e451-4.3.0-n1+waiting", "e451-4.3.0-n1+after"):
            sink.to(f"{recipient}@example.com")
        sleep(2)
        drained(relay)
        assert len(sink.arrivals) == 3
        assert "clock-set" in relay.read_log()  # it was, as far as the server sees
        figure(f"3 mails under way when the clock went {step}: lost 0, twice 0")
