"""Figures of reports: how they become a part of the page, and text in them that stays as it is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import BytesIO, StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def style() -> Iterator[None]:
    """Text as text, and equal bytes for equal figures."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "codectk"}):
        yield


def svg(figure: Figure) -> str:
    """A figure as an element of the page; for lines."""
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()[stream.getvalue().index("<svg") :]


def webp(figure: Figure, caption: str) -> str:
    """A figure as an element of the page with a caption; for maps, which would be large as lines."""
    stream = BytesIO()
    figure.savefig(stream, format="webp", dpi=90, pil_kwargs={"lossless": True})
    return captioned(stream.getvalue(), "webp", caption)


def captioned(picture: bytes, kind: str, caption: str) -> str:
    """A file of a picture, `"png"` or `"webp"`, as an element of the page with a caption."""
    data, text = base64.b64encode(picture).decode(), escape(caption)
    return f'<figure><img src="data:image/{kind};base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def literal(text: str) -> str:
    """Text that matplotlib shows as it is, instead of reading $…$ as a formula."""
    return text.encode(errors="backslashreplace").decode().replace("$", r"\$")


def number(value: float) -> str:
    """A value in a table, also one that is tiny or huge."""
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e6 else f"{value:.4g}"
