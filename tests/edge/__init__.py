"""SMTP in: who may send, what is accepted, what is refused, and what floods do.

- `test_edge` who may send, and what is accepted
- `test_accounts` whom an account may send as, and in which streams
- `test_addresses` one mailbox in several spellings
- `test_client_credentials` `[access] auth = "upstream"`
- `test_password_guesses` limits on wrong passwords
- `test_refusals` refusals that are stored, and their budget
- `test_stranger_floods` the places, time and work of strangers
- `test_hanging_up` clients that hang up before the reply to the dot
- `test_withdrawal` mail that is taken back, since its client was told that it is not stored
- `test_acceptor` connections in turns of the event loop
- `test_descriptors` service while there are no file descriptors
- `hanging_up` a client that does not wait for the reply to the dot
"""
