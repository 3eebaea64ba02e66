"""Define-XML: what a folder of data sets holds, variable by variable, and which analysis gave which number (results metadata).

Written as version 2.1 with analysis results metadata 1.0; read from 2.0 and 2.1: data sets, variables, labels, code lists.

References
----------
CDISC, Define-XML specification 2.1 (ODM 1.3.2); Analysis Results Metadata 1.0 for Define-XML 2.
"""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from gemel.core.errors import FormatError
from gemel.interop.cdisc.dataset import Dataset, Variable, is_date

__all__ = ["AnalysisResult", "Defined", "DefinedSet", "read_define", "write_define"]

ODM, DEF, ARM, XLINK = (
    "http://www.cdisc.org/ns/odm/v1.3",
    "http://www.cdisc.org/ns/def/v2.1",
    "http://www.cdisc.org/ns/arm/v1.0",
    "http://www.w3.org/1999/xlink",
)
_LONGEST = 20_000_000


@dataclass(frozen=True)
class DefinedSet:
    """One data set as a Define-XML describes it. ``lists`` : variable -> name of its code list."""

    name: str
    label: str
    variables: tuple[Variable, ...]
    lists: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Defined:
    """A Define-XML: its version, study, data sets, and code lists as name -> coded value -> decode (the value itself where there is none)."""

    version: str
    study: str
    sets: tuple[DefinedSet, ...]
    code_lists: Mapping[str, Mapping[str, str]]

    def set(self, name: str) -> DefinedSet:
        """Return the description of one data set.

        Raises
        ------
        FormatError
            When there is none of that name.
        """
        for s in self.sets:
            if s.name == name:
                return s
        raise FormatError("the Define-XML does not describe this data set", seen=name, expected=[s.name for s in self.sets])


@dataclass(frozen=True)
class AnalysisResult:
    """Where a number of a table comes from: results metadata.

    Parameters
    ----------
    name : identifier, unique in the file.
    display, result : title of the table, and of the result in it.
    dataset, variables : what was analysed.
    where : variable -> value, the rows that were.
    reason, purpose : of the controlled terms ``SPECIFIED IN SAP``, ``PRIMARY OUTCOME MEASURE`` and the like.
    documentation : the analysis in words.
    language, code : the program that gives the number again.
    parameter : PARAMCD, where the data set has one.
    """

    name: str
    display: str
    result: str
    dataset: str
    variables: tuple[str, ...]
    where: Mapping[str, str] = field(default_factory=dict)
    reason: str = "SPECIFIED IN SAP"
    purpose: str = "PRIMARY OUTCOME MEASURE"
    documentation: str = ""
    language: str = ""
    code: str = ""
    parameter: str = ""


def _tree(text: str) -> ElementTree.Element:
    if len(text) > _LONGEST or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError("the XML is refused", seen="a document type or an entity, or too long", expected="plain XML under 20 MB")
    try:
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff")))
    except ElementTree.ParseError as error:
        raise FormatError("the XML is cut off or broken", seen=str(error), expected="a whole Define-XML") from error


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _named(element: ElementTree.Element, name: str) -> str:
    """Return an attribute whatever its namespace."""
    return next((v for k, v in element.attrib.items() if k.rpartition("}")[2] == name), "")


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [e for e in element.iter() if _local(e) == name]


def _said(element: ElementTree.Element, parent: str = "Description") -> str:
    for child in element:
        if _local(child) == parent:
            return next(((e.text or "").strip() for e in child.iter() if _local(e) == "TranslatedText"), "")
    return ""


def read_define(text: str) -> Defined:
    """Read data sets, variables with labels and formats, and code lists of a Define-XML 2.0 or 2.1.

    Raises
    ------
    FormatError
        When it is none, or is broken.
    """
    root = _tree(text)
    versions = _all(root, "MetaDataVersion") if _local(root) == "ODM" else []
    version = _named(versions[0], "DefineVersion") if versions else ""
    if not version.startswith("2."):
        raise FormatError(
            "not a Define-XML 2", seen=f"{_local(root)}, version {version or 'none'}", expected="ODM with DefineVersion 2.0 or 2.1"
        )
    items = {_named(e, "OID"): e for e in _all(root, "ItemDef")}
    titles, lists = {}, {}
    for e in _all(root, "CodeList"):
        titles[_named(e, "OID")] = _named(e, "Name")
        lists[_named(e, "Name")] = {
            _named(i, "CodedValue"): (_said(i, "Decode") or _named(i, "CodedValue")) for i in e if _local(i) in ("CodeListItem", "EnumeratedItem")
        }  # fmt: skip
    sets = []
    for group in _all(root, "ItemGroupDef"):
        variables, coded = [], {}
        for ref in (e for e in group if _local(e) == "ItemRef"):
            item = items.get(_named(ref, "ItemOID"))
            if item is None:
                raise FormatError(
                    "the Define-XML names a variable that it does not define", seen=_named(ref, "ItemOID"), expected="an ItemDef"
                )
            kind = _named(item, "DataType")
            length, key = _named(item, "Length"), _named(ref, "KeySequence")
            form = _named(item, "DisplayFormat")
            variables.append(
                Variable(
                    _named(item, "Name"), _said(item), kind in ("integer", "float", "double", "decimal"), int(length) if length.isdigit() else 8, form, "",
                    int(key) if key.isdigit() else 0,
                )
            )  # fmt: skip
            for c in (e for e in item if _local(e) == "CodeListRef"):
                coded[variables[-1].name] = titles.get(_named(c, "CodeListOID"), "")
        sets.append(DefinedSet(_named(group, "Name"), _said(group), tuple(variables), coded))
    study = next(((e.text or "").strip() for e in _all(root, "StudyName")), "")
    return Defined(version, study, tuple(sets), lists)


def _attributes(**told: object) -> str:
    return "".join(f" {k.replace('__', ':')}={quoteattr(str(v))}" for k, v in told.items() if v != "")


def _words(tag: str, text: str) -> str:
    return f'<{tag}><TranslatedText xml:lang="en">{escape(text)}</TranslatedText></{tag}>'


def _type(v: Variable, data: Dataset) -> tuple[str, int | str, int | str]:
    """Return data type, length and significant digits of a variable."""
    values = [x for x in data.columns[v.name] if x is not None]
    if is_date(v):
        return "integer", 8, ""
    if not v.is_number:
        return "text", max([1, *(len(str(x).encode()) for x in values)]), ""
    if all(float(x).is_integer() for x in values):
        return "integer", max([1, *(len(str(int(float(x)))) for x in values)]), ""
    texts = [f"{float(x):.12g}" for x in values]
    return "float", max(len(t) for t in texts), max(len(t.partition(".")[2]) for t in texts)


def _dataset_xml(data: Dataset, origin: Mapping[str, str], lists: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    """Return the ItemGroupDef and the ItemDefs of one data set."""
    refs, items = [], []
    for i, v in enumerate(data.variables, start=1):
        oid = f"IT.{data.name}.{v.name}"
        kind, length, digits = _type(v, data)
        refs.append(f"<ItemRef{_attributes(ItemOID=oid, OrderNumber=i, Mandatory='Yes' if v.key else 'No', KeySequence=v.key or '')}/>")
        listed = f'<CodeListRef CodeListOID="CL.{data.name}.{v.name}"/>' if f"{data.name}.{v.name}" in lists else ""
        how = origin.get(v.name, "")
        origin_xml = f'<def:Origin Type="Derived" Source="Sponsor">{_words("Description", how)}</def:Origin>' if how else '<def:Origin Type="Predecessor" Source="Sponsor"><Description><TranslatedText xml:lang="en">the sponsor\'s data set</TranslatedText></Description></def:Origin>'  # fmt: skip
        items.append(
            f"<ItemDef{_attributes(OID=oid, Name=v.name, SASFieldName=v.name[:8], DataType=kind, Length=length, SignificantDigits=digits, def__DisplayFormat=v.format)}>"
            f"{_words('Description', v.label or v.name)}{listed}{origin_xml}</ItemDef>"
        )
    leaf, keys = f"LF.{data.name}", [v.name for v in sorted(data.variables, key=lambda v: v.key) if v.key]
    structure = f"one record per {', '.join(keys)}" if keys else "one record per row"
    group = (
        f"<ItemGroupDef{_attributes(OID=f'IG.{data.name}', Name=data.name, SASDatasetName=data.name, Repeating='No', IsReferenceData='No', Purpose='Analysis', def__Structure=structure, def__IsNonStandard='Yes', def__ArchiveLocationID=leaf)}>"
        f'{_words("Description", data.label or data.name)}{"".join(refs)}<def:Class Name="{"SUBJECT LEVEL ANALYSIS DATASET" if data.name == "ADSL" else "ADAM OTHER"}"/>'
        f"<def:leaf{_attributes(ID=leaf, xlink__href=f'{data.name.lower()}.xpt')}><def:title>{escape(data.name.lower())}.xpt</def:title></def:leaf></ItemGroupDef>"
    )
    return group, "".join(items)


def _results_xml(results: Sequence[AnalysisResult]) -> tuple[str, str]:
    """Return where clauses and the displays of analysis results."""
    clauses, displays = [], []
    for r in results:
        ref = ""
        if r.where:
            oid = f"WC.{r.name}"
            checks = "".join(
                f'<RangeCheck SoftHard="Soft"{_attributes(def__ItemOID=f"IT.{r.dataset}.{k}")} Comparator="EQ"><CheckValue>{escape(v)}</CheckValue></RangeCheck>'
                for k, v in r.where.items()
            )
            clauses.append(f'<def:WhereClauseDef OID="{escape(oid)}">{checks}</def:WhereClauseDef>')
            ref = f'<def:WhereClauseRef WhereClauseOID="{escape(oid)}"/>'
        used = "".join(f'<arm:AnalysisVariable ItemOID="IT.{r.dataset}.{v}"/>' for v in r.variables)
        code = (
            f"<arm:ProgrammingCode{_attributes(Context=r.language)}><arm:Code>{escape(r.code)}</arm:Code></arm:ProgrammingCode>"
            if r.code
            else ""
        )
        document = f"<arm:Documentation>{_words('Description', r.documentation)}</arm:Documentation>" if r.documentation else ""
        displays.append(
            f'<arm:ResultDisplay OID="RD.{escape(r.name)}" Name={quoteattr(r.display)}>{_words("Description", r.display)}'
            f"<arm:AnalysisResult{_attributes(OID=f'AR.{r.name}', ParameterOID=r.parameter, AnalysisReason=r.reason, AnalysisPurpose=r.purpose)}>"
            f'{_words("Description", r.result)}<arm:AnalysisDatasets><arm:AnalysisDataset ItemGroupOID="IG.{r.dataset}">{ref}{used}'
            f"</arm:AnalysisDataset></arm:AnalysisDatasets>{document}{code}</arm:AnalysisResult></arm:ResultDisplay>"
        )
    return "".join(clauses), f"<arm:AnalysisResultDisplays>{''.join(displays)}</arm:AnalysisResultDisplays>" if displays else ""


def write_define(
    datasets: Iterable[Dataset],
    *,
    study: str,
    description: str = "",
    created: dt.datetime,
    version: str,
    results: Sequence[AnalysisResult] = (),
    origin: Mapping[str, str] | None = None,
    code_lists: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Write a Define-XML 2.1 for analysis data sets, with results metadata.

    Parameters
    ----------
    created : the time that stands in the file.
    version : of the writing program.
    results : which analysis gave which number.
    origin : variable -> how it was derived; the others come from the sponsor's data.
    code_lists : ``DATASET.VARIABLE`` -> coded value -> decode.
    """
    lists = code_lists or {}
    parts = [_dataset_xml(d, origin or {}, lists) for d in datasets]
    clauses, displays = _results_xml(results)
    coded = "".join(
        f'<CodeList OID="CL.{escape(name)}" Name={quoteattr(name)} DataType="text">'
        + "".join(
            f"<CodeListItem CodedValue={quoteattr(value)}>{_words('Decode', decode)}</CodeListItem>" for value, decode in entries.items()
        )
        + "</CodeList>"
        for name, entries in lists.items()
    )
    stamp = created.replace(microsecond=0, tzinfo=None).isoformat()
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ODM xmlns="{ODM}" xmlns:def="{DEF}" xmlns:arm="{ARM}" xmlns:xlink="{XLINK}" ODMVersion="1.3.2" FileType="Snapshot"'
        f'{_attributes(FileOID=f"DEF.{study}", CreationDateTime=stamp, SourceSystem="Gemel", SourceSystemVersion=version)} def:Context="Other">'
        f"<Study{_attributes(OID=f'ST.{study}')}><GlobalVariables><StudyName>{escape(study)}</StudyName><StudyDescription>{escape(description or study)}</StudyDescription>"
        f"<ProtocolName>{escape(study)}</ProtocolName></GlobalVariables>"
        f'<MetaDataVersion{_attributes(OID=f"MDV.{study}", Name=f"Study {study}, data definitions")} def:DefineVersion="2.1.0">'
        '<def:Standards><def:Standard OID="STD.1" Name="ADaMIG" Type="IG" Version="1.1" Status="Final"/></def:Standards>'
        f"{clauses}{''.join(g for g, _ in parts)}{''.join(i for _, i in parts)}{coded}{displays}</MetaDataVersion></Study></ODM>\n"
    )
