"""A small OpenID provider on loopback: real HTTP, real signatures; it says what a test wants it to say.

OpenID Connect Core 1.0 §3.1 (code flow), Discovery 1.0, RFC 7636. It asks for no password: whoever comes is `user`.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "waypost", "s3cret of the client"
Claims = dict[str, Any]  # Any: what a provider may say


class OidcProvider:
    """Answers as `user` says. `tampered` are claims that replace those of the ID token; `signs_with` another key."""

    def __init__(self) -> None:
        self.user: Claims = {}
        self.more: Claims = {}  # what only the userinfo endpoint says
        self.tampered: Claims = {}
        self.metadata: Claims = {}
        self.asked: list[str] = []  # paths
        self.key = RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)
        self.signs_with = self.key
        self._codes: dict[str, dict[str, str]] = {}
        provider = self

        class ProviderHandler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                provider._answer(self, "")

            def do_POST(self) -> None:
                provider._answer(self, self.rfile.read(int(self.headers["content-length"])).decode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), ProviderHandler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "OidcProvider":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, body: str) -> None:
        parts = urlsplit(request.path)
        self.asked.append(parts.path)
        given = {name: values[0] for name, values in parse_qs(body or parts.query).items()}
        if parts.path == "/authorize":
            assert given["response_type"] == "code" and given["client_id"] == CLIENT_ID and given["state"]
            assert given["code_challenge_method"] == "S256"
            code = secrets.token_urlsafe(8)
            self._codes[code] = given
            back = f"{given['redirect_uri']}?{urlencode({'code': code, 'state': given['state']})}"
            request.send_response(302)
            request.send_header("location", back)
            request.end_headers()
            return
        status, answer = self._find_answer(parts.path, given, request.headers.get("authorization", ""))
        octets = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(octets)))
        request.end_headers()
        request.wfile.write(octets)

    def _find_answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, Claims]:
        match path:
            case "/.well-known/openid-configuration":
                found = {"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize"}
                found |= {"token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/jwks"}
                found |= {"userinfo_endpoint": f"{self.issuer}/userinfo", "end_session_endpoint": f"{self.issuer}/out"}
                return 200, found | self.metadata
            case "/jwks":
                return 200, dict(KeySet([self.key]).as_dict(private=False))
            case "/userinfo":
                return 200, {"sub": self.user["sub"]} | self.more
            case "/token":
                return self._redeem(form, authorization)
        return 404, {}

    def _redeem(self, form: dict[str, str], authorization: str) -> tuple[int, Claims]:
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if authorization != f"Basic {basic}" or asked is None or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= self.user | self.tampered
        token = jwt.encode({"alg": "RS256", "kid": self.signs_with.kid}, claims, self.signs_with)
        return 200, {"access_token": "at", "token_type": "Bearer", "expires_in": 300, "id_token": token}
