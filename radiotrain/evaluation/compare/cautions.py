"""What to know before believing a comparison of two reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from radiotrain.evaluation.compare.report_folder import Report
from radiotrain.evaluation.compare.settings import has_configuration
from radiotrain.evaluation.report.places import last_name


def find_cautions(
    first: Report,
    second: Report,
    chosen: Sequence[tuple[str, str, str]],
    margin: float | None = None,
    equal_rate: float | None = None,
) -> Iterator[str]:
    """Yield sentences.

    Parameters
    ----------
    chosen
        Target, run of the first report and run of the second, of each pair.
    margin, equal_rate
        As they were given.
    """
    yield from _about_reports(first, second)
    yield from _about_pairs(first, second, chosen)
    if margin is not None:
        yield (
            f"The margin of {margin:g} counts only if it was fixed before any result was seen; no record"
            " here shows when it was."
        )
    if equal_rate is not None:
        yield (
            f"The rate of {100 * equal_rate:g}% counts only if it was fixed before any result was seen:"
            " one that was chosen for its P value is exploratory."
        )


def _about_reports(first: Report, second: Report) -> Iterator[str]:
    for report in (first, second):
        if not report.provenance:
            yield (
                f"How the predictions of {last_name(report.name)} were made is not known, so settings and"
                " splits cannot be compared."
            )
    if not first.provenance or not second.provenance:
        return
    for what, why in (
        (
            "split",
            "patients tested by one may have trained the other, where one cohort is behind both",
        ),
        ("store", "the images, or what was made of them, differ as well as the networks"),
    ):
        ours, theirs = first.fingerprint(what), second.fingerprint(what)
        if ours != theirs:
            yield f"The {what}s differ (fingerprints {ours} and {theirs}): {why}."
    if first.provenance.get("preprocessing") != second.provenance.get("preprocessing"):
        yield "The preprocessing differs: what is compared is not the networks alone."


def _about_pairs(
    first: Report, second: Report, chosen: Sequence[tuple[str, str, str]]
) -> Iterator[str]:
    per_target = [target for target, _, _ in chosen]
    if any(per_target.count(target) > 1 for target in per_target):
        yield (
            f"{len(chosen)} pairs of runs are compared. The best of several looks better than it is:"
            " choose runs on validation, and name them with --run."
        )
    silent = {run for _, run, _ in chosen if first.provenance and not has_configuration(first, run)}
    silent |= {o for _, _, o in chosen if second.provenance and not has_configuration(second, o)}
    if silent:
        yield f"No configuration is known of: {', '.join(sorted(silent))}."
