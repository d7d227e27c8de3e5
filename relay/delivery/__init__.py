"""SMTP out.

`intake` from an accepted message to the client's reply · `courier` one message to its recipients ·
`upstream` which server is whose, and whether it is tried now · `breaker` when it counts as out · `pace` its rate ·
`pool` its connections · `dial` how one is opened · `wire` replies in order · `fit` what the mail needs against what
the server offers · `transaction` MAIL to the dot, with a reply for each recipient ·
`sandbox` the upstream that is none · `schedule` when to try again ·
`logins` clients' own credentials · `runner` the queue, worked off · `dossier` what is written down of a message ·
`returns` what comes back by mail
"""
