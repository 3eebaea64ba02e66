"""A metric of a bedside device becomes a forecast: SDC reports through the intake, a calibration, one more report, and what is said next."""

import numpy as np
import pytest

from _live import HOUR, MINUTE, Ward, ask, person, result
from gemel.interop.ieee11073.mdib import Patient
from gemel.interop.ieee11073.nomenclature import UNITS
from gemel.interop.ieee11073.sdc_message import Reading, Report, write_report
from gemel.platform.adapters.sdc import adapter
from gemel.platform.advice import read_forecast
from gemel.platform.intake import Intake
from gemel.platform.store import lookup

ROOM = "metabolic"
ISF_GLUCOSE = 2 * 65536 + 29140  # MDC_CONC_GLU_ISF
SYSTEM = "urn:oid:1.2.840.10004.1.1.1.0.0.1"
MG_DL = next(code for code, unit in UNITS.items() if unit == "mg/dL")
DEVICE, WHO = "urn:uuid:cgm-1", (Patient("mds0", (("urn:site", "p1"),)),)


def report(times, values, received) -> bytes:
    readings = tuple(
        Reading("glucose", "mds0", str(ISF_GLUCOSE), SYSTEM, str(MG_DL), "Msrmt", float(value), "Vld", "Real", int(time), i)
        for i, (time, value) in enumerate(zip(times, values, strict=True))
    )
    return write_report(Report(DEVICE, "urn:uuid:s1", int(received), WHO, {}, readings))


@pytest.mark.slow
def test_a_metric_of_a_device_is_assimilated_and_forecast(tmp_path):
    record, now = person(room=ROOM)
    glucose = next(s for s in record.series if str(s.code) == "loinc:99504-3")
    start = now - 2 * HOUR
    ward = Ward(tmp_path / "a.sqlite", start)
    with ward.open() as store:
        intake = Intake(store, [adapter(root="urn:site")])
        store.append("p1", [e for e in record.exposures if e.start < start], recorded=start, demographics=record.demographics)
        for begin in range(int(glucose.time[0]), start, 6 * HOUR):  # the device tells six hours at a time what it measured
            part = (glucose.time >= begin) & (glucose.time < min(begin + 6 * HOUR, start))
            taken = intake.take(
                DEVICE, "sdc", report(glucose.time[part], glucose.value[part], begin + 6 * HOUR), name=f"{begin}", received=start
            )
            assert taken.state == "done"
        (series,) = store.record("p1").series
        assert (str(series.code), series.unit, len(series)) == ("loinc:99504-3", "mg/dL", int((glucose.time < start).sum()))
        job = ask(store, "calibrate", start, room=ROOM, seed=1)
    worker = ward.worker()
    worker.step()
    store = worker.store
    assert result(store, job)["kind"] == "twin"
    later = int(np.flatnonzero(glucose.time >= start)[0])
    ward.clock.now = int(glucose.time[later]) + MINUTE
    taken = Intake(store, [adapter(root="urn:site")]).take(
        DEVICE, "sdc", report(glucose.time[[later]], glucose.value[[later]], ward.clock.now), name="last", received=ward.clock.now
    )
    assert taken.state == "done"
    assert worker.step() == 1
    said = lookup.version_list(store, "forecast", store.subject("p1"), ROOM)[-1]
    table = read_forecast(lookup.version_body(store, "forecast", said.id))
    assert table.issued == ward.clock.now
    assert table.outputs == ("glucose",)
    assert np.isfinite(table.quantiles).all()
    middle = table.quantiles[table.levels.index(0.5), 0, 0]
    assert abs(middle - glucose.value[later]) < 60  # mg/dL, minutes ahead: it knows the last reading
    worker.close()
