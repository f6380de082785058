"""Words that must not get out: written where patients and machines have theirs, and looked for."""

from __future__ import annotations

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openpyxl
import pandas as pd
import pydicom
from PIL import Image

from preprocessing.store import Store

FAMILY, GIVEN, RECORD, BORN = "Quandrixelle", "Zorvanthe", "MRN73519284", "19610203"
NAME = f"{FAMILY}^{GIVEN}"
STUDY_DAY = "19970814"
UID_ROOT = "1.2.999.73519284"
IDENTIFIERS = (
    FAMILY, GIVEN, RECORD, "73519284", BORN, "1961-02-03", "ACC9938271", "Wibblethorpe",
    "Grumbleknot", "Snorrefjord", "Privatissimo", STUDY_DAY, "1997-08-14",
)  # fmt: skip
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEYIDENT1",
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret-7d1b93",
    "AWS_SESSION_TOKEN": "planted-aws-session-51ce02",
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token-aa8840",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password-e07719",
    "RAY_AUTH_TOKEN": "planted-ray-token-0f55c1d2e3a4b596",
    "PLANTED_PROXY": "http://planteduser:planted-url-password-31@proxy.invalid:3128",
}
SECRET_WORDS = (*(v for k, v in SECRETS.items() if k != "PLANTED_PROXY"), "planted-url-password-31")


def plant_in_dicom(file: Path) -> None:
    """Write a patient into a DICOM file, wherever files have room for one."""
    data = pydicom.dcmread(file)
    data.PatientName = NAME
    data.PatientID = RECORD
    data.PatientBirthDate = BORN
    data.AccessionNumber = "ACC9938271"
    data.InstitutionName = "St Wibblethorpe Hospital"
    data.OperatorsName = "Grumbleknot^O"
    data.ReferringPhysicianName = "Snorrefjord^R"
    data.StudyDescription = f"BREAST of {FAMILY}"
    data.SeriesDescription = f"{data.SeriesDescription} {FAMILY} 1961-02-03"
    data.ProtocolName = f"dyn {GIVEN}"
    data.PatientComments = f"{NAME} {BORN}"
    data.Manufacturer = f"{data.Manufacturer} {FAMILY}"
    for name in ("InstanceCreation", "Study", "Series", "Acquisition", "Content"):
        setattr(data, f"{name}Date", STUDY_DAY)
    block = data.private_block(0x0099, "Privatissimo", create=True)
    block.add_new(0x01, "LO", f"Privatissimo {NAME}")
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(data, name, f"{UID_ROOT}.{zlib.crc32(str(data[name].value).encode())}")
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(file)


def plant_in_workbook(workbook: Path, column: str, patient_ids: Collection[str]) -> None:
    """Write a name where some patients' label or scanner should be."""
    book = openpyxl.load_workbook(workbook)
    sheet = book.worksheets[0]
    rows = list(sheet.iter_rows())
    names = next(r for r in rows if any(c.value == "Patient ID" for c in r))
    place = next(i for i, c in enumerate(names) if str(c.value).strip() == column)
    for row in rows:
        if any(c.value in patient_ids for c in row):
            row[place].value = NAME
    book.save(workbook)


@dataclass
class Places:
    """All that commands have written and said."""

    folder: Path
    said: list[str] = field(default_factory=list)


def found_in(places: Places, words: tuple[str, ...]) -> list[str]:
    """Return 'file: word' for each planted word that is anywhere in what was written or said."""
    hits = [f"said: {w} in {text[-300:]}" for text in places.said for w in words if w in text]
    for path in sorted(p for p in places.folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(places.folder))
        hits += [f"name of {name}: {w}" for w in words if w in name]
        contents = [*_unpacked(path)]
        hits += [f"{name}: {w}" for w in words if any(w.encode() in c for c in contents)]
    return hits


def decoded_voxels(store: Store) -> Iterator[bytes]:
    """Yield what a store's chunks hold when they are decompressed."""
    for i in range(len(store.patient_ids)):
        yield store.read_images(i)[0].tobytes()
        yield store.read_region(i).tobytes()
        yield store.read_bias_field(i).tobytes()


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and what they hold where they are packed."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv().encode()
    elif path.suffix == ".pt":
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            for part in parts.namelist():
                yield parts.read(part)
    elif path.suffix == ".png":
        with Image.open(path) as picture:
            yield repr(picture.info).encode()
    elif path.suffix in (".html", ".svg"):
        for packed in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
            yield base64.b64decode(packed)
    for at in re.finditer(rb"\x89PNG\r\n\x1a\n", content):  # in TensorBoard's events
        with Image.open(io.BytesIO(content[at.start() :])) as picture:
            yield repr(picture.info).encode()
