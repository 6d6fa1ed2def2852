"""`python -m tests.doors` writes docs/doors.md anew."""

from tests.doors.page import PAGE, page

PAGE.write_text(page())
