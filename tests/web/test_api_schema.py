"""schemathesis asks all that the description of the API allows, and what it does not, with all of its checks."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.store.console import api_keys
from relay.store.database.tables import Status
from tests.web.scene import Scene
from web.api import event_stream, messages

_EXAMPLES = 2  # of each operation
# No schema can say that parameters do not go together: a tag with a domain, or `from` after `to`.
_SETTINGS = """\
[[operations]]
include-path = "/stats"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403"]
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, and no stream lasts."""
    monkeypatch.setattr(event_stream, "MAX_STREAM_S", 0.02)
    monkeypatch.setattr(messages, "MAX_WAIT", timedelta(milliseconds=20))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing,stateful"])  # which run beside each other
def test_the_api_does_what_its_description_says(scene: Scene, tmp_path: Path, phases: str) -> None:
    scene.file("ann@example.com", "bob@example.com", tags=["news"], meta={"order": "1047"})
    due = datetime.now(UTC) + timedelta(hours=1)
    scene.file("later@example.com", status=Status.DEFERRED, outcome={"next_attempt_at": due})
    key = scene.write(lambda connection: api_keys.create_key(connection, phases, datetime.now(UTC)))
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(_SETTINGS)
    program = Path(sys.executable).with_name("schemathesis")
    words = f"--checks all --continue-on-failure --max-examples {_EXAMPLES} --seed 1 --no-color"
    words += " --request-timeout 60 --max-response-time 60"
    words += f" --phases {phases}"
    done = subprocess.run(
        [
            program,
            "--config-file",
            settings,
            "run",
            f"{scene.console}/api/openapi.json",
            "-H",
            f"Authorization: Bearer {key}",
            *words.split(),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,  # it measures nothing
    )
    _, _, failures = done.stdout.partition("= FAILURES =")
    assert done.returncode == 0, "\n".join(line[:300] for line in (failures or done.stdout + done.stderr).splitlines())
    assert "Tested: " in done.stdout
