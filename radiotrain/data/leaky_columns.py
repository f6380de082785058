"""Refuse covariates that reveal the target, by name or by value.

A rule is a pattern over the words of a name (`radiotrain.data.leaky_columns`), and other words beside which
it means something else: ``hr`` is refused, ``hr_bpm`` is a heart rate. Where a short form stands alone or
beside words that say nothing, it is refused: a covariate can be allowed by name, a leak cannot be undone.

Ki-67, grade, stage at diagnosis and germline mutations are not refused. They come from the same biopsy,
but are no receptors.

A column is compared with each target: its numbers as they are, in either direction; its values as
categories, each scored by the other patients that have it (leave-one-out, so that categories of one
patient say nothing); and whether it is missing. It tells the target where the AUC of one of these is
0.9 or more and so large by chance in less than one of 1,000 columns (Mann-Whitney); or where patients
that share a value always share the label, which is as unlikely by chance.

``ERstatus``, ``er_status``, ``ER-Status`` and ``erstatus`` are the same two words; ``ErVisits`` and
``Östrogenrezeptor`` are read, too. A name has several readings, as capitals do not say where a word ends
(``ERStatus``, ``ERstatus``), and umlauts are written in two ways.

Axis legend: N patients.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

TELLING_AUC = 0.9
"""From this AUC on a single column is thought to be the target under another name."""

FEWEST_OF_A_CLASS = 5
"""With fewer patients of a class nothing is said."""

_CHANCE = 0.001
# Numbers of more values than this are no codes: they are cut into as many groups of equal size.
_MOST_CODES, _NUM_GROUPS = 20, 10
# What a category's own patients are weighed against: one patient of the mean.
_PRIOR = 1.0


def reason_by_values(
    values: Sequence[str | float | None], labels: Mapping[str, NDArray[np.integer]]
) -> str | None:
    """Say of which target a column tells the label, and how; None where it tells none.

    Parameters
    ----------
    values
        Of N patients; None, NaN or an empty text is missing.
    labels
        By target, (N,) of 0, 1 or -1 where it is not known.
    """
    texts = [_as_text(value) for value in values]
    numbers = np.array([math.nan if text is None else _as_number(text) for text in texts])
    is_missing = np.array([text is None for text in texts])
    is_numeric = not np.isnan(numbers[~is_missing]).any()
    for target, known in labels.items():
        y = np.asarray(known)
        found = _missing_tells(is_missing, y)
        if found is None and is_numeric:
            found = _numbers_tell(numbers, y)
        if found is None:
            levels = _levels(texts, numbers if is_numeric else None)
            found = _categories_tell(levels, y)
        if found is not None:
            return f"{found} {target} of {int((y >= 0).sum())} patients"
    return None


def _missing_tells(is_missing: NDArray[np.bool_], y: NDArray[np.integer]) -> str | None:
    area = _telling_auc(is_missing[y >= 0].astype(float), y[y >= 0], either=True)
    return None if area is None else f"whether it is missing alone reaches AUC {area:.2f} for"


def _numbers_tell(numbers: NDArray[np.float64], y: NDArray[np.integer]) -> str | None:
    use = (y >= 0) & ~np.isnan(numbers)
    area = _telling_auc(numbers[use], y[use], either=True)
    return None if area is None else f"it alone reaches AUC {area:.2f} for"


def _categories_tell(levels: Sequence[str | None], y: NDArray[np.integer]) -> str | None:
    use = [i for i, level in enumerate(levels) if level is not None and y[i] >= 0]
    names, kinds = [levels[i] for i in use], y[use]
    num, positive = Counter(names), Counter(n for n, k in zip(names, kinds, strict=True) if k == 1)
    if not use:
        return None
    mean = float(kinds.mean())
    scores = [
        (positive[n] - int(k) + _PRIOR * mean) / (num[n] - 1 + _PRIOR)
        for n, k in zip(names, kinds, strict=True)
    ]
    # In one direction: of categories of few patients, leaving one out makes a score that is too low.
    area = _telling_auc(np.array(scores), kinds, either=False)
    if area is not None:
        return f"its values alone, each by its other patients, reach AUC {area:.2f} for"
    return "each of its values has one label only for" if _determines(num, positive, mean) else None


def _determines(
    num: Mapping[str | None, int], positive: Mapping[str | None, int], mean: float
) -> bool:
    """Tell whether patients that share a value always share the label, and not by chance."""
    shared = {name: n for name, n in num.items() if n > 1}
    found = {positive.get(name, 0) / n for name, n in shared.items()}
    if found != {0.0, 1.0}:
        return False
    of_each = [
        sum(n for k, n in shared.items() if (positive.get(k, 0) > 0) is is_one)
        for is_one in (False, True)
    ]
    if min(of_each) < FEWEST_OF_A_CLASS:
        return False
    by_chance = sum(math.log(mean**n + (1 - mean) ** n) for n in shared.values())
    return by_chance < math.log(_CHANCE)


def _telling_auc(
    scores: NDArray[np.float64], y: NDArray[np.integer], *, either: bool
) -> float | None:
    """Return an AUC that is too large for a covariate; None where it is not, or patients are few."""
    ones, zeros = scores[y == 1], scores[y == 0]
    if min(len(ones), len(zeros)) < FEWEST_OF_A_CLASS:
        return None
    result = mannwhitneyu(ones, zeros, alternative="two-sided" if either else "greater")
    area = float(result.statistic) / (len(ones) * len(zeros))
    area = max(area, 1 - area) if either else area
    return area if area >= TELLING_AUC and float(result.pvalue) < _CHANCE else None


def _levels(texts: Sequence[str | None], numbers: NDArray[np.float64] | None) -> list[str | None]:
    """Return categories: texts, codes, or groups of numbers of equal size."""
    if numbers is None or len(set(texts)) <= _MOST_CODES:
        return list(texts)
    known = numbers[~np.isnan(numbers)]
    edges = np.quantile(known, np.linspace(0, 1, _NUM_GROUPS + 1)[1:-1])
    groups = np.searchsorted(edges, numbers, side="right")
    return [
        None if text is None else str(g) for text, g in zip(texts, groups.tolist(), strict=True)
    ]


def _as_number(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _as_text(value: str | float | None) -> str | None:
    """Return a category's text: 1, 1.0 and "1" are the same one; None where it is missing."""
    if value is None:
        return None
    number = _as_number(value)
    if not math.isnan(number):
        return repr(number)
    return (value.strip().lower() or None) if isinstance(value, str) else None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Short forms that are written without a gap before or after another word.
_CODES = _words(
    "er pr pgr her her2 hr tn ar re rp neu esr erbb ihc fish cish sish dish rs ror os dfs ddfs pfs rfs efs"
    " idfs drfs bcss dmfs ttp pcr rcb irs nac nact allred lum arm event vital triple tripel hormone hormon"
    " receptor rezeptor surv recur death died alive residual distant fu bci tnbc basal treatment treating therapy"
    " pathologic pathological response trg odx dead new time last days months"
)
_BESIDE_CODES = _words(
    "status statut stat state pos neg positive negative positiv negativ positif negatif positivo negativo"
    " positief negatief percent percentage pct perc prozent score ihc expr expression level value result low"
    " high plus minus months month mos mo days day time years year event events cens censor censored free type"
    " class group cat category bin binary label code yn flag ratio indicator ind int a b disease"
    " burden tumor tumour breast size cell cellularity date cause patient follow contact seen known centre center"
    " hospital site room replacement contraception questionnaire survey rate frequency bc cancer specific study"
    " intensity stage prognostic group gene profile surgery code cr path index molecular recur class risk planning name"
)
# Between others only, and beside long ones: ``timetodeath``, but not ``prof``.
_LINKS = _words("to of is by in")
# Words of the language that are made of such parts by accident.
_WHOLE = _words("prevent prevents event events armpos hertype retype relabel relevel revalue")
_LIGATURES = str.maketrans(
    {"ß": "ss", "œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O"}
)
_LONGEST = 200


@cache
def readings(name: str) -> tuple[str, ...]:
    """Return the readings of a name: words in lower case without accents, a blank around each.

    Digits are words of their own, so that ``her2`` is read as ``her 2``.
    """
    plain = _without_accents(name[:_LONGEST])
    found: dict[str, None] = {}
    for text in (plain, _split_capitals(plain), _split_runs(plain)):
        for spelled in (text, re.sub(r"(?i)(?<=[oau])e(?=[a-z])", "", text)):
            words = re.findall(r"[a-z]+|\d+", spelled.lower())
            found[_join(words)] = None
            found[_join(part for word in words for part in _parts(word))] = None
    return tuple(found)


def _join(words: Iterator[str] | list[str]) -> str:
    # A blank on both sides of each word: two neighbours are matched with the blanks between.
    return f" {' '.join(words)} "


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _split_capitals(text: str) -> str:
    """Split as programmers write: ``PatientAge``, ``ERStatus`` before ``Status``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", " ", text)


def _split_runs(text: str) -> str:
    """Split where capitals end: ``ERstatus`` before ``status``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.sub(r"(?<=[A-Z]{2})(?=[a-z]{2})", " ", text)


@cache
def _parts(word: str) -> tuple[str, ...]:
    """Return the short forms and their companions that make up a word; itself where it is none."""
    if len(word) < 4 or word in _WHOLE or word in _BESIDE_CODES:
        return (word,)
    return next((parts for parts in _divided(word) if _is_likely(parts)), (word,))


def _is_likely(parts: tuple[str, ...]) -> bool:
    codes = [len(part) for part in parts if part in _CODES]
    linked = any(part in _LINKS for part in parts)
    return bool(codes) and (max(codes) > 3 or not linked)


def _divided(word: str) -> Iterator[tuple[str, ...]]:
    if not word:
        yield ()
    for end in range(len(word), 0, -1):
        head = word[:end]
        if head in _CODES or head in _BESIDE_CODES or head in _LINKS:
            # One letter alone is a word after luminal only: luma, lumb.
            rest = (r for r in _divided(word[end:]) if len(head) > 1)
            yield from ((head, *r) for r in rest if head == "lum" or r[:1] not in (("a",), ("b",)))
            if len(head) == 1 and end == len(word):
                yield (head,)


SAYS_RECEPTORS = "it is derived from the receptors"
AFTER_TREATMENT = "it is known only after treatment, or follows from the receptors"


@dataclass(frozen=True)
class _Rule:
    """Words to refuse, unless one of others is beside them."""

    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None
    reason: str

    def matches(self, words: str) -> bool:
        """Tell whether it refuses a reading of a name."""
        found = self.pattern.search(words) is not None
        return found and (self.unless is None or self.unless.search(words) is None)


def _whole(words: str) -> str:
    """Return a pattern of any of some words, separated by `|`; neighbours in it by one blank."""
    return rf" (?:{words}) "


def _rule(pattern: str, reason: str, unless: str = "") -> _Rule:
    return _Rule(re.compile(pattern), re.compile(_whole(unless)) if unless else None, reason)


_PLACE = (
    r"cent(?:er|re)s?|zentrum|hospitals?|clinics?|klinik|sites?|facility|institution|countr(?:y|ies)|state"
    r"|region|zip|county|room|unit|department|dept|physician|doctor"
)
_STATED = (
    r"stat(?:us|ut|o|e)?|estado|pos\w*|neg\w*|percent\w*|pct|perc|prozent|taux|pourcentage|porcentaje|score"
    r"|ihc|expr\w*|low|high|plus|minus"
)
_BEGINNING = r"presentation|diagnosis|dx|baseline|initial|clinical|stag\w*|synchronous"
_TO = r"to|until|till|bis|zu|jusqu|hasta|fino|ate|tot"
_HARMLESS_END = (
    r"mri?s?|scans?|imag\w*|exam\w*|peak|max\w*|echo|inversion|cent(?:er|re)|k|collection|birth|biops\w*"
    r"|diagnos\w*|dx|index|baseline|contrast|enhanc\w*|arriv\w*|inject\w*|consent|regist\w*|mammo\w*|ultrasound"
    r"|acquisition|bolus|half|onset|repetition|trigger|menarche|menopause"
)

_RECEPTORS: tuple[_Rule, ...] = tuple(
    _rule(pattern, SAYS_RECEPTORS, unless)
    for pattern, unless in (
        # Short forms: of a receptor unless something beside them says otherwise.
        (
            _whole("er"),
            r"visits?|rooms?|admi\w+|department|dept|wait\w*|arriv\w*|triage|physician|\w+pital\w*",
        ),
        (_whole("pr"), r"intervals?|ecg|ekg|segment|duration|ms|bpm|pulse|number|github|request"),
        (
            _whole("hr"),
            (
                r"bpm|rate|heart|rest\w*|max\w*|min|ecg|variability|\d+ hr|per|res|resolution|mri?|t 2|images?"
                r"|slices?|hours?|urine|exercise"
            ),
        ),
        (_whole("tn"), r"tesla|scanner|stag\w+|zip|state|county|tnm"),
        (_whole("rs"), r"rs \d{3,}|f?mri|resting|state|sequence"),
        (_whole("pgr|tnbc\\w*|esr 1|erbb \\d|c ?erbb?.*|herneu|er ?pr"), ""),
        (r" her (?:2|neu|[a-z]+ (?:2|neu)) | neu | her 2", r"neu\w+e"),
        (rf" her (?:$|{_STATED})", ""),
        (rf" (?:ar|re|rp) (?:{_STATED}) |^ (?:re|rp) $", ""),
        # Hormones and receptors, in several languages and inside compounds.
        (
            r"strogen|progest|re[cz]ept(?:or|eur)|recett",
            r"re[cz]eption\w*|replacement|contracept\w*|exogenous",
        ),
        (
            r"hormo+n|hormona|endo[ck]rin|ormona",
            (
                r"replacement|contracept\w*|thyroid\w*|pituitary|disorders?|diseases?|comorbid\w*|iud|\w*ersatz\w*"
                r"|growth|stimulating"
            ),
        ),
        (
            r" (?:prog|horm|hormon|est|oest|ostr|er|pr|pgr) ?rec | rec (?:est|oest|ostr?|estr?o?|prog|horm)[a-z]* | o?estro ",
            "",
        ),
        (r" (?:tripp?[eo]?l[eoa]?|triplo|dreifach\w*|drievoudig\w*) ?(?:neg|n )", ""),
        (r" trip[a-z]* ?neg", ""),
        (_whole("luminal\\w*|lum|nonluminal"), r"diameters?|area|narrowing|gain|content"),
        (r" basal ?(?:$|like|type|sub\w*|her|yn|vs)| basal$", ""),
        (r" (?:claudin|int ?clust\w*|integrative clust\w*)", ""),
        (
            r"sub ?t[iy]p|sotto ?tip|sous ?typ|phenot[iy]p|fenotip",
            r"histo\w*|morpho\w*|sequence|scan|image|parenchym\w*|radiomic\w*|histopath\w*",
        ),
        (r" (?:mol|molecul[a-z]*|molek[a-z]*|intrinsic|surrogate)", r"weight|mass|mol mass|volume"),
        (r"gallen", ""),
        # How they are measured.
        (_whole("ihc|ihk|ihq|c ?ish|s ?ish|d ?dish|dish|b ?dish|ish"), ""),
        (r"im+un[oa]? ?histo|inmuno ?histo", ""),
        (_whole("fish"), r"intake|oil|consumption|diet\w*|eat\w*|meals?|week\w*"),
        (_whole("(?:cep|cen|cent|centromere|chr|chromosome) ?17"), ""),
        (r" copy num|amplifi(?!er)|amplific| cna | cnv ", r"power|gain"),
        (_whole("all ?red|h ?score|hscore|quick ?score|irs|remmele|dako"), ""),
        # Profiles of genes, and scores with receptors in them.
        (
            (
                r" pam 50| onco ?type| odx | 21 gene| 70 gene| rec(?:urrence)? ?score| mam+a ?print| blue ?print| prosigna"
                r"| ror | endo ?predict| ep ?clin | breast cancer index| bci | ep ?score | genom[a-z]* (?:risk|score|assay)| mammostrat| ggi | genomic grade| cts 5"
                r"| pepi | magee | gene ?expression| m rna | mrna | rnaseq"
            ),
            "",
        ),
        (r" prognost[a-z]* (?:stage|group|stadium|stad)", "nottingham"),
    )
)

_DRUGS = (
    r"tamox| tam |nolvadex|letro[zs]|femara|anastro[zs]ol|arimidex|exemestan|aromas|aromat|fulvestr|faslodex|elacestr"
    r"|toremif|raloxif|megestr|gosereli|zoladex|leupro|lupron|triptorel|busereli|lhrh|gnrh|trastuz|tra[sz]tuz"
    r"|hercep|kadcyla|enhertu|deruxtecan|emtansin|pertuz|perjeta|phesgo|margetux|tykerb|nerlynx|ibrance|kisqali"
    r"|verzenio|everoli|afinitor|alpelis|piqray|capivasert|keytruda|pembro|atezo| carbo | cisplat|sacituz|trodelvy|avastin|capecitab|xeloda"
    r"|taxan|taxol|taxoter|abraxan|anthra[cz]|antra[cz]i|adriam|[cz][iy][ck]lo ?(?:ph|f)os|fluorouracil"
    r"|methotrex|metotrex|gemcitab|vinorelb|eribul|ixabep|denosum|zoledr"
    # Stems that the names of new ones end with, too.
    r"|[a-z]{2}(?:tuzumab|lizumab|limumab|lumab|cizumab|tinib|cicli?b|parib|lisib|taxel|rubi[cz]in|platin)"
)
_TREATMENT: tuple[_Rule, ...] = tuple(
    _rule(pattern, AFTER_TREATMENT, unless)
    for pattern, unless in (
        (_DRUGS, ""),
        (
            _whole(
                r"t ?dm ?1?|t ?dxd|cdk ?\d+i?|cdk 4 6.*|5 fu|ac ?x? \d|ac ?t\w?|dd ?ac|tc[bh]?hp\w*|tch|fec|cmf|fac|ec (?:t|d|p|doc|pac)\w*|nab p"
            ),
            "",
        ),
        (r" t ?dm 1 | t ?dxd ", ""),
        (r"chemo|chimio|quimio|kemo|zytostat|cytotox| ctx | chth? ", r"chemo(?:k|sens|recept)\w*"),
        (r"therap|terap", rf"{_PLACE}|replacement|physio\w*|hormone replacement"),
        (
            r"treat|behand|tratam|trattam|traitem|trat[oa]d|medicat|medikam|medicam",
            rf"{_PLACE}|plan|planning|hypert\w*|diabet\w*|anti ?hypert\w*",
        ),
        (r"a[dy]{1,2}[uj]?[vu]+an[tc]|neo ?ad[jy]|ady?uvan", ""),
        (
            _whole("nact?|nacrt|pst|ai (?:yn|given|type|drug|start|duration)"),
            r"involv\w*|distance|retraction|nipple|invasion|histology",
        ),
        (
            r"^ (?:ai|nat) (?:$|yn |regimen |given )| upfront | parp|checkpoint|blockade| inhib",
            "ace|pump|ppi",
        ),
        (
            r"regime[ns]?|randomi[sz]| drug| pharmac| cycles ",
            r"menstrual|cardiac|drug abuse|allerg\w*",
        ),
        (
            _whole(r"arms?|(?:study|trial|treatment|tx|random[a-z]*|control|experimental)arms?"),
            (
                r"circumference|position\w*|up|down|raised|length|swelling|lymph\w*|edema|left|right|blood|bp|pain"
                r"|span|side|muscle|lifted|above|volume|mobility|support|coil|rest"
            ),
        ),
        (
            r" surg| op | chirurg| cirug| cirurg| operat(?!or|ing)| operi| resection",
            r"prior|previous\w*|history|past|cosmetic|plastic|reduction|hysterect\w*|cardiac|bariatric|pre",
        ),
        (
            (
                r"maste[ck]t| mast (?:yn|type|date)|mamm?ectom|lumpectom|tumorectom|quadrantect|segmentect|[^t]oophorect|oophorect| bcs | bct | bet | slnb | sln biops| sentinel"
                r"|breast cons|brusterhalt| alnd | axillary (?:diss|clear)"
            ),
            r"family|cosmetic",
        ),
        (r" ovar(?:ian status|ies)| ovarian (?:sup|abl|func)", r"family|cancer"),
        (
            r"radiother|radioter|radiation|bestrahl|irradia|radiat| xrt | rtx | pmrt | wbrt | boost | rad ?tx | [iw]ort | rt (?:dose|boost|given|yn|done|frac)",
            r"m ?gy|ctdi\w*|dlp|exposure|kv\w*|mas|mammo\w*|scan\w*",
        ),
    )
)

_OUTCOMES: tuple[_Rule, ...] = tuple(
    _rule(pattern, AFTER_TREATMENT, unless)
    for pattern, unless in (
        (_whole(r"[tb]?pcr|y?pcr"), r"covid\w*|sars|cov|virus|viral|hpv|swab|tests?|rt"),
        (
            r" path\w* (?:complete|cr )| path ?cr | complete (?:resp|remis|patho)|kompletremis|komplettremis",
            "",
        ),
        (r"remission|remissao|remision", ""),
        (_whole(r"rcb\w*"), ""),
        (r" yp | yp[tnms]|^ y[tn] ", ""),
        (
            r" resid(?:u|ual)? (?:dis|tum|canc|burd|inv|cell|vol|nod|mal|$)|tum\w* resid|rest ?tumou?r|residu\w* tum",
            "",
        ),
        (
            r" rcb | recist| miller| sataloff| chevallier| mandard| trg | mp (?:grade|score|g ) | [odc][rcb]r ",
            "",
        ),
        (
            r"regression ?(?:gr|tum|sc|sinn|st)|regressionsgr| regression $|tum\w* ?regress|sinn ",
            r"linear|slope|logistic",
        ),
        (
            r"(?<!cor)respon[sd](?!ib)| resp | (?:non ?|no ?)?(?:respuest|respost|rispost|reponse)(?!ib)|an ?sprech(?!p)",
            (
                r"survey\w*|questionnaires?|impulse|frequency|receiver|hemodynamic|haemodynamic|bold|immune|allerg\w*"
                r"|rates?|time|date|id|gat\w*|trigger\w*|motion|comp\w*|phase|respond id"
            ),
        ),
        (r" (?:near|clinical|pathological?) (?:complete|respon|benefit|cr )", ""),
        (
            _whole(
                r"(?:i|d|dd|dr|e|r|p|lr|rr|br|bc|m|dm|td|cs|bcf|iddf)fs|dfi|pfi|efs|ttp|dss|bcss|css|brfi|ttr|dmfs|rfi|dri|[a-z]{1,4}fs|bcfi|ttnt|ttf|lrr|ibtr|oss"
            ),
            r"stylesheet",
        ),
        (
            _whole("os"),
            r"version|names?|system|operating|platform|scanner|software|build|linux|windows|host|kernel|update",
        ),
        (r"surviv| surv |uberleb|survie|superviven|sopravviv|sobrevi|overlev", r"cancer survivor"),
        (
            r" death| dead | died | deceas| mortal| morte? | muert| mort |^ tod |todes| tot $| tot (?:ja|nein|yn|status|datum)| cod (?:to|code|site|$)|verst[oe]rb|sterbe",
            "time",
        ),
        (r" deced| deces| fallec| decess| obito | overled| overlij|letal| exitus", ""),
        (
            r" alive | lebt | lebend| vivant| vivo | levend| en vie | in vita ",
            r"in vivo|vivo \w+oscopy",
        ),
        (
            r" vital ?(?:$|stat)|^ vital |vitalstat| (?:statut?s?|estado|stato|stado) vital",
            r"signs?|capacity|params?|parameters",
        ),
        (
            r"recurr| recur | rec (?:free|event|time|stat)|recid|rezid|relaps|recaid|ricad|ricorr|recorren|rechute|r[uü]ckfall",
            r"laryngeal|network",
        ),
        (
            r" pd (?:date|event|time|status|yn|at)| progres+ion| progres+ $| progredi| progressed| progressive dis| progresion",
            "",
        ),
        (
            r"metas?ta[sz]| fernmet| first met | met site|mets ",
            rf"{_BEGINNING}|nod\w+|lymph\w*|axill\w*|family|primary|mx",
        ),
        (r" dist[a-z]* (?:rec|rel|fail|event|dis|free|met)", _BEGINNING),
        (r"outcome|desenlace|desfecho|uitkomst|end ?point", ""),
        (
            r" events? | evento?s? | ereignis| evenement| gebeurtenis",
            r"redcap|names?|id|visit|cardiac|cardiovascular|life|scanner|log|trigger|markers?|thrombo\w*|bleeding",
        ),
        (r"follow ?ups?|nach ?sorge|nachbeob|suivi|seguim| fup | vervolg| opvolg", ""),
        (r" fu (?:time|stat|mo|da|ye|vis|$)|^ fu | last fu | fu last ", ""),
        (
            (
                rf" (?:days?|weeks?|months?|years?|time|interval|tage|monate|zeit|jours|mois|temps|delai|dias|meses|tiempo"
                rf"|giorni|mesi|dagen|maanden) (?:from [a-z ]+ )?(?:{_TO}) (?!(?:{_HARMLESS_END}) )"
            ),
            "",
        ),
        (
            r" last (?:contact|seen|follow|visit|known|news|assess|alive|stat|local|dist)",
            r"menstrual",
        ),
        (r"letzter? ?kontakt|censor|zensier|lost to| dod | ned | awd | awod ", ""),
        (
            r"(?:disease|event|recurrence|metast\w*|progression|relapse|invasive\w*) free| free (?:interval|surv)",
            "",
        ),
        (r" new tumou?r|(?:neoplasm|cancer|tumou?r|disease) (?:cancer )?status", r"baseline"),
        (r" post ?(?:nac|neo|treat|ther|chem|surg|op)| postop", ""),
    )
)

RULES: tuple[_Rule, ...] = (*_RECEPTORS, *_TREATMENT, *_OUTCOMES)


@cache
def reason_to_refuse(name: str) -> str | None:
    """Say why a column would tell what is to be predicted; None where its name does not."""
    # One reading that a rule's other words excuse does not count: another may not have them whole.
    for rule in RULES:
        every = readings(name)
        if any(rule.matches(words) for words in every) and not _is_excused(rule, every):
            return rule.reason
    return None


def _is_excused(rule: _Rule, every: tuple[str, ...]) -> bool:
    return rule.unless is not None and any(rule.unless.search(words) for words in every)
