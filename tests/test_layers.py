"""Imports point down only (objects → functional → ops), and importing the package stays light."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sstricks

ROOT = Path(sstricks.__file__).parent
CORE = [path for path in ROOT.rglob("*.py") if "recipes" not in path.relative_to(ROOT).parts]
LAYERS = {"ops": 0, "functional": 1}  # all else is an object
HEAVY = ("numba", "llvmlite", "lightning", "matplotlib", "networkx", "scipy", "tensorboard", "tyro")


def layer(module: str) -> int:
    head = (module.removeprefix("sstricks").lstrip(".") + ".").split(".")[0]
    return LAYERS.get(head, 2)


def imported_modules(path: Path) -> list[str]:
    """Every absolute name of this package that the file imports, at its top or inside a function."""
    package = ["sstricks", *path.relative_to(ROOT).parent.parts]
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{target}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] == "sstricks"]


def module_name(path: Path) -> str:
    return ".".join(["sstricks", *path.relative_to(ROOT).with_suffix("").parts])


def test_imports_point_down_only():
    shared = {"sstricks.errors"}  # the one form of complaints, which every layer may raise
    upward = [
        f"{module_name(path)} imports {name}"
        for path in ROOT.rglob("*.py")
        for name in imported_modules(path)
        if layer(name) > layer(module_name(path)) and not any(name.startswith(s) for s in shared)
    ]
    assert upward == []


def test_the_core_does_not_know_the_recipes():
    knowing = [
        f"{module_name(path)} imports {name}"
        for path in ROOT.rglob("*.py")
        for name in imported_modules(path)
        if name.startswith("sstricks.recipes")
        and not module_name(path).startswith(("sstricks.recipes", "sstricks_cli"))
    ]
    assert knowing == []


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of nodes that lead to one another, and the single ones that lead to themselves."""
    reach = {}
    for node in graph:
        seen, pending = set(), [node]
        while pending:
            new = graph[pending.pop()] - seen
            seen |= new
            pending += new
        reach[node] = seen
    found = {frozenset(other for other in reach[node] if node in reach[other]) for node in graph}
    return [set(circle) for circle in found if circle]


def test_imports_of_the_core_have_no_circle():
    """Not even through imports inside functions or for type checkers."""
    modules = {module_name(path).removesuffix(".__init__"): path for path in CORE}

    def imported(path: Path) -> set[str]:
        return {n if n in modules else n.rpartition(".")[0] for n in imported_modules(path)} & modules.keys()

    graph = {module: imported(path) for module, path in modules.items()}
    assert sum(map(len, graph.values())) > 100
    assert circles(graph) == []


# What `namedtuple` gives its classes: public, in spite of the name.
NAMED_TUPLE = {"_replace", "_make", "_asdict", "_fields"}


def private_names_of_others(path: Path) -> list[str]:
    """The uses of private names that neither the file itself nor another library defines."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    own = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)} | NAMED_TUPLE
    own |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    foreign = {"self", "cls"}
    used = []
    for n in nodes:
        if isinstance(n, ast.Import):
            foreign |= {(alias.asname or alias.name).split(".")[0] for alias in n.names}
        elif isinstance(n, ast.ImportFrom) and not (n.module or "").startswith("sstricks"):
            foreign |= {alias.asname or alias.name for alias in n.names}
        elif isinstance(n, ast.ImportFrom):
            used += [f"{alias.name}, line {n.lineno}" for alias in n.names if alias.name.startswith("_")]
    for n in nodes:
        if isinstance(n, ast.Attribute) and n.attr.startswith("_") and not n.attr.endswith("__") and n.attr not in own:
            of = ast.unparse(n.value)
            if of not in ("self", "cls", "super()") and (of.startswith("self.") or of.split(".")[0] not in foreign):
                used.append(f"{of}.{n.attr}, line {n.lineno}")
    return used


def test_no_module_uses_private_names_of_another():
    assert {module_name(path): used for path in CORE if (used := private_names_of_others(path))} == {}


def test_both_layers_below_exist():
    assert all(any((ROOT / name).glob("*.py")) for name in LAYERS)


def test_import_is_light():
    program = f"import sys, torch; t = {{*sys.modules}}; import sstricks; print(*{{*sys.modules}} - t & {{*{HEAVY!r}}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/").stdout
    assert loaded.split() == []


def test_import_changes_no_global_setting():
    program = """
import os, torch
def settings():
    return torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed(), dict(os.environ)
before = settings()
import sstricks
assert settings() == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")


def test_a_generator_is_always_named():
    """Every public function that draws takes it the same way, whatever other arguments it has."""
    drawing = {
        f"{package.__name__}.{name}": parameter
        for package in (sstricks.functional, sstricks.baselines, sstricks.estimators)
        for name in package.__all__
        if (inspect.isclass(getattr(package, name)) or inspect.isfunction(getattr(package, name)))
        if (parameter := inspect.signature(getattr(package, name)).parameters.get("generator")) is not None
    }
    assert len(drawing) >= 10
    assert [name for name, parameter in drawing.items() if parameter.kind is not parameter.KEYWORD_ONLY] == []


def test_public_names_are_all_exported():
    structures = {"Structure", "OneHot", "Subset", "KSubset", "ChainKSubset", "SpanningTree"}
    regularizers = {"Regularizer", "Euclidean", "CategoricalEntropy", "BinaryEntropy", "ExponentialFamilyEntropy"}
    tricks = {"StochasticArgmaxTrick", "StochasticSoftmaxTrick", "StraightThrough", "Draw"}
    assert structures | regularizers | tricks | {"ChainUtility", "Logistic", "Masked", "NoSolverError"} <= set(
        sstricks.__all__
    )
    assert [name for name in sstricks.__all__ if not hasattr(sstricks, name)] == []


@pytest.mark.parametrize(
    "package", ["structures", "utilities", "distributions", "tricks", "solvers", "estimators", "diagnosis"]
)
def test_a_package_exports_the_classes_that_it_gathers(package):
    gathered = importlib.import_module(f"sstricks.{package}")
    classes = {name for name, item in vars(gathered).items() if isinstance(item, type) and not name.startswith("_")}
    assert classes <= set(gathered.__all__)
    assert [name for name in gathered.__all__ if not hasattr(gathered, name)] == []
