"""`waypost backup` and `waypost restore`: the installation in one file."""

import argparse
from pathlib import Path

from relay.cli import command, output
from relay.node import backup, restore
from relay.store.console.audit_log import AuditedChange


def write_backup(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    target = Path(arguments.file)
    if target.is_dir():
        raise command.CommandError(f"{target} is a folder; name a file, such as {target / 'waypost.tar.gz'}")
    with output.show_progress("database") as progress:
        manifest = backup.write_backup(config, target, progress)
    output.print_line(f"wrote {target} ({output.format_size(target.stat().st_size)})")
    command.add_audit_entry(config, AuditedChange("backup.write", target.name))
    if manifest.database != "sqlite":
        output.print_line("the database is not in it: run   pg_dump --format=custom --file=waypost.dump   after this")
    return 0


def restore_backup(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with output.show_progress("restore") as progress:
        done = restore.restore_backup(config, Path(arguments.file), replaces=arguments.replace, progress=progress)
    about = done.manifest
    if about.database == "sqlite":  # else the restored database is not there yet
        made = f"made {about.made_at:%Y-%m-%d %H:%M} UTC"
        command.add_audit_entry(config, AuditedChange("backup.restore", Path(arguments.file).name, detail=made))
    output.print_line(f"restored the backup of {about.made_at:%Y-%m-%d %H:%M} UTC into {config.relay.data_dir}")
    if done.replaced:
        output.print_line(f"what was there is in {done.replaced}; delete it when you are sure")
    if about.database != "sqlite":
        output.print_line("the database is not in it: restore that with pg_restore before the start")
    output.print_line(
        "Mail that waited then is attempted again, also what was delivered since: look at `waypost queue list` "
        "before the start"
    )
    return 0
