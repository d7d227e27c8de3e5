"""What a person's mail program calls itself."""

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
PHONE_FIELDS = {"User-Agent": PHONE}
