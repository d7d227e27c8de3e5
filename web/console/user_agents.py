"""A User-Agent in words that operators know: `Safari, iPhone`, `Gmail’s image proxy`. For display only; verdicts have
rules of their own.

In: the header's value.  Out: a few words, empty for what is not known. Words are only looked for, since the value is a
stranger's: the patterns of the libraries for this take long on text that is made for that.
"""

_MAX_READ = 512  # characters
# The first that is found counts: most browsers name others whom they resemble.
_PROGRAMS = (
    ("GoogleImageProxy", "Gmail’s image proxy"),
    ("YahooMailProxy", "Yahoo Mail’s image proxy"),
    ("Microsoft Outlook", "Outlook"),
    ("ms-office", "Outlook"),
    ("Outlook-iOS", "Outlook"),
    ("Outlook-Android", "Outlook"),
    ("Thunderbird/", "Thunderbird"),
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("YaBrowser/", "Yandex Browser"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome without a screen"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
    ("AppleWebKit/", "Apple Mail or an app"),
    ("Trident/", "Internet Explorer"),
    ("MSIE ", "Internet Explorer"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("python-requests/", "Python"),
    ("Python-urllib/", "Python"),
    ("python-httpx/", "Python"),
    ("Go-http-client/", "Go"),
    ("Java/", "Java"),
    ("okhttp/", "an Android or Java program"),
)
_DEVICES = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("CrOS", "Chromebook"),
    ("Linux", "Linux"),
    ("X11", "Linux"),
)


def describe_user_agent(text: str) -> str:
    """`Safari, iPhone`; empty where neither program nor device is known."""
    read = text[:_MAX_READ]
    program = next((name for word, name in _PROGRAMS if word in read), "")
    if program.endswith("proxy"):  # the device that it names is not the reader's
        return program
    device = next((name for word, name in _DEVICES if word in read), "")
    return ", ".join(filter(None, (program, device)))
