"""A node: the roles of one machine, assembled and supervised.

`server` puts a node together · `data_directory` lock, keys, database · `listeners` the sockets · `privileges` of root
dropped · `supervisor` keeps the roles up · `role` a role's process · `event_loop` of the mail role · `mail_role` and
`web_role` what they run · `recovery` after a death · `maintenance` journal and retention · `observer` metrics
and alerts · `alert_sender` looks for them · `shared_logins` between mail processes · `descriptors` when they run out ·
`systemd` notifications to it

`backup` writes an installation into one file, and `restore` brings it back. `diagnosis/` is what `waypost doctor`
looks at.
"""
