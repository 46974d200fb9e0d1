"""Evidence that is signed, the list of what it rests on, and a policy to begin with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.errors import ConfigError, UsageError
from harness.qualify.draft import FILL_IN, draft_policy, draft_waivers
from harness.qualify.evidence import SIGNATURE, SUMS, seal, verify
from harness.qualify.load import load_policy, parse_policy
from harness.qualify.qualification import write_qualification
from harness.qualify.sbom import SBOM, can_sbom, sbom
from harness.qualify.signature import check, sign
from harness.rules.load import load_catalogue
from tests.support.compared_runs import command_line, two_nights
from tests.support.qualified import RULES, dossier
from tests.support.qualified import results as rule_results

__all__ = ["command_line", "two_nights"]  # the fixtures `call` and `results`

listing = pytest.mark.skipif(
    not can_sbom(), reason="cyclonedx-python-lib is not installed (pip install 'sealmatrix[sbom]')"
)
keyed = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen: apt-get install openssh-client")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Two keys, and a file that lets one of them sign."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name, words in (("ours", ""), ("theirs", ""), ("locked", "secret")):
        line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", words, "-C", name, "-f", str(folder / name)]
        subprocess.run(line, check=True)
    (folder / "signers").write_text(f"release@example.org {(folder / 'ours.pub').read_text()}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "q"
    made.mkdir()
    (made / "a").write_text("a")
    seal(made)
    return made


@keyed
def test_a_signature_is_good_for_whose_it_is_and_for_nothing_else(keys: Path, folder: Path) -> None:
    assert check(folder) is None
    sign(folder, keys / "ours")
    assert verify(folder).intact  # the signature is no file of the evidence
    found = check(folder)
    assert found
    assert (found.good, found.who) == (True, "")
    assert "ED25519" in found.says
    known = check(folder, keys / "signers")
    assert known
    assert (known.good, known.who) == (True, "release@example.org")
    sign(folder, keys / "theirs")
    stranger = check(folder, keys / "signers")
    assert stranger
    assert not stranger.good
    assert "nobody in" in stranger.says


@keyed
def test_an_altered_list_has_no_good_signature(keys: Path, folder: Path) -> None:
    sign(folder, keys / "ours")
    (folder / "a").write_text("b")
    seal(folder)
    for found in (check(folder), check(folder, keys / "signers")):
        assert found
        assert not found.good
    (folder / SIGNATURE).write_text("no signature")
    found = check(folder)
    assert found
    assert not found.good


@keyed
@pytest.mark.parametrize("key", ["locked", "signers"])
def test_a_key_that_does_not_sign_leaves_nothing(key: str, keys: Path, tmp_path: Path) -> None:
    made = dossier(rule_results())
    with pytest.raises(UsageError, match="does not sign") as caught:
        write_qualification(made, tmp_path / "new", keys / key)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys"]


@keyed
def test_qualify_signs_and_verify_checks(call: Any, results: Path, keys: Path) -> None:
    words = ("qualify", "--candidate", "k73", "--baseline", "k612", "--policy", "policy.yaml", "-o", "q")
    assert call(*words, "--sign", str(keys / "ours"))[0] == 1
    code, out, _ = call("verify", "q", "--signers", str(keys / "signers"))
    assert code == 0
    assert "signed: Good" in out
    assert "for release@example.org" in out
    assert "nobody was asked" in call("verify", "q")[1]
    (results.parent / "q" / SIGNATURE).unlink()
    code, out, _ = call("verify", "q", "--signers", str(keys / "signers"))
    assert (code, "not signed" in out, "intact" in out) == (1, True, False)
    code, out, _ = call("verify", "q")
    assert (code, "not signed" in out, "intact" in out) == (0, True, True)
    code, _, err = call("verify", "q", "--signers", "nobody")
    assert (code, "nobody: no such file" in err) == (2, True)
    code, _, err = call(*words[:-1], "other", "--sign", "nokey")
    assert (code, "nokey: no such key" in err) == (2, True)
    assert not (results.parent / "other").exists()


@listing
def test_kernels_and_tools_are_listed(call: Any, results: Path) -> None:
    words = ("qualify", "--candidate", "k73", "--baseline", "k612", "--policy", "policy.yaml", "--as-of", "2026-11-23")
    _, _, err = call(*words, "-o", "q")
    assert err == ""
    text = (results.parent / "q" / SBOM).read_text()
    told = json.loads(text)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    kernels = {part["bom-ref"]: part for part in told["components"] if part["name"] == "linux"}
    assert set(kernels) == {"candidate:k73.x86_64", "baseline:k612.x86_64"}
    for kernel in kernels.values():
        assert re.fullmatch(r"[0-9a-f]{64}", kernel["hashes"][0]["content"])
    names = {part["name"] for part in told["components"]}
    assert "sealmatrix" in names
    assert any(name.startswith("payload-c") for name in names)
    assert SBOM in (results.parent / "q" / SUMS).read_text()
    call(*words, "-o", "again")
    assert (results.parent / "again" / SBOM).read_text() == text


@listing
def test_debian_packages_have_their_address_and_digest() -> None:
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415  an extra
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    made = dossier(rule_results())
    record = made.candidate.done.record
    packages = (("linux-image-7.3.4", "7.3.4-1~bpo13+1", "ab" * 32),)
    cells = tuple(
        cell.model_copy(update={"kernel": cell.kernel.model_copy(update={"packages": packages})})
        for cell in record.cells
        if cell.kernel
    )
    object.__setattr__(made.candidate.done, "record", record.model_copy(update={"cells": cells}))
    text = sbom(made)
    (kernel,) = (part for part in json.loads(text)["components"] if part["bom-ref"].startswith("candidate:"))
    (package,) = kernel["components"]
    assert package["purl"] == "pkg:deb/debian/linux-image-7.3.4@7.3.4-1~bpo13%2B1?arch=amd64"
    assert package["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_without_the_library_it_is_said_and_the_rest_is_whole(
    call: Any,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("harness.cli.qualify", "harness.qualify.qualification"):
        monkeypatch.setattr(f"{module}.can_sbom", lambda: False)
    words = ("qualify", "--candidate", "k73", "--baseline", "k612", "--policy", "policy.yaml", "-o", "q")
    code, _, err = call(*words)
    assert (code, "no sbom.cdx.json" in err) == (1, True)
    assert not (results.parent / "q" / SBOM).exists()
    assert call("verify", "q")[0] == 0


def test_init_writes_a_policy_that_is_one_and_a_waiver_to_fill_in(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    done = CliRunner().invoke(cli, ["qualify", "init", str(path)])
    assert done.exit_code == 0, done.output
    policy, data = load_policy(path, load_catalogue())
    assert (policy.architectures, policy.waivers) == (("x86_64", "arm64"), ())
    assert data.decode().count(FILL_IN) == 3
    again = CliRunner().invoke(cli, ["qualify", "init", str(path)], standalone_mode=False)
    assert isinstance(again.exception, UsageError)
    assert path.read_bytes() == data


def test_init_with_two_kernels_has_a_waiver_for_what_is_not_accepted(call: Any, results: Path) -> None:
    assert call("qualify", "init", "mine.yaml", "--candidate", "k73", "--baseline", "k612")[0] == 0
    text = (results.parent / "mine.yaml").read_text()
    assert "# What this policy does not accept of k73 (7.3) against k612 (6.12)." in text
    assert "#  - rule: munmap-blocked" in text
    assert '#    kernels: ["k73"]' in text
    assert load_policy(results.parent / "mine.yaml", load_catalogue())[0].architectures == ("x86_64",)
    code, _, err = call("qualify", "init", "other.yaml", "--candidate", "k73")
    assert (code, "or neither" in err) == (2, True)


def test_a_waiver_is_in_force_only_when_it_is_filled_in() -> None:
    made = dossier(rule_results("fail", "wrong-errno"))
    text = draft_policy(("x86_64",), made)
    assert [one.rule for one in draft_waivers(made)] == ["munmap-across"]
    uncommented = re.sub(r"(?m)^#(  -|    )", r"\1", text.replace("waivers: []", "waivers:"))
    catalogue = {**load_catalogue(), **RULES}
    with pytest.raises(ConfigError, match="expires: must be a day"):
        parse_policy(uncommented.encode(), Path("p.yaml"), catalogue)
    filled = uncommented.replace(f"expires: {FILL_IN}", "expires: 2027-01-31")
    (waiver,) = parse_policy(filled.encode(), Path("p.yaml"), catalogue).waivers
    assert (waiver.rule, waiver.kernels, waiver.excuses) == ("munmap-across", ("debian-7.3",), ("wrong-errno",))


def test_what_no_waiver_excuses_is_said_and_is_no_nothing() -> None:
    unasked = dossier(rule_results()[1:], before=rule_results()[1:])
    assert unasked.qualification.verdict == "not qualified"
    text = draft_policy(("x86_64",), unasked)
    assert "no waiver excuses:\n#   At least 100 % of the required probes gave an answer on every cell\n" in text
    assert "# No waiver is needed: debian-7.3" in draft_policy(("x86_64",), dossier(rule_results()))


def test_the_command_still_wants_its_options() -> None:
    done = CliRunner().invoke(cli, ["qualify", "--candidate", "k"])
    assert done.exit_code == 2
    assert "Missing option '--baseline'" in done.output
