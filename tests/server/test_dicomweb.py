"""DICOMweb: what is stored comes back bit for bit to who may see it; what may not be seen is not there, and not counted."""

import io

import pydicom
import pytest
from _studies import WEB, image_of, uids
from _world import ADA, BOB, NOW

from _images import slice_of
from gemel.interop.dicom.multipart import boundary_of, join_parts, split_parts
from gemel.interop.dicom.part10 import scan
from gemel.interop.dicom.web import Answer, Archive
from gemel.platform.images import keep_image
from gemel.platform.store import images

KIND = 'multipart/related; type="application/dicom"; boundary=b0'


@pytest.fixture
def filled(world):
    for patient in (ADA, BOB):
        world.write(lambda store, patient=patient: keep_image(store, "CT1", image_of(patient), received=NOW))
    return world


def get(world, path, role="physician", patient=ADA, **more):
    return world.client.get(WEB + path, headers=world.head(role, patient) | more)


def test_a_physician_finds_and_fetches_what_belongs_to_the_patient_bit_for_bit(filled):
    (study,) = get(filled, "/studies").json()
    assert study["0020000D"]["Value"] == [uids(ADA)["study"]]
    assert study["00201208"]["Value"] == [1]
    back = get(filled, "/studies/" + uids(ADA)["study"])
    ((kind, body),) = split_parts(back.content, boundary_of(back.headers["content-type"]))
    assert (kind, scan(body).dataset) == ("application/dicom", scan(image_of(ADA)).dataset)
    (meta,) = get(filled, f"/studies/{uids(ADA)['study']}/metadata").json()
    assert meta["00280010"]["Value"] == [8]
    assert "7FE00010" not in meta


def test_our_own_client_speaks_with_our_own_server(filled):
    head = filled.head("physician", ADA)

    def transport(method, url, headers, body):
        answer = filled.client.request(method, url.removeprefix("http://x"), headers=head | dict(headers), content=body)
        return Answer(answer.status_code, answer.headers.get("content-type", ""), answer.content)

    archive = Archive("http://x/dicom-web", transport, boundary=lambda: "b1")
    study = uids(ADA)["study"]
    assert [scan(one).dataset for one in archive.fetch(study)] == [scan(image_of(ADA)).dataset]
    assert len(archive.search("series", study=study)) == len(archive.search("instances", study=study)) == 1


def test_another_s_study_is_as_one_that_there_is_not(filled):
    answers = [get(filled, f"/studies/{study}") for study in (uids(BOB)["study"], "1.2.3.99")]
    assert {one.status_code for one in answers} == {404}
    plain = [{k: v for k, v in one.json().items() if k not in ("instance", "request")} for one in answers]
    assert plain[0] == plain[1]
    for query in (f"?PatientID={BOB}", "?PatientID=nobody", f"?StudyInstanceUID={uids(BOB)['study']}", f"?PatientID={ADA}&Modality=MR"):
        assert get(filled, "/studies" + query).json() == []
    assert get(filled, f"/studies/{uids(BOB)['study']}/series").json() == []


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (f"?PatientID={ADA}", 1),
        ("?StudyDate=20260131", 1),
        ("?StudyDate=20260101-20260201", 1),
        ("?StudyDate=20260201-", 0),
        ("?StudyDate=-20260130", 0),
        ("?ModalitiesInStudy=C*", 1),
        ("?00080061=MR", 0),
        ("?limit=0", 0),
        ("?offset=1", 0),
        ("?includefield=all&fuzzymatching=false", 1),
    ],
)
def test_searches_match_what_they_say(filled, query, count):
    assert len(get(filled, "/studies" + query).json()) == count


@pytest.mark.parametrize(
    "query", ["?Nonsense=1", "?fuzzymatching=true", "?limit=x", "?limit=-1", "?StudyDate=yesterday", f"?PatientID={ADA}&PatientID={BOB}"]
)
def test_a_key_that_is_not_known_is_refused_and_not_ignored(filled, query):
    assert get(filled, "/studies" + query).status_code == 400


def test_who_asks_without_right_or_purpose_sees_nothing(filled):
    assert filled.client.get(WEB + "/studies").status_code == 401
    assert get(filled, "/studies", role="administrator").status_code == 403
    assert get(filled, "/studies/../../etc").status_code in (404, 400)
    assert get(filled, f"/studies/{uids(ADA)['study']}", accept="image/png").status_code == 400


def test_a_service_names_a_patient_and_stores_what_is_there_once(filled):
    head = filled.head("service")
    body = slice_of(3, patient="p77")
    for _ in range(2):
        told = filled.client.post(WEB + "/studies", headers=head | {"Content-Type": KIND}, content=join_parts([body], "b0"))
        assert (told.status_code, len(told.json()["00081199"]["Value"])) == (200, 1)
    other = filled.client.post(
        WEB + "/studies", headers=head | {"Content-Type": KIND}, content=join_parts([slice_of(3, patient="p77", value=1), body], "b0")
    )
    assert other.status_code == 202
    assert other.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC000]
    none = filled.client.post(WEB + "/studies", headers=head | {"Content-Type": KIND}, content=join_parts([b"no DICOM"], "b0"))
    assert none.status_code == 409
    assert filled.look(lambda store: len(store.messages("quarantined"))) == 2
    study = pydicom.dcmread(io.BytesIO(body)).StudyInstanceUID
    assert filled.look(lambda store: len(images.find(store, study))) == 1


@pytest.mark.parametrize("role", ["physician", "patient", "nurse", "researcher", "administrator"])
def test_who_may_add_data_of_some_people_only_may_not_store_objects_that_name_anybody(filled, role):
    told = filled.client.post(
        WEB + "/studies", headers=filled.head(role, ADA) | {"Content-Type": KIND}, content=join_parts([image_of(BOB)], "b0")
    )
    assert told.status_code == 403


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/dicom", b"x"), (KIND, b""), (KIND, b"--b0--\r\n"), ('multipart/related; type="text/html"; boundary=b0', b"--b0--")],
)
def test_a_body_that_is_none_is_refused(filled, kind, body):
    told = filled.client.post(WEB + "/studies", headers=filled.head("service") | {"Content-Type": kind}, content=body)
    assert told.status_code == 400
