"""What the server logs: one function for each fact, with stable keys; no message text, no secrets, no addresses.

docs/log-facts.md has a row for each fact, and a test compares the two. `process_log` has the facts of the processes,
and `log_lines` writes the lines.
"""

import logging
import sys

from relay import log_lines, metrics

_write = log_lines.write_line
start_logging = log_lines.start_logging
add_to_lines = log_lines.add_to_lines


# --- mail in


def refused(ip: str, code: int, status: str, text: str) -> None:
    _write(logging.INFO, "refused", ip=ip, code=code, status=status, text=text)


def refused_again(ip: str, count: int) -> None:
    """A connection has ended. It had that many more refusals with the same code and status."""
    _write(logging.INFO, "refused-again", ip=ip, count=count)


def login_failed(door: str, ip: str) -> None:
    """A wrong name, password or key at `smtp`, `console` or `api`. The filter in docs/fail2ban matches this line."""
    metrics.login_failed(door)
    _write(logging.WARNING, "login-failed", ip=ip, door=door)


def proxy_refused(ip: str, reason: str) -> None:
    """A connection to a listener with `proxy_protocol` sent no PROXY header, or may not send one."""
    _write(logging.WARNING, "proxy-refused", ip=ip, reason=reason)


def certificate_renewed(listener: str) -> None:
    _write(logging.INFO, "certificate-renewed", listener=listener)


def certificate_unusable(listener: str, reason: str) -> None:
    """The certificate's files have changed and cannot be used; the earlier certificate stays in use."""
    _write(logging.ERROR, "certificate-unusable", listener=listener, reason=reason)


def accepted(message: str, recipients: int, octets: int, mode: str) -> None:
    _write(logging.INFO, "accepted", message=message, recipients=recipients, octets=octets, mode=mode)


def fault(where: str, fault_id: str) -> None:
    """An error of ours that is being handled; its traceback once a minute. `fault_id` is of the reply, page or item."""
    metrics.fault(where)
    error = sys.exc_info()[1]
    name, place = type(error).__name__, log_lines.find_place(error)
    is_new = log_lines.is_first_within_minute((where, place, name))
    trace = log_lines.format_error(error) if is_new else ""
    log_lines.write_fault(trace, "fault", where=where, id=fault_id, error=name, place=place)


def fault_trace(where: str, fault_id: str, trace: str) -> None:
    """An error of ours that was handled without the log, for example in another process: its traceback."""
    metrics.fault(where)
    is_new = log_lines.is_first_within_minute((where, trace))
    log_lines.write_fault(trace if is_new else "", "fault", where=where, id=fault_id)


def report_abandoned(octets: int, reason: str, status: int | None) -> None:
    """A report exceeded the time or memory for reading. `status`: of the process that read it, or minus its signal."""
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
    """`reason`, in our own words, if no reply came; `uncertain` if the mail may have arrived."""
    where = {"message": message, "number": number, "upstream": upstream, "phase": phase}
    more = ({"reason": reason} if reason else {}) | ({"uncertain": "true"} if uncertain else {})
    _write(logging.WARNING, "failed", **where, code=code, status=status, outcome=outcome, **more)


def lease_lost(message: str, deliveries: int) -> None:
    """This process was suspended for longer than its lease; another one has the deliveries, and sends them."""
    _write(logging.WARNING, "lease-lost", message=message, deliveries=deliveries)


def upstream_out(upstream: str, phase: str, code: int, status: str, reason: str) -> None:
    """Nothing is sent to the upstream until a probe succeeds; its mail waits or goes to the next upstream."""
    more = {"reason": reason} if reason else {}
    _write(logging.ERROR, "upstream-out", upstream=upstream, phase=phase, code=code, status=status, **more)


def upstream_slow(upstream: str, silent: int, connections: int, for_s: float) -> None:
    _write(logging.WARNING, "upstream-slow", upstream=upstream, silent=silent, connections=connections, for_s=for_s)


def upstream_back(upstream: str) -> None:
    _write(logging.WARNING, "upstream-back", upstream=upstream)


def not_signed(message: str, domain: str, reason: str) -> None:
    """The mail should have had a DKIM signature; it was sent without."""
    _write(logging.ERROR, "not-signed", message=message, domain=domain, reason=reason)


def suppression_overridden(message: str, number: int, reason: str) -> None:
    """The address is suppressed, and the app, which may override that, had the mail sent nevertheless."""
    _write(logging.WARNING, "suppression-overridden", message=message, number=number, reason=reason)


def suppressed(message: str, number: int, reason: str) -> None:
    _write(logging.INFO, "suppressed", message=message, number=number, reason=reason)


def dsn_queued(message: str, recipients: int) -> None:
    """A DSN to the message's reverse-path was put into the queue."""
    _write(logging.INFO, "dsn-queued", message=message, recipients=recipients)


def delivery_parked(message: str, number: int, crashes: int) -> None:
    """Processes died during the attempts of this delivery: it is not tried again before an operator retries it."""
    _write(logging.ERROR, "delivery-parked", message=message, number=number, crashes=crashes)


# --- what comes back


def late_report(message: str, number: int, event: str, source: str, is_new: bool) -> None:
    """A report by mail changed a delivery; `new` is False if that was known already."""
    _write(logging.INFO, "late-report", message=message, number=number, event=event, source=source, new=is_new)


def report_ignored(message: str, number: int, kind: str) -> None:
    """Mail to the return path that is no report about a delivery: an automatic reply, or a mail by a person."""
    _write(logging.INFO, "report-ignored", message=message, number=number, kind=kind)


def provider_events(provider: str, taken: int, known: int, unknown: int) -> None:
    """A provider's webhook: how many events were new, changed nothing, or were about no mail of ours."""
    _write(logging.INFO, "provider-events", provider=provider, taken=taken, known=known, unknown=unknown)


def provider_events_refused(provider: str, reason: str) -> None:
    """A provider's webhook, or some events in it, could not be accepted."""
    _write(logging.WARNING, "provider-events-refused", provider=provider, reason=reason)


# --- webhooks


def webhook_failing(webhook: str, event: str, reason: object) -> None:
    _write(logging.WARNING, "webhook-failing", webhook=webhook, event=event, reason=reason)


def webhook_back(webhook: str) -> None:
    _write(logging.INFO, "webhook-back", webhook=webhook)


def webhook_gave_up(webhook: str, event: str, reason: object) -> None:
    """An event was tried for a day, or refused for good; `waypost webhooks replay` sends it again."""
    _write(logging.ERROR, "webhook-gave-up", webhook=webhook, event=event, reason=reason)


def webhook_disabled(webhook: str, reason: str) -> None:
    _write(logging.ERROR, "webhook-disabled", webhook=webhook, reason=reason)


# --- the store


def database_unavailable(reason: str) -> None:
    """The database or the disk fails; mail is sent nevertheless. Logged once a minute for each reason."""
    if log_lines.is_first_within_minute(("database-unavailable", reason)):
        _write(logging.WARNING, "database-unavailable", reason=reason)


def database_damaged(path: str, reason: str) -> None:
    """The SQLite file is damaged: this process commits nothing to it any more. Logged once for each file."""
    remedy = "stop the server, put a backup in the file's place, delete its -wal and -shm, start"
    _write(logging.CRITICAL, "database-damaged", path=path, reason=reason, remedy=remedy)


def not_stored(message: str, reason: str) -> None:
    _write(logging.ERROR, "not-stored", message=message, reason=reason)


def client_hung_up(message: str) -> None:
    """The client hung up before the message was stored or sent: it still has the message, which is not sent."""
    _write(logging.WARNING, "client-hung-up", message=message)


def long_links_untracked(message: str, reason: str) -> None:
    """Links too long for a token are not tracked, because their URLs could not be stored."""
    _write(logging.WARNING, "long-links-untracked", message=message, reason=reason)


def fact_journaled(fact: str, reason: str) -> None:
    """The database did not take a fact; it is in the journal, and is committed later."""
    _write(logging.WARNING, "fact-journaled", kind=fact, reason=reason)


def journal_line_invalid(fact: str, reason: str) -> None:
    """A journaled fact can never be committed; it is moved to a file beside the journal, for an operator."""
    _write(logging.ERROR, "journal-line-invalid", kind=fact, reason=reason)


def replay_failed(reason: str) -> None:
    """The journal could not be replayed and waits. Logged once a minute for each reason."""
    if log_lines.is_first_within_minute(("replay-failed", reason)):
        _write(logging.WARNING, "replay-failed", reason=reason)


def clock_set(by_s: float) -> None:
    _write(logging.WARNING, "clock-set", by_s=round(by_s))


def fact_waiting(fact: str, reason: str) -> None:
    """Neither the database nor the journal took a fact; it is tried again."""
    _write(logging.ERROR, "fact-waiting", kind=fact, reason=reason)


def fact_lost(fact: str, reason: str) -> None:
    """Neither the database nor the journal took a fact, and it is not tried again."""
    _write(logging.ERROR, "fact-lost", kind=fact, reason=reason)


def data_deleted(kind: str, count: int) -> None:
    """Retention deleted data that is older than `[privacy]` keeps it."""
    _write(logging.INFO, "data-deleted", kind=kind, count=count)


def partition_made(name: str) -> None:
    _write(logging.INFO, "partition-made", name=name)


def partition_dropped(name: str, rows: int) -> None:
    """Retention dropped a month's partition. `rows`: about how many it had."""
    _write(logging.INFO, "partition-dropped", name=name, rows=rows)


# --- the web


def bad_token(kind: str) -> None:
    _write(logging.INFO, "bad-token", kind=kind)


def sign_in_refused(door: str, ip: str, reason: str) -> None:
    """A sign-in by an OpenID provider (`oidc`) failed. `reason`: `unavailable`, `no_role`, `name_taken` (by another
    account), or the name of the error for which its answer cannot be believed."""
    _write(logging.WARNING, "sign-in-refused", ip=ip, door=door, reason=reason)


def signed_in(account: str) -> None:
    _write(logging.INFO, "signed-in", account=account)


def changed(door: str, by: str, action: str, target: str, count: int) -> None:
    """A change through the console or the API, as the audit log has it; `count`: how many things were changed."""
    _write(logging.INFO, "changed", door=door, by=by, action=action, target=target, count=count)
