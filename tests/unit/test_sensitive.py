"""Secrets stay out of images by their usual names, and are found by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.inputs.files import context_files
from tasks.core.inputs.ignore import Ignore
from tasks.core.inputs.sensitive import secret_in
from tasks.core.model.settings import Settings
from tasks.core.model.udf import load
from tests import REPOSITORY

NAMES = (
    *("id_rsa", "id_ecdsa", "id_ed25519", "x.p12", "x.pfx", "x.jks", "x.kdbx", "x.ppk", "x.gpg"),
    *("tls.key", "ca.pem", "kubeconfig", "my.kubeconfig", "service-account.json"),
    *("prod-service-account-1.json", "service_account.json", "credentials.json"),
    *("client_secret.json", "client_secret_1.apps.json", "application_default_credentials.json"),
    *("secret.yaml", "secrets.yml", "secrets.json", "secret.toml", "_netrc", ".netrc", "pip.conf"),
    *("uv.toml", "prod.env", ".env", "terraform.tfstate", "terraform.tfstate.backup"),
    *("prod.tfvars", "auth.json", "secrets/token.txt"),
)
HARMLESS = ("secrets.py", "secret.py", "environment.py", "auth.py", "keys.json", "data.toml")


@pytest.fixture
def udf(tmp_path: Path) -> Path:
    folder = tmp_path / "udfs/map/x"
    for name in ("example.py", *NAMES, *HARMLESS):
        for place in (folder, folder / "deep/er"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("x")
    return folder


def paths(folder: Path) -> set[str]:
    settings = Settings.from_config({}, root=str(folder.parents[1]))
    return {file.path for file in context_files(settings, load(settings, folder))}


def test_by_name_in_a_repository_of_its_own(udf: Path) -> None:
    expected = {"example.py", *HARMLESS}
    assert paths(udf) == expected | {f"deep/er/{name}" for name in expected}


@pytest.mark.parametrize("name", NAMES)
def test_by_name_in_this_repository(name: str) -> None:
    rules = Ignore((REPOSITORY / ".dockerignore").read_text().splitlines())
    assert rules.ignores(f"examples/map/x/{name}")
    assert rules.ignores(f"examples/map/x/deep/{name}")


def test_an_exception_is_explicit(udf: Path) -> None:
    rules = udf.parents[2] / ".dockerignore"
    rules.write_text("!udfs/map/x/ca.pem\n!udfs/map/x/secrets\n")
    assert {"ca.pem", "secrets/token.txt"} <= paths(udf)
    assert "deep/er/ca.pem" not in paths(udf)


def key(kind: str, body: str, end: str = "\n") -> str:
    # In pieces, so that nothing takes this file for one that holds a secret.
    return f"-----BEGIN {kind}{'PRIVATE'} KEY-----{end}{body}{end}-----END"


BODY = "MIIEpAIBAAKCAQEA" * 4

SECRETS = {
    "key": (key("", BODY), "a private key"),
    "RSA": (key("RSA ", BODY), "a private key"),
    "OpenSSH": (key("OPENSSH ", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUA"), "a private key"),
    "Windows": (key("EC ", BODY, "\r\n"), "a private key"),
    "encrypted": (
        key("RSA ", f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n{BODY}"),
        "a private key",
    ),
    "JSON": ('{"private_key": "' + key("", BODY, "\\n"), "a private key"),
    "PGP": (
        f"-----BEGIN PGP {'PRIVATE'} KEY BLOCK-----\nVersion: x\n\n{BODY}",
        "a private key",
    ),
    "PuTTY": ("PuTTY-User-Key-File-3: ssh-ed25519\n", "a private key"),
    "GitHub": ("T = 'ghp_" + "a1B2" * 9 + "'", "a token of GitHub"),
    "GitLab": ("token: glpat-" + "a1B2-" * 4, "a token of GitLab"),
    "AWS": ("id = AKIA" + "ABCD2345" * 2, "a key of AWS"),
    "AWS secret": ("aws_secret_access_key = " + "aB3/" * 10, "a key of AWS"),
    "Google": ("AIza" + "aB3_-" * 7, "a key of Google"),
    "Azure": ("AccountKey=" + "aB" * 43 + "==;", "a key of Azure"),
    "Slack": ("xoxb-" + "1234567890" * 2, "a token of Slack"),
    "Stripe": ("sk_live_" + "a1b2c3d4" * 3, "a key of Stripe"),
    "index": ("pypi-AgE" + "IcHlwaS5vcmcCJDU1", "a token of a package index"),
}


@pytest.mark.parametrize(("text", "kind"), SECRETS.values(), ids=SECRETS)
def test_by_content(text: str, kind: str) -> None:
    assert secret_in(f"before\n{text}\nafter".encode()) == kind


NO_SECRETS = {
    "a header alone": f"if text.startswith('-----BEGIN {'PRIVATE'} KEY-----'): pass\n" * 3,
    "a public key": f"-----BEGIN PUBLIC KEY-----\n{BODY}\n",
    "a certificate": f"-----BEGIN CERTIFICATE-----\n{BODY}\n",
    "a placeholder": "GITHUB_TOKEN=ghp_xxx\naws_secret_access_key = <yours>\n",
    "a digest": "sha256:" + "0123456789abcdef" * 4,
    "words": "task_live_stream xoxo- AKIAB glpat",
}


@pytest.mark.parametrize("text", NO_SECRETS.values(), ids=NO_SECRETS)
def test_what_is_no_secret(text: str) -> None:
    assert secret_in(text.encode()) == ""


def test_no_example_holds_one() -> None:
    for path in (REPOSITORY / "examples").rglob("*"):
        assert not path.is_file() or secret_in(path.read_bytes()) == "", path
