"""`waypost keys`: the keys that sign tracking URLs."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from relay import durable_files, key_file, sealed_keys, tokens
from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column, JsonObject
from relay.config.schema import Config
from relay.key_file import KeyFile, MasterKey
from relay.node import data_directory
from relay.operator_error import OperatorError
from relay.store.console.audit_log import AuditedChange
from relay.store.views import message_list

# What is derived from the oldest key, so that a rotation does not change it.
_OLDEST_KEY_USES = [
    "return path",
    "webhook signatures of SendGrid's format",
    "console sessions",
    "links of programs that use relay.tracking",
]


def list_keys(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    keys = data_directory.open_key_ring(config).keys
    items: list[JsonObject] = [
        {
            "id": key.id,
            "created_at": key.created,
            "signs": key is keys[-1],
            "messages": count,
            "uses": _OLDEST_KEY_USES if key is keys[0] else [],
            "revoked_at": None,
        }
        for key, count in zip(keys, _count_signed_mail(config, keys), strict=True)
    ]
    nothing = {"signs": False, "messages": 0, "uses": []}
    items += [
        {"id": gone.id, "created_at": gone.created} | nothing | {"revoked_at": gone.revoked}
        for gone in tokens.revoked_keys(config.relay.data_dir / data_directory.KEYS_FILE)
    ]
    tables.print_list(arguments, items, _COLUMNS, empty_text="")
    return 0


def _describe_uses(one: JsonObject) -> str:
    if one["revoked_at"]:
        return f"revoked {_format_time(one['revoked_at'])}"
    return ", ".join([*(["signs new mail"] if one["signs"] else []), *one["uses"]])


_COLUMNS = (
    Column("ID", lambda one: one["id"], is_number=True),
    Column("SINCE", lambda one: _format_time(one["created_at"])),
    Column("MAILS", lambda one: one["messages"], is_number=True),
    Column("USE", _describe_uses, shrinks=True),
)


def rotate_keys(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    data_directory.open_key_ring(config)  # root becomes the owner of the keys first
    try:
        key = tokens.rotate_keys(config.relay.data_dir / data_directory.KEYS_FILE)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot rotate the keys: {error}") from None
    command.add_audit_entry(config, AuditedChange("key.rotate", str(key.id)))
    output.print_line(f"key {key.id} signs from now on; links of older keys still work")
    return 0


def revoke_key(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    keys = data_directory.open_key_ring(config).keys
    key = next((one for one in keys if one.id == arguments.id), None)
    if key is None:
        raise CommandError(f"there is no key {arguments.id}; `waypost keys list` shows those that are")
    if not arguments.yes:
        count = _count_signed_mail(config, keys)[keys.index(key)]
        mails = "mail" if count is None else f"{count:,} {'mail' if count == 1 else 'mails'}"
        sys.stderr.write(_revocation_warning(key, mails, is_oldest=key is keys[0]))
        raise CommandError("nothing was revoked; say --yes")
    try:
        signing = tokens.revoke_key(config.relay.data_dir / data_directory.KEYS_FILE, key.id)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot revoke the key: {error}") from None
    command.add_audit_entry(config, AuditedChange("key.revoke", str(key.id)))
    output.print_line(f"key {key.id} is revoked; key {signing.id} signs")
    return 0


def export_keys(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    data_directory.open_key_ring(config)  # makes keys where there are none; root becomes their owner first
    contents = key_file.read_keys(config.relay.data_dir / data_directory.KEYS_FILE)
    text = sealed_keys.seal(contents, _ask_for_passphrase(is_new=True)) + "\n"
    if arguments.file == "-":
        output.print_line(text.rstrip("\n"))
        return 0
    path = Path(arguments.file)
    try:
        durable_files.write(path, text.encode())
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    output.print_line(f"wrote {path} ({_count_keys(contents)}); on the other machine: waypost keys import {path.name}")
    return 0


def import_keys(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    try:
        with Path(arguments.file).open("rb") as file:
            text = file.read(sealed_keys.MAX_OCTETS).decode("utf-8", "replace")
        given = sealed_keys.unseal(text, _ask_for_passphrase(is_new=False))
        data_directory.become_owner(config)
        path = config.relay.data_dir / data_directory.KEYS_FILE
        here = key_file.read_keys(path) if path.exists() else None
        if here and (loss := _describe_loss(here, given)):
            if not arguments.replace:
                raise CommandError(f"{loss}. If that is meant, say --replace")
            aside = path.with_name(f"keys-replaced-{key_file.current_second():%Y%m%dT%H%M%S}.json")
            key_file.write_keys(aside, here)
            output.print_line(f"the keys that were here are in {aside}")
        key_file.write_keys(path, given)
    except sealed_keys.SealedKeysError as error:
        raise CommandError(f"{arguments.file}: {error}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"cannot import {arguments.file}: {reason}") from None
    if config.database.url.get_secret_value() or (config.relay.data_dir / data_directory.DATABASE_FILE).exists():
        command.add_audit_entry(config, AuditedChange("key.import"), len(given.keys))
    output.print_line(f"imported {_count_keys(given)}; key {given.keys[-1].id} signs")
    return 0


def _describe_loss(current: KeyFile, imported: KeyFile) -> str:
    """What would be lost by an import; empty if it only adds keys."""
    if lost := [key for key in current.keys if key not in imported.keys]:
        return f"key {lost[0].id} of {_format_time(lost[0].created)} is here and not in the file: its links would end"
    revoked = {(key.id, key.created) for key in current.revoked}
    if back := [key for key in imported.keys if (key.id, key.created) in revoked]:
        return f"key {back[0].id} of {_format_time(back[0].created)} was revoked here, and would be back"
    return ""


def _ask_for_passphrase(*, is_new: bool) -> str:
    passphrase = command.ask_for_secret("Passphrase: ")
    if is_new and sys.stdin.isatty() and command.ask_for_secret("Again: ") != passphrase:
        raise CommandError("the passphrases differ")
    if len(passphrase) < sealed_keys.MIN_PASSPHRASE:
        raise CommandError(f"the passphrase needs {sealed_keys.MIN_PASSPHRASE} characters or more")
    return passphrase


def _count_keys(contents: KeyFile) -> str:
    return "1 key" if len(contents.keys) == 1 else f"{len(contents.keys)} keys"


def _revocation_warning(key: MasterKey, mails: str, *, is_oldest: bool) -> str:
    lines = [
        f"Key {key.id}, of {_format_time(key.created)}. Without it:",
        f"- links in {mails} that it signed lead to a page that says so (404), and so do those to unsubscribe;",
        "  opens and clicks of that mail are not counted any more.",
    ]
    if is_oldest:
        lines += [
            "- bounces and complaints of mail sent so far are refused (550): the oldest key signs the return path.",
            "- webhooks in SendGrid's format get another signing key: give their receivers the new public key.",
            "- links that programs made with relay.tracking and this key ring are dead; sign in to the console again.",
            "Pseudonyms stay as they are, so that people who unsubscribed get no mail: their key cannot be replaced.",
        ]
    return "\n".join(lines) + "\n"


def _count_signed_mail(config: Config, keys: tuple[MasterKey, ...]) -> Sequence[int | None]:
    """How many stored messages each key signed; None while the database is away."""
    revoked = tokens.revoked_keys(config.relay.data_dir / data_directory.KEYS_FILE)
    made = sorted([*(key.created for key in keys), *(key.created for key in revoked)])
    try:
        with command.open_store(config, reads=True) as store, store.connect() as connection:
            counts: list[int | None] = []
            for key in keys:
                start = key.created if key.created > made[0] else None
                end = next((at for at in made if at > key.created), None)
                counts.append(message_list.count_accepted(connection, start, end))
    except (OperatorError, sa.exc.SQLAlchemyError):
        return [None] * len(keys)  # the keys are asked for while the database is away
    return counts


def _format_time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
