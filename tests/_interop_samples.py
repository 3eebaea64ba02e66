"""Small documents of every layout, made up: no real person's data."""

from __future__ import annotations

import json

START = 1_767_254_400_000  # 2026-01-01T08:00Z, ms
MINUTE = 60_000

NIGHTSCOUT = {
    "entries": [
        {"_id": f"e{i}", "type": "sgv", "sgv": value, "date": START + 5 * i * MINUTE, "direction": "Flat", "device": "share2"}
        for i, value in reversed(list(enumerate([110, 118, 39, 401, 5, 130])))
    ]
    + [{"_id": "m", "type": "mbg", "mbg": 112, "date": START + 2 * MINUTE}, {"_id": "c", "type": "cal", "slope": 800, "date": START}],
    "treatments": [
        {"_id": "t1", "eventType": "Meal Bolus", "created_at": "2026-01-01T08:10:00Z", "carbs": 45, "insulin": 4.5, "protein": 20, "fat": 11},
        {"_id": "t2", "eventType": "Combo Bolus", "created_at": "2026-01-01T08:12:00Z", "enteredinsulin": 6, "insulin": 3.6, "splitNow": 60,
         "splitExt": 40, "relative": 1.2, "duration": 120},
        {"_id": "t3", "eventType": "Temp Basal", "created_at": "2026-01-01T09:00:00Z", "absolute": 0.4, "duration": 30},
        {"_id": "t4", "eventType": "Temp Basal", "created_at": "2026-01-01T10:00:00Z", "percent": 50, "duration": 60},
        {"_id": "t5", "eventType": "BG Check", "created_at": "2026-01-01T10:30:00Z", "glucose": 6.0, "units": "mmol", "glucoseType": "Finger"},
        {"_id": "t6", "eventType": "Exercise", "created_at": "2026-01-01T11:00:00Z", "duration": 30},
        {"_id": "t7", "eventType": "Note", "created_at": "2026-01-01T12:00:00Z", "notes": "private"},
    ],
    "profile": [
        {"defaultProfile": "Default", "startDate": "2025-12-01T00:00:00Z", "store": {"Default": {
            "timezone": "Europe/Berlin", "units": "mg/dl",
            "basal": [{"time": "00:00", "value": "0.8", "timeAsSeconds": "0"}, {"time": "10:30", "value": 1.0}]}}}
    ],
}  # fmt: skip

_HEAD = {"deviceId": "DevId0987654321", "uploadId": "SampleUploadId"}
TIDEPOOL = [
    {"type": "cbg", "units": "mmol/L", "value": 6.1, "time": "2026-01-01T08:00:00.000Z", "id": "a1", **_HEAD},
    {"type": "cbg", "units": "mmol/L", "value": 6.6, "time": "2026-01-01T08:05:00.000Z", "id": "a2", **_HEAD},
    {"type": "cbg", "units": "mmol/L", "value": 2.2, "time": "2026-01-01T08:10:00.000Z", "id": "a3",
     "annotations": [{"code": "bg/out-of-range", "value": "low", "threshold": 40}], **_HEAD},
    {"type": "smbg", "units": "mmol/L", "value": 6.4, "time": "2026-01-01T08:03:00Z", "id": "a4", **_HEAD},
    {"type": "bolus", "subType": "normal", "normal": 4.5, "expectedNormal": 6.0, "time": "2026-01-01T08:10:00Z", "id": "b1", **_HEAD},
    {"type": "bolus", "subType": "square", "extended": 2.0, "duration": 3_600_000, "time": "2026-01-01T09:00:00Z", "id": "b2", **_HEAD},
    {"type": "bolus", "subType": "dual/square", "normal": 1.0, "extended": 1.5, "duration": 7_200_000, "time": "2026-01-01T10:00:00Z", "id": "b3"},
    {"type": "basal", "deliveryType": "scheduled", "rate": 0.8, "duration": 3_600_000, "time": "2026-01-01T08:00:00Z", "id": "c1"},
    {"type": "basal", "deliveryType": "temp", "percent": 0.5, "duration": 1_800_000, "time": "2026-01-01T09:00:00Z", "id": "c2",
     "suppressed": {"type": "basal", "deliveryType": "scheduled", "rate": 0.8}},
    {"type": "basal", "deliveryType": "suspend", "duration": 1_800_000, "time": "2026-01-01T09:30:00Z", "id": "c3"},
    {"type": "food", "nutrition": {"carbohydrate": {"net": 45, "units": "grams"}, "fat": {"total": 10, "units": "grams"},
     "energy": {"value": 1000, "units": "kilojoules"}}, "time": "2026-01-01T08:12:00Z", "id": "d1"},
    {"type": "wizard", "carbInput": 44, "units": "mmol/L", "time": "2026-01-01T08:10:00Z", "id": "e1", "bolus": "b1"},
    {"type": "wizard", "carbInput": 20, "units": "mmol/L", "time": "2026-01-01T12:00:00Z", "id": "e2"},
    {"type": "physicalActivity", "duration": {"value": 0.5, "units": "hours"}, "reportedIntensity": "medium", "time": "2026-01-01T15:00:00Z", "id": "f1"},
    {"type": "pumpSettings", "time": "2026-01-01T07:00:00Z", "id": "g1"},
]  # fmt: skip


def omh(name, body, *, user="u1", created="2026-01-01T12:00:00Z", version="1.0"):
    """Wrap a body as a data point."""
    header = {
        "id": f"{name}-1", "creation_date_time": created, "user_id": user,
        "schema_id": {"namespace": "omh", "name": name, "version": version},
        "acquisition_provenance": {"source_name": "sample", "modality": "sensed"},
    }  # fmt: skip
    return {"header": header, "body": body}


def at(text):
    """An effective time frame of one moment."""
    return {"effective_time_frame": {"date_time": text}}


def during(start, **rest):
    """An effective time frame of an interval."""
    return {"effective_time_frame": {"time_interval": {"start_date_time": start, **rest}}}


OPEN_MHEALTH = [
    omh("blood-glucose", {"blood_glucose": {"unit": "mg/dL", "value": 110}, "specimen_source": "interstitial fluid", **at("2026-01-01T08:00:00Z")}),
    omh("blood-glucose", {"blood_glucose": {"unit": "mmol/L", "value": 6.2}, "specimen_source": "capillary blood",
                          "temporal_relationship_to_meal": "fasting", **at("2026-01-01T08:01:00+00:00")}),
    omh("blood-glucose", {"blood_glucose": {"unit": "mg/dL", "value": 95}, **at("2026-01-01T08:05:00Z")}),
    omh("heart-rate", {"heart_rate": {"unit": "beats/min", "value": 61}, **at("2026-01-01T08:00:00Z")}),
    omh("step-count", {"step_count": {"unit": "steps", "value": 420}, **during("2026-01-01T08:00:00Z", end_date_time="2026-01-01T08:30:00Z")}),
    omh("sleep-duration", {"sleep_duration": {"unit": "h", "value": 7.5}, **during("2025-12-31T22:00:00Z", duration={"value": 8, "unit": "h"})}),
    omh("sleep-episode", {"is_main_sleep": True, **during("2025-12-30T22:00:00Z", end_date_time="2025-12-31T06:00:00Z")}),
    omh("body-weight", {"body_weight": {"unit": "lb", "value": 165}, **at("2026-01-01T07:00:00Z")}),
    omh("physical-activity", {"activity_name": "walking", "kcal_burned": {"unit": "kcal", "value": 160},
                              **during("2026-01-01T09:00:00Z", duration={"value": 40, "unit": "min"})}),
    omh("blood-glucose", {"blood_glucose": {"unit": "mg/dL", "value": 70}, "descriptive_statistic": "minimum", "specimen_source": "interstitial fluid",
                          **during("2026-01-01T00:00:00Z", end_date_time="2026-01-01T08:00:00Z")}),
    omh("body-height", {"body_height": {"unit": "cm", "value": 180}, **at("2026-01-01T08:00:00Z")}),
]  # fmt: skip

OHIO = """<?xml version="1.0" encoding="UTF-8"?>
<patient id="999" weight="99" insulin_type="Novalog">
  <glucose_level>
    <event ts="07-12-2026 08:00:00" value="101"/><event ts="07-12-2026 08:05:00" value="105"/><event ts="07-12-2026 08:10:00" value="109"/>
  </glucose_level>
  <finger_stick><event ts="07-12-2026 08:02:00" value="104"/></finger_stick>
  <basal><event ts="07-12-2026 07:00:00" value="0.88"/><event ts="07-12-2026 12:00:00" value="1.0"/></basal>
  <temp_basal><event ts_begin="07-12-2026 09:00:00" ts_end="07-12-2026 10:00:00" value="0.0"/></temp_basal>
  <bolus>
    <event ts_begin="07-12-2026 08:06:00" ts_end="07-12-2026 08:06:00" type="normal dual" dose="3.0" bwz_carb_input="45"/>
    <event ts_begin="07-12-2026 08:06:00" ts_end="07-12-2026 10:06:00" type="square dual" dose="2.0" bwz_carb_input="0"/>
  </bolus>
  <meal><event ts="07-12-2026 08:05:00" type="Breakfast" carbs="45"/><event ts="07-12-2026 13:00:00" type="Snack" carbs="0"/></meal>
  <sleep><event ts_begin="07-12-2026 23:00:00" ts_end="08-12-2026 06:30:00" quality="3"/></sleep>
  <work><event ts_begin="07-12-2026 09:00:00" ts_end="07-12-2026 17:00:00" intensity="1"/></work>
  <stressors><event ts="07-12-2026 17:03:00" type=" " description=" "/></stressors>
  <hypo_event><event ts="07-12-2026 21:45:00"><symptom name="Shaky"/></event></hypo_event>
  <illness></illness>
  <exercise><event ts="07-12-2026 18:00:00" intensity="3" type=" " duration="45" competitive=""/></exercise>
  <basis_heart_rate><event ts="07-12-2026 08:00:00" value="71"/><event ts="07-12-2026 08:05:00" value="0"/></basis_heart_rate>
  <basis_skin_temperature><event ts="07-12-2026 08:00:00" value="86.54"/></basis_skin_temperature>
  <basis_steps><event ts="07-12-2026 08:00:00" value="0"/><event ts="07-12-2026 08:05:00" value="40"/></basis_steps>
  <basis_sleep><event tbegin="08-12-2026 06:00:00" tend="07-12-2026 23:10:00" quality="89" type=" "/></basis_sleep>
</patient>
"""

HUPA = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input\n" + "".join(
    f"2026-03-0{1 + i // 288}T{i % 288 // 12:02d}:{i % 12 * 5:02d}:00;{120 + i % 30}.0;5.5;{0 if i == 3 else 70 + i % 9}.0;{i % 4};"
    f"{0.091667 if i % 288 < 100 else 0.066667};{4.5 if i == 96 else 0.0};{4.5 if i == 95 else 0.0}\n"
    for i in range(400)
)

AZT1D = (
    "EventDateTime,DeviceMode,BolusType,Basal,CorrectionDelivered,TotalBolusInsulinDelivered,FoodDelivered,CarbSize,CGM\n"
    "2026-02-01 08:00:00,,,0.9,,,,,120\n"
    "2026-02-01 08:05:00,,,,,,,,126\n"
    "2026-02-01 08:07:00,,Standard,,0.5,5.0,4.5,50,\n"
    "2026-02-01 08:10:00,sleep,,1.2,,,,,131\n"
    "2026-02-01 08:15:00,,,0,,,,,140\n"
)


def _cgmacros():
    lines = [
        ",Timestamp,Libre GL,Dexcom GL,HR,Calories (Activity),METs,Meal Type,Calories,Carbs,Protein,Fat,Fiber,Amount Consumed,Image path"
    ]
    for i in range(61):
        libre = [100.0, 115.0, 130.0, 118.0, 112.0]
        dexcom = [100, 104, 107, 107, 111, 116, 120, 131, 140, 138, 133, 129, 125]
        one = libre[i // 15] + (libre[min(i // 15 + 1, 4)] - libre[i // 15]) * (i % 15) / 15
        two = dexcom[i // 5] + (dexcom[min(i // 5 + 1, 12)] - dexcom[i // 5]) * (i % 5) / 5
        meal = "Lunch,600,80,20,15,8,50,photos/1.jpg" if i == 20 else "Snack,200,25,2,9,1,,photos/2.jpg" if i == 50 else ",,,,,,,"
        lines.append(f"{i},2026-04-01 12:{i % 60:02d}:00,{one:.4f},{two:.4f},{60 + i % 5},1.2,10,{meal}" if i < 60 else
                     f"{i},2026-04-01 13:00:00,{one:.4f},{two:.4f},0,1.2,10,{meal}")  # fmt: skip
    return "\n".join(lines) + "\n"


CGMACROS = _cgmacros()

_SUBJECT = {"subject": {"reference": "urn:uuid:6d6a6a52-3f5c-4a52-8a35-3d6f4a6a0001"}}
_CATEGORY = {"category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}]}


def reading(value, time, *, code="99504-3", unit=("mg/dL", "mg/dl"), **rest):
    """An Observation of the guide."""
    quantity = {"value": value, "unit": unit[1], "system": "http://unitsofmeasure.org", "code": unit[0]}
    body = {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "effectiveDateTime": time, "valueQuantity": quantity, **_SUBJECT, **_CATEGORY, **rest}  # fmt: skip
    return {"resource": body, "request": {"method": "POST", "url": "Observation"}}


def fhir_bundle(*more):
    """A submission with three readings."""
    patient = {"fullUrl": "urn:uuid:6d6a6a52-3f5c-4a52-8a35-3d6f4a6a0001",
               "resource": {"resourceType": "Patient", "gender": "female", "name": [{"family": "Private"}],
                            "identifier": [{"system": "urn:gemel:pseudonym", "value": "p7"}]},
               "request": {"method": "POST", "url": "Patient"}}  # fmt: skip
    readings = [reading(v, f"2026-01-01T08:{m:02d}:00Z") for v, m in ((110, 0), (115, 5), (121, 10))]
    return {"resourceType": "Bundle", "type": "transaction", "timestamp": "2026-01-01T09:00:00Z", "entry": [patient, *readings, *more]}


_AT = 'sourceName="w" creationDate="2026-01-01 08:06:00 +0100" startDate="2026-01-01 08:05:00 +0100" endDate="2026-01-01 08:05:00 +0100"'
APPLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE HealthData [<!ELEMENT HealthData (Record)*>]>
<HealthData locale="de_DE"><Me HKCharacteristicTypeIdentifierDateOfBirth="1980-06-01"/>
<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="61" {_AT}/>
<Record type="HKQuantityTypeIdentifierStepCount" unit="count" value="40" {_AT}/>
<Record type="HKQuantityTypeIdentifierBloodGlucose" unit="mg/dL" value="110" {_AT}/>
<Record type="HKQuantityTypeIdentifierDietaryCarbohydrates" unit="g" value="30" {_AT}/>
<Record type="HKQuantityTypeIdentifierInsulinDelivery" unit="IU" value="3" {_AT}><MetadataEntry key="HKInsulinDeliveryReason" value="2"/></Record>
<Workout workoutActivityType="HKWorkoutActivityTypeRunning" {_AT}/>
</HealthData>
"""

DOCUMENTS = {
    "apple-health": ("export.xml", APPLE),
    "nightscout": ("nightscout.json", json.dumps(NIGHTSCOUT)),
    "tidepool": ("tidepool.json", json.dumps(TIDEPOOL)),
    "open-mhealth": ("points.json", json.dumps(OPEN_MHEALTH)),
    "ohio": ("999-ws-training.xml", OHIO),
    "hupa": ("HUPA0001P.csv", HUPA),
    "azt1d": ("Subject 7.csv", AZT1D),
    "cgmacros": ("CGMacros-001.csv", CGMACROS),
    "fhir-cgm": ("bundle.json", json.dumps(fhir_bundle())),
}
