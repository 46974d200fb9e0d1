"""How a machine says what its running kernel was configured like."""

from __future__ import annotations

import gzip

import pytest

from harness.kernels.config import LARGEST, running_config

TEXT = b'CONFIG_MMU=y\n# CONFIG_MSEAL_SYSTEM_MAPPINGS is not set\nCONFIG_LOCALVERSION="-x"\n'
FOUND = {"MMU": "y", "LOCALVERSION": "-x"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"/proc/config.gz": gzip.compress(TEXT)}, FOUND),
        ({"/boot/config-6.18.1": TEXT}, FOUND),
        ({"/lib/modules/6.18.1/config": TEXT, "/boot/config-6.18.1": b""}, FOUND),
        (
            {"/proc/config.gz": gzip.compress(TEXT)[:40] + b"\xff" * 9, "/boot/config-6.18.1": b"CONFIG_MMU=n\n"},
            {"MMU": "n"},
        ),
        ({"/boot/config-6.17.0": TEXT}, {}),
        ({}, {}),
    ],
)
def test_the_kernels_own_word_first_then_what_lies_beside_it(files: dict[str, bytes], found: dict[str, str]) -> None:
    def read(path: str) -> bytes:
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    assert running_config("6.18.1", read) == found


def test_a_part_of_it_says_nothing() -> None:
    large = TEXT + b"#" * LARGEST
    assert running_config("6.18.1", lambda _: gzip.compress(large)) == {}
    assert running_config("6.18.1", lambda _: large[:LARGEST]) == {}
