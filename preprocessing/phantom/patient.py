"""One phantom patient, drawn from the seed and the patient's number alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from preprocessing.phantom.anatomy import FAT_SUPPRESSED, WEAKLY_SUPPRESSED, Anatomy
from preprocessing.phantom.geometry import Pose
from preprocessing.phantom.labels import draw_latents
from preprocessing.phantom.scanner import Protocol, draw_protocol
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.signal import CoilField, Scene, draw_pose
from preprocessing.phantom.tumour import Tumour

# One stream of random numbers for each subject: a change in one leaves the others as they are.
_STREAMS = ("protocol", "anatomy", "latents", "tumour", "field", "motion", "clinic", "noise")


@dataclass(frozen=True)
class PhantomPatient:
    """All that is decided about a patient before the first voxel.

    Parameters
    ----------
    number
        From 1.
    labels
        Target to 0 or 1.
    latents
        Target to its latent image feature.
    poses
        How the patient lies in each phase; the first is the reference.
    layout
        Kind of folder names.
    zero_padded
        Whether file numbers are.
    """

    number: int
    labels: Mapping[str, int]
    latents: Mapping[str, float]
    protocol: Protocol
    scene: Scene
    poses: tuple[Pose, ...]
    layout: Literal["classic", "descriptive"]
    zero_padded: bool

    @property
    def patient_id(self) -> str:
        """As Duke writes it."""
        return f"Breast_MRI_{self.number:03d}"


def random_stream(seed: int, number: int, subject: str, part: int = 0) -> np.random.Generator:
    """Return the random numbers for one subject of one patient."""
    return np.random.default_rng([seed, number, _STREAMS.index(subject), part])


def draw_patient(
    settings: PhantomSettings, number: int, labels: Mapping[str, int]
) -> PhantomPatient:
    """Draw patient `number` (from 1)."""

    def stream(subject: str) -> np.random.Generator:
        return random_stream(settings.seed, number, subject)

    protocol = draw_protocol(stream("protocol"), settings, labels)
    shows_scanner = bool(settings.shortcut) and protocol.scanner.vendor == "Siemens"
    stack = protocol.phases[0].stack
    latents = draw_latents(labels, settings.effects, stream("latents"))
    anatomy = Anatomy.draw(stream("anatomy"), max(stack.pixel_mm, stack.spacing_mm))
    scene = Scene(
        anatomy=anatomy,
        tumour=Tumour.draw(stream("tumour"), anatomy, latents),
        field=CoilField.draw(stream("field"), anatomy, settings.field_sd),
        num_posts=len(protocol.phases) - 1,
        tissue=WEAKLY_SUPPRESSED if shows_scanner else FAT_SUPPRESSED,
    )
    return PhantomPatient(
        number=number,
        labels=labels,
        latents=latents,
        protocol=protocol,
        scene=scene,
        poses=_draw_poses(stream("motion"), settings, protocol, anatomy),
        layout=_layout_of(settings, number),
        zero_padded=number % 3 != 0,
    )


def _draw_poses(
    rng: np.random.Generator, settings: PhantomSettings, protocol: Protocol, anatomy: Anatomy
) -> tuple[Pose, ...]:
    stack = protocol.phases[0].stack
    voxel_mm = (stack.pixel_mm, stack.pixel_mm, stack.spacing_mm)
    return (
        Pose(),
        *(draw_pose(rng, settings.motion, voxel_mm, anatomy.wall_mm) for _ in protocol.phases[1:]),
    )


def _layout_of(settings: PhantomSettings, number: int) -> Literal["classic", "descriptive"]:
    if settings.layout == "mixed":
        return "classic" if number % 2 else "descriptive"
    return settings.layout
