"""Out of file descriptors: a line, and service once there are some again."""

import contextlib
import resource
import socket
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.stage import Waypost

FEW = 64


@pytest.mark.parametrize("door", ["smtp", "http"])
def test_a_crowd_costs_a_line_of_log_and_service_comes_back(tmp_path: Path, door: str) -> None:
    with Waypost(tmp_path) as relay:
        for pid in relay.children():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        port = relay.port if door == "smtp" else int(relay.tracking.rpartition(":")[2])
        with contextlib.ExitStack() as open_:
            for _ in range(2 * FEW):
                open_.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            end = monotonic() + 20
            while "out-of-file-descriptors" not in relay.read_log():
                assert monotonic() < end, relay.read_log()
                sleep(0.05)
            sleep(2.5)  # asyncio tries again each second
            log = relay.read_log()
        assert log.count("out-of-file-descriptors") == 1
        assert f"limit={FEW}" in log and "LimitNOFILE" in log
        assert "Traceback" not in log
        if door == "smtp":
            assert relay.send(b"Subject: x\r\n\r\nx\r\n", "after@example.com").startswith("250")
        else:
            assert relay.get("/healthz").status_code in (200, 404)
