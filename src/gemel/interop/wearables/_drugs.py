"""Names of glucose-lowering drugs as diaries write them, into ATC classes.

References
----------
WHO Collaborating Centre for Drug Statistics Methodology, ATC/DDD index (codes are facts; displays are our own words).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gemel.core import Code

__all__ = ["INTRAVENOUS_GLUCOSE", "INTRAVENOUS_INSULIN", "Dose", "parse_drugs", "parse_infusion", "parse_insulin"]

RAPID, NPH, PREMIXED, LONG = (Code.parse(f"atc:{code}") for code in ("A10AB", "A10AC", "A10AD", "A10AE"))
INTRAVENOUS_INSULIN = Code.parse(
    "atc:A10A", "Insulin, intravenous"
)  # kept apart from A10AB so that nothing takes it for a subcutaneous dose
INTRAVENOUS_GLUCOSE = Code.parse("atc:B05BA03", "Carbohydrate solution, intravenous")

# First match wins: a premix names its analogue too.
_INSULINS: tuple[tuple[str, Code], ...] = (
    (r"70\s*/\s*30|75\s*/\s*25|50\s*/\s*50|\b[357]0 ?r\b|\b25r\b|\bmix|\bm ?[235][05]\b|premix|degludec/aspart|ryzodeg", PREMIXED),
    (r"\bnph\b|isophane|novolin n|humulin n|insulatard|protaphane|gansulin n", NPH),
    (r"glargine|glarigine|detemir|degludec|lantus|levemir|tresiba|toujeo|basaglar|abasaglar", LONG),
    (r"aspart|lispro|glulisine|regular|novolin r|humulin r|gansulin r|scilin r|novorapid|humalog|apidra|fiasp|actrapid", RAPID),
)
# substance -> (ATC, display, largest plausible single dose in mg: ASSUMED, about twice the largest labelled one)
_DRUGS: dict[str, tuple[str, str, float]] = {
    "metformin": ("A10BA02", "Metformin", 2000),
    "acarbose": ("A10BF01", "Acarbose", 200),
    "voglibose": ("A10BF03", "Voglibose", 0.6),
    "miglitol": ("A10BF02", "Miglitol", 200),
    "gliclazide": ("A10BB09", "Gliclazide", 240),
    "glimepiride": ("A10BB12", "Glimepiride", 8),
    "glipizide": ("A10BB07", "Glipizide", 30),
    "gliquidone": ("A10BB08", "Gliquidone", 180),
    "glibenclamide": ("A10BB01", "Glibenclamide", 20),
    "repaglinide": ("A10BX02", "Repaglinide", 8),
    "nateglinide": ("A10BX03", "Nateglinide", 360),
    "dapagliflozin": ("A10BK01", "Dapagliflozin", 20),
    "canagliflozin": ("A10BK02", "Canagliflozin", 600),
    "empagliflozin": ("A10BK03", "Empagliflozin", 50),
    "sitagliptin": ("A10BH01", "Sitagliptin", 200),
    "vildagliptin": ("A10BH02", "Vildagliptin", 200),
    "saxagliptin": ("A10BH03", "Saxagliptin", 10),
    "alogliptin": ("A10BH04", "Alogliptin", 50),
    "linagliptin": ("A10BH05", "Linagliptin", 10),
    "liraglutide": ("A10BJ02", "Liraglutide", 3.6),
    "exenatide": ("A10BJ01", "Exenatide", 4),
    "semaglutide": ("A10BJ06", "Semaglutide", 28),
    "pioglitazone": ("A10BG03", "Pioglitazone", 90),
}
_MG = {"g": 1000.0, "mg": 1.0, "ug": 0.001, "mcg": 0.001}


@dataclass(frozen=True)
class Dose:
    """One drug in a cell: its class, amount (None: not stated or not believable), unit, and the words it was read from."""

    code: Code
    amount: float | None
    unit: str
    words: str
    doubt: str = ""


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\xa0", " ")).strip()


def parse_insulin(text: str) -> tuple[list[Dose], list[str]]:
    """Read ``insulin aspart 70/30, 18 IU`` and several of them in one cell; returns the doses and what was not understood.

    Examples
    --------
    >>> [(str(d.code), d.amount) for d in parse_insulin("insulin detemir, 6 IU; Novolin R, 4 IU")[0]]
    [('atc:A10AE', 6.0), ('atc:A10AB', 4.0)]
    """
    doses, unknown = list[Dose](), list[str]()
    for part in re.split(r"[;\r\n]+", text):
        words = _clean(part)
        if not words:
            continue
        found = re.match(r"^(?P<product>.+?),?\s*(?P<amount>\d+(?:\.\d+)?)\s*I?U$", words, re.IGNORECASE)
        code = next((code for pattern, code in _INSULINS if found and re.search(pattern, found["product"].lower())), None)
        if found is None or code is None:
            unknown.append(words)
            continue
        product = found["product"].strip(" ,")
        fixed = product.replace("glarigine", "glargine")
        doses.append(Dose(code, float(found["amount"]), "[iU]", fixed, doubt="spelling" if fixed != product else ""))
    return doses, unknown


def parse_drugs(text: str) -> tuple[list[Dose], list[str]]:
    """Read ``acarbose 50 mg, metformin 0.5 g``; returns the doses in mg and what was not understood.

    A dose beyond what can be meant (voglibose 0.2 g) keeps its drug and loses its amount.
    """
    doses, unknown = list[Dose](), list[str]()
    for part in re.split(r"[,;\r\n]+", text):
        words = _clean(part)
        if not words:
            continue
        found = re.match(r"^(?P<name>[a-z][a-z \-]*?)\s*(?:(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>g|mg|ug|mcg))?$", words, re.IGNORECASE)
        drug = _DRUGS.get(found["name"].lower().strip()) if found else None
        if found is None or drug is None:
            unknown.append(words)
            continue
        atc, display, largest = drug
        amount = float(found["amount"]) * _MG[found["unit"].lower()] if found["amount"] else None
        doubt = "" if amount is None or amount <= largest else f"{words}: more than {largest:g} mg at once"
        doses.append(Dose(Code.parse(f"atc:{atc}", display), None if doubt else amount, "mg", words, doubt))
    return doses, unknown


def parse_infusion(text: str) -> tuple[list[Dose], list[str]]:
    """Read ``500ml 5% glucose, 3 IU Novolin R, 10 ml 10% potassium chloride``: the insulin, and the glucose in g.

    Examples
    --------
    >>> [(str(d.code), d.amount, d.unit) for d in parse_infusion("500ml 5% glucose, 3 IU Novolin R, 10 ml 10% potassium chloride")[0]]
    [('atc:B05BA03', 25.0, 'g'), ('atc:A10A', 3.0, '[iU]')]
    """
    doses, unknown = list[Dose](), list[str]()
    words = _clean(text)
    for part in (p.strip() for p in words.split(",")):
        if found := re.match(r"^(\d+(?:\.\d+)?) ?ml (\d+(?:\.\d+)?) ?% glucose\b", part, re.IGNORECASE):
            doses.append(Dose(INTRAVENOUS_GLUCOSE, float(found[1]) * float(found[2]) / 100, "g", words))
        elif found := re.match(r"^(\d+(?:\.\d+)?) ?IU (.+)$", part, re.IGNORECASE):
            doses.append(Dose(INTRAVENOUS_INSULIN, float(found[1]), "[iU]", words))
        elif not re.match(r"^\d+(?:\.\d+)? ?ml \d+(?:\.\d+)? ?% (?:sodium chloride|potassium chloride)$", part, re.IGNORECASE):
            unknown.append(part)
    return doses, unknown
