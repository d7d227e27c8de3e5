"""A node: the roles of one machine, assembled and supervised.

`server` puts it together · `listeners` its sockets · `privileges` root's rights, and how they end ·
`supervisor` starts a process for each and keeps it up · `role` what such a process is ·
`mail` the SMTP side · `pages` the HTTP side · `chores` what every role does now and then ·
`recovery` what a dead process leaves behind · `ground` the data directory: locks, keys, database ·
`systemd` what the service manager is told
"""
