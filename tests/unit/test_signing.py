"""Signatures: what cosign is told, which is a digest and never a tag, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.core.build import signing
from tasks.core.build.signing import Signer
from tasks.core.model.errors import ConfigError, PushFailedError, SignatureError
from tasks.core.registry.client import Registry
from tasks.core.verification.candidates import Candidate
from tasks.core.verification.messages import Cases
from tasks.core.verification.signatures import signed
from tasks.core.verification.verdict import Verdict
from tests.unit.fake_registry import FakeRegistry, digest_of, fake_registry
from tests.unit.plans import udf
from tests.unit.programs import Program

DIGEST = f"sha256:{'a' * 64}"
ONE, TWO = f"r.test/map-a@{DIGEST}", f"r.test/map-b@{DIGEST}"


def cosign_failing_for(*bad: str) -> Program:
    """Cosign, which refuses what is in ``bad``, or nothing."""
    return Program("", "main.go: no match\n", 1 if bad else 0, *bad)


@pytest.mark.parametrize(("key", "options"), [("", []), ("k.key", ["--key", "k.key"])])
def test_images_are_signed_by_their_digest(key: str, options: list[str]) -> None:
    cosign = cosign_failing_for()
    signing.sign([ONE, TWO], key, runner=cosign)
    assert cosign.calls == [["cosign", "sign", "--yes", *options, ONE, TWO]]


def test_many_are_signed_in_several_calls() -> None:
    cosign = cosign_failing_for()
    signing.sign([ONE] * 120, "", runner=cosign)
    assert [len(call) - 3 for call in cosign.calls] == [50, 50, 20]


def test_nothing_to_sign() -> None:
    cosign = cosign_failing_for()
    signing.sign([], "", runner=cosign)
    assert cosign.calls == []


def test_a_signature_that_fails() -> None:
    with pytest.raises(PushFailedError, match=r"has not signed r\.test/map-a@sha256") as caught:
        signing.sign([ONE], "", runner=cosign_failing_for("map-a"))
    assert "no match" in caught.value.what
    assert "COSIGN" not in caught.value.next_step


@pytest.mark.parametrize(
    "said",
    [
        'Post "https://rekor.sigstore.dev/api/v1/log/entries": giving up after 4 attempt(s)',
        'error getting signing config from TUF: Get "https://tuf-repo-cdn.sigstore.dev/15.root"',
        "--tlog-upload=false is not supported with --signing-config or --use-signing-config",
    ],
    ids=["cosign 2", "cosign 3", "half of the variables"],
)
def test_who_has_no_log_is_told_what_to_set(said: str) -> None:
    cosign = Program("", f"Error: {said}\nerror during command execution: {said}\n", 1, "map")
    with pytest.raises(PushFailedError) as caught:
        signing.sign([ONE], "k.key", runner=cosign)
    assert caught.value.what.endswith(f": {said}")
    assert "COSIGN_TLOG_UPLOAD=false and COSIGN_USE_SIGNING_CONFIG=false" in caught.value.next_step
    bad = signing.complaint(ONE, Signer(key="k.pub"), runner=cosign)
    assert bad is not None
    assert bad.why == said
    assert "COSIGN_PRIVATE_INFRASTRUCTURE=true" in bad.step


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sign": True, "push": False, "key": ""}, "--sign needs --push"),
        ({"sign": False, "push": True, "key": "k"}, "--key is the key to sign with"),
        ({"sign": True, "push": True, "key": ""}, "--sign needs the program cosign"),
    ],
    ids=["no push", "a key alone", "no program"],
)
def test_what_cannot_be_signed(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        signing.check_sign(**given, which=lambda _: None)


@pytest.mark.parametrize(
    ("signer", "wanted", "said"),
    [
        (Signer(), True, "does not say who must have signed"),
        (Signer(identity="x"), True, "does not say who must have signed"),
        (Signer(key="k"), False, "say who must have signed"),
        (Signer(key="k"), True, "--signature needs the program cosign"),
    ],
    ids=["nobody", "no issuer", "not asked for", "no program"],
)
def test_signatures_that_cannot_be_checked(signer: Signer, wanted: bool, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        signing.check_signer(signer, wanted=wanted, which=lambda _: None)
    signing.check_signer(Signer(), wanted=False, which=lambda _: None)


@pytest.mark.parametrize(
    ("signer", "options"),
    [
        (Signer(key="k.pub"), ["--key", "k.pub"]),
        (
            Signer(identity="^https://ci.example/", issuer="https://ci.example"),
            [
                *("--certificate-identity-regexp", "^https://ci.example/"),
                *("--certificate-oidc-issuer", "https://ci.example"),
            ],
        ),
    ],
    ids=["key", "keyless"],
)
def test_who_must_have_signed(signer: Signer, options: list[str]) -> None:
    cosign = cosign_failing_for()
    assert signing.complaint(ONE, signer, runner=cosign) is None
    assert cosign.calls == [["cosign", "verify", *options, ONE]]


class TestVerify:
    @pytest.fixture
    def fake(self) -> Iterator[FakeRegistry]:
        with fake_registry() as registry:
            for name in ("map-a", "map-b"):
                kept = ("application/vnd.oci.image.manifest.v1+json", name.encode())
                registry.manifests[name, "stable"] = kept
            yield registry

    def test_each_is_checked_by_the_digest_that_its_tag_names(self, fake: FakeRegistry) -> None:
        host = fake.host
        found: list[Candidate | Verdict] = [
            Candidate(udf=udf(name), image=image, probe_image=image, cases=Cases())
            for name in ("map/a", "map/b", "map/c")
            for image in [f"{host}/{name.replace('/', '-')}:stable"]
        ]
        other = Verdict(udf="map/d", error=ConfigError("x", next_step="y"))
        cosign = cosign_failing_for("map-b")
        good, bad, absent, kept = signed(
            Registry(host), [*found, other], Signer(key="k"), runner=cosign
        )
        assert good is found[0]
        assert kept is other
        for verdict, said in ((bad, "is not signed as it has to be: main.go: no match"),
                              (absent, "is not in the registry")):  # fmt: skip
            assert isinstance(verdict, Verdict)
            assert isinstance(verdict.error, SignatureError)
            assert said in verdict.error.what
        assert sorted(call[-1] for call in cosign.calls) == [
            f"{host}/map-a@{digest_of(b'map-a')}",
            f"{host}/map-b@{digest_of(b'map-b')}",
        ]
