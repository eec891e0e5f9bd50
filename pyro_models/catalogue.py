"""The stories by name: one line each, imported only when asked for.

A user's own story needs no line here: ``--story my_module:MyStory`` (or ``my_file.py:MyStory``) works, and so does the
entry point group ``pyro_models.stories`` of an installed package.
"""

from __future__ import annotations

from pyro_models.registry import Registry

STORIES = Registry("story", "pyro_models.stories")
STORIES.add(
    "flow-trajectories",
    "pyro_models.flows.trajectories:TrajectoryFlow",
    "a few sparse vector fields explain how observed points move; exact likelihood",
)
STORIES.add(
    "flow-supervised",
    "pyro_models.flows.supervised:SupervisedFlow",
    "one code per sequence, carried by the potential of a known transformation",
)
STORIES.add(
    "flow-weak",
    "pyro_models.flows.weak:WeakFlow",
    "as flow-supervised, but which transformation a sequence has is latent",
)
STORIES.add(
    "flow-sparse",
    "pyro_models.flows.sparse:SparseFlowStory",
    "several flows at once, switched on and off, with speeds; nothing labelled",
)
STORIES.add(
    "frame-codes",
    "pyro_models.flows.frame_codes:FrameCodes",
    "frames without flows (VAE, SlowVAE); the baseline of the flows",
)
STORIES.add(
    "rolled-codes",
    "pyro_models.flows.rolled:RolledCodes",
    "known transformations roll rings of the code, as in topographic VAEs",
)
STORIES.add("vae", "pyro_models.anchors.vae:VAE", "Gaussian causes; the baseline everything is compared with")
STORIES.add(
    "mixture-vae", "pyro_models.anchors.mixture_vae:MixtureVAE", "K Gaussian components cluster the latent space"
)
STORIES.add("nebula", "pyro_models.anchors.nebula:Nebula", "codes around anchors: NVC, VaDE, VampPrior and relatives")
STORIES.add("dvae", "pyro_models.prototypes.dvae:DVAE", "K prototypes: every datum is one of them plus noise")
STORIES.add(
    "dvae-st",
    "pyro_models.prototypes.dvae_st:DVAEST",
    "K prototypes moved by a spatial transformer: affine, bending, ...",
)
STORIES.add("cvae", "pyro_models.conditional.cvae:CVAE", "any columns given, the others explained through a code")
STORIES.add(
    "cvae-joint", "pyro_models.conditional.joint:JointCVAE", "one joint model, a posterior from any part of the data"
)
STORIES.add(
    "cvae-direct", "pyro_models.conditional.direct:DirectConditional", "any columns given, the others jointly Gaussian"
)
STORIES.add(
    "cvae-original", "pyro_models.conditional.original:OriginalCVAE", "the published Gaussian CVAE testbed, to compare"
)
STORIES.add("cvae-image", "pyro_models.conditional.image:ImageCVAE", "images with pixels, class and colour given")
STORIES.add("air", "pyro_models.objects.air:AIR", "several objects on a canvas: how many, where, what")
STORIES.add("dair", "pyro_models.objects.dair:DAIR", "several objects, each one of K prototypes: where and which")
