"""The mail role: edge, delivery and queue of one process, put together."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from functools import partial

from relay import telemetry, tokens
from relay.config.schema import Config
from relay.delivery.client_credentials import Logins
from relay.delivery.dispatch import Dispatcher, Sender
from relay.delivery.dsn_sender import DsnSender
from relay.delivery.intake import Intake
from relay.delivery.queue_worker import QueueWorker
from relay.delivery.return_path_mail import ReturnPathMail
from relay.delivery.sandbox import Sandbox
from relay.delivery.smtp.failover import Upstreams
from relay.delivery.traced_sender import TracedSender
from relay.edge.server import Edge
from relay.envelope import Login
from relay.node import data_directory, descriptors, maintenance
from relay.node.observer import Observer
from relay.node.shared_logins import LoginChannel
from relay.store.database import notifications
from relay.store.upstream_states import ReportedState

_SANDBOX_CONNECTIONS = 20  # so much mail is on its way at once where there are no connections


async def serve(
    config: Config,
    sockets: Sequence[socket.socket],
    ready: asyncio.Event,
    stop: asyncio.Event,
    channel: LoginChannel,
    observer: Observer | None = None,
) -> None:
    """Serves mail on the sockets until `stop`, then drains: transactions end, leases go back."""
    descriptors.report_shortage(asyncio.get_running_loop())
    telemetry.start(config)
    store = data_directory.open_store(config)
    sender: Sender = (
        Sandbox()
        if config.is_sandbox
        else Upstreams(config.upstream, config.relay.hostname, processes=config.relay.workers)
    )
    ring = data_directory.open_key_ring(config)
    minter = tokens.Minter(ring, config.tracking.public_url, config.privacy.has_recipient_tokens)
    logins = Logins(sender) if isinstance(sender, Upstreams) and config.access.auth == "upstream" else None
    dispatcher = Dispatcher(
        config, store, TracedSender(sender) if config.telemetry.endpoint else sender, minter, logins=logins
    )
    # This process's share, as an upstream counts it.
    connections = sum(max(1, one.connections // config.relay.workers) for one in config.upstream)
    worker = QueueWorker(store, dispatcher, max_unrecorded=connections or _SANDBOX_CONNECTIONS)
    intake = Intake(config, store, dispatcher, worker, ring)

    async def log_in(name: str, password: str) -> None:
        if logins and await logins.log_in(name, password):
            worker.resume(name)
            channel.broadcast([Login(name, password)])

    def add(login: Login) -> None:
        if logins:
            logins.add(login)
            worker.resume(login.username)

    reports = ReturnPathMail(config, store, ring) if config.bounces.return_path else None
    accept = telemetry.trace_messages(intake.accept_message)
    edge = Edge(config, accept, intake.check_recipient, log_in if logins else None, return_path=reports)
    # Facts that an earlier process journaled are committed first, so that no mail is sent twice.
    await maintenance.replay_once(store)
    if logins:
        channel.listen(logins.all_logins, add)
    edge.start(sockets)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, edge.reload_certificates)
    notices = DsnSender(config, store, worker.wake)

    def look() -> None:
        worker.wake()
        notices.wake()

    store.listener.wakes[notifications.QUEUE] = look
    tasks = [
        asyncio.create_task(store.listener.run()),
        asyncio.create_task(worker.run()),
        asyncio.create_task(worker.lease_renewal.run()),
        asyncio.create_task(notices.run()),
        asyncio.create_task(maintenance.run_replay(store)),
        asyncio.create_task(maintenance.run_retention(store, config, worker.name)),
        asyncio.create_task(maintenance.run_checkpoints(store)),
        asyncio.create_task(maintenance.run_folding(store)),
        asyncio.create_task(maintenance.run_analysis(store)),
        asyncio.create_task(maintenance.run_refusal_log(store, edge.refusals.take)),
    ]
    if isinstance(sender, Upstreams):
        states = partial(_reported_states, sender)
        tasks.append(
            asyncio.create_task(maintenance.run_upstream_reports(store, worker.name, states, sender.apply_peer_report))
        )
    async with observer.observe(store) if observer else contextlib.nullcontext():
        ready.set()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    failed = not stop.is_set()  # one of the tasks that run until the stop has ended by itself
    stopping.cancel()
    end = asyncio.get_running_loop().time() + config.relay.drain.total_seconds()

    def left_s() -> float:
        return max(0.0, end - asyncio.get_running_loop().time())

    await edge.drain(left_s())
    await asyncio.gather(intake.drain(left_s()), worker.drain(left_s()))
    await worker.release_leases()  # after both, and also those of what is still under way
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(sender, Upstreams):
        await maintenance.withdraw_upstream_reports(store, worker.name)
    await sender.close()
    if reports:
        await reports.close()
    await asyncio.to_thread(store.close)
    await asyncio.to_thread(telemetry.stop)
    if failed:
        raise RuntimeError("a task of the mail role has ended by itself")


def _reported_states(upstreams: Upstreams) -> list[ReportedState]:
    return [
        ReportedState(
            one.name,
            one.down_since,
            one.fault if one.is_down else "",
            one.in_use,
            one.idle,
            one.waiting,
            one.connected_at,
        )
        for one in upstreams.statuses()
    ]
