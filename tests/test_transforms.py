"""Law 10: every pair under torch's transformations and modes."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import grad, jacfwd, jacrev, jvp, vjp, vmap

import sstricks as sst
from cases import OPTION_CASES, PAIR_CASES, SOLVER_CASES, Case
from laws import assert_near
from sstricks import functional as F

PAIRS = pytest.mark.parametrize("case", PAIR_CASES, ids=str)
STRUCTURES = pytest.mark.parametrize(
    "case", [*{type(c.problem): c for c in PAIR_CASES}.values(), *OPTION_CASES], ids=str
)
T = torch.tensor([0.4, 1.0, 2.5], dtype=torch.float64)


def weighted(case: Case, u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A scalar with a non-trivial gradient."""
    return (case.softmax(u, t) * torch.linspace(-1, 1, u.shape[-1], dtype=u.dtype)).sum()


def gradients(case: Case, u: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    u, t = u.clone().requires_grad_(), t.clone().requires_grad_()
    return torch.autograd.grad(weighted(case, u, t), (u, t))


@PAIRS
def test_no_grad(case: Case):
    u = case.utilities(3).requires_grad_()
    with torch.no_grad():
        x = case.softmax(u, T)
    assert not x.requires_grad
    assert torch.equal(x, case.softmax(u, T))


@PAIRS
def test_inference_mode(case: Case):
    u = case.utilities(3)
    maps = [lambda v: case.softmax(v, T), case.structure.argmax]
    maps += [case.structure.log_partition] if case.has_family else []
    expected = [call(u) for call in maps]
    with torch.inference_mode():
        found = [call(u) for call in maps]
        born_inside = case.softmax(u.clone(), T.clone())
    for a, b in zip((*found, born_inside), (*expected, expected[0]), strict=True):
        assert a.is_inference()
        assert torch.equal(a, b)


@PAIRS
def test_gradient_only_where_it_is_asked_for(case: Case):
    u, t = case.utilities(3), T.clone()
    assert not case.softmax(u, t).requires_grad
    du, dt = gradients(case, u, t)
    assert torch.equal(torch.autograd.grad(weighted(case, v := u.clone().requires_grad_(), t), v)[0], du)
    assert_near(torch.autograd.grad(weighted(case, u, s := t.clone().requires_grad_()), s)[0], dt, 1e-12)


@PAIRS
def test_a_scalar_temperature_collects_the_gradient_of_the_batch(case: Case):
    u, t = case.utilities(3), torch.tensor(0.7, dtype=torch.float64)
    _, dt = gradients(case, u, t)
    _, each = gradients(case, u, t.expand(3).clone())
    assert dt.shape == ()
    assert_near(dt, each.sum(), 1e-12)


@STRUCTURES
def test_argmax_and_log_partition_compile_without_a_graph_break(case: Case):
    torch.compiler.reset()
    u = case.utilities(3).requires_grad_()
    argmax = torch.compile(case.structure.argmax, fullgraph=True, backend="aot_eager")
    assert torch.equal(argmax(u), case.structure.argmax(u))
    if not case.has_family:
        return
    value = torch.compile(case.structure.log_partition, fullgraph=True, backend="aot_eager")(u)
    assert_near(value, case.structure.log_partition(u), 1e-12)
    (found,) = torch.autograd.grad(value.sum(), u)
    (expected,) = torch.autograd.grad(case.structure.log_partition(u).sum(), u)
    assert_near(found, expected, 1e-12)


@pytest.mark.long
def test_one_graph_holds_all_solvers_under_the_default_compiler():
    """Forward and backward through inductor, whose fused code must call the operators as they are."""
    torch.compiler.reset()

    def total(utilities: list[torch.Tensor], t: torch.Tensor) -> torch.Tensor:
        terms = [weighted(case, u, t) for case, u in zip(SOLVER_CASES, utilities, strict=True)]
        return torch.stack(terms).sum()

    utilities, t = [case.utilities(3).requires_grad_() for case in SOLVER_CASES], T.clone().requires_grad_()
    expected = total(utilities, t)
    expected_gradients = torch.autograd.grad(expected, (*utilities, t))
    value = torch.compile(total, fullgraph=True)(utilities, t)
    assert_near(value, expected, 1e-10)
    for found, gradient in zip(torch.autograd.grad(value, (*utilities, t)), expected_gradients, strict=True):
        assert_near(found, gradient, 1e-10)


@STRUCTURES
def test_batch_size_may_be_dynamic(case: Case):
    torch.compiler.reset()
    compiled = torch.compile(case.softmax, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (2, 5, 7):
        u = case.utilities(size)
        assert_near(compiled(u, 0.5), case.softmax(u, 0.5), 1e-12)


ANNEALED = [4 * 0.8**step for step in range(20)]


def compiled_twice(function):
    """The compiled function, which has been called with every temperature and compiled twice, and what it returned."""
    torch.compiler.reset()
    backend = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    found = [compiled(t) for t in ANNEALED]
    assert backend.frame_count == 2
    return compiled, found


@pytest.mark.long
def test_one_graph_of_all_solvers_serves_all_float_temperatures_but_the_first():
    utilities = [case.utilities(2) for case in SOLVER_CASES]

    def all_solvers(t: float) -> list[torch.Tensor]:
        return [case.softmax(u, t) for case, u in zip(SOLVER_CASES, utilities, strict=True)]

    compiled, found = compiled_twice(all_solvers)
    for t, points in zip(ANNEALED, found, strict=True):
        for x, expected in zip(points, all_solvers(t), strict=True):
            assert_near(x, expected, 1e-12)
    for case, u, x in zip(SOLVER_CASES, utilities, compiled(0.0), strict=True):
        assert torch.equal(x, case.structure.argmax(u))


@STRUCTURES
def test_one_graph_serves_tricks_of_all_float_temperatures_but_the_first(case: Case):
    """Made and drawn inside the compiled function, with a scale that is annealed as well."""
    loc = case.utilities(2).requires_grad_()

    def sample(t: float) -> torch.Tensor:
        return sst.StochasticSoftmaxTrick(case.structure, sst.Gumbel(loc, t), t, case.regularizer).rsample()

    torch.manual_seed(0)
    _, found = compiled_twice(sample)
    torch.manual_seed(0)
    for t, x in zip(ANNEALED, found, strict=True):
        expected = sample(t)
        assert_near(x, expected, 1e-12)
        gradients = [torch.autograd.grad(y[0, 0], loc)[0] for y in (x, expected)]
        assert_near(*gradients, 1e-12)


@STRUCTURES
def test_export(case: Case):
    """With any number of examples, and the temperature as a number or a tensor."""

    class Model(torch.nn.Module):
        def forward(self, u: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return case.softmax(u, t), case.softmax(u, 0.7), case.structure.argmax(u)

    u, t = case.utilities(3), torch.tensor(0.5, dtype=torch.float64)
    program = torch.export.export(Model(), (u, t), dynamic_shapes=({0: torch.export.Dim("batch")}, None))
    u, t = case.utilities(5), torch.tensor(2.0, dtype=torch.float64)
    for found, expected in zip(program.module()(u, t), Model()(u, t), strict=True):
        assert_near(found, expected, 1e-12)


@PAIRS
def test_func_grad(case: Case):
    u, t = case.utilities(), T[0]
    du, dt = gradients(case, u, t)
    assert_near(grad(lambda v: weighted(case, v, t))(u), du, 1e-12)
    assert_near(grad(lambda s: weighted(case, u, s))(t), dt, 1e-12)


@PAIRS
def test_vmap_over_utilities(case: Case):
    u = case.utilities(2, 3)
    assert_near(vmap(lambda v: case.softmax(v, 0.5))(u), case.softmax(u, 0.5), 1e-12)
    assert_near(vmap(vmap(lambda v: case.softmax(v, 0.5)))(u), case.softmax(u, 0.5), 1e-12)
    columns = vmap(lambda v: case.softmax(v, 0.5), in_dims=1, out_dims=1)(u)
    assert_near(columns, case.softmax(u, 0.5), 1e-12)


@PAIRS
def test_vmap_over_temperatures(case: Case):
    u = case.utilities()
    expected = torch.stack([case.softmax(u, t) for t in T])
    assert_near(vmap(lambda t: case.softmax(u, t))(T), expected, 1e-12)
    batch = case.utilities(2)
    expected = torch.stack([case.softmax(batch, t) for t in T])
    assert_near(vmap(lambda t: case.softmax(batch, t))(T), expected, 1e-12)


@PAIRS
def test_vmap_over_both(case: Case):
    u = case.utilities(3)
    assert_near(vmap(case.softmax)(u, T), case.softmax(u, T), 1e-12)


@STRUCTURES
def test_vmap_of_argmax_log_partition_and_contains(case: Case):
    u = case.utilities(3)
    x = vmap(case.structure.argmax)(u)
    assert torch.equal(x, case.structure.argmax(u))
    if case.has_family:
        assert_near(vmap(case.structure.log_partition)(u), case.structure.log_partition(u), 1e-12)
    assert vmap(case.structure.contains)(x).tolist() == [True] * 3


@PAIRS
def test_per_example_gradients(case: Case):
    u = case.utilities(3)
    du, dt = vmap(grad(lambda v, s: weighted(case, v, s), argnums=(0, 1)))(u, T)
    for i in range(3):
        expected = gradients(case, u[i], T[i])
        assert_near(du[i], expected[0], 1e-12)
        assert_near(dt[i], expected[1], 1e-12)


@PAIRS
def test_jacrev(case: Case):
    u = case.utilities()
    expected = torch.autograd.functional.jacobian(lambda v: case.softmax(v, 0.6), u)
    assert isinstance(expected, torch.Tensor)
    assert_near(jacrev(lambda v: case.softmax(v, 0.6))(u), expected, 1e-12)
    batched = vmap(jacrev(lambda v: case.softmax(v, 0.6)))(torch.stack((u, -u)))
    assert_near(batched[0], expected, 1e-12)


@PAIRS
def test_jacobians_by_a_batch_of_cotangents(case: Case):
    """`is_grads_batched` maps over cotangents by another vmap than torch.func's."""
    u = case.utilities(2)
    batched, looped = (
        torch.autograd.functional.jacobian(lambda u: case.softmax(u, 0.7), u, vectorize=vectorize)
        for vectorize in (True, False)
    )
    assert_near(batched, looped, 1e-12)


@PAIRS
def test_vmap_of_jvp(case: Case):
    u, du = case.utilities(3), case.utilities(3, seed=1)

    def tangent(u: torch.Tensor, t: torch.Tensor, du: torch.Tensor) -> torch.Tensor:
        return jvp(case.softmax, (u, t), (du, torch.ones_like(t)))[1]

    expected = torch.stack([tangent(*args) for args in zip(u, T, du, strict=True)])
    assert_near(vmap(tangent)(u, T, du), expected, 1e-12)
    assert_near(tangent(u, T, du), expected, 1e-12)
    assert_near(jvp(vmap(case.softmax), (u, T), (du, torch.ones_like(T)))[1], expected, 1e-12)
    columns = vmap(lambda du: tangent(u[0], T[0], du), in_dims=1)(du.mT)
    assert_near(columns[0], expected[0], 1e-12)


@PAIRS
def test_hessian_vector_products(case: Case):
    """Forward over reverse, reverse over reverse, and reverse over forward."""
    u, v = case.utilities(), case.utilities(seed=1)

    def loss(u: torch.Tensor) -> torch.Tensor:
        return weighted(case, u, T[0])

    expected = jacrev(grad(loss))(u) @ v
    assert_near(jvp(grad(loss), (u,), (v,))[1], expected, 1e-9)
    assert_near(vjp(grad(loss), u)[1](v)[0], expected, 1e-9)
    assert_near(grad(lambda u: jvp(loss, (u,), (v,))[1])(u), expected, 1e-9)


@STRUCTURES
@pytest.mark.parametrize("regularizer", [sst.Euclidean(), sst.CategoricalEntropy(), sst.ExponentialFamilyEntropy()])
def test_reverse_over_forward_in_single_precision(case: Case, regularizer: sst.Regularizer):
    """There zeros reach the kernels that have no memory."""
    if isinstance(regularizer, sst.ExponentialFamilyEntropy) and not case.has_family:
        return
    u = case.utilities(dtype=torch.float32)

    def loss(u: torch.Tensor) -> torch.Tensor:
        return (case.structure.softmax(u, 0.5, regularizer) * torch.linspace(-1, 1, len(u))).sum()

    assert_near(jacrev(jacfwd(loss))(u), jacfwd(grad(loss))(u), 1e-4)


def test_utilities_whose_sign_is_pending():
    z = torch.randn(5, dtype=torch.complex128)
    assert z.conj().imag.is_neg()
    assert torch.equal(sst.KSubset(5, 2).argmax(z.conj().imag), sst.KSubset(5, 2).argmax(-z.imag))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # the compiler looks at it
def test_forward_mode_is_not_compiled():
    """Torch knows no forward mode of custom operators inside a graph: an error, or a break, and never zeros."""
    pairs, u, v = sst.KSubset(4, 2), torch.randn(4), torch.randn(4)

    def tangent(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return jvp(lambda u: pairs.softmax(u, 0.7, sst.ExponentialFamilyEntropy()), (u,), (v,))[1]

    torch.compiler.reset()
    assert_near(torch.compile(tangent, backend="eager")(u, v), tangent(u, v), 1e-12)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="drops tangents"):
        torch.compile(tangent, backend="eager", fullgraph=True)(u, v)


ARROWS, TRIANGLE = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), torch.tensor([[0, 0, 1], [1, 2, 2]])
FUNCTIONS = {
    F.capped_simplex: (5, {"k": 2}),
    F.capped_softmax: (5, {"k": 2}),
    F.k_subset_sigmoid: (5, {"k": 2}),
    F.k_subset_marginals: (5, {"k": 2}),
    F.k_subset_log_partition: (5, {"k": 2}),
    F.chain_k_subset_marginals: (7, {"k": 2}),
    F.chain_k_subset_log_partition: (7, {"k": 2}),
    F.birkhoff_projection: ((3, 2), {}),
    F.sinkhorn: ((3, 3), {}),
    F.matching_sigmoid: ((2, 3), {"partial": True}),
    F.spanning_tree_marginals: (3, {"edges": TRIANGLE, "num_nodes": 3}),
    F.spanning_tree_log_partition: (3, {"edges": TRIANGLE, "num_nodes": 3}),
    F.arborescence_marginals: (4, {"edges": ARROWS, "num_nodes": 3}),
    F.arborescence_log_partition: (4, {"edges": ARROWS, "num_nodes": 3}),
    F.path_marginals: (3, {"edges": TRIANGLE}),
    F.path_log_partition: (3, {"edges": TRIANGLE}),
    F.projective_arborescence_marginals: (4, {"num_nodes": 3}),
    F.projective_arborescence_log_partition: (4, {"num_nodes": 3}),
    F.scaled_utility: (3, {"temperature": 0.5, "mask": torch.tensor([True, False, True])}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_forward_mode_of_functions(function, dtype: torch.dtype):
    size, arguments = FUNCTIONS[function]
    u = torch.randn(size, dtype=dtype)
    forward, reverse = (jacobian(lambda u: function(u, **arguments))(u) for jacobian in (jacfwd, jacrev))
    assert torch.count_nonzero(reverse) > 0
    torch.testing.assert_close(forward, reverse, check_dtype=False)  # of the result, or of the argument


UTILITIES = {
    "Logistic": lambda a: sst.Logistic(a, 1.0),
    "Logistic's scale": lambda a: sst.Logistic(torch.zeros(4), a),
    "NegativeExponential": sst.NegativeExponential,
    "Masked": lambda a: sst.Masked(sst.Logistic(a), torch.ones(4, dtype=torch.bool)),
    "ChainUtility": lambda a: sst.ChainUtility(sst.NegativeExponential(a[:2]), a[2:3]),
    "Sorting": sst.Sorting,
}


@pytest.mark.parametrize("utility", UTILITIES.values(), ids=UTILITIES)
def test_vmap_over_utilities_that_are_drawn(utility):
    """Each example has numbers of its own, or all have the same, as the caller wishes; also under one law for all."""
    parameters = torch.ones(4, 3)
    for function, dims in ((lambda a: utility(a).rsample((2,)), 1), (lambda a: utility(parameters[:, 0]).rsample(), 1)):
        drawn = torch.func.vmap(function, in_dims=dims, randomness="different")(parameters)
        assert len(drawn.unique(dim=0)) == 3
        drawn = torch.func.vmap(function, in_dims=dims, randomness="same")(parameters)
        assert len(drawn.unique(dim=0)) == 1


@PAIRS
def test_double_backward(case: Case):
    """The Hessian of a scalar, by reverse over reverse in both spellings, is symmetric and the same."""
    u, t = case.utilities(), T[0]
    hessian = torch.autograd.functional.hessian(lambda v: weighted(case, v, t), u)
    assert isinstance(hessian, torch.Tensor)
    assert_near(hessian, hessian.mT, 1e-9)
    assert_near(jacrev(grad(lambda v: weighted(case, v, t)))(u), hessian, 1e-12)
    step = 1e-5 * case.utilities(seed=3)
    ahead, behind = gradients(case, u + step, t)[0], gradients(case, u - step, t)[0]
    assert_near((ahead - behind) / 2e-5, hessian @ step * 1e5, 1e-7)


@PAIRS
def test_gradient_modes_nest(case: Case):
    """Gradients may be taken inside no_grad by torch.func, and enabled again inside it by enable_grad."""
    u = case.utilities()
    expected = gradients(case, u, T[0])[0]
    with torch.no_grad():
        assert_near(grad(lambda v: weighted(case, v, T[0]))(u), expected, 1e-12)
        with torch.enable_grad():
            assert_near(gradients(case, u, T[0])[0], expected, 1e-12)
