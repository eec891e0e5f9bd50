"""The supervised flow: contract, roll-outs, named training terms against automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine
from torch.func import grad, jacrev, vmap

from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError, UnknownName
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.nn.potentials import Potentials
from pyro_models.story import Transports
from tests.core.cases import StoryCase

SHAPE = (4, 3, 8, 8)
SMALL = {"latent": 3, "potential": 2, "hidden": (16,)}


def noise(count: int = 12) -> Data:
    generator = torch.Generator().manual_seed(0)
    return Data({"frames": torch.rand(count, *SHAPE, generator=generator), "k": torch.arange(count) % 2}, "noise")


def lively(**options) -> SupervisedFlow:
    """A story whose fields are strong enough to show in every number."""
    story = SupervisedFlow(SHAPE, flows=2, **{**SMALL, **options})
    for module in (story.transport, story.force):
        if module is not None:
            for parameter in module.parameters():
                parameter.data = 0.4 * torch.randn_like(parameter)
    return story


class TestSupervisedFlow(StoryCase):
    def make(self):
        return SupervisedFlow(SHAPE, flows=2, **SMALL)

    def data(self):
        return noise()


class TestSupervisedFlowOfVectors(StoryCase):
    def make(self):
        return SupervisedFlow((4, 6), flows=2, latent=3, potential=4, hidden=(16,), likelihood="gaussian", pde=0.0)

    def data(self):
        return Data(
            {"frames": torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(0)), "k": torch.arange(9) % 2}
        )


def test_the_residual_shapes_the_fields_and_leaves_the_encoder_alone():
    with_residual, without = lively(flow_prior=0.0), lively(flow_prior=0.0, pde=0.0)
    without.load_state_dict(with_residual.state_dict(), strict=False)
    gradients = []
    for story in (with_residual, without):
        torch.manual_seed(0)
        trace = poutine.trace(story.guide).get_trace(*noise().fields.values())
        model = poutine.trace(poutine.replay(story.model, trace=trace)).get_trace(*noise().fields.values())
        torch.manual_seed(1)
        model.log_prob_sum().backward()
        encoder = next(story.encoder.parameters()).grad
        drift = story.transport.potentials.drift.grad
        gradients.append((encoder, drift))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])


@pytest.mark.parametrize(("quadratic", "largest"), [(False, 0.5), (True, 5.0)])
def test_a_force_without_quadratic_part_takes_small_steps(quadratic, largest):
    """One step of the optimiser on a value, at a code of 128 numbers: what a quadratic part adds is without measure."""
    torch.manual_seed(0)
    force, z = Potentials(1, 128, 16, quadratic=quadratic), torch.randn(1, 128)
    before = force.value(z)
    before.sum().backward()
    torch.optim.Adam([p for p in force.parameters() if p.requires_grad], lr=2e-3).step()
    change = float((force.value(z) - before).detach().abs())
    assert change < largest if not quadratic else change > largest
    assert SupervisedFlow(SHAPE, flows=2, **SMALL).force.quadratic.requires_grad is False


def test_a_small_weight_of_the_code_is_for_training_alone():
    story = lively(kl=0.1)
    scales = []
    for training in (True, False):
        trace = poutine.trace(story.train(training).guide).get_trace(*noise().fields.values())
        scales.append(trace.nodes["z"]["scale"])
    assert scales == [pytest.approx(0.1), 1.0]


def test_a_sequence_follows_its_own_flow():
    story, z = lively(), torch.randn(5, 3)
    every = story.roll_out(z)
    k = torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(story.path_of(z, k), every[torch.arange(5), :, k])
    assert (every[:, :, 0] - every[:, :, 1]).abs().max() > 0.1


def test_decoding_some_frames_is_unbiased():
    torch.manual_seed(0)
    story, data = lively(decoded=2), noise(200)
    batch = [data["frames"], data["k"]]
    path = poutine.trace(story.guide).get_trace(*batch)

    def log_likelihood() -> torch.Tensor:
        return poutine.trace(poutine.replay(story.model, trace=path)).get_trace(*batch).nodes["frames"]

    def total(site) -> float:
        return float(site["scale"] * site["fn"].log_prob(site["value"]).detach().sum())

    some = torch.tensor([total(log_likelihood()) for _ in range(200)])
    story.eval()
    whole = total(log_likelihood())
    assert (some.mean() - whole).abs() < 5 * some.std() / 200**0.5
    assert some.std() > 0


def test_training_terms_are_absent_from_every_bound():
    story, data = lively(), noise()
    names = lambda: set(poutine.trace(story.model).get_trace(data["frames"], data["k"]).nodes)  # noqa: E731
    terms = {"hamilton_jacobi", "initial_condition", "flow_prior"}
    assert terms <= names()
    story.eval()
    assert not terms & names()


def clock_at(story: SupervisedFlow, shift: float) -> torch.Tensor:
    """What the potentials' clock says at the times 0, 1, ..., each shifted."""
    clock = story.transport.potentials.clock
    times = clock.times
    clock.times = times + shift
    found = clock()
    clock.times = times
    return found


def test_the_residual_is_the_hamilton_jacobi_equation():
    """Values at shifted times and automatic gradients give the same residual as the closed forms."""
    story = lively().double()
    z = torch.randn(6, story.steps, 1, 3, dtype=torch.double)
    residual, start = story.residual(z)
    potentials, now = story.transport.potentials, clock_at(story, 0.0)
    for t in range(1, story.steps + 1):
        at = z[:, t - 1]
        later, earlier = (potentials.value(at, clock_at(story, s)[t]) for s in (1e-5, -1e-5))
        for k in range(2):
            slope = vmap(grad(lambda p, k=k, t=t: potentials.value(p, now[t])[..., k].sum()))(at)
            force = story.force.value(at, story.force.clock()[t])[:, k]
            expected = (later - earlier)[:, k] / 2e-5 + slope.square().sum((-1, -2)) / 2 + force.square()
            torch.testing.assert_close(residual[:, t - 1, k], expected, atol=1e-6, rtol=1e-5)
    first = potentials(z[:, 0], now[0]).square().sum(-1) + story.force.value(z[:, 0], story.force.clock()[0]).square()
    torch.testing.assert_close(start, first)


def test_the_wave_equation_takes_its_place():
    """Differences of differences in time and automatic Laplacians give the same residual as the closed forms."""
    story = lively(equation="wave").double()
    assert story.force is None
    story.log_wave_speed.data.copy_(torch.tensor([0.3, -0.2]))
    z = torch.randn(6, story.steps, 1, 3, dtype=torch.double)
    residual, start = story.residual(z)
    potentials, now = story.transport.potentials, clock_at(story, 0.0)
    for t in range(1, story.steps + 1):
        at = z[:, t - 1]
        later, middle, earlier = (potentials.value(at, clock_at(story, s)[t]) for s in (1e-3, 0.0, -1e-3))
        for k in range(2):
            curl = vmap(jacrev(lambda p, k=k, t=t: potentials(p, now[t])[k]))(at)[:, :, 0]
            speed = (2 * story.log_wave_speed[k]).exp()
            expected = (later - 2 * middle + earlier)[:, k] / 1e-6 - speed * curl.diagonal(dim1=1, dim2=2).sum(-1)
            torch.testing.assert_close(residual[:, t - 1, k], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(start, potentials(z[:, 0], now[0]).square().sum(-1))
    names = set(poutine.trace(lively(equation="wave").model).get_trace(*noise().fields.values()).nodes)
    assert {"wave", "initial_condition"} <= names
    with pytest.raises(UnknownName, match="heat"):
        SupervisedFlow(SHAPE, flows=2, equation="heat", **SMALL)


@pytest.mark.parametrize("potential", [2, 6])
def test_the_flow_prior_uses_the_exact_change_of_volume(potential):
    story = lively(potential=potential, flow_prior=1.0, pde=0.0).double()
    data = noise(5)
    frames, k = data["frames"].double(), data["k"]
    z = torch.randn(5, 3, dtype=torch.double)
    trace = poutine.trace(poutine.condition(story.model, {"z": z})).get_trace(frames, k)
    found = trace.nodes["flow_prior"]["fn"].log_prob(torch.tensor([]))
    expected = torch.zeros(5, dtype=torch.double)
    heat = lambda z, t: torch.distributions.Normal(0.0, (1 + 0.2 * t) ** 0.5).log_prob(z).sum(-1)  # noqa: E731
    for row in range(5):
        for t in range(1, story.steps + 1):
            jacobian = jacrev(lambda start, row=row, t=t: story.path_of(start[None], k[row : row + 1])[0, t])(z[row])
            end = story.path_of(z[row : row + 1], k[row : row + 1])[0, t]
            expected[row] += heat(end, t) + torch.linalg.slogdet(jacobian).logabsdet - heat(z[row], 0)
    torch.testing.assert_close(found, expected.mean().expand(5), atol=1e-5, rtol=1e-5)


def test_pictures_and_predictions_agree():
    story, data = lively().eval(), noise()
    shown = story.traverse(data["frames"][:, 0], story.steps)
    predicted = story.reconstruct(data["frames"], data["k"])
    torch.testing.assert_close(shown[torch.arange(12), data["k"]], predicted)
    assert isinstance(story, Transports)
    assert story.traverse(data["frames"][:2, 0], 9).shape == (2, 2, 10, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (3, 8, 8)}, "sequences have the shape"),
        ({"shape": SHAPE, "decoded": 9}, "decoded is 9; a sequence has from 1 to 4"),
        ({"shape": SHAPE, "flows": 0}, "flows is 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        SupervisedFlow(**options)


def test_the_number_of_flows_follows_from_the_data():
    assert SupervisedFlow.build(noise(), **SMALL).flows == 2
