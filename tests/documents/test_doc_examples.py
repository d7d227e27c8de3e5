"""The examples of the documents: commands can be typed as they stand, and configurations are taken.

What the examples of the API and the library say is held by the tests of those.
"""

import base64
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.cli import command_table
from relay.config import load
from tests.documents.pages import PAGES
from tests.waypost_server import ROOT

_BLOCK = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", re.DOTALL | re.MULTILINE)
_UNIT = ROOT / "docs/waypost.service"
_EXAMPLES = ["docs/prometheus/waypost-alerts.yml", "deploy/compose.yaml", "deploy/kubernetes.yaml"]
# A name before it, and what a shell would do behind it.
_COMMAND = re.compile(r"(?:^|[\s(|=])(?:[\w./]*/)?waypost ((?:[a-z-]+|--\w+)\b[^#`|<>);]*)")
_A_KEY = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def _blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text("utf-8")) if language in languages]


def _commands(page: Path) -> list[str]:
    lines = "\n".join(_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [found.strip() for line in lines for found in _COMMAND.findall(line.partition(" # ")[0])]


def _toml() -> list[tuple[Path, str]]:
    return [(page, text) for page in PAGES for text in _blocks(page, "toml")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_can_be_typed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in _commands(page):
        words = shlex.split(text)
        try:
            command_table.make_parser(words).parse_args(words)
        except SystemExit as ended:
            assert ended.code == 0, f"{page.name}: waypost {text}: {capsys.readouterr().err}"


def test_commands_are_found() -> None:
    assert len([text for page in PAGES for text in _commands(page)]) > 15
    assert any("serve --config /etc/waypost/config.toml" in found for found in _COMMAND.findall(_UNIT.read_text()))


@pytest.mark.parametrize(("page", "text"), _toml(), ids=lambda value: value.name if isinstance(value, Path) else "")
def test_every_configuration_of_a_page_is_taken(
    page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.name in ("CONTRIBUTING.md", "bounces.md") and "[[text]]" in text:
        pytest.skip("a rule")
    for name in re.findall(r'env = "(\w+)"', text):
        monkeypatch.setenv(name, "whsec_" + base64.b64encode(bytes(32)).decode())
    for name in re.findall(r'file = "([^"]+)"', text):
        (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    text = re.sub(r'"MFkw[^"]*"', f'"{_A_KEY}"', text)
    if not re.match(r"\s*\[", text):
        pytest.skip("keys of a table that the text names")
    tomllib.loads(text)
    path = tmp_path / "config.toml"
    path.write_text(text)
    try:
        load.load(path, {})
    except load.ConfigError as error:
        # Files that only the reader has, and tables of which only a part is shown.
        left = [fault for fault in error.faults if not re.search(r"cannot read|no such file|is required", fault)]
        assert left == [], f"{page.name}: {text}"


@pytest.mark.parametrize(
    "name", ["docs/prometheus/waypost-alerts.yml", "deploy/compose.yaml", "deploy/kubernetes.yaml"]
)
def test_files_for_other_programs_are_yaml(name: str) -> None:
    assert list(yaml.safe_load_all((ROOT / name).read_text()))
