"""What a report says of one recipient, and our verdict on it.

In: an address, an action, a status and the diagnostic as the report has them.  Out: a RecipientReport with the verdict
of `relay.bounce.classify`.  RFC 3464 §2.3, RFC 6533 §3.
"""

import re
from typing import NamedTuple

import relay.reply
from relay.bounce import classify, reply_lines
from relay.bounce.classify import BounceKind, Phase, Verdict
from relay.reply import Reply

# Letters that stand next to an address without a space between: Chinese, Japanese and Korean run on.
_RUN_ON = r"\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_ATEXT = rf"(?:(?![{_RUN_ON}])[\w!#$%&'*+/=?^`{{|}}~.-])"
# Bounded on both sides of the @, so that a search through a long line of letters stays linear.
_DOMAIN = rf"(?:(?:(?!-)(?:(?![{_RUN_ON}])[\w-]){{1,63}}\.){{0,10}}(?:(?![{_RUN_ON}])[\w-]){{1,63}}|\[[\d.]{{7,15}}\])"
ADDRESS = re.compile(
    # Behind letters of any script, else each of a long line would be a start.
    rf"(?:(?<![\w.!#$%&'*+/=?^`{{|}}~@-])|(?<=[{_RUN_ON}]))(?:(?i:smtp|rfc822)=|')?"
    rf"(?P<address>(?!['=])(?:\"[^\"\n@]{{1,64}}\"|{_ATEXT}{{1,128}})@{_DOMAIN}"
    # In brackets there is no doubt where it ends, in any script.
    r"|(?<=<)[^\s<>@\"():]{1,128}@[^\s<>@\"()]{1,255}(?=>))"
)
MAX_TEXT = 2000  # characters of a diagnostic that are kept

FAILED, DELAYED = "failed", "delayed"
# Exim puts why it gave up behind why it failed.
_GAVE_UP = re.compile(r"(?<=\w): ?retry time(?:out| not reached) [^\n]{0,80}", re.IGNORECASE)
# Rules by which a verdict rests on no word of the text.
UNINFORMATIVE_RULES = ("class.", "code.")
_NO_FAILURE = Verdict(BounceKind.NONE, "accepted", "report.no_failure", False, False, "")

# What a report says of the command that was answered; without a word of it we take RCPT.
_PHASES = (
    (
        Phase.DOT,
        re.compile(r"end of (?:the )?data|after (?:the )?(?:end of data|message body)|final dot|pipelined data"),
    ),
    (
        Phase.MAIL,
        re.compile(r"(?:reply to|after|in response to|response to) (?:the )?(?:pipelined )?mail(?: from| command)"),
    ),
    (Phase.DATA, re.compile(r"(?:reply to|after|in response to|response to) (?:the )?(?:pipelined )?data\b")),
    (Phase.HELO, re.compile(r"(?:reply to|after|in response to) (?:the )?(?:helo|ehlo|lhlo)\b")),
)


# Sendmail's transcript of a session: a command, and on the next line the refusal.
_TRANSCRIPT = re.compile(r"^>>> (mail|ehlo|helo|rcpt|data)\b[^\n]*+\n<<< [45]", re.MULTILINE)
_COMMANDS = {"mail": Phase.MAIL, "ehlo": Phase.HELO, "helo": Phase.HELO}
# A reply of 4yz or 5yz, the surest sign first: with an enhanced status, at a line's start, behind "said:" and the like.
_REPLIES = tuple(
    re.compile(pattern, re.MULTILINE | re.IGNORECASE)
    for pattern in (
        r"(?<![\w.@#/-])([45][0-9]{2})[ -]#?[45]\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.])",
        r"^[\W_]{0,8}([45][0-9]{2})(?=[ :-]\D|-?$)",
        r"(?:said|says|reply|response|error|code|with|smtp|was|returned|status|reason)\W{1,4}([45][0-9]{2})(?![\w./])",
        r"[:;=(\"'>«“\[]\s*+([45][0-9]{2})(?=[ -]\D)",
        r"(?<![\w.@#/:-])(5[0-57][0-9])(?= [A-Za-z<\[#])",
    )
)


class RecipientReport(NamedTuple):
    """One recipient of a report, whatever the action was.

    `recipient`: the address that was mailed, as far as the report says; `original`: what Original-Recipient names;
    `action`: failed, delayed, delivered, relayed, expanded or, in a complaint, `""`; `code`: 0 if there was none;
    `text`: the diagnostic, on one line; `remote`: the host that gave it.
    """

    recipient: str
    action: str
    status: str
    code: int
    text: str
    remote: str
    original: str
    verdict: Verdict

    @property
    def text_without_code(self) -> str:
        """The text without the code and the status that it may begin with: those have fields of their own."""
        text = self.text
        for number in (str(self.code), self.status):
            if text.startswith(number) and text[len(number) : len(number) + 1] in ("", " ", "-"):
                text = text[len(number) + 1 :].lstrip()
        return text or self.text


def judge_recipient(
    recipient: str,
    action: str,
    status: str,
    diagnostic: str,
    context: tuple[str, ...] = (),
    remote: str = "",
    original: str = "",
    phase: Phase | None = None,
) -> RecipientReport:
    """The report with its verdict. `diagnostic` may hold a reply anywhere, over several lines or none; where it
    explains nothing, the texts of `context` may, the nearest first. `phase`: what was answered, unless `diagnostic`
    says it."""
    diagnostic = _GAVE_UP.sub("", diagnostic[: 4 * MAX_TEXT])
    text = " ".join(diagnostic.split())[:MAX_TEXT]
    reply = _find_reply(diagnostic)
    reply_status = reply.status or classify.find_status(reply.text)
    answered = find_phase(text) or phase or Phase.RCPT
    verdict = _judge_reply(action, status, reply, answered)
    # One text at a time: put together, the end of one and the beginning of the next could make a phrase.
    for wider in context if verdict.rule.startswith(UNINFORMATIVE_RULES) else ():
        by_context = _judge_reply(action, status, Reply(reply.code, reply.status, wider), answered)
        if not by_context.rule.startswith(UNINFORMATIVE_RULES):
            verdict = by_context
            break
    return RecipientReport(recipient, action, status or reply_status, reply.code, text, remote, original, verdict)


def _find_reply(text: str) -> Reply:
    """The refusal in the text, with all that follows it; code 0 if there is none."""
    match = next((match for pattern in _REPLIES if (match := pattern.search(text))), None)
    if not match:
        return relay.reply.parse_reply(0, text)
    # "ResponseCode 421, , Host not reachable"
    code, rest = match[1], text[match.end(1) :]
    _, reply = reply_lines.parse_reply_line(
        code + (rest if rest[:1] in " -:\n" else " " + rest.lstrip(",;.)]} ")), Phase.RCPT
    )
    return reply


def _judge_reply(action: str, status: str, reply: Reply, phase: Phase) -> Verdict:
    if action not in (FAILED, DELAYED):
        return _NO_FAILURE._replace(status=status)
    code = reply.code
    if action == DELAYED:
        # The host still tries: nothing is final, whatever its last reply was.
        code = 450
    elif not 400 <= code < 700:
        # A status alone carries the class; a failure without either is final all the same.
        code = 450 if (status or reply.status).startswith("4") else 550
    # A status of the reply is the receiver's own; the field's may be the reporting host's guess.
    best_status = reply.status if reply.status and not reply.status.endswith(".0.0") else status or reply.status
    return classify.classify_reply(Reply(code, best_status, reply.text), phase)


def find_phase(text: str) -> Phase | None:
    """The command that was answered, by the words or the transcript in the text; None if it has neither."""
    lower = " ".join(text.lower().split())  # Postfix breaks the line within "in reply to MAIL FROM"
    if named_phase := next((phase for phase, pattern in _PHASES if pattern.search(lower)), None):
        return named_phase
    return find_transcript_phase(text)


def find_transcript_phase(text: str) -> Phase | None:
    """The command that was answered, if a transcript shows but one; it is the same for all recipients then."""
    answered = {found[1] for found in _TRANSCRIPT.finditer(text.lower())}
    return _COMMANDS.get(answered.pop()) if len(answered) == 1 else None


def find_addresses(text: str) -> list[str]:
    """The addresses in a text, in order."""
    return [match["address"].rstrip(".") for match in ADDRESS.finditer(text)]
