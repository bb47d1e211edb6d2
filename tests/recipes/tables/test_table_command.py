"""sst table: what it prints and writes, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest

import sstricks_cli as cli
from recipes.tables.made_up import l2x_result, nri_result, run_folder, said

ROOT = Path(__file__).parents[3]
PAGE = "# Results\n\n<!-- table: a -->\nold\n<!-- end -->\n\nprose\n\n<!-- table: b -->\nkept\n<!-- end -->\n"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        run_folder(tmp_path / "runs" / f"trial-{seed:03d}", nri_result(valid=-1000.0 - seed, seed=seed))
    run_folder(tmp_path / "runs" / "other", l2x_result())
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test/elbo": "low"}, "found 'low' as test/elbo, expected a number or null"),
        ({"seed": "x"}, "its configuration has seed = 'x', expected a number"),
        ({"restarts": None}, "its configuration has restarts = None, expected a number"),
        ({"edges": ["top-k"]}, "its configuration has"),
        ({"edges": "hexagons"}, "its configuration has 'hexagons', which is not known here"),
    ],
)
def test_a_result_with_unknown_values_is_named(tmp_path, capsys, changes, message):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([nri_result(), {**nri_result(seed=1), **changes}]))
    assert cli.main(["table", "nri", str(file)]) == 2
    assert message in said(capsys)[1]


def test_a_result_that_lacks_fields_has_their_defaults_or_is_named(tmp_path, capsys):
    file, out = tmp_path / "results.json", tmp_path / "t.csv"
    least = {"experiment": "nri", "edges": "top-k", "estimator": "sst", "num_frames": 10, "preset": "cpu"}
    file.write_text(json.dumps([{**least, "valid/elbo": -3.0, "test/elbo": -4.0}]))
    assert cli.main(["table", "nri", str(file), "--paper", "--out", str(out)]) == 0
    (line,) = csv.DictReader(out.read_text().splitlines())
    assert (line["ELBO"], line["selected seed"], line["seeds"]) == ("-4.0", "0", "0")
    for name in ("edges", "estimator", "preset"):
        file.write_text(json.dumps([{field: value for field, value in least.items() if field != name}]))
        assert cli.main(["table", "nri", str(file)]) == 2
        assert f"its configuration lacks the field '{name}'" in said(capsys)[1]


def test_the_committed_results_become_tables(capsys, monkeypatch):
    for name, file, width in (("nri", "nri_cpu_T10.json", 200), ("l2x", "l2x_cpu.json", 80)):
        monkeypatch.setenv("COLUMNS", str(width))
        assert cli.main(["table", name, str(ROOT / "results" / file), "--paper"]) == 0
    printed, _ = said(capsys)
    assert "│ Spanning Tree │ −589 │ 96.0 │ 96.0 │ │ paper, Table 1 │ −1080 ± 110 │ 91 ± 3 │ 91 ± 3 │" in printed
    assert "│ Indep. Directed Edges (flipped; chance 20, 50) │ −745 │ 85.2 │ 96.0 │" in printed
    assert "Preset cpu, 3,000 steps of batch 128" in printed
    ours, paper = "2.85 ± 0.01 │ 52.3 ± 1.2", "2.5 ± 0.1 │ 53.1 ± 0.9"
    assert f"│ │ Corr. Top k │ {ours} │ │ │ paper, Table 3 (other data) │ {paper} │" in printed
    assert "OTHER DATA, BeerAdvocate" in printed


@pytest.mark.parametrize(
    ("name", "results", "section"),
    [
        ("nri", "nri_cpu_T10", "nri"),
        ("nri", "nri_sweeps", "sweeps"),
        ("listops", "listops_cpu", "listops"),
        ("l2x", "l2x_cpu", "l2x"),
    ],
)
def test_the_page_of_results_is_what_its_commands_draw(name, results, section, tmp_path):
    drawn = (ROOT / "docs" / "results.md").read_text()
    page = tmp_path / "results.md"
    page.write_text(drawn)
    words = [str(ROOT / "results" / f"{results}.json"), "--paper", "--into", str(page), "--section", section]
    assert cli.main(["table", name, *words]) == 0
    assert page.read_text() == drawn


def test_all_formats(runs, tmp_path, capsys):
    files = [tmp_path / f"table.{suffix}" for suffix in ("md", "csv", "tex", "json")]
    options = [word for file in files for word in ("--out", str(file))]
    run_folder(runs / "top", nri_result(edges="top-k", data_seed=0))
    run_folder(runs / "top-other", nri_result(edges="top-k", data_seed=7))
    assert cli.main(["table", "nri", str(runs), str(runs), "--paper", *options]) == 0
    printed = said(capsys)[0]
    assert "Left out: 5 runs given more than once." in printed
    assert "Left out: 2 runs of other experiments." in printed
    page, rows, source, raw = (file.read_text() for file in files)
    assert "| Spanning Tree | −990 ± 0 | 50.0 ± 0.0 | 25.0 ± 0.0 | 3 |" in page
    assert "| E.F. Ent. Top \\|V\\| − 1 | −990 | 50.0 | 25.0 | 1 |" in page
    assert "| *paper, Table 1* | *−1080 ± 110* | *91 ± 3* | *91 ± 3* |  |" in page
    row = list(csv.DictReader(rows.splitlines()))[1]
    assert (row["ELBO"], row["± ELBO"], row["runs"], row["seeds"]) == ("-990.0", "0.0", "3", "0 1 2")
    assert (row["preset"], row["block"], row["selected run"]) == ("cpu", "T = 10", str(runs / "trial-000"))
    assert (row["paper"], row["paper ELBO"], row["paper ± ELBO"]) == ("Table 1", "-1080", "110")
    assert json.loads(row["selected hyperparameters"])["lr"] == 2e-3
    assert r"Spanning Tree & $-$990 $\pm$ 0 & 50.0 $\pm$ 0.0 & 25.0 $\pm$ 0.0 & 3 \\" in source
    assert r"\textit{paper, Table 1} & \textit{$-$1080 $\pm$ 110} & \textit{91 $\pm$ 3}" in source
    assert r"E.F. Ent. Top \textbar{}V\textbar{} $-$ 1 & $-$990" in source
    assert r"unlike in other tables of this title: data\_seed = 7." in source
    assert [source.count(rf"\{end}{{tabular}}") for end in ("begin", "end")] == [2, 2]
    assert len(json.loads(raw)) == 5
    assert cli.main(["table", "nri", "table.json", "--out", "again.md", "--paper"]) == 0
    assert (tmp_path / "again.md").read_text() == page


def test_raw_results_keep_what_is_unfinished(runs, tmp_path, capsys):
    run_folder(runs / "unfinished", nri_result(seed=9), finished=False)
    run_folder(runs / "diverged", nri_result(seed=10), diverged=True)
    assert cli.main(["table", "nri", "runs", "--out", "a.json"]) == 0
    printed = said(capsys)[0]
    assert "paper" not in printed
    assert "runs per cell: 3; seeds: 0–2" in printed
    left_out = "1 run not finished (waiting, running, interrupted or broken off) and 1 run diverged."
    assert f"Left out: {left_out}" in printed
    assert cli.main(["table", "nri", "a.json", "runs", "--out", "b.json"]) == 0
    assert left_out in said(capsys)[0]
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads((tmp_path / "b.json").read_text())


def test_trials_of_a_sweep_that_have_not_begun_are_counted(runs, capsys):
    config = json.loads((runs / "trial-000" / "config.json").read_text())
    trials = [{"seed": seed, "lr": config.pop("lr", 0.002)} for seed in range(5)]
    (runs / "sweep.json").write_text(json.dumps({"configuration": config, "ranges": {}, "trials": trials}))
    assert cli.main(["table", "nri", str(runs)]) == 0
    assert "Left out: 2 runs not finished" in said(capsys)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nri runs --out table.xlsx", "found the suffix '.xlsx', expected one of .md, .csv, .tex, .json"),
        ("nri runs --out absent/table.md", "the folder absent does not exist"),
        ("nri runs --out mine.md", "it exists and was not touched. Add --force"),
        ("nri runs --out a.md --force", "it exists"),
        ("nri runs --out /proc/table.md", "sst: /proc/table.md: "),
        ("nri runs --into mine.md", "expected both or neither"),
        ("nri runs --section nri", "expected both or neither"),
        ("nri runs --into page.md --section nri", "found no file page.md"),
        ("nri runs --into latin.md --section a", "latin.md is not UTF-8"),
        ("nri runs --into mine.md --section a", "found 0 sections"),
        ("nri runs --into unended.md --section a", "found 1 sections 'table: a'"),
        ("nri runs --into twice.md --section a", "found 2 sections"),
        ("listops runs", "found no runs of listops there, but 1 of l2x, 3 of nri"),
        ("nri", "Name at least one."),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_touched(runs, tmp_path, capsys, arguments, message):
    (tmp_path / "a.md").mkdir()
    pages = {"mine.md": "mine\n", "latin.md": PAGE.replace("prose", "Prosa ä")}
    pages |= {"unended.md": PAGE.replace("old\n<!-- end -->", "old"), "twice.md": PAGE.replace("table: b", "table: a")}
    for name, text in pages.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert cli.main(["table", *arguments.split()]) == 2
    assert message in said(capsys)[1]
    assert {name: (tmp_path / name).read_bytes().decode("latin-1") for name in pages} == pages


def test_force_replaces_a_file(runs, tmp_path):
    (tmp_path / "table.md").write_text("mine\n")
    assert cli.main(["table", "nri", "runs", "--out", "table.md", "--force"]) == 0
    assert "Spanning Tree" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_section_of_a_page_is_redrawn_and_the_rest_keeps_its_bytes(runs, tmp_path, newline):
    page, end = tmp_path / "page.md", newline.encode()
    page.write_bytes(b"\xef\xbb\xbf" + PAGE.encode().replace(b"\n", end) + b"lf\n\rend")
    _, _, tail = page.read_bytes().partition(b"<!-- end -->")
    for _ in range(2):
        assert cli.main(["table", "nri", "runs", "--into", "page.md", "--section", "a"]) == 0
        before, _, after = page.read_bytes().partition(b"<!-- end -->")
        assert before.startswith(end.join([b"\xef\xbb\xbf# Results", b"", b"<!-- table: a -->", b"**Graph layout: s"]))
        assert before.endswith(end)
        assert before.count(b"\n") == before.count(end) > 8
        assert b"old" not in before
        assert after == tail


def test_a_narrow_terminal_gets_the_blocks_one_below_the_other(runs, capsys, monkeypatch):
    run_folder(runs / "longer", nri_result(num_frames=20))
    for width, count in (("70", 2), ("140", 1)):
        monkeypatch.setenv("COLUMNS", width)
        assert cli.main(["table", "nri", str(runs)]) == 0
        out = capsys.readouterr().out
        assert out.count("Edge Distribution") == count
        assert "…" not in out
