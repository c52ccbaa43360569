"""HTML pages from jinja2 templates. Every value is escaped.

A page is one file whose images are data URIs. Its content security policy allows only the style and the script of
the template, by their hashes, and loads nothing else.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mvp_data.core.errors import OutputError

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MAX_PAGE_BYTES = 200 << 20  # larger pages are slow in browsers; about 120 puzzles of 796x448 px


def write_html(file: IO[bytes], package: str, name: str, parts: Iterable[str], *, limit: int, **values: Any) -> int:
    """Write the page of the template `name` in `package`; return the number of `parts` on it.

    The template gets `values`, its content security policy as `policy`, and `parts` one by one. A page that would
    exceed `limit` bytes gets fewer parts, but at least one.
    """
    template = _template(package, name)
    written, size = 0, len(_encoded(template.render(parts=(), **values)))

    def fitting() -> Iterator[str]:
        nonlocal written, size
        for part in parts:
            size += len(_encoded(part)) + 1  # plus a separator
            if written and size > limit:
                return
            yield part
            written += 1

    for piece in template.generate(parts=fitting(), **values):
        file.write(_encoded(piece))
    return written


def render(package: str, name: str, **values: Any) -> "Markup":
    """Render the template `name` in `package`: all values except `Markup` are escaped; a missing value is an error."""
    from markupsafe import Markup

    return Markup(_template(package, name).render(**values))


def page_json(value: object) -> "Markup":
    """JSON in ASCII for a script element; it cannot end that element."""
    from markupsafe import Markup

    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def check_free(page: Path, mark: bytes) -> None:
    """Raise `OutputError` if `page` exists, unless it begins with `mark`: then it is an older page of the same kind."""
    if not page.exists():
        return
    if page.is_file():
        with page.open("rb") as file:
            if file.read(len(mark)) == mark:
                return
    maker = mark.partition(b"a page of ")[2].removesuffix(b" -->").decode()
    raise OutputError(f"{page}: exists and was not written by {maker}: choose another name")


@cache
def _template(package: str, name: str) -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(package, "")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source, _, _ = loader.get_source(environment, name)
    return environment.get_template(name, globals={"policy": _policy(source)})


def _policy(template: str) -> str:
    """The content security policy of a page: data URIs, and the style and script of the template."""
    own = []
    for tag in ("style", "script"):
        for body in re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            own.append(f"{tag}-src 'sha256-{digest}'; ")
    return f"default-src 'none'; img-src data:; {''.join(own)}base-uri 'none'; form-action 'none'"


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")  # lone surrogates become ?
