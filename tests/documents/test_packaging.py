"""Packaging: what the files for containers, Kubernetes and systemd say is what the program does."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from relay.config import load
from tests.waypost_server import ROOT, Waypost, free_port, html_mail

SMTP, TRACKING, CONSOLE, METRICS = "LISTEN__ADDRESS", "TRACKING__LISTEN", "CONSOLE__LISTEN", "METRICS__LISTEN"


def image_environment() -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    text = re.sub(r"^#.*", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return dict(re.findall(r"(WAYPOST_\w+)=(\S+)", text))


def test_all_that_the_dockerfile_copies_is_there_and_its_health_check_asks_a_listener_of_every_role() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()]
    assert len(copied) > 5 and all((ROOT / name).exists() for name in copied)
    link = ROOT / "relay/config/template.toml"
    assert link.resolve().name in copied  # else the wheel would lack it
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert data == {"share/man/man1": ["docs/waypost.1"]} and "docs/waypost.1" in copied
    assert {f"!{name}" for name in copied} <= set((ROOT / ".dockerignore").read_text().split())
    asked = re.findall(r"http://127\.0\.0\.1:(\d+)/healthz", text)
    assert asked == [image_environment()[f"WAYPOST_{METRICS}"].rpartition(":")[2]]


def test_the_services_of_the_compose_file_start_together_on_postgresql(
    postgresql: Callable[[], str], tmp_path: Path
) -> None:
    project = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    services = project["services"]
    [network] = project["networks"]["default"]["ipam"]["config"]
    ports = {name: free_port() for name in (SMTP, TRACKING, CONSOLE)}
    started = {}
    for name in ("mail", "web"):
        environment = image_environment() | services[name]["environment"]
        assert "@database/waypost" in environment["WAYPOST_DATABASE__URL"]
        assert (ROOT / "deploy" / services[name]["build"] / "Dockerfile").exists()
        assert json.loads(environment["WAYPOST_ACCESS__NETWORKS"]) == [network["subnet"]]
        environment |= {f"WAYPOST_{key}": f"127.0.0.1:{port}" for key, port in ports.items()}
        environment |= {f"WAYPOST_{METRICS}": f"127.0.0.1:{free_port()}", "WAYPOST_RELAY__DATA_DIR": str(tmp_path)}
        environment |= {"WAYPOST_TRACKING__PUBLIC_URL": f"http://127.0.0.1:{ports[TRACKING]}", "PYTHONPATH": str(ROOT)}
        environment |= {"WAYPOST_ACCESS__NETWORKS": '["127.0.0.0/8"]'}
        if name == "mail":
            environment["WAYPOST_DATABASE__URL"] = url = postgresql()
        environment["WAYPOST_DATABASE__URL"] = url
        command = [sys.executable, "-m", "relay", *services[name]["command"][1:]]
        started[name] = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        for name, process in started.items():
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready "), (name, process.communicate(timeout=60)[1])
        relay = Waypost(tmp_path / "client")
        relay.port = ports[SMTP]
        assert relay.send(html_mail(), "composed@example.com").startswith("250")
        assert httpx.get(f"http://127.0.0.1:{ports[TRACKING]}/readyz").status_code == 200
        assert (tmp_path / "first-password").exists()
    finally:
        for process in started.values():
            process.terminate()
        assert [process.communicate(timeout=60) and process.returncode for process in started.values()] == [0, 0]


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))


def test_the_configuration_of_the_kubernetes_example_is_one(tmp_path: Path) -> None:
    [text] = [one["data"]["config.toml"] for one in kubernetes() if one["kind"] == "ConfigMap"]
    (tmp_path / "database-url").write_text("postgresql+psycopg://a:b@c/d")
    (tmp_path / "smtp-password").write_text("secret")
    (tmp_path / "config.toml").write_text(text.replace("/secrets/", f"{tmp_path}/"))
    image = (ROOT / "Dockerfile").read_text()
    for workload in (one for one in kubernetes() if one["kind"] == "StatefulSet"):
        pod = workload["spec"]["template"]["spec"]
        assert f"useradd --system --uid {pod['securityContext']['runAsUser']}" in image
        assert {pod["securityContext"][key] for key in ("runAsGroup", "fsGroup")} == set(
            map(int, re.findall("groupadd --system --gid ([0-9]+)", image))
        )
        [container] = pod["containers"]
        # The image's variables win over the file, and the container's over the image's.
        variables = image_environment() | {one["name"]: one["value"] for one in container["env"]}
        config = load.load(tmp_path / "config.toml", variables)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listeners = [config.listen[0].address, config.tracking.listen, config.console.listen, config.metrics.listen]
        assert set(ports.values()) <= {one.port for one in listeners if one and one.host == "0.0.0.0"}
        assert pod["terminationGracePeriodSeconds"] > config.relay.drain.total_seconds()
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[name].get("httpGet") or container[name]["tcpSocket"]
            assert probe["port"] in ports, f"{workload['metadata']['name']} {name}"


def test_the_configuration_here_comes_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "etc" / "config.toml"
    system.parent.mkdir()
    system.touch()
    monkeypatch.setattr(load, "SYSTEM_FILE", system)
    monkeypatch.chdir(tmp_path)
    assert load.find_file(None, {}) == system
    (tmp_path / "config.toml").touch()
    assert load.find_file(None, {}) == Path("config.toml")
    assert load.find_file(None, {"WAYPOST_CONFIG": "/a"}) == Path("/a")
    assert load.find_file("/b", {"WAYPOST_CONFIG": "/a"}) == Path("/b")


def test_the_processes_say_what_they_are(sandbox: Waypost) -> None:
    titles = [Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") for pid in sandbox.children()]
    assert titles == [b"waypost: smtp", b"waypost: web"]


def test_the_library_loads_no_database_and_no_web_server() -> None:
    code = "import sys, relay.tracking; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert not {"sqlalchemy", "sqlmodel", "web", "starlette", "uvicorn", "prometheus_client"} & set(done.stdout.split())


def test_every_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[\[>;=]", one)[0].lower().replace("_", "-") for one in wanted}
    assert names <= pins
