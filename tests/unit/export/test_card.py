from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.export.exporting import export

pytestmark = pytest.mark.slow


def card_of(folder: Path, form: str) -> str:
    return (folder / ("docs/README.md" if form == "bundle" else "model-card.md")).read_text()


@pytest.mark.parametrize("form", ["safetensors", "onnx", "bundle"])
def test_the_card_says_what_is_known_and_how_to_run(models, tmp_path, form) -> None:
    told = export(models["ensemble"], form, tmp_path / "out")
    text = card_of(tmp_path / "out", form)
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["targets"], front["models"]) == (["ER", "PR"], ["ensemble"])
    assert "Research use only. Not a medical device." in text
    assert "mean of 2 networks" in text
    assert "no test patient was read" in text
    assert f"{told.operating_points['ER'][0].threshold:.4f}" in text
    assert "## How to run it" in text
    assert "AUC" not in text.split("## Quantitative analyses")[1]


def test_an_onnx_card_keeps_the_runtime_from_talking(models, tmp_path) -> None:
    export(models["single"], "onnx", tmp_path / "out")
    text = card_of(tmp_path / "out", "onnx")
    variable = text.index('os.environ["ORT_DISABLE_TELEMETRY"] = "1"')
    assert variable < text.index("import onnxruntime")
    assert "onnxruntime talks to its maker" in text


def test_the_cards_code_runs(models, store, split, tmp_path, monkeypatch) -> None:
    from tests.unit.export.compare import OWN_IMAGES, ask

    said = ask(models["single"], store, split)
    for form in ("safetensors", "onnx"):
        folder = tmp_path / form
        export(models["single"], form, folder)
        code = card_of(folder, form).split("```python\n")[1].split("```")[0]
        names = {"voxels": said.crops[0]}
        monkeypatch.chdir(folder)
        exec(code.replace("THIS_FOLDER", str(folder)), names)  # noqa: S102
        if form == "onnx":
            found = float(names["probability"][0, 0])
        else:
            found = float(names["torch"].sigmoid(names["logits"])[0, 0])
        assert found == pytest.approx(said.probabilities[0, 0], abs=OWN_IMAGES)
