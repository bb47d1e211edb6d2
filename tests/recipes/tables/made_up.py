"""Run folders and results as `sst train` leaves them, without any training."""

import json

from sstricks.recipes.harness.run import NOT_IN_RESULTS
from sstricks.recipes.l2x import LearningToExplain
from sstricks.recipes.listops import ListOps
from sstricks.recipes.nri import GraphLayout


def nri_config(**changes):
    return {**GraphLayout(preset="cpu").with_preset().to_json(), **changes}


def nri_result(valid=-1000.0, *, test=-990.0, precision=0.5, recall=0.25, seconds=1.0, flipped=0.0, **changes):
    metrics = {"valid/elbo": valid, "test/elbo": test, "test/edge_precision": precision, "test/edge_recall": recall}
    more = {"chance/edge_recall": 0.2, "test/complemented": flipped, "seconds": seconds}
    return _result(nri_config(**changes), {**metrics, **more})


def listops_result(valid=0.9, **changes):
    config = {**ListOps(preset="cpu").with_preset().to_json(), **changes}
    metrics = {"valid/accuracy": valid, "test/accuracy": 0.9, "test/edge_precision": 0.5, "test/edge_recall": 0.5}
    return _result(config, metrics)


def l2x_result(valid=0.5, *, mse=0.02, precision=0.5, **changes):
    config = LearningToExplain(data_folder="/reviews", aspect="service", relaxation="corr-top-k", k=10).to_json()
    config |= {"data_digest": "digest", "source": "hotels", "preset": "cpu"} | changes
    metrics = {"valid/explained_variance": valid, "test/mse": mse, "test/subset_precision": precision}
    return _result(config, {**metrics, "train_reviews": 30_000, "valid_reviews": 2_500, "test_reviews": 748})


def _result(config, metrics):
    return {**metrics, **{name: value for name, value in config.items() if name not in NOT_IN_RESULTS}} | {
        "restarts": config["restarts"]
    }


def unfinished(result):
    return {name: value for name, value in result.items() if "/" not in name}


def run_folder(path, result, *, finished=True, diverged=False, config=None):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(unfinished(result) if config is None else config))
    if finished and not diverged:
        (path / "result.json").write_text(json.dumps(result))
    if diverged:
        (path / "diverged.json").write_text("{}")
    return path


def said(capsys):
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), " ".join(captured.err.split())
