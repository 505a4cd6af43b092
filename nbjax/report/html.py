"""Pages from templates, each one file that needs no other: styles, scripts and pictures lie in it."""

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from nbjax.files import replacing
from nbjax.report.drawing import Drawn
from nbjax.spreadsheet import write_csv

HERE = Path(__file__).parent
# A flag as it is typed, without the sentence's own punctuation.
FLAG = re.compile(r"(?<![\w-])(--[a-z]\S*?)(?=[.,;:)]*(?:\s|$))")


def render(template: str, context: Mapping[str, Any]) -> str:
    """A page of one of this folder's templates; `css` and `js` are added to what it is given.

    Whatever stands in the context is shown as text and never run.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["tied"] = tied
    shared = {name: markupsafe.Markup((HERE / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return environment.get_template(template).render(**shared, **context)


def tied(sentence: str) -> markupsafe.Markup:
    """Ties a number to its per cent sign and a mean to its spread, and sets a flag as code, so that no line breaks in
    them.
    """
    # Every second part is a flag.
    parts = FLAG.split(sentence.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0"))
    code = markupsafe.Markup("<code>{}</code>")
    return markupsafe.Markup("").join(code.format(part) if number % 2 else part for number, part in enumerate(parts))


def as_text(picture: Path) -> str:
    """A PNG file as base64 text for a page."""
    return base64.b64encode(picture.read_bytes()).decode()


def save(drawn: Drawn, stem: Path) -> str:
    """Writes a figure's PNG and its numbers as CSV, and returns the PNG as base64 text for a page."""
    file = io.BytesIO()
    drawn.figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
    with replacing(stem.with_suffix(".png")) as temporary:
        temporary.write_bytes(file.getvalue())
    if drawn.numbers is not None:
        write_csv(drawn.numbers, stem.with_suffix(".csv"))
    return base64.b64encode(file.getvalue()).decode()
