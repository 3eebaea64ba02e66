"""python-hl7 and hl7apy in their own environment: the same results out of the same messages. Prints JSON.

python _hl7_peer.py FILE hl7|hl7apy

FILE holds messages, each followed by 0x1C. What is taken from a message is what ours takes: patient, code, value, unit, status and time of each OBX.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def by_hl7(text: str) -> int:
    import hl7

    message = hl7.parse(text)
    patient = str(message.segment("PID")[3])
    rows = [(patient, str(s[3][0][0]), float(str(s[5])), str(s[6][0][0]), str(s[11]), str(s[14])) for s in message.segments("OBX")]
    return len(rows)


def by_hl7apy(text: str) -> int:
    from hl7apy.parser import parse_message

    message = parse_message(text, find_groups=True)
    count = 0
    for group in message.oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation:
        obx = group.obx
        row = (obx.obx_3.obx_3_1.value, float(obx.obx_5.value), obx.obx_6.obx_6_1.value, obx.obx_11.value, obx.obx_14.value)
        count += len(row) == 5
    return count


def main() -> None:
    from importlib.metadata import version

    read = {"hl7": by_hl7, "hl7apy": by_hl7apy}[sys.argv[2]]
    texts = [b.decode() for b in Path(sys.argv[1]).read_bytes().split(b"\x1c") if b]
    read(texts[0])
    begin = time.process_time()
    rows = sum(read(text) for text in texts)
    print(json.dumps({"version": version(sys.argv[2]), "seconds": time.process_time() - begin, "messages": len(texts), "rows": rows}))


if __name__ == "__main__":
    main()
