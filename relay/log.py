"""The log is a language: one function per fact, stable keys, no message text, no secrets, no addresses.

How a line looks, `log_lines` knows.
"""

import logging
import sys
import traceback

from relay import log_lines, redaction

_log = logging.getLogger("waypost")
_write = log_lines.write_line
start_logging = log_lines.start_logging


# --- the process


def starting(version: str, mode: str, upstreams: int) -> None:
    _write(logging.INFO, "starting", version=version, mode=mode, upstreams=upstreams)


def runs_as_root() -> None:
    _write(logging.WARNING, "runs-as-root", remedy="name a user in [relay] user: root is needed to bind low ports only")


def secrets_readable(file: str, keys: str) -> None:
    """The configuration holds secrets, and every user of this machine may read it."""
    _write(logging.WARNING, "secrets-readable", file=file, keys=keys, remedy="chmod o-r")


def role_started(role: str, pid: int) -> None:
    _write(logging.INFO, "role-started", role=role, pid=pid)


def role_died(role: str, pid: int, status: int) -> None:
    _write(logging.ERROR, "role-died", role=role, pid=pid, status=status)


def role_silent(role: str, pid: int, silent_s: float) -> None:
    """It has not answered for `[relay] watchdog`. It says where it stands, is ended, and is started again."""
    _write(logging.ERROR, "role-silent", role=role, pid=pid, silent_s=round(silent_s, 1))


def role_unstopped(role: str, pid: int, after_s: float, silent_s: float) -> None:
    """It was asked to stop, had the time for it, and is ended."""
    _write(logging.ERROR, "role-unstopped", role=role, pid=pid, after_s=round(after_s, 1), silent_s=round(silent_s, 1))


def out_of_descriptors(limit: int, reason: str) -> None:
    """No connection can be taken in. Said once a minute, however many wait."""
    remedy = "raise LimitNOFILE (ulimit -n), or look for who holds connections open"
    if log_lines.is_first_within_minute("out-of-file-descriptors"):
        _write(logging.ERROR, "out-of-file-descriptors", limit=limit, reason=reason, remedy=remedy)


def draining(seconds: float) -> None:
    _write(logging.INFO, "draining", at_most_s=seconds)


def stopped() -> None:
    _write(logging.INFO, "stopped")


def too_many_connections(site: str, group: str, most: int) -> None:
    """A connection to a site was turned away: that network, or all, have that many, and none is idle;
    or that address brought that many in a second. Of each site it is said once a minute, however many come."""
    if log_lines.is_first_within_minute(("too-many-connections", site)):
        _write(logging.WARNING, "too-many-connections", site=site, group=group, most=most)


# --- mail in


def refused(ip: str, code: int, status: str, text: str) -> None:
    _write(logging.INFO, "refused", ip=ip, code=code, status=status, text=text)


def refused_again(ip: str, count: int) -> None:
    """A connection has ended. Of its refusals, those that said the same as one before it are counted here only."""
    _write(logging.INFO, "refused-again", ip=ip, count=count)


def login_failed(door: str, ip: str) -> None:
    """A wrong name, password or key, at `smtp`, `console` or `api`. docs/fail2ban reads this line."""
    _write(logging.WARNING, "login-failed", ip=ip, door=door)


def proxy_refused(ip: str, reason: str) -> None:
    """A connection to a listener with `proxy_protocol` that brought no PROXY header, or may not bring one."""
    _write(logging.WARNING, "proxy-refused", ip=ip, reason=reason)


def certificate_renewed(listener: str) -> None:
    _write(logging.INFO, "certificate-renewed", listener=listener)


def certificate_unusable(listener: str, reason: str) -> None:
    """The certificate's files have changed and cannot be used; the one before them stays in service."""
    _write(logging.ERROR, "certificate-unusable", listener=listener, reason=reason)


def accepted(message: str, recipients: int, octets: int, mode: str) -> None:
    _write(logging.INFO, "accepted", message=message, recipients=recipients, octets=octets, mode=mode)


def fault(where: str, fault_id: str) -> None:
    """An exception of ours that is being handled, with its traceback: the first in a minute at that place.
    `fault_id`: what the client or page got, or the item that it was about."""
    error = sys.exc_info()[1]
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__ if error else None):
        place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}"
    name = type(error).__name__
    is_new = log_lines.is_first_within_minute((where, place, name))
    _log.error("%s", log_lines.format_line("fault", where=where, id=fault_id, error=name, place=place), exc_info=is_new)


def fault_trace(where: str, fault_id: str, trace: str) -> None:
    """An exception of ours that was dealt with elsewhere, in another process or without the log: its traceback."""
    is_new = log_lines.is_first_within_minute((where, trace))
    more = f"\n{redaction.redact_addresses(trace)}" if is_new else " (as before)"
    _log.error("%s%s", log_lines.format_line("fault", where=where, id=fault_id), more)


def report_abandoned(octets: int, reason: str, status: int | None) -> None:
    """A report took more time or memory to read than it may; whoever sent it was told to come again.
    `status`: of the process that read it, minus the signal that ended it."""
    _write(logging.ERROR, "report-abandoned", octets=octets, reason=reason, status=status)


# --- mail out


def delivered(message: str, number: int, upstream: str, took_ms: int) -> None:
    _write(logging.INFO, "delivered", message=message, number=number, upstream=upstream, took_ms=took_ms)


def failed(
    message: str,
    number: int,
    upstream: str,
    phase: str,
    code: int,
    status: str,
    outcome: str,
    *,
    reason: str,
    uncertain: bool,
) -> None:
    """`reason`, in our own words, stands where no reply came; `uncertain` where the mail may have arrived."""
    where = {"message": message, "number": number, "upstream": upstream, "phase": phase}
    more = ({"reason": reason} if reason else {}) | ({"uncertain": "true"} if uncertain else {})
    _write(logging.WARNING, "failed", **where, code=code, status=status, outcome=outcome, **more)


def lease_lost(message: str, deliveries: int) -> None:
    """This process was stopped for longer than its lease; another one has them, and they are not sent here."""
    _write(logging.WARNING, "lease-lost", message=message, deliveries=deliveries)


def upstream_out(upstream: str, phase: str, code: int, status: str, reason: str) -> None:
    """Nothing is sent to it until a probe succeeds; its mail waits or goes to the next one."""
    more = {"reason": reason} if reason else {}
    _write(logging.ERROR, "upstream-out", upstream=upstream, phase=phase, code=code, status=status, **more)


def upstream_slow(upstream: str, mute: int, connections: int, for_s: float) -> None:
    """Mail waits, and so many of the connections have not moved for so long."""
    _write(logging.WARNING, "upstream-slow", upstream=upstream, mute=mute, connections=connections, for_s=for_s)


def upstream_back(upstream: str) -> None:
    _write(logging.WARNING, "upstream-back", upstream=upstream)


def not_signed(message: str, domain: str, reason: str) -> None:
    """The mail should have had a DKIM signature; it went out as it came."""
    _write(logging.ERROR, "not-signed", message=message, domain=domain, reason=reason)


def overridden(message: str, number: int, reason: str) -> None:
    """The address is suppressed, and the app, which may, had the mail sent all the same."""
    _write(logging.WARNING, "overridden", message=message, number=number, reason=reason)


def suppressed(message: str, number: int, reason: str) -> None:
    _write(logging.INFO, "suppressed", message=message, number=number, reason=reason)


def notified(message: str, recipients: int) -> None:
    """A notice to the message's reverse-path was put into the queue."""
    _write(logging.INFO, "notified", message=message, recipients=recipients)


def parked(message: str, number: int, crashes: int) -> None:
    """A delivery during whose attempts processes died: nobody tries it again before an operator says so."""
    _write(logging.ERROR, "parked", message=message, number=number, crashes=crashes)


# --- what comes back


def told(message: str, number: int, what: str, teller: str, is_new: bool) -> None:
    """A report or a provider said what became of a delivery."""
    _write(logging.INFO, "told", message=message, number=number, what=what, teller=teller, new=is_new)


def not_told(message: str, number: int, what: str) -> None:
    """Mail for the return path that says nothing of a delivery: an automatic reply, a letter."""
    _write(logging.INFO, "not-told", message=message, number=number, what=what)


def words(provider: str, taken: int, known: int, unknown: int) -> None:
    """A provider's webhook: what was news, what changed nothing, what was of no mail of ours."""
    _write(logging.INFO, "words", provider=provider, taken=taken, known=known, unknown=unknown)


def refused_word(provider: str, reason: str) -> None:
    _write(logging.WARNING, "refused-word", provider=provider, reason=reason)


# --- webhooks


def webhook_failing(webhook: str, event: str, reason: object) -> None:
    """An endpoint took something before and does not now; it is tried again."""
    _write(logging.WARNING, "webhook-failing", webhook=webhook, event=event, reason=reason)


def webhook_back(webhook: str) -> None:
    _write(logging.INFO, "webhook-back", webhook=webhook)


def webhook_gave_up(webhook: str, event: str, reason: object) -> None:
    """It was tried for a day, or refused for good; `waypost webhooks replay` tells it again."""
    _write(logging.ERROR, "webhook-gave-up", webhook=webhook, event=event, reason=reason)


def webhook_disabled(webhook: str, reason: str) -> None:
    """Nothing is told to it until `waypost webhooks enable`."""
    _write(logging.ERROR, "webhook-disabled", webhook=webhook, reason=reason)


# --- the store


def unreadable(reason: str) -> None:
    """The database or the disk says no; mail flows on without it. The same reason is said once a minute."""
    if log_lines.is_first_within_minute(("unreadable", reason)):
        _write(logging.WARNING, "unreadable", reason=reason)


def database_damaged(path: str, reason: str) -> None:
    """SQLite has met damage: this process commits nothing to that file any more. Said once for a file."""
    remedy = "stop the server, put a backup in the file's place, delete its -wal and -shm, start"
    _write(logging.CRITICAL, "database-damaged", path=path, reason=reason, remedy=remedy)


def not_stored(message: str, reason: str) -> None:
    """The message could not be made durable, and the client was told so."""
    _write(logging.ERROR, "not-stored", message=message, reason=reason)


def abandoned(message: str) -> None:
    """Its client hung up before anybody had the message: it is the client's, and is not sent."""
    _write(logging.WARNING, "abandoned", message=message)


def links_left(message: str, reason: str) -> None:
    """Links too long for a token went as they came: where they lead could not be stored."""
    _write(logging.WARNING, "links-left", message=message, reason=reason)


def journaled(fact: str, reason: str) -> None:
    _write(logging.WARNING, "journaled", fact=fact, reason=reason)


def bad_fact(fact: str, reason: str) -> None:
    """A journaled fact can never be committed; it lies beside the journal, for a person to look at."""
    _write(logging.ERROR, "bad-fact", fact=fact, reason=reason)


def replay_failed(reason: str) -> None:
    """The journal must wait on. The same reason is said once a minute."""
    if log_lines.is_first_within_minute(("replay-failed", reason)):
        _write(logging.WARNING, "replay-failed", reason=reason)


def clock_set(by_s: float) -> None:
    """Somebody has set the machine's clock."""
    _write(logging.WARNING, "clock-set", by_s=round(by_s))


def unwritten(fact: str, reason: str) -> None:
    """Neither the database nor the journal takes it now; it is tried again."""
    _write(logging.ERROR, "unwritten", fact=fact, reason=reason)


def lost(fact: str, reason: str) -> None:
    """Neither the database nor the journal took it."""
    _write(logging.ERROR, "lost", fact=fact, reason=reason)


def expired(what: str, messages: int) -> None:
    _write(logging.INFO, "expired", what=what, messages=messages)


# --- the web


def bad_token(kind: str) -> None:
    _write(logging.INFO, "bad-token", kind=kind)


def signed_in(account: str) -> None:
    _write(logging.INFO, "signed-in", account=account)
