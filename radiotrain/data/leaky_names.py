"""Which columns tell what is to be predicted, by their names: receptors, treatment, what came after it.

A rule is a pattern over the words of a name (`radiotrain.data.name_words`), and other words beside which
it means something else: ``hr`` is refused, ``hr_bpm`` is a heart rate. Where a short form stands alone or
beside words that say nothing, it is refused: a covariate can be allowed by name, a leak cannot be undone.

Ki-67, grade, stage at diagnosis and germline mutations are not refused. They come from the same biopsy,
but are no receptors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from radiotrain.data.name_words import readings

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
