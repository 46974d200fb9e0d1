"""The same cluster over TLS, with a certificate authority that lives as long as the test."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dask
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.cluster.worker import NoScheduler
from tests.support.dask_cluster import Process, Start, plan_of, run_there, worker
from tests.support.scripted_runs import statuses

SIDES = ("scheduler", "worker", "client")


def authority(folder: Path, name: str) -> dict[str, str]:
    """Make an authority and one certificate that it signed, and return Dask's settings that use them."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    now = datetime.now(UTC)

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, is_ca: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return builder.add_extension(here, critical=False).sign(ca_key, hashes.SHA256())

    one = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files = {
        "ca": signed(ca_name, ca_key.public_key(), is_ca=True).public_bytes(pem),
        "cert": signed(one, key.public_key(), is_ca=False).public_bytes(pem),
        "key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
    }
    for what, content in files.items():
        (folder / f"{name}-{what}.pem").write_bytes(content)
    settings = {"distributed.comm.tls.ca-file": str(folder / f"{name}-ca.pem")}
    for side in SIDES:
        settings |= {f"distributed.comm.tls.{side}.{w}": str(folder / f"{name}-{w}.pem") for w in ("cert", "key")}
    return settings


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The settings as Dask reads them from the environment (docs/use/cluster.md)."""
    return {f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": value for key, value in settings.items()}


def test_a_run_over_tls(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers as without; who has no certificate of the authority is told in one line, and nothing is begun."""
    ours, others = authority(tmp_path, "ours"), authority(tmp_path, "others")
    for name, value in environment(ours).items():
        monkeypatch.setenv(name, value)  # for the scheduler and the worker
    words = ("-m", "distributed.cli.dask_scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0")
    scheduler: Process = start(*words, "--no-dashboard", "--no-show")
    address = scheduler.until("Scheduler at:").split()[-1]
    assert address.startswith("tls://127.0.0.1:")
    worker(start, address, tmp_path, "w")
    with dask.config.set(others), pytest.raises(NoScheduler) as refused:
        run_there(address, plan_of(tmp_path, "a"), lambda _: None)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "r").exists()
    with dask.config.set(ours):
        done = run_there(address, plan_of(tmp_path, "a"), lambda _: None)
    assert done.exit_code == 0, statuses(done, "a")
    assert done.record.cells[0].host["name"] == os.uname().nodename
    assert done.record.cells[0].host["worker"].startswith("tls://")
