"""What people type, paste and scan: public vectors, numbers and words, changed here and there."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.vectors import EVERY, NIP19

NUMBERS = """
    0 -1 1 546 1000 20000 100000000 2100000000000000 2100000000000001 9223372036854775808 1e400000
    1e5000 NaN Infinity -Infinity 0x10 1_000 1,000 1.000 1.000,50 12.50 0.00000001 +1 ١٢٣ １２ 0.1.2
""".split()
DAYS = ["9999-12-31", "0001-01-01", "2026-02-30", "2026-11-29", "1e9-01-01", "253402300800000"]
ODD = [
    "",
    " ",
    "\u200b",
    "null",
    "bob",
    "@bob",
    "bob+tip@127.0.0.1",
    "bob@nowhere.invalid",
    "₿bob@nowhere.invalid",
    "lnurlp://[",
    "lnurlp://[::1/a",
    "keyauth://nowhere.invalid",
    "bitcoin:",
    "bitcoin:?",
    "bitcoin:?req-x",
    "lightning:",
    "http://[",
    "https://nowhere.invalid/?lightning=x",
    "../../etc/passwd",
    "%00",
    "%c0%af",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "{{ 7 * 7 }}",
    "=1+1",
    "a\r\nX-Header: 1",
    "\u202egnp.exe",
    "👩‍👩‍👧‍👦" * 20,
    "ß" * 300,
    "x" * 6000,
    "\ufeff",
    "İ",
    "ﷺ" * 100,
]
VECTORS = [text for group in [*EVERY, NIP19] for text in group.texts]


@st.composite
def changed(draw: st.DrawFn, text: str) -> str:
    """The text with something cut, doubled, put in or written in other letters."""
    at = draw(st.integers(0, len(text)))
    match draw(st.integers(0, 6)):
        case 0:
            return text[:at] + text[at + draw(st.integers(1, 5)) :]
        case 1:
            return text[:at] + text[at : at + draw(st.integers(1, 20))] + text[at:]
        case 2:
            return text[:at] + draw(st.sampled_from([*ODD, *NUMBERS])) + text[at:]
        case 3:
            return text.upper()
        case 4:
            return text[:at].upper() + text[at:]
        case 5:
            return f"{draw(st.sampled_from(['bitcoin:', 'lightning:', 'lnurlp:', ' ']))}{text}"
        case _:
            return (
                f"{text}{draw(st.sampled_from(['?amount=', '&amount=', '#', '?lightning=']))}"
                + (draw(st.sampled_from([*NUMBERS, *VECTORS])))
            )


def pasted() -> st.SearchStrategy[str]:
    """A text for any field."""
    known = st.sampled_from([*NUMBERS, *DAYS, *ODD, *VECTORS])
    return st.one_of(
        known,
        known.flatmap(changed),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    )
