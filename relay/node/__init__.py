"""A node: the roles of one machine, assembled and supervised.

- `server` puts a node together
- `data_directory` lock, keys, database
- `own_process` work whose memory ends with its process
- `listeners` the sockets
- `privileges` drops the privileges of root
- `supervisor` keeps the roles up
- `role` a role's process
- `event_loop` the event loop of the mail role
- `mail_role` and `web_role` what they run
- `recovery` what is done after a process died
- `maintenance` journal and retention
- `observer` metrics and alerts
- `alert_sender` looks for problems and sends alerts
- `shared_logins` logins that mail processes tell each other
- `descriptors` when file descriptors run out
- `systemd` notifications to systemd

`backup` writes an installation into one file, and `restore` brings it back. `diagnosis/` is what `waypost doctor`
looks at.
"""
