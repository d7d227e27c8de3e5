"""The formats of our requests to a webhook: the one list of them.

`[[webhook]] format`, the API, the command line and the console take these names.
"""

from typing import Literal, get_args

WebhookFormat = Literal["waypost", "postmark", "sendgrid", "mailgun"]
FORMATS: tuple[WebhookFormat, ...] = get_args(WebhookFormat)
WAYPOST, POSTMARK, SENDGRID, MAILGUN = FORMATS
TITLES: dict[WebhookFormat, str] = {
    WAYPOST: "Waypost",
    POSTMARK: "Postmark",
    SENDGRID: "SendGrid",
    MAILGUN: "Mailgun",
}
SIGNED_WITH_SECRET = (WAYPOST, MAILGUN)  # the others can do without one
