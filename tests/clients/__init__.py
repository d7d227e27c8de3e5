"""Programs that send mail, each through Waypost as its users would set it up.

- `test_libraries` smtplib, aiosmtplib and Django's backend
- `test_programs` swaks, msmtp, curl, Nodemailer, and Postfix as a satellite
- `shop` the server that all of them send to
- `conftest` that server as a fixture, and the upstream behind it
"""
