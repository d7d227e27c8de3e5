"""Renders templates as answers, and adds the security headers.

In: a template's name and its values.  Out: an HTML answer. Its content security policy (CSP3) allows no foreign host,
no frame around the page, and no script but the console's own file. The public pages contain their style, which the
policy allows by its hash, so that one request is enough.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from web import translations

STATIC = Path(__file__).parent / "static"
_TEMPLATES = Path(__file__).parent / "templates"
_BASE_POLICY = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

_ANGLE_ADDRESS = re.compile(r"<([^<>@]*+@[^<>]*+)>")  # not the `<` of a name such as `Ann <3`
_MAX_NAME = 100  # characters of a sender's name, and of the domain

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class SenderIdentity(NamedTuple):
    """Who sends, as recipients are told."""

    name: str
    domain: str = ""
    logo: str = ""  # a data: URL

    def or_author(self, author: str) -> "SenderIdentity":
        """With the domain of a message's author, and the author's name where no other is configured."""
        name, mailbox = split_author(author)
        domain = mailbox.rpartition("@")[2].strip().lower() if "@" in mailbox else ""
        return self._replace(name=self.name or name[:_MAX_NAME], domain=domain[:_MAX_NAME])


class TemplateRenderer:
    """One application's templates."""

    def __init__(self, policy: str, shared_values: Mapping[str, object]) -> None:
        self._policy = policy
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update({"t": translations.ENGLISH} | dict(shared_values))
        self._templates.filters.update(
            moment=format_moment,
            when=format_when,
            clock=format_clock,
            ago=format_age,
            number=format_number,
            size=format_size,
            author_name=author_name,
            plural=format_count,
        )

    def add_filters(self, **filters: Callable[..., object]) -> None:
        """Gives the templates further filters."""
        self._templates.filters.update(filters)

    def render_localized(
        self,
        request: Request,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> Response:
        """The template as an answer in the visitor's language."""
        chosen = translations.choose_texts(request.headers.get("accept-language", ""))
        named = {"content-language": chosen["lang"], "vary": "accept-language"}
        return self.render(template, status, named | dict(headers or {}), t=chosen, **values)

    def render(
        self, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
    ) -> Response:
        """The template with its values, as an answer that nothing caches."""
        text = self._templates.get_template(template).render(values, now=datetime.now(UTC), status=status)
        safe = {
            "content-security-policy": self._policy,
            "cache-control": "no-store",
            "x-robots-tag": "noindex",
            "cross-origin-opener-policy": "same-origin",
        }
        return HTMLResponse(text, status, safe | dict(headers or {}))


def recipient_renderer(sender: SenderIdentity) -> TemplateRenderer:
    """The pages that recipients see."""
    style = (STATIC / "public.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"{_BASE_POLICY}; style-src 'sha256-{digest}'" + ("; img-src data:" if sender.logo else "")
    shared_values = {"style": Markup(style), "shell": "public.html", "sender": sender}  # noqa: S704  our own file
    return TemplateRenderer(policy, shared_values)


def operator_renderer(shared_values: Mapping[str, object]) -> TemplateRenderer:
    """The pages that operators see. Only mail is shown in a frame, which has a policy of its own."""
    octets = b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()))
    version = hashlib.sha256(octets).hexdigest()[:12]  # a new style has a new address, so caches may keep it
    policy = (
        f"{_BASE_POLICY}; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; frame-src 'self'"
    )
    return TemplateRenderer(policy, {"version": version, "shell": "console.html", **shared_values})


# --- values as text


def format_moment(at: datetime | None) -> str:
    """`2026-03-01 09:14:07 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "–"


def format_when(at: datetime | None) -> Markup:
    """The same as an HTML element. The console's script shows it in the reader's time zone; its title stays in UTC."""
    if at is None:
        return Markup("–")
    utc = format_moment(at)
    return Markup('<time datetime="{}" title="{}" data-as="moment">{}</time>').format(at.isoformat(), utc, utc)


def format_clock(at: datetime) -> str:
    """`09:14:07`."""
    return at.astimezone(UTC).strftime("%H:%M:%S")


def format_age(at: datetime | None, now: datetime) -> str:
    """`4 min ago`, `in 2 h`, `1 Mar`. The page shows the exact time beside it or in its title."""
    if at is None:
        return "–"
    away = now - at
    ahead, away = away < timedelta(0), abs(away)
    if away < timedelta(seconds=10):
        return "now"
    if away > timedelta(days=6):
        return f"{at.day} {at:%b}" if at.year == now.year else f"{at.day} {at:%b %Y}"
    seconds = int(away.total_seconds())
    unit, size_s = next(
        (unit, size_s) for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)) if seconds >= size_s
    )
    return f"in {seconds // size_s} {unit}" if ahead else f"{seconds // size_s} {unit} ago"


def format_number(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def format_size(octets: int) -> str:
    """`812 B`, `14.2 KB`, `3.1 MB` (1 KB is 1024 octets)."""
    if octets < 1024:
        return f"{octets} B"
    return f"{octets / 1024:.1f} KB" if octets < 1 << 20 else f"{octets / (1 << 20):.1f} MB"


def author_name(author: str) -> str:
    """The name that a list shows: the display name of `Ann <ann@example.com>`, else the whole value."""
    return split_author(author)[0] or author


def split_author(author: str) -> tuple[str, str]:
    """The display name and the address of `Ann <ann@example.com>`, of several authors the first one's. Without an
    address in angle brackets there is no name."""
    found = _ANGLE_ADDRESS.search(author)
    return (author[: found.start()].strip().strip('"').strip(), found[1]) if found else ("", author)


def format_count(count: int, singular: str, plural: str = "") -> str:
    """`1 open`, `3 opens`."""
    return f"{format_number(count)} {singular if count == 1 else plural or singular + 's'}"
