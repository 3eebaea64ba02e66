import math

import pytest

from gemel.core.errors import DataError, FormatError, TimeError, ValueRangeError
from gemel.core.series import ABOVE, BELOW, ENTERED_IN_ERROR, FINAL, PRELIMINARY
from gemel.core.time import SECOND, iso, to_ns
from gemel.interop import hl7v2
from gemel.interop.hl7v2 import (
    Deframer,
    Site,
    enframe,
    gather,
    parse,
    read_file,
    read_message,
    read_messages,
    read_number,
    read_time,
    split_messages,
)
from gemel.interop.report import MessageReport, Refusal
from gemel.testing.messages import Result, break_message, result_message, result_messages, stay_message

HEAD = rb"MSH|^~\&|LAB|H|||202601310900+0000||ORU^R01|7|P|2.5||||||UNICODE UTF-8" + b"\r"
PID = b"PID|||1^^^H^MR||DOE^JANE||19600101|F\r"
OBR = b"OBR|1|||x|||202601310805+0000\r"


def one(obx: bytes, *, site: Site = Site(), head: bytes = HEAD):  # noqa: B008  a Site is immutable
    return read_message(head + PID + OBR + obx + b"\r", site=site)


def reasons(found) -> list[str]:
    return [refusal.reason for refusal in found.report.refused]


# --- frames ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_come_out_the_same_however_the_bytes_arrive(size):
    stream = b"junk" + enframe(b"MSH|a") + b"\r\n" + enframe(b"MSH|b") + b"\x0bMSH|c\x1c" + b"\x0bnever" + enframe(b"MSH|d")
    deframer = Deframer()
    found = [frame for at in range(0, len(stream), size) for frame in deframer.feed(stream[at : at + size])]
    assert [f.body for f in found] == [b"MSH|a", b"MSH|b", b"MSH|c", b"never", b"MSH|d"]
    assert [f.is_whole for f in found] == [True, True, True, False, True]
    assert found[0].faults == ("4 bytes outside any frame passed over",)
    assert found[1].faults == ()
    assert found[2].faults == ("no carriage return after the end mark",)
    assert "never closed" in found[3].faults[0]


def test_a_frame_that_is_too_long_is_passed_over_and_the_next_one_is_read():
    deframer = Deframer(limit=10)
    found = [f for piece in (b"\x0b" + b"x" * 8, b"x" * 50, b"x" * 50, b"\x1c\r", enframe(b"MSH|")) for f in deframer.feed(piece)]
    assert [(f.body, f.is_whole) for f in found] == [(b"x" * 10, False), (b"MSH|", True)]
    assert deframer.waiting == 0
    assert [f.is_whole for f in Deframer(limit=10).feed(enframe(b"y" * 11))] == [False]


def test_an_open_frame_is_told_at_the_end():
    deframer = Deframer()
    assert deframer.feed(b"\x0bMSH|") == []
    assert deframer.waiting == 4
    assert [(f.body, f.is_whole) for f in deframer.close()] == [(b"MSH|", False)]
    deframer.feed(b"\x0bMSH|\x1c")
    assert [(f.body, f.is_whole) for f in deframer.close()] == [(b"MSH|", True)]


def test_a_message_with_marks_of_a_frame_is_not_sent():
    with pytest.raises(ValueRangeError, match="mark of its frame"):
        enframe(b"MSH|\x1c")


def test_two_messages_in_one_frame_and_a_batch():
    assert split_messages(HEAD + PID + HEAD + PID) == [HEAD + PID, HEAD + PID]
    assert split_messages(b"FHS|^~\\&\rBHS|^~\\&\r" + HEAD + PID + b"BTS|1\rFTS|1\r") == [HEAD + PID]
    assert split_messages(b"garbage\r" + HEAD)[0].startswith(b"garbage")
    assert split_messages(b" \r\n") == []


# --- parsing --------------------------------------------------------------------------------------------------------------


def test_escapes_separators_and_hexadecimal_bytes():
    message = parse(rb"MSH$*!%?|LAB".replace(b"|", b"$") + b"$\rOBX$1$ST$x$$a%F%b%S%c%R%d%E%e%T%f%X4142%g%.br%h%Zx%i%j")
    assert message.separators == "*!%?"
    assert message.text(message.all("OBX")[0][5]) == "a$b*c!d%e?fABg\nh%Zx%i%j"


def test_line_ends_are_repaired_and_named_and_a_line_feed_in_a_text_stays():
    for end in (b"\n", b"\r\n"):
        message = parse((HEAD + PID).replace(b"\r", end))
        assert [s[0] for s in message.segments] == ["MSH", "PID"]
        assert any("segments end with" in repair for repair in message.repairs)
    message = parse(HEAD + b"OBX|1|TX|x||two\nlines\rOBX|2\nOBX|3\r")
    assert message.all("OBX")[0][5] == "two\nlines"
    assert len(message.all("OBX")) == 3
    assert parse(HEAD + PID).repairs == []


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "iso8859-1"), ("UNICODE UTF-8", "utf-8"), ("8859/5", "iso8859-5"), ("GB 18030-2000", "gb18030")]
)
def test_the_charset_of_msh_18_is_used(charset, codec):
    name = "Ж" if codec == "iso8859-5" else "ü"
    body = f"MSH|^~\\&|LAB|H|||2026||ORU^R01|7|P|2.5||||||{charset}\rNTE|1||{name}\r".encode(codec)
    message = parse(body)
    assert message.all("NTE")[0][3] == name
    assert message.repairs == []


def test_latin_1_in_what_says_utf_8_is_read_and_named():
    message = parse(HEAD + "NTE|1||Grün\r".encode("latin-1"))
    assert message.all("NTE")[0][3] == "Grün"
    assert message.repairs == ["text is not utf-8: read as iso8859-1"]


def test_an_assumed_charset_is_named_an_unknown_one_refused():
    assert parse("MSH|^~\\&|LAB\rNTE|1||Grün\r".encode()).repairs == ["MSH-18 is empty: utf-8 assumed"]
    with pytest.raises(FormatError, match="EBCDIC"):
        parse(HEAD.replace(b"UNICODE UTF-8", b"EBCDIC"))


@pytest.mark.parametrize("body", [b"", b"MSH", b"MSHX^~", b"PID|1", b"MSH|^^^^|", b"MSH|AAAA|", b"\xff\xfeM\0S\0H\0"])
def test_what_is_no_message_is_refused_by_name(body):
    with pytest.raises(FormatError):
        parse(body)


def test_missing_separators_are_assumed_and_named():
    assert parse(b"MSH||LAB").repairs == ["MSH-2 is short: the usual separators assumed"]


def test_nul_bytes_and_lower_case_segments_are_repaired():
    message = parse(HEAD + b"p\0id|||1\r??|\r")
    assert message.all("PID")[0][3] == "1"
    assert set(message.repairs) == {"NUL bytes removed", "name of a segment put in capitals", "line without a segment name left out"}


def test_escapes_take_linear_time():
    import time

    def cost(n: int) -> float:
        begin = time.process_time()
        parse(b"MSH|^~\\&").text("\\X" * n)
        return time.process_time() - begin

    assert cost(200_000) < 2.0  # quadratic: minutes


# --- times and numbers ----------------------------------------------------------------------------------------------------


def test_times_with_and_without_a_zone():
    assert iso(read_time("202607011200", "Europe/Berlin")[0]) == "2026-07-01T10:00:00Z"
    assert iso(read_time("20260101120000.25-0500", "UTC")[0]) == "2026-01-01T17:00:00.25Z"
    assert "doubled" in read_time("202610250230", "Europe/Berlin")[1][-1]
    assert "skipped" in read_time("202603290230", "Europe/Berlin")[1][-1]
    for bad in (
        "",
        "2026",
        "202601",
        "20261301",
        "2026010125",
        "202601011260",
        "2026010112+2500",
        "abcdefgh",
        "20260101.5",
        "２０２６０１０１",
    ):
        with pytest.raises(TimeError):
            read_time(bad, "UTC")


@pytest.mark.parametrize(
    ("text", "value", "censored"),
    [("5", 5, 0), ("-0.5", -0.5, 0), (".5", 0.5, 0), ("5,4", 5.4, 0), ("<5", 5, BELOW), (">= 7,25", 7.25, ABOVE), ("1E3", 1000, 0)],
)
def test_numbers_as_laboratories_send_them(text, value, censored):
    assert read_number(text)[:2] == (value, censored)


@pytest.mark.parametrize("text", ["hemolysed", "", "nan", "inf", "1,234", "1_000", "5 mg", "٣", "1e999", "1.2.3", "<<5", "9" * 50])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(FormatError):
        read_number(text)


# --- results --------------------------------------------------------------------------------------------------------------


def test_a_message_says_what_it_was_written_to_say():
    sent = to_ns("2026-01-31T09:00:00Z")
    truth = [Result("8867-4", "Heart rate", "/min", 61.0, sent - 60 * SECOND), Result("2345-7", "Glucose", "mg/dL", 110.5, sent)]
    found = read_message(result_message(truth, patient="p1", control="7", sent=sent), received=sent + SECOND)
    assert [(p.code, p.unit, p.value, p.time, p.recorded, p.patient) for p in found.points] == [
        (f"loinc:{r.code}", r.unit, r.value, r.time, sent + SECOND, "HOSP:p1") for r in truth
    ]
    assert (found.report.read, found.report.mapped, found.report.repaired) == (2, 2, {})
    assert found.people["HOSP:p1"].sex == "female"
    assert "JANE" not in repr(found)


@pytest.mark.parametrize(
    ("letter", "status"),
    [
        ("F", FINAL),
        ("C", FINAL),
        ("P", PRELIMINARY),
        ("R", PRELIMINARY),
        ("D", ENTERED_IN_ERROR),
        ("W", ENTERED_IN_ERROR),
        ("", PRELIMINARY),
    ],
)
def test_the_status_of_a_result(letter, status):
    assert one(f"OBX|1|NM|8867-4^^LN||61|/min|||||{letter}".encode()).points[0].status == status


def test_a_correction_replaces_and_a_deletion_takes_away():
    def message(number: int, value: str, letter: str) -> bytes:
        head = HEAD.replace(b"|7|P", f"|{number}|P".encode()).replace(b"0900", f"09{number:02d}".encode())
        return head + PID + OBR + f"OBX|1|NM|8867-4^^LN||{value}|/min|||||{letter}\r".encode()

    found, report = read_messages([message(1, "61", "P"), message(2, "62", "F"), message(3, "63", "C")])
    (series,) = gather(found)["H:1"]
    assert list(series.current().value) == [63.0]
    assert list(series.as_of(to_ns("2026-01-31T09:02:00Z")).current().value) == [62.0]
    assert report.mapped == 3
    found, _ = read_messages([message(1, "61", "F"), message(2, "", "D")])
    (series,) = gather(found)["H:1"]
    assert len(series.current()) == 0


def test_structured_numbers_are_censored_and_ranges_stay_text():
    assert one(b"OBX|1|SN|8867-4^^LN||<^5|/min|||||F").points[0][6:] == (5.0, to_ns("2026-01-31T09:00:00Z"), FINAL, BELOW)
    assert one(b"OBX|1|SN|5130-0^^LN||^1^:^128||||||F").findings[0][1].value == "1:128"


@pytest.mark.parametrize(
    ("obx", "reason"),
    [
        (b"OBX|1|NM|8867-4^^LN||hemolysed|/min|||||F", "value-unreadable"),
        (b"OBX|1|NM|8867-4^^LN||61||||||F", "unit-missing"),
        (b"OBX|1|NM|8867-4^^LN||61|parsec|||||F", "unit-unknown"),
        (b"OBX|1|NM|8867-4^^LN|||/min|||||F", "value-missing"),
        (b"OBX|1|NM|8867-4^^LN||61~62|/min|||||F", "several-values"),
        (b"OBX|1|NM|8867-5^^LN||61|/min|||||F", "code-unknown"),  # the check digit is wrong
        (b"OBX|1|NM|GLU^Glucose^L||61|mg/dL|||||F", "code-unknown"),
        (b"OBX|1|NM|8867-4^^LN||61|/min|||||Q", "status-unknown"),
        (b"OBX|1|NM|8867-4^^LN||61|/min|||||I", "no-result-yet"),
        (b"OBX|1|NM|8867-4^^LN||61|/min|||||F|||2026", "time-unreadable"),
        (b"OBX|1|NM|8867-4^^LN||61|/min|||||F|||202701010000+0000", "time-ahead"),
        (b"OBX|1|RP|8867-4^^LN||a^b||||||F", "pointer"),
        (b"OBX|1|ED|8867-4^^LN||^AP^PDF^Base64^!!||||||F", "document-broken"),
        (b"OBX|1|MO|8867-4^^LN||5^EUR||||||F", "type-not-read"),
        (b"OBX|1||8867-4^^LN||61|/min|||||F", "type-missing"),
        (b"OBX|1|NM", "cut-off"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_reason(obx, reason):
    found = one(obx)
    assert reasons(found) == [reason]
    assert (found.report.read, found.report.mapped, found.points, found.findings) == (1, 0, [], [])


def test_what_can_be_put_right_is_put_right_and_named():
    found = one(b"OBX|1|NM|8480-6^^LN||120,5~120,5|mmHg|||||F")
    assert (found.points[0].value, found.points[0].unit) == (120.5, "mm[Hg]")
    assert set(found.report.repaired) == {"value repeated", "decimal comma", "unit mmHg written as mm[Hg]"}
    found = one(b"OBX|1|ST|8867-4^^LN||61|/min|||||F")
    assert found.points[0].value == 61
    assert "number with a unit sent as text" in found.report.repaired


def test_a_site_says_what_its_own_codes_and_units_mean():
    site = Site(codes={"99LAB:GLU": "loinc:2345-7"}, units={"C": "Cel"})
    assert one(b"OBX|1|NM|GLU^^99LAB||99|mg/dL|||||F", site=site).points[0].code == "loinc:2345-7"
    assert one(b"OBX|1|NM|8310-5^^LN||37|C|||||F", site=site).points[0].unit == "Cel"
    assert one(b"OBX|1|NM|X^^L^8867-4^Heart rate^LN||61|/min|||||F").points[0].code == "loinc:8867-4"
    with pytest.raises(DataError):
        Site(units={"C": "nonsense"})
    with pytest.raises(TimeError):
        Site(zone="Mars/Olympus")


def test_texts_codes_and_documents():
    found = one(b"OBX|1|CWE|883-9^ABO^LN||112144000^Blood group A^SCT||||||F")
    assert str(found.findings[0][1].value) == "snomed:112144000"
    assert one(rb"OBX|1|TX|18842-5^^LN||one\.br\two~three||||||F").findings[0][1].value == "one\ntwo\nthree"
    assert one(b"OBX|1|NM|8867-4^^LN||||||||X").findings[0][1].value is None
    ((_, document, body),) = one(b"OBX|1|ED|18842-5^Report^LN||^AP^PDF^Base64^JVBERi0=||||||F").documents
    assert (document.media_type, body) == ("application/pdf", b"%PDF-")


def test_segments_in_the_wrong_order_still_say_whose_and_when():
    found = read_message(HEAD + b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r" + OBR + PID)
    assert (found.points[0].patient, found.points[0].time) == ("H:1", to_ns("2026-01-31T08:05:00Z"))
    assert {"OBX before its OBR", "PID after its results"} <= set(found.report.repaired)


def test_two_patients_of_one_message_are_kept_apart():
    other = PID.replace(b"||1^", b"||2^")
    obx = b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r"
    found = read_message(HEAD + PID + OBR + obx + other + OBR + obx.replace(b"61", b"99"))
    assert [(p.patient, p.value) for p in found.points] == [("H:1", 61.0), ("H:2", 99.0)]
    found = read_message(HEAD + obx + PID + OBR + other + OBR + obx)
    assert reasons(found) == ["patient-unclear"]


@pytest.mark.parametrize(
    "body",
    [
        HEAD + OBR + b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r",
        HEAD + PID.replace(b"1^^^H^MR", b"") + OBR + b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r",
        HEAD.replace(b"|P|", b"|T|") + PID + OBR + b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r",
        HEAD.replace(b"ORU^R01", b"MDM^T02") + PID,
        HEAD.replace(b"202601310900+0000", b"") + PID + OBR + b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r",
    ],
)
def test_a_message_without_patient_or_of_another_kind_counts_whole_or_not_at_all(body):
    found = read_message(body)
    assert (found.report.mapped, found.report.refusals) == (0, found.report.read)
    assert found.points == []
    assert found.people == {}


def test_a_patient_is_named_by_the_preferred_identifier_whatever_the_order():
    a, b = b"9^^^GOV^SS", b"1^^^H^MR"
    for both in (a + b"~" + b, b + b"~" + a):
        message = HEAD + PID.replace(b"1^^^H^MR", both) + OBR + b"OBX|1|NM|8867-4^^LN||61|/min|||||F\r"
        assert read_message(message).points[0].patient == "H:1"
        assert read_message(message, site=Site(authority="GOV")).points[0].patient == "GOV:9"


# --- implants, stays, batches ---------------------------------------------------------------------------------------------


def test_an_interrogation_of_an_implant_keeps_its_own_codes_and_never_its_serial_number():
    body = HEAD + PID + b"OBR|1|||754050^MDC_IDC_ENUM_SESS_TYPE_InClinic^MDC\r"
    for i, (kind, code, value, unit) in enumerate(
        [
            ("CWE", "720897^MDC_IDC_PG_TYPE^MDC", "753666^MDC_IDC_ENUM_DEVICE_TYPE_ICD^MDC", ""),
            ("ST", "720898^MDC_IDC_PG_MODEL^MDC", "CD2215-36", ""),
            ("ST", "720899^MDC_IDC_PG_SERIAL^MDC", "9925119", ""),
            ("CWE", "720900^MDC_IDC_PG_MFG^MDC", "753751^MDC_IDC_ENUM_MFG_STJ^MDC", ""),
            ("DTM", "721025^MDC_IDC_SESS_DTM^MDC", "20260131080507+0000", ""),
            ("NM", "737824^MDC_IDC_STAT_TACHYTHERAPY_SHOCKS_DELIVERED_RECENT^MDC", "2", "{shocks}"),
        ],
        start=1,
    ):
        body += f"OBX|{i}|{kind}|{code}|1|{value}|{unit}|||||F\r".encode()
    found = read_message(body)
    assert (found.report.mapped, found.report.refused) == (6, ())
    point = found.points[0]
    assert (point.code, point.value, point.time) == ("mdc:737824", 2.0, to_ns("2026-01-31T08:05:07Z"))
    assert point.source == "hl7v2:LAB|H/STJ-CD2215-36"
    assert all("9925119" not in finding.source for _, finding in found.findings)
    assert str(found.findings[0][1].value) == "mdc:753666"
    assert hl7v2.find_session(parse(HEAD + PID)) == hl7v2.Session()


def test_stays_their_cancellation_and_a_merge():
    sent = to_ns("2026-01-31T09:00:00Z")

    def event(name: str, n: int, **more) -> bytes:
        return stay_message(name, patient="1", control=str(n), sent=sent + n * 60 * SECOND, visit="v1", **more)

    found, report = read_messages([event("A01", 1), event("A02", 2), event("A03", 3), event("A13", 4)])
    assert (report.read, report.mapped) == (4, 4)
    record = _record(found)
    known = record.as_of(sent + 3600 * SECOND)
    assert sorted(str(f.code) for f in known.findings) == ["gemel:admission", "gemel:transfer"]
    assert "gemel:discharge" in {str(f.code) for f in record.as_of(sent + 3 * 60 * SECOND).findings}
    merged = read_message(event("A40", 5, prior="2"))
    assert (merged.merges[0].survivor, merged.merges[0].prior) == ("HOSP:1", "HOSP:2")
    assert reasons(read_message(event("A40", 6, prior=""))) == ["message-unusable"]
    assert reasons(read_message(event("A17", 7))) == ["message-unusable"]
    no_visit = stay_message("A11", patient="1", control="8", sent=sent, visit="")
    assert reasons(read_message(no_visit)) == ["message-unusable"]


def _record(found):
    from gemel.core.record import PatientRecord

    (facts,) = gather(found).values()
    return PatientRecord(id="x").with_facts(*facts)


def test_a_message_that_comes_again_has_no_effect_and_a_number_used_twice_is_refused():
    first, second = (body for body, _ in result_messages(2, seed=3))
    found, report = read_messages([first, first, second, first.replace(b"|F\r", b"|C\r"), b"garbage"])
    assert len(found) == 2
    assert report.duplicates == read_message(first).report.read
    assert {r.reason for r in report.refused} == {"number-reused", "no-message"}
    assert report.read == report.mapped + report.refusals + report.duplicates


def test_a_report_that_does_not_add_up_cannot_be_made():
    with pytest.raises(ValueError, match="add up"):
        MessageReport(source="a", format="hl7v2", read=2, mapped=1)
    text = MessageReport(source="a", format="hl7v2", read=2, refused=(Refusal(reason="r", place="p", what="w", items=2),)).to_text()
    assert "refused: r (2), first at p: w" in text


def test_a_file_of_messages_becomes_records(tmp_path):
    bodies = list(result_messages(50, seed=5, patients=3))
    path = tmp_path / "lab.hl7"
    path.write_bytes(b"".join(enframe(body) for body, _ in bodies))
    people = read_file(path)
    assert len(people) == 3
    assert sum(len(s) for record, _ in people for s in record.series) == sum(len(truth) for _, truth in bodies)
    total = sum(r.value for _, truth in bodies for r in truth)
    assert math.isclose(sum(float(s.value.sum()) for record, _ in people for s in record.series), total, rel_tol=1e-12)  # sums of doubles
    path.write_bytes(path.read_bytes() + b"\x0b" + bodies[0][0][:90])
    report = read_file(path)[0][1]
    assert [(r.reason, r.items) for r in report.refused] == [("frame-open", 1)]
    path.write_bytes(b"MSH|^~\\&|LAB\r")
    with pytest.raises(FormatError, match="no fact"):
        read_file(path)


# --- answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_goes_back_to_who_sent_and_names_the_message():
    answer = parse(hl7v2.acknowledge(HEAD, hl7v2.ERROR, now=0, control="a", error="no | room", number="207"))
    assert answer.all("MSA")[0][1:3] == ["AE", "7"]
    assert (answer.get(5), answer.get(6)) == ("LAB", "H")
    assert answer.all("ERR")[0][3:5] == ["207", "E"]
    enhanced = parse(HEAD.replace(b"||||||UNI", b"|||AL|NE||UNI"))
    assert parse(hl7v2.acknowledge(enhanced, "AA", now=0, control="a")).all("MSA")[0][1] == "CA"
    with pytest.raises(ValueRangeError):
        hl7v2.acknowledge(HEAD, "ZZ", now=0, control="a")


def test_broken_messages_never_crash_always_add_up_and_always_get_an_answer():
    answered = refused = 0
    for i, (body, _) in enumerate(result_messages(3000, seed=11)):
        broken = break_message(body, seed=i)
        for part in split_messages(broken) or [broken]:
            try:
                gather([read_message(part)])  # the report of a message checks its own sum
            except FormatError:
                refused += 1
            answer = parse(hl7v2.acknowledge(part, "AA", now=0, control="x"))
            enframe(hl7v2.acknowledge(part, "AR", now=0, control="x", error="no"))
            assert answer.all("MSA")[0][1] in ("AA", "CA")
            answered += 1
    assert answered >= 3000
    assert 0 < refused < answered  # the breaker breaks, and not everything
