"""What a client is answered after the dot, in inline mode.

In: how the first attempts ended.  Out: the reply: the upstream's own where it holds for all, else 250 or 451 of ours.
"""

from collections.abc import Sequence

from relay import log
from relay.reply import RefusedError, Reply, refusal
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import Outcome


def reply_to_dot(message: str, outcomes: Sequence[Outcome]) -> Reply:
    """250 if some recipients have the mail or are tried again: the rest is recorded."""
    if len(outcomes) == 1 and outcomes[0].status is Status.DELIVERED and (only := outcomes[0].attempt):
        return Reply(only.code, only.status, only.text)
    tried = [(outcome.status, outcome.attempt) for outcome in outcomes if outcome.attempt]
    if not tried and any(outcome.status is Status.EXPIRED for outcome in outcomes):
        return Reply(451, "4.4.7", "the message expired before it could be sent")
    if tried and all(status in (Status.BOUNCED, Status.EXPIRED) for status, _ in tried):
        # All failed for good: the client still has the mail, and gets the upstream's reply.
        _, first = tried[0]
        if first.code >= 400:
            return Reply(first.code, first.status, first.text)
        return Reply(451, "4.4.7", f"the message expired while the upstream was out: {first.text}")
    if tried and all(outcome.status is Status.DELIVERED for outcome in outcomes):
        _, last = tried[-1]
        return Reply(last.code, last.status, last.text)
    return Reply(250, "2.0.0", f"accepted as {message}")


def refuse_abandoned(message: str) -> RefusedError:
    """For a client that has hung up. It gets this reply if it has only closed its half of the connection."""
    log.client_hung_up(message)
    return refusal(451, "4.4.2", "you hung up, so the message was not sent")
