"""A node: the roles of one machine, assembled and supervised.

`server` prepares the data, binds the sockets, names the roles ·
`supervisor` starts a process for each and keeps it up · `role` what such a process is ·
`mail` the SMTP side · `pages` the HTTP side · `chores` what every role does now and then ·
`recovery` what a dead process leaves behind · `ground` the data directory: locks, keys, database ·
`systemd` what the service manager is told
"""
