"""Run folders and results as `sst train` leaves them, without any training."""

import json

from sstricks.recipes.harness.run import NOT_IN_RESULTS
from sstricks.recipes.l2x import LearningToExplain
from sstricks.recipes.listops import ListOps
from sstricks.recipes.nri import GraphLayout


def nri_config(**changes):
    return {**GraphLayout(preset="cpu").with_preset().to_json(), **changes}


def nri_result(valid=-1000.0, *, test=-990.0, precision=0.5, recall=0.25, seconds=1.0, **changes):
    config = nri_config(**changes)
    metrics = {"valid/elbo": valid, "test/elbo": test, "test/edge_precision": precision, "test/edge_recall": recall}
    more = {"chance/edge_recall": 0.2, "test/complemented": 0.0}
    return _result(config, {**metrics, **more}, {"steps": config["steps"], "seconds": seconds})


def listops_result(valid=0.9, *, test=0.9, precision=0.5, recall=0.5, **changes):
    config = {**ListOps(preset="cpu").with_preset().to_json(), **changes}
    metrics = {"valid/accuracy": valid, "test/accuracy": test}
    return _result(config, {**metrics, "test/edge_precision": precision, "test/edge_recall": recall}, {})


def l2x_result(valid=0.5, *, mse=0.02, precision=0.5, **changes):
    config = LearningToExplain(data_folder="/reviews", aspect="service", relaxation="corr-top-k", k=10).to_json()
    config |= {"data_digest": "digest", "source": "hotels", "preset": "cpu"} | changes
    metrics = {"valid/explained_variance": valid, "test/mse": mse, "test/subset_precision": precision}
    return _result(config, metrics, {"train_reviews": 30_000, "valid_reviews": 2_500, "test_reviews": 748})


def run_folder(path, result, *, finished=True, config=None):
    path.mkdir(parents=True)
    content = {name: value for name, value in result.items() if "/" not in name} if config is None else config
    (path / "config.json").write_text(json.dumps(content))
    if finished:
        (path / "result.json").write_text(json.dumps(result))
    return path


def _result(config, metrics, more):
    return {
        **metrics,
        **{name: value for name, value in config.items() if name not in NOT_IN_RESULTS},
        "restarts": config["restarts"],
        **more,
    }
