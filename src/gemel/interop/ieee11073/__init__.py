"""IEEE 11073 and the Bluetooth profile built on it: sensor glucose as bytes, and codes of personal health devices as ours.

Framing, pairing and the radio are a listener's business; what is here turns the values of characteristics into facts and back.
"""

from gemel.interop.ieee11073.cgm import (
    ANNUNCIATIONS,
    FEATURES,
    Feature,
    Measurement,
    SessionStart,
    decode_feature,
    decode_measurements,
    decode_session_start,
    encode_feature,
    encode_measurement,
    encode_session_start,
)
from gemel.interop.ieee11073.crc import crc16
from gemel.interop.ieee11073.gatt import CHARACTERISTICS, GattValue, decode_characteristic
from gemel.interop.ieee11073.gatt_series import gatt_series
from gemel.interop.ieee11073.medfloat import decode_float, encode_float
from gemel.interop.ieee11073.nomenclature import TERMS, UNITS, Term, code_of, find_term
from gemel.interop.ieee11073.sessions import measurements_of, session_series
from gemel.interop.ieee11073.sfloat import Special, decode_sfloat, encode_sfloat

__all__ = [
    "ANNUNCIATIONS",
    "CHARACTERISTICS",
    "FEATURES",
    "TERMS",
    "UNITS",
    "Feature",
    "GattValue",
    "Measurement",
    "SessionStart",
    "Special",
    "Term",
    "code_of",
    "crc16",
    "decode_characteristic",
    "decode_feature",
    "decode_float",
    "decode_measurements",
    "decode_session_start",
    "decode_sfloat",
    "encode_feature",
    "encode_float",
    "encode_measurement",
    "encode_session_start",
    "encode_sfloat",
    "find_term",
    "gatt_series",
    "measurements_of",
    "session_series",
]
