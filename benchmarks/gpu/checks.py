"""`python -m benchmarks.gpu.checks SUBJECT FILE DEVICE SIZE`: a structure on the device against itself on the CPU."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.gpu.record import Recorder
from benchmarks.gpu.subjects import SUBJECTS, Subject, name_of

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-2}
SAMPLES = 4000


def patterns(structure: sst.Structure, rows: int) -> dict[str, Tensor]:
    """Utilities, some of them extreme."""
    torch.manual_seed(0)
    u = torch.randn(rows, *structure.event_shape, dtype=torch.float64)
    ties = torch.randint(-1, 2, u.shape).double()
    infinite = u.clone()
    infinite.flatten(1)[::2, 0] = torch.inf
    return {"normal": u, "wide": 1e4 * u, "ties": ties, "equal": torch.zeros_like(u), "infinite": infinite}


def near(found: Tensor, expected: Tensor, tolerance: float) -> dict[str, float]:
    """The largest difference, which must not be more than the tolerance."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    assert found.shape == expected.shape, f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    wrong = (
        (found.isnan() != expected.isnan()).flatten(1).any(-1) if found.dim() > 1 else found.isnan() != expected.isnan()
    )
    assert not wrong.any(), f"NaN in {int(wrong.sum())} of {len(wrong)} rows, first {int(wrong.nonzero()[0])}"
    apart = torch.where(found == expected, 0.0, (found - expected).abs()).nan_to_num(0.0, posinf=torch.inf)
    error = apart.max().item() if apart.numel() else 0.0
    assert error <= tolerance, f"off by {error:.3g} in {int((apart > tolerance).sum())} of {apart.numel()} numbers"
    return {"error": error}


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Raise where the host waits for the device."""
    if device == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def relaxed(structure: sst.Structure, f: sst.Regularizer, u: Tensor, t: float = 1.0) -> tuple[Tensor, Tensor]:
    """A relaxation and the gradient of a weighted sum of it."""
    u = u.detach().requires_grad_()
    x = structure.softmax(u, t, f)
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype, device=x.device).reshape(x.shape[1:])
    (du,) = torch.autograd.grad((x * weights).sum(), u)
    return x, du


def check_structure(note: Recorder, structure: sst.Structure, f_s: tuple, device: str, rows: int, family: bool) -> None:
    there = structure.to(device)
    for pattern, u in patterns(structure, rows).items():
        for dtype in TOLERANCE if pattern == "normal" else (torch.float64,):
            given, tag = u.to(dtype), f"{structure} {pattern} {str(dtype).removeprefix('torch.')}"
            if pattern != "infinite" or not isinstance(structure, sst.Matching):
                note.attempt(
                    "argmax", tag, lambda given=given: near(there.argmax(given.to(device)), structure.argmax(given), 0)
                )
            for f in f_s:

                def compare(f: sst.Regularizer = f, given: Tensor = given, pattern: str = pattern) -> dict[str, float]:
                    found, expected = relaxed(there, f, given.to(device)), relaxed(structure, f, given)
                    errors = near(found[0], expected[0], TOLERANCE[given.dtype])
                    smooth = pattern == "normal" or isinstance(f, sst.ExponentialFamilyEntropy)
                    if smooth and pattern != "infinite":  # elsewhere the gradient has two sides
                        errors["gradient"] = near(found[1], expected[1], 10 * TOLERANCE[given.dtype])["error"]
                    return errors

                note.attempt(name_of(f), tag, compare)
            if family and dtype == torch.float64:

                def log_partition(given: Tensor = given) -> dict[str, float]:
                    expected = structure.log_partition(given)
                    scale = float(expected[expected.isfinite()].abs().max()) if expected.isfinite().any() else 1.0
                    return near(there.log_partition(given.to(device)), expected, 1e-12 * max(scale, 1.0))

                note.attempt("log_partition", tag, log_partition)
    check_invalid(note, structure, there, f_s, device)


def check_invalid(note: Recorder, structure: sst.Structure, there: sst.Structure, f_s: tuple, device: str) -> None:
    """A row with NaN becomes NaN, and the others are what they are without it."""
    if device == "cpu":
        return
    u = patterns(structure, 4)["normal"]
    broken = u.clone()
    broken.flatten(1)[1, 0] = torch.nan

    def isolated(call: Callable[[Tensor], Tensor]) -> None:
        found, expected = call(broken.to(device)).cpu(), call(u.to(device)).cpu()
        assert found[1].isnan().all(), "the invalid row is not NaN"
        near(found[[0, 2, 3]], expected[[0, 2, 3]], 1e-12)

    note.attempt("invalid", f"{structure} argmax", lambda: isolated(there.argmax))
    for f in f_s:
        for part, of in enumerate(("value", "gradient")):
            note.attempt(
                "invalid",
                f"{structure} {name_of(f)} {of}",
                lambda f=f, part=part: isolated(lambda v: relaxed(there, f, v)[part]),
            )


def check_samples(note: Recorder, structure: sst.Structure, device: str) -> None:
    """Vertices, with the marginals as their mean."""
    there = structure.to(device)
    u = 0.5 * patterns(structure, 3)["normal"].to(device)

    def law() -> dict[str, float]:
        drawn = there.sample(u, (SAMPLES,))
        assert there.contains(drawn).all(), "not all are vertices"
        x = there.softmax(u, 1.0, sst.ExponentialFamilyEntropy())
        deviation = (x * (1 - x) / SAMPLES).clamp(min=0).sqrt() + 1e-9 + 1.0 / SAMPLES
        worst = float(((drawn.mean(0) - x).abs() / deviation).max())
        assert worst < 6, f"means are {worst:.1f} deviations off"
        return {"deviations": worst}

    note.attempt("sample", str(structure), law)


def check_device(note: Recorder, subject: Subject, structure: sst.Structure, device: str, family: bool) -> None:
    """No call waits for the device, and a call can be captured in a graph."""
    there = structure.to(device)
    u = patterns(structure, subject.rows)["normal"].float().to(device)
    works: dict[str, Callable[[], object]] = {"argmax": lambda: there.argmax(u)}
    for f in subject.relaxations:
        works[name_of(f)] = lambda f=f: relaxed(there, f, u, 0.5)
    if family:
        works["log_partition"] = lambda: there.log_partition(u)
        works["sample"] = lambda: there.sample(u)
    for name, call in works.items():

        def quietly(call: Callable[[], object] = call) -> None:
            call()
            with no_waiting(device):
                call()

        def captured(call: Callable[[], object] = call) -> None:
            call()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = call()
            graph.replay()
            torch.cuda.synchronize()
            expected = call()
            for found, wanted in zip(out, expected, strict=True) if isinstance(out, tuple) else ((out, expected),):
                near(found, wanted, 1e-5)

        if note.attempt("waits", f"{structure} {name}", quietly) and device != "cpu" and name != "sample":
            note.attempt("graph", f"{structure} {name}", captured)


def main(name: str, path: str, device: str, size: str) -> None:
    torch.set_num_threads(2)
    subject, note = SUBJECTS[name], Recorder(name, Path(path))
    build = subject.sizes[int(size)]
    structure, family = build(), not isinstance(build(), sst.Matching)
    if build is subject.full:
        check_device(note, subject, structure, device, family)
    check_structure(note, structure, subject.relaxations, device, 16 if build is subject.full else 6, family)
    if family:
        check_samples(note, structure, device)
    note.note("end", str(structure), ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
