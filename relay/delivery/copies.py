"""Render the copies of a message for its recipients, off the event loop where that takes long."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from relay import log
from relay.config.schema import Config
from relay.delivery.attempts import LoadedMessage, PendingRecipient
from relay.delivery.smtp.negotiation import BadLineEndError
from relay.mime import line_ends
from relay.rewrite import dkim
from relay.tokens import Minter

_OFF_LOOP = 1 << 15  # octets from which rendering goes to a thread,
_MANY_LINKS = 100  # and links: each is a token, and copies for many recipients are made right after one another


class CopyRenderer:
    """Makes the octets that are sent to a recipient."""

    def __init__(self, config: Config, minter: Minter) -> None:
        self._minter = minter
        self._signer = dkim.Signer(config.dkim.key)
        # One: several would take the interpreter in turns, and the event loop would wait for each of them.
        self._threads = ThreadPoolExecutor(1, "render")

    async def render(self, loaded: LoadedMessage, target: PendingRecipient, tracked: bool, seven_bit: bool) -> bytes:
        """The copy for that recipient. Raises BadLineEndError, and NotConvertibleError if `seven_bit` is impossible."""
        is_much = len(loaded.octets) > _OFF_LOOP or len(loaded.plan.links) > _MANY_LINKS
        if is_much or loaded.plan.dkim:  # an RSA signature takes about a millisecond
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._render, loaded, target, tracked, seven_bit)
        return self._render(loaded, target, tracked, seven_bit)

    def _render(self, loaded: LoadedMessage, target: PendingRecipient, tracked: bool, seven_bit: bool) -> bytes:
        mint = self._minter.url_factory(loaded.message.id, target.number)

        def sign(octets: bytes, domain: str) -> bytes:
            try:
                return self._signer.as_of(loaded.message.accepted_at)(octets, domain)
            except Exception as error:
                if not isinstance(error, dkim.NoKeyError):
                    log.fault("dkim", loaded.message.id)
                log.not_signed(loaded.message.id, domain, type(error).__name__)
                raise

        copy = loaded.plan.render(loaded.octets, mint, tracked=tracked, sign=sign, seven_bit=seven_bit)
        if not line_ends.still_has_only_crlf(copy, loaded.octets, loaded.plan.changed_to):
            raise BadLineEndError
        return copy
