"""sst table: what it prints and writes, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest

import sstricks_cli as cli
from recipes.tables.made_up import l2x_result, nri_result, run_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def runs(tmp_path):
    for seed in range(3):
        run_folder(tmp_path / "runs" / f"trial-{seed:03d}", nri_result(valid=-1000.0 - seed, seed=seed))
    run_folder(tmp_path / "runs" / "other", l2x_result())
    return tmp_path / "runs"


def said(capsys):
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), " ".join(captured.err.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test/elbo": "low"}, "found 'low' as test/elbo, expected a number or null"),
        ({"valid/elbo": [1]}, "found [1] as valid/elbo, expected a number or null"),
        ({"seed": "x"}, "its configuration has seed = 'x', expected a number"),
        ({"edges": ["top-k"]}, "its configuration has"),
        ({"edges": "hexagons"}, "its configuration has 'hexagons', which is not known here"),
        ({"steps": "many"}, "its configuration has steps = 'many', expected a number"),
    ],
)
def test_a_result_with_other_values_is_named(tmp_path, capsys, changes, message):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([nri_result(), {**nri_result(seed=1), **changes}]))
    assert cli.main(["table", "nri", str(file)]) == 2
    assert message in said(capsys)[1]


def test_a_result_that_lacks_fields_has_their_defaults_or_is_named(tmp_path, capsys):
    file, out = tmp_path / "results.json", tmp_path / "t.csv"
    least = {"experiment": "nri", "edges": "top-k", "estimator": "sst", "num_frames": 10, "preset": "cpu"}
    least["valid/elbo"] = -3.0
    file.write_text(json.dumps([{**least, "test/elbo": -4.0}]))
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
    assert "runs per cell: 1; seeds: 0" in printed
    ours, paper = "2.85 ± 0.01 │ 52.3 ± 1.2", "2.5 ± 0.1 │ 53.1 ± 0.9"
    assert f"│ │ Corr. Top k │ {ours} │ │ │ paper, Table 3 (other data) │ {paper} │" in printed
    assert "OTHER DATA, BeerAdvocate" in printed


@pytest.mark.parametrize(
    ("experiment", "results", "section"),
    [
        ("nri", "nri_cpu_T10.json", "nri"),
        ("nri", "nri_sweeps.json", "sweeps"),
        ("listops", "listops_cpu.json", "listops"),
        ("l2x", "l2x_cpu.json", "l2x"),
    ],
)
def test_the_page_of_results_is_what_its_commands_draw(experiment, results, section, tmp_path):
    drawn = (ROOT / "docs" / "results.md").read_text()
    page = tmp_path / "results.md"
    page.write_text(drawn)
    words = [str(ROOT / "results" / results), "--paper", "--into", str(page), "--section", section]
    assert cli.main(["table", experiment, *words]) == 0
    assert page.read_text() == drawn


def test_without_being_asked_nothing_of_the_paper_is_shown(runs, capsys):
    assert cli.main(["table", "nri", str(runs)]) == 0
    printed, _ = said(capsys)
    assert "1370" not in printed
    assert "Left out: 1 run of other experiments." in printed
    assert "runs per cell: 3; seeds: 0–2" in printed


def test_all_formats(runs, tmp_path, capsys):
    files = [tmp_path / f"table.{suffix}" for suffix in ("md", "csv", "tex", "json")]
    options = [word for file in files for word in ("--out", str(file))]
    assert cli.main(["table", "nri", str(runs), str(runs), "--paper", *options]) == 0
    assert "Left out: 3 runs given more than once." in said(capsys)[0]
    page, rows, source, raw = (file.read_text() for file in files)
    assert "| Spanning Tree | −990 ± 0 | 50.0 ± 0.0 | 25.0 ± 0.0 |" in page
    assert "| *paper, Table 1* | *−1080 ± 110* | *91 ± 3* | *91 ± 3* |" in page
    (row,) = csv.DictReader(rows.splitlines())
    assert float(row["ELBO"]) == -990.0
    assert float(row["± ELBO"]) == 0.0
    assert (row["runs"], row["seeds"], row["preset"], row["block"]) == ("3", "0 1 2", "cpu", "T = 10")
    assert (row["paper"], row["paper ELBO"], row["paper ± ELBO"]) == ("Table 1", "-1080", "110")
    assert row["selected run"] == str(runs / "trial-000")
    assert json.loads(row["selected hyperparameters"])["lr"] == 2e-3
    assert r"Spanning Tree & $-$990 $\pm$ 0 & 50.0 $\pm$ 0.0 & 25.0 $\pm$ 0.0 \\" in source
    assert source.count(r"\begin{tabular}{lrrr}") == source.count(r"\end{tabular}") == 1
    assert cli.main(["table", "nri", str(tmp_path / "table.json"), "--out", str(tmp_path / "again.md"), "--paper"]) == 0
    assert (tmp_path / "again.md").read_text() == page
    assert len(json.loads(raw)) == 3


def test_raw_results_keep_what_is_unfinished(runs, tmp_path, capsys):
    run_folder(runs / "unfinished", nri_result(seed=9), finished=False)
    diverged = run_folder(runs / "diverged", nri_result(seed=10), finished=False)
    (diverged / "diverged.json").write_text("{}")
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert cli.main(["table", "nri", str(runs), "--out", str(first)]) == 0
    assert cli.main(["table", "nri", str(first), str(runs), "--out", str(second)]) == 0
    assert (
        "Left out: 1 run not finished (waiting, running, interrupted or broken off) and 1 run diverged."
        in (said(capsys)[0].split("Written")[1])
    )
    assert json.loads(first.read_text()) == json.loads(second.read_text())


def test_trials_of_a_sweep_that_have_not_begun_are_counted(runs, capsys):
    config = json.loads((runs / "trial-000" / "config.json").read_text())
    base = {name: value for name, value in config.items() if name != "lr"}
    trials = [{"seed": seed, "lr": 0.002} for seed in range(5)]
    (runs / "sweep.json").write_text(json.dumps({"configuration": base, "ranges": {}, "trials": trials}))
    assert cli.main(["table", "nri", str(runs)]) == 0
    assert "Left out: 2 runs not finished" in said(capsys)[0]


def test_files_are_not_overwritten(runs, tmp_path, capsys):
    target = tmp_path / "table.md"
    target.write_text("mine\n")
    command = ["table", "nri", str(runs), "--out", str(target)]
    assert cli.main(command) == 2
    assert "it exists and was not touched. Add --force" in said(capsys)[1]
    assert target.read_text() == "mine\n"
    assert cli.main([*command, "--force"]) == 0
    assert "Spanning Tree" in target.read_text()


def test_what_cannot_be_written_is_said(runs, capsys):
    assert cli.main(["table", "nri", str(runs), "--out", "/proc/table.md"]) == 2
    printed, error = said(capsys)
    assert "Spanning Tree" in printed
    assert "/proc/table.md: No such file or directory" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "table.xlsx"], "found the suffix '.xlsx', expected one of .md, .csv, .tex, .json"),
        (["--out", "absent/table.md"], "the folder absent does not exist"),
        (["--into", "page.md"], "expected both or neither"),
        (["--section", "nri"], "expected both or neither"),
        (["--into", "page.md", "--section", "nri"], "found no file page.md"),
    ],
)
def test_bad_targets_are_refused(runs, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["table", "nri", str(runs), *arguments]) == 2
    assert message in said(capsys)[1]


def test_a_folder_is_not_replaced_even_by_force(runs, tmp_path, capsys):
    (tmp_path / "a.md").mkdir()
    assert cli.main(["table", "nri", str(runs), "--out", str(tmp_path / "a.md"), "--force"]) == 2
    assert "it exists" in said(capsys)[1]


def test_only_runs_of_other_experiments(runs, capsys):
    assert cli.main(["table", "listops", str(runs)]) == 2
    assert "found no runs of listops there, but 1 of l2x, 3 of nri" in said(capsys)[1]


def test_no_path_is_refused(capsys):
    assert cli.main(["table", "nri"]) == 2
    assert "Name at least one." in said(capsys)[1]


PAGE = "# Results\n\n<!-- table: a -->\nold\n<!-- end -->\n\nprose\n\n<!-- table: b -->\nkept\n<!-- end -->\n"


def test_a_section_of_a_page_is_redrawn_and_the_rest_is_left_alone(runs, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    command = ["table", "nri", str(runs), "--into", str(page), "--section", "a"]
    assert cli.main(command) == 0
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- table: a -->\n**Graph layout: stochastic softmax tricks**\n")
    assert text.endswith("\n<!-- end -->\n\nprose\n\n<!-- table: b -->\nkept\n<!-- end -->\n")
    assert "old" not in text
    assert cli.main(command) == 0
    assert page.read_text() == text


def test_a_page_keeps_its_bytes_and_the_ends_of_its_lines(runs, tmp_path):
    page = tmp_path / "page.md"
    page.write_bytes(b"\xef\xbb\xbf" + PAGE.replace("prose", "pro\nse").encode().replace(b"\n", b"\r\n") + b"lf\n\rend")
    _, _, tail = page.read_bytes().partition(b"<!-- end -->")
    command = ["table", "nri", str(runs), "--into", str(page), "--section", "a"]
    assert cli.main(command) == 0
    content = page.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf# Results\r\n\r\n<!-- table: a -->\r\n**Graph layout")
    before, _, after = content.partition(b"<!-- end -->")
    assert after == tail
    assert before.count(b"\n") == before.count(b"\r\n") > 8
    assert cli.main(command) == 0
    assert page.read_bytes() == content


def test_a_page_in_another_encoding_is_left_alone(runs, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_bytes(PAGE.replace("prose", "Prosa ä").encode("latin-1"))
    before = page.read_bytes()
    assert cli.main(["table", "nri", str(runs), "--into", str(page), "--section", "a"]) == 2
    assert f"{page} is not UTF-8" in said(capsys)[1]
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Results\n", "found 0 sections"),
        (PAGE.replace("old\n<!-- end -->", "old"), "found 1 sections 'table: a'"),
        (PAGE.replace("table: b", "table: a"), "found 2 sections"),
    ],
)
def test_a_page_without_the_section_is_left_alone(runs, tmp_path, capsys, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert cli.main(["table", "nri", str(runs), "--into", str(page), "--section", "a"]) == 2
    assert message in said(capsys)[1]
    assert page.read_text() == text


def test_a_narrow_terminal_gets_the_blocks_one_below_the_other(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    run_folder(runs / "longer", nri_result(num_frames=20))
    assert cli.main(["table", "nri", str(runs)]) == 0
    out = capsys.readouterr().out
    assert out.count("Edge Distribution") == 2
    assert "…" not in out
    monkeypatch.setenv("COLUMNS", "140")
    assert cli.main(["table", "nri", str(runs)]) == 0
    assert capsys.readouterr().out.count("Edge Distribution") == 1
