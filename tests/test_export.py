"""HTML pages: what they keep and what they refuse."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vrnlib import export
from vrnlib.errors import VrnError

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def shown(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> Any:
    output = new_output("display_data", data=data, metadata=metadata or {})
    return new_notebook(cells=[new_markdown_cell("# Title\ntext"), new_code_cell("f()", outputs=[output])])


def page(nb: Any, **options: Any) -> str:
    return export.to_html(nbformat.from_dict(nb), "01_x", **options)


@pytest.mark.parametrize("mime", ["image/png", "image/jpeg", "image/svg+xml"])
def test_alternative_text_reaches_the_page(mime: str) -> None:
    data = "<svg/>" if mime == "image/svg+xml" else PNG
    for metadata in ({mime: {"alt": 'a "quoted" face'}},):
        text = page(shown({mime: data, "text/plain": "<Image>"}, metadata))
        assert 'alt="a &quot;quoted&quot; face"' in text or "alt='a \"quoted\" face'" in text
        assert f'src="data:{mime};base64,' in text


@pytest.mark.parametrize("mime", ["image/png", "image/jpeg", "image/svg+xml"])
@pytest.mark.parametrize("metadata", [{}, {"alt": " "}])
def test_an_image_without_alternative_text_is_refused(mime: str, metadata: dict) -> None:
    with pytest.raises(VrnError, match="cell 2 has an image without alternative text"):
        page(shown({mime: "<svg/>" if "svg" in mime else PNG}, {mime: metadata}))


def test_an_image_in_markdown_or_html_needs_one_too() -> None:
    with pytest.raises(VrnError, match="has no alternative text"):
        page(new_notebook(cells=[new_markdown_cell(f"![](data:image/png;base64,{PNG})")]))
    with pytest.raises(VrnError, match="has no alternative text"):
        page(shown({"text/html": f'<img src="data:image/png;base64,{PNG}">'}))
    assert 'alt="a face"' in page(
        new_notebook(cells=[new_markdown_cell(f"![a face](data:image/png;base64,{PNG})")])
    )


def test_pictures_in_markdown_are_embedded(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(base64.b64decode(PNG))
    nb = new_notebook(cells=[new_markdown_cell("![a face](../results/x.png)")])
    text = page(nb, resolve=lambda address: tmp_path / Path(address).name)
    assert f'src="data:image/png;base64,{PNG}"' in text
    with pytest.raises(VrnError, match=r"picture '../results/x.png' is not there"):
        page(nb, resolve=lambda address: tmp_path / "none.png")


def test_an_output_that_would_be_dropped_is_refused() -> None:
    figure = {"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "Figure()"}
    with pytest.raises(
        VrnError, match=r"cell 2 has an output that a page can't show \(application/vnd.plotly"
    ):
        page(shown(figure))
    page(shown({**figure, "image/png": PNG}, {"image/png": {"alt": "x"}}))


def test_a_widget_becomes_a_sentence_without_a_script() -> None:
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider()"}
    text = page(shown(view))
    assert "run the notebook to use it" in text
    assert "<script" not in text


def test_a_traceback_is_refused() -> None:
    nb = new_notebook(
        cells=[new_code_cell("f()", outputs=[new_output("error", ename="E", evalue="why", traceback=[])])]
    )
    with pytest.raises(VrnError, match=r"cell 1 ends in a traceback \(E: why\)"):
        page(nb)


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://a.example/x.js"></script>',
        '<script src="//a.example/x.js"></script>',
        '<script src="local.js"></script>',
        '<link rel="stylesheet" href="http://a.example/x.css">',
        "<style>@import 'https://a.example/x.css';</style>",
        "<style>p { background: url(https://a.example/x.png) }</style>",
        '<script>import x from "https://a.example/x";</script>',
        '<script>require.config({paths: {p: "https://a.example/plotly.min.js"}})</script>',
        '<img alt="x" src="https://a.example/x.png">',
        '<img alt="x" src="missing.png">',
        '<iframe src="https://a.example/"></iframe>',
    ],
)
def test_anything_from_a_network_is_refused(html: str) -> None:
    with pytest.raises(VrnError, match="from a network|not embedded"):
        page(shown({"text/html": html}))


def test_links_and_own_scripts_are_allowed() -> None:
    text = page(shown({"text/html": '<a href="https://a.example/">x</a><script>let a = 1;</script>'}))
    assert "let a = 1" in text


def test_the_page_opens_offline_and_carries_its_formulas() -> None:
    cells = [new_markdown_cell("# Loss & co\nInline $\\hat V_d$ and\n\n$$\\sum_d V_d \\log \\hat V_d$$")]
    text = page(new_notebook(cells=cells))
    assert export.page_problems(text) == []
    assert "<script" not in text
    assert text.count("<math") == 2
    assert 'display="block"' in text
    assert "$" not in text[text.index("<main>") :]
    assert "<title>Loss &amp; co</title>" in text
    assert '<html lang="en">' in text
    assert len(text) < 400_000


@pytest.mark.parametrize("wrong", [r"\frac", r"\left( x", r"x^a^b", r"\unknown{x}", r"a & b"])
def test_a_formula_that_would_be_lost_is_refused(wrong: str) -> None:
    with pytest.raises(VrnError, match="formula .* can't be converted"):
        page(new_notebook(cells=[new_markdown_cell(f"$${wrong}$$")]))


def test_aligned_formulas_are_tables() -> None:
    cell = new_markdown_cell("\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}")
    assert page(new_notebook(cells=[cell])).count("<mtr") == 2


def test_a_page_that_is_too_large_is_refused() -> None:
    with pytest.raises(VrnError, match="the page of notebook 01_x has .* MB, more than 1 MB"):
        page(shown({"text/plain": "x" * 1_200_000}))


def test_every_problem_is_named_at_once() -> None:
    nb = shown({"image/png": PNG})
    nb.cells.append(new_code_cell("g()", outputs=[new_output("error", ename="E", evalue="", traceback=[])]))
    with pytest.raises(VrnError, match=r"alternative text.*cell 3 ends in a traceback"):
        page(nb)


@pytest.mark.parametrize(
    ("written", "executed", "html"),
    [
        ("../results/a/b.html", "../a/b.html", "../a/b.html"),
        ("../README.md", "../../README.md", "../../README.md"),
        ("02_volumes.ipynb#x", "02_volumes.ipynb#x", "02_volumes.html#x"),
        ("#here", "#here", "#here"),
        ("https://a.example/b", "https://a.example/b", "https://a.example/b"),
        ("02_volumes.py", "../../notebooks/02_volumes.py", "../../notebooks/02_volumes.py"),
    ],
)
def test_links_lead_to_the_same_place_from_everywhere(written: str, executed: str, html: str) -> None:
    assert export.relink(written, page=False) == executed
    assert export.relink(written, page=True) == html
    nb = new_notebook(cells=[new_markdown_cell(f"[x]({written})")])
    assert f'href="{html}"' in page(nb)
    export.relink_notebook(nb)
    assert nb.cells[0].source == f"[x]({executed})"


def test_code_is_not_taken_for_links() -> None:
    text = "[a](02_volumes.py)\n```python\ny = layers[0](x)\n```\n[b](02_volumes.py)"
    nb = new_notebook(cells=[new_markdown_cell(text)])
    export.relink_notebook(nb)
    assert nb.cells[0].source == text.replace("](02", "](../../notebooks/02")
