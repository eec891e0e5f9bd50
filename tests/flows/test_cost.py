"""The two forms whose speeds are compared compute the same thing."""

from __future__ import annotations

import torch

from evaluation.experiments.flow_cost import closed_form, loop_form, make


def test_both_forms_give_the_same_number_and_gradients():
    story, z = make(3, 5)
    story, z = story.double(), z.double()[:6]
    gradients = []
    for form in (closed_form, loop_form):
        story.zero_grad()
        value = form(story, z)
        value.backward()
        gradients.append(
            [value.detach(), *(p.grad for p in [*story.transport.parameters(), *story.force.parameters()])]
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
