"""A device that we did not write: the provider of sdc11073, in a process of its own, told on its standard input what to do.

python _sdc_provider.py MDIB EPR      then lines: set HANDLE VALUE SECONDS | patient ROOT EXTENSION | many N PERIOD | quit
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal


def main() -> None:
    import logging

    from sdc11073.definitions_sdc import SdcV1Definitions
    from sdc11073.location import SdcLocation
    from sdc11073.mdib import ProviderMdib
    from sdc11073.provider import SdcProvider
    from sdc11073.wsdiscovery import WSDiscovery
    from sdc11073.xml_types import pm_types
    from sdc11073.xml_types.dpws_types import ThisDeviceType, ThisModelType

    logging.getLogger("sdc").setLevel(logging.CRITICAL)
    place, epr = sys.argv[1], sys.argv[2]
    discovery = WSDiscovery("127.0.0.1")
    discovery.start()
    mdib = ProviderMdib.from_mdib_file(place, protocol_definition=SdcV1Definitions)
    provider = SdcProvider(
        ws_discovery=discovery, epr=epr, this_model=ThisModelType(manufacturer="x", manufacturer_url="http://x", model_name="m", model_number="1",
        model_url="http://x", presentation_url="http://x"), this_device=ThisDeviceType(friendly_name="d", firmware_version="1", serial_number="1"),
        device_mdib_container=mdib,
    )  # fmt: skip
    provider.start_all(start_rtsample_loop=False)
    provider.set_location(SdcLocation("fac", "poc", "bed"))
    handles = [d.Handle for d in mdib.descriptions.objects if type(d).__name__ == "NumericMetricDescriptorContainer"]
    print("up", len(handles), flush=True)

    def put(values: dict[str, tuple[Decimal, float]]) -> None:
        with mdib.metric_state_transaction() as change:
            for handle, (value, when) in values.items():
                state = change.get_state(handle)
                if state.MetricValue is None:
                    state.mk_metric_value()
                state.MetricValue.Value = value
                state.MetricValue.DeterminationTime = when
                state.MetricValue.MetricQuality.Validity = pm_types.MeasurementValidity.VALID

    for line in sys.stdin:
        words = line.split()
        if words[0] == "set":
            put({words[1]: (Decimal(words[2]), float(words[3]) if len(words) > 3 else time.time())})
        elif words[0] == "patient":
            descriptor = next(d for d in mdib.descriptions.objects if type(d).__name__ == "PatientContextDescriptorContainer")
            with mdib.context_state_transaction() as change:
                change.disassociate_all(descriptor.Handle)
                state = change.mk_context_state(descriptor.Handle, set_associated=True)
                state.Identification = [pm_types.InstanceIdentifier(root=words[1], extension_string=words[2])]
        elif words[0] == "many":
            for k in range(int(words[1])):
                now = time.time()
                put({handle: (Decimal(k) + Decimal(i) / 100, now) for i, handle in enumerate(handles)})
                time.sleep(float(words[2]))
        elif words[0] == "quit":
            break
        print("done", mdib.mdib_version, flush=True)
    provider.stop_all()
    discovery.stop()


if __name__ == "__main__":
    main()
