"""What may be shown of text that comes from images: the field's own words and small numbers.

Names of series, files and makers are typed by people, who also type patients' and colleagues'
names, dates and record numbers there. What is stored, logged and reported is therefore not the
text but those of its words that are known to say something technical; each other word becomes
``…``. Decisions (which series is a phase, and which one) are made on the text itself.
"""

from __future__ import annotations

import hashlib
import re
import string

# What stands between the scheme and the last @ before the path, as in https://name:word@host/.
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#]*@")


def has_credentials(text: str) -> bool:
    """Tell whether a text holds an address with a name, password or token in it."""
    return _USER.search(text) is not None


def without_credentials(text: str) -> str:
    """Return a text whose addresses have ``…`` instead of names and passwords."""
    return _USER.sub(r"\g<scheme>…@", text)


OTHER_MAKER = "other maker"

_HIDDEN = "…"

_SERIES = """
ablated acq adc after ax axial b before bh bilat bilateral blade both breast breasts bravo c cad
calib calibration ce cine coil con contrast cor coronal cube d dce delay delayed diff diffusion dis
dixon dual dwi dyn dyna dynamic dynamics dynviews dynaviews dynacad early ep epi exam f fast fat fatsat fb fgre fifth
first fl flash flex fourth fov fs fse fspgr full gad gadolinium gd ge gradient grappa gre haste hi
high ideal images in inphase inv ir iso isotropic l lava left loc localiser localizer low lower lt
map mask mb medi min mip mm motion mp mpr mr mri ms multi multiphase multiple n nd nfs no non nonfs
norm normal oblique off opp or orig original out p part pas pass perf perfusion ph phase phases plus
post pre prone propeller proton quick r rd ref reformat res resolution right routine rt s sag
sagittal sat scan scout se sec second sense seq series sets short silicone single slice space spair
spc spgr spin spir st stir sub subs subtract subtracted subtraction supine survey t tfe th the
third thin thrive time tirm tra trace trans transverse trigger trufi tse tt tte tumor tumour turbo
twist uf ultrafast unenhanced upper venc vibe vibrant view views volume w water we wet wfs with
without wo wwo x xd zoom
"""
_FILES = """
acr bmp dat dcm dic dicom dir file gz hdr im ima image img instance mha mhd mr nhdr nii nifti nrrd pre
post raw scan seg series slice
"""
_MAKERS = """
agfa aurora bruker canon co company corp corporation diagnostic diagnostics esaote europe fonar fuji
fujifilm ge gehc gmbh group healthcare healthineers hitachi hologic icad imaging inc international
japan limited ltd magnetic mec medical mptronic mri neusoft of philips resonance siemens software
solutions spa systems system technologies technology toshiba uih united
"""
_SCANNERS = """
achieva aera airis allegra altaire alto altea ambition aperto architect artist atlas avanto brivo c card cima concerto device
creator cx discovery dstream echelon elan elition epic espree essenza evolution excelart excite expert explorer
fit flow fortian free freemax freestar galan genesis gyroscan harmony hd hde hdx hdxt hero horizon impact infinity
ingenia intera jupiter lumina lx magnetom max mmr mobile mr mri mrt multiva no number nova oasis omega open optima optimum orian panorama
pet pioneer premier prisma prismafit prodiva profile pulsar quasar room scanner sempra signa skyra smart sola sonata
spectra star station symphony symphonytim t terra tesla tim titan trio triotim twinspeed tx type umr unit unity vantage vento
verio vida vista voyager w x xd xj xl xq xr
"""
_CLINICAL = """
african alaska alaskan american and ancestry asian at bilateral black both breast caucasian diagnosis female first
hawaiian hispanic in indian islander latina latino left less links male meno menopausal menopause mixed more
multi multiple multiracial native non not of one or other pacific peri perimenopausal post postmenopausal pre
premenopausal prefer race races rechts right say side status than to two unilateral white
"""
_CELLS = """
+ ++ +++ - 0+ 1+ 2+ 3+ (+) ? #n/a #ref! #value! #div/0! #name? #num! #null! absent amplified borderline
empty equivocal false fraglich grenzwertig high intermediate ja low missing n/a negativ negative neg
negativo nein no none np pending pos positiv positive positivo present true unbekannt unclear unknown
weak yes
"""
_CELL_PHRASES = ("not amplified", "not available", "not done", "not known", "not tested")
_SERIES_WORDS = frozenset(_SERIES.split())
_FILE_WORDS = _SERIES_WORDS | frozenset(_FILES.split())
_MAKER_WORDS = frozenset(_MAKERS.split())
_SCANNER_WORDS = _MAKER_WORDS | frozenset((*_SCANNERS.split(), *string.ascii_lowercase))
_CLINICAL_WORDS = frozenset((*_CLINICAL.split(), *_CELLS.split(), "l", "r", "m", "f"))
_CELL_WORDS = frozenset((*_CELLS.split(), *_CELL_PHRASES))

# Columns of tables, as people call them, of which every usual word is known.
_OF_MAKERS = re.compile(r"manufacturer$|vendor|maker", re.IGNORECASE)
_OF_SCANNERS = re.compile(
    r"manufacturer|scanner|device|station|(^|[_ ])model([_ ]|$)", re.IGNORECASE
)
_OF_PEOPLE = re.compile(
    r"menopaus|(^|[_ ])(race|ethnicity|side|laterality|bilateral|sex|gender)([_ ]|$)", re.IGNORECASE
)
_DAY = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d([-._/ ])\d\d?\1\d\d?|\d\d?([-._/ ])\d\d?\2(?:19|20)?\d\d)(?!\d)"
)
_UID = re.compile(r"\d+(?:\.\d+){5,}")
# Record numbers, addresses of mail, and names as DICOM writes them.
_LIKE_A_PERSON = re.compile(r"\d{6,}|\S+@\S+|[^\s^]+\^[^\s^]*")
# Letters of any alphabet, numbers, and a few signs; whatever else there is shows nobody anything.
_PARTS = re.compile(
    r"(?P<word>[^\W\d_]+)|(?P<number>\d+)|(?P<sign>[-_ ./+&,:*()\[\]])|.", re.DOTALL
)
# Slices and series are counted so far; larger numbers may be years, dates and record numbers.
_LARGEST_NUMBER = 1899
_LONGEST_NUMBER = 8
_HIDDEN_RUN = re.compile(rf"{_HIDDEN}(?:[\W_]*{_HIDDEN})+")
_LONGEST = 100
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PATH = re.compile(r"\S*[/\\]\S*")
_LONGEST_REASON = 160


def shown_series(description: str) -> str:
    """Return what may be shown of a SeriesDescription.

    Parameters
    ----------
    description
        As the file has it.

    Returns
    -------
    The same text where all of it is known, as with ``ax dyn 1st pass``; ``…`` in place of each
    other word; ``unnamed`` where nothing is left.
    """
    return _known(description, _SERIES_WORDS) or "unnamed"


def shown_file(name: str) -> str:
    """Return what may be shown of a file's name; its numbers tell it from its neighbours."""
    return _known(_UID.sub(_HIDDEN, name), _FILE_WORDS) or "unnamed"


def shown_maker(text: str) -> str | None:
    """Return what may be shown of a Manufacturer: names of known makers; None where it is empty."""
    return (_known(text, _MAKER_WORDS) or OTHER_MAKER) if text.strip() else None


def shown_covariate(column: str, value: str | float | None) -> str | float | None:
    """Return what may be kept of a patient's value in a table's column.

    Returns
    -------
    Numbers as they are. Of makers, models, and what people are asked for, such as menopause, the words that
    are known; ``other maker``, ``other model`` with four
    signs that tell texts apart, or ``other`` where none is. Of any other text all but days, UIDs, long
    numbers, and what looks like a name in DICOM or an address; nothing but its length where it is long.
    """
    if not isinstance(value, str) or not value.strip():
        return value
    if _OF_MAKERS.search(column):
        return shown_maker(value)
    if _OF_SCANNERS.search(column):
        # Another one for each text, since results are compared between scanners.
        other = f"other model {hashlib.sha256(value.encode()).hexdigest()[:4]}"
        return _known(value, _SCANNER_WORDS) or other
    if _OF_PEOPLE.search(column):
        return _known(value, _CLINICAL_WORDS) or "other"
    if len(value) > _LONGEST:
        return f"a text of {len(value)} characters"
    for pattern in (_DAY, _UID, _LIKE_A_PERSON):
        value = pattern.sub(_HIDDEN, value)
    return _HIDDEN_RUN.sub(_HIDDEN, value)


def shown_reason(error: BaseException) -> str:
    """Return what an error says, without the values and paths that it quotes."""
    text = _QUOTED.sub(f"'{_HIDDEN}'", " ".join(str(error).split()))
    return _PATH.sub(_HIDDEN, text)[:_LONGEST_REASON] or type(error).__name__


def shown_cell(value: object) -> str:
    """Return what may be shown of a table's cell: a small number, a usual answer, or its length."""
    text = str(value).strip()
    if not text or _is_small_number(text) or text.casefold() in _CELL_WORDS:
        return repr(text)
    return f"a text of {len(text)} characters"


def _is_small_number(text: str) -> bool:
    """Tell whether a cell is a number too small for a year, date or record number."""
    found = re.fullmatch(r"[<>≤≥~]?\s?([-+]?(?:\d+[.,]?\d*|\.\d+))\s?%?", text, re.ASCII)
    if len(text) > _LONGEST_NUMBER or not found:
        return False
    return abs(float(found[1].replace(",", "."))) <= _LARGEST_NUMBER


def _known(text: str, words: frozenset[str]) -> str:
    without_days = _DAY.sub(_HIDDEN, text[:_LONGEST])
    shown = "".join(_shown_part(match, words) for match in _PARTS.finditer(without_days))
    shown = _HIDDEN_RUN.sub(_HIDDEN, shown).strip()
    return shown if re.search(r"\w", shown) else ""


def _shown_part(part: re.Match[str], words: frozenset[str]) -> str:
    text = part[0]
    if part["word"]:
        shown = text.casefold() in words
    elif part["number"]:
        shown = len(text) <= _LONGEST_NUMBER and int(text) <= _LARGEST_NUMBER
    else:
        shown = part["sign"] is not None
    return text if shown else _HIDDEN
