"""A DSN with two recipients, as Postfix writes it [RFC 3464]."""

DSN = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
To: b+token@bounces.example.org
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="A/mx.example.net"

--A/mx.example.net
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered.

<ann@example.com>: host mx.example.com[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)

--A/mx.example.net
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; ann-local@mx.example.com
Original-Recipient: rfc822;ann@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 <ann@example.com>:
    User unknown

Final-Recipient: RFC822; <bob@example.com>
Action: DELAYED (temporary)
Status: 4.4.1 (no answer)

--A/mx.example.net
Content-Type: message/rfc822

Message-ID: <1234@app.example.org>
From: news@example.org
To: ann@example.com

Hello
--A/mx.example.net--
"""
