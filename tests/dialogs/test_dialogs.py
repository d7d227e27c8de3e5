"""Every fact of SMTP in (docs/architecture.md#smtp-in) as a dialog with the real server."""

from pathlib import Path

import pytest

from tests.dialogs.guarded import Guarded
from tests.dialogs.script import Player
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_dialog_goes_as_written(path: Path, relay: Waypost, upstream: ScriptedUpstream, guarded: Guarded) -> None:
    upstreams = dict.fromkeys(guarded.ports, guarded.upstream) | {"relay": upstream}
    Player(guarded.ports | {"relay": relay.port}, upstreams).play(path)
