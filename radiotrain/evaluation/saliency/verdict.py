"""What the numbers of a map say, in words; a pure function."""

from __future__ import annotations

from collections.abc import Iterator

from radiotrain.evaluation.saliency.results import Mean

# A map that likes this much what other weights draw shows the images' own edges.
_LIKE_RANDOM = 0.7
# Boxes rank alike enough for two ways of asking to agree.
_AGREES = 0.3

CLOSING = "It is evidence about where the network looks, not about why."


def judge_saliency(
    ratio: Mean, deletion: Mean, like_occlusion: Mean, *, picture: Mean, boxes: Mean
) -> tuple[str, tuple[str, ...]]:
    """Return ``supported``, ``doubtful`` or ``unsupported``, and the sentences that say why.

    Unsupported: removing the most salient voxels moves the logit no further than random ones, or
    boxes' attributions hardly depend on the weights. Supported: neither, shown by intervals, hiding
    boxes agrees, and the picture depends on the weights too. Doubtful: what lies between. Where
    the map lies says nothing about its truth, and so does not count.

    Parameters
    ----------
    picture, boxes
        Likeness of voxels' strengths, and of boxes' signed attributions, to those of random weights.
    """
    deletes = _above(deletion, 0)
    depends = None if boxes.value is None else boxes.value < _LIKE_RANDOM
    draws = None if picture.value is None else picture.value < _LIKE_RANDOM
    agrees = None if like_occlusion.value is None else like_occlusion.value >= _AGREES
    kind = "doubtful"
    if deletes is False or depends is False:
        kind = "unsupported"
    elif deletes and depends and draws and agrees:
        kind = "supported"
    sentences = (
        *_about_place(ratio),
        *_about_deletion(deletion, deletes),
        *_about_weights(boxes, depends),
        *_about_picture(picture, draws),
        *_about_occlusion(like_occlusion, agrees),
        CLOSING,
    )
    return kind, sentences


def _above(mean: Mean, limit: float) -> bool | None:
    """Tell whether a mean is above a limit beyond chance; None where that is open."""
    if mean.interval is None:
        return None
    if mean.interval[0] > limit:
        return True
    return False if mean.interval[1] <= limit or (mean.value or 0) <= limit else None


def _about_place(ratio: Mean) -> Iterator[str]:
    if ratio.value is None:
        yield "The map's share in the tumour is not defined: no tumour region, or no voxel outside it."
        return
    times = f"{ratio.value:.1f} times its share of the volume{_range(ratio)}"
    if ratio.interval is not None and ratio.interval[0] > 1:
        yield f"The tumour region has more of the map than expected: {times}."
    elif ratio.interval is not None and ratio.interval[1] < 1:
        yield f"The tumour region has less of the map than expected: {times}."
    else:
        yield f"That the map concentrates on the tumour region is not shown: {times}."


def _about_deletion(deletion: Mean, deletes: bool | None) -> Iterator[str]:
    if deletion.value is None:
        return
    more = f"{deletion.value:+.2f} logits{_range(deletion)}".replace("-", "−")
    if deletes:
        yield f"Removing the most salient voxels moves the logit further than removing random ones ({more})."
    elif deletes is None:
        yield f"That salient voxels matter more than random ones is not shown ({more})."
    else:
        yield f"Removing salient voxels moves the logit no further than random ones ({more})."


def _about_weights(boxes: Mean, depends: bool | None) -> Iterator[str]:
    if boxes.value is None:
        return
    number = f"rank correlation of boxes {boxes.value:.2f}".replace("-", "−")
    if depends:
        yield f"Attributions of image parts depend on the trained weights ({number} with random ones)."
    else:
        yield f"Random weights give similar attributions ({number}): the map reflects the images alone."


def _about_picture(picture: Mean, draws: bool | None) -> Iterator[str]:
    if draws is False:
        yield (
            "The map itself is similar with random weights (rank correlation of voxels"
            f" {picture.value:.2f}): bright voxels of the image are bright in it."
        )


def _about_occlusion(like: Mean, agrees: bool | None) -> Iterator[str]:
    if like.value is None:
        return
    number = f"rank correlation {like.value:.2f}".replace("-", "−")
    if agrees:
        yield f"Occlusion agrees with the map ({number})."
    else:
        yield f"Occlusion does not agree with the map ({number})."


def _range(mean: Mean) -> str:
    if mean.interval is None:
        return ""
    low, high = (f"{end:.2f}".replace("-", "−") for end in mean.interval)
    return f" (95% CI, {low} to {high})"
