"""Executed notebook -> one HTML page that opens offline, with every figure described.

The page is nbconvert's ``lab`` template with a small override (``templates/vrn``): images keep their
alternative text, formulas become MathML, nothing is loaded from a network. `to_html` refuses what would be
lost or broken on the page.

Figures are shown by ``vrnlib.figures.show(fig, alt="...")``, which displays a PNG with the metadata
``{"image/png": {"alt": "..."}}``; ``IPython.display.Image(data, alt="...")`` does the same. Pictures in
markdown carry theirs in the brackets, ``![what it shows](../results/figures/x.png)``, and are embedded.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import latex2mathml.converter
import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from vrnlib.errors import VrnError

LIMIT = 1_000_000  # bytes of an executed notebook, and of a page
_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_WIDGET_NOTE = "*An interactive control: run the notebook to use it. The figures below show its states.*"
_REMOTE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
# inside a script or a style sheet: code or styles fetched from elsewhere
_FETCHES = re.compile(
    r"""(?:@import|url\(|import\s*\(?|from)\s*["']?(?:https?:)?//|["'](?:https?:)?//[^"'\s]+\.m?js\b""",
    re.IGNORECASE,
)

Resolve = Callable[[str], Path]


def to_html(nb: Any, name: str, resolve: Resolve | None = None) -> str:
    """Render an executed notebook as one HTML page.

    Parameters
    ----------
    nb : NotebookNode
        The executed notebook; not changed.
    name : str
        For messages, and the title of a page without a heading.
    resolve : callable, optional
        From the address of a picture in markdown, as written, to the file to embed.

    Returns
    -------
    str
        The page.

    Raises
    ------
    VrnError
        Naming every problem: a traceback, an image without alternative text, an output that the page can't
        show, a script or style sheet or image from a network, more than `LIMIT` bytes.
    """
    problems = notebook_problems(nb)
    copy = nbformat.from_dict(nb)
    heading = re.search(
        r"^#\s+(.+)$", "\n".join(c.source for c in copy.cells if c.cell_type == "markdown"), re.MULTILINE
    )
    copy.metadata["title"] = heading[1].strip() if heading else name
    copy.metadata.pop("widgets", None)
    for cell in copy.cells:
        for output in cell.get("outputs", []):
            if _WIDGET in output.get("data", {}):
                output.data = nbformat.from_dict({"text/markdown": _WIDGET_NOTE})
    exporter = _Exporter(resolve)
    try:
        page, _ = exporter.from_notebook_node(copy, {"metadata": {"name": name}})
    except VrnError as error:
        raise VrnError(f"notebook {name} can't be exported: {error}") from error
    page = re.sub(r'(<(?:a|img|iframe)\b[^>]*?\b(?:href|src)=")([^"]*)(")', _page_link, page)
    problems += [p for p in page_problems(page) if p not in problems]
    if problems:
        raise VrnError(f"notebook {name} can't be exported: {'; '.join(problems)}")
    check_size(len(page.encode()), f"page of notebook {name}")
    return page


def notebook_problems(nb: Any) -> list[str]:
    """What in the outputs of an executed notebook may not go on a page, in words; empty if all is well."""
    problems = []
    for number, cell in enumerate(nb.cells, start=1):
        for output in cell.get("outputs", []):
            where = f"cell {number}"
            if output.output_type == "error":
                problems.append(f"{where} ends in a traceback ({output.ename}: {output.evalue})")
            data = output.get("data", {})
            rich = [mime for mime in data if mime != "text/plain"]
            if rich and _WIDGET not in data and not any(mime in _SHOWN for mime in rich):
                problems.append(
                    f"{where} has an output that a page can't show ({', '.join(rich)}): show a PNG with "
                    "vrnlib.figures.show and link the interactive view as a file"
                )
            first = next((mime for mime in _SHOWN if mime in data), None)
            if first and first.startswith("image/") and not _alt(output, first).strip():
                problems.append(
                    f"{where} has an image without alternative text: use vrnlib.figures.show(fig, alt=...)"
                )
    return problems


def page_problems(page: str) -> list[str]:
    """What is wrong with a page: undescribed images, anything loaded from a network."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.problems


def check_size(size: int, what: str) -> None:
    """Raise VrnError if `size` in bytes is over the `LIMIT`."""
    if size > LIMIT:
        raise VrnError(
            f"the {what} has {size / 1e6:.2f} MB, more than {LIMIT / 1e6:.0f} MB: "
            "show fewer or smaller figures, and link large ones as files"
        )


def relink(address: str, page: bool) -> str:
    """A link as written in notebooks/ -> the same from results/executed/, with `page` from results/html/."""
    if re.match(r"[a-z][a-z0-9+.-]*:|#|/", address, re.IGNORECASE) or not address:
        return address
    if address.startswith("../"):
        rest = address[3:]
        return f"../{rest[len('results/') :]}" if rest.startswith("results/") else f"../../{rest}"
    if found := re.match(r"((?:\d\d|solutions)_\w+)\.ipynb(#.*)?$", address):
        return f"{found[1]}.html{found[2] or ''}" if page else address
    return f"../../notebooks/{address}"


def relink_notebook(nb: Any) -> None:
    """Apply `relink` to the markdown links and HTML attributes of an executed notebook, in place."""

    def markdown(text: str) -> str:
        parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)  # code is left as it is
        return "".join(links(part) if k % 2 == 0 else part for k, part in enumerate(parts))

    def links(text: str) -> str:
        text = re.sub(r"(\]\()([^)\s]+)", lambda m: m[1] + relink(m[2], False), text)
        return re.sub(r'(\b(?:href|src)=")([^"]*)', lambda m: m[1] + relink(m[2], False), text)

    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = markdown(cell.source)
        for output in cell.get("outputs", []):
            for mime in ("text/html", "text/markdown"):
                if mime in output.get("data", {}):
                    output.data[mime] = markdown(output.data[mime])


def _page_link(found: re.Match[str]) -> str:
    return found[1] + relink(found[2], True) + found[3]


def _alt(output: Any, mime: str) -> str:
    """The alternative text of an image output, kept by mime type or directly."""
    metadata = output.get("metadata", {})
    return str(metadata.get(mime, {}).get("alt") or metadata.get("alt") or "")


class _Reader(HTMLParser):
    """Collects the problems of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {key: value or "" for key, value in attrs}
        self.inside = tag if tag in ("script", "style") else ""
        address = have.get("src") or (have.get("href", "") if tag == "link" else "") or have.get("data", "")
        shown = address[:80]
        if (
            tag in ("script", "link", "img", "iframe", "object", "embed", "source", "video", "audio")
            and address
        ):
            if _REMOTE.match(address):
                self.problems.append(f"a {tag} is loaded from a network ({shown}): embed it or leave it out")
            elif tag in ("img", "script") and not address.startswith("data:"):
                self.problems.append(f"{tag} '{shown}' is not embedded: is the file there?")
        alt = have.get("alt", "").strip()
        if tag == "img" and (not alt or alt.startswith("No description has been provided")):
            self.problems.append(f"image '{shown[:40]}' has no alternative text")
        if tag == "svg" and have.get("role") == "img" and not have.get("aria-label", "").strip():
            self.problems.append("an inline drawing has no aria-label")

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside and (found := _FETCHES.search(data)):
            near = data[found.start() : found.start() + 80].replace("\n", " ")
            self.problems.append(f"a {self.inside} loads from a network ({near})")


class _Exporter(HTMLExporter):
    """nbconvert's exporter with our template, our embedding of pictures, and MathML for formulas."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve
        super().__init__(
            template_name="vrn",
            extra_template_basedirs=[str(Path(__file__).parent / "templates")],
            embed_images=True,
        )

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(renderer=_Renderer(self.resolve, attachments=attachments)).render(source)


class _Renderer(IPythonRenderer):
    """Markdown -> HTML, with pictures embedded and formulas as MathML."""

    def __init__(self, resolve: Resolve | None, **options: Any) -> None:
        super().__init__(escape=False, embed_images=True, **options)
        self.resolve = resolve

    def _src_to_base64(self, src: str) -> str | None:
        if re.match(r"[a-z][a-z0-9+.-]*:|//", src, re.IGNORECASE):
            return None  # page_problems refuses remote ones
        path = self.resolve(src) if self.resolve else Path(src)
        if not path.is_file():
            raise VrnError(f"picture '{src}' is not there")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

    def inline_math(self, body: str) -> str:
        return formula(body, "inline")

    def block_math(self, body: str) -> str:
        return formula(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def formula(latex: str, display: str) -> str:
    """LaTeX -> a MathML element; `display` is ``inline`` or ``block``.

    VrnError if it can't be read in full.
    """
    # the converter knows this environment under the other name
    latex = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{align*}", latex.strip())
    try:
        mathml = latex2mathml.converter.convert(latex, display=display)
    except Exception as error:
        raise VrnError(f"formula '{latex}' can't be converted ({type(error).__name__})") from error
    if left := re.search(r"<m\w+>(\\\w+|&)</m", mathml):  # an unknown command is passed through as text
        raise VrnError(f"formula '{latex}' can't be converted: '{left[1]}' is not known")
    return mathml.replace("<math ", f'<math aria-label="{html.escape(latex, quote=True)}" ', 1)
