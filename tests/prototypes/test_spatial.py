"""Spatial transformers against geometry that is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pyro_models.errors import ModelsError
from pyro_models.nn.spatial import (
    TRANSFORMS,
    PointField,
    SpatialTransformer,
    affine_points,
    inverse_affine,
    lattice,
    read_image,
)
from pyro_models.nn.spatial.thin_plate import ThinPlate

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 5, 9)]


def ramps(height: int = 12, width: int = 10) -> torch.Tensor:
    """Two channels that hold the coordinates of their pixels: reading them at a point gives the point."""
    return lattice(height, width).reshape(2, height, width)


def inside(points: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Points between pixel centres, where no padding enters."""
    limit = torch.tensor([1 - 1 / size[1], 1 - 1 / size[0]])
    return (points.abs() <= limit[:, None]).all(-2)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_identity_changes_nothing(name, shape):
    transformer = SpatialTransformer((name,), shape)
    image = torch.rand(shape)
    # the morphological window keeps 98 % in its centre
    tolerance = 0.03 if name == "morphological" else 1e-5
    torch.testing.assert_close(transformer(image, transformer.identity), image, atol=tolerance, rtol=0)


@pytest.mark.parametrize("names", [("affine", "thin-plate"), ("colour", "similarity", "morphological", "affine")])
@pytest.mark.parametrize("shape", SHAPES)
def test_leading_dimensions_broadcast(names, shape):
    transformer = SpatialTransformer(names, shape)
    prototypes, theta = torch.rand(3, 1, *shape), transformer.prior().sample((3, 4))
    moved = transformer(prototypes, theta)
    assert moved.shape == (3, 4, *shape)
    for k in range(3):
        for b in range(4):
            torch.testing.assert_close(moved[k, b], transformer(prototypes[k, 0], theta[k, b]), atol=1e-5, rtol=1e-4)
    shared = transformer(prototypes, theta[:1])
    torch.testing.assert_close(shared[2], transformer(prototypes[2], theta[0]), atol=1e-5, rtol=1e-4)


def test_shared_images_are_read_as_copies_are():
    images, points = torch.rand(3, 1, 2, 7, 6), torch.rand(3, 4, 2, 42) * 2.4 - 1.2
    for padding in ("zeros", "border"):
        found = read_image(images, points, (7, 6), padding)
        copies = images.expand(3, 4, 2, 7, 6).reshape(12, 2, 7, 6)
        grid = points.transpose(-1, -2).reshape(12, 7, 6, 2)
        plain = F.grid_sample(copies, grid, padding_mode=padding, align_corners=False).reshape(3, 4, 2, 7, 6)
        torch.testing.assert_close(found, plain)


def test_gradients_reach_image_and_parameters():
    transformer = SpatialTransformer(
        ("thickness", "affine", "thin-plate", "morphological", "colour"), (1, 8, 8)
    ).double()
    theta = transformer.prior().sample((2,)).double().requires_grad_()
    image = torch.rand(1, 8, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(transformer, (image, theta), atol=1e-5)


def test_an_inverse_undoes():
    matrix = torch.eye(2, 3) + 0.3 * torch.randn(5, 2, 3)
    points = torch.randn(2, 11)
    there = affine_points(matrix, points)
    torch.testing.assert_close(
        affine_points(inverse_affine(matrix), there), points.expand(5, 2, 11), atol=1e-4, rtol=1e-4
    )


def test_moving_by_one_pixel_is_a_shift():
    transformer = SpatialTransformer(("affine",), (1, 6, 8))
    image = torch.rand(1, 6, 8)
    right = transformer(image, torch.tensor([1.0, 0.0, 2 / 8, 0.0, 1.0, 0.0]))  # look one pixel to the right
    torch.testing.assert_close(right[..., :-1], image[..., 1:], atol=1e-5, rtol=0)
    assert right[..., -1].abs().max() < 1e-5
    border = SpatialTransformer(("affine",), (1, 6, 8), padding="border")
    torch.testing.assert_close(border(image, torch.tensor([1.0, 0, 2 / 8, 0, 1, 0]))[..., -1], image[..., -1])


def test_a_quarter_turn_is_exact():
    transformer = SpatialTransformer(("similarity",), (3, 9, 9))
    image = torch.rand(3, 9, 9)
    turned = transformer(image, torch.tensor([0.0, torch.pi / 2, 0.0, 0.0]))
    torch.testing.assert_close(turned, image.rot90(1, (1, 2)), atol=1e-5, rtol=0)


def test_warps_compose_as_maps_of_points():
    """The first named is applied to the image first, hence to the points last."""
    transformer = SpatialTransformer(("affine", "similarity", "thin-plate"), (2, 12, 10), scales=(0.05, 0.05, 0.05))
    theta = transformer.prior().sample()
    affine, similarity, bend = transformer.transforms
    a, s, b = theta.split(transformer.sizes)
    points = affine(a, similarity(s, bend(b))).points()
    seen = transformer(ramps(), theta).flatten(1)
    within = inside(points, (12, 10))
    assert within.sum() > 50
    torch.testing.assert_close(seen[:, within], points[:, within], atol=1e-5, rtol=0)


def test_an_affine_map_of_a_field_is_that_of_its_points():
    bend = ThinPlate((1, 9, 7))
    field = bend(0.1 * torch.randn(3, 1, 32))
    matrix = torch.eye(2, 3) + 0.3 * torch.randn(3, 4, 2, 3)
    torch.testing.assert_close(
        field.affine(matrix).points(), affine_points(matrix, field.points()), atol=1e-5, rtol=1e-4
    )
    own = PointField.of(field.points()).affine(matrix).points()
    torch.testing.assert_close(own, affine_points(matrix, field.points()), atol=1e-5, rtol=1e-4)


def test_a_thin_plate_passes_through_its_control_points():
    bend = ThinPlate((1, 28, 28))
    theta = 0.1 * torch.randn(32)
    at_control = bend(theta, PointField.of(bend.centres.float())).points()
    torch.testing.assert_close(at_control, bend.centres.float() + theta.reshape(2, 16), atol=1e-5, rtol=0)
    anew = bend(theta, PointField.of(bend.lattice)).points()
    torch.testing.assert_close(bend(theta).points(), anew, atol=1e-5, rtol=0)


def test_a_thin_plate_that_need_not_bend_is_affine():
    bend = ThinPlate((1, 9, 7))
    matrix = 0.1 * torch.randn(2, 3)
    theta = affine_points(matrix, bend.centres.float()).flatten()
    expected = bend.lattice + affine_points(matrix, bend.lattice)
    torch.testing.assert_close(bend(theta).points(), expected, atol=1e-5, rtol=0)


def test_a_thin_plate_bends_less_than_its_neighbours_in_energy():
    """Among surfaces through the same values the thin plate has the least bending; a bump added at a place without a
    control point only adds to it."""
    bend = ThinPlate((1, 40, 40))
    surface = bend.basis(bend.lattice)[5].reshape(40, 40).double()
    x, y = lattice(40, 40).double().reshape(2, 40, 40)
    bump = torch.ones(40, 40, dtype=torch.double)
    for centre in bend.centres.T:  # vanishes at every control point
        bump = bump * (1 - torch.exp(-20 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2)))

    def bending(f: torch.Tensor) -> float:
        xx, yy = f.diff(n=2, dim=1), f.diff(n=2, dim=0)
        xy = f.diff(dim=0).diff(dim=1)
        return float(xx.square().sum() + yy.square().sum() + 2 * xy.square().sum())

    assert bending(surface) < bending(surface + 0.05 * bump)
    assert bending(surface) < bending(surface - 0.05 * bump)


def test_strokes_get_thicker_and_thinner():
    transformer = SpatialTransformer(("morphological",), (1, 15, 15))
    image = torch.zeros(1, 15, 15)
    image[:, 3:12, 6:9] = 1.0
    window = torch.full((7, 7), -10.0)
    window[2:5, 2:5] = 4.0  # a 3x3 window of equal weights beside the centre
    window[3, 3] = -0.5
    plain = transformer.identity
    grown = transformer(image, torch.cat((torch.tensor([2.0]), window.flatten())))
    shrunk = transformer(image, torch.cat((torch.tensor([-2.0]), window.flatten())))
    assert grown.sum() > 1.3 * transformer(image, plain).sum()
    assert shrunk.sum() < 0.7 * transformer(image, plain).sum()
    assert grown.max() <= 1
    assert shrunk.min() >= 0


def test_thickness_goes_to_the_extremes_of_the_neighbours():
    transformer = SpatialTransformer(("thickness",), (1, 9, 9))
    image = torch.zeros(1, 9, 9)
    image[:, 1:8, 3:6] = 1.0
    wide, narrow, half = (transformer(image, torch.tensor([theta])) for theta in (1.0, -1.0, 0.5))
    assert wide.sum() == 9 * 5
    assert narrow.sum() == 5 * 1
    torch.testing.assert_close(half, (image + wide) / 2)


def test_colour_is_gain_and_bias_of_each_channel():
    transformer = SpatialTransformer(("colour",), (2, 3, 3))
    image = torch.rand(2, 3, 3)
    changed = transformer(image, torch.tensor([2.0, 1.0, 0.0, -0.5]))
    torch.testing.assert_close(changed, torch.stack((2 * image[0], image[1] - 0.5)))


def test_transforms_that_are_not_in_use_are_ignored():
    transformer = SpatialTransformer(("affine", "thin-plate"), (1, 8, 8))
    image, theta = torch.rand(1, 8, 8), transformer.prior().sample()
    transformer.active = 0
    torch.testing.assert_close(transformer(image, theta), image)
    transformer.active = 1
    torch.testing.assert_close(transformer(image, theta), SpatialTransformer(("affine",), (1, 8, 8))(image, theta[:6]))
    assert transformer.active_size == 6
    assert len(transformer.parameter_names()) == transformer.size == 38


def test_scales_are_those_of_the_prior():
    transformer = SpatialTransformer(("affine", "colour"), (1, 8, 8), scales=(0.2, 0.5))
    prior = transformer.prior()
    torch.testing.assert_close(prior.stddev, torch.tensor([0.2] * 6 + [0.5] * 2))
    torch.testing.assert_close(prior.mean, torch.tensor([1.0, 0, 0, 0, 1, 0, 1, 0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpatialTransformer(("affine", "affine"), (1, 8, 8)), "'affine' is named twice"),
        (lambda: SpatialTransformer(("afine",), (1, 8, 8)), "did you mean 'affine'"),
        (lambda: SpatialTransformer(("affine",), (1, 8, 8), scales=(-1.0,)), "must be positive"),
        (lambda: SpatialTransformer(("affine",), (1, 8, 8), scales=(0.1, 0.1)), "2 prior scales for 1 transforms"),
        (lambda: SpatialTransformer(("affine",), (8, 8)), "reads images of shape"),
        (lambda: SpatialTransformer(("affine",), (1, 8, 8), padding="mirror"), "no padding is called 'mirror'"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ModelsError, match=message):
        make()
