"""swaks, msmtp, curl, Nodemailer, and Postfix as a satellite, each a process of its own."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.shop import PASSWORD, USER, Shop, Way
from tests.upstream import Arrival

TEXT = "From: app@sender.test\nTo: {to}\nSubject: {subject}\n\na line that begins\n.with a dot\n"


def program(name: str, package: str = "") -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"no {name} here: apt-get install {package or name}")
    return found


def run(*words: str | Path, stdin: str = "", **environment: str) -> None:
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=60, env=dict(os.environ) | environment
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_swaks(way: Way, arrived: Callable[[str], Arrival]) -> None:
    words = ["--server", "localhost", "--port", str(way.port), "--to", way.recipient, "--from", "app@sender.test"]
    words += {"": [], "starttls": ["--tls"], "implicit": ["--tls-on-connect"]}[way.tls]
    words += ["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD] if way.has_login else []
    pipeline = ["--pipeline"] if way.tls != "implicit" else []
    run(program("swaks"), *words, *pipeline, "--h-Subject", "swaks", "--body", "a line that begins\n.with a dot\n")
    assert b"\r\n.with a dot\r\n" in arrived("swaks").octets


def test_msmtp(way: Way, arrived: Callable[[str], Arrival], tmp_path: Path) -> None:
    words = ["--host=localhost", f"--port={way.port}", "--from=app@sender.test"]
    if way.tls:
        words += ["--tls=on", f"--tls-trust-file={way.certificate}"]
        words += [f"--tls-starttls={'on' if way.tls == 'starttls' else 'off'}"]
    if way.has_login:
        words += ["--auth=plain", f"--user={USER}", f"--passwordeval=echo '{PASSWORD}'"]
    text = TEXT.format(to=way.recipient, subject="msmtp")
    run(program("msmtp"), *words, way.recipient, stdin=text, HOME=str(tmp_path))
    assert b"\r\n.with a dot\r\n" in arrived("msmtp").octets


def test_curl(way: Way, arrived: Callable[[str], Arrival], tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_bytes(TEXT.format(to=way.recipient, subject="curl").replace("\n", "\r\n").encode())
    scheme = "smtps" if way.tls == "implicit" else "smtp"
    words = [f"{scheme}://localhost:{way.port}/app.test", "--mail-from", "app@sender.test"]
    words += ["--mail-rcpt", way.recipient, "--upload-file", str(letter), "--cacert", str(way.certificate)]
    words += ["--ssl-reqd"] if way.tls == "starttls" else []
    words += ["--user", f"{USER}:{PASSWORD}"] if way.has_login else []
    run(program("curl"), "--silent", "--show-error", *words)
    assert b"\r\n.with a dot\r\n" in arrived("curl").octets


NODE = """
const [port, tls, user, pass, to, ca] = JSON.parse(process.argv[1]);
const transport = require("nodemailer").createTransport({
  host: "localhost", port, secure: tls === "implicit", requireTLS: tls === "starttls", ignoreTLS: tls === "",
  auth: user ? {user, pass} : undefined, tls: {ca: require("fs").readFileSync(ca)},
});
transport.sendMail({
  from: "app@sender.test", to, subject: "nodemailer", text: "Grüße\\n.with a dot\\n",
  html: '<p>Grüße <a href="https://shop.example/">here</a></p>',
}).then((info) => { if (info.rejected.length) process.exit(1); transport.close(); });
"""


def test_nodemailer(way: Way, arrived: Callable[[str], Arrival]) -> None:
    node = program("node", "nodejs")
    if subprocess.run([node, "-e", 'require("nodemailer")'], capture_output=True).returncode:
        pytest.skip("no Nodemailer here: npm install nodemailer in a folder, and NODE_PATH=FOLDER/node_modules")
    login = (USER, PASSWORD) if way.has_login else ("", "")
    run(node, "-e", NODE, json.dumps([way.port, way.tls, *login, way.recipient, str(way.certificate)]))
    assert b"\r\n.with a dot\r\n" in arrived("nodemailer").octets


MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = satellite.test
mydestination =
inet_protocols = ipv4
alias_maps =
smtp_tls_CAfile = {folder}/cert.pem
smtp_tls_loglevel = 1
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{starttls} = {user}:{password} }}, {{ [127.0.0.1]:{implicit} = {user}:{password} }} }}
transport_maps = inline:{{ {{ plain@example.com = relay:[127.0.0.1]:{plain} }}, {{ starttls@example.com = starttls:[127.0.0.1]:{starttls} }}, {{ implicit@example.com = implicit:[127.0.0.1]:{implicit} }} }}
"""  # noqa: E501
MASTER_CF = """
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
tlsmgr unix - - n 1000? 1 tlsmgr
scache unix - - n - 1 scache
relay unix - - n - - smtp
starttls unix - - n - - smtp -o smtp_tls_security_level=verify -o smtp_tls_verify_cert_match=localhost -o smtp_sasl_auth_enable=yes
implicit unix - - n - - smtp -o smtp_tls_wrappermode=yes -o smtp_tls_security_level=verify -o smtp_tls_verify_cert_match=localhost -o smtp_sasl_auth_enable=yes
"""  # noqa: E501


@pytest.fixture(scope="module")
def satellite(shop: Shop) -> Iterator[list[str | Path]]:
    """A Postfix that hands all its mail to Waypost. Yields how to call its sendmail."""
    postfix, sendmail = program("postfix"), program("sendmail", "postfix")
    if os.geteuid():
        pytest.skip("Postfix starts as root only: sudo")
    with tempfile.TemporaryDirectory(prefix="satellite") as name:
        folder = Path(name)
        folder.chmod(0o755)  # its daemons are another user
        for part in ("queue", "data"):
            (folder / part).mkdir()
        shutil.chown(folder / "data", "postfix")
        shutil.copy(shop.ways["starttls"].certificate, folder / "cert.pem")
        (folder / "cert.pem").chmod(0o644)
        ports = {name: way.port for name, way in shop.ways.items()}
        (folder / "main.cf").write_text(MAIN_CF.format(folder=folder, user=USER, password=PASSWORD, **ports))
        (folder / "master.cf").write_text(MASTER_CF)
        try:
            run(postfix, "-c", folder, "start")
            yield [sendmail, "-C", folder]
        finally:
            subprocess.run([postfix, "-c", folder, "stop"], capture_output=True)


@pytest.mark.parametrize("way", ["plain", "starttls", "implicit"], indirect=True)
def test_postfix_as_a_satellite(way: Way, arrived: Callable[[str], Arrival], satellite: list[str | Path]) -> None:
    text = TEXT.format(to=way.recipient, subject="postfix")
    run(*satellite, "-i", "-f", "app@sender.test", way.recipient, stdin=text)
    assert b"\r\n.with a dot\r\n" in arrived("postfix").octets
