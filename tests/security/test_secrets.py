"""No secret of the environment, and none in an address, gets into what is written or said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from preprocessing.common.errors import InputError
from preprocessing.common.redaction import has_credentials, without_credentials
from preprocessing.storage.files import filesystem
from tests.commands import call, the_sentence
from tests.security.conftest import Chain
from tests.security.planted import SECRET_WORDS, Places, found_in

pytestmark = pytest.mark.slow

WORD = "planted-in-an-address-99"


def test_no_secret_of_the_environment_is_in_anything_written_or_said(swept: Chain) -> None:
    assert (swept.out / "sweep" / "sweep.html").exists()
    assert found_in(swept.places, SECRET_WORDS) == []


@pytest.mark.parametrize(
    "change",
    [
        f"logging.mlflow=https://user:{WORD}@mlflow.invalid",
        f"logging.mlflow=https://{WORD}@mlflow.invalid",
        f"store=s3://key:{WORD}@bucket/store",
        f"out=s3://key:{WORD}@bucket/run",
        f"network.pretrained=https://user:{WORD}@host.invalid/w.pt",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(
    chain: Chain, tmp_path: Path, change: str
) -> None:
    values = yaml.safe_load((chain.out / "run.yaml").read_text()) | {"out": str(tmp_path / "run")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    config = str(tmp_path / "run.yaml")
    out, error = call("train", "--config", config, "--set", change, status=2)
    assert "name or password" in the_sentence(error)
    assert found_in(Places(tmp_path, [out, error]), (WORD,)) == []


@pytest.mark.parametrize(
    "words",
    [
        ("preprocess", f"s3://key:{WORD}@bucket/cohort", "store"),
        ("split", f"s3://key:{WORD}@bucket/store"),
        ("evaluate", "--predictions", f"https://user:{WORD}@host.invalid/t.csv", "--out", "r"),
        ("status", f"s3://key:{WORD}@bucket/sweep"),
    ],
)
def test_commands_refuse_such_an_address_too(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, error = call(*words, status=2)
    the_sentence(error)
    assert found_in(Places(tmp_path, [out, error]), (WORD,)) == []


def test_the_object_stores_address_must_carry_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{WORD}@127.0.0.1:1")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL http://…@127") as caught:
        filesystem("s3://bucket/x")
    assert WORD not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:word@host/path", "https://…@host/path"),
        ("https://token@host", "https://…@host"),
        ("postgresql+psycopg2://u:p@ss@db/x", "postgresql+psycopg2://…@db/x"),
        ("at s3://k:s@bucket/x and http://a:b@c.", "at s3://…@bucket/x and http://…@c."),
    ],
)
def test_addresses_are_shown_without_names_and_passwords(text: str, shown: str) -> None:
    assert has_credentials(text)
    assert without_credentials(text) == shown


@pytest.mark.parametrize(
    "text", ["s3://bucket/mail@home", "/data/a@b", "file:///tmp/a@b", "http://host:9000", "x@y"]
)
def test_other_addresses_are_left_as_they_are(text: str) -> None:
    assert not has_credentials(text)
    assert without_credentials(text) == text
