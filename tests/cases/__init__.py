"""Golden mails: `NAME.eml`, and what must become of it in `NAME.expect.json`; README.md says how to add one."""

from pathlib import Path

_HERE = Path(__file__).parent
_SHARED = (
    Path(__file__).parents[2].parent / "shared" / "cases"
)  # others of this form, where they lie beside the checkout

ALL = sorted([*_HERE.glob("*.eml"), *_SHARED.glob("*.eml")])
