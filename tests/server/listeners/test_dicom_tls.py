"""The listener in TLS: who has no certificate of the right authority is not heard."""

import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gemel.core.errors import DataError
from gemel.interop.dicom.network import Peer, echo
from gemel.platform.images import Kept
from gemel.server.listeners.dicom_scp import DicomListener
from gemel.server.tls import listening


def certificate(folder, name):
    """A certificate that signs itself, and is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    place, secret = folder / f"{name}.pem", folder / f"{name}.key"
    place.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return place, secret


def test_who_has_no_certificate_is_not_heard(tmp_path):
    server, client, stranger = (certificate(tmp_path, name) for name in ("server", "client", "stranger"))
    listener = DicomListener(
        lambda arrival: Kept("new"),
        clock=lambda: 0,
        idle=5,
        tls=listening(server[0], server[1], client[0]),
    )
    port = listener.start()

    def talk(who):
        context = ssl.create_default_context(cafile=str(server[0]))
        if who is not None:
            context.load_cert_chain(*who)
        echo(Peer("127.0.0.1", port, "GEMEL", patience=5, tls=context))

    try:
        talk(client)
        for who in (stranger, None):
            with pytest.raises(DataError):
                talk(who)
        with pytest.raises(DataError):
            echo(Peer("127.0.0.1", port, "GEMEL", patience=3))  # without TLS
        talk(client)
    finally:
        listener.stop()
