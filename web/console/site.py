"""The operators' pages: their routes, and the frame around them.

In: a session that the gate let through.  Out: HTML, rendered here; no page needs a script. POSTs change
something and lead back to a page that says so.
"""

from functools import partial

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from relay import tokens
from relay.config.schema import Config
from relay.store.database.tables import Status
from relay.store.store import Store
from web import rendering
from web.console import permissions, sign_in, user_agents
from web.console.attention import AttentionReader, AttentionStrip
from web.console.audit_pages import AuditPages
from web.console.check_pages import CheckPages
from web.console.live_pages import LivePages
from web.console.mailbox_pages import MailboxPages
from web.console.message_pages import MessagePages
from web.console.oidc import OidcPages
from web.console.overview import OverviewPage
from web.console.pixels import PixelPages
from web.console.queue_pages import QueuePages
from web.console.refusal_pages import RefusalPages
from web.console.report_pages import ReportPages
from web.console.sessions import SessionPages
from web.console.settings_pages import SettingsPages
from web.console.suppression_lists import SuppressionListPages
from web.console.suppression_pages import SuppressionPages
from web.console.upstream_pages import UpstreamPages
from web.console.webhooks import WebhookPages
from web.event_feed import EventFeed

_EXPIRING_PATHS = ("/messages/", "/mailbox/")


class Console:
    """The console of one installation."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, feed: EventFeed) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self._feed = feed
        self.renderer = rendering.operator_renderer(
            {
                "is_sandbox": config.is_sandbox,
                "smtp": str(config.listen[0].address),
                "statuses": list(Status),
                "public_url": config.tracking.public_url,
                "oidc_name": config.console.oidc.name if config.console.oidc.issuer else "",
            }
        )
        self.renderer.add_filters(user_agent=user_agents.describe_user_agent)

    def routes(self) -> list[BaseRoute]:
        pages: list[BaseRoute] = [
            *OverviewPage(self._store, self.render_page).routes(),
            *LivePages(self._feed).routes(),
            *MessagePages(self._config, self._store, self.render_page).routes(),
            *RefusalPages(self._store, self.render_page).routes(),
            *SuppressionListPages(self._store, self.render_page).routes(),
            *SuppressionPages(self._store, self.render_page).routes(),
            *PixelPages(self._config, self._store, self._ring, self.render_page).routes(),
            *MailboxPages(self._config, self._store, self._ring, self.render_page).routes(),
            *sign_in.LoginPages(self._config, self._store, self._ring, self.renderer).routes(),
            *OidcPages(self._config, self._store, self.renderer).routes(),
            *SessionPages(self._store, self.render_page).routes(),
            *UpstreamPages(self._config, self._store, self.render_page).routes(),
            *QueuePages(self._config, self._store, self.render_page).routes(),
            *ReportPages(self._store, self.render_page).routes(),
            *AuditPages(self._store, self.render_page).routes(),
            *CheckPages(self._config, self._store, self.render_page).routes(),
            *SettingsPages(self._config, self._store, self.render_page).routes(),
            *WebhookPages(self._config, self._store, self._ring, self.render_page).routes(),
        ]
        return [*permissions.guard_routes(pages), Mount("/static", StaticFiles(directory=rendering.STATIC))]

    def middleware(self) -> list[Middleware]:
        strip = Middleware(AttentionStrip, reader=AttentionReader(self._config, self._store))
        return [*sign_in.login_middleware(self._config, self._store, self._ring, self.renderer), strip]

    def render_page(self, request: Request, template: str, section: str, **values: object) -> Response:
        """A page with the frame around it: who is signed in, where we are, what was just done."""
        return self.renderer.render(template, 200, None, **values, **_frame(request, section))

    def render_error(self, request: Request, error: HTTPException) -> Response:
        """The page of a status; with the frame around it for who is signed in."""
        is_inside = hasattr(request.state, "account") and "csrf" in request.session
        frame = _frame(request, "") if is_inside else {"account": ""}
        values = frame | {"may_have_expired": request.url.path.startswith(_EXPIRING_PATHS)}
        values["needed_role"] = error.role if isinstance(error, permissions.RoleRequiredError) else ""
        return self.renderer.render("error.html", error.status_code, error.headers, **values)


def _frame(request: Request, section: str) -> dict[str, object]:
    session = request.session
    return {
        "section": section,
        "account": request.state.account,
        "role": request.state.role,
        "has_session": bool(request.state.session),
        "leaves_by": request.state.leaves_by,
        "may": partial(permissions.may, request.state.role),
        "csrf": session["csrf"],
        "notice": session.pop("notice") if "notice" in session else "",
        "attention": getattr(request.state, "attention", []),
    }
