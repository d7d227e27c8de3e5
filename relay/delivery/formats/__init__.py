"""Events in the words of those who wait for them: an occasion in, the body of a webhook's request out. All pure.

`post` chooses and signs · `reply` what the other side said · `postmark` · `sendgrid` · `mailgun`
"""
