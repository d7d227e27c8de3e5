"""SMTP out.

`intake` from an accepted message to the client's reply · `courier` one message to its recipients ·
`upstream` kept connections to a server, and which server is whose · `transaction` MAIL to the dot, with a
reply for each recipient · `sandbox` the upstream that is none · `schedule` when to try again ·
`runner` the queue, worked off · `dossier` what is written down of a message · `returns` what comes back by mail
"""
