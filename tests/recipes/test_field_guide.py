"""sst field-guide: a picture of every structure, and the table on the page equals the registry."""

from __future__ import annotations

import inspect
from pathlib import Path

import matplotlib.image
import pytest
import torch

import sstricks as sst
import sstricks_cli as cli
from sstricks.recipes import field_guide
from sstricks.recipes.field_guide import Exhibit, best_phrases, exhibits, table_of_pairs
from sstricks.recipes.harness.files import write_section
from sstricks.solvers import look_up

PAGE = Path(__file__).parents[2] / "docs" / "field-guide.md"
PICTURES = PAGE.parent / "figures" / "field-guide"
STRUCTURES = {
    item
    for item in vars(sst).values()
    if inspect.isclass(item) and issubclass(item, sst.Structure) and not inspect.isabstract(item)
}
EXHIBITS = exhibits()
NAME = "sst field-guide: pairs"


def test_the_page_shows_what_the_registry_says():
    assert f"<!-- {NAME} -->\n{table_of_pairs()}<!-- end -->" in PAGE.read_text(), (
        "run: sst field-guide --page docs/field-guide.md"
    )


def test_the_table_knows_every_pair():
    rows = {line.split("|")[1].strip(" `"): line for line in table_of_pairs().splitlines() if line.startswith("| `")}
    assert set(rows) == {structure.__name__ for structure in STRUCTURES}
    for structure, regularizer in sst.registered_pairs():
        if structure in STRUCTURES:
            known = look_up(structure, regularizer)
            assert (known.iteration or "direct") in rows[structure.__name__]
    assert "#P-hard" in table_of_pairs()


def test_iterative_pairs_are_declared_so():
    """What takes no solver but the argmax iterates."""
    for pair in sst.registered_pairs():
        if isinstance(look_up(*pair).solver, sst.FrankWolfe):
            assert look_up(*pair).iteration == "active set"
    assert look_up(sst.OneHot, sst.Euclidean).iteration is None
    assert look_up(sst.LinearOracle, sst.Euclidean) == (None, None, None)


def test_every_structure_has_an_exhibit_a_section_and_a_small_picture():
    assert {type(exhibit.structure) for exhibit in EXHIBITS} == STRUCTURES
    text = PAGE.read_text()
    for structure in STRUCTURES:
        assert f"\n## {structure.__name__}\n" in text
    for name in [exhibit.name for exhibit in EXHIBITS] + ["regularizers", "diagnosis"]:
        assert f"figures/field-guide/{name}.png" in text
        assert (PICTURES / f"{name}.png").stat().st_size < 150_000


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_exhibits_are_drawn(exhibit: Exhibit, tmp_path):
    first = exhibit.draw(tmp_path, seed=0)
    height, width, _ = matplotlib.image.imread(first).shape
    assert width > 900
    assert height > 100
    before = first.read_bytes()
    assert exhibit.draw(tmp_path, seed=0).read_bytes() == before
    assert exhibit.draw(tmp_path, seed=1).read_bytes() != before


def test_phrases_are_the_best():
    u = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    runs = torch.tensor([[float(i <= k <= j) for k in range(6)] for i in range(6) for j in range(i, 6)]).double()
    torch.testing.assert_close(best_phrases(u), runs[(u @ runs.T).argmax(-1)])


def test_the_command_draws_prints_and_updates_the_page(tmp_path, capsys, monkeypatch):
    kept = [exhibit for exhibit in EXHIBITS if exhibit.name in ("one-hot", "k-subset")]
    monkeypatch.setattr(field_guide, "exhibits", lambda: kept)
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    write_section(page, NAME, "old\n")
    assert cli.main(["field-guide", "--out", str(tmp_path / "new" / "pictures"), "--page", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "| `SpanningTree` |" in printed
    for name in ("one-hot", "k-subset", "regularizers"):
        assert str(tmp_path / "new" / "pictures" / f"{name}.png") in printed
        assert (tmp_path / "new" / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert page.read_text() == PAGE.read_text()


def test_a_page_without_markers_is_left_alone(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Nothing here\n")
    assert cli.main(["field-guide", "--out", str(tmp_path / "pictures"), "--page", str(page)]) == 2
    assert "found 0 sections" in capsys.readouterr().err
    assert page.read_text() == "# Nothing here\n"
    assert not (tmp_path / "pictures").exists()
    with pytest.raises(ValueError, match="found no file"):
        write_section(tmp_path / "absent.md", NAME, "")


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert cli.main(["field-guide", "--out", str(tmp_path / "file" / "pictures")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err
