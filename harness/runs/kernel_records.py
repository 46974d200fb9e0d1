"""A kernel written down for the record of a run."""

from __future__ import annotations

from collections.abc import Mapping

from harness.kernels.model import Kernel
from harness.model.rule import asked_options
from harness.model.run_record import KernelRecord
from harness.rules.load import load_catalogue


def asked_config(config: Mapping[str, str]) -> dict[str, str]:
    """The options of a kernel's configuration that the catalogue asks for, "n" for off; none where it is not known."""
    options = sorted(asked_options(load_catalogue().values())) if config else ()
    return {option: config.get(option, "n") for option in options}


def kernel_record(kernel: Kernel) -> KernelRecord:
    """Write a resolved kernel down."""
    return KernelRecord(
        name=kernel.name,
        release=kernel.release,
        version=kernel.version,
        arch=kernel.arch,
        flavour=kernel.flavour,
        sha256=kernel.sha256,
        image_format=kernel.image_format,
        config_sha256=kernel.config_sha256,
        config=asked_config(kernel.config),
        origin_kind=kernel.origin.kind,
        origin=kernel.origin.where,
        packages=kernel.origin.packages,
        note=kernel.origin.note,
    )
